"""The encoder alone, on made-up tensors, and how much of the machine's arithmetic it gets."""

from __future__ import annotations

import torch
from torch import Tensor

from vclip_cli.bench.timing import Part, timed
from vclip_cli.engine.encoding.costs import counted_operations
from vclip_cli.engine.encoding.encoder import PRECISIONS, Encoder
from vclip_cli.engine.loading.videos import VideoReading
from vclip_cli.models.contract import Adapter

PRODUCT = (2048, 768, 3072)
"""Rows, inner length and columns of the matrix product on a CPU: what a ViT-B block multiplies."""
LARGE_PRODUCT = (8192, 8192, 8192)
"""The same for a GPU, which needs more to be busy."""
PRODUCTS = 3


def made_up_videos(reading: VideoReading, batch: int, device: torch.device) -> Tensor:
    """Normalised frames (B,T,3,S,S) of noise: speed does not depend on what they show."""
    size = reading.preprocessing.size
    generator = torch.Generator().manual_seed(0)
    shape = (batch, reading.sampling.frames, 3, size, size)
    return torch.randn(shape, generator=generator).to(device)


@torch.inference_mode()
def measure_encoder(encoder: Encoder, reading: VideoReading, rounds: int) -> tuple[Part, Part]:
    """Videos through the image side, and a large matrix product beside it, in turns.

    One video at a time on a CPU, where a batch is taken so anyway, and the batch elsewhere.
    """
    device, compute = encoder.device, encoder.compute
    batch = 1 if device.type == "cpu" else compute.batch_size
    videos = made_up_videos(reading, batch, device)
    rows, inner, columns = PRODUCT if device.type == "cpu" else LARGE_PRODUCT
    dtype = PRECISIONS[compute.precision] or torch.float32
    left = torch.randn(rows, inner, device=device, dtype=dtype)
    right = torch.randn(inner, columns, device=device, dtype=dtype)

    def encode() -> None:
        with encoder.computing():
            encoder.adapter.encode_video(videos)

    def multiply() -> None:
        for _ in range(PRODUCTS):
            left @ right

    model = Part("encoder", batch, flops=count_flops(encoder.adapter, videos) / batch)
    product = Part("matrix product", PRODUCTS, flops=2.0 * rows * inner * columns)
    encode()
    multiply()
    for _ in range(rounds):
        model.rounds.append(timed(encode, device))
        product.rounds.append(timed(multiply, device))
    return model, product


@torch.inference_mode()
def count_flops(adapter: Adapter, videos: Tensor) -> float:
    """The operations of one pass over videos (B,T,C,H,W), as they are carried out."""
    with counted_operations() as counter:
        adapter.encode_video(videos)
    return float(counter.get_total_flops())


def measure_transfer(reading: VideoReading, encoder: Encoder, rounds: int) -> Part:
    """A batch of uint8 frames from pinned memory to the device; only where that is a GPU."""
    batch, device = encoder.compute.batch_size, encoder.device
    part = Part("transfer", batch)
    if device.type != "cuda":
        part.remark = "not measured: no GPU"
        return part
    size = reading.preprocessing.size
    shape = (batch, reading.views, reading.sampling.frames, size, size, 3)
    frames = torch.zeros(shape, dtype=torch.uint8).pin_memory()

    def copy() -> None:
        frames.to(device, non_blocking=True)

    copy()
    part.rounds += [timed(copy, device) for _ in range(rounds)]
    return part
