"""Weights that open_clip fetches by name, compared with the hash that they were stored under.

Files of the Hugging Face hub lie in its cache under their own sha256, which comes from the hub's
index and which the hub's client does not compare again. Files from OpenAI's own server carry theirs
in the address; open_clip compares it.
"""

from __future__ import annotations

import re
from pathlib import Path

from vclip_cli.common.errors import WeightsError
from vclip_cli.common.files import sha256_file

_SHA256 = re.compile("[0-9a-f]{64}")


def verify_fetched(path: Path) -> None:
    """Raises WeightsError for a file of the hub's cache whose content is not what its name says.

    Files that no hash is known of pass: small ones, and copies on systems without links.
    """
    stored = path.resolve()
    if not _SHA256.fullmatch(stored.name):
        return
    found = sha256_file(stored)
    if found != stored.name:
        raise WeightsError(
            "the fetched weights are not those that the hub lists: damaged or replaced",
            where=str(path),
            found=f"sha256 {found[:12]}…",
            expected=f"{stored.name[:12]}…",
            hint=f"delete {stored} and run the command again",
        )
