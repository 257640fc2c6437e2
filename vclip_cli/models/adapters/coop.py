"""`coop`: learned text context before the class names, both towers frozen.

Zhou et al. 2022, sections 3.2 and 4.1; docs/methods.md#coop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vclip_cli.common.errors import SpecError, UsageError
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.adapters.parts.prompts import (
    add_placeholder,
    average_ensembles,
    check_class_count,
    flatten_prompts,
    initial_context,
)
from vclip_cli.models.adapters.parts.shared_prefix import encode_with_prefix, encode_with_prefixes
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import AdapterConfig, Prompts, Trainable
from vclip_cli.models.fitting import (
    FitOptimizer,
    Fitted,
    Fitting,
    shots_of,
    train_on_embeddings,
)
from vclip_cli.models.towers import text_tower

WARM_UP_RATE = 1e-5
OPTIMIZER = FitOptimizer("sgd", learning_rate=2e-3, weight_decay=5e-4)


@dataclass(frozen=True)
class CoopConfig(AdapterConfig):
    """context_tokens: M. context_words: words that the context starts from; M is then their number.
    class_specific: a context for each of `classes`, which must then be named.
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

    The image side is CLIP's own; its embeddings are computed once. The context starts from
    normal(0, 0.02), or from words. SGD with momentum 0.9, decay 5e-4 and rate 2e-3: the first epoch
    at 1e-5, then a cosine to 0 by epochs. 50 epochs for 1 shot a class, 100 for 2 to 4, 200 for
    more (section 4.1 and the authors' configs). A shared context scores any classes.
    """

    name = "coop"
    summary = "CoOp: learned text context, both towers frozen, over stored embeddings"
    paper = "Zhou et al., IJCV 2022, arXiv 2109.01134"
    Config = CoopConfig
    config: CoopConfig
    cacheable = "frame"
    fits = True
    fit_uses = ("batch_size", "optimizer", "schedule.epochs")
    default_templates = ("{class}.",)

    def __init__(self, backbone: Backbone, config: CoopConfig | None = None) -> None:
        super().__init__(backbone, config)
        if self.config.class_specific and not self.config.classes:
            raise UsageError("a class-specific text context needs the names of the classes")
        self.text_tower = text_tower(backbone, self.name)
        words, length = self.config.words, self.config.length
        start = initial_context(backbone, self.text_tower, words, length, self.tied_classes)
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

    def encode_text(self, prompts: Prompts) -> Tensor:
        """K prompt lists, without context, to L2-normalised class embeddings (K,E).

        Raises ComparisonRefused where the context is class-specific and K is another.
        """
        config, tower = self.config, self.text_tower
        check_class_count(prompts, self.tied_classes)
        flat, lengths = flatten_prompts(prompts)
        full = [add_placeholder(prompt, config.words, config.length) for prompt in flat]
        ids = self.backbone.tokenize(full).to(self.device)
        start = tower.embed(ids[:1, 0])
        if self.context.ndim == 2:
            prefix = torch.cat([start, self.context.to(start.dtype)])
            embeddings = encode_with_prefix(tower, prefix, ids)
        else:
            contexts = self.context.repeat_interleave(torch.tensor(lengths, device=ids.device), 0)
            starts = start.expand(len(ids), 1, -1)
            prefixes = torch.cat([starts, contexts.to(start.dtype)], dim=1)
            embeddings = encode_with_prefixes(tower, prefixes, ids)
        return average_ensembles(embeddings, lengths)

    def fit(
        self, embeddings: Tensor, targets: Tensor, prompts: Prompts, fitting: Fitting
    ) -> Fitted:
        """Train the context on embeddings (N,E) and targets (N,) by cross-entropy."""
        embeddings, targets = embeddings.to(self.device), targets.to(self.device)
        self.freeze_all_but_trainable()
        shots = shots_of(targets.cpu().numpy())
        epochs = fitting.epochs or epochs_for(shots)
        optimizer = fitting.optimizer or OPTIMIZER

        def loss_of(batch: Tensor) -> Tensor:
            return cross_entropy(
                self.score(embeddings[batch], self.encode_text(prompts)), targets[batch]
            )

        rows = train_on_embeddings(
            self.context,
            loss_of,
            len(embeddings),
            fitting,
            epochs=epochs,
            optimizer=optimizer,
            rate_of=lambda epoch, step: rate_of(epoch, epochs, optimizer.learning_rate),
        )
        return Fitted(rows, {"shots": shots, "epochs": epochs})


def epochs_for(shots: int) -> int:
    """The paper's number of epochs for this many examples a class."""
    return 50 if shots == 1 else 100 if shots <= 4 else 200


def rate_of(epoch: int, epochs: int, base: float) -> float:
    """The learning rate of an epoch, counted from 0: a slow first one, then the cosine."""
    if epoch == 0 and epochs > 1:
        return min(WARM_UP_RATE, base)
    return base * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
