"""Whether video files can be decoded, tried in guarded workers. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vclip_cli.common.errors import VclipError
from vclip_cli.engine.loading.workers import Lost, guarded_calls
from vclip_cli.engine.specs import WorkerSpec
from vclip_cli.video.exact import require_decodable


def undecodable(
    paths: Sequence[Path], guard: WorkerSpec, *, full: bool = False
) -> Iterator[str | None]:
    """Why each file cannot be decoded, None for one that can, in order.

    full: decode every frame, not only the first.
    """
    for found in guarded_calls(_reason, full, paths, guard):
        yield found.reason if isinstance(found, Lost) else found


def _reason(full: bool, path: Path) -> str | None:
    try:
        require_decodable(path, full=full)
    except VclipError as error:
        return error.what
    return None
