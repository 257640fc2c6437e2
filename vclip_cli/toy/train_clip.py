"""Training of the tiny CLIP: `python -m vclip_cli.toy.train_clip --out toy.safetensors --seed 0`.

The weights beside this file came from that command with its defaults. Stills, captions and batches
are seeded and the thread count is fixed, so the same machine with the same library versions writes
the same bytes. Elsewhere float rounding differs, and the weights are equivalent but not equal.
Training takes about twelve minutes on one CPU core.

First the image tower trains alone: a linear reader, discarded at the end, predicts shape, colour,
size, place, tilt and motion lines from its embedding. Without this stage the towers learn the
places slowly, and the embedding must contain them. Then both towers train with two softmax losses,
as in CLIP: between the stills and the captions of a batch; and between each still and, for each
facet, all phrases that could be true of it ("circle", "square", …; "shape at the far left", …). The
reader's loss is kept.

Shapes: B batch, L tokens, E embedding, P phrases, F facets.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, log_softmax, normalize
from torch.utils import deterministic

from vclip_cli.common.files import whole_file
from vclip_cli.common.preprocessing import CLIP_MEAN, CLIP_STD
from vclip_cli.toy.drawing import generator
from vclip_cli.toy.stills import FACETS, caption_words, draw_caption, draw_sentence, draw_still

CONFIG = Path(__file__).with_name("toy.json")
READING_STEPS = 1000
STEPS = 1500
BATCH = 128
STILLS = 24_000
THREADS = 1
PEAK_RATE = 2.5e-3
WARM_UP = 100
WEIGHT_DECAY = 0.05
MAX_LOGIT_SCALE = math.log(100)


class CaptionVocabulary:
    """The tokens that captions use, with consecutive numbers.

    CLIP's table has 49,408 rows and the captions use a hundred. Only those are trained; the others
    keep their small random start values. The order of ids is kept, because CLIP pools at the
    largest id, the end-of-text token.
    """

    def __init__(self, tokenizer: Callable[[list[str]], Tensor]) -> None:
        self._tokenize = tokenizer
        self.ids = torch.unique(self._tokenize(caption_words()))

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Captions to consecutive ids (B, L), cut after the longest."""
        ids = self._tokenize(list(captions))
        ids = ids[:, : int((ids != 0).sum(dim=1).max())].contiguous()
        dense = torch.searchsorted(self.ids, ids)
        if not torch.equal(self.ids[dense.clamp(max=len(self.ids) - 1)], ids):
            raise ValueError("a caption uses a token that the vocabulary lacks")
        return dense


def build(seed: int) -> tuple[open_clip.CLIP, CaptionVocabulary]:
    """The untrained model of `toy.json` and the vocabulary of its captions."""
    torch.manual_seed(seed)
    clip = open_clip.CLIP(**json.loads(CONFIG.read_text()))
    context = clip.context_length
    return clip, CaptionVocabulary(open_clip.tokenizer.SimpleTokenizer(context_length=context))


def encode_captions(clip: open_clip.CLIP, rows: Tensor, dense: Tensor) -> Tensor:
    """Consecutive ids (B, L) to text embeddings (B, E): CLIP's text tower without padding.

    rows: the trained rows of the token table. The tower is causal, so the padding that is cut off
    here has no effect on the end-of-text token.
    """
    length = dense.shape[1]
    tokens = embedding(dense, rows) + clip.positional_embedding[:length]
    hidden = clip.transformer(tokens, attn_mask=clip.attn_mask[:length, :length])
    hidden = clip.ln_final(hidden)[torch.arange(len(dense)), dense.argmax(dim=1)]
    return hidden @ clip.text_projection


def contrastive_loss(logits: Tensor, captions: Sequence[str]) -> Tensor:
    """CLIP's softmax over logits (B, B) in both directions; equal captions share the target."""
    number = {caption: index for index, caption in enumerate(dict.fromkeys(captions))}
    groups = torch.tensor([number[caption] for caption in captions])
    target = (groups[:, None] == groups).float()
    target = target / target.sum(dim=1, keepdim=True)
    forward = -(target * log_softmax(logits, dim=1)).sum(dim=1).mean()
    backward = -(target * log_softmax(logits.T, dim=1)).sum(dim=1).mean()
    return (forward + backward) / 2


