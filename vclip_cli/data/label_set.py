"""Label sets: the classes of a dataset in official order, their texts, aliases and subsets.

Classes are identified by name everywhere; an index is only ever derived from the order here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from vclip_cli.common.errors import DataError, SpecError, UsageError, did_you_mean
from vclip_cli.common.files import plain_name, sha256_json, write_text
from vclip_cli.common.resources import find_yaml
from vclip_cli.common.yaml_files import ErrorAt, load_model

NATURAL = "natural"


class ClassEntry(BaseModel):
    """One class: its official name, the texts that prompts are made of, other known spellings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    texts: dict[str, str] = Field(default_factory=dict)
    aliases: list[str] = Field(default_factory=list)

    @field_validator("name")
    @classmethod
    def _is_one_line(cls, name: str) -> str:
        return one_line(name)

    @field_validator("texts")
    @classmethod
    def _are_texts(cls, texts: dict[str, str]) -> dict[str, str]:
        for variant, text in texts.items():
            if not text.strip():
                raise ErrorAt((variant,), "the text is empty")
        return texts


def _entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class LabelSet(BaseModel):
    """The classes of a dataset in official order. A plain string in `classes` is a bare name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    version: int = Field(ge=1)
    source: str = ""
    classes: list[Annotated[ClassEntry, BeforeValidator(_entry)]] = Field(min_length=1)
    subsets: dict[str, list[str]] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _is_plain(cls, name: str) -> str:
        return plain_name(name)

    @model_validator(mode="after")
    def _refuse_doubles(self) -> LabelSet:
        owners: dict[str, int] = {}
        for index, entry in enumerate(self.classes):
            if entry.name in owners:
                message = f"the class {entry.name!r} stands twice"
                raise ErrorAt(("classes", index), message)
            owners[entry.name] = index
        for index, entry in enumerate(self.classes):
            for alias in entry.aliases:
                owner = owners.setdefault(alias, index)
                if owner != index:
                    other = self.classes[owner].name
                    message = f"{alias!r} is an alias of {entry.name!r} and also means {other!r}"
                    raise ErrorAt(("classes", index, "aliases"), message)
        names = {entry.name for entry in self.classes}
        for subset, members in self.subsets.items():
            seen: set[str] = set()
            for index, member in enumerate(members):
                if member not in names:
                    hint = did_you_mean(member, self.names)
                    message = f"the subset names an unknown class {member!r}; {hint}"
                    raise ErrorAt(("subsets", subset, index), message)
                if member in seen:
                    message = f"the subset names {member!r} twice"
                    raise ErrorAt(("subsets", subset, index), message)
                seen.add(member)
        return self

    @cached_property
    def names(self) -> list[str]:
        """The class names in official order."""
        return [entry.name for entry in self.classes]

    @cached_property
    def variants(self) -> list[str]:
        """The text variants that at least one class has; `natural` always comes first."""
        found = {NATURAL: None}
        for entry in self.classes:
            found.update(dict.fromkeys(entry.texts))
        return list(found)

    @cached_property
    def sha256(self) -> str:
        """The hash of the parsed content; comments and layout do not count."""
        return sha256_json(self.model_dump(mode="json"))

    @cached_property
    def _entries(self) -> dict[str, ClassEntry]:
        return {entry.name: entry for entry in self.classes}

    @cached_property
    def _by_alias(self) -> dict[str, str]:
        return {alias: entry.name for entry in self.classes for alias in entry.aliases}

    @cached_property
    def _by_folded(self) -> dict[str, set[str]]:
        folded: dict[str, set[str]] = {}
        for entry in self.classes:
            natural = entry.texts.get(NATURAL, entry.name)
            for spelling in (entry.name, *entry.aliases, natural):
                folded.setdefault(fold(spelling), set()).add(entry.name)
        return folded

    def text(self, class_name: str, variant: str = NATURAL) -> str:
        """The text of a class for prompts.

        A class without that variant falls back to `natural`, and that to the name with blanks for
        underscores. Raises UsageError when no class has the variant, DataError for another name.
        """
        if variant not in self.variants:
            raise UsageError(
                f"the label set {self.name!r} has no text variant {variant!r}",
                hint=did_you_mean(variant, self.variants),
            )
        entry = self._entries.get(class_name)
        if entry is None:
            raise self._unknown(class_name)
        natural = entry.texts.get(NATURAL) or class_name.replace("_", " ")
        return entry.texts.get(variant, natural)

    def resolve(self, name: str) -> str:
        """The official name behind a name, an alias or a respelling.

        A respelling differs in case, blanks, underscores, CamelCase or punctuation only. Raises
        DataError with the near misses when nothing fits, or when several classes do.
        """
        if name in self._entries:
            return name
        if name in self._by_alias:
            return self._by_alias[name]
        folded = fold(name)
        candidates = self._by_folded.get(folded, set()) if folded else set()
        if len(candidates) > 1:
            candidates = {found for found in candidates if fold(found) == folded}
        if len(candidates) == 1:
            return next(iter(candidates))
        raise self._unknown(name)

    def subset(self, name: str) -> list[str]:
        """The class names of a subset, in its own order. Raises UsageError with near misses."""
        if name not in self.subsets:
            raise UsageError(
                f"the label set {self.name!r} has no subset {name!r}",
                hint=did_you_mean(name, self.subsets),
            )
        return list(self.subsets[name])

    def _unknown(self, name: str) -> DataError:
        return DataError(
            f"unknown class {name!r}",
            expected=f"one of the {len(self.classes)} classes of the label set {self.name!r}",
            hint=did_you_mean(name, self.names),
        )


def one_line(name: str) -> str:
    """`name` itself. Raises ValueError when it is empty, padded or holds control characters."""
    if not name.strip() or name != name.strip():
        raise ValueError("a name must not be empty, nor begin or end with a blank")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("a name must not hold control characters")
    return name


def fold(name: str) -> str:
    """Letters and digits only, without case: what all respellings of a name have in common."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in plain if character.isalnum())


