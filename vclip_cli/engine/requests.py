"""Which settings each verb takes, and a request: what was asked of a verb or of its function.

Loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import read_note, sha256_json
from vclip_cli.common.settings import Declared, build, declared, refuse_unknown
from vclip_cli.engine.specs import (
    COUNT_AS_WRONG,
    ComputeSpec,
    DataSpec,
    InputSpec,
    ModelSpec,
    RunSpec,
    StoreSpec,
    SweepSpec,
    TextSpec,
    TrainSpec,
    WorkerSpec,
)

RUN_FILE = "run.json"
_MODEL = "method checkpoint backbone pretrained"
_WORKERS = "workers video_timeout limit_memory"
TAKES: dict[str, dict[type, str]] = {
    "train": {
        DataSpec: "protocol dataset shots train_list allow_overlap",
        ModelSpec: "method backbone pretrained",
        TrainSpec: "recipe set start_from select_on flip extra_labels save_every stop_after",
        InputSpec: "frames decoder frames_from",
        ComputeSpec: "device precision batch_size compile gradient_checkpointing",
        WorkerSpec: _WORKERS,
        RunSpec: "seed out resume limit cache",
    },
    "eval": {
        DataSpec: "protocol dataset+ split allow_overlap",
        ModelSpec: f"{_MODEL} interpolate",
        InputSpec: "frames clips crops decoder frames_from",
        TextSpec: "template text label_embeddings",
        ComputeSpec: "device precision batch_size",
        WorkerSpec: _WORKERS,
        RunSpec: "out resume limit on_error cache shard merge",
    },
    "run": {
        DataSpec: "protocol dataset+",
        SweepSpec: "methods seeds shots",
        ModelSpec: "backbone pretrained",
        TrainSpec: "set",
        InputSpec: "frames_from",
        ComputeSpec: "device precision batch_size compile gradient_checkpointing",
        WorkerSpec: _WORKERS,
        RunSpec: "out resume limit cache",
    },
    "embed": {
        DataSpec: "protocol dataset split",
        ModelSpec: _MODEL,
        InputSpec: "frames clips crops decoder frames_from",
        ComputeSpec: "device precision batch_size",
        WorkerSpec: _WORKERS,
        RunSpec: "limit shard",
    },
    "extract": {
        DataSpec: "dataset",
        StoreSpec: "frames clips segments_jitter quality size verify",
        InputSpec: "decoder",
        WorkerSpec: _WORKERS,
        RunSpec: "out resume limit shard merge",
    },
    "predict": {
        ModelSpec: f"{_MODEL} interpolate",
        InputSpec: "frames clips crops decoder allow_single_frame",
        TextSpec: "template text label_embeddings",
        ComputeSpec: "device precision",
        WorkerSpec: _WORKERS,
        RunSpec: "cache",
    },
    "labels embed": {
        ModelSpec: f"{_MODEL} interpolate",
        TextSpec: "template text",
        ComputeSpec: "device precision",
    },
    "verify": {
        ModelSpec: "checkpoint pretrained",
        ComputeSpec: "device",
        WorkerSpec: "workers",
    },
    "split": {DataSpec: "protocol shots allow_overlap", RunSpec: "seed out"},
    "bench": {
        ModelSpec: _MODEL,
        InputSpec: "frames",
        ComputeSpec: "device precision batch_size compile gradient_checkpointing",
        WorkerSpec: "workers",
        RunSpec: "limit",
    },
    "report": {
        ComputeSpec: "device batch_size",
        WorkerSpec: "workers",
        RunSpec: "out",
    },
    "demo": {
        ComputeSpec: "device batch_size",
        WorkerSpec: "workers",
        RunSpec: "limit out resume",
    },
    "convert": {ModelSpec: "method backbone pretrained", TrainSpec: "set", RunSpec: "out"},
    "table": {RunSpec: "out"},
    "data check": {WorkerSpec: _WORKERS},
    "data add": {ModelSpec: "backbone pretrained"},
    "labels show": {TextSpec: "text"},
    "labels diff": {TextSpec: "text"},
}
"""The settings of each verb, and of the library function of that name, by group.

