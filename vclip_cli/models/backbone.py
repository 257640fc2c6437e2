"""open_clip models by name, with weights by tag, local file or hub, and their hash."""

from __future__ import annotations

import contextlib
import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vclip_cli.common.errors import UsageError, WeightsError, did_you_mean
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.common.resources import list_backbones
from vclip_cli.models.architecture import read_architecture
from vclip_cli.models.tensors import (
    check_tensors,
    read_tensor_file,
    state_dict_of,
    tensors_sha256,
    verify_download,
)

OPENAI_ENTRIES = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's own files hold as tensors beside the weights."""
SCHEMES = ("hf-hub:", "local-dir:")


@dataclass(frozen=True, eq=False)
class Backbone:
    """An open_clip model in eval mode, its tokenizer, and what identifies it.

    clip: the model; untyped, because open_clip's models share no class that names their parts.
    name, pretrained: as given on the command line. quick_gelu: the towers' activation.
    """

    clip: Any
    name: str
    pretrained: str | None
    tokenizer: Callable[..., Tensor]
    preprocessing: Preprocessing
    quick_gelu: bool

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """N prompts to token ids (N, context length); longer prompts are cut, as in CLIP."""
        return self.tokenizer(list(prompts))

    @cached_property
    def embedding_width(self) -> int:
        """E, the width of image and text embeddings."""
        width = getattr(self.clip.visual, "output_dim", None)
        if isinstance(width, int):
            return width
        size, weight = self.preprocessing.size, next(self.clip.parameters())
        with torch.inference_mode():
            return int(self.clip.encode_image(weight.new_zeros(1, 3, size, size)).shape[-1])

    @cached_property
    def weights_sha256(self) -> str:
        """The content hash of all tensors, computed at the first call."""
        return tensors_sha256(self.clip.state_dict())

    def describe(self) -> dict[str, Any]:
        """The description of the backbone in a record."""
        return {
            "name": self.name,
            "pretrained": self.pretrained,
            "weights_sha256": self.weights_sha256,
            "quick_gelu": self.quick_gelu,
            "parameters": sum(p.numel() for p in self.clip.parameters()),
        }


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector, which takes a fifth of the time of importing libraries."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@_without_garbage_collection()
def load_backbone(name: str, pretrained: str | None = None) -> Backbone:
    """An open_clip model by its open_clip name, on the CPU in float32.

    name: an open_clip model, `hf-hub:org/repo`, `local-dir:path`, or one of `list_backbones`.
    pretrained: a tag of open_clip's, a local .safetensors or torch file, `random` or `random:SEED`;
    None where the name itself brings weights.

    Where a tag was trained with QuickGELU, the model is built with it whatever the name says: a
    mismatch would cost accuracy without any error. Raises UsageError for an unknown name,
    WeightsError for weights that are missing, damaged or of another shape.
    """
    import open_clip

    own = list_backbones()
    if name in own:
        read_architecture(own[name])
        open_clip.add_model_config(own[name])
        beside = own[name].with_suffix(".safetensors")
        source = pretrained or (str(beside) if beside.is_file() else None)
    elif name.startswith(SCHEMES):
        if pretrained is not None:
            raise UsageError(f"{name!r} brings its own weights", found=f"--pretrained {pretrained}")
        return _load_by_scheme(name)
    else:
        known = [*own, *open_clip.list_models()]
        if name.replace("/", "-") not in known:
            raise UsageError(f"unknown backbone {name!r}", hint=did_you_mean(name, known))
        source = pretrained
    if source is None:
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise WeightsError(
            f"no weights were named for the backbone {name!r}",
            expected="--pretrained TAG, a local file, or random",
            hint=f"tags: {', '.join(tags[:8])}" if tags else None,
        )
    with _missing_package_named(name), _wrong_config_named(own.get(name)):
        tokenizer = open_clip.get_tokenizer(name)
        if source == "random" or source.startswith("random:"):
            clip = _build_random(name, source)
        elif _looks_like_path(source):
            clip = _build_from_file(name, Path(source))
        else:
            clip = _build_from_tag(name, source)
    return _wrap(clip, name, pretrained, tokenizer)


@contextlib.contextmanager
def _missing_package_named(name: str) -> Iterator[None]:
    """Raises UsageError where a text tower or tokenizer needs Hugging Face's missing library."""
    try:
        yield
    except (ModuleNotFoundError, RuntimeError) as error:
        if "transformers" not in str(error):
            raise
        raise UsageError(
            f"the backbone {name!r} needs the package 'transformers', which is not installed",
            hint="pip install 'vclip_cli[llm]'",
        ) from None


@contextlib.contextmanager
def _wrong_config_named(path: Path | None) -> Iterator[None]:
    """Raises WeightsError for any of the errors that open_clip raises for a wrong config."""
    try:
        yield
    except (WeightsError, UsageError):
        raise
    except Exception as error:  # open_clip checks no config: a wrong value fails anywhere
        if path is None:
            raise
        raise WeightsError(
            "open_clip cannot build a model from the backbone's config",
            where=str(path),
            found=f"{type(error).__name__}: {error}"[:200],
        ) from error


