"""Label sets: the classes of a dataset in official order, their texts, aliases and subsets.

Classes are identified by name everywhere. An index is only ever derived from the order here.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from vclip_cli.common.errors import (
    DataError,
    UsageError,
    did_you_mean,
    examples,
    require_known,
)
from vclip_cli.common.files import plain_name, sha256_json, write_text
from vclip_cli.common.resources import find_yaml, list_yaml
from vclip_cli.common.yaml_files import ErrorAt, load_named, raise_all

NATURAL = "natural"
_HINTS = 50
"""The most problems per file that get suggestions of similar names."""


class ClosedModel(BaseModel):
    """A part of a file's schema: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HashedModel(ClosedModel):
    """A closed model with a hash."""

    @cached_property
    def sha256(self) -> str:
        """The hash of the parsed content; comments and layout do not count."""
        return sha256_json(self.model_dump(mode="json"))


def one_line(name: str) -> str:
    """`name` itself. Raises ValueError when it is empty, padded or holds control characters."""
    if not name.strip() or name != name.strip():
        raise ValueError("a name must not be empty, nor begin or end with a blank")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("a name must not hold control characters")
    return name


class ClassEntry(ClosedModel):
    """One class.

    name: the official name. texts: what prompts are made of, by variant (`natural`, `x-clip`, …);
    without `natural` it is the name with blanks for underscores. aliases: other known spellings.
    """

    name: Annotated[str, AfterValidator(one_line)]
    texts: dict[str, str] = Field(default_factory=dict)
    aliases: list[str] = Field(default_factory=list)

    @field_validator("texts")
    @classmethod
    def _are_texts(cls, texts: dict[str, str]) -> dict[str, str]:
        empty = [variant for variant, text in texts.items() if not text.strip()]
        raise_all([ErrorAt((variant,), "the text is empty") for variant in empty])
        return texts


