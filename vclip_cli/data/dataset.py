"""Registered datasets: a name, the places of videos and annotations, and their manifest.

`datasets/NAME.yaml` is in the project's `.vclip/` or the user's config folder. Beside it is
`NAME.manifest.parquet`, which is built again when the annotations or the folders of videos change.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator

from vclip_cli import __version__
from vclip_cli.common.errors import DataError, SpecError, StorageError, UsageError, did_you_mean
from vclip_cli.common.files import sha256_file, write_text
from vclip_cli.common.resources import list_yaml, project_folder, user_config_folder, user_folders
from vclip_cli.common.yaml_files import load_named
from vclip_cli.data.annotation_files import read_class_names
from vclip_cli.data.label_set import (
    ClosedModel,
    LabelSet,
    label_set_from_names,
    load_label_set,
    write_label_set,
)
from vclip_cli.data.manifest import Manifest, build_manifest, read_manifest, write_manifest
from vclip_cli.data.readers import Annotations, detect_format, load_reader, reader_name
from vclip_cli.data.videos_on_disk import folders_unchanged

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ANNOTATION_ENDINGS = {".txt", ".csv", ".json", ".lst", ".list"}


def _dataset_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("a dataset's name holds letters, digits and . _ - only")
    return name


class DatasetConfig(ClosedModel):
    """`datasets/NAME.yaml`.

    videos: the root of the video files, None for lists alone. annotations: folder or file, None
    when the class folders are the annotations. format: a reader's name. label_set: a name or a
    .yaml file. backbone, pretrained: the default model for this dataset.
    """

    name: Annotated[str, AfterValidator(_dataset_name)]
    videos: Path | None = None
    annotations: Path | None = None
    format: str
    label_set: str
    backbone: str | None = None
    pretrained: str | None = None

    @property
    def source(self) -> Path:
        """The input of the reader: the annotations, or the folder of videos itself."""
        chosen = self.annotations or self.videos
        if chosen is None:
            raise SpecError(f"the dataset {self.name!r} has neither videos nor annotations")
        return chosen


@dataclass(frozen=True)
class Dataset:
    """A dataset ready for use."""

    config: DatasetConfig
    label_set: LabelSet
    manifest: Manifest

    @property
    def videos_root(self) -> Path | None:
        """The folder of the videos, None when only the lists are here."""
        return self.config.videos

    def require_videos(self) -> Path:
        """The folder of the videos. Raises DataError for a dataset that has its lists alone."""
        if self.videos_root is None:
            raise DataError(
                f"the dataset {self.config.name!r} was registered without videos",
                hint=f"vclip data add {self.config.name} --videos DIR",
            )
        return self.videos_root


def list_datasets() -> dict[str, Path]:
    """Every registered dataset: name to config file. The project's come before the user's."""
    found: dict[str, Path] = {}
    for folder in user_folders():
        for path in sorted((folder / "datasets").glob("*.yaml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def add_dataset(
    name: str,
    *,
    videos: Path | None = None,
    annotations: Path | None = None,
    format: str | None = None,
    label_set: str | None = None,
    backbone: str | None = None,
    pretrained: str | None = None,
    user: bool = False,
) -> Dataset:
    """Register a dataset, or register it again, and build its manifest.

    label_set: a name, a .yaml file, or a list of class names (.txt or .csv). By default it is the
    label set named like the dataset or the format, or else a new one with the classes found. user:
    register in the user's config folder, not the project's. Raises UsageError for a bad name,
    DataError for missing or broken files.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"not a name for a dataset: {name[:120]!r}",
            expected="at most 100 letters, digits and . _ -",
        )
    source = annotations or videos
    if source is None:
        raise UsageError("neither videos nor annotations were given")
    for given in (videos, annotations):
        if given is not None and not _exists(given):
            raise DataError("no such file or folder", where=str(given))
    base = user_config_folder() if user else project_folder()
    format = reader_name(format or detect_format(source))
    config = DatasetConfig(
        name=name,
        videos=videos and videos.resolve(),
        annotations=annotations and annotations.resolve(),
        format=format,
        label_set=_choose_label_set(name, label_set, format, source, base / "label_sets"),
        backbone=backbone,
        pretrained=pretrained,
    )
    chosen = load_label_set(config.label_set)
    manifest = _build(config, chosen)
    path = base / "datasets" / f"{name}.yaml"
    values = config.model_dump(mode="json", exclude_none=True)
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000))
    write_manifest(manifest, _manifest_path(path))
    return Dataset(config, chosen, manifest)


