"""What a person can choose: every setting, declared once.

A field here is an option of the verbs that take it (`requests.py`), a key of `config.yaml`, a
variable `VCLIP_…`, a keyword of the library's functions and a line in `docs/settings.md`. Flags win
over the environment, that over the config file, the file over the protocol, the protocol over the
defaults.
None means that the protocol, the checkpoint or the machine decides. Loads no torch.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from vclip_cli.common.errors import UsageError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.common.settings import Setting

SOURCE = "source"
COUNT_AS_WRONG = "count-as-wrong"
SECONDS_A_VIDEO = 300.0
"""How long one video may take where workers read it: an hour of video takes less."""
MOST_WORKERS = 8
"""Unless more are asked for: these keep up with a GPU, and each takes memory."""
CALLS_WORTH_A_WORKER = 8
"""Starting a worker takes as long as reading this many videos."""


@dataclass(frozen=True)
class DataSpec:
    """Which videos: a protocol, a dataset, and which of the protocol's lists."""

    GROUP: ClassVar[str] = "Data"
    protocol: Annotated[str | None, Setting("Protocol by name or YAML file.", short="p")] = None
    dataset: Annotated[str | None, Setting("A registered dataset, or toy.", short="d")] = None
    shots: Annotated[int | None, Setting("Training videos a class.", low=1)] = None
    split: Annotated[
        tuple[str, ...] | None,
        Setting("Only this test split of the protocol. May be repeated.", lasting=False),
    ] = None
    train_list: Annotated[
        Path | None,
        Setting(
            "Train on this split file, such as a published list: vclip split --from-list.",
            metavar="SPLIT.csv",
            lasting=False,
        ),
    ] = None
    allow_overlap: Annotated[
        bool,
        Setting("Score videos that were trained on, and mark the record.", lasting=False),
    ] = False


@dataclass(frozen=True)
class ModelSpec:
    """Which method, on which backbone, with which weights.

    options: values of the method's own config, over its defaults.
    """

    GROUP: ClassVar[str] = "Model"
    method: Annotated[
        str | None, Setting("A method; see: vclip methods. Default clip.", short="m")
    ] = None
    checkpoint: Annotated[Path | None, Setting("A checkpoint of vclip (.safetensors).")] = None
    backbone: Annotated[
        str | None,
        Setting("open_clip model name, hf-hub:…, local-dir:…, or toy. Default ViT-B-16."),
    ] = None
    pretrained: Annotated[
        str | None, Setting("open_clip's tag, a local .safetensors or .pt file, or random[:SEED].")
    ] = None
    interpolate: Annotated[
        float | None,
        Setting(
            "Share of the tuned weights over the original ones: 0 is CLIP, 1 the checkpoint.",
            low=0,
            high=1,
            metavar="ALPHA",
        ),
    ] = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InputSpec:
    """Which frames of a video are read, from where, and what is done to them.

    sampling, stride: the rule that picks frames (`video/sampling.py`); preprocessing: what the
    weights need. Both follow from the protocol's recipe and the checkpoint.
    """

    GROUP: ClassVar[str] = "Input"
    frames: Annotated[int | None, Setting("Frames a clip (T).", low=1)] = None
    clips: Annotated[int | None, Setting("Temporal views a video.", low=1)] = None
    crops: Annotated[int | None, Setting("Spatial views a clip: 1 or 3.", choices=(1, 3))] = None
    decoder: Annotated[str, Setting("exact, or decord to reproduce published pipelines.")] = "exact"
    frames_from: Annotated[
        str,
        Setting("source (the video files), store (what vclip extract made), or a store's folder."),
    ] = SOURCE
    allow_single_frame: Annotated[
        bool, Setting("Take still images under a video's name.", lasting=False)
    ] = False
    sampling: str | None = None
    stride: int | None = None
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True)
class TextSpec:
    """Which text stands for a class.

    template: prompts with `{class}` in them; text: the label set's variant.
    """

    GROUP: ClassVar[str] = "Text"
    template: Annotated[
        tuple[str, ...] | None,
        Setting("Prompt with {class} in it. Repeat for an ensemble; a .txt file holds one a line."),
    ] = None
    text: Annotated[
        str | None,
        Setting("Which text of a class is fed: natural, or a paper's; see: vclip labels show."),
    ] = None
    label_embeddings: Annotated[
        Path | None,
        Setting(
            "Take the labels' embeddings from this file; see: vclip labels embed.",
            metavar="FILE",
            lasting=False,
        ),
    ] = None


@dataclass(frozen=True)
class TrainSpec:
    """How a method is trained, beside what its recipe says."""

    GROUP: ClassVar[str] = "Training"
    recipe: Annotated[
        str | None,
        Setting("A recipe of the protocol by name; default: the method's own.", lasting=False),
    ] = None
    set: Annotated[
        tuple[str, ...],
        Setting(
            "Override a value of the recipe or an option of the method. May be repeated.",
            metavar="KEY=VALUE",
            lasting=False,
        ),
    ] = ()
    start_from: Annotated[
        Path | None,
        Setting(
            "Begin with the weights of this checkpoint (vl-prompt: of a vifi-clip).", lasting=False
        ),
    ] = None
    select_on: Annotated[
        str | None,
        Setting(
            "Keep the epoch that is best on this split, which must not be tested on.",
            metavar="SPLIT",
            lasting=False,
        ),
    ] = None
    flip: Annotated[
        bool | None,
        Setting(
            "Draw the recipe's flips; off by default where class texts speak of left and right.",
            negatable=True,
            lasting=False,
        ),
    ] = None
    extra_labels: Annotated[
        Path | None,
        Setting(
            "More labels of training videos, one a row: video,label. For several labels a video.",
            metavar="FILE.csv",
            lasting=False,
        ),
    ] = None
    save_every: Annotated[
        int,
        Setting("Save the state of the run every so many steps.", low=1, lasting=False),
    ] = 50
    stop_after: Annotated[
        int | None,
        Setting(
            "Stop after this many steps in all; the same command without it continues.",
            low=1,
            lasting=False,
        ),
    ] = None


