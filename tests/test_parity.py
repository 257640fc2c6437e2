"""Every golden case of the reference implementations, through conversion, adapter and tokenizer.

A case is a pair NAME.json and NAME.safetensors in the folder that `VCLIP_PARITY_DIR` names: tensors
under the key names of the released checkpoints, inputs, and what the reference computed from them.
Whatever sizes and switches a case has, the path is the same: a released file is written, converted,
loaded as an adapter, given class names and pixels, and compared.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_cases import SHIPPED, Case, read_meta
from torch import Tensor

from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.adapters.parts.prompts import encode_prompts
from vclip_cli.models.contract import Adapter

FOLDER = Path(os.environ.get("VCLIP_PARITY_DIR") or SHIPPED).resolve()
NAMES = sorted({path.stem for kind in ("json", "safetensors") for path in FOLDER.glob(f"*.{kind}")})
PROMPT_SWITCHES = {
    "global": "use_global_prompts",
    "local": "use_local_prompts",
    "summary": "use_summary_token",
}

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_folder_holds_cases():
    assert NAMES, f"no parity case in {FOLDER}"
    for name in NAMES:
        for kind in ("json", "safetensors"):
            assert (FOLDER / f"{name}.{kind}").is_file(), f"the case {name} has no .{kind}"


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compare = find_comparison(name, read_meta(FOLDER, name))
    case = Case(FOLDER, name, tmp_path, monkeypatch)
    with torch.no_grad():
        compare(case)
    case.finish()


def test_an_unknown_config_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    case = Case(SHIPPED, "xclip", tmp_path, monkeypatch)
    case.meta["arch"]["experts"] = 4
    with pytest.raises(AssertionError, match="unknown sizes"):
        case.write_architecture()


def test_an_unknown_method_fails():
    meta = {**read_meta(SHIPPED, "xclip"), "method": "another", "cfg_TRAINER_ViFi_CLIP": {}}
    with pytest.raises(AssertionError, match="no such method: 'another'"):
        find_comparison("xclip", meta)


class Seen(dict[str, Tensor]):
    """Intermediate values by name, from an adapter that shows them."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        adapter.observe = self.__setitem__

    def expect_visual(self, case: Case) -> None:
        """The image tower's intermediates, of the tapped frame and of all CLS tokens."""
        frame = case.tap_frame
        for ours, theirs in (("visual/before_ln_pre", "before"), ("visual/ln_pre", "after")):
            if ours in self:
                case.expect(f"inter/visual_{theirs}_ln_pre_tapframe", self[ours][frame])
        for index in range(case.meta["arch"]["vision_layers"]):
            block = self[f"visual/block{index}"]
            case.expect(f"inter/visual_block{index}_tapframe", block[frame])
            case.expect(f"inter/visual_block{index}_cls", block[:, 0])

    def expect_text(self, case: Case, ids: Tensor) -> None:
        """The text tower's intermediates, at the end-of-text token of each prompt."""
        last = ids.argmax(dim=-1)
        for index in range(case.meta["arch"]["text_layers"]):
            block = self[f"text/block{index}"]
            case.expect(f"inter/text_block{index}_eot", block[torch.arange(len(ids)), last])


