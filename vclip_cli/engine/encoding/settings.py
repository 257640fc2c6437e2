"""The settings of a run (options win over the recipe, the recipe over the protocol), and prompts.

Protocol values that the user overrides are listed and recorded. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import ComparisonRefused, UsageError
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.protocol import Protocol
from vclip_cli.data.recipe import Recipe, Text
from vclip_cli.engine.loading.datasets import open_frames, require_kept, require_large_enough
from vclip_cli.engine.loading.videos import VideoReading
from vclip_cli.engine.specs import InputSpec, TextSpec
from vclip_cli.video.decoders import known_decoder

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset
    from vclip_cli.engine.encoding.model import LoadedMethod
    from vclip_cli.models.contract import Adapter

DEFAULT_FRAMES = 8
PLACEHOLDERS = ("{class}", "{}")


@dataclass(frozen=True)
class Settings:
    """The resolved settings; `overrides` holds the protocol's own values that were changed."""

    reading: VideoReading
    templates: tuple[str, ...]
    text: str
    overrides: dict[str, Any]


def resolve_settings(
    adapter: Adapter,
    asked: InputSpec,
    text: TextSpec | None = None,
    planned: dict[str, Any] | None = None,
) -> Settings:
    """Combine the options, the protocol's values and the method's defaults.

    planned: `frames`, `clips`, `crops`, `rule`, `stride`, `templates`, `text` as far as the
    protocol and its recipe state them. Raises ComparisonRefused when a checkpoint is tied to
    another number of frames, UsageError for values that make no sense.
    """
    plan = {key: value for key, value in (planned or {}).items() if value is not None}
    text = text or TextSpec()
    given = {
        **{name: getattr(asked, name) for name in ("frames", "clips", "crops")},
        "templates": read_templates(text.template),
        "text": text.text,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    stated = {
        "frames": adapter.tied_frames or DEFAULT_FRAMES,
        "clips": 1,
        "crops": 1,
        "templates": adapter.default_templates,
        "text": "natural",
        **plan,
    }
    overrides = {name: stated[name] for name, value in chosen.items() if stated[name] != value}
    merged = {**stated, **chosen}
    if adapter.tied_frames not in (None, merged["frames"]):
        if "frames" in chosen:
            raise ComparisonRefused(
                f"the weights of {adapter.name!r} are tied to their number of frames",
                found=f"{merged['frames']} frames",
                expected=f"{adapter.tied_frames}",
                hint=f"--frames {adapter.tied_frames}",
            )
        merged["frames"] = adapter.tied_frames
        overrides["frames"] = stated["frames"]
    if merged["crops"] not in (1, 3):
        raise UsageError("the spatial views", found=str(merged["crops"]), expected="1 or 3")
    resolved = replace(
        asked,
        **{name: merged[name] for name in ("frames", "clips", "crops")},
        decoder=known_decoder(asked.decoder),
        sampling=plan.get("rule", "uniform"),
        stride=plan.get("stride", 1),
        preprocessing=adapter.preprocessing,
    )
    return Settings(VideoReading(resolved), tuple(merged["templates"]), merged["text"], overrides)


def read_templates(values: Sequence[str] | None) -> tuple[str, ...] | None:
    """Templates from the command line: as they stand, or the lines of `.txt` files.

    Raises UsageError when such a file cannot be read or holds none.
    """
    if not values:
        return None
    templates: list[str] = []
    for value in values:
        if not value.endswith(".txt"):
            templates.append(value)
            continue
        try:
            lines = Path(value).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the file of templates cannot be read: {error}", where=value
            ) from None
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise UsageError("the file holds no template", where=value)
        templates += found
    return tuple(templates)


def reading_from(reading: VideoReading, dataset: str) -> VideoReading:
    """The same reading, from the frame store if one was asked for.

    Raises UsageError for a store that does not keep the frames that the reading needs.
    """
    store = open_frames(reading.input.frames_from, dataset, reading.decoder)
    require_kept(store, reading.sampling)
    require_large_enough(store, reading.preprocessing, reading.crops)
    return replace(reading, store=store)


def protocol_views(protocol: Protocol, dataset: Dataset, method: LoadedMethod) -> dict[str, Any]:
    """The stated frames, views and text.

    The checkpoint wins over the protocol's recipe for the method, and the recipe over the protocol.
    """
    plan: dict[str, Any] = {
        "frames": protocol.frames_for(dataset.config.name),
        "clips": protocol.views.clips,
        "crops": protocol.views.crops,
        **_stated_text(protocol.text, dataset),
    }
    name = method.adapter.name
    found = protocol.recipe_for(name, dataset.config.name)
    for_others = (r for r in protocol.recipes.values() if r.method == name)
    recipe = found[1] if found is not None else next(for_others, None)
    if recipe is not None:
        plan |= {**recipe_views(recipe), **_stated_text(recipe.text, dataset)}
    return plan | method.stated_views()


def recipe_views(recipe: Recipe) -> dict[str, Any]:
    """Frames and views at the final test, as a recipe states them."""
    rule = recipe.sampling.test
    return {
        "frames": recipe.frames,
        "clips": recipe.views.clips,
        "crops": recipe.views.crops,
        "rule": rule,
        "stride": recipe.sampling.stride if rule == "dense" else 1,
    }


def _stated_text(text: Text | None, dataset: Dataset) -> dict[str, Any]:
    """The stated text variant and templates.

    If the label set lacks a paper's text variant, `natural` is used. The label sets of users' own
    classes lack all of them.
    """
    stated: dict[str, Any] = {}
    if text is not None and text.variant in dataset.label_set.variants:
        stated["text"] = text.variant
    if text is not None and text.templates:
        stated["templates"] = tuple(text.templates)
    return stated


# Prompts ------------------------------------------------------------------------------------------


def check_templates(templates: Sequence[str]) -> None:
    """Refuse an empty list, and templates in which the class has no place. Raises UsageError."""
    if not templates:
        raise UsageError("no prompt template was given")
    for template in templates:
        if not any(placeholder in template for placeholder in PLACEHOLDERS):
            raise UsageError(
                f"the template {template!r} has no place for the class",
                expected="{class} somewhere in it, such as 'a video of {class}.'",
            )


def fill(template: str, text: str) -> str:
    """The template with the class text in its place; other braces stay as they are."""
    for placeholder in PLACEHOLDERS:
        if placeholder in template:
            return template.replace(placeholder, text)
    return template


def class_prompts(
    label_set: LabelSet, classes: Sequence[str], variant: str, templates: Sequence[str]
) -> list[list[str]]:
    """One list of prompts per class, in the order of `classes`. Raises UsageError."""
    check_templates(templates)
    texts = [label_set.text(name, variant) for name in classes]
    return [[fill(template, text) for template in templates] for text in texts]
