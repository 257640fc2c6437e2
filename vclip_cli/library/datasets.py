"""The library's functions on datasets: register them, list them, make their splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import UsageError
from vclip_cli.engine.requests import Request

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset
    from vclip_cli.data.make_split import MadeSplit


def make_split(
    dataset: str,
    *,
    nested: bool = False,
    from_list: str | Path | None = None,
    from_labels: str | Path | None = None,
    part: str = "train",
    subset: str | None = None,
    against: str | Sequence[str] = (),
    **settings: Any,
) -> MadeSplit:
    """The training list of a protocol for a dataset, with the protocol's test lists in `tests`.

    settings: `protocol`, `shots`, `seed` and `allow_overlap`, as in `vclip split`; the others are
    explained in `vclip_cli.data.make_split`. `.save("train.csv")` writes it with its provenance.
    """
    from vclip_cli.data.make_split import make_split as make
    from vclip_cli.engine.loading.datasets import open_dataset

    request = Request.of("split", settings)
    return make(
        open_dataset(dataset),
        request.data.protocol,
        shots=request.data.shots,
        seed=request.run.seed,
        nested=nested,
        from_list=None if from_list is None else Path(from_list),
        from_labels=None if from_labels is None else Path(from_labels),
        part=part,
        subset=subset,
        against=(against,) if isinstance(against, str) else against,
        allow_overlap=request.data.allow_overlap,
    )


def datasets() -> list[str]:
    """The names of the datasets that are registered, and of the embedded benchmark."""
    from vclip_cli.data.dataset import list_datasets
    from vclip_cli.engine.loading.datasets import EMBEDDED

    return [*list_datasets(), *EMBEDDED]


def add_dataset(
    name: str,
    *,
    videos: str | Path | None = None,
    annotations: str | Path | None = None,
    labels: str | None = None,
    format: str | None = None,
    backbone: str | None = None,
    pretrained: str | None = None,
    user: bool = False,
) -> Dataset:
    """Register a dataset under a name, and build the list of its videos: `vclip data add`.

    videos: the folder of the video files, None for the lists alone; annotations: a folder or file,
    None to take the class folders. Raises UsageError for a name of the embedded benchmark.
    """
    from vclip_cli.data.dataset import add_dataset as register
    from vclip_cli.engine.loading.datasets import EMBEDDED

    if name in EMBEDDED:
        raise UsageError(f"the name {name!r} belongs to the embedded benchmark")
    return register(
        name,
        videos=None if videos is None else Path(videos),
        annotations=None if annotations is None else Path(annotations),
        format=format,
        label_set=labels,
        backbone=backbone,
        pretrained=pretrained,
        user=user,
    )
