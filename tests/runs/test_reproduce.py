"""A published run, run again: equal to the bit, or where it parts."""

import shutil

import numpy as np
import pytest
import xarray as xr
import yaml

import clntk
from clntk.errors import StoreError
from clntk.runs import reproduce as module
from clntk.runs.opened import Run
from clntk.runs.reproduce import reproduce

OWN = '''
from clntk import register


@register("measure")
def own_measure(metrics):
    """Something."""
    return metrics.test_accuracy.mean()


@register("regime")
def own_regime(model, shape):
    """As it comes."""
    from clntk.regimes.base import Regime

    return Regime(model)
'''


def test_a_run_comes_out_equal_and_leaves_nothing(smoke_copy, smoke_runs, cli):
    run = smoke_copy / smoke_runs.runs[0].run_id
    before = sorted(p.name for p in smoke_copy.iterdir())
    found = reproduce(run)
    assert found.equal
    assert found.run_id == run.name
    assert sorted(p.name for p in smoke_copy.iterdir()) == before
    done = cli("reproduce", run)
    assert (done.code, done.out.splitlines()[-1]) == (0, f"{run.name}: equal, to the bit")


def test_what_differs_is_named_with_where_and_by_how_much(smoke_runs, monkeypatch, cli):
    run = smoke_runs.runs[0]
    real = module._numbers

    def other(opened):
        found = real(opened)
        if opened.path != run.path:
            name = (
                "weights/layers.0.weight"
                if "weights/layers.0.weight" in found
                else next(n for n in found if n.startswith("weights/"))
            )
            values = found[name].copy()
            values[1:] += 0.5
            found = {**found, name: values, "metrics/test_loss": found["metrics/test_loss"][:1]}
        return found

    monkeypatch.setattr(module, "_numbers", other)
    found = reproduce(run.path)
    assert not found.equal
    metric, weight = found.differences
    assert str(metric) == "metrics/test_loss: differs, in shape or kind"
    assert weight.checkpoint == run.checkpoints[1]
    assert weight.largest == pytest.approx(0.5, abs=1e-6)
    assert f"from checkpoint {run.checkpoints[1]} by up to 0.5 (" in str(weight)
    done = cli("reproduce", run.path)
    assert done.code == 1
    assert "2 facts differ" in done.err


def test_negative_zeros_and_nans_count_as_bits():
    a = xr.DataArray(np.array([0.0, np.nan]), dims="checkpoint", coords={"checkpoint": ["init", "A"]})
    assert module._difference("x", a, a.copy()) is None
    found = module._difference("x", a, a * [-1, 1])
    assert (found.checkpoint, found.largest) == ("init", 0.0)


def test_it_can_be_kept_but_not_beside_the_published_one(smoke_runs, tmp_path):
    run = smoke_runs.runs[0]
    assert reproduce(run.path, store=tmp_path / "again").equal
    assert Run(tmp_path / "again" / run.run_id).spec == run.spec
    with pytest.raises(StoreError, match="holds the published run itself"):
        reproduce(run.path, store=run.path.parent)


def test_components_that_are_gone_or_changed_are_named(write_protocol, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(OWN)
    path = write_protocol(tmp_path, use=["own.py"], regimes={"plain": {"name": "own_regime"}})
    (run,) = clntk.run(path, store=tmp_path / "runs")
    assert reproduce(run.path).equal
    own.write_text(OWN + "\n# changed")
    with pytest.raises(
        StoreError, match=r"own.py: expected the regime 'own_regime' that .* was run with, found it changed"
    ):
        reproduce(run.path)
    own.unlink()
    with pytest.raises(
        StoreError, match=r"own.py: expected the regime 'own_regime', found the file gone; put it back"
    ):
        reproduce(run.path)


def test_other_versions_are_told(smoke_runs, tmp_path):
    copied = tmp_path / smoke_runs.runs[0].run_id
    shutil.copytree(smoke_runs.runs[0].path, copied)
    text = (copied / "provenance.json").read_text()
    facts = yaml.safe_load(text)
    (copied / "provenance.json").write_text(text.replace(f'"{facts["packages"]["torch"]}"', '"1.0"'))
    found = reproduce(copied)
    assert found.equal
    before, now = found.circumstances["packages"]
    assert before["torch"] == "1.0"
    assert now["torch"] == facts["packages"]["torch"]
