"""The clips as real files in a folder: resumable, each one independent of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.files import require_writable_folder, whole_file
from vclip_cli.toy.world import FRAMES, RATE, ToyClip, toy_clips

if TYPE_CHECKING:
    from vclip_cli.toy.multi import MultiClip

Clip = TypeVar("Clip", "ToyClip", "MultiClip")


def render_toy(
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    only: Collection[str] | None = None,
) -> list[ToyClip]:
    """Draw and encode the clips that `folder` lacks; give the list of those that it should hold.

    progress: called with (done, total) after every clip; only: the video ids wanted, all by
    default. Files that are whole are kept, damaged ones are made again. Raises UsageError for an
    unknown id or a folder that cannot be written, StorageError when writing fails.
    """
    from vclip_cli.toy.drawing import draw_frames

    return _render(folder, _chosen(toy_clips(), only), draw_frames, progress)


def render_multi(
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    only: Collection[str] | None = None,
) -> list[MultiClip]:
    """As `render_toy`, for the clips of `toy-multi`."""
    from vclip_cli.toy.multi import multi_clips
    from vclip_cli.toy.multi_drawing import draw_multi_frames

    return _render(folder, _chosen(multi_clips(), only), draw_multi_frames, progress)


def _render(
    folder: Path,
    clips: list[Clip],
    draw: Callable[[Clip], Any],
    progress: Callable[[int, int], None] | None,
) -> list[Clip]:
    from vclip_cli.toy.encoding import encode_clip

    require_writable_folder(folder, "VCLIP_CACHE")
    for done, clip in enumerate(clips, start=1):
        path = folder / clip.path
        if not _is_whole(path):
            data = encode_clip(draw(clip), path.suffix, RATE)
            with whole_file(path) as temporary:
                temporary.write_bytes(data)
        if progress is not None:
            progress(done, len(clips))
    return clips


def _chosen(clips: Sequence[Clip], only: Collection[str] | None) -> list[Clip]:
    if only is None:
        return list(clips)
    wanted = set(only)
    known = {clip.video_id for clip in clips}
    for video_id in sorted(wanted - known):
        raise UsageError(
            f"the embedded benchmark has no clip {video_id!r}", hint=did_you_mean(video_id, known)
        )
    return [clip for clip in clips if clip.video_id in wanted]


def _is_whole(path: Path) -> bool:
    """Whether a file holds all its packets: a cut file lacks its index or its last ones."""
    import av

    if not path.is_file():
        return False
    try:
        with av.open(path) as container:
            stream = container.streams.best("video")
            return (
                stream is not None
                and sum(packet.size > 0 for packet in container.demux(stream)) == FRAMES
            )
    except av.FFmpegError:
        return False
