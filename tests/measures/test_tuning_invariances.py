"""What tuning must not depend on, and the bounds it keeps, whatever the activations."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clntk import task_tuning

fast = settings(max_examples=40, deadline=None)
# zeros and ties are drawn often; scales are those of activations
activation = st.one_of(
    st.just(0.0), st.integers(-3, 3).map(float), st.floats(-100, 100, allow_subnormal=False)
)
seeds = st.integers(0, 2**32 - 1)
# nothing that the order of examples may change: ties for the first task, and which permutations are drawn
POINT = [
    "mean_activation",
    "selectivity",
    "active_tasks",
    "task_only",
    "mixed",
    "dead",
    "mutual_information",
    "lifetime_sparseness",
]


@st.composite
def experiments(draw):
    """Code, task labels, and stimuli or none."""
    n_examples, n_units = draw(st.integers(3, 12)), draw(st.integers(1, 4))
    code = draw(arrays(float, (n_examples, n_units), elements=activation))
    tasks = [
        "a",
        "b",
        *draw(st.lists(st.sampled_from("abc"), min_size=n_examples - 2, max_size=n_examples - 2)),
    ]
    few = st.lists(st.integers(0, 4), min_size=n_examples, max_size=n_examples)
    return code, tasks, draw(st.one_of(st.none(), few))


def tuned(code, tasks, stimuli, null=19, **options):
    return task_tuning(code, tasks, stimuli=stimuli, null=null, **options)


@fast
@given(experiments(), st.integers(-20, 20))
def test_all_but_the_means_is_blind_to_the_scale_of_activations(drawn, exponent):
    code, *labels = drawn
    before, after = tuned(code, *labels), tuned(code * 2.0**exponent, *labels)
    xr.testing.assert_allclose(
        after.drop_vars("mean_activation"), before.drop_vars("mean_activation"), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_array_equal(after.mean_activation, before.mean_activation * 2.0**exponent)


@pytest.mark.parametrize("size", [1e-158, 1e-300, 1e150])
def test_squares_of_very_small_and_very_large_activity(size):
    code = np.array([[0.0, 1.0], [1.0, 2.0], [0.0, 1.0], [3.0, 1.0]])
    found, expected = (tuned(code * s, ["a", "a", "b", "b"], None) for s in (size, 1.0))
    for name in ("task_variance", "fractional_task_variance", "d_prime", "lifetime_sparseness"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


@fast
@given(experiments(), st.floats(1e-3, 1e3))
def test_selectivity_and_its_p_are_blind_to_any_positive_scale(drawn, scale):
    code, *labels = drawn
    names = ["selectivity", "p", "selectivity_null", "active_tasks"]
    before, after = tuned(code, *labels)[names], tuned(code * scale, *labels)[names]
    xr.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)


@fast
@given(experiments())
def test_a_unit_stands_alone_among_others_and_twice(drawn):
    """All but the call, which counts the other units."""
    code, *labels = drawn
    alone = tuned(code[:, :1], *labels).drop_vars(["unit", "tuned"])
    among = tuned(np.column_stack([code, code[:, 0]]), *labels).drop_vars(["unit", "tuned"])
    xr.testing.assert_identical(among.isel(unit=[-1]), among.isel(unit=[0]))
    xr.testing.assert_allclose(among.isel(unit=[0]), alone, rtol=1e-12, atol=1e-12)


@fast
@given(experiments(), seeds)
def test_the_order_of_examples_does_not_matter(drawn, seed):
    code, tasks, stimuli = drawn
    order = np.random.default_rng(seed).permutation(len(tasks))
    before = tuned(code, tasks, stimuli)
    after = tuned(code[order], [tasks[i] for i in order], stimuli and [stimuli[i] for i in order])
    after = after.sel(eval_task=before.eval_task, other_task=before.other_task)
    xr.testing.assert_allclose(after[POINT], before[POINT], rtol=1e-9, atol=1e-9)


@fast
@given(experiments())
def test_names_of_tasks_and_stimuli_do_not_matter(drawn):
    code, tasks, stimuli = drawn
    renamed = [f"task {ord(t)}" for t in tasks], stimuli and [f"picture {s}" for s in stimuli]
    before, after = tuned(code, tasks, stimuli), tuned(code, *renamed)
    for name in set(before.data_vars) - {"preferred_task"}:
        np.testing.assert_array_equal(after[name], before[name])


@fast
@given(experiments(), st.integers(-50, 50))
def test_information_and_variance_are_blind_to_a_shift(drawn, shift):
    code, *labels = drawn
    code = np.round(code)  # whole numbers are shifted without rounding
    names = ["mutual_information", "task_variance", "fractional_task_variance"]
    before, after = tuned(code, *labels)[names], tuned(code + shift, *labels)[names]
    xr.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-12)


@fast
@given(experiments())
def test_information_sees_only_the_order_of_values(drawn):
    code, *labels = drawn
    code = np.round(code)  # far enough apart that the cube of none meets that of another
    np.testing.assert_array_equal(
        tuned(code**3 - 7, *labels).mutual_information, tuned(code, *labels).mutual_information
    )


@fast
@given(experiments())
def test_indices_keep_their_bounds(drawn):
    code, tasks, stimuli = drawn
    result = tuned(code, tasks, stimuli, outputs=code[:, 0])
    shares = np.unique(tasks, return_counts=True)[1] / len(tasks)
    top = {"lifetime_sparseness": 1, "task_variance": 1, "p": 1, "selectivity_null": 1, "d_prime": np.inf}
    for name, bound in top.items():
        values = result[name].values
        assert (np.isnan(values) | ((values >= 0) & (values <= bound))).all(), name
    assert (result.mutual_information <= -(shares * np.log2(shares)).sum() + 1e-12).all()
    assert (np.isnan(result.p) == result.dead).all()
    assert (result.p.fillna(1) >= 0.05).all()
    assert not (result.tuned & result.dead).any()
    varies = result.task_variance.notnull().any("eval_task")
    assert (result.task_variance.max("eval_task").where(varies, 1) == 1).all()
    fractional = result.fractional_task_variance
    mirrored = fractional.rename(eval_task="other_task", other_task="eval_task").transpose(*fractional.dims)
    np.testing.assert_array_equal(fractional, -mirrored)
    assert (abs(fractional.fillna(0)) <= 1).all()
    assert (abs(result.output_correlation.fillna(0)) <= 1).all()
