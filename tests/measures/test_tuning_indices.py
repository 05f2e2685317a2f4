"""d′, information, task variance, sparseness and output correlation: loops, scikit-learn, and known codes."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mutual_info_score

from clntk import task_tuning
from clntk.errors import DataError
from clntk.measures.tuning.information import mutual_information
from clntk.measures.tuning.inputs import design_of

ABC = np.repeat(["a", "b", "c"], 40)


def tuned(activations, tasks=ABC, **options):
    return task_tuning(activations, tasks, **{"null": 0, **options})


def noisy_code(seed=0, sizes=(7, 25, 12, 16), n_units=12):
    """Units with mass at zero, of different means by task; task 3 of four comes first."""
    rng = np.random.default_rng(seed)
    tasks = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    means = rng.normal(size=(len(sizes), n_units))
    return rng.normal(size=(len(tasks), n_units)) + means[tasks], tasks.tolist()


def parts(column, tasks, order):
    return [
        [float(a) for a, label in zip(column, tasks, strict=True) if str(label) == task] for task in order
    ]


# --- against loops ----------------------------------------------------------------------------------------


def loop_d_prime(groups):
    groups = [[max(a, 0.0) for a in group] for group in groups]
    means = [statistics.fmean(group) for group in groups]
    best = means.index(max(means))
    rest = [i for i in range(len(groups)) if i != best]
    within = statistics.fmean(statistics.variance(groups[i]) for i in rest)
    between = statistics.pvariance([means[i] for i in rest])
    noise = math.sqrt((statistics.variance(groups[best]) + within + between) / 2)
    return (means[best] - statistics.fmean(means[i] for i in rest)) / noise


def loop_sparseness(column):
    r = [max(a, 0.0) for a in column]
    n = len(r)
    return (1 - (sum(r) / n) ** 2 / (sum(a * a for a in r) / n)) / (1 - 1 / n)


@pytest.mark.parametrize("seed", range(3))
def test_indices_against_loops_over_units_and_tasks(seed):
    code, tasks = noisy_code(seed)
    result = tuned(code, tasks)
    order = list(result.eval_task.values)
    for unit, column in enumerate(code.T):
        groups, row = parts(column, tasks, order), result.isel(unit=unit)
        assert row.d_prime == pytest.approx(loop_d_prime(groups), rel=1e-10)
        assert row.lifetime_sparseness == pytest.approx(loop_sparseness(column), rel=1e-10)
        variances = [statistics.variance(group) for group in groups]
        np.testing.assert_allclose(row.task_variance, np.array(variances) / max(variances), rtol=1e-10)
        for a, one in zip(order, variances, strict=True):
            for b, other in zip(order, variances, strict=True):
                fractional = row.fractional_task_variance.sel(eval_task=a, other_task=b)
                assert fractional == pytest.approx((one - other) / (one + other), rel=1e-9, abs=1e-12)


def test_repeats_of_a_stimulus_are_averaged_for_variance_and_sparseness():
    code, tasks = noisy_code(sizes=(30, 50, 40))
    stimuli = np.random.default_rng(1).integers(
        0, 6, len(tasks)
    )  # unequal repeats, every stimulus in every task
    result, plain = tuned(code, tasks, stimuli=stimuli), tuned(code, tasks)
    cells = pd.DataFrame({"task": [str(t) for t in tasks], "stimulus": stimuli})
    for unit, column in enumerate(code.T):
        averaged = cells.assign(a=column).groupby(["task", "stimulus"]).a.mean()
        variances = averaged.groupby("task").var()[list(result.eval_task.values)]
        np.testing.assert_allclose(result.task_variance[unit], variances / variances.max(), rtol=1e-10)
        responses = cells.assign(a=np.maximum(column, 0)).groupby(["task", "stimulus"]).a.mean()
        assert result.lifetime_sparseness[unit] == pytest.approx(loop_sparseness(responses), rel=1e-10)
    for name in ("mean_activation", "selectivity", "d_prime", "mutual_information", "dead"):
        np.testing.assert_allclose(result[name], plain[name], rtol=1e-12)


# --- mutual information -----------------------------------------------------------------------------------


def reference_information(column, tasks, n_bins):
    """scikit-learn's plug-in estimate on bins of pandas' average ranks, less the bias, in bits."""
    bins = np.floor((pd.Series(column).rank() - 0.5) * n_bins / len(column)).astype(int)
    occupied = len(set(zip(tasks, bins, strict=True))) - len(set(bins)) - len(set(tasks)) + 1
    bits = (mutual_info_score(tasks, bins) - occupied / (2 * len(bins))) / math.log(2)
    shares = pd.Series(tasks).value_counts(normalize=True)
    return min(bits, -(shares * np.log2(shares)).sum())


@pytest.mark.parametrize(
    ("sizes", "n_bins"),
    [((10, 10), 2), ((20, 20), 4), ((7, 25, 12, 16), 3), ((60, 60), 10), ((500, 20, 5), 10)],
)
def test_information_is_that_of_scikit_learn_less_its_bias(sizes, n_bins):
    code, tasks = noisy_code(sizes=sizes)
    code = np.where(code < 0, 0.0, code)
    code[:, 0] = np.round(code[:, 0])  # ties between many
    expected = [reference_information(column, tasks, n_bins) for column in code.T]
    np.testing.assert_allclose(tuned(code, tasks).mutual_information, expected, atol=1e-12)


def test_information_of_codes_that_tell_everything_or_nothing():
    exact = np.repeat(np.eye(3), 40, axis=0)
    result = tuned(np.column_stack([exact, np.repeat([1.0, 2.0, 3.0], 40), np.ones(120)]))
    one_task = -(1 / 3) * math.log2(1 / 3) - (2 / 3) * math.log2(2 / 3)
    expected = [one_task] * 3 + [math.log2(3), 0.0]
    # whether a task is one of three shows in no combination by chance; the bias of 1/2N nats is all that differs
    np.testing.assert_allclose(result.mutual_information, expected, atol=1 / (240 * math.log(2)) + 1e-12)
    assert (result.mutual_information <= math.log2(3)).all()
    assert result.mutual_information[4] == 0.0
    silent_in_one = 1.0 - np.repeat([0.0, 0.0, 1.0], [60, 55, 5])
    assert tuned(silent_in_one[:, None], np.repeat(["a", "b"], [115, 5])).mutual_information > 0.2


def test_information_about_shuffled_tasks_is_zero_on_average():
    rng = np.random.default_rng(0)
    tasks = rng.permutation(np.repeat(list("abcd"), 30))
    found = mutual_information(rng.normal(size=(120, 4000)), design_of(tasks, None, 120, "here"))
    # what is corrected is (24 − 6 − 4 + 1)/240 nats; at five examples a bin and task a tenth of it may stay
    assert abs(found.mean()) < 0.1 * 15 / (240 * math.log(2))


# --- known codes ------------------------------------------------------------------------------------------


def known_codes():
    """localist, distributed, mixed, dead, negative, constant, and of equal means but different variances."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=120)
    noise -= np.repeat(noise.reshape(3, 40).mean(axis=1), 40)  # the means of all tasks are equal
    columns = {
        "localist": np.where(ABC == "b", 1.0, 0.0),
        "distributed": 2.0 + np.tile(noise[:40], 3),
        "mixed": np.select([ABC == "a", ABC == "b"], [3.0, 1.0], 0.0),
        "dead": np.zeros(120),
        "negative": np.select([ABC == "a"], [-1.0], -2.0),
        "constant": np.full(120, 0.1),
        "variances": 10.0 + noise * np.repeat([1.0, 3.0, 0.0], 40),
    }
    return tuned(np.column_stack(list(columns.values()))).assign_coords(unit=list(columns))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("localist", {"selectivity": 1, "d_prime": np.inf, "task_only": 1, "preferred_task": "b"}),
        ("distributed", {"selectivity": 0, "d_prime": 0, "mixed": 1}),
        # the rest is 0 and 1 in equal parts: (3 − ½)/√(½·¼)
        ("mixed", {"selectivity": 2.5 / 3.5, "d_prime": 2.5 / math.sqrt(1 / 8), "active_tasks": 2}),
        ("dead", {"selectivity": np.nan, "d_prime": np.nan, "lifetime_sparseness": np.nan, "dead": 1}),
        ("negative", {"selectivity": np.nan, "d_prime": np.nan, "dead": 1, "preferred_task": ""}),
        ("constant", {"selectivity": 0, "d_prime": 0, "lifetime_sparseness": 0, "mutual_information": 0}),
        ("variances", {"selectivity": 0, "d_prime": 0, "mixed": 1}),
    ],
)
def test_known_codes(unit, expected):
    row = known_codes().sel(unit=unit)
    for name, value in expected.items():
        if name == "preferred_task":
            assert row[name] == value
        else:
            np.testing.assert_allclose(row[name], value, atol=1e-9, err_msg=name)