def facet_loss(logits: Tensor, facets: Tensor) -> Tensor:
    """The softmax over each facet's phrases, summed over the facets.

    logits: (B, P), for all phrases of `FACETS`; facets: (B, F), the true ones, -1 where none is.
    """
    banks = logits.split([len(bank) for bank in FACETS.values()], dim=1)
    losses = [
        cross_entropy(bank, true, ignore_index=-1, reduction="sum") / (true >= 0).sum().clamp(min=1)
        for bank, true in zip(banks, facets.T, strict=True)
    ]
    return torch.stack(losses).sum()


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm_up = min(WARM_UP, steps // 10 + 1)
    if step < warm_up:
        return PEAK_RATE * (step + 1) / warm_up
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def train(
    seed: int,
    steps: int = STEPS,
    reading_steps: int = READING_STEPS,
    batch: int = BATCH,
    stills: int = STILLS,
    report: Callable[[int, float], None] | None = None,
) -> dict[str, Tensor]:
    """Train from scratch on a pool of stills; return the state dict in float16.

    reading_steps: with the reader's loss alone; steps: with captions too, drawn anew at every use
    of a still. report: called with (steps done, loss) after every step.
    """
    clip, vocabulary = build(seed)
    rows = nn.Parameter(clip.token_embedding.weight.detach()[vocabulary.ids].clone())
    width = clip.text_projection.shape[1]
    phrases = [phrase for bank in FACETS.values() for phrase in bank]
    reader = nn.Linear(width, len(phrases))
    optimizer = _optimizer(clip, rows, reader)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    pool = [draw_still(generator(f"still/{seed}/{number}")) for number in range(stills)]
    pixels = torch.from_numpy(np.stack([still.pixels for still in pool])).permute(0, 3, 1, 2)
    facets = torch.tensor([still.facets() for still in pool])
    mean, std = torch.tensor(CLIP_MEAN)[:, None, None], torch.tensor(CLIP_STD)[:, None, None]
    rng = generator(f"batches/{seed}")

    def caption_losses(images: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        captions = [draw_caption(rng, pool[number]) for number in chosen]
        sentences = [draw_sentence(rng, phrase) for phrase in phrases]
        scaled = clip.logit_scale.exp() * images
        to_captions, to_sentences = (
            scaled @ normalize(encode_captions(clip, rows, vocabulary.encode(group)), dim=-1).T
            for group in (captions, sentences)
        )
        return contrastive_loss(to_captions, captions) + facet_loss(to_sentences, facets[chosen])

    rates = [learning_rate(step, reading_steps) for step in range(reading_steps)]
    rates += [learning_rate(step, steps) for step in range(steps)]
    for step, rate in enumerate(rates):
        chosen = rng.integers(0, stills, batch)
        images = normalize(clip.encode_image((pixels[chosen] / 255 - mean) / std), dim=-1)
        loss = facet_loss(reader(math.sqrt(width) * images), facets[chosen])
        if step >= reading_steps:
            loss = loss + caption_losses(images, chosen)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        if report is not None:
            report(step + 1, float(loss.detach()))
    with torch.no_grad():
        clip.token_embedding.weight[vocabulary.ids] = rows
    return {name: value.to(torch.float16) for name, value in clip.state_dict().items()}


def _optimizer(
    clip: open_clip.CLIP, rows: nn.Parameter, reader: nn.Linear
) -> torch.optim.Optimizer:
    named = [(n, p) for n, p in clip.named_parameters() if n != "token_embedding.weight"]
    decayed = [p for n, p in named if p.ndim >= 2 and "embedding" not in n]
    plain = [p for n, p in named if p.ndim < 2 or "embedding" in n]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": [*plain, rows, *reader.parameters()], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: prints the loss to stderr and the path of the file to stdout."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(prog="python -m vclip_cli.toy.train_clip", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--reading-steps", type=int, default=READING_STEPS)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--stills", type=int, default=STILLS)
    parser.add_argument("--threads", type=int, default=THREADS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    torch.use_deterministic_algorithms(True)
    # torch makes this attribute of the module a property, which its types do not show
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    begin = time.monotonic()

    total = chosen.reading_steps + chosen.steps

    def report(done: int, loss: float) -> None:
        if done % 50 == 0 or done == total:
            seconds = time.monotonic() - begin
            print(f"step {done}/{total} loss {loss:.4f} {seconds:.0f} s", file=sys.stderr)

    weights = train(
        chosen.seed,
        chosen.steps,
        chosen.reading_steps,
        chosen.batch_size,
        chosen.stills,
        report,
    )
    with whole_file(chosen.out) as temporary:
        save_file({name: weights[name] for name in sorted(weights)}, temporary)
    print(chosen.out)


if __name__ == "__main__":
    main()
