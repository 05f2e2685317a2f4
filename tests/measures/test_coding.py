"""Coding of constructed layers; the dip against a linear programme, decoders and overlaps against loops."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clntk import registry
from clntk.errors import DataError
from clntk.measures.bimodality import dip, dip_test
from clntk.measures.coding import breadth, coding, jaccard, jaccard_by_chance, top_unit_overlap, top_units
from clntk.measures.sparse_decoding import PATH, decoding_path, units_needed, units_to_decode_task
from clntk.measures.summary import scalars

fast = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**32 - 1)
KINDS = ("uniform", "normal", "tied", "two", "skewed", "atoms")


def sample(seed, n, kind):
    rng = np.random.default_rng(seed)
    return {
        "uniform": lambda: rng.random(n),
        "normal": lambda: rng.normal(size=n),
        "tied": lambda: rng.integers(0, 4, n) / 3,
        "two": lambda: np.r_[rng.random(n // 2) * 0.1, 1 - rng.random(n - n // 2) * 0.1],
        "skewed": lambda: rng.random(n) ** 4,
        "atoms": lambda: np.where(rng.random(n) < 0.5, rng.integers(0, 2, n), rng.random(n)),
    }[kind]()


# --- bimodality -------------------------------------------------------------------------------------------


def dip_by_programme(values):
    """The least d so that a unimodal distribution function lies within d of the sample's, over all modes."""
    x, counts = np.unique(values, return_counts=True)
    above = np.cumsum(counts) / len(values)
    below, m = above - counts / len(values), len(x)
    return min(_least(x, below, above, mode) for mode in range(m)) if m > 1 else 0.0


def _least(x, below, above, mode):
    m, n = len(x), len(x) + 2  # values up to the mode, values from the mode on (it may jump there), and d
    rows, bounds = [], []

    def at(i, side):
        return i if side == "left" else i + 1

    def demand(terms, bound):
        row = np.zeros(n)
        for position, weight in terms:
            row[position] += weight
        rows.append(row)
        bounds.append(bound)

    def slope(i, side):
        width = x[i + 1] - x[i]
        return np.array([(at(i + 1, side), 1 / width), (at(i, side), -1 / width)])

    for i in range(m):
        side = "left" if i < mode else "right"
        if i != mode:
            demand([(at(i, side), 1), (n - 1, -1)], below[i])
            demand([(at(i, side), -1), (n - 1, -1)], -above[i])
    demand([(at(mode, "left"), 1), (n - 1, -1)], below[mode])
    demand([(at(mode, "right"), -1), (n - 1, -1)], -above[mode])
    demand([(at(mode, "right"), 1), (n - 1, -1)], above[mode])
    for i in range(m):
        demand([(i, 1), (i + 1, -1)], 0)  # ascending, over the jump too
    for i in range(m - 2):
        side = "left" if i + 2 <= mode else "right" if i >= mode else None
        if side is not None:  # convex before the mode, concave after it
            first, second = slope(i, side), slope(i + 1, side)
            turned = 1 if side == "left" else -1
            demand([(int(p), turned * w) for p, w in first] + [(int(p), -turned * w) for p, w in second], 0)
    cost = np.zeros(n)
    cost[-1] = 1
    return linprog(cost, A_ub=np.array(rows), b_ub=bounds, bounds=[(0, 1)] * (n - 1) + [(0, None)]).fun


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 5, 8, 13])
def test_the_dip_is_the_distance_from_the_nearest_unimodal_function(kind, n):
    for seed in range(3):
        values = sample(seed, n, kind)
        assert dip(values) == pytest.approx(dip_by_programme(values), abs=1e-8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(10), 0.05),  # as even as ten values can be
        ([0.0] * 5 + [1.0] * 5, 0.25),  # as far apart as two modes can be
        ([0.0] * 30 + [1.0] * 10, 0.125),
        ([3.0] * 7, 0.0),
        ([3.0], 0.0),
        ([], np.nan),
    ],
)
def test_dips_that_are_known(values, expected):
    np.testing.assert_allclose(dip(np.array(values)), expected)