def default_weights(name: str) -> str | None:
    """OpenAI's weights, which the field's papers start from, where the architecture has them."""
    import open_clip

    return "openai" if "openai" in open_clip.list_pretrained_tags_by_model(name) else None


def _looks_like_path(source: str) -> bool:
    return Path(source).exists() or "/" in source or "\\" in source or "." in Path(source).name


def _build_random(name: str, source: str) -> Any:
    seed = source.partition(":")[2] or "0"
    if not seed.isdigit() or int(seed) >= 2**63:
        raise UsageError(f"--pretrained {source!r}", expected="random or random:SEED below 2^63")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        return _create(name)


def _build_from_file(name: str, path: Path) -> Any:
    import open_clip
    from open_clip.convert import convert_state_dict

    tensors = state_dict_of(read_tensor_file(path), str(path))
    numbers = [tensors.pop(entry, None) for entry in OPENAI_ENTRIES]
    is_openai = any(number is not None for number in numbers)  # all trained with QuickGELU
    with _without_drawing_weights():
        clip = _create(name, force_quick_gelu=is_openai)
    tensors = convert_state_dict(clip, tensors)
    if "positional_embedding" in tensors and not hasattr(clip, "positional_embedding"):
        tensors = open_clip.model.convert_to_custom_text_state_dict(tensors)
    expected = clip.state_dict()
    check_tensors(expected, tensors, str(path))
    clip.load_state_dict({key: tensors[key].to(value.dtype) for key, value in expected.items()})
    return clip


@contextlib.contextmanager
def _without_drawing_weights() -> Iterator[None]:
    """Leave new tensors uninitialised: to draw 150 million values takes seconds.

    Only for a model whose tensors are all checked and loaded afterwards.
    """
    names = [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]
    originals = {name: getattr(nn.init, name) for name in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for name, original in originals.items():
            setattr(nn.init, name, original)


def _build_from_tag(name: str, tag: str) -> Any:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise WeightsError(
            f"no weights {tag!r} are known for the backbone {name!r}", hint=did_you_mean(tag, tags)
        )
    trained_with = open_clip.get_pretrained_cfg(name, tag) or {}
    try:
        with _quiet():
            verify_download(Path(open_clip.download_pretrained(trained_with)))
        return _create(name, pretrained=tag, force_quick_gelu=bool(trained_with.get("quick_gelu")))
    except WeightsError:
        raise
    except Exception as error:  # the hub client's errors differ from version to version
        raise WeightsError(
            f"the weights {tag!r} of {name!r} could not be downloaded or loaded",
            found=_first_line(error),
            hint="without a network, give a local file: --pretrained FILE.safetensors",
        ) from error


def _load_by_scheme(name: str) -> Backbone:
    import open_clip

    try:
        with _quiet():
            _check_by_scheme(name)
        clip = _create(name, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name)
    except WeightsError:
        raise
    except Exception as error:  # as above; also a folder without config or weights
        raise WeightsError(
            f"the model {name!r} could not be downloaded or loaded", found=_first_line(error)
        ) from error
    return _wrap(clip, name, None, tokenizer)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _check_by_scheme(name: str) -> None:
    """Check the config before open_clip uses it, and the hash of downloaded weights."""
    from open_clip.pretrained import download_pretrained_from_hf

    scheme, _, place = name.partition(":")
    if scheme == "local-dir":
        config = Path(place) / "open_clip_config.json"
        if config.is_file():
            read_architecture(config)
        return
    read_architecture(Path(download_pretrained_from_hf(place, filename="open_clip_config.json")))
    verify_download(Path(download_pretrained_from_hf(place)))


def _create(name: str, **options: Any) -> Any:
    import open_clip

    with _quiet():
        return open_clip.create_model(name, device="cpu", precision="fp32", **options)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence open_clip's warnings about random weights, which are intended here."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def _wrap(
    clip: Any, name: str, pretrained: str | None, tokenizer: Callable[..., Tensor]
) -> Backbone:
    from open_clip.transformer import QuickGELU

    from vclip_cli.models.layers import use_lean_activations

    clip.eval()
    use_lean_activations(clip)
    spec = clip.visual.preprocess_cfg
    size = spec["size"] if isinstance(spec["size"], int) else spec["size"][0]
    preprocessing = Preprocessing(
        size=size,
        resize_to=size,
        resize_mode=spec["resize_mode"],
        interpolation=spec["interpolation"],
        mean=tuple(spec["mean"]),
        std=tuple(spec["std"]),
    )
    quick_gelu = any(isinstance(module, QuickGELU) for module in clip.modules())
    return Backbone(clip, name, pretrained, tokenizer, preprocessing, quick_gelu)
