"""From logits to an independent probability per label, never a softmax over labels.

A method trained with several labels per video uses the sigmoid of its own loss. The logits of other
methods are not log odds: all cosines of CLIP lie far above 0, so a plain sigmoid would predict
every label. If the dataset has a validation part, one slope and one bias for all labels are fitted
to its true labels; no ranking changes. Otherwise a fixed guess is used and recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from vclip_cli.data.protocol_lists import TestSet
from vclip_cli.engine.encoding.model import LoadedMethod
from vclip_cli.engine.evaluation.plan import EvaluationPlan, labels_of
from vclip_cli.engine.runs.parts import Scores
from vclip_cli.results.decisions import best_threshold, fit_sigmoid
from vclip_cli.results.record import Decision
from vclip_cli.results.scores import label_matrix

STATED_COSINE = 0.25
STATED_SLOPE = 40.0
"""The fixed guess: p = sigmoid(40 · (cosine - 0.25)). OpenAI's CLIP models give related pairs about
0.3 and unrelated ones 0.2. The slope is too low to round probabilities to 0 or 1."""


@dataclass(frozen=True)
class LabelProbability:
    """p = sigmoid(slope · (logit - bias)), for logits of any shape."""

    slope: float
    bias: float
    source: Literal["trained", "fitted", "stated"]

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits to probabilities on the CPU, float64: ranks survive close to 0 and 1."""
        return torch.sigmoid(self.slope * (logits.cpu().double() - self.bias))


def trained_probability(method: LoadedMethod) -> LabelProbability | None:
    """The sigmoid of the loss that a checkpoint was trained with; None for any other method."""
    facts = method.training.probability
    if facts is None:
        return None
    return LabelProbability(float(facts["slope"]), float(facts["bias"]), "trained")


def own_probability(method: LoadedMethod) -> LabelProbability:
    """The trained sigmoid, or the fixed guess.

    For a backbone trained with a sigmoid (SigLIP), the guess uses the backbone's own bias.
    """
    trained = trained_probability(method)
    if trained is not None:
        return trained
    scale = float(method.adapter.logit_scale().detach())
    own = getattr(method.adapter.clip, "logit_bias", None)
    if own is not None:
        return LabelProbability(1.0, -float(own.detach()), "stated")
    return LabelProbability(STATED_SLOPE / scale, STATED_COSINE * scale, "stated")


def decide(plan: EvaluationPlan, score: Callable[[TestSet], Scores]) -> Decision:
    """Settle probabilities and threshold before any test video is scored.

    score: gives the logits of a test set, averaged over views.
    """
    own, part = own_probability(plan.method), plan.validation
    if part is None:
        note = "the dataset has no validation part of its own: only the threshold 0.5 is used"
        return Decision(**asdict(own), note=note)
    scores, every = score(part), labels_of(part)
    positive = label_matrix([every[video] for video in scores.videos], plan.classes(part))
    if not positive.any() or positive.all():
        note = "the validation part has no labels to choose by: only the threshold 0.5 is used"
        return Decision(**asdict(own), note=note)
    if own.source == "stated":
        slope, bias = fit_sigmoid(scores.scores, positive)
        own = LabelProbability(slope, bias, "fitted")
    probabilities = own(torch.from_numpy(scores.scores)).numpy()
    return Decision(
        **asdict(own),
        threshold=best_threshold(probabilities, positive),
        validation=part.name,
        split_sha256=part.split_sha256,
        videos=len(scores.videos),
        labels=len(part.classes),
        note="the threshold has the highest micro F1 on the validation part",
    )
