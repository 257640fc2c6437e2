"""From logits to a probability for each label by itself, never a softmax over the labels.

A method that was trained with several labels a video brings the sigmoid of its own loss. The logits
of others mean nothing by themselves: all cosines of CLIP lie far above 0, so that a plain sigmoid
would call everything true. Where the dataset has a validation part, slope and bias are fitted to
its true labels, one pair for all labels, which changes no ranking. Else a fixed guess is taken, and
called one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from vclip_cli.data.protocol_lists import TestSet, protocol_validation
from vclip_cli.engine.encoding.model import LoadedMethod, candidate_classes
from vclip_cli.engine.encoding.prompts import class_prompts
from vclip_cli.results.multi_label import best_threshold, fit_sigmoid
from vclip_cli.results.record import Decision
from vclip_cli.results.scores import label_matrix

if TYPE_CHECKING:
    from vclip_cli.common.long_work import Progress
    from vclip_cli.data.dataset import Dataset
    from vclip_cli.data.protocol import Protocol
    from vclip_cli.engine.evaluation.plan import EvaluationPlan
    from vclip_cli.engine.runs.parts import Scores
    from vclip_cli.models.contract import Adapter

STATED_COSINE = 0.25
STATED_SLOPE = 40.0
"""The fixed guess: p = sigmoid(40 · (cosine - 0.25)). OpenAI's CLIP models give related pairs some
0.3, unrelated ones 0.2. The slope is low enough for probabilities not to round to 0 or 1."""


@dataclass(frozen=True)
class LabelProbability:
    """p = sigmoid(slope · (logit - bias)), for logits of any shape."""

    slope: float
    bias: float
    source: Literal["trained", "fitted", "stated"]

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits to probabilities on the CPU, float64: ranks survive close to 0 and 1."""
        return torch.sigmoid(self.slope * (logits.cpu().double() - self.bias))


@dataclass(frozen=True)
class RawLogits:
    """Logits as they are, for what is fitted to them."""

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """The same logits."""
        return logits


def stated_probability(adapter: Adapter) -> LabelProbability:
    """The fixed guess; a backbone trained with a sigmoid (SigLIP) brings its own bias."""
    scale = float(adapter.logit_scale().detach())
    own = getattr(adapter.clip, "logit_bias", None)
    if own is not None:
        return LabelProbability(1.0, -float(own.detach()), "stated")
    return LabelProbability(STATED_SLOPE / scale, STATED_COSINE * scale, "stated")


def trained_probability(method: LoadedMethod) -> LabelProbability | None:
    """The sigmoid of the loss that a checkpoint was trained with; None for any other method."""
    facts = method.training.probability
    if facts is None:
        return None
    return LabelProbability(float(facts["slope"]), float(facts["bias"]), "trained")


def own_probability(method: LoadedMethod) -> LabelProbability:
    """The trained sigmoid, or the fixed guess."""
    return trained_probability(method) or stated_probability(method.adapter)


def validation_part(
    protocol: Protocol, dataset: Dataset, tests: Sequence[TestSet], method: LoadedMethod
) -> TestSet | None:
    """Where slope, bias and threshold may be chosen; None without such a part.

    A part that the checkpoint was trained on is none.
    """
    found = protocol_validation(protocol, dataset, tests) if tests[0].multi_label else None
    if found is None:
        return None
    trained = {video for names in method.training.videos.values() for video in names}
    return None if trained & set(found.rows["video"]) else found


def decide(plan: EvaluationPlan, progress: Progress) -> Decision:
    """Settle probabilities and threshold before any test video is scored."""
    from vclip_cli.engine.evaluation.evaluate import labels_of

    own = own_probability(plan.method)
    part = validation_part(plan.protocol, plan.dataset, plan.tests, plan.method)
    if part is None:
        note = "the dataset has no validation part of its own: only the threshold 0.5 is used"
        return Decision(slope=own.slope, bias=own.bias, source=own.source, note=note)
    ordered = candidate_classes(plan.method, part.classes, part.name)
    scores = _validation_logits(plan, part, ordered, progress)
    every = labels_of(part)
    positive = label_matrix([every[video] for video in scores.videos], ordered)
    if not positive.any() or positive.all():
        note = "the validation part has no labels to choose by: only the threshold 0.5 is used"
        return Decision(slope=own.slope, bias=own.bias, source=own.source, note=note)
    if own.source == "stated":
        slope, bias = fit_sigmoid(scores.scores, positive)
        own = replace(own, slope=slope, bias=bias, source="fitted")
    probabilities = own(torch.from_numpy(scores.scores)).numpy()
    return Decision(
        slope=own.slope,
        bias=own.bias,
        source=own.source,
        threshold=best_threshold(probabilities, positive),
        validation=part.name,
        split_sha256=part.split_sha256,
        videos=len(scores.videos),
        labels=len(part.classes),
        note="the threshold has the highest micro F1 on the validation part",
    )


def _validation_logits(
    plan: EvaluationPlan, part: TestSet, ordered: Sequence[str], progress: Progress
) -> Scores:
    """Logits (N,K), averaged over views, of the validation part."""
    from vclip_cli.engine.evaluation.evaluate import embeddings_of, score_tests

    label_set, settings = plan.dataset.label_set, plan.settings
    prompts = class_prompts(label_set, ordered, settings.text, settings.templates)
    store = embeddings_of(plan)
    scores, _ = score_tests(plan, [part], prompts, progress, RawLogits(), store=store)
    assert scores is not None  # every process scores the whole of it
    return scores


def applied(decision: Decision) -> LabelProbability:
    """The map of a decision."""
    return LabelProbability(decision.slope, decision.bias, decision.source)
