"""YAML with closed schemas: an unknown or wrong key is an error with file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vclip_cli.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

    Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 8 * 1024 * 1024


class ErrorAt(ValueError):
    """Raised by a model's own validators to point below the key that they validate.

    location: the keys and list positions from there on.
    """

    def __init__(self, location: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.location = location


def read_yaml(path: Path) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """A YAML file's value and the line (from 1) of every key and list item.

    Aliases are refused: a few nested ones can stand for gigabytes. So are repeated keys. Raises
    SpecError.
    """
    import yaml

    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise SpecError(
            "the file is too large for a spec",
            where=str(path),
            found=f"{len(raw):,} bytes",
            expected=f"at most {MAX_BYTES:,}",
        )
    lines: dict[tuple[Any, ...], int] = {}
    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    try:
        text = raw.decode("utf-8-sig")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=loader)):
            raise SpecError("YAML aliases (*name) are not allowed here", where=str(path))
        root = yaml.compose(text, Loader=loader)
        if root is None:
            return None, lines
        _note_lines(root, (), lines, path)
        return yaml.load(text, Loader=loader), lines
    except UnicodeDecodeError as error:
        raise SpecError("the file is not UTF-8 text", where=str(path)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SpecError(
            f"not valid YAML: {getattr(error, 'problem', error)}", where=where
        ) from None
    except RecursionError:
        raise SpecError("the file is nested too deeply", where=str(path)) from None


def _note_lines(
    node: Any, key: tuple[Any, ...], lines: dict[tuple[Any, ...], int], path: Path
) -> None:
    import yaml

    lines[key] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            if name.value in seen:
                where = f"{path}:{name.start_mark.line + 1}"
                raise SpecError(f"the key {name.value!r} stands twice", where=where)
            seen.add(name.value)
            _note_lines(value, (*key, name.value), lines, path)
            lines[(*key, name.value)] = name.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*key, index), lines, path)


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
    import yaml

    try:
        return float(text) if _is_exponent(text) else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError("not a value", where=where, found=str(error).splitlines()[0]) from None


def _is_exponent(text: str) -> bool:
    """YAML takes `1e-3` for a word; everybody else takes it for a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "e" in text.lower() and any(character.isdigit() for character in text)