@given(seeds, st.integers(2, 60), st.sampled_from(KINDS), st.floats(0.01, 100), st.floats(-5, 5))
@fast
def test_the_dip_is_blind_to_order_scale_and_direction(seed, n, kind, scale, shift):
    values = sample(seed, n, kind)
    found = dip(values)
    assert found == 0 or 1 / (2 * n) - 1e-12 <= found <= 0.25 + 1e-12
    np.testing.assert_allclose(dip(np.random.default_rng(1).permutation(values)), found)
    np.testing.assert_allclose(dip(-values), found, atol=1e-9)
    np.testing.assert_allclose(
        dip(np.repeat(values, 3)), found if len(set(values)) < n else dip(np.repeat(values, 3))
    )
    if len(np.unique(scale * values + shift)) == len(np.unique(values)):
        np.testing.assert_allclose(dip(scale * values + shift), found, atol=1e-6)


@pytest.mark.parametrize("kind", ["uniform", "skewed", "beta"])
def test_one_mode_however_skewed_is_hardly_ever_taken_for_two(kind):
    rng = np.random.default_rng(0)
    draw = {
        "uniform": lambda: rng.random(100),
        "skewed": lambda: rng.exponential(size=100),
        "beta": lambda: beta(1, 6).rvs(100, random_state=rng),
    }[kind]
    p = np.array([dip_test(draw(), draws=400)[1] for _ in range(200)])
    assert (p <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    if kind == "uniform":  # the null itself: nominal, or a little below, since n is rounded up
        assert (p <= 0.2).mean() >= 0.2 - 4 * np.sqrt(0.2 * 0.8 / 200)


def test_two_modes_are_found():
    rng = np.random.default_rng(0)
    apart = np.concatenate([beta(2, 12).rvs(60, random_state=rng), beta(12, 2).rvs(60, random_state=rng)])
    assert dip_test(apart, draws=400)[1] == 1 / 401


def test_few_values_have_no_p():
    assert dip_test(np.array([0.0, 0.5, 1.0])) == (pytest.approx(1 / 6), pytest.approx(np.nan, nan_ok=True))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="expected finite values, found 2 that are not"):
        dip([0.0, np.nan, np.inf])


# --- constructed layers -----------------------------------------------------------------------------------

TASKS = 4


def layer_of(*checkpoints):
    """A layer from its responses at each checkpoint, (task, probe, unit)."""
    labels = ["init", *(f"task{k}" for k in range(1, len(checkpoints)))]
    coords = {
        "checkpoint": labels,
        "step": ("checkpoint", np.arange(len(labels))),
        "task": ("checkpoint", ["", *labels[1:]]),
        "eval_task": [f"task{t}" for t in range(TASKS)],
    }
    return xr.DataArray(
        np.stack(checkpoints), dims=("checkpoint", "eval_task", "probe", "unit"), coords=coords
    )


def responses(tuning, probes=20, noise=0.1, seed=0):
    """Units (task, unit) times what probes add to them, (task, probe, unit); silent where they are zero."""
    rng = np.random.default_rng(seed)
    return np.asarray(tuning, float)[:, None] * (1 + noise * rng.normal(size=(TASKS, probes, len(tuning[0]))))


ONE_EACH = np.eye(TASKS).repeat(5, axis=1)
ALIKE = np.ones((TASKS, 20))
DEAD = np.zeros((TASKS, 20))


def test_a_localist_layer():
    found = coding({"a": layer_of(responses(ALIKE), responses(ONE_EACH))}, null=200).isel(
        layer=0, checkpoint=1
    )
    expected = {"one_task": 1, "tuned": 1, "task_only": 1, "dead": 0, "breadth": 1}
    assert {name: found[name].item() for name in expected} == expected
    assert found["dip"] == 0  # all have the same selectivity


def test_a_distributed_layer():
    found = coding({"a": layer_of(responses(ALIKE))}, null=200).isel(layer=0, checkpoint=0)
    expected = {"task_only": 0, "dead": 0, "breadth": TASKS, "one_task": 0}
    assert {name: found[name].item() for name in expected} == expected


def test_units_of_two_tasks_are_tuned_but_not_to_one():
    pairs = np.array([[1.0, 1, 0, 0]] * 10).T
    found = coding({"a": layer_of(responses(pairs))}, null=200).isel(layer=0, checkpoint=0)
    assert (found["tuned"], found["one_task"], found["breadth"]) == (1, 0, 2)


def test_half_localist_half_distributed_has_two_modes():
    rng = np.random.default_rng(0)
    graded = ALIKE + 0.1 * rng.random(ALIKE.shape)
    weak = np.where(ONE_EACH > 0, 1, 0.05 * rng.random(ONE_EACH.shape))
    mixed = layer_of(responses(np.hstack([weak, graded])), responses(np.hstack([weak, DEAD])))
    found = coding({"a": mixed}, null=200).isel(layer=0)
    assert found["dip_p"].values[0] == 1 / 201
    assert found["one_task"].values.tolist() == [0.5, 0.5]
    assert found["dead"].values.tolist() == [0, 0.5]
    assert found["breadth"].values[1] == 1  # dead units have none


