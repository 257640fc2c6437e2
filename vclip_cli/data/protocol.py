"""Protocols: what is trained on, what is tested on, and how, as `protocols/<name>.yaml`.

The schema is closed: an unknown key is an error with file and line. So is a key that would change
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from vclip_cli.common.errors import require_known
from vclip_cli.common.files import plain_name
from vclip_cli.common.resources import find_yaml, list_yaml
from vclip_cli.common.yaml_files import ErrorAt, Location, load_named, raise_all
from vclip_cli.data.label_set import ClosedModel, HashedModel
from vclip_cli.data.recipe import Recipe, Text, Views
from vclip_cli.data.split import ProtocolReference

ANY_DATASET = "*"
"""Stands for every dataset that no other entry names."""

MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""The file name of a metric, without its ending. A run refuses one that it does not find."""
Joined = Literal["splits", "parts", "seeds"]
"""What a mean in a table may be taken over."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _without_doubles(names: list[str]) -> list[str]:
    first: dict[str, int] = {}
    doubles = [i for i, name in enumerate(names) if first.setdefault(name, i) != i]
    raise_all([ErrorAt((index,), f"{names[index]!r} appears twice") for index in doubles])
    return names


class Entry(ClosedModel):
    """One list of videos to train or test on.

    dataset: its name, or the name of its label set, or `*` for every dataset that no other entry
      names. split: an official split, a union such as `train-1+test-1`, or `all`; of several, the
      first that the dataset has. classes: a subset of the label set, None for all classes. part:
      the name of the list where a split has several. halves: where `part` is base or novel, how the
      classes are halved: by the label set's `subsets`, by `training-counts` (the published rule,
      counted in `counted_in`), or `either`: the subsets where there are any. open_vocabulary: true:
      only for label sets with the subsets `seen` and `unseen`; false: only for the others.

    In training lists alone: draw: the rule for the videos. shots: the published numbers of videos a
    class, where they differ from the protocol's. In test lists alone: optional: tested only when
    asked for with `--split`.
    """

    dataset: str
    split: Annotated[list[str], BeforeValidator(_listed)] = Field(min_length=1)
    classes: str | None = None
    part: str | None = None
    halves: Literal["training-counts", "subsets", "either"] | None = None
    counted_in: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    draw: Literal["official", "few-shot", "base-to-novel"] = "official"
    shots: list[int] | None = None
    optional: bool = False
    open_vocabulary: bool | None = None

    @model_validator(mode="after")
    def _halves_fit(self) -> Entry:
        if self.halves is not None and self.part not in ("base", "novel"):
            raise ErrorAt(("halves",), "halves are for the parts base and novel only")
        if self.halves is not None and self.classes is not None:
            raise ErrorAt(("classes",), "give either halves or a subset of classes")
        if self.halves in ("training-counts", "either") and not self.counted_in:
            raise ErrorAt(("halves",), "counted_in must say which split is counted")
        return self


class Aggregate(ClosedModel):
    """What a table joins.

    over: the mean and the standard deviation over a dataset's test `splits`, over the `parts` of a
    split, over training `seeds`. What is not named stays apart. harmonic_mean: the harmonic mean of
    the parts base and novel as a column of its own.
    """

    over: Annotated[list[Joined], AfterValidator(_without_doubles)] = Field(default_factory=list)
    harmonic_mean: bool = False


class Protocol(HashedModel):
    """A versioned protocol. The classes of its keys say more about each.

    name, version, and the hash of the content stand in every split and record; tables keep
    different ones apart. title, source: shown by `vclip protocols`. kind: the datasets that it is
    for. train, test: lists of videos. shots, seeds: the published numbers of training videos a
    class, and of draws and trainings; the first seed is the default, and `vclip run` runs all.
    frames: T at test, and `frames_of` for datasets whose own differs. views, text: at test.
    metrics: what is computed and shown, in this order. aggregate: what tables join. recipes: how
    methods are trained; what a recipe says of frames, views and text comes before the protocol's.
    """

    name: Annotated[str, AfterValidator(plain_name)]
    version: int = Field(ge=1)
    title: str
    source: str
    kind: Literal["single-label", "multi-label"] = "single-label"
    train: list[Entry] = Field(default_factory=list)
    test: list[Entry] = Field(min_length=1)
    shots: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    frames: int = Field(ge=1)
    frames_of: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    views: Views = Views()
    text: Text | None = None
    metrics: Annotated[list[MetricName], Field(min_length=1), AfterValidator(_without_doubles)]
    aggregate: Aggregate = Aggregate()
    recipes: dict[str, Recipe] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_no_idle_keys(self) -> Protocol:
        found = [*self._idle_in_lists(), *self._idle_in_aggregate()]
        for name, recipe in self.recipes.items():
            keys = recipe.idle_keys(multi_label=self.kind == "multi-label")
            found += [(("recipes", name, *place), why, idle) for place, why, idle in keys]
        raise_all([ErrorAt(place, f"changes nothing: {why}") for place, why, idle in found if idle])
        return self

    def _idle_in_lists(self) -> Iterator[tuple[Location, str, bool]]:
        """Keys that may have no effect: place, reason, and whether the reason applies."""
        for use, entries in (("train", self.train), ("test", self.test)):
            for index, entry in enumerate(entries):
                drawn = entry.draw != "official"
                counts = entry.halves in ("training-counts", "either")
                why = "only training lists are drawn"
                yield (use, index, "draw"), why, drawn and use == "test"
                why = "no videos are drawn for this list"
                idle = use == "test" or not drawn
                yield (use, index, "shots"), why, entry.shots is not None and idle
                why = "only test lists can be optional"
                yield (use, index, "optional"), why, entry.optional and use == "train"
                why = "nothing is counted without halves: training-counts, or either"
                yield (use, index, "counted_in"), why, bool(entry.counted_in) and not counts
        takes = any(entry.draw != "official" and entry.shots is None for entry in self.train)
        yield ("shots",), "no training list draws videos by it", bool(self.shots) and not takes
        yield ("seeds",), "there is no training list", bool(self.seeds) and not self.train

    def _idle_in_aggregate(self) -> Iterator[tuple[Location, str, bool]]:
        parts = {entry.part for entry in self.test if entry.part is not None}
        lists = Counter((entry.dataset, entry.part) for entry in self.test)
        reasons: dict[str, tuple[str, bool]] = {
            "parts": ("no test list has a part", not parts),
            "splits": ("no dataset has several test splits", max(lists.values()) < 2),
            "seeds": ("there is no training list", not self.train),
        }
        for index, name in enumerate(self.aggregate.over):
            why, idle = reasons[name]
            yield ("aggregate", "over", index), why, idle
        idle = self.aggregate.harmonic_mean and not {"base", "novel"} <= parts
        yield ("aggregate", "harmonic_mean"), "it needs test lists of base and of novel", idle

    @property
    def reference(self) -> ProtocolReference:
        """Name, version and hash, for provenance."""
        return ProtocolReference(name=self.name, version=self.version, sha256=self.sha256)

    def frames_for(self, dataset: str) -> int:
        """T for a dataset by name."""
        return self.frames_of.get(dataset, self.frames)

    def recipe(self, name: str) -> Recipe:
        """A recipe by name. Raises UsageError with the near misses."""
        require_known(name, self.recipes, f"the protocol {self.name!r} has no recipe {name!r}")
        return self.recipes[name]

    def recipe_for(
        self, method: str, dataset: str, backbone: str | None = None
    ) -> tuple[str, Recipe] | None:
        """The first recipe of a method for a training set: one that names it, else one for all.

        backbone: only recipes for this backbone, or for none in particular.
        """
        for wanted in (True, False):
            for name, recipe in self.recipes.items():
                fits = dataset in recipe.datasets if wanted else not recipe.datasets
                same = None in (backbone, recipe.backbone) or backbone == recipe.backbone
                if recipe.method == method and fits and same:
                    return name, recipe
        return None


def load_protocol(name_or_path: str | Path) -> Protocol:
    """The protocol of a name or of a .yaml file.

    Raises UsageError for an unknown name, SpecError with file, line and key for a broken file.
    """
    path = find_yaml("protocols", str(name_or_path))
    return load_named(path, Protocol, str(name_or_path))


def list_protocols() -> dict[str, Path]:
    """Every protocol: name to file, the person's own before the shipped ones."""
    return list_yaml("protocols")
