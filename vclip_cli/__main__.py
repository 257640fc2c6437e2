"""`vclip …` and `python -m vclip_cli …`: run the command line and turn errors into exit codes."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from vclip_cli.common.long_work import INTERRUPTED, exit_code, stop_on_sigterm


def main() -> None:
    """Run the command line. Exit codes: 0 ok, 1 our fault, 2 usage, 3 spec, 4 data, 5 weights,
    6 refused, 130 interrupted, 143 terminated."""
    stop_on_sigterm()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code."""
    import typer

    from vclip_cli.cli import CONTEXT
    from vclip_cli.cli.console import set_verbosity, show_error
    from vclip_cli.common.errors import StorageError, UsageError, VclipError
    from vclip_cli.common.files import NO_SPACE, storage_error

    # Typer carries its own copy of click in newer versions and uses the installed one in older.
    command_line_error = cast(type[typer.BadParameter], typer.BadParameter.__mro__[2])
    set_verbosity(quiet=False, verbose=False)
    command, name = _command(), "vclip"
    helps = bool({"--help", "-h"} & set(arguments))
    if helps:
        command, name, arguments = _walk_to_verb(command, name, arguments)
    try:
        with _carrying_out(arguments, helps):
            result = command.main(arguments, standalone_mode=False, prog_name=name, **CONTEXT)
        sys.stdout.flush()
        return _noting_interruption(result if isinstance(result, int) else 0)
    except VclipError as error:
        show_error(error)
        return error.exit_code
    except typer.Exit as error:
        return _noting_interruption(error.exit_code)
    except command_line_error as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
            sys.stderr.write(context.get_help() + "\n")
            return UsageError.exit_code
        hint = f"{context.command_path} --help" if context is not None else "vclip --help"
        show_error(UsageError(error.format_message(), hint=hint))
        return UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _noting_interruption(INTERRUPTED)
    except BrokenPipeError:  # the reader of stdout, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the last place: what nobody expected is a fault, said as one
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            found = f"{str(error.filename)[:100]}…"
            show_error(UsageError("a name is longer than any file's may be", found=found))
            return UsageError.exit_code
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            show_error(storage_error(error, Path(error.filename or "standard output")))
            return StorageError.exit_code
        _show_fault(error)
        return 1


def _carrying_out(arguments: list[str], helps: bool) -> AbstractContextManager[None]:
    """Let logs and records name the command; a help screen needs none of that."""
    if helps or not arguments:
        return nullcontext()
    from vclip_cli.engine.runs.run_log import carrying_out

    return carrying_out(arguments)


@lru_cache(maxsize=1)
def _command() -> Any:
    """The group of all verbs, built once."""
    import typer

    from vclip_cli.cli import app

    return typer.main.get_command(app)


def _noting_interruption(code: int) -> int:
    """Say what an interruption means; versions of Typer report Ctrl-C in three different ways."""
    if code != INTERRUPTED:
        return code
    sys.stderr.write("interrupted; the same command continues from here\n")
    return exit_code()


def _walk_to_verb(command: Any, name: str, arguments: list[str]) -> tuple[Any, str, list[str]]:
    """Go straight to the verb whose help is wanted.

    Parsing the options of the group before it would load Typer's value checks, which cost more than
    all the rest of a help screen.
    """
    while arguments and hasattr(command, "get_command"):
        verb = command.get_command(None, arguments[0])
        if verb is None:
            break
        command, name, arguments = verb, f"{name} {arguments[0]}", arguments[1:]
    return command, name, arguments


def _show_fault(error: Exception) -> None:
    """Show an unexpected error: as one of the user's own file, where its code ran, else as ours."""
    import traceback

    from vclip_cli.cli.console import is_verbose, show_error
    from vclip_cli.common.errors import VclipError
    from vclip_cli.common.resources import is_user_code

    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_user_code(Path(frame.filename))]
    if is_verbose():
        traceback.print_exception(error)
    kind, where = f"{type(error).__name__}: {error}", [*frames, *own][-1]
    fault = VclipError(
        f"an error in your own file: {kind}" if own else f"a fault of vclip's own: {kind}",
        where=f"{where.filename}:{where.lineno}",
        hint="-v shows the traceback"
        if own
        else "please report it, with the traceback that -v shows",
    )
    show_error(fault)


if __name__ == "__main__":
    main()
