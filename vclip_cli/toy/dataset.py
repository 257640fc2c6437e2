"""The embedded benchmark as a dataset like any other: official splits, label set, manifest.

`toy` labels a clip by its pair of shape and motion, `toy-shapes` the same clips by shape alone.
"""

from __future__ import annotations

from pathlib import Path

from vclip_cli.data.annotations import COLUMNS, Annotations
from vclip_cli.data.dataset import Dataset, DatasetConfig
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.manifest import build_manifest
from vclip_cli.toy.world import ToyClip, toy_clips

BACKBONE = "toy"
SPLITS = {"train": "train", "val": "validation", "test": "test"}
UNSEEN = "zero-shot"


def split_of(clip: ToyClip) -> str:
    """`train`, `validation` and `test` hold base pairs; `zero-shot` holds the unseen ones."""
    return SPLITS[clip.split] if clip.part == "base" else UNSEEN


def toy_dataset(name: str, folder: Path) -> Dataset:
    """The dataset `toy` or `toy-shapes` over the clips that lie, or will lie, in `folder`."""
    import pandas as pd

    label_set = load_label_set(name)
    by_shape = name == "toy-shapes"
    clips = toy_clips()
    rows = pd.DataFrame(
        [
            (clip.video_id, clip.path, clip.shape if by_shape else clip.class_name, split_of(clip))
            for clip in clips
        ],
        columns=list(COLUMNS),
    )
    listed = build_manifest(Annotations(rows, name), None, label_set, dataset=name)
    listed.rows["path"] = [clip.path for clip in clips]
    config = DatasetConfig(
        name=name, videos=str(folder), format="toy", label_set=name, backbone=BACKBONE
    )
    return Dataset(config, label_set, listed, folder)
