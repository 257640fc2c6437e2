"""The embedded benchmark: tiny action videos, rendered and encoded here, and a tiny CLIP.

A video shows one shape with one motion, "square moving left". The tiny CLIP (`toy.json`,
`toy.safetensors`) was trained on captioned stills of the same world: it knows the shapes, not their
motions.
"""

from vclip_cli.toy.render import render_toy
from vclip_cli.toy.world import RENDERER_VERSION, ToyVideo, toy_fingerprint, toy_videos

EMBEDDED = ("toy", "toy-shapes", "toy-multi")
"""The names of the datasets that are part of the package."""

__all__ = [
    "EMBEDDED",
    "RENDERER_VERSION",
    "ToyVideo",
    "render_toy",
    "toy_fingerprint",
    "toy_videos",
]
