"""Training of the tiny CLIP: `python -m vclip_cli.toy.train_clip --out toy.safetensors --seed 0`.

The weights beside this file came from that command with its defaults. Stills are drawn afresh for
every step from (seed, step) alone, and the thread count is fixed, so that the same machine with the
same library versions writes the same bytes; elsewhere float rounding differs and the weights are
equivalent, not equal. Training takes some minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, log_softmax, normalize

from vclip_cli.files import whole_file
from vclip_cli.preprocessing import CLIP_MEAN, CLIP_STD
from vclip_cli.toy.drawing import generator
from vclip_cli.toy.stills import caption_words, draw_batch

CONFIG = Path(__file__).with_name("toy.json")
STEPS = 2500
BATCH = 256
THREADS = 2
PEAK_RATE = 1.5e-3
WARM_UP = 100
WEIGHT_DECAY = 0.05
MAX_LOGIT_SCALE = math.log(100)


class CaptionVocabulary:
    """The tokens that captions use, numbered densely.

    CLIP's table has 49,408 rows and the captions use a hundred: only those are trained, the others
    keep their small random start values. The order of ids is kept, so that the end-of-text token
    stays the largest, as CLIP's pooling needs it.
    """

    def __init__(self, tokenizer: Callable[[list[str]], Tensor]) -> None:
        self._tokenize = tokenizer
        self.ids = torch.unique(self._tokenize(caption_words()))

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Captions to dense ids (B,L), cut after the longest."""
        ids = self._tokenize(list(captions))
        ids = ids[:, : int((ids != 0).sum(dim=1).max())].contiguous()
        dense = torch.searchsorted(self.ids, ids)
        if not torch.equal(self.ids[dense.clamp(max=len(self.ids) - 1)], ids):
            raise ValueError("a caption uses a token that the vocabulary lacks")
        return dense


def build(seed: int) -> tuple[nn.Module, CaptionVocabulary]:
    """The untrained model of `toy.json` and the vocabulary of its captions."""
    import open_clip

    torch.manual_seed(seed)
    clip = open_clip.CLIP(**json.loads(CONFIG.read_text()))
    context = clip.context_length
    return clip, CaptionVocabulary(open_clip.tokenizer.SimpleTokenizer(context_length=context))


def encode_captions(clip: nn.Module, rows: Tensor, dense: Tensor) -> Tensor:
    """Dense ids (B,L) to text embeddings (B,E): CLIP's text tower without its padding.

    rows: the trained rows of the token table. The tower is causal, so the padding that is cut here
    never reached the end-of-text token.
    """
    length = dense.shape[1]
    tokens = embedding(dense, rows) + clip.positional_embedding[:length]
    hidden = clip.transformer(tokens, attn_mask=clip.attn_mask[:length, :length])
    hidden = clip.ln_final(hidden)[torch.arange(len(dense)), dense.argmax(dim=1)]
    return hidden @ clip.text_projection


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, captions: Sequence[str]) -> Tensor:
    """CLIP's softmax in both directions, with equal captions of a batch sharing the target."""
    number = {caption: index for index, caption in enumerate(dict.fromkeys(captions))}
    groups = torch.tensor([number[caption] for caption in captions])
    target = (groups[:, None] == groups).float()
    target = target / target.sum(dim=1, keepdim=True)
    logits = scale * normalize(images, dim=-1) @ normalize(texts, dim=-1).T
    forward = -(target * log_softmax(logits, dim=1)).sum(dim=1).mean()
    backward = -(target * log_softmax(logits.T, dim=1)).sum(dim=1).mean()
    return (forward + backward) / 2


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm_up = min(WARM_UP, steps // 10 + 1)
    if step < warm_up:
        return PEAK_RATE * (step + 1) / warm_up
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def train(
    seed: int,
    steps: int = STEPS,
    batch: int = BATCH,
    report: Callable[[int, float], None] | None = None,
) -> dict[str, Tensor]:
    """Train from scratch and give the state dict in float16, under open_clip's names.

    report: called with (steps done, loss) after every step.
    """
    clip, vocabulary = build(seed)
    rows = nn.Parameter(clip.token_embedding.weight.detach()[vocabulary.ids].clone())
    named = [(n, p) for n, p in clip.named_parameters() if n != "token_embedding.weight"]
    decayed = [p for n, p in named if p.ndim >= 2 and "embedding" not in n]
    plain = [p for n, p in named if p.ndim < 2 or "embedding" in n]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": WEIGHT_DECAY},
            {"params": [*plain, rows], "weight_decay": 0.0},
        ],
        lr=PEAK_RATE,
        betas=(0.9, 0.98),
    )
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    for step in range(steps):
        pixels, captions = draw_batch(generator(f"stills/{seed}/{step}"), batch)
        images = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        loss = contrastive_loss(
            clip.encode_image(images),
            encode_captions(clip, rows, vocabulary.encode(captions)),
            clip.logit_scale.exp(),
            captions,
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*decayed, *plain, rows], 1.0)
        optimizer.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        if report is not None:
            report(step + 1, float(loss.detach()))
    with torch.no_grad():
        clip.token_embedding.weight[vocabulary.ids] = rows
    return {name: value.to(torch.float16) for name, value in clip.state_dict().items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; prints the loss as it goes to stderr and the file to stdout."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(prog="python -m vclip_cli.toy.train_clip", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--threads", type=int, default=THREADS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    begin = time.monotonic()

    def report(done: int, loss: float) -> None:
        if done % 50 == 0 or done == chosen.steps:
            seconds = time.monotonic() - begin
            print(f"step {done}/{chosen.steps} loss {loss:.4f} {seconds:.0f} s", file=sys.stderr)

    weights = train(chosen.seed, chosen.steps, chosen.batch_size, report)
    with whole_file(chosen.out) as temporary:
        save_file({name: weights[name] for name in sorted(weights)}, temporary)
    print(chosen.out)


if __name__ == "__main__":
    main()