def test_a_dead_layer():
    found = coding({"a": layer_of(DEAD[:, None].repeat(3, axis=1))}, null=10).isel(layer=0, checkpoint=0)
    assert found["dead"] == 1
    assert found["one_task"] == found["tuned"] == 0
    assert np.isnan([found[name] for name in ("breadth", "dip", "dip_p")]).all()


def test_negative_activations_count_as_silence():
    raised = responses(ONE_EACH) - 5 * (1 - ONE_EACH[:, None])
    found = coding({"a": layer_of(raised)}, null=200).isel(layer=0, checkpoint=0)
    assert (found["one_task"], found["task_only"]) == (1, 1)


def test_a_response_is_the_rectified_mean():
    """A unit at +1 and −1 in one task responds more there than in another where it is at .3 throughout."""
    values = np.zeros((TASKS, 10, 2))
    values[0, :, 0], values[1, :, 0], values[2, :, 1] = np.tile([1, -1], 5), 0.3, 0.2
    assert coding({"a": layer_of(values)}, null=20)["breadth"].item() == 1.5
    overlap = top_unit_overlap({"a": layer_of(values)}, share=0.5)["overlap"].values[0, 0]
    assert overlap[0, 1] == 1
    assert overlap[0, 2] == 0


def test_layers_and_checkpoints_are_labelled(make_activations):
    activations = make_activations({"a": 7, "b": 5})
    found = coding(activations, null=50)
    assert dict(found.sizes) == {"checkpoint": 3, "layer": 2}
    alone = coding({"b": activations["b"]}, null=50)
    xr.testing.assert_allclose(found.sel(layer=["b"]), alone)
    assert found.step.values.tolist() == [0, 3, 6]


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_coding_is_blind_to_the_order_and_scale_of_units(seed):
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.normal(size=(TASKS, 8, 12)), 0)
    first = coding({"a": layer_of(values)}, null=50)
    turned = values[..., rng.permutation(12)] * 2.0 ** rng.integers(-3, 3, 12)
    xr.testing.assert_allclose(coding({"a": layer_of(turned)}, null=50), first)


def test_breadth_counts_half_maxima():
    mean = np.array([[1.0, 1, 0, 0.2], [0.5, 0.49, 0, 0.2], [0, 0.3, 0, 0.2]])
    assert breadth(mean).tolist() == [2, 1, 0, 3]


# --- overlap of top units ---------------------------------------------------------------------------------


def test_top_units_are_those_that_respond_most_with_ties_and_without_silent_ones():
    mean = np.array([[3.0, 2, 2, 1, 0], [0, 0, 1, 0, 0]])
    assert top_units(mean, 0.4).tolist() == [
        [True, True, True, False, False],
        [False, False, True, False, False],
    ]
    assert top_units(mean, 0.01)[0].tolist() == [True, False, False, False, False]
    assert top_units(np.zeros((2, 3)), 0.5).sum() == 0


@given(seeds)
@fast
def test_jaccard_against_sets(seed):
    members = np.random.default_rng(seed).random((4, 9)) < 0.3
    sets = [set(np.flatnonzero(row)) for row in members]
    found = jaccard(members)
    for s, t in np.ndindex(4, 4):
        union = sets[s] | sets[t]
        expected = len(sets[s] & sets[t]) / len(union) if union else np.nan
        np.testing.assert_allclose(found[s, t], expected)


def test_overlap_by_chance_against_random_sets():
    rng = np.random.default_rng(0)
    sizes = np.array([3, 5, 0])
    drawn = [
        jaccard(np.stack([np.isin(np.arange(12), rng.choice(12, k, replace=False)) for k in sizes]))
        for _ in range(4000)
    ]
    found = jaccard_by_chance(sizes, 12)
    assert found[0, 1] == pytest.approx(np.mean(drawn, axis=0)[0, 1], abs=0.01)
    assert found[0, 2] == 0
    assert np.isnan(found[2, 2])
    assert jaccard_by_chance(np.array([12, 12]), 12)[0, 1] == 1


