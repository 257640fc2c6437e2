"""Made-up records for the tests of results: whole, valid, and changed by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vclip_cli.common.files import sha256_bytes
from vclip_cli.results.record import Record, write_record


def fake_sha256(name: str) -> str:
    return sha256_bytes(name.encode())


def make_values(
    *,
    method: str = "clip",
    dataset: str = "hmdb51",
    split: str = "1",
    part: str | None = None,
    top1: float = 50.0,
    scored: int = 100,
    failed: int = 0,
    seed: int | None = None,
    shots: int | None = None,
    protocol: str = "zero-shot",
    frames: int = 8,
    **changes: Any,
) -> dict[str, Any]:
    """The JSON form of a record; `changes` replace whole top-level keys."""
    classes = ["pour", "push up", "ride bike"]
    values: dict[str, Any] = {
        "schema_version": 1,
        "package": {"version": "0.1.0", "commit": None},
        "command": ["vclip", "eval", "--dataset", dataset],
        "config": {"frames": frames},
        "overrides": [],
        "protocol": {
            "name": protocol,
            "version": 1,
            "sha256": fake_sha256(protocol),
            "shots": shots,
        },
        "dataset": {
            "name": dataset,
            "split": split,
            "part": part,
            "manifest_sha256": fake_sha256(dataset),
            "split_sha256": fake_sha256(f"{dataset} {split} {part}"),
            "label_set": {"name": dataset, "version": 1, "sha256": fake_sha256(dataset)},
            "classes": classes,
            "absent": 0,
            "unlisted": 0,
            "remarks": [],
        },
        "prompts": {
            "templates": ["a photo of a {class}."],
            "text_variant": "natural",
            "texts": [[f"a photo of a {name}."] for name in classes],
        },
        "backbone": {
            "name": "ViT-B-16",
            "pretrained": "openai",
            "weights_sha256": fake_sha256("weights"),
            "quick_gelu": True,
            "parameters": 149_620_737,
        },
        "adapter": {
            "name": method,
            "config": {},
            "checkpoint_sha256": None,
            "trainable_parameters": 0,
        },
        "video": {
            "frames": frames,
            "decoder": {"name": "exact", "version": "16.0"},
            "sampling": {"rule": "segment midpoints"},
            "views": {"clips": 1, "crops": 1},
            "preprocessing": {"size": 224},
            "store": None,
            "embeddings": None,
        },
        "compute": {
            "precision": "fp32",
            "device": "cpu",
            "world_size": 1,
            "batch_size": 8,
            "workers": 0,
            "libraries": {"torch": "2.9.0"},
        },
        "seeds": {"train": seed},
        "counts": {"listed": scored + failed, "scored": scored, "failed": failed},
        "damage": [],
        "failures": [
            {"video": f"v{i}", "path": f"pour/v{i}.avi", "reason": "no frame"}
            for i in range(failed)
        ],
        "partial": False,
        "overlap_allowed": False,
        "marks": [],
        "metrics": {
            "top1": {"value": top1, "low": top1 - 1, "high": top1 + 1, "n": scored, "unit": "%"},
            "top5": {"value": 99.0, "low": 98.0, "high": 99.5, "n": scored, "unit": "%"},
        },
        "per_class": {
            "metric": "top1",
            "values": [{"name": name, "value": top1, "n": 10} for name in classes],
        },
        "without_positives": [],
        "decision": None,
        "predictions": {"file": "predictions.parquet", "sha256": fake_sha256("predictions")},
        "cost": None,
        "timing": {
            "started": "2026-01-01T00:00:00+00:00",
            "finished": "2026-01-01T00:01:00+00:00",
            "wall_seconds": 60.0,
            "videos_per_second": 1.7,
            "embeddings_reused": 0,
            "latency_milliseconds": None,
            "host": {"name": "one"},
        },
    }
    return values | changes


def make_record(**options: Any) -> Record:
    return Record.model_validate(make_values(**options))


def store(folder: Path, name: str, **options: Any) -> Path:
    """Write a made-up record to `folder/name/record.json`."""
    path = folder / name / "record.json"
    write_record(make_record(**options), path)
    return path