def _entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class LabelSet(HashedModel):
    """The classes of a dataset in official order.

    classes: a plain string stands for a class with that name and nothing else. subsets: named lists
    of classes, such as `base` and `novel`.
    """

    name: Annotated[str, AfterValidator(plain_name)]
    title: str
    version: int = Field(ge=1)
    source: str = ""
    classes: list[Annotated[ClassEntry, BeforeValidator(_entry)]] = Field(min_length=1)
    subsets: dict[str, list[str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_consistent(self) -> LabelSet:
        problems: list[ErrorAt] = []
        owners: dict[str, int] = {}
        for index, entry in enumerate(self.classes):
            if owners.setdefault(entry.name, index) != index:
                message = f"the class {entry.name!r} appears twice"
                problems.append(ErrorAt(("classes", index), message))
        for index, entry in enumerate(self.classes):
            for alias in entry.aliases:
                other = self.classes[owners.setdefault(alias, index)].name
                if other != entry.name:
                    message = f"{alias!r} is an alias of {entry.name!r} and also means {other!r}"
                    problems.append(ErrorAt(("classes", index, "aliases"), message))
        names = set(self.names)
        for subset, members in self.subsets.items():
            first: dict[str, int] = {}
            for index, member in enumerate(members):
                place = ("subsets", subset, index)
                if member not in names:
                    hint = did_you_mean(member, self.names) if len(problems) < _HINTS else "…"
                    message = f"the subset names an unknown class {member!r}; {hint}"
                    problems.append(ErrorAt(place, message))
                elif first.setdefault(member, index) != index:
                    problems.append(ErrorAt(place, f"the subset names {member!r} twice"))
        raise_all(problems)
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
        what = f"the label set {self.name!r} has no text variant {variant!r}"
        require_known(variant, self.variants, what)
        entry = self._entries.get(class_name)
        if entry is None:
            raise self._unknown(class_name)
        natural = entry.texts.get(NATURAL) or class_name.replace("_", " ")
        return entry.texts.get(variant, natural)

    def find(self, name: str) -> str | None:
        """The official name behind a name, an alias or a respelling, None when it is unclear.

        A respelling differs in case, blanks, underscores, CamelCase or punctuation only.
        """
        if name in self._entries:
            return name
        if name in self._by_alias:
            return self._by_alias[name]
        folded = fold(name)
        candidates = self._by_folded.get(folded, set()) if folded else set()
        if len(candidates) > 1:
            candidates = {found for found in candidates if fold(found) == folded}
        return next(iter(candidates)) if len(candidates) == 1 else None

    def resolve(self, name: str, where: str | None = None) -> str:
        """As `find`, but raises DataError at `where` with near misses unless one class fits."""
        found = self.find(name)
        if found is None:
            raise self._unknown(name, where)
        return found

    def subset(self, name: str) -> list[str]:
        """The class names of a subset, in its own order. Raises UsageError with near misses."""
        require_known(name, self.subsets, f"the label set {self.name!r} has no subset {name!r}")
        return list(self.subsets[name])

    def extended(self, classes: Iterable[ClassEntry], **changes: Any) -> LabelSet:
        """A copy with more classes at the end. changes: other fields with new values."""
        fields = {name: getattr(self, name) for name in LabelSet.model_fields}
        return LabelSet(**{**fields, "classes": [*self.classes, *classes], **changes})

    def _unknown(self, name: str, where: str | None = None) -> DataError:
        return DataError(
            f"unknown class {name!r}",
            where=where,
            expected=f"one of the {len(self.classes)} classes of the label set {self.name!r}",
            hint=did_you_mean(name, self.names),
        )


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """Lower-case letters and digits only: equal for all respellings of a name."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in plain if character.isalnum())


def load_label_set(name_or_path: str | Path) -> LabelSet:
    """The label set of a name or of a .yaml file.

    Raises UsageError for an unknown name, SpecError with file, line and key for a broken file.
    """
    path = find_yaml("label_sets", str(name_or_path))
    return load_named(path, LabelSet, str(name_or_path))


def write_label_set(label_set: LabelSet, path: Path) -> None:
    """Write a label set as YAML that `load_label_set` reads back to an equal one."""
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
    """A label set of these classes in their order, each once.

    Raises DataError when one of them is not a valid class name.
    """
    ordered = list(dict.fromkeys(names))
    if not ordered:
        raise DataError("no class was found to make a label set of", where=source or None)
    for class_name in ordered:
        try:
            one_line(class_name)
        except ValueError as error:
            raise DataError(f"the class {class_name!r}: {error}", where=source or None) from None
    entries = [ClassEntry(name=class_name) for class_name in ordered]
    return LabelSet(name=name, title=title, version=1, source=source, classes=entries)


def read_labels(given: str) -> LabelSet:
    """The label set that a person gives as one text, such as that of `--labels`.

    A name of a known label set or a `.yaml` file is that set; another existing file holds one label
    a line; anything else is a list with commas. Raises UsageError as `label_set_of` does.
    """
    if given.endswith((".yaml", ".yml")) or given in list_yaml("label_sets"):
        return load_label_set(given)
    path = Path(given)
    if "," in given or not (path.suffix == ".txt" or path.is_file()):
        return label_set_of(given.split(","), "--labels")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = f"the file of labels cannot be read: {error}"
        raise UsageError(what, where=str(path)) from None
    return label_set_of([line for line in lines if line.strip()], str(path))


def label_set_of(labels: Iterable[str], where: str) -> LabelSet:
    """A label set of these labels, in their order; where: their source, for errors.

    Raises UsageError for one text in place of a list, for no label, an empty one, and one that
    appears twice.
    """
    labels = labels if isinstance(labels, str) else list(labels)
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise UsageError(
            "labels are a list of texts",
            where=where,
            found=repr(labels)[:200],
            expected='such as ["circle", "square"]',
        )
    names = [label.strip() for label in labels]
    if not any(names):
        raise UsageError("no label was given", where=where)
    if not all(names):
        raise UsageError("a label is empty", where=where, found=",".join(names)[:80])
    for name in names:
        try:
            one_line(name)
        except ValueError as error:
            raise UsageError(str(error), where=where, found=repr(name)[:200]) from None
    if doubles := sorted({name for name, count in Counter(names).items() if count > 1}):
        raise UsageError("a label appears twice", where=where, found=examples(doubles, 5))
    entries = [ClassEntry(name=name, texts={NATURAL: name}) for name in names]
    return LabelSet(name="given", title="labels given by hand", version=1, classes=entries)


@dataclass(frozen=True)
class LabelDiff:
    """What differs between two label sets.

    only_a, only_b: classes that the other set has in no spelling. respelled: pairs of names
    (a, b) of one class. texts: (name in a, text in a, text in b). reordered: whether the classes
    that both have are in another order.
    """

    shared: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    respelled: tuple[tuple[str, str], ...]
    texts: tuple[tuple[str, str, str], ...]
    reordered: bool


def diff_label_sets(a: LabelSet, b: LabelSet, variant: str = NATURAL) -> LabelDiff:
    """Compare classes by name, alias and spelling, and the texts of a variant.

    Raises UsageError when either has no such variant.
    """
    pairs: dict[str, str] = {}
    for entry in a.classes:
        spellings = (b.find(spelling) for spelling in (entry.name, *entry.aliases))
        if other := next((found for found in spellings if found is not None), None):
            pairs[entry.name] = other
    texts = [(name, a.text(name, variant), b.text(other, variant)) for name, other in pairs.items()]
    positions = [b.names.index(other) for other in pairs.values()]
    return LabelDiff(
        shared=len(pairs),
        only_a=tuple(name for name in a.names if name not in pairs),
        only_b=tuple(name for name in b.names if name not in set(pairs.values())),
        respelled=tuple((name, other) for name, other in pairs.items() if name != other),
        texts=tuple(entry for entry in texts if entry[1] != entry[2]),
        reordered=positions != sorted(positions),
    )
