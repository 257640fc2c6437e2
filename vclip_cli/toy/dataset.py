"""The embedded benchmark as a dataset like any other: official splits, label set, manifest.

`toy` labels a clip by its pair of shape and motion, `toy-shapes` the same clips by shape alone.
`toy-multi` has clips of its own, with several labels each.
"""

from __future__ import annotations

from pathlib import Path

from vclip_cli.data.dataset import Dataset, DatasetConfig
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.manifest import build_manifest
from vclip_cli.data.readers import COLUMNS, Annotations
from vclip_cli.toy.multi import multi_clips
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


def multi_dataset(folder: Path) -> Dataset:
    """The dataset `toy-multi` over the clips that lie, or will lie, in `folder`."""
    import pandas as pd

    name = "toy-multi"
    label_set = load_label_set(name)
    listed = [(clip, label) for clip in multi_clips() for label in clip.labels]
    rows = pd.DataFrame(
        [(clip.video_id, clip.path, label, clip.split) for clip, label in listed],
        columns=list(COLUMNS),
    )
    manifest = build_manifest(
        Annotations(rows, name, multi_label=True), None, label_set, dataset=name
    )
    manifest.rows["path"] = [clip.path for clip, _ in listed]
    config = DatasetConfig(
        name=name, videos=str(folder), format="toy", label_set=name, backbone=BACKBONE
    )
    return Dataset(config, label_set, manifest, folder)
