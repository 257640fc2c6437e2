"""A report from plain material: numbers, escaping, bytes, and what is said where parts lack."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from make_records import make_record
from make_report import HOSTILE, make_loaded, make_material, make_predictions

from vclip_cli.common.errors import UsageError
from vclip_cli.report.content import NO_MATRIX, NO_PROBABILITIES, content
from vclip_cli.report.figures import calibration, embedding_map
from vclip_cli.report.material import Embeddings, Missing, ReportMaterial, ResultMaterial
from vclip_cli.report.page import json_in_html, render_report
from vclip_cli.report.provenance import SECTIONS, name_results, provenance, warnings_of
from vclip_cli.report.video_scores import (
    are_probabilities,
    confusions,
    hardest,
    most_confident_mistakes,
    select_videos,
    video_scores,
)
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.predictions import Predictions

CLASSES = ("pour", "push up", "ride bike")
SCORES = np.array(
    [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.5, 0.1, 0.4]], dtype=np.float32
)
SMALL = Predictions(
    ("a", "b", "c", "d"), (("pour",), ("push up",), ("ride bike",), ("ride bike",)), SCORES, CLASSES
)


@pytest.fixture(scope="module")
def rendered() -> str:
    pytest.importorskip("plotly")
    pytest.importorskip("jinja2")
    return render_report(make_material(CLASSES, 30, different=4), "A title")


def test_hardest_clips_and_confident_mistakes() -> None:
    clips = video_scores(SMALL, multi_label=False)
    assert clips.right.tolist() == [True, False, True, False]
    assert hardest(clips, 3).tolist() == [1, 3, 0]
    assert most_confident_mistakes(clips, 9).tolist() == [1, 3]
    assert confusions(clips, 3) == [(0, 0, 1), (1, 0, 1), (2, 0, 1), (2, 2, 1)]


def test_several_labels_are_ranked_by_average_precision() -> None:
    labelled = replace(SMALL, labels=(("pour", "push up"), ("ride bike",), (), ("push up",)))
    clips = video_scores(labelled, multi_label=True)
    np.testing.assert_allclose(clips.ease, [1, 1 / 3, np.nan, 1 / 3])
    assert hardest(clips, 9).tolist() == [1, 3, 0]


def test_expected_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.85, 0.82, 0.1, 0.2])
    right = np.array([True, True, False, False, True])
    measured = calibration(confidence, right, bins=5)
    assert [entry.videos for entry in measured.bins] == [2, 0, 0, 0, 3]
    gaps = abs(0.5 - 0.15) * 2 + abs(2 / 3 - (0.95 + 0.85 + 0.82) / 3) * 3
    assert measured.error == pytest.approx(gaps / 5)
    ends = calibration(np.array([0.0, 1.0]), np.array([False, True]), bins=5)
    assert [entry.videos for entry in ends.bins] == [1, 0, 0, 0, 1]


def test_logits_are_not_taken_for_probabilities() -> None:
    assert are_probabilities(SMALL)
    assert not are_probabilities(replace(SMALL, scores=SCORES * 2))
    assert not are_probabilities(replace(SMALL, scores=SCORES - 0.3))


def test_the_map_is_repeatable_and_counts_neighbours() -> None:
    generator = np.random.default_rng(0)
    vectors = np.repeat(np.eye(3, 8), 6, axis=0) + generator.normal(0, 0.01, (18, 8))
    embeddings = Embeddings(tuple(map(str, range(18))), vectors.astype(np.float32))
    labels = [(name,) for name in CLASSES for _ in range(6)]
    first, second = (embedding_map(embeddings, labels) for _ in range(2))
    assert not isinstance(first, Missing) and not isinstance(second, Missing)
    assert first.neighbours == 1.0
    assert first.points.tobytes() == second.points.tobytes()
    assert np.abs(first.points).max() == pytest.approx(1)
    assert embedding_map(embeddings, labels[::-1]).neighbours == 1.0  # type: ignore[union-attr]
    other = [CLASSES[place % 3 : place % 3 + 1] for place in range(18)]
    assert embedding_map(embeddings, other).neighbours < 0.7  # type: ignore[union-attr]
    few = Embeddings(("a",), np.ones((1, 4), np.float32))
    assert isinstance(embedding_map(few, [("pour",)]), Missing)


def test_a_limit_keeps_the_hardest_and_every_class() -> None:
    classes = [f"class {number}" for number in range(10)]
    made = make_predictions(classes, 500)
    (shown,) = select_videos([made], [False], 40)
    clips = video_scores(made, False)
    assert {made.videos[row] for row in hardest(clips, 12)} <= set(shown.focus)
    assert set(shown.focus) <= set(shown.videos)
    assert 40 <= len(shown.videos) <= 40 + len(shown.focus)
    labels = dict(zip(made.videos, made.labels, strict=True))
    assert {labels[video][0] for video in shown.videos} == set(classes)
    (everything,) = select_videos([made], [False], 500)
    assert everything.videos == made.videos
    assert select_videos([Missing("none")], [False], 5)[0].videos == ()


def test_names_tell_results_apart() -> None:
    records = [
        LoadedRecord(Path("a/record.json"), make_record(seed=1)),
        LoadedRecord(Path("b/record.json"), make_record(seed=2)),
        LoadedRecord(Path("c/record.json"), make_record(seed=2)),
        LoadedRecord(Path("d/record.json"), make_record(method="x-clip", part="base")),
    ]
    assert name_results(records) == [
        "clip on hmdb51/1, seed 1",
        "clip on hmdb51/1, seed 2, b",
        "clip on hmdb51/1, seed 2, c",
        "x-clip on hmdb51/1/base",
    ]


def test_provenance_holds_every_section_of_a_record() -> None:
    record = make_record(failed=1, seed=0)
    sections = provenance(record)
    text = " ".join(
        " ".join([fact.name, fact.value, *fact.items])
        for section in sections
        for fact in section.facts
    )
    for value in (
        record.protocol.sha256,
        record.dataset.split_sha256,
        record.dataset.manifest_sha256,
        record.dataset.label_set.sha256,
        record.backbone.weights_sha256,
        record.predictions.sha256,
        "pour/v0.avi",
        "a photo of a push up.",
        "2026-01-01T00:00:00+00:00",
    ):
        assert str(value) in text
    nested = {name for name, value in record if not isinstance(value, str | int | bool)}
    assert nested - {"per_class", "command", "marks"} == set(SECTIONS)


def test_partial_and_overlap_are_said_first(rendered: str) -> None:
    record = make_record(partial=True, overlap_allowed=True, failed=2, marks=["a mark"])
    warnings = warnings_of(record)
    assert [text.split()[0] for text in warnings] == ["Partial:", "Videos", "2", "a"]
    assert "Before you use these numbers" not in rendered
    made = make_predictions(CLASSES, 30)
    marked = make_loaded(made, partial=True, overlap_allowed=True)
    page = render_report(ReportMaterial([ResultMaterial(marked, made)], [made.videos]), "Marked")
    start = page.index("Before you use these numbers")
    assert start < page.index("<table>")
    assert "--limit" in page[start : start + 400] and "--allow-overlap" in page[start : start + 500]


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def _document(page: str) -> dict:
    return json.loads(re.search(r'id="document">(.*?)</script>', page, re.DOTALL)[1])


def test_hostile_names_cannot_leave_their_place(rendered: str) -> None:
    page = render_report(make_material(HOSTILE, 35, different=2), HOSTILE[0])
    elements, harmless = _Elements(), _Elements()
    elements.feed(page)
    harmless.feed(rendered)
    count = [[tag for tag, _ in e.found].count("script") for e in (elements, harmless)]
    assert count == [3, 3]
    assert not [tag for tag, _ in elements.found if tag in ("img", "b", "iframe", "object")]
    for _, attributes in elements.found:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    names = _document(page)["classes"][0]
    assert names[0] == HOSTILE[0] and names[6] == "__proto__"
    assert "\x1b" not in page and "\u202e" not in page and "\x00" not in page


def test_json_cannot_end_its_element() -> None:
    value = {"</script>": ["<!--", "a&b", "\u2028", "é"]}
    text = json_in_html(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_the_policy_names_the_scripts_and_allows_no_request(rendered: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', rendered)[1]
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert "img-src data:" in policy
    assert not re.search(r'(?:src|href|action)="(?!#|data:,)', rendered)


def test_equal_material_gives_equal_bytes(rendered: str) -> None:
    assert render_report(make_material(CLASSES, 30, different=4), "A title") == rendered


def test_landmarks_headings_and_captions(rendered: str) -> None:
    elements = _Elements()
    elements.feed(rendered)
    tags = [tag for tag, _ in elements.found]
    for tag in ("header", "nav", "main", "footer", "h1"):
        assert tags.count(tag) == 1
    assert tags.count("table") == tags.count("caption") == 2
    identifiers = {attributes.get("id") for _, attributes in elements.found}
    for tag, attributes in elements.found:
        if tag == "section":
            assert attributes["aria-labelledby"] in identifiers
        if tag == "a" and (attributes["href"] or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in identifiers


def test_a_record_alone_makes_a_page_that_says_what_lacks() -> None:
    loaded = LoadedRecord(Path("run/record.json"), make_record())
    lacking = Missing("The predictions file is not beside the record.")
    material = ReportMaterial([ResultMaterial(loaded, lacking, lacking, lacking)], [()])
    (result,) = _document(render_report(material, "Alone"))["results"]
    for part in ("clips", "confusion", "calibration", "map", "attention"):
        assert result[part] == {"why": lacking.why}
    assert result["perClass"]["values"] == [50.0, 50.0, 50.0]


def test_several_labels_have_no_confusions_and_no_calibration() -> None:
    made = replace(
        make_predictions(CLASSES, 12),
        labels=(("pour", "push up"), ("ride bike",), ()) * 4,
    )
    loaded = make_loaded(made, multi_label=True)
    document = content(ReportMaterial([ResultMaterial(loaded, made)], [made.videos]))
    (result,) = document["results"]
    assert result["confusion"] == {"why": NO_MATRIX}
    assert result["calibration"] == {"why": NO_PROBABILITIES}
    assert result["perClass"]["metric"] == "average_precision"
    assert result["clips"]["truth"][:3] == [[0, 1], [2], []]


def test_only_equal_test_sets_are_compared() -> None:
    made = make_predictions(CLASSES, 12)
    loaded = [
        make_loaded(made, method="clip"),
        make_loaded(made, method="x-clip"),
        make_loaded(made, method="x-clip", split="2"),
    ]
    material = ReportMaterial([ResultMaterial(one, made) for one in loaded], [made.videos] * 3)
    document = content(material)
    assert [result["comparable"] for result in document["results"]] == [[1], [0], []]
    assert document["clips"] == list(made.videos)


def test_results_that_cannot_stand_side_by_side_say_why() -> None:
    made = make_predictions(CLASSES, 12)
    first = make_loaded(made, method="clip")
    values = make_loaded(made, method="x-clip").record.model_dump()
    values["dataset"]["split_sha256"] = "0" * 64
    other = LoadedRecord(Path("x/record.json"), type(first.record).model_validate(values))
    material = ReportMaterial(
        [ResultMaterial(one, made) for one in (first, other)], [made.videos] * 2
    )
    page = render_report(material, "Refused")
    assert "cannot be compared in one table" in page
    assert "the list of videos to score" in page
    assert page.count("<caption>") == 3


def test_without_plotly_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == "plotly" else original(name)
    )
    with pytest.raises(UsageError, match=r"plotly.*pip install 'vclip_cli\[report\]'"):
        render_report(make_material(CLASSES, 6), "x")
