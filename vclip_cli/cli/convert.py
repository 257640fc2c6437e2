"""`vclip convert`: convert a checkpoint that a paper's authors released."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import say, show, show_json
from vclip_cli.common.errors import UsageError

Source = Annotated[
    Path, typer.Argument(metavar="FILE", help="A released file of X-CLIP, ViFi-CLIP or Vita-CLIP.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", help="The training classes of a class-specific context, as in vclip predict."
    ),
]


@options.takes("convert")
def convert(
    source: Source,
    labels: Labels = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Convert a checkpoint that a paper's authors released.

    No code in the file is run, and every entry that is not used is named with the reason.

    Example:  vclip convert k400_vifi.pth --pretrained openai --out vifi.safetensors
    """
    out, changes = settings["out"], settings["set"]
    method = settings["method"]
    backbone = settings["backbone"]
    pretrained = settings["pretrained"]
    from dataclasses import asdict

    from vclip_cli.common.files import require_writable_folder
    from vclip_cli.common.yaml_files import parse_scalar
    from vclip_cli.data.label_set import read_labels
    from vclip_cli.models.adapters.layouts.convert import convert_checkpoint

    out = out or source.with_suffix(".safetensors")
    if out.suffix != ".safetensors":
        raise UsageError("a checkpoint's name ends in .safetensors", found=str(out))
    if out.resolve() == source.resolve():
        raise UsageError("the output would replace the source", hint="--out OTHER.safetensors")
    choices = {}
    for setting in changes or ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting!r}", expected="KEY=VALUE")
        choices[key] = parse_scalar(value, f"--set {setting}")
    require_writable_folder(out.parent)
    report = convert_checkpoint(
        source,
        out,
        kind=method,
        backbone_name=backbone or "ViT-B-16-quickgelu",
        pretrained=pretrained,
        classes=read_labels(labels).names if labels is not None else None,
        options=choices or None,
    )
    if as_json:
        show_json({"checkpoint": str(out), **asdict(report)})
        return
    show(f"checkpoint: {out}")
    say(f"{report.layout}: {len(report.used):,} entries used, config {report.config}")
    for title, entries in (("dropped", report.dropped), ("taken from the base", report.missing)):
        reasons: dict[str, list[str]] = {}
        for name, why in entries.items():
            reasons.setdefault(why, []).append(name)
        for why, names in reasons.items():
            say(f"{title}: {len(names):,} ({why}), such as {names[0]}")
