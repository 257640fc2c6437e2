"""YAML with closed schemas: an unknown or wrong key is an error with file, line and key."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vclip_cli.common.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

    Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 200_000
"""Keys and values a file; the largest label sets have some thousands."""
MAX_DIGITS = 200
_OF_NUMBERS = frozenset("0123456789abcdefABCDEFoOxX_+-:.")


class ErrorAt(ValueError):
    """Raised by a model's own validators to point below the key that they validate.

    location: the keys and list positions from there on.
    """

    def __init__(self, location: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.location = location


def read_yaml(path: Path) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """A YAML file's value and the line (from 1) of every key and list item.

    What a spec has no use for and a hostile one has, is refused: aliases (a few nested ones can
    stand for gigabytes), tags, repeated keys, deep nesting, millions of values, endless numbers.
    Raises SpecError.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise SpecError(
            "the file is too large for a spec",
            where=str(path),
            expected=f"at most {MAX_BYTES:,} bytes",
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError("the file is not UTF-8 text", where=str(path)) from error
    return _parse(text, str(path))


def _parse(text: str, source: str) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """The value of a YAML text and the line of every key and item. Raises SpecError."""
    import yaml

    lines: dict[tuple[Any, ...], int] = {}
    loader = (yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader)(text)
    try:
        # Event by event, before any value is made: the composer recurses in C and would crash.
        _refuse_hostile(yaml.parse(text, Loader=type(loader)), source)
        root = loader.get_single_node()
        if root is None:
            return None, lines
        _note_lines(root, (), lines, source)
        return _construct(loader, root, source), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise SpecError(
            f"not valid YAML: {getattr(error, 'problem', None) or error}", where=where
        ) from None
    finally:
        loader.dispose()


def _refuse_hostile(events: Iterable[Any], source: str) -> None:
    import yaml

    depth = 0
    for number, event in enumerate(events):
        where = f"{source}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise SpecError("YAML aliases (*name) are not allowed here", where=where)
        if getattr(event, "tag", None) is not None:
            raise SpecError(
                "YAML tags are not allowed here", where=where, found=f"{event.tag[:80]!r}"
            )
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise SpecError(
                "the file is nested too deeply", where=where, expected=f"at most {MAX_DEPTH} levels"
            )
        if number > MAX_NODES:
            raise SpecError(
                "the file holds too much for a spec",
                where=where,
                expected=f"at most {MAX_NODES:,} keys and values",
            )
        plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        value = event.value if plain else ""
        if len(value) > MAX_DIGITS and _OF_NUMBERS.issuperset(value):
            raise SpecError("the number is too long", where=where, found=f"{len(value):,} digits")


def _construct(loader: Any, root: Any, source: str) -> Any:
    """The value of a tree of nodes; what looks like a number or a date must be one."""
    try:
        return loader.construct_document(root)
    except ValueError as error:
        raise SpecError(
            "a value looks like a number or a date and is none",
            where=source,
            found=str(error)[:100],
            hint="put quotes around it where it is a text",
        ) from None


def _note_lines(
    node: Any, key: tuple[Any, ...], lines: dict[tuple[Any, ...], int], source: str
) -> None:
    import yaml

    lines[key] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            where = f"{source}:{name.start_mark.line + 1}"
            if not isinstance(name, yaml.ScalarNode):
                raise SpecError("a key must be a name", where=where, found="a list or a mapping")
            if name.value in seen:
                raise SpecError(f"the key {name.value!r} stands twice", where=where)
            seen.add(name.value)
            _note_lines(value, (*key, name.value), lines, source)
            lines[(*key, name.value)] = name.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*key, index), lines, source)


def load_model(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a closed pydantic model. Raises SpecError with file, line and key."""
    value, lines = read_yaml(path)
    return validate_model(value, model, str(path), lines)


def validate_model(
    value: Any,
    model: type[Model],
    source: str,
    lines: dict[tuple[Any, ...], int] | None = None,
) -> Model:
    """Validate a value against a closed pydantic model; `source` names where it came from."""
    from pydantic import ValidationError

    if not isinstance(value, dict):
        raise SpecError("the file must hold a mapping", where=source, found=type(value).__name__)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors()
        unknown = (problem for problem in problems if problem["type"] == "extra_forbidden")
        first = next(unknown, problems[0])  # a misspelt key is also a missing one
        location = tuple(first["loc"])
        raised = first.get("ctx", {}).get("error")
        if isinstance(raised, ErrorAt):
            location += raised.location
        line = _nearest_line(location, lines or {})
        key = ".".join(str(part) for part in location) or "(whole file)"
        where = f"{source}:{line}" if line else source
        hint = None
        if first["type"] == "extra_forbidden":
            what = f"unknown key {key!r}"
            if len(location) == 1:
                hint = did_you_mean(str(location[0]), model.model_fields)
        elif first["type"] == "missing":
            what = f"the key {key!r} is missing"
        else:
            what = f"{key}: {first['msg'].removeprefix('Value error, ')}"
        if len(problems) > 1:
            hint = (f"{hint}; " if hint else "") + f"and {len(problems) - 1} more problems"
        shown = (
            repr(first.get("input")) if first["type"] not in ("missing", "value_error") else None
        )
        raise SpecError(what, where=where, found=shown[:80] if shown else None, hint=hint) from None


def _nearest_line(location: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> int | None:
    for length in range(len(location), -1, -1):
        if location[:length] in lines:
            return lines[location[:length]]
    return None


def parse_scalar(text: str, where: str) -> Any:
    """A value as YAML would read it (`1e-3` counts as a number), from the command line.

    Raises SpecError.
    """
    return float(text) if _is_exponent(text) else _parse(text, where)[0]


def _is_exponent(text: str) -> bool:
    """YAML takes `1e-3` for a word; everybody else takes it for a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "e" in text.lower() and any(character.isdigit() for character in text)
