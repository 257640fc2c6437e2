"""Something-Something v2: JSON lists with templates, under their old names or their new ones.

Old: something-something-v2-train.json, … New: labels/train.json, …, labels/test-answers.csv. A
class is a template without its brackets. test.json holds ids alone; test-answers.csv names classes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import DataError
from vclip_cli.common.safe_readers import parse_json
from vclip_cli.data.annotation_files import inside, numbered_lines, read_lines
from vclip_cli.data.label_set import LabelSet, load_label_set
from vclip_cli.data.readers import Annotations
from vclip_cli.data.readers._listing import (
    OfficialFiles,
    Row,
    beginning,
    official_annotations,
)

TITLE = "Something-Something v2 JSON lists"
LABEL_SET = "ssv2"

_FILES = OfficialFiles(
    "Something-Something v2",
    r"(?:something-something-v2-)?(?P<split>train|validation|test)\.json",
    "something-something-v2-validation.json or validation.json, …",
    ("labels",),
)
_ANSWERS = r"(?:something-something-v2-)?test-answers\.csv"
_OFFICIAL = {"train": 168_913, "validation": 24_777, "test": 27_157}
_BRACKETS = str.maketrans("", "", "[]")


def detects(path: Path) -> bool:
    """Whether lists of these names are here; under a short name, one must begin with a record."""
    for file in _FILES.find(path):
        if file.name.startswith("something-something-v2-"):
            return True
        head = beginning(file)
        if '"template"' in head and '"placeholders"' in head:
            return True
    return False


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The lists that are there, in the order train, validation, test. Raises DataError."""
    files = _FILES.require(path)
    label_set = label_set or load_label_set(LABEL_SET)
    answers = _answers(_FILES.find(files[0].parent, _ANSWERS), label_set)
    rows: list[Row] = []
    for source in sorted(files, key=lambda file: list(_OFFICIAL).index(_FILES.part(file))):
        split = _FILES.part(source)
        for record, line in _records(source):
            where = f"{source}:{line}" if line else str(source)
            video, name = _parse(record, where, needs_template=split != "test")
            name = answers.get(video) if name is None else label_set.resolve(name, where)
            rows.append((video, video, name or "", split, str(source), line))
    unlabelled = len({row[0] for row in rows if not row[2]})
    remarks = []
    if unlabelled:
        remarks = [f"{unlabelled:,} test videos have no class: test-answers.csv names them"]
    return official_annotations(rows, path, label_set, _OFFICIAL, remarks)


def _records(source: Path) -> list[tuple[Any, int]]:
    """The records of a list and the lines that they stand on (0 where that is not known)."""
    text = "\n".join(read_lines(source))
    records = parse_json(text, str(source))
    if not isinstance(records, list):
        found = type(records).__name__
        raise DataError("not a list of videos", where=f"{source}:1", found=found)
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


def _answers(files: list[Path], label_set: LabelSet) -> dict[str, str]:
    """Test video to official class, from lines such as `208583;Moving something up`."""
    answers: dict[str, str] = {}
    for source in files:
        for line, text in numbered_lines(source):
            video, semicolon, name = text.partition(";")
            where = f"{source}:{line}"
            if not (video and semicolon and name):
                raise DataError("not an answer", where=where, found=repr(text), expected="ID;CLASS")
            official = label_set.resolve(name.translate(_BRACKETS), where)
            if answers.setdefault(video, official) != official:
                raise DataError(
                    f"the video {video!r} is listed with two classes",
                    where=where,
                    found=f"{official!r} after {answers[video]!r}",
                )
    return answers
