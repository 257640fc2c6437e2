"""The backbone, the checkpoints and the adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vclip_cli.models.checkpoint import load_adapter

__all__ = ["load_adapter"]


def __getattr__(name: str) -> Any:  # torch only when the call is asked for
    if name == "load_adapter":
        from vclip_cli.models.checkpoint import load_adapter

        return load_adapter
    raise AttributeError(name)
