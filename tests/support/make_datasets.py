"""Small annotation folders in the official formats, with names as awkward as the real ones."""

from __future__ import annotations

import csv
from pathlib import Path

from vclip_cli.data.label_set import load_label_set

AWKWARD = ("#2_a&b_(1)", "!go;now=[x]", "-minus", "plain")


def hmdb_name(class_name: str, number: int) -> str:
    """A video id of a class; every fourth holds characters that a careless reader loses."""
    return f"{AWKWARD[number % len(AWKWARD)]}_{class_name}_u_nm_np1_fr_med_{number}"


def write_hmdb(folder: Path, training: int = 6, testing: int = 3) -> Path:
    """All 51 classes. Split k: videos from (k-1)·testing on are for test, wrapping around."""
    folder.mkdir(parents=True, exist_ok=True)
    total = training + testing
    for class_name in load_label_set("hmdb51").names:
        for split in (1, 2, 3):
            test = {(training + (split - 1) * testing + i) % total for i in range(testing)}
            lines = [
                f"{hmdb_name(class_name, number)}.avi {2 if number in test else 1} \n"
                for number in range(total)
            ]
            path = folder / f"{class_name}_test_split{split}.txt"
            path.write_text("".join(lines), encoding="utf-8")
    return folder


def write_ucf(folder: Path, training_counts: dict[str, int], testing: int = 1) -> Path:
    """UCF101's files with split 1 alone holding the given numbers of training videos."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(training_counts)
    index = [f"{number} {name}" for number, name in enumerate(names, 1)]
    train, test = [], []
    for number, name in enumerate(names, 1):
        files = [f"{name}/v_{name}_g{g:02d}_c01.avi" for g in range(1, training_counts[name] + 1)]
        train += [f"{file} {number}" for file in files]
        test += [f"{name}/v_{name}_g99_c{c:02d}.avi" for c in range(testing)]
    for file, lines in (("classInd", index), ("trainlist01", train), ("testlist01", test)):
        text = "".join(f"{line}\r\n" for line in lines)
        (folder / f"{file}.txt").write_bytes(text.encode())
    return folder


def write_kinetics(folder: Path, rows: dict[str, list[tuple[str, str]]]) -> Path:
    """Official CSV files: split file to (label, youtube id), all clips from second 10 to 20."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, listed in rows.items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
            writer.writerows([label, clip, 10, 20, split] for label, clip in listed)
    return folder


def write_videos(root: Path, paths: list[str]) -> Path:
    """Files with these relative paths and different bytes; they are no videos."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"not a video " + b"x" * number)
    return root
