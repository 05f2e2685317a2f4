"""What must not change, whatever the numbers: invariances and bounds of the measures."""

import numpy as np
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ortho_group

from clntk.measures.drift import centred_alignment, cosine_distance, relative_change
from clntk.measures.interference import cross_task_overlap
from clntk.measures.laziness import relative_weight_change
from clntk.measures.performance import average_accuracy, backward_transfer, forgetting
from clntk.measures.tuning import task_tuning

fast = settings(max_examples=40, deadline=None)
# zeros and ties are drawn often; scales are those of activations, far from where squares over- or underflow
activation = st.one_of(
    st.just(0.0), st.integers(-3, 3).map(float), st.floats(1e-9, 100), st.floats(-100, -1e-9)
)
seeds = st.integers(0, 2**32 - 1)
GRADED = "selectivity"
EXACT = ["preferred_task", "active_tasks", "task_only", "mixed", "dead"]


@st.composite
def codes(draw):
    n_examples, n_units = draw(st.integers(2, 9)), draw(st.integers(1, 5))
    code = draw(arrays(float, (n_examples, n_units), elements=activation))
    rest = st.lists(st.sampled_from("abc"), min_size=n_examples - 2, max_size=n_examples - 2)
    return code, ["a", "b", *draw(rest)]


def random_psd(seed, n_tasks, n, rank):
    """Kernels of a joint positive semi-definite matrix over all tasks, shape (1, task, task, n, n)."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_tasks, n, rank)) * rng.lognormal(sigma=2, size=(n_tasks, 1, 1))
    return np.einsum("snp,tmp->stnm", features, features)[None]


@fast
@given(codes(), seeds)
def test_tuning_follows_its_unit(drawn, seed):
    code, tasks = drawn
    order = np.random.default_rng(seed).permutation(code.shape[1])
    expected = task_tuning(code, tasks).isel(unit=order).drop_vars("unit")
    xr.testing.assert_identical(task_tuning(code[:, order], tasks).drop_vars("unit"), expected)


@fast
@given(codes(), st.integers(-20, 20))
def test_tuning_is_blind_to_the_scale_of_activations(drawn, exponent):
    code, tasks = drawn
    # a power of two scales without rounding, so that even ties stay ties
    before, after = task_tuning(code, tasks), task_tuning(code * 2.0**exponent, tasks)
    names = [GRADED, *EXACT]
    xr.testing.assert_identical(after[names], before[names])
    np.testing.assert_array_equal(after.mean_activation, before.mean_activation * 2.0**exponent)


@fast
@given(codes(), st.floats(1e-3, 1e3))
def test_selectivity_is_blind_to_any_positive_scale(drawn, scale):
    code, tasks = drawn
    before, after = task_tuning(code, tasks).selectivity, task_tuning(code * scale, tasks).selectivity
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-12)


@fast
@given(codes(), seeds)
def test_tuning_is_blind_to_the_order_of_examples(drawn, seed):
    code, tasks = drawn
    order = np.random.default_rng(seed).permutation(len(tasks))
    before = task_tuning(code, tasks)
    after = task_tuning(code[order], [tasks[i] for i in order])
    np.testing.assert_allclose(after.selectivity, before.selectivity, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        after.mean_activation.sel(eval_task=before.eval_task), before.mean_activation, rtol=1e-9, atol=1e-12
    )
    # the preferred task is left out: among equals it is the first to appear
    for name in EXACT[1:]:
        np.testing.assert_array_equal(after[name], before[name])


@fast
@given(codes())
def test_tuning_indices_are_in_range_and_classes_share_out_the_units(drawn):
    result = task_tuning(*drawn)
    known = result.selectivity.values[~result.dead.values]
    assert ((known >= 0) & (known <= 1)).all()
    assert (np.isnan(result.selectivity) == result.dead).all()
    assert (result.task_only.astype(int) + result.mixed + result.dead == 1).all()
    assert (result.selectivity.where(result.task_only, 1.0) == 1.0).all()
    assert ((result.preferred_task == "") == result.dead).all()


@fast
@given(seeds, st.integers(2, 6), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_kernel_distance_and_alignment_are_blind_to_scale(seed, n, a, b):
    K, K2 = random_psd(seed, 2, n, 3)[0, [0, 1], [0, 1]]
    for pair in (cosine_distance, centred_alignment):
        np.testing.assert_allclose(pair(a * K, b * K2), pair(K, K2), atol=1e-12)
        np.testing.assert_allclose(pair(K, K2), pair(K2, K), atol=1e-12)
        assert -1e-12 <= pair(K, K2) <= 1 + 1e-12


@fast
@given(seeds, st.integers(2, 6))
def test_rotating_the_probes_changes_no_kernel_distance(seed, n):
    K, K2 = random_psd(seed, 2, n, 4)[0, [0, 1], [0, 1]]
    Q = ortho_group.rvs(n, random_state=np.random.default_rng(seed))
    for pair in (cosine_distance, relative_change):
        np.testing.assert_allclose(pair(Q @ K @ Q.T, Q @ K2 @ Q.T), pair(K, K2), rtol=1e-9, atol=1e-12)


@fast
@given(seeds, st.integers(1, 4), st.integers(1, 5), st.integers(1, 12))
def test_cross_task_overlap_is_at_most_one_for_kernels_of_one_network(seed, n_tasks, n, rank):
    names = [f"task{t}" for t in range(n_tasks)]
    kernels = xr.DataArray(
        random_psd(seed, n_tasks, n, rank),
        dims=("checkpoint", "eval_task", "other_task", "probe", "other_probe"),
        coords={"checkpoint": ["init"], "eval_task": names, "other_task": names},
    )
    overlap = cross_task_overlap(kernels).values[0]
    assert (overlap >= 0).all()
    assert (overlap <= 1 + 1e-12).all()
    np.testing.assert_allclose(overlap, overlap.T, rtol=1e-12)
    assert (np.diagonal(overlap) == 1.0).all()


@fast
@given(arrays(float, (4, 3), elements=st.floats(0, 1)), arrays(bool, (4, 3)))
def test_performance_is_bounded_by_the_accuracies_it_is_made_of(accuracy, trained):
    trained[0, 0] = True
    metrics = xr.Dataset(
        {
            "test_accuracy": (("checkpoint", "eval_task"), np.vstack([np.full(3, 7.0), accuracy])),
            "trained": (("checkpoint", "eval_task"), np.vstack([np.zeros(3, bool), trained])),
        },
        coords={"checkpoint": ["init", "a", "b", "c", "d"], "eval_task": ["x", "y", "z"]},
    )
    average = average_accuracy(metrics).values
    assert (average >= accuracy.min(axis=1) - 1e-12).all()
    assert (average <= accuracy.max(axis=1) + 1e-12).all()
    lost, gained = forgetting(metrics).values, backward_transfer(metrics).values
    assert (np.isnan(lost) == np.isnan(gained)).all()
    known = ~np.isnan(lost)
    assert (np.abs(lost[known]) <= 1).all()
    # the best earlier accuracy is no worse than the first, so forgetting is at least the loss since then
    assert (lost[known] >= -gained[known] - 1e-12).all()


@fast
@given(seeds, st.integers(-10, 10))
def test_weight_change_is_blind_to_rotations_and_scale_of_all_weights(seed, exponent):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(3, 4))
    Q = ortho_group.rvs(4, random_state=rng)

    def change(values):
        facts = xr.Dataset({"w": (("checkpoint", "in"), values)}, coords={"checkpoint": ["init", "a", "b"]})
        return relative_weight_change(facts).sel(param="all").values

    np.testing.assert_allclose(change(2.0**exponent * w @ Q), change(w), rtol=1e-9, atol=1e-12)
