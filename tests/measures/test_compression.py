"""Compression against loops, a regression on indicators, and codes stretched by a known factor."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder

from clntk import registry
from clntk.errors import DataError
from clntk.measures.compression import compression, variance_compression
from clntk.measures.summary import scalars

ROW, COLUMN = np.repeat(np.arange(-2.0, 3), 5), np.tile(np.arange(-2.0, 3), 5)


def stretched(factor, seed=0):
    """A 5 × 5 grid whose rows are drawn together by the factor, turned into twelve units."""
    turn = ortho_group.rvs(12, random_state=seed)
    return np.stack([COLUMN, factor * ROW], axis=1) @ turn[:2] + 3.0


def loop_share(code, levels):
    mean = code.mean(axis=0)
    total = math.fsum(((x - mean) ** 2).sum() for x in code)
    between = 0.0
    for level in set(levels):
        members = [x for x, label in zip(code, levels, strict=True) if label == level]
        between += len(members) * ((sum(members) / len(members) - mean) ** 2).sum()
    return between / total


@pytest.mark.parametrize("seed", range(3))
def test_against_loops_and_a_regression_on_indicators(seed):
    rng = np.random.default_rng(seed)
    code = rng.normal(size=(40, 6)) * 3 + 1
    relevant, irrelevant = rng.integers(0, 5, 40), rng.choice(list("abc"), 40)
    result = variance_compression(code, relevant, irrelevant)
    assert result.relevant == pytest.approx(loop_share(code, relevant), rel=1e-10)
    assert result.irrelevant == pytest.approx(loop_share(code, irrelevant), rel=1e-10)
    assert result.ratio == pytest.approx(float(result.irrelevant / result.relevant))
    indicators = OneHotEncoder().fit_transform(relevant[:, None]).toarray()
    explained = LinearRegression().fit(indicators, code).predict(indicators)
    r_squared = ((explained - code.mean(axis=0)) ** 2).sum() / ((code - code.mean(axis=0)) ** 2).sum()
    assert result.relevant == pytest.approx(r_squared, rel=1e-9)


@pytest.mark.parametrize("factor", [0.0, 0.25, 0.5, 1.0, 2.0])
def test_a_grid_stretched_by_a_factor(factor):
    result = variance_compression(stretched(factor), COLUMN, ROW)
    assert result.relevant == pytest.approx(1 / (1 + factor**2))
    assert result.irrelevant == pytest.approx(factor**2 / (1 + factor**2), abs=1e-12)
    assert result.ratio == pytest.approx(factor**2, abs=1e-12)


def test_shares_never_exceed_one_by_rounding():
    shares = [variance_compression(stretched(0.0, seed), COLUMN, ROW).relevant for seed in range(40)]
    assert max(shares) <= 1


def test_a_collapsed_relevant_dimension_has_no_ratio():
    """Exactly zero, although the mean patterns agree but for rounding only."""
    result = variance_compression(stretched(0.0), ROW, COLUMN)
    assert result.relevant == 0.0
    assert result.irrelevant == pytest.approx(1)
    assert np.isnan(result.ratio)


def test_an_interaction_is_neither():
    code = np.outer(np.sign(ROW * COLUMN), [1.0, 2.0])
    result = variance_compression(code, COLUMN, ROW)
    assert result.relevant == pytest.approx(0, abs=1e-12)
    assert result.irrelevant == pytest.approx(0, abs=1e-12)


def test_of_several_ignored_features_the_mean_counts():
    table = np.stack([ROW, np.sign(ROW)], axis=1)
    code = stretched(1.0)
    each = [float(variance_compression(code, COLUMN, feature).irrelevant) for feature in table.T]
    assert each[0] != each[1]
    assert variance_compression(code, COLUMN, table).irrelevant == pytest.approx(np.mean(each))
    assert variance_compression(code, COLUMN, table.tolist()).irrelevant == pytest.approx(np.mean(each))


def test_of_classes_the_rest_is_within():
    code = np.array([[1.0, 0], [3, 0], [-1, 0], [-3, 0]])  # within: 1 about ±2, so 4 of 5 is between
    result = variance_compression(code, ["cat", "cat", "dog", "dog"])
    assert result.relevant == pytest.approx(0.8)
    assert result.irrelevant == pytest.approx(0.2)
    assert result.ratio == pytest.approx(0.25)


def test_chance_is_the_mean_over_all_orders_of_the_levels():
    code = np.random.default_rng(0).normal(size=(6, 3))
    levels = [0, 0, 0, 1, 1, 2]
    orders = [variance_compression(code, order).relevant for order in set(itertools.permutations(levels))]
    assert np.mean(orders) == pytest.approx(float(variance_compression(code, levels).relevant_chance))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_it_is_blind_to_rotation_scale_order_and_copies(seed, scale):
    rng = np.random.default_rng(seed)
    code, levels, ignored = rng.normal(size=(15, 4)), np.arange(15) % 3, rng.permutation(15) % 4
    order = rng.permutation(15)
    expected = variance_compression(code, levels, ignored)
    changed = {
        "rotation": code @ ortho_group.rvs(4, random_state=rng),
        "scale": scale * code,
        "shift": code + 5,
        "unit order": code[:, rng.permutation(4)],
        "duplicate units": np.hstack([code, code]),
    }
    for name, other in changed.items():
        for variable, value in variance_compression(other, levels, ignored).items():
            np.testing.assert_allclose(value, expected[variable], rtol=1e-8, err_msg=f"{name}, {variable}")
    other = variance_compression(code[order], levels[order], ignored[order])
    np.testing.assert_allclose(other.to_array(), expected.to_array(), rtol=1e-8)


def test_what_cannot_be_compared_is_nan():
    still = variance_compression(np.full((4, 2), 0.1), [0, 0, 1, 1])
    assert np.isnan([still.relevant, still.irrelevant, still.ratio]).all()
    assert still.relevant_chance == pytest.approx(1 / 3)
    assert variance_compression(stretched(1.0), np.arange(25)).to_array().isnull().all()
    assert variance_compression([[1.0, 2.0]], ["a"]).to_array().isnull().all()
    one_level = variance_compression(stretched(1.0), [0] * 25)
    assert one_level.relevant == 0
    assert one_level.irrelevant == 1


@pytest.mark.parametrize(
    ("relevant", "irrelevant", "message"),
    [
        (COLUMN[:-1], None, "relevant: expected 25 labels, one for each row of activations, found 24"),
        (COLUMN, ROW[:-1], "irrelevant: expected 25 labels, one for each row of activations, found 24"),
        (COLUMN, [*ROW[:-1], None], "irrelevant: expected a label for every example, found 1 missing"),
        (COLUMN, np.zeros((25, 0)), "irrelevant: expected at least one feature, found none"),
    ],
)
def test_errors_name_the_place_and_the_finding(relevant, irrelevant, message):
    with pytest.raises(DataError, match=f"variance_compression, {message}"):
        variance_compression(stretched(1.0), relevant, irrelevant)


def test_the_measure_ignores_what_decides_in_the_other_task(make_activations, blob_probes):
    facts = make_activations({"first": 5, "second": 8}, n_tasks=2, n=9)
    column, row = blob_probes.targets.values[..., 0]
    result = compression(facts, blob_probes)
    assert result.ratio.dims == ("checkpoint", "layer", "eval_task")
    for layer, code in facts.items():
        for k in range(3):
            for t, (relevant, irrelevant) in enumerate([(column, row), (row, column)]):
                alone = variance_compression(code.values[k, t], relevant, irrelevant)
                got = result.isel(checkpoint=k, eval_task=t).sel(layer=layer)
                for name in alone:
                    assert got[name] == pytest.approx(float(alone[name])), name
    found = scalars("c", result, registry.get("measure", "compression").traits["scalar"])
    assert list(found) == ["c.relevant", "c.irrelevant", "c.ratio"]
    assert found["c.ratio"] == pytest.approx(result.ratio[-1].mean().item())


def test_the_measure_sets_classes_against_the_variance_within_them(make_activations, make_probes):
    facts = make_activations({"hidden": 5}, n_tasks=2, n=9)
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, size=(2, 9))
    result = compression(facts, make_probes(rng.normal(size=(2, 9, 4)), classes))
    alone = variance_compression(facts["hidden"].values[2, 1], classes[1])
    for name in alone:
        assert result[name][2, 0, 1] == pytest.approx(float(alone[name])), name
    continuous = make_probes(rng.normal(size=(2, 9, 4)), rng.normal(size=(2, 9, 1)).astype(np.float32))
    assert compression(facts, continuous).to_array().isnull().all()