def load_dataset(name: str, *, rescan: bool = False) -> Dataset:
    """A registered dataset with its manifest, built again first when its files have changed.

    rescan: build it again in any case. Raises UsageError for an unknown name, SpecError for a
    broken config, DataError for broken or missing files.
    """
    known = list_datasets()
    if name not in known:
        raise UsageError(
            f"unknown dataset {name!r}",
            hint=did_you_mean(name, known) or f"register it: vclip data add {name} --videos DIR",
        )
    path = known[name]
    config = _anchored(load_named(path, DatasetConfig, name), path.parent.parent.parent)
    reader_name(config.format)  # a config file written by hand may name an unknown format
    label_set = load_label_set(config.label_set)
    _require_there(config)
    stored = _manifest_path(path)
    manifest = None if rescan else _stored_manifest(config, label_set, stored)
    if manifest is None:
        manifest = _build(config, label_set)
        # A config folder may be shared read-only: the manifest is then built each time.
        with contextlib.suppress(StorageError):
            write_manifest(manifest, stored)
    return Dataset(config, label_set, manifest)


def _build(config: DatasetConfig, label_set: LabelSet) -> Manifest:
    annotations = load_reader(config.format).read(config.source, label_set)
    sources = _hashes(config.annotations)
    return build_manifest(
        annotations, config.videos, label_set, dataset=config.name, source_files=sources
    )


def _stored_manifest(config: DatasetConfig, label_set: LabelSet, path: Path) -> Manifest | None:
    """The stored manifest, None when it is missing, damaged or outdated."""
    try:
        manifest = read_manifest(path)
    except DataError:
        return None
    fresh = (
        manifest.package_version == __version__
        and manifest.label_set_sha256 == label_set.sha256
        and manifest.source_files == _hashes(config.annotations)
        and (config.videos is None or folders_unchanged(config.videos, manifest.folders))
    )
    return manifest if fresh else None


def _choose_label_set(
    name: str, given: str | None, format: str, source: Path, own_folder: Path
) -> str:
    """The label set's name or file; writes a new one where none is known."""
    own_file = own_folder / f"{name}.yaml"
    if given is not None and not given.endswith((".txt", ".csv")):
        load_label_set(given)
        return str(Path(given).resolve()) if given.endswith((".yaml", ".yml")) else given
    if given is not None:
        classes = read_class_names(Path(given)).values()
        own = label_set_from_names(name, name, classes, f"the names in {Path(given).name}")
        write_label_set(own, own_file)
        return name
    reader = load_reader(format)
    if own_file.is_file():
        _add_new_classes(own_file, reader.read(source))
        return name
    if name in list_yaml("label_sets"):
        return name
    if reader.LABEL_SET is not None:
        return reader.LABEL_SET
    annotations = reader.read(source)
    if annotations.label_set is not None:
        return annotations.label_set
    found = f"the classes found in {source.name} when it was registered"
    write_label_set(label_set_from_names(name, name, _classes(annotations), found), own_file)
    return name


def _add_new_classes(path: Path, annotations: Annotations) -> None:
    """Append the classes that the label set lacks; the others keep their places."""
    label_set = load_label_set(str(path))
    fresh = [name for name in _classes(annotations) if label_set.find(name) is None]
    if fresh:
        added = label_set_from_names(label_set.name, label_set.title, fresh).classes
        write_label_set(label_set.extended(added, version=label_set.version + 1), path)


def _classes(annotations: Annotations) -> list[str]:
    return sorted({name for name in annotations.rows["class"].unique() if name})


def _require_there(config: DatasetConfig) -> None:
    for what, place in (("videos", config.videos), ("annotations", config.annotations)):
        if place is not None and not _exists(place):
            raise DataError(
                f"the {what} of the dataset {config.name!r} are gone",
                where=str(place),
                hint="mount or restore them, or register the dataset again: vclip data add",
            )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _anchored(config: DatasetConfig, folder: Path) -> DatasetConfig:
    """Relative paths in a config file start from the folder that holds `.vclip/`."""
    places: dict[str, Any] = {
        key: folder / place.expanduser()
        for key, place in (("videos", config.videos), ("annotations", config.annotations))
        if place is not None
    }
    if config.label_set.endswith((".yaml", ".yml")):
        places["label_set"] = str(folder / Path(config.label_set).expanduser())
    return config.model_copy(update=places)


def _hashes(source: Path | None) -> dict[str, str]:
    """The annotation files by relative name, in the folder and one level below, with sha256."""
    if source is None:
        return {}
    if source.is_file():
        return {source.name: sha256_file(source)}
    files = [
        path
        for folder in (source, *sorted(path for path in source.iterdir() if path.is_dir()))
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _ANNOTATION_ENDINGS and path.is_file()
    ]
    return {path.relative_to(source).as_posix(): sha256_file(path) for path in files}


def _manifest_path(config_path: Path) -> Path:
    return config_path.with_name(f"{config_path.stem}.manifest.parquet")
