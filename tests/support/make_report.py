"""Material for reports, made up: results of any size, with pictures, vectors and attention."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from make_records import make_values, measure_ranked, measure_single

from vclip_cli.report.material import (
    LARGE,
    SMALL,
    Embeddings,
    Missing,
    ReportMaterial,
    ResultMaterial,
    Strip,
    TemporalAttention,
    VideoAttention,
    make_strip,
)
from vclip_cli.report.video_scores import select_videos
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.predictions import Predictions
from vclip_cli.results.record import Record

HOSTILE = (
    "</script><script>document.title='broken'</script>",
    "<img src=https://example.com/x onerror=alert(1)>",
    "\"quoted\" 'name' & <b>bold</b>",
    "control \x00\x1b[31m codes \u202e turned",
    "שלום עולם مرحبا",
    '<a href="https://example.com/">link</a> $x^2$ {{ 7 * 7 }}',
    "__proto__",
)
FRAMES, PATCHES = 8, 14


def make_predictions(
    classes: Sequence[str], count: int, seed: int = 0, skill: float = 3.0
) -> Predictions:
    """Single-label probabilities of `count` videos; neighbouring classes are mixed up most."""
    generator = np.random.default_rng(seed)
    truth = np.arange(count) % len(classes)
    logits = generator.normal(size=(count, len(classes)))
    rows = np.arange(count)
    logits[rows, truth] += skill * generator.random(count)
    logits[rows, (truth + 1) % len(classes)] += skill * generator.random(count) * 0.8
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return Predictions(
        tuple(f"clip#{number:04d}_a&b" for number in range(count)),
        tuple((classes[index],) for index in truth),
        scores,
        tuple(classes),
    )


def make_loaded(
    predictions: Predictions, *, multi_label: bool = False, folder: str = "run", **changes: object
) -> LoadedRecord:
    """A record that says what the predictions give."""
    measure = measure_ranked if multi_label else measure_single
    measured = measure(predictions.scores, predictions.labels, predictions.classes)
    values = make_values(scored=len(predictions.videos), **changes)
    values["dataset"]["classes"] = list(predictions.classes)
    values["prompts"]["texts"] = [[f"a photo of a {name}."] for name in predictions.classes]
    values |= measured.model_dump(mode="json")
    return LoadedRecord(Path(folder) / "record.json", Record.model_validate(values))


@functools.cache
def painted_strips(different: int, most: int, large: bool) -> tuple[Strip, ...]:
    """Strips of smooth moving noise, which costs the encoder about what real frames do."""
    generator = np.random.default_rng(different)
    made = []
    for _ in range(different):
        coarse = generator.integers(0, 255, size=(12, 12, 3)).astype(np.float32)
        base = np.kron(coarse, np.ones((12, 12, 1), np.float32))
        frames = np.stack([np.roll(base, 6 * step, axis=1) for step in range(FRAMES)])
        frames = np.clip(frames + generator.normal(0, 8, frames.shape), 0, 255).astype(np.uint8)
        steps, count = (LARGE, FRAMES) if large else (SMALL, 4)
        made.append(make_strip(frames, count, steps, most))
    return tuple(made)


def make_attention(seed: int) -> VideoAttention:
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.full(PATCHES * PATCHES + 2, 0.2), size=FRAMES)
    between = generator.dirichlet(np.ones(FRAMES), size=FRAMES)
    return VideoAttention(
        weights[:, 2:].reshape(FRAMES, PATCHES, PATCHES).astype(np.float32),
        weights[:, 0].astype(np.float32),
        weights[:, 1].astype(np.float32),
        (TemporalAttention("messages.11.attention", between.astype(np.float32)),),
    )


def make_material(
    classes: Sequence[str],
    count: int,
    *,
    methods: Sequence[str] = ("clip", "x-clip"),
    strip_bytes: int = 1_500,
    focus_bytes: int = 20_000,
    different: int = 40,
) -> ReportMaterial:
    """Results of several methods on the same videos; only the first one has a map."""
    results, predictions = [], []
    for number, method in enumerate(methods):
        made = make_predictions(classes, count, number, skill=3.0 + number)
        predictions.append(made)
        generator = np.random.default_rng(9)
        centres = generator.normal(size=(len(classes), 32))
        vectors = centres[np.arange(count) % len(classes)] + generator.normal(size=(count, 32))
        results.append(
            ResultMaterial(
                make_loaded(made, method=method, folder=f"runs/{method}"),
                made,
                Embeddings(made.videos, vectors.astype(np.float32))
                if number == 0
                else Missing("The weights are not at hand."),
            )
        )
    shown = select_videos(predictions, [False] * len(results), count)
    results = [
        ResultMaterial(
            entry.loaded,
            entry.predictions,
            entry.embeddings,
            {video: make_attention(place) for place, video in enumerate(chosen.focus)},
        )
        for entry, chosen in zip(results, shown, strict=True)
    ]
    small = painted_strips(different, strip_bytes, False)
    large = painted_strips(8, focus_bytes, True)
    focus = sorted({video for chosen in shown for video in chosen.focus})
    dataset = results[0].loaded.record.dataset.name
    return ReportMaterial(
        results,
        [chosen.videos for chosen in shown],
        {
            (dataset, video): small[place % different]
            for place, video in enumerate(predictions[0].videos)
        },
        {(dataset, video): large[place % 8] for place, video in enumerate(focus)},
    )
