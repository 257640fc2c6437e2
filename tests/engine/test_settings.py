"""Every setting has one home: option, config key, variable and keyword are one declaration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vclip_cli.common.errors import UsageError
from vclip_cli.common.settings import Declared
from vclip_cli.engine.requests import TAKES, Request, lasting_settings, settings_of

VERBS = sorted(TAKES)


def good_value(entry: Declared) -> Any:
    """A value within the bounds of a setting, other than its default."""
    special = {
        "protocol": "few-shot", "dataset": "toy-shapes", "method": "clip", "backbone": "toy",
        "pretrained": "random", "decoder": "decord", "frames_from": "store", "device": "cpu",
        "precision": "bf16", "on_error": "stop", "text": "natural", "template": "a {class}.",
        "frames": "4" if entry.setting.commas else 4, "checkpoint": "x.safetensors",
    }  # fmt: skip
    if entry.name in special:
        return special[entry.name]
    if entry.kind is bool:
        return not entry.default
    if entry.setting.choices:
        return entry.setting.choices[-1]
    low, high = entry.setting.low or 0, entry.setting.high
    return entry.kind(high if high is not None else low + 3)


@pytest.mark.parametrize("verb", VERBS)
def test_every_setting_is_a_keyword_and_an_unknown_one_is_refused(verb: str) -> None:
    for entry in settings_of(verb):
        if not entry.setting.lasting:
            continue
        request = Request.of(verb, {entry.name: good_value(entry)})
        assert request != Request.of(verb, {}), entry.name
    with pytest.raises(UsageError, match="takes no"):
        Request.of(verb, {"no_such_setting": 1})


def test_every_variable_is_a_config_key_with_the_same_bounds(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value below the least is refused in the environment, in the file and as a keyword."""
    Path(".vclip").mkdir(exist_ok=True)
    checked = 0
    for key, entry in lasting_settings().items():
        assert entry.variable and entry.variable.startswith("VCLIP_") and entry.key == key
        if entry.setting.low is None:
            continue
        verb = next(verb for verb in ("eval", "train") if entry in settings_of(verb))
        bad = entry.setting.low - 1
        with pytest.raises(UsageError):
            Request.of(verb, {entry.name: bad})
        Path(".vclip/config.yaml").write_text(f"{key}: {bad}\n")
        assert vclip("methods").code == 3, key
        Path(".vclip/config.yaml").unlink()
        monkeypatch.setenv(entry.variable, str(bad))
        assert vclip(verb, "-d", "toy-shapes").code == 2, key
        monkeypatch.delenv(entry.variable)
        checked += 1
    assert checked >= 8


def test_every_lasting_setting_may_stand_in_the_config_file(vclip: Callable) -> None:
    Path(".vclip").mkdir(exist_ok=True)
    lines = []
    for key, entry in lasting_settings().items():
        value = good_value(entry)
        lines.append(f"{key}: {str(value).lower() if isinstance(value, bool) else repr(value)}")
    Path(".vclip/config.yaml").write_text("\n".join(lines) + "\n")
    ran = vclip("methods")
    assert ran.code == 0, ran.err
    assert {"compile", "text", "template", "interpolate", "video-timeout"} <= set(
        lasting_settings()
    )


def test_a_half_second_is_a_timeout_in_the_file_as_well(vclip: Callable) -> None:
    Path(".vclip").mkdir(exist_ok=True)
    Path(".vclip/config.yaml").write_text("video-timeout: 0.5\n")
    assert vclip("methods").code == 0


def test_a_prompt_in_the_environment_keeps_its_blanks(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.setenv("VCLIP_TEMPLATE", "a video of a {class}.\na {class}, moving")
    ran = vclip("eval", "-d", "toy-shapes", "--dry-run")
    assert ran.code == 0, ran.err
    [plan] = json.loads(ran.out)["plans"]
    assert plan["settings"]["template"] == ["a video of a {class}.", "a {class}, moving"]


def test_no_two_settings_of_a_verb_share_a_name() -> None:
    for verb in VERBS:
        names = [entry.name for entry in settings_of(verb)]
        assert len(names) == len(set(names)), verb


def test_datasets_may_stand_in_the_environment_and_in_the_file(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verb that takes several datasets reads one from the file, and a list from a variable."""
    import json

    def planned() -> list[str]:
        ran = vclip("eval", "--dry-run")
        assert ran.code == 0, ran.err
        return [plan["settings"]["dataset"] for plan in json.loads(ran.out)["plans"]]

    Path(".vclip").mkdir(exist_ok=True)
    Path(".vclip/config.yaml").write_text("dataset: toy-shapes\n")
    assert planned() == ["toy-shapes"]
    monkeypatch.setenv("VCLIP_DATASET", "toy\ntoy-shapes")
    assert planned() == ["toy", "toy-shapes"]
