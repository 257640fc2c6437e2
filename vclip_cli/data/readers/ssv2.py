"""Something-Something v2: JSON lists with templates, under their old names or their new ones.

Old: something-something-v2-train.json, … New: labels/train.json, …, labels/test-answers.csv. A
class is a template without its brackets. test.json holds ids alone; test-answers.csv names classes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from vclip_cli.common.errors import DataError
from vclip_cli.common.safe_readers import parse_json
from vclip_cli.data.annotation_files import inside, read_lines
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.readers import Annotations
from vclip_cli.data.readers._listing import (
    LISTED,
    Classes,
    beginning,
    count_remarks,
    join_splits,
    label_set_or,
    official_files,
    place,
    require_files,
    require_videos,
)

TITLE = "Something-Something v2 JSON lists"
LABEL_SET = "ssv2"

_FILES = r"(?:something-something-v2-)?(?P<split>train|validation|test)\.json"
_ANSWERS = r"(?:something-something-v2-)?test-answers\.csv"
_SUBFOLDERS = ("labels",)
_OFFICIAL = {"train": 168_913, "validation": 24_777, "test": 27_157}
_BRACKETS = str.maketrans("", "", "[]")


def detects(path: Path) -> bool:
    """Whether lists of these names lie here; under a short name, one must begin with a record."""
    for file in official_files(path, _FILES, _SUBFOLDERS):
        if file.name.startswith("something-something-v2-"):
            return True
        head = beginning(file)
        if '"template"' in head and '"placeholders"' in head:
            return True
    return False


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The lists that are there, in the order train, validation, test. Raises DataError."""
    files = require_files(
        official_files(path, _FILES, _SUBFOLDERS),
        path,
        "Something-Something v2",
        "something-something-v2-validation.json or validation.json, …",
    )
    classes = Classes(label_set_or(label_set, LABEL_SET))
    answers = _answers(official_files(files[0].parent, _ANSWERS), classes)
    rows: list[tuple[str, str, str, str, str, int]] = []
    for source in sorted(files, key=lambda file: list(_OFFICIAL).index(_split_of(file))):
        split = _split_of(source)
        for record, line in _records(source):
            video, name = _parse(record, place(source, line), needs_template=split != "test")
            if name is not None:
                name = classes.official(name, source, line)
            elif answers:
                name = answers.get(video)
            rows.append((video, video, name or "", split, str(source), line))
    listed = require_videos(pd.DataFrame(rows, columns=list(LISTED)), path)
    joined, remarks = join_splits(listed)
    remarks += count_remarks(listed, _OFFICIAL)
    if unlabelled := int((joined["class"] == "").sum()):
        remarks.append(f"{unlabelled:,} test videos have no class: test-answers.csv names them")
    return Annotations(joined, classes.label_set.name, remarks=tuple(remarks))


def _split_of(file: Path) -> str:
    match = re.fullmatch(_FILES, file.name)
    assert match is not None  # the file was found by this pattern
    return match["split"]


def _records(source: Path) -> list[tuple[Any, int]]:
    """The records of a list and the lines that they stand on (0 where that is not known)."""
    text = "\n".join(read_lines(source))
    records = parse_json(text, str(source))
    if not isinstance(records, list):
        raise DataError(
            "not a list of videos", where=place(source, 1), found=type(records).__name__
        )
    lines: list[int] = []
    line, before = 1, 0
    for match in re.finditer(r'"id"\s*:', text):
        line += text.count("\n", before, match.start())
        before = match.start()
        lines.append(line)
    if len(lines) != len(records):
        lines = [0] * len(records)
    return list(zip(records, lines, strict=True))


def _parse(record: Any, where: str, *, needs_template: bool) -> tuple[str, str | None]:
    """The id of a record, and its template without brackets."""
    fields = record if isinstance(record, dict) else {}
    video, template = str(fields.get("id", "")), fields.get("template")
    if not video or not isinstance(template, str | None) or (needs_template and not template):
        raise DataError(
            "not a record of this list",
            where=where,
            found=json.dumps(record, ensure_ascii=False)[:100],
            expected='"id" and "template"' if needs_template else '"id"',
        )
    return inside(video, where), template.translate(_BRACKETS) if template else None


def _answers(files: list[Path], classes: Classes) -> dict[str, str]:
    """Test video to official class, from lines such as `208583;Moving something up`."""
    answers: dict[str, str] = {}
    for source in files:
        for line, text in enumerate(read_lines(source), 1):
            if not text.strip():
                continue
            video, semicolon, name = text.strip().partition(";")
            where = place(source, line)
            if not (video and semicolon and name):
                raise DataError("not an answer", where=where, found=repr(text), expected="ID;CLASS")
            official = classes.official(name.translate(_BRACKETS), source, line)
            if answers.setdefault(video, official) != official:
                raise DataError(
                    f"the video {video!r} is listed with two classes",
                    where=where,
                    found=f"{official!r} after {answers[video]!r}",
                )
    return answers
