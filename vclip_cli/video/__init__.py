"""Frame sampling, exact decoding and preprocessing of videos.

Importing the package loads neither a decoder nor torch; `read_frames` and `decode` load theirs
when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vclip_cli.video.reading import decode, read_frames

__all__ = ["decode", "read_frames"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from vclip_cli.video import reading

        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
