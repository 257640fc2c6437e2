from __future__ import annotations

import json
from pathlib import Path


def test_label_sets_are_listed(vclip):
    ran = vclip("labels", "list", "--json")
    rows = {row["name"]: row for row in json.loads(ran.out)["label_sets"]}
    assert rows["ucf101"]["classes"] == 101
    assert rows["kinetics600"]["subsets"]["zs1"] == 160
    assert "natural" in rows["hmdb51"]["texts"]
    assert "ucf101" in vclip("labels", "list").out


def test_a_label_set_is_shown_with_the_texts_of_a_variant(vclip):
    document = json.loads(vclip("labels", "show", "ucf101", "--subset", "base", "--json").out)
    assert len(document["classes"]) == 51
    assert document["classes"][0]["name"] == document["subsets"]["base"][0]
    natural = {row["name"]: row["text"] for row in document["classes"]}
    assert natural["HandstandPushups"].count(" ") >= 1
    ran = vclip("labels", "show", "ucf101", "--text", "vifi-clip", "--json")
    texts = {row["name"]: row["text"] for row in json.loads(ran.out)["classes"]}
    assert texts["ApplyEyeMakeup"] == "ApplyEyeMakeup"
    table = vclip("labels", "show", "ucf101")
    assert "ApplyEyeMakeup" in table.out
    assert "101 classes" in table.err


def test_two_label_sets_are_compared(vclip):
    document = json.loads(vclip("labels", "diff", "kinetics400", "kinetics600", "--json").out)
    assert len(document["only_b"]) == 220
    assert document["shared"] + len(document["only_a"]) == 400
    text = vclip("labels", "diff", "kinetics400", "kinetics600").out
    assert f"+ {document['only_b'][0]}" in text


def test_errors_are_one_clear_message(vclip):
    ran = vclip("labels", "show", "ucf")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean 'ucf101'" in ran.err
    ran = vclip("labels", "show", "ucf101", "--text", "vifi-clp")
    assert ran.code == 2
    assert "vifi-clip" in ran.err
    Path("broken.yaml").write_text("name: x\ntitle: X\nversion: 1\nclasses: [a, a]\n")
    ran = vclip("labels", "show", "broken.yaml")
    assert ran.code == 3
    assert "broken.yaml:4" in ran.err