def hook_towers(adapter: Adapter, seen: Seen) -> None:
    """Show what goes through open_clip's own modules, for methods that leave the towers as is."""
    clip = adapter.clip

    def show(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen.__setitem__(name, output)

    clip.visual.ln_pre.register_forward_hook(show("visual/ln_pre"))
    for index, block in enumerate(clip.visual.transformer.resblocks):
        block.register_forward_hook(show(f"visual/block{index}"))
    for index, block in enumerate(clip.transformer.resblocks):
        block.register_forward_hook(show(f"text/block{index}"))
    clip.transformer.register_forward_pre_hook(lambda m, x: seen.__setitem__("text/in", x[0]))


def find_comparison(name: str, meta: dict[str, Any]) -> Callable[[Case], None]:
    """The comparison for a case's method and config; a failure where none is known."""
    method = meta["method"]
    if "cfg_TRAINER_ViFi_CLIP" in meta and re.match(r"ViFi-CLIP|CLIP mean pooling", method):
        return compare_vifi
    known = {"Vita-CLIP": compare_vita, "X-CLIP": compare_x_clip}
    assert method in known, f"{name}: no such method: {method!r}"
    return known[method]


def one_each(prompts: list[str]) -> list[list[str]]:
    return [[prompt] for prompt in prompts]


# ViFi-CLIP, with and without prompts --------------------------------------------------------------


def compare_vifi(case: Case) -> None:
    config = dict(case.meta["cfg_TRAINER_ViFi_CLIP"])
    known = {"PROMPT_MODEL", "N_CTX_VISION", "N_CTX_TEXT", "CTX_INIT", "USE", "ZS_EVAL"}
    known |= {"PROMPT_DEPTH_VISION", "PROMPT_DEPTH_TEXT"}
    assert set(config) <= known, f"{case.name}: unknown settings {set(config) - known}"
    prompted = any("VPT" in key or key.endswith("prompt_learner.ctx") for key in case.state())
    bare = {"context_words": ""} if prompted and config["ZS_EVAL"] else None
    adapter, report = case.convert(options=bare)
    assert report.method == ("vl-prompt" if prompted else "vifi-clip")
    seen = Seen(adapter)
    words, classes = config["CTX_INIT"].replace("_", " "), case.meta["classes"]
    if config["ZS_EVAL"]:
        prompts = list(classes)
    elif config["PROMPT_MODEL"]:  # the reference replaces underscores in this branch only
        prompts = [f"{name.replace('_', ' ')}." for name in classes]
    elif prompted:  # vision prompts alone: the adapter puts the words itself
        prompts = [f"{name}." for name in classes]
    else:
        prompts = [f"{words} {name}." for name in classes]
    if not prompted:
        hook_towers(adapter, seen)
        compare_clip_itself(case, adapter, prompts)
    check_vifi(case, adapter, seen, prompts)


def compare_clip_itself(case: Case, adapter: Adapter, prompts: list[str]) -> None:
    """The same weights under the method `clip`."""
    clip = ClipAdapter(adapter.backbone)
    logits = clip.score(
        clip.encode_video(case.tensors["input/video"]), clip.encode_text(one_each(prompts))
    )
    case.expect("logits", logits)


def check_vifi(case: Case, adapter: Any, seen: Seen, prompts: list[str]) -> None:
    complete = getattr(adapter.config, "complete", str)
    ids = adapter.backbone.tokenize([complete(prompt) for prompt in prompts])
    given = [value for key, value in case.tensors.items() if key.endswith("eval_token_ids")]
    assert any(torch.equal(ids, value) for value in given), f"{case.name}: other token ids"
    text = adapter.encode_text(one_each(prompts))
    seen.expect_text(case, ids)
    if "text/in" in seen:
        case.expect("inter/text_transformer_input_class0", seen["text/in"][0])
        case.expect("text_features", encode_prompts(adapter.backbone, prompts))
    else:
        positions = adapter.clip.positional_embedding
        case.expect("inter/text_transformer_input_class0", seen["text/input"][0] + positions)
        case.expect("text_features", seen["text/embeddings"])

    video = case.tensors["input/video"]
    frames = adapter.encode_frames(video)
    seen.expect_visual(case)
    case.expect("frame_features", frames)
    case.expect("video_features", frames.mean(dim=1))
    case.expect("logit_scale_exp", adapter.logit_scale())
    logits = adapter.score(adapter.encode_video(video), text)
    case.expect("logits", logits)
    case.expect("probs", logits.softmax(dim=-1))
    if any(name.startswith("zs_eval/") for name in case.outputs):
        bare = case.meta["zs_eval"]["prompts"]
        assert bare == case.meta["classes"]
        case.expect("zs_eval/text_features", encode_prompts(adapter.backbone, bare))
        zero_shot = adapter.score(adapter.encode_video(video), adapter.encode_text(one_each(bare)))
        case.expect("zs_eval/logits", zero_shot)


# Vita-CLIP ----------------------------------------------------------------------------------------


def vita_options(case: Case) -> dict[str, Any]:
    """What the weights do not tell: the context's place and words."""
    flags = dict(case.meta["flags"])
    known = {*PROMPT_SWITCHES.values(), "use_text_prompt_learning", "text_prompt_pos"}
    known |= {"text_prompt_init", "text_prompt_CSC"}
    assert set(flags) <= known, f"{case.name}: unknown flags {set(flags) - known}"
    assert flags.get("use_text_prompt_learning", True), "the reference needs its text tower"
    return {
        "class_position": flags.get("text_prompt_pos", "end"),
        "context_words": flags.get("text_prompt_init", ""),
    }


def vita_prompts(classes: list[str]) -> list[list[str]]:
    return [[f"{name.replace('_', ' ')}."] for name in classes]


def compare_vita(case: Case) -> None:
    options = vita_options(case)
    classes = case.meta["classes"]
    adapter, report = case.convert(classes=classes, options=options)
    arch, flags = case.meta["arch"], case.meta["flags"]
    config = report.config
    assert config["frames"] == arch["num_frames"]
    assert config["summary_token"] == flags["use_summary_token"]
    assert config["local_prompts"] == flags["use_local_prompts"]
    switched_on = arch["num_global_prompts"] if flags["use_global_prompts"] else 0
    assert config["global_prompts"] == switched_on
    seen = Seen(adapter)
    text = adapter.encode_text(vita_prompts(classes))
    seen.expect_text(case, case.tensors["input/token_ids"])
    case.expect("inter/prompts_class0", seen["text/input"][0])
    case.expect("text_features", seen["text/embeddings"])

    video = case.tensors["input/video"].transpose(1, 2)
    frames = adapter.encode_frames(video)
    seen.expect_visual(case)
    frame = case.tap_frame
    for index in range(arch["vision_layers"]):
        block = f"visual/block{index}"
        theirs = f"inter/visual_block{index}"
        case.expect(f"{theirs}_cls_proj", seen.get(f"{block}/cls_projection"))
        case.expect(f"{theirs}_attn_tokens_tapframe", seen[f"{block}/attention_input"][frame])
    case.expect("frame_features", frames)
    case.expect("video_features", frames.mean(dim=1))
    case.expect("logit_scale_exp", adapter.logit_scale())
    logits = adapter.score(adapter.encode_video(video), text)
    case.expect("logits", logits)
    case.expect("probs", logits.softmax(dim=-1))
    compare_vita_variants(case, options, video)
    case.leave_out(r"quirk_2x_frames/.*")


def compare_vita_variants(case: Case, options: dict[str, Any], video: Tensor) -> None:
    """The same weights with the class name elsewhere, with other classes, with prompts off."""
    classes = case.meta["classes"]
    groups = {name.split("/")[0] for name in case.outputs if "/" in name}
    for group in sorted(groups - {"inter", "quirk_2x_frames"}):
        if position := re.fullmatch(r"pos_(end|front|middle)", group):
            changes = {"class_position": position.group(1)}
        elif switches := re.fullmatch(r"ablation_(\w+)", group):
            on = set(switches.group(1).split("_")) - {"none", "only"}
            assert on <= set(PROMPT_SWITCHES), f"{case.name}: unknown ablation {group}"
            changes = {
                "summary_token": "summary" in on,
                "local_prompts": "local" in on,
            }
            if "global" not in on:
                changes["global_prompts"] = 0
        else:
            assert group == "transfer", f"{case.name}: unknown outputs {group}/*"
            changes, classes = {}, case.meta["transfer_classes"]
        variant, _ = case.convert(classes=case.meta["classes"], options=options | changes)
        seen = Seen(variant)
        text = variant.encode_text(vita_prompts(classes))
        classes = case.meta["classes"]
        case.expect(f"{group}/text_features", seen["text/embeddings"])
        case.expect(f"{group}/frame_features", variant.encode_frames(video))
        case.expect(f"{group}/logits", variant.score(variant.encode_video(video), text))


# X-CLIP -------------------------------------------------------------------------------------------


def compare_x_clip(case: Case) -> None:
    adapter, report = case.convert()
    arch = case.meta["arch"]
    assert report.config["frames"] == arch["T"]
    assert report.config["integration_layers"] == arch["mit_layers"]
    assert report.config["prompt_layers"] == arch["prompts_layers"]
    seen = Seen(adapter)
    hook_towers(adapter, seen)
    classes = case.meta["classes"]
    assert torch.equal(adapter.backbone.tokenize(classes), case.tensors["input/token_ids"])
    text = adapter.encode_text(one_each(classes))
    seen.expect_text(case, case.tensors["input/token_ids"])
    case.expect("text_features", text)

    video = case.tensors["input/video"]
    embeddings, context = adapter.encode_frames(video)
    seen.expect_visual(case)
    for index in range(arch["vision_layers"]):
        message = seen[f"visual/block{index}/message"]
        case.expect(f"inter/visual_block{index}_message_tokens", message)
    case.expect("frame_features", embeddings)
    case.expect("img_features_mean", context)
    encoded = adapter.encode_video(video)
    for index in range(arch["mit_layers"]):
        case.expect(f"inter/mit_block{index}", seen[f"integration/block{index}"])
    case.expect("video_features", encoded[:, 0])
    logits = adapter.score(encoded, text)
    case.expect("text_prompt_offset", seen["text/offset"])
    case.expect("logit_scale_exp", adapter.logit_scale())
    case.expect("logits", logits)
    case.expect("probs", logits.softmax(dim=-1))
    if "hf" in case.meta:
        compare_hugging_face(case)


def compare_hugging_face(case: Case) -> None:
    """The same weights under the names of Hugging Face's XCLIPModel."""
    state = case.state()
    stored = {}
    for name, theirs in case.meta["hf"]["key_map"].items():
        value = state.pop(name)
        value = value.T.contiguous() if name in ("visual.proj", "text_projection") else value
        parts = value.chunk(len(theirs)) if len(theirs) > 1 else [value]
        stored |= dict(zip(theirs, parts, strict=True))
    assert not state, f"{case.name}: no Hugging Face name for {sorted(state)}"
    stored["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    adapter, report = case.convert(stored)
    assert report.layout.startswith("X-CLIP as Hugging Face")
    video = adapter.encode_video(case.tensors["input/video"])
    seen = Seen(adapter)
    text = adapter.encode_text(one_each(case.meta["classes"]))
    case.expect("hf/logits_per_video", adapter.score(video, text))
    normalised = torch.nn.functional.normalize(video[:, 0], dim=-1)
    case.expect("hf/video_embeds", normalised)
    prompted = torch.nn.functional.normalize(text + seen["text/offset"], dim=-1)
    case.expect("hf/text_embeds", prompted)
