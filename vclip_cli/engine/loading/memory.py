"""What this process holds in memory, where Linux tells."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")


def now_held() -> int:
    """Bytes of memory that the process holds. Raises OSError, ValueError where nothing tells."""
    return _bytes_of("VmRSS:")


def most_held() -> int:
    """The most bytes that it has held at any time. Raises OSError, ValueError."""
    return _bytes_of("VmHWM:")


def _bytes_of(name: str) -> int:
    for line in _STATUS.read_bytes().splitlines():
        if line.startswith(name.encode()):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {name} in {_STATUS}")
