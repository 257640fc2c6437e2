"""Train and evaluate CLIP models adapted to video."""

__version__ = "0.1.0"
