"""Prompts through the text tower, with or without learned context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vclip_cli.common.errors import ComparisonRefused
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.towers import TextTower, encode_ids

TEXT_BATCH = 256
CONTEXT_STD = 0.02


def in_batches(encode: Callable[[slice], Tensor], count: int) -> Tensor:
    """`encode` on slices of 256 of `count` prompts, joined: the batch bounds the memory."""
    return torch.cat(
        [encode(slice(start, start + TEXT_BATCH)) for start in range(0, count, TEXT_BATCH)]
    )


def encode_prompts(backbone: Backbone, prompts: Sequence[str]) -> Tensor:
    """N prompts to text embeddings (N,E), not normalised, in batches of 256."""
    ids = backbone.tokenize(prompts)
    return in_batches(lambda part: encode_ids(backbone, ids[part]), len(ids))


def flatten_prompts(prompts: Sequence[Sequence[str]]) -> tuple[list[str], list[int]]:
    """K lists of prompts to one list, and the number of prompts of each class."""
    return [prompt for group in prompts for prompt in group], [len(group) for group in prompts]


def average_ensembles(embeddings: Tensor, lengths: Sequence[int]) -> Tensor:
    """Embeddings (N,E) of all prompts to class embeddings (K,E), L2 normalised, float32.

    Each class is the mean of its prompts' normalised embeddings, normalised again (Radford et al.
    2021, section 3.1.4).
    """
    flat = normalize(embeddings.float(), dim=-1)
    if all(length == 1 for length in lengths):
        return flat
    return torch.stack(
        [normalize(group.mean(dim=0), dim=-1) for group in flat.split(list(lengths))]
    )


def encode_prompt_ensembles(backbone: Backbone, prompts: Sequence[Sequence[str]]) -> Tensor:
    """K lists of prompts to class embeddings (K,E), L2 normalised; see `average_ensembles`."""
    flat, lengths = flatten_prompts(prompts)
    return average_ensembles(encode_prompts(backbone, flat), lengths)


# Learned context ----------------------------------------------------------------------------------


def add_placeholder(prompt: str, words: str, count: int) -> str:
    """A prompt after a placeholder of `count` tokens: `words`, or "X X …" without words."""
    placeholder = words or " ".join(["X"] * count)
    return f"{placeholder} {prompt}" if placeholder else prompt


def replace_context(embeddings: Tensor, context: Tensor) -> Tensor:
    """Replace tokens 1 … n of (B,N,D) by learned context (n,D) or (B,n,D)."""
    if context.ndim == 2:
        context = context.expand(len(embeddings), -1, -1)
    count = context.shape[1]
    context = context.to(embeddings.dtype)
    return torch.cat([embeddings[:, :1], context, embeddings[:, 1 + count :]], dim=1)


@torch.no_grad()
def embed_words(backbone: Backbone, tower: TextTower, words: str, count: int) -> Tensor:
    """The token embeddings (count,D) of the first tokens of some words."""
    ids = backbone.tokenize([words]).to(next(backbone.clip.parameters()).device)
    return tower.embed(ids)[0, 1 : 1 + count]


def initial_context(
    backbone: Backbone, tower: TextTower, words: str, count: int, classes: Sequence[str] | None
) -> Tensor:
    """What learned context starts from: `words`, or normal(0, 0.02) without words.

    classes: those that have a context each. Gives (n,D), or (K,n,D) for K classes.
    """
    shape = () if classes is None else (len(classes),)
    if not words:
        return CONTEXT_STD * torch.randn(*shape, count, tower.width)
    start = embed_words(backbone, tower, words, count)
    return start.expand(*shape, -1, -1).clone() if shape else start.clone()


def check_class_count(prompts: Sequence[Sequence[str]], classes: Sequence[str] | None) -> None:
    """Raises ComparisonRefused for another number of classes than those with their own context."""
    if classes is not None and len(prompts) != len(classes):
        raise ComparisonRefused(
            "a class-specific text context cannot score classes it was not trained on",
            found=f"{len(prompts)} classes",
            expected=f"its own {len(classes)}",
        )
