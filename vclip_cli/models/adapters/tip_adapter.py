"""`tip-adapter`: a key-value cache of the training embeddings beside zero-shot CLIP.

Zhang et al. 2022, sections 3.1 and 3.2; docs/methods.md#tip-adapter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from vclip_cli.common.errors import SpecError
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import Adapter, AdapterConfig, Prompts, Trainable
from vclip_cli.models.fitting import (
    FitOptimizer,
    Fitted,
    Fitting,
    hold_back,
    shots_of,
    train_on_embeddings,
)

ALPHA, BETA = 1.0, 5.5
"""The authors' start values, which are used where nothing can be held back for a search."""
ALPHAS = tuple(round(0.1 + 2.9 * step / 19, 4) for step in range(20))
BETAS = tuple(round(0.1 + 6.9 * step / 19, 4) for step in range(20))
"""The values that are searched: 20 x 20, up to the authors' 3 and 7."""
EPOCHS = 20
OPTIMIZER = FitOptimizer("adamw", learning_rate=1e-3, weight_decay=0.01, epsilon=1e-4)
"""Of the fine-tuned form, as in the authors' code; the decay is AdamW's default, as there."""


@dataclass(frozen=True)
class TipAdapterConfig(AdapterConfig):
    """fine_tune: the keys train as well (Tip-Adapter-F). alpha, beta: 0 to search for them.

    classes: those of the training.
    """

    fine_tune: bool = False
    alpha: float = 0.0
    beta: float = 0.0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises SpecError for a negative weight or sharpness."""
        if self.alpha < 0 or self.beta < 0:
            raise SpecError("the options 'alpha' and 'beta' cannot be negative")


class TipAdapter(ClipAdapter):
    """logits = exp(logit_scale)·v·tᵀ + α·exp(-β(1 - v·keysᵀ))·values.

    Keys are the training embeddings, values their classes as one-hot rows. A quarter of each
    training class is held back, and α and β are searched there with a cache of the rest; of equal
    results the first counts, with α before β and from below. The authors' ImageNet script searches
    on the test split. With one shot a class nothing can be held back, and α and β are the authors'
    start values, 1 and 5.5. In the fine-tuned form the keys train by AdamW at these start values,
    20 epochs, rate 1e-3 with a cosine to 0: first the keys of the rest, for the search, then all.
    """

    name = "tip-adapter"
    summary = "Tip-Adapter: a cache of training embeddings beside zero-shot CLIP; F: fine_tune=true"
    paper = "Zhang et al., ECCV 2022, arXiv 2207.09519"
    Config = TipAdapterConfig
    config: TipAdapterConfig
    cacheable = "frame"
    fits = True
    fit_uses = ("batch_size", "optimizer", "schedule.epochs")

    values: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, backbone: Backbone, config: TipAdapterConfig | None = None) -> None:
        super().__init__(backbone, config)
        self.keys = nn.Parameter(torch.zeros(0, backbone.embedding_width))
        self.register_buffer("values", torch.zeros(0, dtype=torch.long))
        self.register_buffer("alpha", torch.tensor(self.config.alpha or ALPHA))
        self.register_buffer("beta", torch.tensor(self.config.beta or BETA))

    @classmethod
    def variants_to_count(
        cls, backbone: Backbone, classes: tuple[str, ...], shots: int
    ) -> dict[str, Adapter]:
        """The training-free form, and the fine-tuned one with `shots` keys a class."""
        tuned = cls(backbone, TipAdapterConfig(True, classes=classes))
        count = shots * len(classes)
        tuned._fill(torch.zeros(count, backbone.embedding_width), torch.zeros(count))
        title = f"{cls.name}, keys tuned, {shots} shots of {len(classes)} classes"
        return {cls.name: cls(backbone), title: tuned}

    @property
    def tied_classes(self) -> tuple[str, ...] | None:
        """The training classes, which the values of the cache stand for."""
        return self.config.classes

    def trainable(self) -> dict[str, Trainable]:
        """The keys of the fine-tuned form; nothing of the training-free one."""
        return {"keys": Trainable(self.keys)} if self.config.fine_tune else {}

    def checkpoint_tensors(self) -> dict[str, Tensor]:
        """The cache: keys (N,E), values as class indices (N,), and the α and β that were found."""
        cache = {"keys": self.keys, "values": self.values}
        return {**super().checkpoint_tensors(), **cache, "alpha": self.alpha, "beta": self.beta}

    def resize_for(self, tensors: Mapping[str, Tensor]) -> None:
        """The cache is as long as its training list was."""
        self._fill(tensors.get("keys", self.keys), tensors.get("values", self.values))

    def _fill(self, keys: Tensor, values: Tensor) -> None:
        self.keys = nn.Parameter(keys.detach().clone().to(self.keys))
        self.values = values.detach().clone().to(self.values)

    def score(self, video: Tensor, text: Tensor) -> Tensor:
        """Video embeddings (B,E) and class embeddings (K,E) to logits (B,K)."""
        zero_shot = super().score(video, text)
        with torch.autocast(video.device.type, enabled=False):
            return zero_shot + self.alpha * self._cache_logits(video, self.beta, len(text))

    def _cache_logits(self, video: Tensor, beta: Tensor | float, classes: int) -> Tensor:
        """Logits (B,K) of the cache alone, not weighted, for embeddings (B,E)."""
        affinity = torch.exp(-beta * (1 - video.float() @ self.keys.T))
        return affinity @ one_hot(self.values, classes).to(affinity)

    @torch.no_grad()
    def fit(
        self, embeddings: Tensor, targets: Tensor, prompts: Prompts, fitting: Fitting
    ) -> Fitted:
        """Search α and β on held-back examples, then fill the cache with all (N,E) and (N,)."""
        text = self.encode_text(prompts)
        embeddings, targets = embeddings.to(self.device), targets.to(self.device)
        y = targets.cpu().numpy()
        kept, held = hold_back(y, fitting.seed)
        chosen: dict[str, Any] = {"held_back": len(held), "shots": shots_of(y)}
        alpha, beta = self.config.alpha or ALPHA, self.config.beta or BETA
        if len(held) and not (self.config.alpha and self.config.beta):
            self._learn(embeddings[kept], targets[kept], text, fitting)
            found = self._search(embeddings[held], targets[held], text)
            alpha, beta, chosen["held_back_top1"] = found
        losses = self._learn(embeddings, targets, text, fitting)
        self.alpha.fill_(alpha)
        self.beta.fill_(beta)
        if not losses:
            losses = [[1, float(cross_entropy(self.score(embeddings, text), targets)), 0.0]]
        return Fitted(losses, {"alpha": alpha, "beta": beta, **chosen})

    def _search(self, video: Tensor, targets: Tensor, text: Tensor) -> tuple[float, float, float]:
        """The (α, β) of the best top-1 on held-back embeddings, and that top-1 in percent."""
        zero_shot = super().score(video, text)
        best = (0.0, 0.0, -1.0)
        for alpha in (self.config.alpha,) if self.config.alpha else ALPHAS:
            for beta in (self.config.beta,) if self.config.beta else BETAS:
                logits = zero_shot + alpha * self._cache_logits(video, beta, len(text))
                top1 = 100 * float((logits.argmax(dim=1) == targets).float().mean())
                if top1 > best[2]:
                    best = (alpha, beta, top1)
        return best

    def _learn(
        self,
        embeddings: Tensor,
        targets: Tensor,
        text: Tensor,
        fitting: Fitting,
    ) -> list[list[float]]:
        """Fill the cache; in the fine-tuned form train its keys. Gives (step, loss, rate) rows."""
        self._fill(normalize(embeddings.float(), dim=-1), targets)
        if not self.config.fine_tune:
            return []
        self.alpha.fill_(self.config.alpha or ALPHA)
        self.beta.fill_(self.config.beta or BETA)
        optimizer, epochs = fitting.optimizer or OPTIMIZER, fitting.epochs or EPOCHS
        steps = epochs * math.ceil(len(embeddings) / fitting.batch_size)
        base = optimizer.learning_rate
        return train_on_embeddings(
            self.keys,
            lambda batch: cross_entropy(self.score(embeddings[batch], text), targets[batch]),
            len(embeddings),
            fitting,
            epochs=epochs,
            optimizer=optimizer,
            rate_of=lambda epoch, step: base * 0.5 * (1 + math.cos(math.pi * step / steps)),
        )
