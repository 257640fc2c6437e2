from __future__ import annotations

import copy
import pickle
import time
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from vclip_cli.common.errors import DataError, SpecError
from vclip_cli.common.yaml_files import load_model
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.protocol import load_protocol

PROTOCOL = """\
name: own
version: none
title: Own
source: a test
frame: 8
test:
  - {dataset: "*", spilt: all}
metrics: [top1]
recipes:
  fast:
    method: clip
    source: a test
    frames: 8
    batch_size: 0
    optimizer: {learning_rat: 0.1}
    augmentation: {flip: 2, color_jitter: {probabilty: 1}}
"""


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    by_name: dict[str, list[Inner]] = {}
    one: Inner | None = None


def refused(text: str, kind: str = "protocols") -> SpecError:
    Path("own.yaml").write_text(text, encoding="utf-8")
    load = load_protocol if kind == "protocols" else load_label_set
    with pytest.raises(SpecError) as caught:
        load("own.yaml")
    return caught.value


def test_all_problems_of_a_protocol_are_listed_in_order_with_line_and_near_miss():
    error = refused(PROTOCOL)
    assert [(problem.where, problem.what.split(":")[0]) for problem in error.problems] == [
        ("own.yaml:2", "version"),
        ("own.yaml:5", "unknown key 'frame'"),
        ("own.yaml:7", "unknown key 'test.0.spilt'"),
        ("own.yaml:14", "recipes.fast.batch_size"),
        ("own.yaml:15", "unknown key 'recipes.fast.optimizer.learning_rat'"),
        ("own.yaml:16", "recipes.fast.augmentation.flip"),
        ("own.yaml:16", "the key 'recipes.fast.augmentation.color_jitter.brightness' is missing"),
        ("own.yaml:16", "the key 'recipes.fast.augmentation.color_jitter.contrast' is missing"),
        ("own.yaml:16", "the key 'recipes.fast.augmentation.color_jitter.saturation' is missing"),
        ("own.yaml:16", "the key 'recipes.fast.augmentation.color_jitter.hue' is missing"),
        ("own.yaml:16", "unknown key 'recipes.fast.augmentation.color_jitter.probabilty'"),
    ]
    hints = [problem.hint for problem in error.problems if problem.hint]
    near = ("'frames'", "'split'", "'learning_rate'", "'probability'")
    assert all(name in hint for name, hint in zip(near, hints, strict=True))
    assert error.where == "own.yaml:2"
    assert str(error).count(" | ") == 10


def test_all_problems_of_a_label_set_are_listed():
    text = (
        "name: x\ntitle: X\nversion: 1\nclasses:\n  - a\n  - b\n  - a\nsubsets:\n  s: [c, b, b]\n"
    )
    error = refused(text, "label_sets")
    lines = [(problem.where, problem.what) for problem in error.problems]
    assert [where for where, _ in lines] == ["own.yaml:7", "own.yaml:9", "own.yaml:9"]
    assert "appears twice" in lines[0][1] and "unknown class 'c'" in lines[1][1]


def test_one_problem_stays_one_error():
    error = refused(PROTOCOL.replace("version: none", "version: 1").split("recipes")[0])
    assert len(error.problems) == 2
    error = refused("name: x\ntitle: X\nversion: 1\nclases: [a]\n", "label_sets")
    assert (error.what, error.problems) == ("unknown key 'clases'", ())
    assert error.hint == "did you mean 'classes'?"


def test_near_misses_are_offered_at_any_depth():
    for text in ("by_name: {a: [{}, {widht: 1}]}", "one: {widht: 1}"):
        Path("outer.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(SpecError, match="did you mean 'width'"):
            load_model(Path("outer.yaml"), Outer)


def test_the_command_line_shows_each_problem_with_its_parts(vclip):
    Path("own.yaml").write_text(PROTOCOL, encoding="utf-8")
    ran = vclip("protocols", "own.yaml")
    assert ran.code == 3
    assert ran.err.count("error:") == 1
    assert ran.err.count("  where: own.yaml:") == 11
    assert "  and: unknown key 'test.0.spilt'" in ran.err


def test_a_config_file_lists_all_its_problems(vclip):
    Path(".vclip").mkdir()
    Path(".vclip/config.yaml").write_text("frmes: 8\nclips: 0\nshots: few\n", encoding="utf-8")
    ran = vclip("methods")
    assert ran.code == 3
    for line in (1, 2, 3):
        assert f"config.yaml:{line}" in ran.err


def test_an_error_keeps_its_parts_between_processes_and_in_another_place():
    error = refused(PROTOCOL)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.where, str(again)) == (SpecError, error.where, str(error))
    assert [problem.what for problem in again.problems] == [p.what for p in error.problems]
    first = DataError("broken", where="a", found="b", expected="c", hint="d")
    moved = first.at("elsewhere")
    assert moved.as_dict() == {**first.as_dict(), "where": "elsewhere"}
    assert copy.copy(first).as_dict() == first.as_dict()


@pytest.mark.parametrize(
    "rest",
    [
        f"metrics: [{','.join(['top1'] * 50_000)}]\n",
        "metrics: [top1]\n" + "".join(f"key{n}: 1\n" for n in range(50_000)),
    ],
    ids=["one key", "many keys"],
)
def test_a_file_with_thousands_of_problems_is_refused_soon_and_in_short(rest: str):
    head = PROTOCOL.split("metrics")[0].replace("none", "1").replace("frame:", "frames:")
    started = time.process_time()
    error = refused(head.replace("spilt", "split") + rest)
    assert time.process_time() - started < 10
    assert 20 < len(error.problems) < 100
