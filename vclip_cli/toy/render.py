"""The clips as real files in a folder: resumable, each one independent of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from vclip_cli.errors import UsageError, did_you_mean
from vclip_cli.files import require_writable_folder, whole_file
from vclip_cli.toy.world import FRAMES, RATE, ToyClip, toy_clips


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
    from vclip_cli.toy.encoding import encode_clip

    clips = _chosen(only)
    require_writable_folder(folder)
    for done, clip in enumerate(clips, start=1):
        path = folder / clip.path
        if not _is_whole(path):
            data = encode_clip(draw_frames(clip), path.suffix, RATE)
            with whole_file(path) as temporary:
                temporary.write_bytes(data)
        if progress is not None:
            progress(done, len(clips))
    return clips


def _chosen(only: Collection[str] | None) -> list[ToyClip]:
    clips = toy_clips()
    if only is None:
        return clips
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