def test_known_codes_by_variance():
    codes = known_codes()
    flat = ["localist", "mixed", "dead", "negative", "constant"]
    assert codes.sel(unit=flat).task_variance.isnull().all()
    assert codes.sel(unit=flat).fractional_task_variance.isnull().all()
    np.testing.assert_allclose(codes.task_variance.sel(unit="distributed"), [1, 1, 1], rtol=1e-12)
    varied = codes.sel(unit="variances")
    assert varied.task_variance.sel(eval_task="b") == 1
    assert varied.task_variance.sel(eval_task="c") == 0
    assert varied.fractional_task_variance.sel(eval_task="b", other_task="c") == 1
    assert varied.fractional_task_variance.sel(eval_task="c", other_task="b") == -1
    assert varied.mutual_information > 0.3  # what equal means hide
    # the negative side is silence, but it tells of the task
    assert codes.sel(unit="negative").mutual_information == pytest.approx(0.918, abs=0.01)


def test_a_constant_unit_is_constant_whatever_the_numbers_of_examples():
    """The mean of three times 0.1 is not 0.1, which must not pass for a difference between tasks."""
    tasks = np.repeat(["a", "b", "c"], [3, 7, 110])
    steps = np.where(tasks == "b", 0.3, 0.1)
    repeats = np.where(np.arange(120) % 4 == 0, "x", "y")  # 28 and 82 times in c
    for options in ({}, {"stimuli": repeats}):
        result = tuned(np.column_stack([np.full(120, 0.1), steps]), tasks, **options)
        assert result.selectivity[0] == 0
        assert list(result.d_prime.values) == [0, np.inf]
        assert result.task_variance.isnull().all()


