"""Population geometry of saved runs: what all its measures share."""

import numpy as np
import pandas as pd
import pytest

import clntk
from clntk.measures.population import by_layer, centred

GEOMETRY = {
    "dimensionality": ["checkpoint", "layer", "eval_task"],
    "explained_variance": ["checkpoint", "layer", "eval_task", "component"],
    "task_subspaces": ["checkpoint", "layer", "eval_task", "other_task"],
    "compression": ["checkpoint", "layer", "eval_task"],
    "rsa": ["checkpoint", "layer", "model"],
    "decoding": ["checkpoint", "layer", "decoded"],
}


@pytest.fixture(scope="module")
def runs(write_protocol, tmp_path_factory):
    folder = tmp_path_factory.mktemp("geometry")
    path = write_protocol(folder, measures=list(GEOMETRY), model={"name": "mlp", "width": 12, "depth": 2})
    return clntk.run(path, store=folder / "runs")


@pytest.mark.parametrize("name", GEOMETRY)
def test_a_run_is_one_tidy_table(name, runs):
    table = runs.measure(name)
    sizes = {"checkpoint": 3, "layer": 2, "eval_task": 2, "other_task": 2, "component": 10, "model": 3}
    sizes |= {"decoded": 5, **({"checkpoint": 2} if name == "decoding" else {})}
    assert not table.duplicated(GEOMETRY[name]).any()
    assert len(table) == np.prod([sizes[dim] for dim in GEOMETRY[name]])
    assert set(table.layer) == {"hidden1", "hidden2"}
    assert set(table.step) <= {0, 6, 12}


def test_every_measure_has_numbers_for_tables_and_statistics(runs):
    table = runs.scalars()
    found = table.groupby(table.measure.str.partition(".")[0]).value.apply(list)
    assert set(found.index) == set(GEOMETRY)
    assert table.measure.is_unique
    assert table.value.notna().all()
    assert pd.api.types.is_float_dtype(table.value)


def test_centring_leaves_exact_zeros_of_what_does_not_vary():
    values = np.stack([np.full((7, 3), 0.1), np.arange(21.0).reshape(7, 3)])
    moved = centred(values)
    assert (moved[0] == 0).all()
    np.testing.assert_allclose(moved[1], values[1] - values[1].mean(axis=0))


def test_layers_and_checkpoints_keep_their_places(make_activations):
    facts = make_activations({"first": 2, "second": 3})
    result = by_layer(
        facts, lambda values: {"sum": ((), values.sum()), "each": (("eval_task",), values.sum((1, 2)))}
    )
    for layer, code in facts.items():
        expected = code.values.astype(float).sum(axis=(2, 3))
        np.testing.assert_allclose(result["each"].isel(layer=list(facts).index(layer)), expected)
        np.testing.assert_allclose(result["sum"].sel(layer=layer), expected.sum(axis=1))
