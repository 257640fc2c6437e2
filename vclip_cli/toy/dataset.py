"""The embedded benchmark as datasets: official splits, label set, manifest.

`toy` labels a video by its pair of shape and motion, `toy-shapes` the same videos by shape alone.
`toy-multi` has videos of its own, with several labels each.
"""

from __future__ import annotations

from pathlib import Path

from vclip_cli.data.dataset import Dataset, DatasetConfig
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.manifest import build_manifest
from vclip_cli.data.readers import COLUMNS, Annotations
from vclip_cli.toy.multi import multi_videos
from vclip_cli.toy.world import ToyVideo, toy_videos

BACKBONE = "toy"
"""The backbone that these datasets use by default."""
SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Names of the splits of base pairs in the manifest, by their names in video ids."""
UNSEEN = "zero-shot"
"""The split of the novel pairs, which no training may use."""


def toy_dataset(name: str, folder: Path) -> Dataset:
    """`toy`, `toy-shapes` or `toy-multi`; its videos are, or will be rendered, in `folder`."""
    import pandas as pd

    multi_label = name == "toy-multi"
    listed = _multi_rows() if multi_label else _toy_rows(by_shape=name == "toy-shapes")
    label_set = load_label_set(name)
    annotations = Annotations(pd.DataFrame(listed, columns=list(COLUMNS)), name, multi_label)
    manifest = build_manifest(annotations, None, label_set, dataset=name)
    manifest.rows["path"] = [path for _, path, _, _ in listed]
    config = DatasetConfig(
        name=name, videos=folder, format="toy", label_set=name, backbone=BACKBONE
    )
    return Dataset(config, label_set, manifest)


def _toy_rows(by_shape: bool) -> list[tuple[str, str, str, str]]:
    """(video id, path, label, split) of each video."""
    return [
        (video.video_id, video.path, video.shape if by_shape else video.class_name, _split(video))
        for video in toy_videos()
    ]


def _split(video: ToyVideo) -> str:
    """`train`, `validation` and `test` hold base pairs; `zero-shot` holds the unseen ones."""
    return SPLITS[video.split] if video.part == "base" else UNSEEN


def _multi_rows() -> list[tuple[str, str, str, str]]:
    """(video id, path, label, split) of each label of each video."""
    return [
        (video.video_id, video.path, label, video.split)
        for video in multi_videos()
        for label in video.labels
    ]
