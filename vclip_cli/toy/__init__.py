"""The embedded benchmark: tiny action clips, rendered and encoded here, and a tiny CLIP.

A clip shows one shape that does one thing, "square moving left". The tiny CLIP (`toy.json`,
`toy.safetensors`) was trained on captioned stills of the same world: it knows what, not how it
moves.
"""

from vclip_cli.toy.render import render_toy
from vclip_cli.toy.world import RENDERER_VERSION, ToyClip, toy_clips, toy_fingerprint

EMBEDDED = ("toy", "toy-shapes", "toy-multi")
"""The names of the datasets that are part of the package."""

__all__ = ["EMBEDDED", "RENDERER_VERSION", "ToyClip", "render_toy", "toy_clips", "toy_fingerprint"]
