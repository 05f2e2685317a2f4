"""Runs in a notebook."""

from dataclasses import replace

from clntk.analyze import analyze
from clntk.runs.opened import Run
from clntk.runs.runset import RunSet


def test_runs_are_counted_by_condition(smoke_runs):
    html = smoke_runs._repr_html_()
    assert f"{len(smoke_runs)} runs done" in html
    for label in smoke_runs.regimes:
        assert f"<td>{label}</td>" in html
    assert "no runs" in RunSet([])._repr_html_()


def test_a_run_shows_what_it_is_of_and_its_metrics(smoke_runs):
    run = next(iter(smoke_runs))
    html = run._repr_html_()
    assert run.run_id in html
    assert run.spec.stream["name"] in html
    assert "test_accuracy" in html


def test_what_strangers_wrote_is_inert(smoke_runs):
    run = Run(next(iter(smoke_runs)).path)
    run.spec = replace(run.spec, stream={**run.spec.stream, "name": "<script>alert(1)</script>"})
    assert "<script>" not in run._repr_html_()
    assert "<script>" not in RunSet([run])._repr_html_()


def test_an_answer_shows_its_figure(smoke_runs):
    answer = analyze("forgetting", smoke_runs)
    html = answer._repr_html_()
    assert "data:image/png;base64," in html
    assert answer.title in html