def test_others_that_are_equal_have_no_variance_between_them():
    """The mean of three times 0.1 again, now as the rest."""
    tasks = np.repeat(list("abcd"), 5)
    assert tuned(np.where(tasks == "c", 1.0, 0.1)[:, None], tasks).d_prime[0] == np.inf


def test_sparseness_of_nearly_equal_responses_is_not_negative():
    code = np.where(np.random.default_rng(0).random((120, 200)) < 0.5, 0.3, np.nextafter(0.3, 1))
    assert (tuned(code).lifetime_sparseness >= 0).all()


def test_sparseness_from_equal_to_a_single_response():
    single = np.zeros(120)
    single[5] = 3.0
    half = np.arange(120) % 2
    found = tuned(np.column_stack([np.ones(120), single, half])).lifetime_sparseness
    np.testing.assert_allclose(found, [0, 1, (1 - 0.5) / (1 - 1 / 120)], rtol=1e-12)


def test_small_tasks_count_as_much_as_large_ones():
    tasks = np.repeat(["a", "b", "c"], [1000, 10, 10])
    unit = np.repeat([0.0, 1.0, 0.0], [1000, 10, 10]) + 0.5 * (np.arange(1020) % 2)
    balanced = tuned(np.concatenate([unit[:10], unit[1000:]])[:, None], np.repeat(["a", "b", "c"], 10))
    found = tuned(unit[:, None], tasks)
    for name in ("mean_activation", "selectivity"):
        np.testing.assert_allclose(found[name], balanced[name], rtol=1e-12)
    # up to n/(n − 1), the estimate of the variance, they do not depend on how many examples there are
    np.testing.assert_allclose(found.d_prime, balanced.d_prime, rtol=0.06)
    np.testing.assert_allclose(found.task_variance, 1, rtol=0.11)