def test_overlap_of_localist_and_distributed_layers():
    weights = 1 + np.arange(20) / 20
    layer = layer_of(responses(ALIKE * weights, noise=0), responses(ONE_EACH))
    found = top_unit_overlap({"a": layer}, share=0.25)
    np.testing.assert_array_equal(found["overlap"].values[0, 0], 1)
    np.testing.assert_array_equal(found["overlap"].values[1, 0], np.eye(TASKS))
    assert scalars("x", found, registry.get("measure", "top_unit_overlap").traits["scalar"])["x.overlap"] == 0


# --- units needed to decode -------------------------------------------------------------------------------


def test_accuracy_along_the_path_is_that_of_scikit_learns_pipeline():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 14)
    code = rng.normal(size=(42, 6)) + 1.2 * np.eye(3)[labels] @ rng.normal(size=(3, 6))
    units, accuracy = decoding_path(code, labels, folds=3, seed=1)
    folds = StratifiedKFold(3, shuffle=True, random_state=1)
    for k in (4, 8, 12):
        machine = LogisticRegression(
            l1_ratio=1.0, solver="liblinear", C=PATH[k], class_weight="balanced", random_state=1
        )
        decoder = make_pipeline(StandardScaler(), OneVsRestClassifier(machine))
        scores = cross_val_score(decoder, code, labels, cv=folds, scoring="balanced_accuracy")
        assert accuracy[k] == pytest.approx(scores.mean())
        read = [
            sum(
                any(e.coef_[0, u] != 0 for e in decoder.fit(code[train], labels[train])[-1].estimators_)
                for u in range(6)
            )
            for train, _ in folds.split(code, labels)
        ]
        assert units[k] == pytest.approx(np.mean(read))
    assert units[0] == 0


def test_one_unit_tells_two_tasks_apart_where_one_says_it_all():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    code = rng.normal(size=(60, 12))
    code[:, 3] = 8.0 * labels
    units, accuracy = decoding_path(code, labels)
    assert units_needed(units, accuracy, 0.95, 0.5) == 1
    spread = rng.normal(size=(60, 12)) + 0.9 * labels[:, None]
    units, accuracy = decoding_path(spread, labels)
    assert units_needed(units, accuracy, 0.95, 0.5) >= 4


def test_units_needed_are_the_fewest_that_go_far_enough():
    units, accuracy = np.array([0.0, 2, 5, 9]), np.array([0.25, 0.7, 0.9, 1.0])
    assert units_needed(units, accuracy, 0.5, 0.25) == 2
    assert units_needed(units, accuracy, 0.65, 0.25) == 5  # .65 of the way is to .74
    assert units_needed(units, accuracy, 1.0, 0.25) == 9
    assert np.isnan(units_needed(units, np.full(4, 0.25), 0.9, 0.25))


def test_a_localist_layer_needs_fewer_units_than_a_distributed_one():
    rng = np.random.default_rng(0)
    spread = rng.random((TASKS, 20)) * 0.5 + 1
    one = np.hstack([np.eye(TASKS), ALIKE[:, TASKS:]])
    layer = layer_of(responses(spread, noise=0.25, seed=1), responses(one))
    found = units_to_decode_task({"a": layer}).isel(layer=0)
    assert found["units"].values[1] <= TASKS
    assert found["units"].values[0] > found["units"].values[1]
    assert found["share"].values[1] == found["units"].values[1] / 20
    assert found["accuracy"].values[1] == 1
    silent = units_to_decode_task({"a": layer_of(DEAD[:, None].repeat(6, axis=1))}).isel(
        layer=0, checkpoint=0
    )
    assert np.isnan(silent["units"])
    assert silent["accuracy"] == 1 / TASKS


def test_ends_are_the_first_and_the_last_checkpoint(make_activations):
    activations = make_activations({"a": 3}, n_checkpoints=3, n_tasks=2)
    ends, every = (units_to_decode_task(activations, checkpoints=c) for c in ("ends", "every"))
    assert ends.checkpoint.values.tolist() == ["init", "phase2"]
    xr.testing.assert_identical(ends, every.isel(checkpoint=[0, 2]))


@pytest.mark.parametrize(
    ("code", "labels", "message"),
    [
        (np.ones((4, 2)), [0, 0, 0, 0], "expected at least two tasks, found 1"),
        (np.ones((3, 2)), [0, 0, 1], "expected at least two examples of each.*found one of '1'"),
        (np.full((4, 2), np.nan), [0, 0, 1, 1], "expected finite activations"),
        (np.ones((4, 2)), [0, 1], "expected 4 labels"),
    ],
)
def test_what_cannot_be_decoded_is_refused(code, labels, message):
    with pytest.raises(DataError, match=message):
        decoding_path(code, labels)
