"""The image side of a method through torch.compile: other kernels for the same sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vclip_cli.common.errors import VclipError
from vclip_cli.models.contract import Adapter


def compiled_video(adapter: Adapter) -> Callable[[Tensor], Any]:
    """`encode_video`, compiled at its first call. Raises VclipError then where it cannot be.

    Text is left as it is: it is encoded once, or cut to another length in every step.
    """
    compiled = torch.compile(adapter.encode_video)

    def encode(frames: Tensor) -> Any:
        try:
            return compiled(frames)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise VclipError(
                f"{adapter.name!r} cannot be compiled here",
                found=str(error).strip().splitlines()[0][:200],
                hint="leave out --compile; on a CPU it needs a C++ compiler",
            ) from None

    return encode
