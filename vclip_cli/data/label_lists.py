"""Labels as a person gives them: typed with commas, a label set's name, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from vclip_cli.data.label_set import LabelSet


def read_labels(given: str) -> LabelSet:
    """A label set from `--labels`.

    A name of a known label set or a `.yaml` file is that set; another existing file holds one label
    a line; anything else is a list with commas. Raises UsageError for an empty list or a label that
    stands twice.
    """
    from vclip_cli.common.resources import list_yaml
    from vclip_cli.data.label_set import load_label_set

    if given.endswith((".yaml", ".yml")) or given in list_yaml("label_sets"):
        return load_label_set(given)
    path = Path(given)
    if "," not in given and (path.suffix == ".txt" or path.is_file()):
        return label_set_of([line for line in _lines(path) if line.strip()], str(path))
    return label_set_of(given.split(","), "--labels")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file of labels cannot be read: {error}", where=str(path)) from None


def label_set_of(labels: list[str], where: str) -> LabelSet:
    """A label set of these names. Raises UsageError for an empty label and one that stands twice.

    where: what they come from, for the error.
    """
    from vclip_cli.data.label_set import ClassEntry, LabelSet, one_line

    names = [label.strip() for label in labels]
    if not any(names):
        raise UsageError("no label was given", where=where)
    if not all(names):
        raise UsageError("a label is empty", where=where, found=",".join(labels)[:80])
    for name in names:
        try:
            one_line(name)
        except ValueError as error:
            raise UsageError(str(error), where=where, found=repr(name)[:200]) from None
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise UsageError("a label stands twice", where=where, found=", ".join(doubles[:5]))
    entries = [ClassEntry(name=name, texts={"natural": name}) for name in names]
    return LabelSet(name="given", title="labels given by hand", version=1, classes=entries)
