"""Train and evaluate CLIP models adapted to video."""

__version__ = "0.2.0"
