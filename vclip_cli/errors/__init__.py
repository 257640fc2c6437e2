"""The errors that the library raises, each with the exit code of the command line."""

from vclip_cli.common.errors import (
    ComparisonRefused,
    DataError,
    SpecError,
    StorageError,
    UsageError,
    VclipError,
    VideoError,
    WeightsError,
)

__all__ = [
    "ComparisonRefused",
    "DataError",
    "SpecError",
    "StorageError",
    "UsageError",
    "VclipError",
    "VideoError",
    "WeightsError",
]
