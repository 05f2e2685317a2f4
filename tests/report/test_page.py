"""The report is one file and tells everything, without a network."""

import re
from dataclasses import replace

import pytest

import clntk
from clntk import registry
from clntk.errors import StoreError
from clntk.report import page as page_module
from clntk.report.sections import Section
from clntk.runs.opened import Run
from clntk.runs.runset import RunSet
from clntk.runs.store import Standing, State


def test_the_page_needs_nothing_from_outside(page):
    html = re.sub(r"<script>.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in html
    assert "url(" not in html


def test_the_page_holds_answer_table_figures_and_provenance(page, smoke_runs):
    html = page.read_text(encoding="utf-8")
    for heading in (
        "Rich or lazy?",
        "What was run",
        "The regimes compared",
        "How far did the kernel move?",
        "Provenance",
    ):
        assert heading in html
    shown = re.findall(r'<section id="(\w+)" class="page">', html)
    assert {"kernel_drift", "forgetting", "task_tuning"} <= set(shown)
    assert html.count("data:image/png;base64,") == len(set(shown) & set(registry.names("analysis")))
    for run in smoke_runs:
        assert run.run_id in html


def test_analyses_that_rebuild_networks_take_part_on_request(smoke_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "section_of", lambda name, runs: Section(name, name, ""))
    networks = {n for n in registry.names("analysis") if registry.get("analysis", n).traits.get("networks")}
    assert "claim" in networks

    def shown(**how):
        html = clntk.write_report(smoke_runs, tmp_path / "page.html", **how).read_text(encoding="utf-8")
        left_out = re.search(r"Left out, since they rebuild every run's networks: (.*) \(", html)
        sections = re.findall(r'<section id="(\w+)" class="page">', html)
        return set(sections) & set(registry.names("analysis")), left_out and set(left_out[1].split(", "))

    assert shown() == (set(registry.names("analysis")) - networks, networks)
    assert shown(full=True) == (set(registry.names("analysis")), None)


@pytest.fixture
def no_analyses(monkeypatch):
    """They take their time, where it is other parts of the page that are looked at."""
    monkeypatch.setattr(page_module, "analyses", lambda **_: [])


def test_failed_runs_are_told(no_analyses, smoke_runs, tmp_path):
    spec = next(iter(smoke_runs)).spec
    failed = Standing("smoke-wild-s0", State.FAILED, spec, "training diverged at step 7")
    path = clntk.write_report(
        RunSet(smoke_runs.runs, others=[failed], root=smoke_runs.root), tmp_path / "report.html"
    )
    html = path.read_text(encoding="utf-8")
    assert "1 run not in this report" in html
    assert "training diverged at step 7" in html


def test_labels_from_strangers_are_inert(no_analyses, smoke_runs, tmp_path):
    spec = next(iter(smoke_runs)).spec
    hostile = Standing("x", State.FAILED, spec, "<script>alert(1)</script>")
    path = clntk.write_report(RunSet(smoke_runs.runs, others=[hostile]), tmp_path / "report.html")
    assert "<script>alert" not in path.read_text(encoding="utf-8")


def test_no_runs_are_an_error_that_says_so(tmp_path):
    with pytest.raises(StoreError, match="expected finished runs, found none"):
        clntk.write_report(RunSet([]), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_analyses_that_are_for_other_runs_are_no_part_of_the_page(page):
    html = page.read_text(encoding="utf-8")
    assert 'id="lazy_rich_phase"' not in html
    assert "Not available" not in html


def test_published_results_of_settings_that_these_runs_lack_do_not_cost_the_page(
    smoke_runs, tmp_path, monkeypatch
):
    monkeypatch.setattr(page_module, "analyses", lambda **_: ["kernel_drift", "replication"])
    finding = {"name": "level", "measure": {"name": "forgetting"}, "where": {"model.width": 7}}
    claim = {"claim": "it is so", "published": 1, "finding": finding, "within": [0, 1], "seeds": 1}
    runs = RunSet([Run(run.path) for run in smoke_runs])
    for run in runs:
        run.spec = replace(run.spec, published=[claim])
    html = clntk.write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not available: where: expected what the runs differ in" in html
    assert "How far did the kernel move?" in html
