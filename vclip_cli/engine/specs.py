"""Every setting, declared once.

A field here is an option of the verbs that take it (`requests.py`), a key of `config.yaml`, a
variable `VCLIP_…`, a keyword of the library's functions and a line in `docs/settings.md`.
Precedence, highest first: flags, environment, config file, protocol, defaults. None means that the
protocol, the checkpoint or the machine decides. Loads no torch.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from vclip_cli.common.errors import UsageError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.common.settings import setting

SOURCE = "source"
COUNT_AS_WRONG = "count-as-wrong"
SECONDS_A_VIDEO = 300.0
"""The default time limit for one video in a worker; an hour of video takes less."""
MOST_WORKERS = 8
"""The default limit: so many keep up with a GPU, and each takes memory."""
CALLS_WORTH_A_WORKER = 8
"""Starting a worker takes as long as reading this many videos."""


@dataclass(frozen=True)
class DataSpec:
    """Which videos: a protocol, a dataset, and which of the protocol's lists."""

    GROUP: ClassVar[str] = "Data"
    protocol: str | None = setting(
        "Protocol by name or YAML file. Default in eval: zero-shot.", short="p"
    )
    dataset: str | None = setting("A registered dataset, or toy.", short="d")
    shots: int | None = setting("Training videos per class.", low=1)
    split: tuple[str, ...] | None = setting(
        "Only this test split of the protocol. May be repeated.", lasting=False
    )
    train_list: Path | None = setting(
        "Train on this split file, such as a published list: vclip split --from-list.",
        metavar="SPLIT.csv",
        lasting=False,
    )
    allow_overlap: bool = setting(
        "Let training and test lists share videos, and mark the record.",
        default=False,
        lasting=False,
    )


@dataclass(frozen=True)
class ModelSpec:
    """Which method, on which backbone, with which weights.

    options: values of the method's own config, over its defaults.
    """

    GROUP: ClassVar[str] = "Model"
    method: str | None = setting(
        "A method; see: vclip methods. Default clip; train needs one.", short="m"
    )
    checkpoint: Path | None = setting("A checkpoint of vclip (.safetensors).")
    backbone: str | None = setting(
        "open_clip model name, hf-hub:…, local-dir:…, or toy. Default: the dataset's or ViT-B-16."
    )
    pretrained: str | None = setting(
        "open_clip's tag, a local .safetensors or .pt file, or random[:SEED]."
    )
    interpolate: float | None = setting(
        "Mix original and tuned weights: 0 gives CLIP, 1 the checkpoint.",
        low=0,
        high=1,
        metavar="ALPHA",
    )
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InputSpec:
    """Which frames of a video are read, from where, and what is done to them.

    sampling, stride: the rule that picks frames (`video/sampling.py`); preprocessing: what the
    weights need. Both follow from the protocol's recipe and the checkpoint.
    """

    GROUP: ClassVar[str] = "Input"
    frames: int | None = setting("Frames per clip (T).", low=1)
    clips: int | None = setting("Clips (temporal views) per video.", low=1)
    crops: int | None = setting("Spatial views (crops) per clip: 1 or 3.", choices=(1, 3))
    decoder: str = setting("exact, or decord to reproduce published pipelines.", default="exact")
    frames_from: str = setting(
        "source (the video files), store (what vclip extract made), or a store's folder.",
        default=SOURCE,
    )
    allow_single_frame: bool = setting(
        "Take still images under a video's name.", default=False, lasting=False
    )
    sampling: str | None = None
    stride: int | None = None
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True)
class TextSpec:
    """Which text stands for a class.

    template: prompts with `{class}` in them; text: the label set's variant.
    """

    GROUP: ClassVar[str] = "Text"
    template: tuple[str, ...] | None = setting(
        "Prompt with {class} in it. Repeat for an ensemble; a .txt file holds one per line."
    )
    text: str | None = setting(
        "Wording of the class names: natural, or a paper's own; see: vclip labels show."
    )
    label_embeddings: Path | None = setting(
        "Take the labels' embeddings from this file; see: vclip labels embed.",
        metavar="FILE",
        lasting=False,
    )


@dataclass(frozen=True)
class TrainSpec:
    """Changes to how a method's recipe trains it."""

    GROUP: ClassVar[str] = "Training"
    recipe: str | None = setting(
        "A recipe of the protocol by name; default: the method's own.", lasting=False
    )
    set: tuple[str, ...] = setting(
        "Override a value of the recipe or an option of the method. May be repeated.",
        default=(),
        metavar="KEY=VALUE",
        lasting=False,
    )
    start_from: Path | None = setting(
        "Start from this checkpoint; for vl-prompt, one of vifi-clip.", lasting=False
    )
    select_on: str | None = setting(
        "Keep the epoch that is best on this split, which must not be tested on.",
        metavar="SPLIT",
        lasting=False,
    )
    flip: bool | None = setting(
        "Apply the recipe's random flips. Default: off if class names mention left or right.",
        negatable=True,
        lasting=False,
    )
    extra_labels: Path | None = setting(
        "CSV of more labels for training videos: a row video,label each. Multi-label only.",
        metavar="FILE.csv",
        lasting=False,
    )
    save_every: int = setting(
        "Save the state of the run every N steps.", default=50, low=1, lasting=False
    )
    stop_after: int | None = setting(
        "Stop after this many steps in all; the same command without it continues.",
        low=1,
        lasting=False,
    )


