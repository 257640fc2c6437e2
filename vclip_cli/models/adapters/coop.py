"""`coop`: learned text context before the class names, both towers frozen (METHODS section 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vclip_cli.common.errors import ComparisonRefused, SpecError, UsageError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import AdapterConfig, Trainable
from vclip_cli.models.fitting import FitOptimizer, Fitted, Fitting, shots_of
from vclip_cli.models.prompts import average_ensembles, flatten_prompts, with_placeholder
from vclip_cli.models.shared_prefix import encode_behind_prefix, encode_with_prefixes
from vclip_cli.models.towers import text_tower

WARM_UP_RATE = 1e-5
OPTIMIZER = FitOptimizer("sgd", learning_rate=2e-3, weight_decay=5e-4)


@dataclass(frozen=True)
class CoopConfig(AdapterConfig):
    """context_tokens: M. context_words: what they start from; their number is then that of the
    words. class_specific: a context for each of `classes`, which must then be named.
    """

    context_tokens: int = 16
    context_words: str = ""
    class_specific: bool = False
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises SpecError for a context without tokens."""
        if self.context_tokens < 1:
            raise SpecError("the option 'context_tokens' is at least 1")

    @property
    def words(self) -> str:
        """The initial words, blanks between them."""
        return self.context_words.replace("_", " ")

    @property
    def length(self) -> int:
        """The number M of learned tokens."""
        return len(self.words.split(" ")) if self.words else self.context_tokens


class CoopAdapter(ClipAdapter):
    """M learned tokens after the start token, then the class name, through the frozen text tower.

    The image side is CLIP's own, its embeddings are computed once. The start is normal(0, 0.02), or
    words. SGD with momentum 0.9, decay 5e-4, rate 2e-3: the first epoch at 1e-5, then a cosine
    to 0 by epochs; 50, 100 and 200 epochs for 1, 2 to 4, and more shots a class (section 4.1 and
    the authors' configs). A context that all classes share scores any classes.
    """

    name = "coop"
    summary = "CoOp: learned text context, both towers frozen, over stored embeddings"
    paper = "Zhou et al., IJCV 2022, arXiv 2109.01134"
    Config = CoopConfig
    cacheable = "frame"
    fits = True
    fit_uses = ("batch_size", "optimizer", "schedule.epochs")
    default_templates = ("{class}.",)

    def __init__(self, backbone: Backbone, config: CoopConfig | None = None) -> None:
        super().__init__(backbone, config)
        config = self.config
        if config.class_specific and not config.classes:
            raise UsageError("a class-specific text context needs the names of the classes")
        self.text_tower = text_tower(backbone, self.name)
        shape = (len(config.classes),) if config.class_specific else ()
        if config.words:
            ids = backbone.tokenize([config.words]).to(self.device)
            with torch.no_grad():
                start = self.text_tower.embed(ids)[0, 1 : 1 + config.length]
                start = start.expand(*shape, -1, -1).clone() if shape else start.clone()
        else:
            start = 0.02 * torch.randn(*shape, config.length, self.text_tower.width)
        self.context = nn.Parameter(start)

    @property
    def tied_classes(self) -> tuple[str, ...] | None:
        """The classes of a class-specific context."""
        return self.config.classes if self.config.class_specific else None

    @property
    def text_trains(self) -> bool:
        """The context's gradient comes through the text tower."""
        return True

    def trainable(self) -> dict[str, Trainable]:
        """The context."""
        return {"context": Trainable(self.context)}

    def encode_text(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """K prompt lists, without context, to L2-normalised class embeddings (K,E).

        Raises ComparisonRefused where the context is class-specific and K is another.
        """
        config = self.config
        if config.class_specific and len(prompts) != len(config.classes):
            raise ComparisonRefused(
                "a class-specific text context cannot score classes it was not trained on",
                found=f"{len(prompts)} classes",
                expected=f"its own {len(config.classes)}",
            )
        flat, lengths = flatten_prompts(prompts)
        full = [with_placeholder(prompt, config.words, config.length) for prompt in flat]
        return self._encode(self.backbone.tokenize(full).to(self.device), lengths)

    def _encode(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        tower = self.text_tower
        start = tower.embed(ids[:1, 0])
        if self.context.ndim == 2:
            prefix = torch.cat([start, self.context.to(start.dtype)])
            embeddings = encode_behind_prefix(tower, prefix, ids)
        else:
            contexts = self.context.repeat_interleave(torch.tensor(lengths, device=ids.device), 0)
            starts = start.expand(len(ids), 1, -1)
            prefixes = torch.cat([starts, contexts.to(start.dtype)], dim=1)
            embeddings = encode_with_prefixes(tower, prefixes, ids)
        return average_ensembles(embeddings, lengths)

    def fit(
        self,
        embeddings: Tensor,
        targets: Tensor,
        prompts: Sequence[Sequence[str]],
        fitting: Fitting,
        progress: Progress = no_progress,
    ) -> Fitted:
        """Train the context on embeddings (N,E) and targets (N,) by cross-entropy."""
        embeddings, targets = embeddings.to(self.device), targets.to(self.device)
        self.freeze_all_but_trainable()
        shots = shots_of(targets.cpu().numpy())
        epochs = fitting.epochs or epochs_for(shots)
        how, size = fitting.optimizer or OPTIMIZER, fitting.batch_size
        optimizer = how.build([self.context])
        starts = range(0, len(embeddings), size)
        rng, rows = np.random.default_rng(fitting.seed), []
        with torch.enable_grad(), progress("training", epochs * len(starts)) as advance:
            for epoch in range(epochs):
                rate = rate_of(epoch, epochs, how.learning_rate)
                optimizer.param_groups[0]["lr"] = rate
                order = torch.from_numpy(rng.permutation(len(embeddings))).to(targets.device)
                for first in starts:
                    part = order[first : first + size]
                    logits = self.score(embeddings[part], self.encode_text(prompts))
                    loss = cross_entropy(logits, targets[part])
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                    rows.append([len(rows) + 1, float(loss.detach()), rate])
                    advance(1)
        return Fitted(rows, {"shots": shots, "epochs": epochs})


def epochs_for(shots: int) -> int:
    """The paper's number of epochs for this many examples a class."""
    return 50 if shots == 1 else 100 if shots <= 4 else 200


def rate_of(epoch: int, epochs: int, base: float) -> float:
    """The learning rate of an epoch, counted from 0: a slow first one, then the cosine."""
    if epoch == 0 and epochs > 1:
        return min(WARM_UP_RATE, base)
    return base * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
