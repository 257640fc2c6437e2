"""Hashes that many records of one folder ask for: each file is read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import sha256_file


@dataclass(frozen=True)
class Seen:
    """What one command has hashed so far; files do not change while it runs."""

    files: dict[Path, str] = field(default_factory=dict)
    backbones: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def file_sha256(self, path: Path) -> str:
        """The sha256 of a file. Raises DataError when it cannot be read."""
        if path not in self.files:
            try:
                self.files[path] = sha256_file(path)
            except OSError as error:
                text = f"cannot be read: {error.strerror or error}"
                raise DataError(text, where=str(path)) from error
        return self.files[path]

    def backbone_sha256(self, name: str, pretrained: str | None) -> str:
        """The content hash of a backbone's weights, which are loaded for it.

        Raises UsageError and WeightsError as `load_backbone` does.
        """
        from vclip_cli.models.backbone import load_backbone

        if (name, pretrained) not in self.backbones:
            self.backbones[name, pretrained] = load_backbone(name, pretrained).weights_sha256
        return self.backbones[name, pretrained]
