"""The numbers of a page as one JSON-able document, for the scripts that draw it.

Clips and lists of classes are stored once and named by their position.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from vclip_cli.common.files import sha256_json
from vclip_cli.report.calibration import calibration
from vclip_cli.report.clip_scores import (
    ClipScores,
    are_probabilities,
    clip_scores,
    hardest,
    most_confident_mistakes,
)
from vclip_cli.report.confusion import confusions
from vclip_cli.report.embedding_map import embedding_map
from vclip_cli.report.material import (
    ClipAttention,
    Embeddings,
    Missing,
    ReportMaterial,
    ResultMaterial,
    Strip,
)
from vclip_cli.report.naming import comparable, name_results, test_name
from vclip_cli.report.provenance import warnings_of
from vclip_cli.report.selection import HARDEST
from vclip_cli.results.escaping import plain
from vclip_cli.results.predictions import Predictions

NO_MATRIX = "A clip of this test set can have several labels, so no class is taken for another."
NO_PROBABILITIES = "The scores of this result are no probabilities, so they cannot be calibrated."


class _Positions:
    """Gives each different value a number, in order of first use."""

    def __init__(self) -> None:
        self.known: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        return self.known.setdefault(value, len(self.known))


def content(material: ReportMaterial) -> dict[str, Any]:
    """All that the scripts need."""
    class_lists, clips = _Positions(), _Positions()
    names = name_results([entry.loaded for entry in material.results])
    results = [
        _result(entry, name, shown, class_lists, clips)
        for entry, name, shown in zip(material.results, names, material.videos, strict=True)
    ]
    records = [entry.loaded.record for entry in material.results]
    for place, result in enumerate(results):
        result["comparable"] = [
            other
            for other in range(len(records))
            if other != place and comparable(records[place], records[other])
        ]
    return {
        "classes": [[plain(name) for name in names] for names in class_lists.known],
        "results": results,
        "clips": [plain(video) for _, video in clips.known],
        "strips": [_strip(material.strips.get(key)) for key in clips.known],
        "focus": {
            str(place): _strip(material.focus_strips[key])
            for key, place in clips.known.items()
            if key in material.focus_strips
        },
        "noFrames": None if material.frames is None else plain(material.frames.why),
    }


def _result(
    entry: ResultMaterial,
    name: str,
    shown: Sequence[str],
    class_lists: _Positions,
    clips: _Positions,
) -> dict[str, Any]:
    record = entry.loaded.record
    multi_label = "top1" not in record.metrics
    result: dict[str, Any] = {
        "name": name,
        "method": plain(record.adapter.name),
        "test": plain(test_name(record)),
        "classes": class_lists.of(tuple(record.dataset.classes)),
        "multiLabel": multi_label,
        "scored": record.counts.scored,
        "warnings": warnings_of(record) + [plain(text) for text in entry.remarks],
        "perClass": {
            "metric": plain(record.per_class.metric),
            "values": [_rounded(value.value, 2) for value in record.per_class.values],
            "n": [value.n for value in record.per_class.values],
        },
    }
    if isinstance(entry.predictions, Missing):
        missing = _why(entry.predictions)
        parts = ("clips", "confusion", "calibration", "map", "attention")
        return result | dict.fromkeys(parts, missing)
    facts = clip_scores(entry.predictions, multi_label)
    return result | {
        "clips": _clips(entry.predictions, facts, shown, record.dataset.name, clips),
        "confusion": {"why": NO_MATRIX}
        if multi_label
        else {"pairs": confusions(facts, len(record.dataset.classes))},
        "calibration": _calibration(entry.predictions, facts, multi_label),
        "map": _map(entry, entry.predictions, record.dataset.name, clips),
        "attention": _attention(entry, record.dataset.name, clips),
    }


def _clips(
    predictions: Predictions,
    facts: ClipScores,
    shown: Sequence[str],
    dataset: str,
    clips: _Positions,
) -> dict[str, Any]:
    """The shown clips, one entry a clip, and which of all are right, sorted by video."""
    position = {video: place for place, video in enumerate(predictions.videos)}
    rows = [position[video] for video in shown]
    place = {row: number for number, row in enumerate(rows)}
    by_video = sorted(range(len(predictions.videos)), key=predictions.videos.__getitem__)
    return {
        "clip": [clips.of((dataset, predictions.videos[row])) for row in rows],
        "truth": [list(facts.truth[row]) for row in rows],
        "best": facts.best[rows].tolist(),
        "scores": [[_rounded(value, 4) for value in line] for line in facts.scores[rows].tolist()],
        "ease": [_rounded(value, 4) for value in facts.ease[rows].tolist()],
        "hardest": [place[row] for row in hardest(facts, HARDEST).tolist() if row in place],
        "mistakes": [
            place[row] for row in most_confident_mistakes(facts, HARDEST).tolist() if row in place
        ],
        "videos": sha256_json([predictions.videos[row] for row in by_video])[:16],
        "right": "".join("01"[int(facts.right[row])] for row in by_video),
    }


def _calibration(predictions: Predictions, facts: ClipScores, multi_label: bool) -> dict[str, Any]:
    if multi_label or not are_probabilities(predictions):
        return {"why": NO_PROBABILITIES}
    measured = asdict(calibration(facts.scores[:, 0], facts.right))
    for entry in measured["bins"]:
        for name in ("low", "high", "confidence", "accuracy"):
            entry[name] = _rounded(entry[name], 4)
    return {**measured, "error": _rounded(measured["error"], 4)}


def _map(
    entry: ResultMaterial, predictions: Predictions, dataset: str, clips: _Positions
) -> dict[str, Any]:
    if isinstance(entry.embeddings, Missing):
        return _why(entry.embeddings)
    labels = dict(zip(predictions.videos, predictions.labels, strict=True))
    embeddings: Embeddings = entry.embeddings
    made = embedding_map(embeddings, [labels[video] for video in embeddings.videos])
    if isinstance(made, Missing):
        return _why(made)
    return {
        "clip": [clips.of((dataset, video)) for video in made.videos],
        "x": np.round(made.points[:, 0], 3).tolist(),
        "y": np.round(made.points[:, 1], 3).tolist(),
        "neighbours": _rounded(made.neighbours, 4),
        "perplexity": _rounded(made.perplexity, 1),
        "of": len(predictions.videos),
    }


def _attention(entry: ResultMaterial, dataset: str, clips: _Positions) -> dict[str, Any]:
    if isinstance(entry.attention, Missing):
        return _why(entry.attention)
    return {
        "clips": [
            {"clip": clips.of((dataset, video)), **_clip_attention(shown)}
            for video, shown in entry.attention.items()
        ]
    }


def _clip_attention(shown: ClipAttention) -> dict[str, Any]:
    """Patches as bytes, 255 for the strongest patch of the clip, so that frames compare."""
    strongest = float(shown.patches.max())
    levels = np.rint(shown.patches / max(strongest, 1e-12) * 255).astype(np.uint8)
    return {
        "shape": list(shown.patches.shape),
        "patches": base64.b64encode(levels.tobytes()).decode("ascii"),
        "strongest": _rounded(strongest, 5),
        "strip": _strip(shown.strip),
        "cls": [_rounded(value, 3) for value in shown.cls.tolist()],
        "own": [_rounded(value, 3) for value in shown.own.tolist()],
        "temporal": [
            {"module": plain(part.module), "weights": np.round(part.weights, 3).tolist()}
            for part in shown.temporal
        ],
    }


def _strip(strip: Strip | None) -> dict[str, Any] | None:
    if strip is None:
        return None
    data = base64.b64encode(strip.data).decode("ascii")
    return {"data": data, "frames": list(strip.indices)}


def _why(missing: Missing) -> dict[str, Any]:
    return {"why": plain(missing.why)}


def _rounded(value: float | None, digits: int) -> float | None:
    """A finite number with few digits, None for what is none or not a number."""
    if value is None or not np.isfinite(value):
        return None
    return round(float(value), digits)