@dataclass(frozen=True)
class ComputeSpec:
    """Where and how the arithmetic is done. batch_size: videos at once on a device."""

    GROUP: ClassVar[str] = "Compute"
    device: Annotated[str, Setting("auto, cpu, cuda, cuda:N or mps.")] = "auto"
    precision: Annotated[str, Setting("fp32, bf16 or fp16.")] = "fp32"
    batch_size: Annotated[int, Setting("Videos a batch.", low=1)] = 8
    compile: Annotated[
        bool, Setting("Train the video encoder through torch.compile; it takes a minute to begin.")
    ] = False
    gradient_checkpointing: Annotated[
        bool,
        Setting("Use less memory and more time: compute activations again in the backward pass."),
    ] = False


@dataclass(frozen=True)
class WorkerSpec:
    """The processes that read videos.

    workers: None for as many as suit the machine, 0 to read in this process, without protection;
    video_timeout: seconds that one video may take; limit_memory: megabytes that a worker may hold
    beyond what it held before the first video. Raises UsageError for a limit that cannot be kept.
    """

    GROUP: ClassVar[str] = "Compute"
    workers: Annotated[
        int | None,
        Setting(
            "Processes that read videos; one that hangs or crashes costs its video, not the run."
            " Default: one for each core but one, at most 8; 0 reads in this process, unprotected.",
            low=0,
        ),
    ] = None
    video_timeout: Annotated[
        float | None,
        Setting("Seconds after which a worker that still reads a video is ended.", low=0.1),
    ] = SECONDS_A_VIDEO
    limit_memory: Annotated[
        int | None,
        Setting(
            "Give up a video whose reading takes more memory than this. On Linux only.",
            low=64,
            metavar="MB",
        ),
    ] = None

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
        """The number of processes for so many videos."""
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
    seed: Annotated[int | None, Setting("Seed of draws and training (0 is a seed).", low=0)] = None
    limit: Annotated[
        int | None,
        Setting("Only the first N videos of each list; marks the record partial.", low=1),
    ] = None
    out: Annotated[Path | None, Setting("Where to write.", short="o", lasting=False)] = None
    resume: Annotated[
        bool, Setting("Continue an interrupted run, or do everything again.", negatable=True)
    ] = True
    cache: Annotated[
        bool,
        Setting(
            "Reuse and keep the embeddings of frozen encoders, or encode every video.",
            negatable=True,
            env="VCLIP_USE_CACHE",
        ),
    ] = True
    on_error: Annotated[
        str, Setting(f"A video that cannot be read: skip it, stop, or {COUNT_AS_WRONG}.")
    ] = "skip"
    shard: Annotated[
        str | None,
        Setting("Do the i-th of n shards, such as 1/3; join them with --merge.", lasting=False),
    ] = None
    merge: Annotated[
        bool, Setting("Join what all shards have done, with the same options.", lasting=False)
    ] = False


@dataclass(frozen=True)
class StoreSpec:
    """Which frames a frame store keeps, and how."""

    GROUP: ClassVar[str] = "Store"
    frames: Annotated[
        tuple[str, ...],
        Setting(
            "Keep the segment midpoints of each of these T, with commas between; all for every"
            " frame.",
            commas=True,
            lasting=False,
        ),
    ] = ("8", "16", "32")
    clips: Annotated[
        int, Setting("Keep also the frames of so many temporal views.", low=1, lasting=False)
    ] = 1
    segments_jitter: Annotated[
        int | None,
        Setting(
            "Keep also K candidates in each of the T segments, from which training draws.",
            low=1,
            metavar="K",
            lasting=False,
        ),
    ] = None
    quality: Annotated[
        int, Setting("JPEG quality of the kept frames.", low=1, high=100, lasting=False)
    ] = 95
    size: Annotated[
        int,
        Setting("Short side in pixels; smaller videos are not enlarged.", low=16, lasting=False),
    ] = 256
    verify: Annotated[
        bool,
        Setting(
            "Check every byte that is stored and extract again what is damaged; with --dry-run"
            " only check.",
            lasting=False,
        ),
    ] = False


@dataclass(frozen=True)
class SweepSpec:
    """The cells of a sweep: methods times shots times seeds; None for the protocol's own."""

    GROUP: ClassVar[str] = "Sweep"
    methods: Annotated[
        tuple[str, ...],
        Setting("Methods with commas between, such as clip,vita-clip.", commas=True, lasting=False),
    ] = ()
    seeds: Annotated[
        tuple[int, ...] | None,
        Setting(
            "Seeds with commas between; default: the protocol's.", low=0, commas=True, lasting=False
        ),
    ] = None
    shots: Annotated[
        tuple[int, ...] | None,
        Setting(
            "Shots with commas between; default: the protocol's.",
            low=1,
            commas=True,
            lasting=False,
        ),
    ] = None
