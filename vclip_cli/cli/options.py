"""The options that verbs share: spelled once, meaning the same everywhere.

Each can also be set by its environment variable `VCLIP_…` or in `config.yaml` of the project's
`.vclip/` or of the user's config folder. Flags win over the environment, that over the file, the
file over the protocol, the protocol over the defaults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vclip_cli.cli.console import is_verbose, set_verbosity


def _quiet(value: bool) -> bool:
    if value:
        set_verbosity(quiet=True, verbose=False)
    return value


def _verbose(value: bool) -> bool:
    if value:
        set_verbosity(quiet=False, verbose=True)
    return value or is_verbose()


Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol", "-p", envvar="VCLIP_PROTOCOL", help="Protocol by name or YAML file."
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option("--dataset", "-d", envvar="VCLIP_DATASET", help="A registered dataset, or toy."),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        "-d",
        envvar="VCLIP_DATASET",
        help="A registered dataset, or toy. May be repeated.",
    ),
]
Shots = Annotated[
    int | None,
    typer.Option("--shots", envvar="VCLIP_SHOTS", min=1, help="Training videos a class."),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", envvar="VCLIP_SEED", min=0, help="Seed of draws and training (0 is a seed)."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        envvar="VCLIP_LIMIT",
        min=1,
        help="Only the first N videos of each list; marks the record partial.",
    ),
]
Overlap = Annotated[
    bool,
    typer.Option("--allow-overlap", help="Score videos that were trained on, and mark the record."),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method", "-m", envvar="VCLIP_METHOD", help="A method; see: vclip methods. Default clip."
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        envvar="VCLIP_BACKBONE",
        help="open_clip model name, hf-hub:…, local-dir:…, or toy. Default ViT-B-16.",
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        envvar="VCLIP_PRETRAINED",
        help="open_clip's tag, a local .safetensors or .pt file, or random[:SEED].",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint", envvar="VCLIP_CHECKPOINT", help="A checkpoint of vclip (.safetensors)."
    ),
]
Interpolate = Annotated[
    float | None,
    typer.Option(
        "--interpolate",
        envvar="VCLIP_INTERPOLATE",
        metavar="ALPHA",
        min=0,
        max=1,
        help="Shard of the tuned weights over the original ones: 0 is CLIP, 1 the checkpoint.",
    ),
]
Frames = Annotated[
    int | None,
    typer.Option("--frames", envvar="VCLIP_FRAMES", min=1, help="Frames a clip (T)."),
]
Clips = Annotated[
    int | None,
    typer.Option("--clips", envvar="VCLIP_CLIPS", min=1, help="Temporal views a video."),
]
Crops = Annotated[
    int | None,
    typer.Option("--crops", envvar="VCLIP_CROPS", help="Spatial views a clip: 1 or 3."),
]
Decoder = Annotated[
    str,
    typer.Option(
        "--decoder",
        envvar="VCLIP_DECODER",
        help="exact, or decord to reproduce published pipelines.",
    ),
]
FramesFrom = Annotated[
    str,
    typer.Option(
        "--frames-from",
        envvar="VCLIP_FRAMES_FROM",
        help="source (the video files), store (what vclip extract made), or a store's folder.",
    ),
]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        envvar="VCLIP_TEMPLATE",
        help="Prompt with {class} in it. Repeat for an ensemble; a .txt file holds one a line.",
    ),
]
TextVariant = Annotated[
    str | None,
    typer.Option(
        "--text",
        envvar="VCLIP_TEXT",
        help="Which text of a class is fed: natural, or a paper's; see: vclip labels show.",
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", envvar="VCLIP_DEVICE", help="auto, cpu, cuda, cuda:N or mps."),
]
LabelEmbeddings = Annotated[
    Path | None,
    typer.Option(
        "--label-embeddings",
        metavar="FILE",
        help="Take the labels' embeddings from this file; see: vclip labels embed.",
    ),
]
Precision = Annotated[
    str,
    typer.Option("--precision", envvar="VCLIP_PRECISION", help="fp32, bf16 or fp16."),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", envvar="VCLIP_BATCH_SIZE", min=1, help="Videos a batch."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        envvar="VCLIP_WORKERS",
        min=0,
        help="Processes that read clips; one that hangs or crashes costs its clip, not the run."
        " Default: one for each core but one, at most 8; 0 reads in this process, unguarded.",
    ),
]
GradientCheckpointing = Annotated[
    bool,
    typer.Option(
        "--gradient-checkpointing",
        envvar="VCLIP_GRADIENT_CHECKPOINTING",
        help="Less memory for more time: activations are computed again on the way back.",
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        envvar="VCLIP_COMPILE",
        help="Train the image side through torch.compile, which takes a minute to begin.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option("--shard", help="Do the i-th of n shards, such as 1/3; join them with --merge."),
]
Merge = Annotated[
    bool,
    typer.Option("--merge", help="Join what all shards have done, with the same options."),
]
VideoTimeout = Annotated[
    float,
    typer.Option(
        "--video-timeout",
        envvar="VCLIP_VIDEO_TIMEOUT",
        min=0.1,
        help="Seconds after which a worker that still reads a clip is ended.",
    ),
]
LimitMemory = Annotated[
    int | None,
    typer.Option(
        "--limit-memory",
        envvar="VCLIP_LIMIT_MEMORY",
        metavar="MB",
        min=64,
        help="A clip whose reading takes more memory than this is given up. On Linux only.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Where to write."),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        envvar="VCLIP_RESUME",
        help="Go on from an interrupted run, or do everything again.",
    ),
]
Cache = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache",
        envvar="VCLIP_USE_CACHE",
        help="Reuse and keep the embeddings of a frozen image side, or encode every video.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done, and stop."),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="VIDEOS_A_SECOND",
        min=1e-6,
        help="With --dry-run: how fast one process is (see: vclip bench), for the time needed.",
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON document on stdout."),
]
Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", callback=_quiet, help="Only results, warnings and errors."),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v", "--verbose", callback=_verbose, help="More detail, and tracebacks of our own faults."
    ),
]
