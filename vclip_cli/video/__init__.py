"""Frame sampling, exact decoding and preprocessing of videos.

Importing the package loads neither a decoder nor torch: a decoder is loaded when the first video is
read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vclip_cli.video.decoders import decode, read_frames

__all__ = ["decode", "read_frames"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from vclip_cli.video import decoders

        return getattr(decoders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