A `+` marks a repeatable setting: the verb makes one request per value."""


@lru_cache(maxsize=len(TAKES))
def settings_of(verb: str) -> tuple[Declared, ...]:
    """The settings of a verb, in the order of its help."""
    found = []
    for spec, names in TAKES[verb].items():
        by_name = {entry.name: entry for entry in declared(spec)}
        for name in names.split():
            entry = by_name[name.rstrip("+")]
            if name.endswith("+"):
                text = f"{entry.setting.help} May be repeated."
                entry = replace(entry, many=True, setting=replace(entry.setting, help=text))
            found.append(entry)
    return tuple(found)


def _names(takes: str) -> list[str]:
    return [name.rstrip("+") for name in takes.split()]


def lasting_settings() -> dict[str, Declared]:
    """The settings that a config file and the environment may hold: key to declaration."""
    specs = dict.fromkeys(spec for takes in TAKES.values() for spec in takes)
    found = [entry for spec in specs for entry in declared(spec) if entry.setting.lasting]
    return {entry.key: entry for entry in found}


@dataclass(frozen=True)
class Request:
    """What was asked of a verb, or of the library's function of that name."""

    data: DataSpec = field(default_factory=DataSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    training: TrainSpec = field(default_factory=TrainSpec)
    input: InputSpec = field(default_factory=InputSpec)
    text: TextSpec = field(default_factory=TextSpec)
    compute: ComputeSpec = field(default_factory=ComputeSpec)
    workers: WorkerSpec = field(default_factory=WorkerSpec)
    run: RunSpec = field(default_factory=RunSpec)
    store: StoreSpec = field(default_factory=StoreSpec)
    sweep: SweepSpec = field(default_factory=SweepSpec)

    @classmethod
    def of(cls, verb: str, keywords: Mapping[str, Any], function: str | None = None) -> Request:
        """The request of a verb from its settings by name. function: its name in errors.

        Raises UsageError for an unknown name, with the near misses, and for a wrong value.
        """
        refuse_unknown(
            keywords, [entry.name for entry in settings_of(verb)], function or f"vclip {verb}"
        )
        places: dict[Any, str] = {part.default_factory: part.name for part in fields(cls)}
        parts: dict[str, Any] = {}
        for spec, names in TAKES[verb].items():
            own = {name: keywords[name] for name in _names(names) if name in keywords}
            parts[places[spec]] = build(spec, own)
        return cls(**parts)

    def change(self, **parts: Mapping[str, Any]) -> Request:
        """The request with some fields of its parts changed: `change(run={"out": folder})`."""
        changed = {name: replace(getattr(self, name), **values) for name, values in parts.items()}
        return replace(self, **changed)

    def settings(self, verb: str) -> dict[str, Any]:
        """The settings of a verb by name, JSON-able."""
        parts = {type(getattr(self, part.name)): getattr(self, part.name) for part in fields(self)}
        return {
            name: plain(getattr(parts[spec], name))
            for spec, names in TAKES[verb].items()
            for name in _names(names)
        }


def plain(value: Any) -> Any:
    """A setting's value as JSON has it: tuples are lists, paths are texts."""
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


_PLACES = frozenset(
    ("out", "resume", "cache", "shard", "merge", "checkpoint", "start_from", "label_embeddings")
)
"""Settings about file places and execution, which are not recorded."""
_NO_EFFECT = _PLACES | {
    *("workers", "video_timeout", "limit_memory", "compile", "gradient_checkpointing"),
    *("save_every", "stop_after", "device", "frames_from", "allow_overlap", "train_list"),
    *("protocol", "split"),
    *("extra_labels", "backbone", "pretrained", "set", "recipe"),
}
"""Settings left out of a run's identity. They change results only by rounding, or name files whose
content is hashed in the sources."""


@dataclass(frozen=True)
class RunDocument:
    """A run's resolved settings and the hashes of everything that it reads.

    `run.json`, a record's `config` and a checkpoint's header hold it or its settings; its hash
    tells whether two runs compute the same. sources: versions, hashes and facts by name; they are
    compared, never read as settings.
    """

    work: str
    request: Request
    sources: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved settings by name, JSON-able."""
        return self.request.settings(self.work)

    @property
    def recorded(self) -> dict[str, Any]:
        """The settings that a record holds."""
        return {name: value for name, value in self.settings.items() if name not in _PLACES}

    @property
    def identity(self) -> dict[str, Any]:
        """What determines the results."""
        settings = {k: v for k, v in self.settings.items() if k not in _NO_EFFECT}
        if self.work == "train":  # the recipe sets the size of an update
            settings.pop("batch_size")
        if settings.get("on_error") != COUNT_AS_WRONG:  # skip and stop give the same rows
            settings.pop("on_error", None)
        return {"work": self.work, "settings": settings, "sources": dict(self.sources)}

    @property
    def sha256(self) -> str:
        """The hash of the identity."""
        return sha256_json(self.identity)

    def default_folder(self, name: str) -> Path:
        """The run's folder without `--out`."""
        data, name = self.request.data, f"{name}_{self.sha256[:10]}"
        return Path("runs") / Path(str(data.protocol)).stem / str(data.dataset) / name

    def earlier(self, folder: Path) -> dict[str, Any] | None:
        """The `run.json` that an equal run left in a folder, None without one.

        Raises UsageError if the folder holds a run with other settings, or a damaged run.
        """
        path = folder / RUN_FILE
        if not path.is_file():
            return None
        found = read_note(path)
        if found.get("sha256") == self.sha256:
            return found
        hint = "choose another with --out, or replace it with --no-resume"
        if found and "work" not in found:  # only `table` and `verify` read runs of 0.1
            raise UsageError(
                "a run of version 0.1 cannot be continued", where=str(folder), hint=hint
            )
        raise UsageError(
            "the output folder holds a run with other settings",
            where=str(folder),
            found=self._other_than(found),
            hint=hint,
        )

    def _other_than(self, found: Mapping[str, Any]) -> str | None:
        """The differences from another run's document, for an error; None if it is unreadable."""
        settings, sources = found.get("settings"), found.get("sources")
        if not isinstance(settings, dict) or not isinstance(sources, dict):
            return None
        if found["work"] != self.work:
            return f"a run of vclip {found['work']}"
        own = json.loads(json.dumps(self.identity))  # tuples as lists, as the file has them
        mine = own["sources"]
        names = [name for name in own["settings"] if own["settings"][name] != settings.get(name)]
        names += [name for name in mine | sources if mine.get(name) != sources.get(name)]
        return "it differs in " + ", ".join(names) if names else None

    def as_dict(self) -> dict[str, Any]:
        """The document as `run.json` holds it."""
        return {
            "sha256": self.sha256,
            "work": self.work,
            "settings": self.settings,
            "sources": dict(self.sources),
        }


def recorded_request(work: str, settings: Mapping[str, Any]) -> Request:
    """The request that a record's settings stand for; the names of version 0.1 are known.

    Raises UsageError for values that no run can have had.
    """
    renamed = {"splits": "split", "templates": "template"}
    known = {entry.name for entry in settings_of(work)}
    values = {renamed.get(name, name): value for name, value in settings.items()}
    return Request.of(work, {name: value for name, value in values.items() if name in known})