# --- one example a task -----------------------------------------------------------------------------------


def test_one_example_a_task_has_no_variance():
    result = tuned([[1.0, 0.0], [3.0, 2.0], [0.0, 0.0]], ["a", "b", "c"])
    np.testing.assert_allclose(result.selectivity, [2.5 / 3.5, 1.0])
    for name in ("d_prime", "task_variance", "fractional_task_variance"):
        assert result[name].isnull().all(), name
    assert np.isfinite(result[["mutual_information", "lifetime_sparseness"]].to_array()).all()


def test_a_task_of_one_example_leaves_the_others_their_variance():
    tasks = ["a", "a", "b", "b", "c"]
    result = tuned(np.array([[4.0, 0.0], [2.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 9.0]]), tasks)
    # unit 0: 3 against a mixture of ½ and 0, whose variance within is that of b alone, ½, and between 1/16
    expected = (3 - 0.25) / math.sqrt((2 + 0.5 + 0.0625) / 2)
    np.testing.assert_allclose(result.d_prime, [expected, np.nan], rtol=1e-12)
    np.testing.assert_allclose(result.task_variance, [[1, 0.25, np.nan], [1, 1, np.nan]])
    assert result.fractional_task_variance.sel(other_task="c").isnull().all()


# --- outputs ----------------------------------------------------------------------------------------------


def test_output_correlation_is_pearsons_of_the_deviations_from_task_means():
    code, tasks = noisy_code(sizes=(30, 5, 40))
    outputs = np.random.default_rng(2).normal(size=(75, 3)) + code[:, :3] + np.array(tasks)[:, None] * 9.0
    result = tuned(code, tasks, outputs=outputs)
    assert result.output_correlation.dims == ("unit", "output")

    def within(values):
        frame = pd.DataFrame(values)
        return (frame - frame.groupby(np.array(tasks)).transform("mean")).to_numpy()

    expected = np.corrcoef(within(code), within(outputs), rowvar=False)[:12, 12:]
    np.testing.assert_allclose(result.output_correlation, expected, rtol=1e-10)
    one = tuned(code, tasks, outputs=outputs[:, 1]).output_correlation
    np.testing.assert_allclose(one[:, 0], expected[:, 1], rtol=1e-10)


def test_a_unit_that_tells_only_the_task_correlates_with_no_output():
    outputs = np.column_stack([np.random.default_rng(0).normal(size=120), np.repeat([0.1, 0.2, 0.3], 40)])
    found = tuned(np.column_stack([ABC == "a", outputs[:, 0]]), outputs=outputs).output_correlation
    np.testing.assert_allclose(found, [[np.nan, np.nan], [1, np.nan]], rtol=1e-12)
    assert "output_correlation" not in tuned(np.ones((120, 1)))


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stimuli": [1, 2]}, "stimuli: expected 120 labels, one for each row of activations, found 2"),
        ({"stimuli": [None] * 120}, "stimuli: expected a label for every example, found 120 missing"),
        ({"outputs": np.ones((7, 2))}, "outputs: expected 120 rows, as activations have, found 7"),
        ({"outputs": np.full(120, np.nan)}, "outputs: expected finite outputs, found 120 .* in output 0"),
        (
            {"outputs": np.ones((2, 60, 1))},
            r"outputs: expected shape \(examples, outputs\), found \(2, 60, 1\)",
        ),
        ({"null": -1}, "null: expected 0 or more permutations, found -1"),
        ({"fdr": 0.0}, "fdr: expected a rate between 0 and 1, found 0.0"),
        ({"fdr": 5}, "fdr: expected a rate between 0 and 1, found 5"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(DataError, match=f"task_tuning, {message}"):
        tuned(np.ones((120, 2)), **options)


def test_text_is_no_activation():
    with pytest.raises(
        DataError, match="task_tuning, activations: expected real numbers, found elements of type"
    ):
        tuned([["1", "2"]] * 120)
