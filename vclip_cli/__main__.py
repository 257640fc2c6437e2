"""`vclip …` and `python -m vclip_cli …`: run the command line and turn errors into exit codes."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. Exit codes: 0 ok, 1 our fault, 2 usage, 3 spec, 4 data, 5 weights,
    6 refused, 130 interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code."""
    import typer

    from vclip_cli.cli import app
    from vclip_cli.cli.console import set_verbosity, show_error
    from vclip_cli.errors import UsageError, VclipError

    # Typer carries its own copy of click in newer versions and uses the installed one in older.
    command_line_error = typer.BadParameter.__mro__[2]
    set_verbosity(quiet=False, verbose=False)
    try:
        result = app(arguments, standalone_mode=False, prog_name="vclip")
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except VclipError as error:
        show_error(error)
        return error.exit_code
    except typer.Exit as error:
        return error.exit_code
    except command_line_error as error:
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help" if context is not None else "vclip --help"
        show_error(UsageError(error.format_message(), hint=hint))
        return UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted; the same command goes on from here\n")
        return 130
    except BrokenPipeError:  # the reader of stdout, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        _show_fault(error)
        return 1


def _show_fault(error: Exception) -> None:
    import traceback

    from vclip_cli.cli.console import is_verbose, show_error
    from vclip_cli.errors import VclipError

    where = traceback.extract_tb(error.__traceback__)[-1]
    if is_verbose():
        traceback.print_exception(error)
    fault = VclipError(
        f"a fault of vclip's own: {type(error).__name__}: {error}",
        where=f"{where.filename}:{where.lineno}",
        hint="please report it, with the traceback that -v shows",
    )
    show_error(fault)


if __name__ == "__main__":
    main()
