"""Representational similarity against loops and statsmodels, and codes that are exactly one of the models."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import ortho_group, zscore

from clntk import registry
from clntk.errors import DataError
from clntk.measures.dissimilarity import rdm, rdm_regression
from clntk.measures.rsa import model_codes, rsa
from clntk.measures.summary import scalars

NAMES = ["grid", "orthogonal", "parallel", "diagonal"]
# the 50 conditions of Flesch et al. 2022: context A goes by the column, context B by the row
ROW, COLUMN = np.repeat(np.arange(-2.0, 3), 5), np.tile(np.arange(-2.0, 3), 5)
FEATURES = {"A": np.tile(COLUMN, 2), "B": np.tile(ROW, 2)}
CONTEXTS = ["A"] * 25 + ["B"] * 25


def models(offset=1.0, names=NAMES):
    codes = model_codes(FEATURES, CONTEXTS, offset=offset)
    return {name: rdm(codes[name]) for name in names}


def in_units(code, n_units=20, seed=0):
    """The same distances, in other units and about another point."""
    rng = np.random.default_rng(seed)
    turn = ortho_group.rvs(n_units, random_state=rng)[: code.shape[1]]
    return code @ turn + rng.normal(size=n_units)


def test_distances_by_loops():
    code = np.random.default_rng(0).normal(size=(6, 4))
    euclidean, correlation = rdm(code), rdm(code, metric="correlation")
    for i in range(6):
        for j in range(6):
            gap = math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(code[i], code[j], strict=True)))
            assert euclidean[i, j] == pytest.approx(gap, abs=1e-12)
            assert correlation[i, j] == pytest.approx(1 - np.corrcoef(code[i], code[j])[0, 1], abs=1e-12)


def test_a_flat_pattern_correlates_with_nothing():
    distances = rdm([[1.0, 2, 4], [0.1, 0.1, 0.1], [3, 1, 1]], metric="correlation")
    np.testing.assert_array_equal(np.isnan(distances), [[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert np.isnan(rdm([[1.0], [2.0]], metric="correlation")[0, 1])
    np.testing.assert_array_equal(rdm([[1.0, 2.0]]), [[0.0]])


@pytest.mark.parametrize("offset", [0.0, 1.0, 2.5])
def test_distances_in_the_model_codes_by_their_definition(offset):
    """On every pair of conditions, with the planes of the original written out: (x, y, context)."""
    found = models(offset)
    for i in range(50):
        for j in range(50):
            (r, c), (r2, c2) = ((ROW[k % 25], COLUMN[k % 25]) for k in (i, j))
            first, second = i < 25, j < 25
            apart = offset * (first != second)
            own, own2 = (c if first else r), (c2 if second else r2)
            axes, axes2 = (np.array([v, 0] if f else [0, v]) for v, f in ((own, first), (own2, second)))
            expected = {
                "grid": math.hypot(r - r2, c - c2, apart),
                "orthogonal": math.hypot(*(axes - axes2), apart),
                "parallel": math.hypot(own - own2, apart),
                "diagonal": math.hypot((r + c - r2 - c2) / math.sqrt(2), apart),
            }
            for name in NAMES:
                assert found[name][i, j] == pytest.approx(expected[name], abs=1e-12), (name, i, j)


def test_three_contexts_are_equally_far_apart():
    codes = model_codes(dict.fromkeys("xyz", np.zeros(3)), ["y", "x", "z"], offset=2.0)
    for code in codes.values():
        np.testing.assert_allclose(rdm(code), 2 * (1 - np.eye(3)))


@pytest.mark.parametrize("seed", range(3))
def test_the_regression_is_ordinary_least_squares_on_z_scores(seed):
    rng = np.random.default_rng(seed)
    observed = rdm(rng.normal(size=(50, 8)) + 2 * FEATURES["A"][:, None])
    X = np.stack([zscore(m[np.tril_indices(50, -1)]) for m in models().values()], axis=1)
    reference = sm.OLS(zscore(observed[np.tril_indices(50, -1)]), sm.add_constant(X)).fit()
    result = rdm_regression(observed, models())
    np.testing.assert_allclose(result.beta, reference.params[1:], rtol=1e-9)
    assert result.r_squared == pytest.approx(reference.rsquared, rel=1e-9)
    assert list(result.model.values) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chosen", [NAMES, NAMES[:3]])
def test_a_code_that_is_a_model_has_weight_one_on_it(name, chosen):
    code = in_units(model_codes(FEATURES, CONTEXTS)[name] * 0.03)
    result = rdm_regression(rdm(code), models(names=[*dict.fromkeys([*chosen, name])]))
    assert result.r_squared == pytest.approx(1)
    for model in result.model.values:
        assert result.beta.sel(model=model) == pytest.approx(float(model == name), abs=1e-9)


def test_a_model_of_ones_own():
    circle = np.stack([np.cos(np.arange(50)), np.sin(np.arange(50))], axis=1)
    result = rdm_regression(rdm(in_units(circle)), {**models(), "circle": rdm(circle)})
    np.testing.assert_allclose(result.beta, [0, 0, 0, 0, 1], atol=1e-9)


def test_a_code_that_knows_nothing_has_little_weight():
    rng = np.random.default_rng(0)
    betas = [rdm_regression(rdm(rng.normal(size=(50, 100))), models()).beta for _ in range(20)]
    assert np.abs(np.mean(betas, axis=0)).max() < 0.05


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_it_is_blind_to_rotation_scale_order_and_copies(seed, scale):
    rng = np.random.default_rng(seed)
    code = rng.normal(size=(50, 6)) + FEATURES["A"][:, None]
    expected = rdm_regression(rdm(code), models())
    changed = {
        "rotation": code @ ortho_group.rvs(6, random_state=rng),
        "scale": scale * code,
        "shift": code + rng.normal(size=6),
        "unit order": code[:, rng.permutation(6)],
        "duplicate units": np.hstack([code, code]),
    }
    for name, other in changed.items():
        result = rdm_regression(rdm(other), models())
        np.testing.assert_allclose(result.beta, expected.beta, atol=1e-8, err_msg=name)
    order = rng.permutation(50)
    codes = model_codes({c: f[order] for c, f in FEATURES.items()}, np.array(CONTEXTS)[order])
    result = rdm_regression(rdm(code[order]), {name: rdm(codes[name]) for name in NAMES})
    np.testing.assert_allclose(result.beta, expected.beta, atol=1e-8)


def test_equal_or_unknown_distances_have_no_weights():
    simplex = rdm(in_units(np.eye(50), n_units=60))  # equal but for rounding
    for observed in (np.zeros((50, 50)), simplex, rdm(np.ones((50, 3)), metric="correlation")):
        result = rdm_regression(observed, models())
        assert result.beta.isnull().all()
        assert result.r_squared.isnull()


SQUARE = rdm(np.random.default_rng(0).normal(size=(4, 3)))


@pytest.mark.parametrize(
    ("observed", "chosen", "message"),
    [
        (SQUARE, {}, "models: expected at least one model RDM, found none"),
        (SQUARE[:3], {"m": SQUARE}, r"observed: expected a symmetric matrix .* found shape \(3, 4\)"),
        (np.triu(SQUARE), {"m": SQUARE}, "observed: expected a symmetric matrix"),
        (SQUARE[:1, :1], {"m": SQUARE}, r"observed: .*between two examples or more, found shape \(1, 1\)"),
        (SQUARE, {"m": SQUARE[:3, :3]}, "model 'm': expected distances of 6 pairs of examples, .* found 3"),
        (SQUARE, {"m": 1 - np.eye(4)}, "model 'm': expected finite distances that are not all equal"),
        (SQUARE, {"m": np.full((4, 4), np.nan)}, "model 'm': expected finite distances"),
        (
            SQUARE,
            {"a": SQUARE, "b": 2 * SQUARE},
            "models: .*none of which is a combination .* found a, b on 6 pairs",
        ),
    ],
)
def test_errors_name_the_place_and_the_finding(observed, chosen, message):
    with pytest.raises(DataError, match=f"rdm_regression, {message}"):
        rdm_regression(observed, chosen)


def test_more_errors():
    with pytest.raises(DataError, match="metric: expected 'euclidean' or 'correlation', found 'cosine'"):
        rdm(SQUARE, metric="cosine")
    with pytest.raises(DataError, match=r"rdm, activations: .* found 1 NaN"):
        rdm([[np.nan, 1.0], [0.0, 1.0]])
    with pytest.raises(DataError, match=r"features: expected two contexts or more, .* found {'A': \(50,\)}"):
        model_codes({"A": FEATURES["A"]}, CONTEXTS)
    with pytest.raises(DataError, match=r"a feature of 49 examples, found {'A': \(50,\), 'B': \(50,\)}"):
        model_codes(FEATURES, CONTEXTS[:-1])
    with pytest.raises(DataError, match="contexts: expected A, B, as in features, found C, None besides"):
        model_codes(FEATURES, [*CONTEXTS[:-2], "None", "C"])
    with pytest.raises(DataError, match=r"model_codes, features: .* found 50 NaN or infinite"):
        model_codes({"A": FEATURES["A"], "B": np.full(50, np.nan)}, CONTEXTS)


def blob_codes(blob_probes, **options):
    column, row = blob_probes.targets.values[..., 0]
    return model_codes({"A": np.tile(column, 2), "B": np.tile(row, 2)}, ["A"] * 9 + ["B"] * 9, **options)


def blob_facts(make_activations, blob_probes):
    """A network that is a grid at first, and orthogonal at the end of training."""
    facts = make_activations({"first": 6, "second": 9}, n_checkpoints=2, n_tasks=2, n=9)
    codes = blob_codes(blob_probes)
    for layer in facts.values():
        for k, name in enumerate(("grid", "orthogonal")):
            layer.values[k] = in_units(codes[name], layer.sizes["unit"]).reshape(2, 9, -1)
    facts["second"] = facts["second"].transpose("unit", ...)
    return facts


def test_the_measure_sees_a_grid_become_orthogonal(make_activations, blob_probes):
    result = rsa(blob_facts(make_activations, blob_probes), blob_probes)
    assert result.beta.dims == ("checkpoint", "layer", "model")
    assert list(result.model.values) == ["grid", "orthogonal", "parallel"]
    assert "eval_task" not in result.coords
    expected = np.zeros((2, 2, 3))
    expected[0, :, 0] = expected[1, :, 1] = 1
    np.testing.assert_allclose(result.beta, expected, atol=1e-5)
    np.testing.assert_allclose(result.r_squared, 1, rtol=1e-5)
    found = scalars("rsa", result, registry.get("measure", "rsa").traits["scalar"])
    assert list(found) == ["rsa.grid", "rsa.orthogonal", "rsa.parallel", "rsa.r_squared"]
    assert found["rsa.orthogonal"] == pytest.approx(1, abs=1e-5)


def test_options_reach_the_regression(make_activations, blob_probes):
    facts = blob_facts(make_activations, blob_probes)
    entry = registry.get("measure", "rsa")
    mine = np.random.default_rng(0).normal(size=(18, 2))
    options = {"models": ["diagonal", "grid"], "own": {"task": mine.tolist()}, "metric": "correlation"}
    result = entry(facts, blob_probes, offset=2.0, **options)
    codes = blob_codes(blob_probes, offset=2.0)
    chosen = {"diagonal": rdm(codes["diagonal"]), "grid": rdm(codes["grid"]), "task": rdm(mine)}
    observed = rdm(facts["first"].values[1].reshape(18, -1), metric="correlation")
    xr.testing.assert_allclose(
        result.isel(checkpoint=1, layer=0).reset_coords(drop=True), rdm_regression(observed, chosen)
    )
    found = scalars("rsa", result, entry.traits["scalar"])
    assert list(found) == ["rsa.diagonal", "rsa.grid", "rsa.task", "rsa.r_squared"]
    for wrong in ({"models": ["spiral"]}, {"offset": -1.0}, {"metric": "cosine"}):
        with pytest.raises(ValidationError):
            entry.check(wrong)


def test_without_shared_stimuli_only_models_of_ones_own_have_weights(make_activations, make_probes):
    facts = make_activations({"hidden": 5}, n_tasks=2, n=9)
    rng = np.random.default_rng(0)
    probes = make_probes(rng.normal(size=(2, 9, 4)), rng.integers(0, 3, size=(2, 9)))
    nothing = rsa(facts, probes)
    assert nothing.to_array().isnull().all()
    assert list(nothing.model.values) == ["grid", "orthogonal", "parallel"]
    mine = rng.normal(size=(18, 2)).tolist()
    result = rsa(facts, probes, own={"mine": mine})
    np.testing.assert_array_equal(result.beta[2, 0].isnull(), [True, True, True, False])
    alone = rdm_regression(rdm(facts["hidden"].values[2].reshape(18, -1)), {"mine": rdm(mine)})
    assert result.beta[2, 0, 3] == pytest.approx(float(alone.beta[0]))
    assert result.r_squared[2, 0] == pytest.approx(float(alone.r_squared))


def test_the_measure_refuses_models_that_do_not_fit(make_activations, blob_probes):
    facts = make_activations({"hidden": 5}, n_tasks=2, n=9)
    for name in ("grid", "diagonal", "r_squared"):
        with pytest.raises(DataError, match=f"rsa, own: .* found {name}; rename"):
            rsa(facts, blob_probes, own={name: np.eye(18).tolist()})
    for rows, found in (
        ([[1.0], [1.0, 2.0]], r"2 rows of lengths \[1, 2\]"),
        ([], r"0 rows of lengths \[\]"),
    ):
        with pytest.raises(DataError, match=f"rsa, own.mine: expected one row an example, .* found {found}"):
            rsa(facts, blob_probes, own={"mine": rows})
    with pytest.raises(DataError, match="model 'mine': expected distances of 153 pairs of examples"):
        rsa(facts, blob_probes, own={"mine": [[1.0], [2.0], [4.0]]})


def test_a_dead_layer_is_nan(make_activations, blob_probes):
    facts = make_activations({"hidden": 5}, n_tasks=2, n=9)
    facts["hidden"][1] = 0.0
    result = rsa(facts, blob_probes)
    assert result.isel(checkpoint=1).to_array().isnull().all()
    assert result.isel(checkpoint=2).to_array().notnull().all()
