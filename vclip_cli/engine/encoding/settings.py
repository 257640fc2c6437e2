"""How a video is looked at in a run: what was asked for, over the recipe, over the protocol.

What a person overrides of the protocol's own fields is named, and ends up in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vclip_cli.common.errors import ComparisonRefused, UsageError
from vclip_cli.engine.loading.videos import VideoReading
from vclip_cli.models.contract import Adapter
from vclip_cli.video.decoders import known_decoder
from vclip_cli.video.sampling import Sampling

DEFAULT_FRAMES = 8


@dataclass(frozen=True)
class ViewRequest:
    """What a person asked for; None where the protocol decides."""

    frames: int | None = None
    clips: int | None = None
    crops: int | None = None
    templates: tuple[str, ...] | None = None
    text: str | None = None
    decoder: str = "exact"


@dataclass(frozen=True)
class Settings:
    """The resolved settings; `overrides` holds the protocol's own values that were changed."""

    reading: VideoReading
    templates: tuple[str, ...]
    text: str
    overrides: dict[str, Any]


def resolve_settings(
    adapter: Adapter,
    asked: ViewRequest,
    planned: dict[str, Any] | None = None,
    *,
    allow_single: bool = False,
) -> Settings:
    """Join what was asked, what the protocol plans, and what the method brings.

    planned: `frames`, `clips`, `crops`, `rule`, `stride`, `templates`, `text` as far as the
    protocol and its recipe state them. Raises ComparisonRefused when a checkpoint is tied to
    another number of frames, UsageError for values that make no sense.
    """
    plan = {key: value for key, value in (planned or {}).items() if value is not None}
    chosen = {
        name: value
        for name in ("frames", "clips", "crops", "templates", "text")
        if (value := getattr(asked, name)) is not None
    }
    stated = {
        "frames": adapter.tied_frames or DEFAULT_FRAMES,
        "clips": 1,
        "crops": 1,
        "templates": adapter.default_templates,
        "text": "natural",
        **plan,
    }
    overrides = {name: stated[name] for name, value in chosen.items() if stated[name] != value}
    merged = {**stated, **chosen}
    if adapter.tied_frames not in (None, merged["frames"]):
        if "frames" in chosen:
            raise ComparisonRefused(
                f"the weights of {adapter.name!r} are tied to their number of frames",
                found=f"{merged['frames']} frames",
                expected=f"{adapter.tied_frames}",
                hint=f"--frames {adapter.tied_frames}",
            )
        merged["frames"] = adapter.tied_frames
        overrides["frames"] = stated["frames"]
    if merged["crops"] not in (1, 3):
        raise UsageError("the spatial views", found=str(merged["crops"]), expected="1 or 3")
    sampling = Sampling(
        frames=merged["frames"],
        clips=merged["clips"],
        rule=plan.get("rule", "uniform"),
        stride=plan.get("stride", 1),
    )
    reading = VideoReading(
        sampling=sampling,
        preprocessing=adapter.preprocessing,
        crops=merged["crops"],
        decoder=known_decoder(asked.decoder),
        allow_single=allow_single,
    )
    return Settings(reading, tuple(merged["templates"]), merged["text"], overrides)


def read_templates(values: Sequence[str] | None) -> tuple[str, ...] | None:
    """Templates from the command line: as they stand, or the lines of `.txt` files.

    Raises UsageError when such a file cannot be read or holds none.
    """
    from pathlib import Path

    if not values:
        return None
    templates: list[str] = []
    for value in values:
        if not value.endswith(".txt"):
            templates.append(value)
            continue
        try:
            lines = Path(value).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the file of templates cannot be read: {error}", where=value
            ) from None
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise UsageError("the file holds no template", where=value)
        templates += found
    return tuple(templates)
