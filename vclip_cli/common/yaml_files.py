"""YAML files with closed schemas: every unknown or wrong key is listed with file, line and key."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vclip_cli.common.errors import DataError, SpecError, did_you_mean, near_misses
from vclip_cli.common.files import read_limited

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    Model = TypeVar("Model", bound=BaseModel)

Location = tuple[str | int, ...]
"""The keys and list positions from the top of a file to a value."""

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 200_000
"""Keys and values a file; the largest label sets have some thousands."""
MAX_DIGITS = 200
MAX_PROBLEMS = 200
_NUMBER_CHARACTERS = frozenset("0123456789abcdefABCDEFoOxX_+-:.")


class ErrorAt(ValueError):
    """Raised by a model's own validators to point below the key that they validate.

    location: the keys and list positions from there on. others: further problems of the same kind.
    """

    def __init__(self, location: Location, message: str, others: Sequence[ErrorAt] = ()) -> None:
        super().__init__(message)
        self.location = location
        self.others = others


def raise_all(problems: Sequence[ErrorAt]) -> None:
    """Raise the problems that a validator has collected, as one; nothing when there are none."""
    if problems:
        raise ErrorAt(problems[0].location, str(problems[0]), problems[1:])


def read_yaml(path: Path) -> tuple[Any, dict[Location, int]]:
    """A YAML file's value and the line (from 1) of every key and list item.

    Refused are features that no spec needs and that can do harm: aliases (a few nested ones expand
    to gigabytes), tags, repeated keys, deep nesting, millions of values, endless numbers. Raises
    SpecError.
    """
    try:
        text = read_limited(path, MAX_BYTES, SpecError).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError("the file is not UTF-8 text", where=str(path)) from error
    return _parse(text, str(path))


def _parse(text: str, source: str) -> tuple[Any, dict[Location, int]]:
    """The value of a YAML text and the line of every key and item. Raises SpecError."""
    import yaml

    lines: dict[Location, int] = {}
    loader = (yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader)(text)
    try:
        # Event by event, before any value is made: the composer recurses in C and would crash.
        _refuse_harmful(yaml.parse(text, Loader=type(loader)), source)
        root = loader.get_single_node()
        if root is None:
            return None, lines
        _note_lines(root, (), lines, source)
        return loader.construct_document(root), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or error
        raise SpecError(f"not valid YAML: {problem}", where=where) from None
    except ValueError as error:
        raise SpecError(
            "a value looks like a number or a date but is not a valid one",
            where=source,
            found=str(error)[:100],
            hint="put quotes around it if it is a text",
        ) from None
    finally:
        loader.dispose()


def _refuse_harmful(events: Iterable[Any], source: str) -> None:
    import yaml

    depth = 0
    for number, event in enumerate(events):
        where = f"{source}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise SpecError("YAML aliases (*name) are not allowed here", where=where)
        if getattr(event, "tag", None) is not None:
            found = f"{event.tag[:80]!r}"
            raise SpecError("YAML tags are not allowed here", where=where, found=found)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            expected = f"at most {MAX_DEPTH} levels"
            raise SpecError("the file is nested too deeply", where=where, expected=expected)
        if number > MAX_NODES:
            expected = f"at most {MAX_NODES:,} keys and values"
            raise SpecError("the file holds too much for a spec", where=where, expected=expected)
        plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        value = event.value if plain else ""
        if len(value) > MAX_DIGITS and _NUMBER_CHARACTERS.issuperset(value):
            raise SpecError("the number is too long", where=where, found=f"{len(value):,} digits")


def _note_lines(node: Any, key: Location, lines: dict[Location, int], source: str) -> None:
    import yaml

    lines[key] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            where = f"{source}:{name.start_mark.line + 1}"
            if not isinstance(name, yaml.ScalarNode):
                raise SpecError("a key must be a name", where=where, found="a list or a mapping")
            if name.value in seen:
                raise SpecError(f"the key {name.value!r} appears twice", where=where)
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


def load_named(path: Path, model: type[Model], asked: str) -> Model:
    """As `load_model`; a file found by its name must state that name.

    asked: the name or path that was given; a path may lead to a file of any name.
    """
    loaded = load_model(path, model)
    stated = getattr(loaded, "name", None)
    if asked == path.stem != stated:
        raise SpecError(
            "the key 'name' differs from the file's name",
            where=str(path),
            found=repr(stated),
            expected=repr(path.stem),
        )
    return loaded


def validate_model(
    value: Any, model: type[Model], source: str, lines: dict[Location, int] | None = None
) -> Model:
    """Validate a value against a closed pydantic model; `source` names where it came from.

    Raises SpecError with all the problems, in the order of their lines.
    """
    from pydantic import ValidationError

    if not isinstance(value, dict):
        raise SpecError("the file must hold a mapping", where=source, found=type(value).__name__)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors()[:MAX_PROBLEMS]
        unknown = [tuple(e["loc"]) for e in errors if e["type"] == "extra_forbidden"]
        found = [
            (line or 0, problem)
            for details in errors
            if not _is_misspelt(details, unknown)
            for line, problem in _problems(details, model, source, lines or {})
        ]
        ordered = sorted(found, key=lambda pair: pair[0])
        raise SpecError.of([problem for _, problem in ordered]) from None


def validate_stored(value: Any, model: type[Model], path: Path, what: str) -> Model:
    """As `validate_model` for a file that vclip wrote; raises DataError that begins with `what`."""
    try:
        return validate_model(value, model, str(path))
    except SpecError as error:
        raise DataError(f"{what}: {error.what}", where=str(path), found=error.found) from None


def _is_misspelt(details: ErrorDetails, unknown: Sequence[Location]) -> bool:
    """Whether a key is missing only because an unknown key beside it is a misspelling of it."""
    *above, name = details["loc"] or ("",)
    beside = [str(place[-1]) for place in unknown if place[:-1] == tuple(above)]
    return details["type"] == "missing" and bool(near_misses(str(name), beside))


def _problems(
    details: ErrorDetails, model: type[BaseModel], source: str, lines: dict[Location, int]
) -> Iterable[tuple[int | None, SpecError]]:
    """The lines and errors of the problems behind one pydantic error."""
    raised = details.get("ctx", {}).get("error")
    if isinstance(raised, ErrorAt):
        several = (raised, *raised.others[: MAX_PROBLEMS - 1])
        places = [(one.location, str(one)) for one in several]
    else:
        places = [((), details["msg"].removeprefix("Value error, "))]
    for below, message in places:
        location = (*details["loc"], *below)
        line = next(
            (lines[location[:n]] for n in range(len(location), -1, -1) if location[:n] in lines),
            None,
        )
        key = ".".join(str(part) for part in location) or "(whole file)"
        what, found, hint = f"{key}: {message}", None, None
        if details["type"] == "extra_forbidden":
            what = f"unknown key {key!r}"
            hint = did_you_mean(str(location[-1]), _keys_beside(model, location))
        elif details["type"] == "missing":
            what = f"the key {key!r} is missing"
        if details["type"] not in ("missing", "value_error"):
            found = repr(details.get("input"))[:80]
        where = f"{source}:{line}" if line else source
        yield line, SpecError(what, where=where, found=found, hint=hint)


def _keys_beside(model: type[BaseModel], location: Location) -> list[str]:
    """The known keys at the place of an unknown key."""
    kind: Any = model
    for part in location[:-1]:
        if fields := getattr(kind, "model_fields", {}):
            kind = _plain_type(fields[part].annotation if part in fields else None)
        else:  # a list or a mapping: all its values are of one type
            kind = _plain_type((typing.get_args(kind) or (None,))[-1])
    return list(getattr(kind, "model_fields", {}))


def _plain_type(kind: Any) -> Any:
    """A type without `Annotated` and without `| None`."""
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next(arg for arg in typing.get_args(kind) if arg is not type(None))
        else:
            return kind


def parse_scalar(text: str, where: str) -> Any:
    """A value from the command line as YAML reads it, where `1e-3` is a number too.

    Raises SpecError.
    """
    try:
        number = float(text)
    except ValueError:
        return _parse(text, where)[0]
    is_exponent = "e" in text.lower() and any(character.isdigit() for character in text)
    return number if is_exponent else _parse(text, where)[0]
