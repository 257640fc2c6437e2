"""What differs between two label sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vclip_cli.common.errors import DataError
from vclip_cli.data.label_set import NATURAL, LabelSet


@dataclass(frozen=True)
class LabelDiff:
    """only_a, only_b: classes that the other set knows under no spelling.

    respelled: pairs of names (a, b) of one class. texts: (name in a, text in a, text in b).
    reordered: whether the classes that both have stand in another order.
    """

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    respelled: tuple[tuple[str, str], ...]
    texts: tuple[tuple[str, str, str], ...]
    reordered: bool
    shared: int

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            "shared": self.shared,
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "respelled": [list(pair) for pair in self.respelled],
            "texts": [list(entry) for entry in self.texts],
            "reordered": self.reordered,
        }


def diff_label_sets(a: LabelSet, b: LabelSet, variant: str = NATURAL) -> LabelDiff:
    """Compare classes by name, alias and spelling, and the texts of a variant.

    Raises UsageError when either has no such variant.
    """
    pairs = {name: other for name in a.names if (other := _same_class(name, a, b)) is not None}
    found = set(pairs.values())
    texts = []
    for name, other in pairs.items():
        ours, theirs = a.text(name, variant), b.text(other, variant)
        if ours != theirs:
            texts.append((name, ours, theirs))
    positions = [b.names.index(other) for other in pairs.values()]
    return LabelDiff(
        only_a=tuple(name for name in a.names if name not in pairs),
        only_b=tuple(name for name in b.names if name not in found),
        respelled=tuple((name, other) for name, other in pairs.items() if name != other),
        texts=tuple(texts),
        reordered=positions != sorted(positions),
        shared=len(pairs),
    )


def _same_class(name: str, a: LabelSet, b: LabelSet) -> str | None:
    """The class of b that is a's `name`: by b's spellings, or by an alias that a gives it."""
    aliases = next(entry.aliases for entry in a.classes if entry.name == name)
    for spelling in (name, *aliases):
        try:
            return b.resolve(spelling)
        except DataError:
            continue
    return None
