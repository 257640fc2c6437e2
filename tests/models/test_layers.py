"""The fused attention gives what torch's own modules give, and takes no detour in bf16."""

from __future__ import annotations

import pytest
import torch
from tiny_clip import tiny_backbone
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vclip_cli.models.layers import attend
from vclip_cli.models.towers import encode_images


def _by_module(
    module: nn.MultiheadAttention,
    queries: torch.Tensor,
    context: torch.Tensor,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    if not module.batch_first:
        queries, context = queries.transpose(0, 1), context.transpose(0, 1)
    out = module(queries, context, context, need_weights=False, attn_mask=mask)[0]
    return out if module.batch_first else out.transpose(0, 1)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_module(batch_first: bool, bias: bool) -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(32, 4, bias=bias, batch_first=batch_first)
    if bias:
        nn.init.normal_(module.in_proj_bias)
    tokens, context = torch.randn(3, 7, 32), torch.randn(3, 5, 32)
    causal = torch.full((7, 7), float("-inf")).triu(1)
    wanted = _by_module(module, tokens, tokens, causal)
    torch.testing.assert_close(attend(module, tokens, mask=causal), wanted, atol=1e-6, rtol=1e-5)
    wanted = _by_module(module, tokens, context, None)
    torch.testing.assert_close(attend(module, tokens, context), wanted, atol=1e-6, rtol=1e-5)


def test_a_watched_module_is_called() -> None:
    module = nn.MultiheadAttention(32, 4)
    seen = []
    tokens = torch.randn(3, 7, 32)
    plain = attend(module, tokens)
    with module.register_forward_hook(lambda *_: seen.append(1)):
        watched = attend(module, tokens)
    assert seen == [1]
    torch.testing.assert_close(plain, watched, atol=1e-6, rtol=1e-5)


def test_dropout_in_training_is_left_to_the_module() -> None:
    module = nn.MultiheadAttention(32, 4, dropout=0.5, batch_first=True)
    tokens = torch.randn(2, 7, 32)
    assert not torch.equal(attend(module, tokens), attend(module, tokens))
    module.eval()
    assert torch.equal(attend(module, tokens), attend(module, tokens))


class _Calls(TorchDispatchMode):
    """The names of the operations that are carried out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_weights_are_not_copied_for_each_row_in_bf16() -> None:
    backbone = tiny_backbone()
    visual = backbone.clip.visual
    images = torch.randn(4, 3, *visual.image_size)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), _Calls() as calls:
        encode_images(backbone, images)
    assert calls.names.count("addmm") >= 4 * len(visual.transformer.resblocks)
    assert "bmm" not in calls.names  # a product with weights that were copied once an image
