"""What is printed and where: results to stdout, everything else to stderr.

On a terminal: colours, panels and bars. Elsewhere: plain lines, none of them wrapped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import VclipError
from vclip_cli.common.long_work import progress_bar
from vclip_cli.common.safe_readers import json_text

if TYPE_CHECKING:
    from rich.console import Console

_PLAIN_WIDTH = 240
_SECONDS_BETWEEN_LINES = 10.0
_LONGEST_PART = 2000


class _Verbosity:
    """-1 quiet, 0 normal, 1 verbose: set once by the options -q and -v."""

    level = 0


def set_verbosity(quiet: bool, verbose: bool) -> None:
    """What `-q` and `-v` ask for; `-q` wins. Of a launch's processes only the first one talks."""
    follows = os.environ.get("RANK", "0") not in ("", "0")
    _Verbosity.level = -1 if quiet or follows else int(verbose)


def is_verbose() -> bool:
    """Whether `-v` was given."""
    return _Verbosity.level > 0


@lru_cache(maxsize=2)
def _console(error: bool) -> Console:
    from rich.console import Console
    from rich.segment import Segment

    class HarmlessConsole(Console):
        """Nothing that is printed, in whatever table or panel, reaches the terminal as a code."""

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                if segment.control or segment.text.isprintable():
                    yield segment
                else:
                    yield Segment(printable(segment.text), segment.style)

    stream = sys.stderr if error else sys.stdout
    return HarmlessConsole(
        stderr=error,
        width=None if stream.isatty() else _PLAIN_WIDTH,
        highlight=False,
        markup=False,  # a label may be called "[bold]" or "[/]"
        emoji=False,
        soft_wrap=not stream.isatty(),
    )


def printable(text: str) -> str:
    """Text without control codes, which could rewrite what a terminal shows.

    Invisible characters are replaced too: right-to-left marks and zero-width blanks can make one
    name look like another.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def show(result: Any) -> None:
    """Print a result (text or a Rich table) to stdout."""
    from rich.text import Text

    _console(False).print(Text(printable(result)) if isinstance(result, str) else result)


def show_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    sys.stdout.write(json_text(document))


def say(message: str) -> None:
    """Tell the person something on stderr, unless -q."""
    if _Verbosity.level >= 0:
        from rich.text import Text

        _console(True).print(Text(printable(message)))


def warn(message: str) -> None:
    """A warning on stderr; -q does not silence it."""
    from rich.text import Text

    _console(True).print(Text.assemble(("warning: ", "yellow"), printable(message)))


class _Relay(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        show = warn if record.levelno >= logging.WARNING else say
        show(self.format(record))


def relay_log() -> None:
    """Show what the engine logs: warnings as such, the rest as remarks."""
    log = logging.getLogger("vclip")
    if not log.handlers:
        log.addHandler(_Relay())
        log.setLevel(logging.INFO)
        log.propagate = False


def show_error(error: VclipError) -> None:
    """One panel (plain lines where stderr is not a terminal): what, where, found, expected, hint.

    A file with several problems has these parts for each of them.
    """
    from rich.panel import Panel
    from rich.text import Text

    console = _console(True)
    labels = {"where": "where", "found": "found", "expected": "expected", "hint": "try"}
    body = Text()
    for number, problem in enumerate(getattr(error, "problems", ()) or (error,)):
        parts = [(labels[k], _short(v)) for k, v in problem.as_dict().items() if k in labels]
        if not console.is_terminal:
            console.print(Text(f"{'  and' if number else 'error'}: {_short(problem.what)}"))
            for label, value in parts:
                console.print(Text(f"  {label}: {value}"))
            continue
        body.append(("\n\n" if body else "") + _short(problem.what))
        for label, value in parts:
            body.append(f"\n{label}: ", style="dim")
            body.append(value)
    if console.is_terminal:
        console.print(Panel(body, title=error.title, title_align="left", border_style="red"))


def _short(text: str) -> str:
    """A part of an error on one line: a name with line breaks must not fake another part."""
    cut = text if len(text) <= _LONGEST_PART else f"{text[:_LONGEST_PART]} …"
    return printable(cut.replace("\n", " "))


@contextlib.contextmanager
def progress(description: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on a terminal; elsewhere a plain line now and then."""
    if _Verbosity.level < 0 or total == 0:
        yield lambda count: None
    elif _console(True).is_terminal:
        with progress_bar(_console(True), description, total, done) as advance:
            yield advance
    else:
        yield _lines(description, total, done)


def _lines(description: str, total: int, done: int) -> Callable[[int], None]:
    started = last = time.monotonic()
    fresh = 0

    def advance(count: int) -> None:
        nonlocal fresh, last
        if not count:  # the share of a process that has nothing to do
            return
        fresh += count
        now = time.monotonic()
        finished = done + fresh >= total
        if not finished and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = fresh / max(now - started, 1e-9)
        left = (total - done - fresh) / rate if rate else 0.0
        ending = "" if finished else f", {left:,.0f} s left"
        say(f"{description}: {done + fresh}/{total}, {rate:,.1f}/s{ending}")

    return advance