def load_label_set(name_or_path: str | Path) -> LabelSet:
    """The label set of a name or of a .yaml file.

    Raises UsageError for an unknown name, SpecError with file, line and key for a broken file.
    """
    path = find_yaml("label_sets", str(name_or_path))
    label_set = load_model(path, LabelSet)
    if str(name_or_path) == path.stem != label_set.name:
        raise SpecError(
            "the key 'name' differs from the file's name",
            where=str(path),
            found=repr(label_set.name),
            expected=repr(path.stem),
        )
    return label_set


def write_label_set(label_set: LabelSet, path: Path) -> None:
    """Write a label set as YAML that `load_label_set` reads back to an equal one."""
    import yaml

    value = label_set.model_dump(mode="json")
    value["classes"] = [
        {key: part for key, part in entry.items() if part} for entry in value["classes"]
    ]
    for key in ("source", "subsets"):
        if not value[key]:
            del value[key]
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    write_text(path, text)


def label_set_from_names(name: str, title: str, names: Iterable[str], source: str = "") -> LabelSet:
    """A first label set of somebody's own classes, sorted by name.

    Raises DataError when a name cannot be one.
    """
    ordered = sorted(set(names))
    if not ordered:
        raise DataError("no class was found to make a label set of", where=source or None)
    for class_name in ordered:
        try:
            one_line(class_name)
        except ValueError as error:
            raise DataError(f"the class {class_name!r}: {error}", where=source or None) from None
    entries = [ClassEntry(name=class_name) for class_name in ordered]
    return LabelSet(name=name, title=title, version=1, source=source, classes=entries)


@dataclass(frozen=True)
class LabelDiff:
    """only_a, only_b: classes that the other set knows under no spelling.

    respelled: pairs of names (a, b) of one class. texts: (name in a, text in a, text in b).
    reordered: whether the classes that both have stand in another order.
    """

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    respelled: tuple[tuple[str, str], ...]
    texts: tuple[tuple[str, str, str], ...]
    reordered: bool
    shared: int

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            "shared": self.shared,
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "respelled": [list(pair) for pair in self.respelled],
            "texts": [list(entry) for entry in self.texts],
            "reordered": self.reordered,
        }


def diff_label_sets(a: LabelSet, b: LabelSet, variant: str = NATURAL) -> LabelDiff:
    """Compare classes by name, alias and spelling, and the texts of a variant.

    Raises UsageError when either has no such variant.
    """
    pairs = {name: other for name in a.names if (other := _same_class(name, a, b)) is not None}
    found = set(pairs.values())
    texts = []
    for name, other in pairs.items():
        ours, theirs = a.text(name, variant), b.text(other, variant)
        if ours != theirs:
            texts.append((name, ours, theirs))
    positions = [b.names.index(other) for other in pairs.values()]
    return LabelDiff(
        only_a=tuple(name for name in a.names if name not in pairs),
        only_b=tuple(name for name in b.names if name not in found),
        respelled=tuple((name, other) for name, other in pairs.items() if name != other),
        texts=tuple(texts),
        reordered=positions != sorted(positions),
        shared=len(pairs),
    )


def _same_class(name: str, a: LabelSet, b: LabelSet) -> str | None:
    """The class of b that is a's `name`: by b's spellings, or by an alias that a gives it."""
    aliases = next(entry.aliases for entry in a.classes if entry.name == name)
    for spelling in (name, *aliases):
        try:
            return b.resolve(spelling)
        except DataError:
            continue
    return None
