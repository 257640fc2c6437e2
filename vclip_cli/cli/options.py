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

_DATA = "Data"
_MODEL = "Model"
_VIDEO = "Frames and views"
_COMPUTE = "Computing"
_OUTPUT = "Output"


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
        "--protocol", "-p", envvar="VCLIP_PROTOCOL", help="Protocol by name or YAML file.",
        rich_help_panel=_DATA,
    ),
]  # fmt: skip
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset", "-d", envvar="VCLIP_DATASET", help="A registered dataset, or toy.",
        rich_help_panel=_DATA,
    ),
]  # fmt: skip
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset", "-d", envvar="VCLIP_DATASET",
        help="A registered dataset, or toy. May be repeated.", rich_help_panel=_DATA,
    ),
]  # fmt: skip
Shots = Annotated[
    int | None,
    typer.Option(
        "--shots", envvar="VCLIP_SHOTS", min=1, help="Training videos a class.",
        rich_help_panel=_DATA,
    ),
]  # fmt: skip
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", envvar="VCLIP_SEED", min=0, help="Seed of draws and training (0 is a seed).",
        rich_help_panel=_DATA,
    ),
]  # fmt: skip
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", envvar="VCLIP_LIMIT", min=1,
        help="Only the first N videos of each list; marks the record partial.",
        rich_help_panel=_DATA,
    ),
]  # fmt: skip
Overlap = Annotated[
    bool,
    typer.Option(
        "--allow-overlap", help="Score videos that were trained on, and mark the record.",
        rich_help_panel=_DATA,
    ),
]  # fmt: skip
Method = Annotated[
    str | None,
    typer.Option(
        "--method", "-m", envvar="VCLIP_METHOD", help="A method; see: vclip methods. Default clip.",
        rich_help_panel=_MODEL,
    ),
]  # fmt: skip
Backbone = Annotated[
    str | None,
    typer.Option(
        "--backbone", envvar="VCLIP_BACKBONE",
        help="open_clip model name, hf-hub:…, local-dir:…, or toy. Default ViT-B-16.",
        rich_help_panel=_MODEL,
    ),
]  # fmt: skip
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained", envvar="VCLIP_PRETRAINED",
        help="open_clip's tag, a local .safetensors or .pt file, or random[:SEED].",
        rich_help_panel=_MODEL,
    ),
]  # fmt: skip
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint", envvar="VCLIP_CHECKPOINT", help="A checkpoint of vclip (.safetensors).",
        rich_help_panel=_MODEL,
    ),
]  # fmt: skip
Frames = Annotated[
    int | None,
    typer.Option(
        "--frames", envvar="VCLIP_FRAMES", min=1, help="Frames a clip (T).",
        rich_help_panel=_VIDEO,
    ),
]  # fmt: skip
Clips = Annotated[
    int | None,
    typer.Option(
        "--clips", envvar="VCLIP_CLIPS", min=1, help="Temporal views a video.",
        rich_help_panel=_VIDEO,
    ),
]  # fmt: skip
Crops = Annotated[
    int | None,
    typer.Option(
        "--crops", envvar="VCLIP_CROPS", help="Spatial views a clip: 1 or 3.",
        rich_help_panel=_VIDEO,
    ),
]  # fmt: skip
Decoder = Annotated[
    str,
    typer.Option(
        "--decoder", envvar="VCLIP_DECODER",
        help="exact, or decord to reproduce published pipelines.", rich_help_panel=_VIDEO,
    ),
]  # fmt: skip
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--template", envvar="VCLIP_TEMPLATE",
        help="Prompt with {class} in it. Repeat for an ensemble; a .txt file holds one a line.",
        rich_help_panel=_MODEL,
    ),
]  # fmt: skip
TextVariant = Annotated[
    str | None,
    typer.Option(
        "--text", envvar="VCLIP_TEXT",
        help="Which text of a class is fed: natural, or a paper's; see: vclip labels show.",
        rich_help_panel=_MODEL,
    ),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option(
        "--device", envvar="VCLIP_DEVICE", help="auto, cpu, cuda, cuda:N or mps.",
        rich_help_panel=_COMPUTE,
    ),
]  # fmt: skip
Precision = Annotated[
    str,
    typer.Option(
        "--precision", envvar="VCLIP_PRECISION", help="fp32, bf16 or fp16.",
        rich_help_panel=_COMPUTE,
    ),
]  # fmt: skip
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size", envvar="VCLIP_BATCH_SIZE", min=1, help="Videos a batch.",
        rich_help_panel=_COMPUTE,
    ),
]  # fmt: skip
Workers = Annotated[
    int,
    typer.Option(
        "--workers", envvar="VCLIP_WORKERS", min=0, help="Decoding processes beside the main one.",
        rich_help_panel=_COMPUTE,
    ),
]  # fmt: skip
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", envvar="VCLIP_OUT", help="Where to write.", rich_help_panel=_OUTPUT
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume", envvar="VCLIP_RESUME",
        help="Go on from an interrupted run, or do everything again.", rich_help_panel=_OUTPUT,
    ),
]  # fmt: skip
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done, and stop.", rich_help_panel=_OUTPUT),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=_OUTPUT),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", callback=_quiet, help="Only results, warnings and errors.",
        rich_help_panel=_OUTPUT,
    ),
]  # fmt: skip
Verbose = Annotated[
    bool,
    typer.Option(
        "-v", "--verbose", callback=_verbose, help="More detail, and tracebacks of our own faults.",
        rich_help_panel=_OUTPUT,
    ),
]  # fmt: skip
