"""What stands beside the package: citation, changelog, workflow, contributing."""

from __future__ import annotations

from pathlib import Path

import yaml

import vclip_cli

ROOT = Path(__file__).parents[2]


def test_the_citation_and_the_changelog_name_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == vclip_cli.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {vclip_cli.__version__}" in changelog


def test_the_workflow_runs_the_checks_on_three_systems_and_on_the_lowest_versions() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    steps = {
        name: " ".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()
    }
    assert ".ci/run" in steps["linux"]
    assert jobs["smoke"]["strategy"]["matrix"]["os"] == ["macos-latest", "windows-latest"]
    assert "vclip demo" in steps["smoke"]
    assert "--resolution lowest-direct" in steps["lowest"]
