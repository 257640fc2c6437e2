"""Make the splits of a protocol for a dataset, or import a published list instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import require_writable_folder
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.imported import import_split
from vclip_cli.data.manifest import official_split
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import protocol_tests, protocol_training, trains_on
from vclip_cli.data.split import Provenance, SharedVideos, Split, check_overlap, read_split


@dataclass(frozen=True)
class MadeSplit:
    """A training split, with the test splits that the protocol has for the dataset.

    rows, provenance, sha256 and save are those of the training split. training: None where the
    protocol does not train on the dataset. overlaps: videos shared with test lists, where that was
    allowed.
    """

    training: Split | None
    tests: tuple[Split, ...]
    overlaps: tuple[SharedVideos, ...] = ()

    @property
    def _main(self) -> Split:
        """The training split. Raises UsageError where there is none."""
        if self.training is None:
            hint = "its test splits are in .tests"
            raise UsageError("the protocol does not train on this dataset", hint=hint)
        return self.training

    @property
    def rows(self) -> pd.DataFrame:
        """String columns `video` and `class`; a video with several labels has several rows."""
        return self._main.rows

    @property
    def provenance(self) -> Provenance:
        """How the training split was made."""
        return self._main.provenance

    @property
    def sha256(self) -> str:
        """The hash of the training split's CSV."""
        return self._main.sha256

    def save(self, path: str | Path) -> None:
        """Write the training split: `path` (.csv), and its provenance beside it (.json)."""
        self._main.save(path)

    @property
    def splits(self) -> list[Split]:
        """The training split where there is one, then the test splits."""
        return [*([self.training] if self.training is not None else []), *self.tests]

    def save_all(self, folder: Path) -> dict[Path, Split]:
        """Write every split into a folder under its usual name. Returns path to split.

        Raises UsageError when the folder cannot be written.
        """
        require_writable_folder(folder)
        saved = {folder / f"{_file_name(split.provenance)}.csv": split for split in self.splits}
        for path, split in saved.items():
            split.save(path)
        return saved


def make_split(
    dataset: Dataset,
    protocol: str | Path | Protocol | None = None,
    *,
    shots: int | None = None,
    seed: int | None = None,
    nested: bool = False,
    from_list: Path | None = None,
    from_labels: Path | None = None,
    part: str = "train",
    subset: str | None = None,
    against: Sequence[str] = (),
    allow_overlap: bool = False,
) -> MadeSplit:
    """The training split of a protocol for a dataset, and its test splits.

    protocol: a name, a .yaml file or a loaded one; may be missing with `from_list`. shots: K videos
    per class; seed: of the draw; None takes the protocol's only or first one. nested: the K-shot
    draw is the beginning of the 2K-shot draw. from_list: import this list instead of drawing;
    from_labels: file with the class name of each number in the list; part: `train`, `test`, …;
    subset: the class subset that the list covers. against: official splits or split files that the
    training list must not share videos with. allow_overlap: keep such a list, and mark it.

    Raises UsageError for arguments that do not fit together, DataError for a list or a dataset that
    does not allow it, ComparisonRefused for a training list that overlaps a test list.
    """
    if isinstance(protocol, str | Path):
        protocol = load_protocol(protocol)
    training: Split | None
    if from_list is not None:
        if shots is not None or nested:
            raise UsageError("an imported list is not drawn: leave out --shots and --nested")
        training = import_split(
            dataset,
            from_list,
            labels_file=from_labels,
            part=part,
            subset=subset,
            protocol=protocol.reference if protocol is not None else None,
        )
        trains = part.split()[:1] == ["train"]
        tests = protocol_tests(protocol, dataset) if protocol is not None and trains else []
    elif protocol is None or from_labels is not None or subset is not None:
        missing = "--protocol" if protocol is None else "--from-list"
        raise UsageError(f"{missing} is missing", hint="see: vclip protocols, vclip split --help")
    else:
        tests = protocol_tests(protocol, dataset)
        if trains_on(protocol, dataset):
            training, _ = protocol_training(
                protocol, dataset, shots=shots, seed=seed, nested=nested
            )
        elif shots is not None or nested:
            raise UsageError(
                f"the protocol {protocol.name!r} does not train on {dataset.config.name!r}",
                found="--nested" if shots is None else f"--shots {shots}",
            )
        else:
            training = None
    listed = tuple(test.listed for test in tests)
    overlaps = _overlaps(dataset, training, listed, against, allow_overlap)
    if training is not None and overlaps:
        training = training.allowing(overlaps)
    return MadeSplit(training, listed, tuple(overlaps))


def _overlaps(
    dataset: Dataset,
    training: Split | None,
    tests: Sequence[Split],
    against: Sequence[str],
    allowed: bool,
) -> list[SharedVideos]:
    """Videos that the training list shares with the protocol's tests or with `against`."""
    if training is None:
        if against:
            raise UsageError("--against compares a training list, and there is none here")
        return []
    lists = {test.provenance.part: test.rows["video"] for test in tests}
    for name in against:
        is_file = name.endswith(".csv")
        rows = read_split(Path(name)).rows if is_file else official_split(dataset.manifest, name)
        lists[name] = rows["video"]
    return check_overlap(training.rows["video"], lists, allowed=allowed)


def _file_name(facts: Provenance) -> str:
    words = "".join(c if c.isalnum() or c in "-+." else "_" for c in facts.part)
    if facts.imported is not None:
        return f"{words}_{Path(facts.imported.file).stem}"
    if facts.shots is None:
        return words
    return f"{words}_{facts.shots}-shot_seed-{facts.seed}" + "_nested" * facts.rule.nested
