"""`linear-probe`: logistic regression on CLIP's pooled embeddings.

Radford et al. 2021, section 3.2 and appendix A.3; docs/methods.md#linear-probe.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vclip_cli.common.errors import SpecError
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import Adapter, AdapterConfig, Prompts, Trainable
from vclip_cli.models.fitting import Fitted, Fitting, hold_back, shots_of

DEFAULT_C = 100.0
"""C where nothing can be held back to choose it on."""
ITERATIONS = 1000


@dataclass(frozen=True)
class LinearProbeConfig(AdapterConfig):
    """grid: the values of C, the inverse of the regularisation, to choose from.

    classes: those of the training.
    """

    grid: tuple[float, ...] = (0.1, 1.0, 3.16, 10.0, 31.6, 100.0, 316.0, 1000.0)
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises SpecError for a grid that is empty or not positive."""
        if not self.grid or any(value <= 0 for value in self.grid):
            raise SpecError("the option 'grid' needs positive numbers", found=str(self.grid))


class LinearProbeAdapter(ClipAdapter):
    """A linear classifier on L2-normalised, time-averaged embeddings; both towers are frozen.

    scikit-learn's multinomial logistic regression (L-BFGS). A quarter of each class is held back,
    and C is the value of the grid with the best top-1 there, the smallest of equals; then the
    classifier is fitted on all. With one shot a class nothing can be held back, and C is 100. The
    classifier uses no text and is tied to its classes.
    """

    name = "linear-probe"
    summary = "Logistic regression on CLIP's pooled embeddings, which are computed once"
    paper = "Radford et al., ICML 2021, arXiv 2103.00020"
    Config = LinearProbeConfig
    config: LinearProbeConfig
    cacheable = "frame"
    fits = True

    def __init__(self, backbone: Backbone, config: LinearProbeConfig | None = None) -> None:
        super().__init__(backbone, config)
        self.weight = nn.Parameter(torch.zeros(len(self.config.classes), backbone.embedding_width))
        self.bias = nn.Parameter(torch.zeros(len(self.config.classes)))

    @classmethod
    def variants_to_count(
        cls, backbone: Backbone, classes: tuple[str, ...], shots: int
    ) -> dict[str, Adapter]:
        """The classifier of these classes."""
        title = f"{cls.name}, {len(classes)} classes"
        return {title: cls(backbone, LinearProbeConfig(classes=classes))}

    @property
    def tied_classes(self) -> tuple[str, ...] | None:
        """The training classes."""
        return self.config.classes

    def trainable(self) -> dict[str, Trainable]:
        """The classifier."""
        return {"weight": Trainable(self.weight), "bias": Trainable(self.bias, decay=False)}

    def encode_text(self, prompts: Prompts) -> Tensor:
        """An empty tensor: the classifier uses no text."""
        return self.bias.new_empty(0)

    def score(self, video: Tensor, text: Any) -> Tensor:
        """Video embeddings (B,E) to logits (B,K)."""
        with torch.autocast(video.device.type, enabled=False):
            return video.float() @ self.weight.T + self.bias

    @torch.no_grad()
    def fit(
        self, embeddings: Tensor, targets: Tensor, prompts: Prompts, fitting: Fitting
    ) -> Fitted:
        """Choose C, then fit on all embeddings (N,E) and targets (N,); the loss is on these."""
        x, y = embeddings.double().cpu().numpy(), targets.cpu().numpy()
        kept, held = hold_back(y, fitting.seed)
        accuracy: dict[float, float] = {}
        with fitting.progress("fitting", len(self.config.grid) * bool(len(held)) + 1) as advance:
            for strength in sorted(self.config.grid) if len(held) else ():
                classifier = _fit(x[kept], y[kept], strength)
                accuracy[strength] = 100 * float((classifier.predict(x[held]) == y[held]).mean())
                advance(1)
            best = max(accuracy, key=accuracy.__getitem__) if accuracy else DEFAULT_C
            classifier = _fit(x, y, best)
            advance(1)
        self._copy_weights(classifier)
        device = self.device
        logits = self.score(embeddings.to(device), None)
        loss = float(nn.functional.cross_entropy(logits, targets.to(device)))
        chosen = {
            "C": best,
            "held_back": len(held),
            "shots": shots_of(y),
            "held_back_top1": {str(strength): value for strength, value in accuracy.items()},
        }
        return Fitted([[1, loss, 0.0]], chosen)

    def _copy_weights(self, classifier: Any) -> None:
        """Copy scikit-learn's rows; a class without a training video has a bias of -inf."""
        weight, bias = np.asarray(classifier.coef_), np.asarray(classifier.intercept_)
        if len(classifier.classes_) == 2:  # two classes: one row, for the second
            weight, bias = np.vstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2
        rows = torch.as_tensor(classifier.classes_)
        self.weight.zero_()
        self.bias.fill_(-math.inf if len(rows) < len(self.bias) else 0)
        self.weight[rows] = torch.as_tensor(weight, dtype=torch.float32).to(self.weight)
        self.bias[rows] = torch.as_tensor(bias, dtype=torch.float32).to(self.bias)


def _fit(x: np.ndarray, y: np.ndarray, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():  # one video a class is what few-shot asks for
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return LogisticRegression(C=strength, max_iter=ITERATIONS).fit(x, y)
