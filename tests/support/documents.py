"""The README and the pages of the guide, as blocks of commands and snippets.

The words after a block's language say what a test does with it:

    bash            every line is a `vclip` command (or an `export`), and is run
    bash check      for real data or many machines: the options of each `vclip` command are parsed
    bash slow       run by `pytest -m slow` alone
    python          run, in one namespace with the page's other snippets
    … file=NAME     written to a file of that name
    text, json      shown, not run
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import vclip_cli

README = Path(__file__).parents[2] / "README.md"
CONTRIBUTING = README.parent / ".github" / "CONTRIBUTING.md"
DOCS = Path(vclip_cli.__file__).parent / "docs"
INSTALLS = {"pip install . && vclip demo", "pip install '.[test]' && pytest"}
"""The two commands that the continuous integration runs in an environment of its own."""
_BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the words after it, its text, and where it begins."""

    language: str
    words: str
    text: str
    where: str

    @property
    def file(self) -> str | None:
        """The file that it is to be written to, where it names one."""
        return self.words.removeprefix("file=") if self.words.startswith("file=") else None

    @property
    def lines(self) -> list[str]:
        """Its commands: continued lines joined, blank lines and comments left out."""
        joined = self.text.replace("\\\n", " ")
        lines = [line.strip() for line in joined.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def documents() -> list[Path]:
    """The README, CONTRIBUTING and every page."""
    return [README, CONTRIBUTING, *sorted(DOCS.glob("*.md"))]


def name_of(path: Path) -> str:
    """What a test's id says of a document."""
    return path.stem


def blocks(path: Path) -> list[Block]:
    """Every block of code of a document, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            found[1],
            found[2].strip(),
            found[3],
            f"{path.name}:{text.count(chr(10), 0, found.start()) + 1}",
        )
        for found in _BLOCK.finditer(text)
    ]


def prose(path: Path) -> str:
    """A document without its blocks of code."""
    return _BLOCK.sub("", path.read_text(encoding="utf-8"))


def vclip_calls(line: str) -> list[list[str]]:
    """The arguments of each `vclip` command in a line of a shell script."""
    words = shlex.split(line, comments=True)
    calls = [call for word in words if word.startswith("vclip ") for call in vclip_calls(word)]
    for place, word in enumerate(words):
        if word == "vclip" and (place == 0 or words[place - 1] in ("&&", "srun")):
            return [*calls, words[place + 1 :]]
        if word == "vclip_cli" and words[place - 1] == "-m":
            return [*calls, words[place + 1 :]]
    return calls