@dataclass(frozen=True)
class ComputeSpec:
    """Where and how the arithmetic is done. batch_size: videos at once on a device."""

    GROUP: ClassVar[str] = "Compute"
    device: str = setting("auto, cpu, cuda, cuda:N or mps.", default="auto")
    precision: str = setting("fp32, bf16 or fp16.", default="fp32")
    batch_size: int = setting("Videos per batch.", default=8, low=1)
    compile: bool = setting(
        "Train the video encoder through torch.compile; it takes a minute to begin.", default=False
    )
    gradient_checkpointing: bool = setting(
        "Use less memory and more time: compute activations again in the backward pass.",
        default=False,
    )


@dataclass(frozen=True)
class WorkerSpec:
    """The processes that read videos.

    workers: None for as many as suit the machine, 0 to read in this process, without protection;
    video_timeout: seconds that one video may take; limit_memory: megabytes that a worker may hold
    beyond what it held before the first video. Raises UsageError for a limit that cannot be kept.
    """

    GROUP: ClassVar[str] = "Compute"
    workers: int | None = setting(
        "Processes that read videos; one that hangs or crashes costs its video, not the "
        "run. Default: one for each core but one, at most 8; 0 reads in this process, "
        "unprotected.",
        low=0,
    )
    video_timeout: float | None = setting(
        "Stop a worker that reads one video for more than this many seconds.",
        default=SECONDS_A_VIDEO,
        low=0.1,
    )
    limit_memory: int | None = setting(
        "Give up a video whose reading takes more memory than this. On Linux only.",
        low=64,
        metavar="MB",
    )

    def __post_init__(self) -> None:
        if self.limit_memory is None:
            return
        if self.workers == 0:
            raise UsageError(
                "--limit-memory bounds the processes that read videos, and --workers 0 has none"
            )
        if not memory_is_known():
            raise UsageError("--limit-memory needs Linux, which tells what a process holds")

    @property
    def most_workers(self) -> int:
        """The number of processes for many videos."""
        return usable_workers() if self.workers is None else self.workers

    def workers_for(self, videos: int) -> int:
        """The number of processes for this many videos."""
        if self.workers is None:
            return min(usable_workers(), -(-videos // CALLS_WORTH_A_WORKER))
        return min(self.workers, videos)


UNPROTECTED = WorkerSpec(workers=0)
"""Reads in this process."""


def memory_is_known() -> bool:
    """Whether the system tells how much memory a process holds."""
    return sys.platform == "linux" and Path("/proc/self/status").is_file()


def usable_workers() -> int:
    """This process's share of the cores that the launch may use, less one; 1 to `MOST_WORKERS`."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    local = os.environ.get("LOCAL_WORLD_SIZE", "1")
    processes = max(int(local), 1) if local.isdecimal() else 1
    return min(max(cores // processes - 1, 1), MOST_WORKERS)


@dataclass(frozen=True)
class RunSpec:
    """How a run is carried out, and where its results go."""

    GROUP: ClassVar[str] = "Run"
    seed: int | None = setting("Seed of draws and training (0 is a seed).", low=0)
    limit: int | None = setting(
        "Only the first N videos of each list; marks the record partial.", low=1
    )
    out: Path | None = setting("Where to write.", short="o", lasting=False)
    resume: bool = setting(
        "Continue an interrupted run, or do everything again.", default=True, negatable=True
    )
    cache: bool = setting(
        "Reuse and keep the embeddings of frozen encoders, or encode every video.",
        default=True,
        negatable=True,
        env="VCLIP_USE_CACHE",
    )
    on_error: str = setting(
        f"A video that cannot be read: skip it, stop, or {COUNT_AS_WRONG}.",
        default="skip",
        choices=("skip", "stop", COUNT_AS_WRONG),
    )
    shard: str | None = setting(
        "Do the i-th of n shards, such as 1/3; join them with --merge.", lasting=False
    )
    merge: bool = setting(
        "Join what all shards have done, with the same options.", default=False, lasting=False
    )


@dataclass(frozen=True)
class StoreSpec:
    """Which frames a frame store keeps, and how."""

    GROUP: ClassVar[str] = "Store"
    frames: tuple[str, ...] = setting(
        "Keep the segment midpoints of each of these T, with commas between; all for every frame.",
        default=("8", "16", "32"),
        commas=True,
        lasting=False,
    )
    clips: int = setting(
        "Also keep the frames of N temporal views.", default=1, low=1, lasting=False
    )
    segments_jitter: int | None = setting(
        "Also keep K candidate frames per segment, from which training draws.",
        low=1,
        metavar="K",
        lasting=False,
    )
    quality: int = setting(
        "JPEG quality of the kept frames.", default=95, low=1, high=100, lasting=False
    )
    size: int = setting(
        "Short side in pixels; smaller videos are not enlarged.", default=256, low=16, lasting=False
    )
    verify: bool = setting(
        "Check every byte that is stored and extract again what is damaged; with --dry-run "
        "only check.",
        default=False,
        lasting=False,
    )


@dataclass(frozen=True)
class SweepSpec:
    """The cells of a sweep: methods times shots times seeds; None for the protocol's own."""

    GROUP: ClassVar[str] = "Sweep"
    methods: tuple[str, ...] = setting(
        "Methods with commas between, such as clip,vita-clip.",
        default=(),
        commas=True,
        lasting=False,
    )
    seeds: tuple[int, ...] | None = setting(
        "Seeds with commas between; default: the protocol's.", low=0, commas=True, lasting=False
    )
    shots: tuple[int, ...] | None = setting(
        "Shots with commas between; default: the protocol's.", low=1, commas=True, lasting=False
    )
