"""The decoders by name: which there are, which of them are installed, and how records name them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from vclip_cli.common.errors import UsageError, did_you_mean

_LIBRARY = {"exact": "av", "decord": "decord"}
_MODE = {
    "exact": "packet-selective decoding, frames told by pts, else counted; one thread",
    "decord": "get_batch from a path; one thread",
}
DECODERS = tuple(_LIBRARY)


def known_decoder(name: str) -> str:
    """The name itself. Raises UsageError, with near misses, when there is no such decoder."""
    if name not in _LIBRARY:
        raise UsageError(f"unknown decoder {name!r}", hint=did_you_mean(name, DECODERS))
    return name


def decoder_versions() -> dict[str, str | None]:
    """Decoder to the version of its library, None where that is not installed."""
    return {name: _installed_version(library) for name, library in _LIBRARY.items()}


def describe_decoder(name: str) -> dict[str, str | None]:
    """What a record holds about a decoder: name, library, version, mode.

    The version of PyAV comes with that of the FFmpeg inside. Raises UsageError on unknown names.
    """
    library = _LIBRARY[known_decoder(name)]
    found = _installed_version(library)
    if found is not None and library == "av":
        found = f"{found} (FFmpeg {_ffmpeg_version()})"
    return {"name": name, "library": library, "version": found, "mode": _MODE[name]}


def _installed_version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _ffmpeg_version() -> str:
    import av

    return str(av.ffmpeg_version_info)
