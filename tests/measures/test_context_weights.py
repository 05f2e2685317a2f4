"""Correlation of context weights, against numpy on weights that are known."""

import json

import numpy as np
import pytest
import xarray as xr

import clntk
from clntk.errors import DataError
from clntk.measures.context_weights import context_correlation


def facts(columns, *, features=5):
    """Weights of one layer at two checkpoints, whose context columns are given at the last; and the probe sets."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(2, len(columns), features))
    weights[1, :, features - columns.shape[1] :] = columns
    probes = xr.Dataset({"inputs": (("eval_task", "probe", "feature_0"), np.zeros((2, 3, features)))})
    probes.attrs["input_groups"] = json.dumps({"context": [features - columns.shape[1], features]})
    layer = xr.DataArray(weights, dims=["checkpoint", "w.0", "w.1"], coords={"checkpoint": ["init", "A"]})
    readout = xr.DataArray(np.zeros((2, 1, len(columns))), dims=["checkpoint", "r.0", "r.1"])
    return {"hidden1.weight": layer, "readout.weight": readout}, probes


def test_opposite_weights_and_equal_ones():
    w = np.array([1.0, -2.0, 0.5, 3.0])
    for other, expected in ((-w, -1.0), (2 * w + 1, 1.0)):
        found = context_correlation(*facts(np.stack([w, other], axis=1)))
        assert found.sel(checkpoint="A").item() == pytest.approx(expected)
        assert -1 < found.sel(checkpoint="init").item() < 1


def test_the_mean_over_pairs_of_three_contexts():
    columns = np.random.default_rng(1).normal(size=(30, 3))
    table = np.corrcoef(columns.T)
    expected = (table[0, 1] + table[0, 2] + table[1, 2]) / 3
    assert context_correlation(*facts(columns))[1].item() == pytest.approx(expected)


def test_weights_that_are_all_alike_have_none():
    assert np.isnan(context_correlation(*facts(np.ones((4, 2))))[1].item())


def test_without_context_or_without_a_layer_that_reads_it():
    weights, probes = facts(np.eye(4)[:, :2])
    with pytest.raises(DataError, match="give the stream a cue"):
        context_correlation(weights, probes.assign_attrs(input_groups="{}"))
    with pytest.raises(DataError, match="found context with 1 input"):
        context_correlation(weights, probes.assign_attrs(input_groups='{"context": [3, 4]}'))
    with pytest.raises(DataError, match="expected a linear layer of 5 inputs"):
        context_correlation({"readout.weight": weights["readout.weight"]}, probes)


def test_fixed_gates_are_opposite(write_protocol, tmp_path):
    (run,) = clntk.run(write_protocol(tmp_path), ["strategy.name=context_gating"], store=tmp_path / "runs")
    found = context_correlation(run.fact("weights"), run.fact("probes"))
    assert found[-1].item() == pytest.approx(-1)
    assert found[0].item() == pytest.approx(-1)  # they are set before training
