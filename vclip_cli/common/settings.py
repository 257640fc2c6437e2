"""Settings that are declared once, as fields of frozen dataclasses.

From one declaration come a verb's option, a key of `config.yaml`, an environment variable, a
keyword in Python and a line in the documents. The declarations are in `engine/specs.py`.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar

from vclip_cli.common.errors import UsageError, did_you_mean

Spec = TypeVar("Spec")
MOST = 2**31 - 1
"""The largest whole number that a setting takes."""


@dataclass(frozen=True)
class Setting:
    """The declaration of a setting, besides its type and default.

    help: one line; short: a one-letter flag; low, high: bounds, inclusive; choices: all values that
    are allowed; metavar: what the help shows for the value; negatable: also offered as `--no-NAME`;
    env: the variable, where it is not `VCLIP_NAME`; lasting: whether it makes sense beyond one
    command, so that `config.yaml` and the environment may hold it; commas: several values stand in
    one text, with commas between.
    """

    help: str
    short: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str | int, ...] = ()
    metavar: str = ""
    negatable: bool = False
    env: str = ""
    lasting: bool = True
    commas: bool = False


def setting(help: str, default: Any = None, **facts: Any) -> Any:
    """A field of a dataclass that is a setting; `facts` are those of `Setting`."""
    return dataclasses.field(default=default, metadata={"setting": Setting(help, **facts)})


@dataclass(frozen=True)
class Declared:
    """A setting with its name, its place and its type.

    group: the heading that it stands under; kind: the type of one value; many: a tuple of values;
    optional: None is allowed, and means that something else decides.
    """

    name: str
    group: str
    setting: Setting
    kind: Any
    many: bool
    optional: bool
    default: Any

    @property
    def option(self) -> str:
        """The flag on the command line, such as `--batch-size`."""
        return "--" + self.key

    @property
    def key(self) -> str:
        """The key in `config.yaml`, such as `batch-size`."""
        return self.name.replace("_", "-")

    @property
    def variable(self) -> str | None:
        """The environment variable, such as `VCLIP_BATCH_SIZE`."""
        return (self.setting.env or f"VCLIP_{self.name.upper()}") if self.setting.lasting else None

    def checked(self, value: Any) -> Any:
        """The value in the declared type. Raises ValueError that says what was expected."""
        if value is None and self.optional:
            return None
        if not self.many:
            return self._one(value)
        values = [value] if isinstance(value, str | Path | int | float) else value
        if self.setting.commas:
            values = self._split(values)
        if isinstance(values, Mapping):  # {"learning_rate": 0.001} for ["learning_rate=0.001"]
            values = [f"{key}={entry}" for key, entry in values.items()]
        if not isinstance(values, Iterable):
            raise ValueError(f"a list of {_NAMES.get(self.kind, self.kind.__name__)}")
        return tuple(self._one(entry) for entry in values)

    def _split(self, values: Any) -> list[Any]:
        """Values that stand in texts with commas between; numbers may be given as such."""
        texts = [part.strip() for value in values for part in str(value).split(",")]
        wanted = [text for text in texts if text]
        if not wanted:
            raise ValueError("at least one value, with commas between several")
        if self.kind is not int:
            return list(wanted)
        if not all(text.isascii() and text.isdigit() for text in wanted):
            raise ValueError("whole numbers with commas between")
        return [int(text) for text in wanted]

    def _one(self, value: Any) -> Any:
        setting, kind = self.setting, self.kind
        if kind is float and type(value) is int:
            value = float(value)
        if kind is Path and isinstance(value, str):
            value = Path(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(_NAMES.get(kind, kind.__name__))
        text = str(value) if kind in (str, Path) else "-"
        if not (text.strip() and text.isprintable()) or value == Path():
            raise ValueError("a text on one line" if kind is str else "a path")
        if setting.choices and value not in setting.choices:
            raise ValueError(" or ".join(map(str, setting.choices)))
        if kind in (int, float):
            low = setting.low if setting.low is not None else -math.inf
            high = setting.high if setting.high is not None else MOST
            if not low <= value <= high:
                raise ValueError(f"{low:g} to {high:,.10g}")
        return value


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false",
          Path: "a path"}  # fmt: skip


@lru_cache(maxsize=64)
def declared(spec: Any) -> tuple[Declared, ...]:
    """The settings that a dataclass declares, in order. Other fields are left out.

    The class names its group in `GROUP`.
    """
    hints = typing.get_type_hints(spec)
    found = []
    for field in dataclasses.fields(spec):
        if "setting" not in field.metadata:
            continue
        kind, optional = hints[field.name], False
        if isinstance(kind, UnionType):
            [kind] = [part for part in typing.get_args(kind) if part is not NoneType]
            optional = True
        many = typing.get_origin(kind) is tuple
        if many:
            kind = typing.get_args(kind)[0]
        group, facts = getattr(spec, "GROUP", spec.__name__), field.metadata["setting"]
        found.append(Declared(field.name, group, facts, kind, many, optional, field.default))
    return tuple(found)


def build(spec: type[Spec], values: Mapping[str, Any]) -> Spec:
    """A spec from those of the values that it declares. Raises UsageError for a wrong value."""
    given: dict[str, Any] = {}
    found: Any = spec
    for entry in declared(found):
        if entry.name not in values:
            continue
        try:
            given[entry.name] = entry.checked(values[entry.name])
        except ValueError as error:
            raise UsageError(
                f"the value of {entry.name!r} is wrong",
                found=repr(values[entry.name])[:80],
                expected=str(error),
            ) from None
    return spec(**given)


def refuse_unknown(given: Iterable[str], known: Iterable[str], function: str) -> None:
    """Refuse a keyword that is no setting. Raises UsageError, with the near misses."""
    names = list(known)
    for name in given:
        if name not in names:
            raise UsageError(f"{function} takes no {name!r}", hint=did_you_mean(name, names))
