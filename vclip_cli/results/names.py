"""How papers call datasets and metrics, and the order in which they print them."""

from __future__ import annotations

DATASETS = {
    "kinetics400": "K400",
    "hmdb51": "HMDB51",
    "ucf101": "UCF101",
    "ssv2": "SSv2",
    "kinetics600": "K600",
    "charades": "Charades",
}
"""In the order of the papers' columns: zero-shot HMDB51, UCF101, K600; base-to-novel K400 first."""

METRICS = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "map": "mAP",
    "map_micro": "micro mAP",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "f1_macro_chosen": "macro F1 at the chosen threshold",
    "f1_micro_chosen": "micro F1 at the chosen threshold",
    "precision_at_1": "precision at 1",
    "precision_at_5": "precision at 5",
    "calibration_error": "calibration error",
}
LOWER_IS_BETTER = ("calibration_error",)
"""Metrics of which the lowest value is the best."""


def dataset_title(name: str) -> str:
    """`HMDB51` for `hmdb51`; a person's own name as it is."""
    return DATASETS.get(name, name)


def dataset_order(name: str) -> tuple[int, str]:
    """Sorts the papers' datasets first, in their order, and others by name."""
    known = list(DATASETS)
    return (known.index(name) if name in known else len(known), name)


def metric_title(name: str) -> str:
    """`top-1 accuracy` for `top1`; a metric that is not known here by its name in the records."""
    return METRICS.get(name, name)


def metric_order(name: str) -> tuple[int, str]:
    """Sorts the known metrics first, in the order above."""
    known = list(METRICS)
    return (known.index(name) if name in known else len(known), name)
