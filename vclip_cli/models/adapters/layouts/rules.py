"""Reading the checkpoints that the papers' authors released, by tables of rules.

A layout (`*_layouts.py`) is a list of rules from their tensors' names to ours. A target
`name#1` is the second of several parts that are concatenated, such as query, key and value maps
that are stored apart. A target `name@1` is the second of several parts that are stacked, one a
block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vclip_cli.common.errors import WeightsError
from vclip_cli.common.preprocessing import Preprocessing, reference_video_preprocessing


class KeyRule(NamedTuple):
    """A pattern for a whole name, its replacement, and a change of the values."""

    pattern: str
    target: str
    change: Callable[[Tensor], Tensor] | None = None


def first(value: Tensor) -> Tensor:
    """The first entry along the first dimension."""
    return value[0]


def transposed(value: Tensor) -> Tensor:
    """The transpose of a matrix."""
    return value.T


RECOMPUTED = "made from the training classes' names; computed again for the classes at hand"
INDEX = "an index or a mask, no weight"
TEXT_TENSORS = (
    r"(transformer\..+|token_embedding\.weight|positional_embedding|text_projection|ln_final\..+)"
)
"""CLIP's own names of its text tower's tensors."""
MASKS = ((r"(.*\.)?attn_mask|input_resolution|context_length|vocab_size", INDEX),)


@dataclass(frozen=True)
class Reading:
    """A released file, read by its layout.

    tensors: ours by name. origins: the names of theirs that each was made from. dropped: the names
    of theirs that are not used, with the reason. firsts: the first block of each stacked tensor.
    """

    tensors: dict[str, Tensor]
    origins: dict[str, list[str]]
    dropped: dict[str, str]
    firsts: dict[str, int]


@dataclass(frozen=True)
class Layout:
    """One kind of released file.

    signature: patterns that all occur among its names. config: from the tensors, and the settings
    in the file if there are any, to the options of the method. preprocessing: from the image size
    to what the authors evaluated with. class_names: from the given names of the classes (or None),
    the file's tensors, the reading, the backbone and the file's name to the classes of a
    class-specific method. drops: pattern of names that are not needed, and the reason.
    split: one of their tensors to several. finish: a last change of ours.
    """

    method: str
    title: str
    signature: Sequence[str]
    rules: Sequence[KeyRule]
    config: Callable[[Reading, Mapping[str, Any]], dict[str, Any]]
    preprocessing: Callable[[int], Preprocessing] = reference_video_preprocessing
    class_names: Callable[..., tuple[str, ...]] | None = None
    drops: Sequence[tuple[str, str]] = MASKS
    split: Callable[[str, Tensor], list[tuple[str, Tensor]]] = lambda name, value: [(name, value)]
    finish: Callable[[dict[str, Tensor]], None] = lambda tensors: None

    def fits(self, names: Sequence[str]) -> bool:
        """Whether the names are those of this layout."""
        return all(any(re.match(pattern, name) for name in names) for pattern in self.signature)

    def count_known(self, names: Sequence[str]) -> int:
        """How many of the names have a rule."""
        return sum(_target(self.rules, name) is not None for name in names)


def read_layout(layout: Layout, source: Mapping[str, Tensor], where: str) -> Reading:
    """Their tensors to ours, in float32. Raises WeightsError for a name that no rule knows."""
    parts: dict[str, dict[int, Tensor]] = {}
    origins: dict[str, list[str]] = {}
    dropped: dict[str, str] = {}
    stacked: set[str] = set()
    unknown = []
    for name, value in source.items():
        reason = next((why for pattern, why in layout.drops if re.fullmatch(pattern, name)), None)
        if reason is not None:
            dropped[name] = reason
            continue
        for piece_name, piece in layout.split(name, value):
            target = _target(layout.rules, piece_name)
            if target is None:
                unknown.append(name)
                break
            ours, mark, index, change = target
            changed = change(piece) if change else piece
            parts.setdefault(ours, {})[index] = changed.to(torch.float32, copy=True)
            origins.setdefault(ours, []).append(name)
            if mark == "@":
                stacked.add(ours)
    if unknown:
        raise unknown_names(unknown, layout.title, where)
    tensors = {ours: _join(ours, found, ours in stacked, where) for ours, found in parts.items()}
    layout.finish(tensors)
    return Reading(tensors, origins, dropped, {name: min(parts[name]) for name in stacked})


def unknown_names(names: Sequence[str], title: str, where: str) -> WeightsError:
    """The error for tensors that a released file of this kind does not have."""
    return WeightsError(
        f"the file holds tensors that {title} does not have",
        where=where,
        found=", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else ""),
        hint="nothing is left out silently: is it a checkpoint of another method?",
    )


def _target(
    rules: Sequence[KeyRule], name: str
) -> tuple[str, str, int, Callable[[Tensor], Tensor] | None] | None:
    """Our name, the mark `#`, `@` or none, the part's number, and the change of values."""
    for rule in rules:
        match = re.fullmatch(rule.pattern, name)
        if match:
            parts = re.split("([#@])", match.expand(rule.target))
            ours, mark, index = [*parts, "", ""][:3]
            return ours, mark, int(index or 0), rule.change
    return None


def _join(name: str, parts: dict[int, Tensor], stack: bool, where: str) -> Tensor:
    numbers = sorted(parts)
    values = [parts[number] for number in numbers]
    first = numbers[0] if stack else 0
    if numbers != list(range(first, first + len(numbers))):
        raise WeightsError(
            f"parts of {name!r} are missing",
            where=where,
            found=", ".join(map(str, numbers)),
            expected=f"all from {first} on",
        )
    try:
        if stack:
            return torch.stack(values)
        return values[0] if len(values) == 1 else torch.cat(values)
    except RuntimeError as error:
        raise WeightsError(
            f"the parts of {name!r} do not fit together", where=where, found=str(error)[:200]
        ) from None


def count_parts(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many different values the first group of a pattern has among the names."""
    return len({m.group(1) for name in tensors if (m := re.match(pattern, name))})


def missing_part(what: str) -> WeightsError:
    """The error for a file without a part that the method needs."""
    return WeightsError("the file lacks a part that its method needs", found=what)
