"""The comparison table: which seeds enter, what is paired, how p-values are corrected."""

import numpy as np
import pandas as pd
import pytest

from clntk.errors import DataError
from clntk.stats.compare import compare_table
from clntk.stats.intervals import bootstrap_interval, hedges_g_paired, sign_flip_p

RICH = [0.5, 0.6, 0.8, 0.65]
LAZY = [0.4, 0.3, 0.75, 0.5]
DIFFERENCE_COLUMNS = ["difference", "diff_low", "diff_high", "effect_size", "p", "p_holm"]


def rows(regime, measure, values, seeds=None, **extra):
    seeds = range(len(values)) if seeds is None else seeds
    return [
        {"run": f"{regime}{s}", "regime": regime, "seed": s, "measure": measure, "value": v, **extra}
        for s, v in zip(seeds, values, strict=True)
    ]


def table(*groups, regimes=("rich", "lazy"), **options):
    return compare_table(
        pd.DataFrame([row for group in groups for row in group]), regimes=list(regimes), **options
    )


@pytest.fixture
def two():
    return table(rows("rich", "accuracy", RICH), rows("lazy", "accuracy", LAZY))


def test_columns_and_estimates(two):
    assert list(two.columns) == [
        "measure", "regime", "n", "estimate", "low", "high", "baseline", "n_pairs", "difference", "diff_low",
        "diff_high", "effect_size", "p", "p_holm",
    ]  # fmt: skip
    assert list(two.regime) == ["rich", "lazy"]
    assert list(two.baseline) == ["rich", "rich"]
    assert list(two.n) == [4, 4]
    np.testing.assert_allclose(two.estimate, [np.mean(RICH), np.mean(LAZY)], rtol=1e-12)
    assert (two.low[0], two.high[0]) == bootstrap_interval(RICH)


def test_the_difference_is_regime_minus_baseline(two):
    lazy, differences = two.iloc[1], np.subtract(LAZY, RICH)
    assert lazy.n_pairs == 4
    assert lazy.difference == pytest.approx(-0.15)
    assert (lazy.diff_low, lazy.diff_high) == bootstrap_interval(differences)
    assert lazy.effect_size == pytest.approx(hedges_g_paired(differences), rel=1e-12)
    assert lazy.p == lazy.p_holm == sign_flip_p(differences) == 0.125


def test_the_baseline_has_no_difference_from_itself(two):
    assert two.loc[0, DIFFERENCE_COLUMNS].isna().all()
    assert two.n_pairs[0] == 0


def test_the_baseline_can_be_chosen():
    flipped = table(rows("rich", "accuracy", RICH), rows("lazy", "accuracy", LAZY), baseline="lazy")
    assert list(flipped.regime) == ["rich", "lazy"]
    assert flipped.difference[0] == pytest.approx(0.15)
    assert flipped.loc[1, DIFFERENCE_COLUMNS].isna().all()


def test_only_shared_seeds_are_paired():
    # without pairing by seed, the difference would be of rows at the same position
    result = table(
        rows("rich", "accuracy", [1.0, 2.0, 3.0, 50.0], seeds=[0, 1, 2, 9]),
        rows("lazy", "accuracy", [3.5, 2.5, 1.5, 70.0], seeds=[2, 1, 0, 5]),
    )
    assert list(result.n) == [4, 4]
    assert result.n_pairs[1] == 3
    assert result.difference[1] == pytest.approx(0.5)
    assert np.isnan(result.effect_size[1])  # all three differ by exactly one half
    assert result.estimate[1] == pytest.approx(77.5 / 4)


def test_missing_values_are_left_out_and_counted():
    result = table(
        rows("rich", "accuracy", [1.0, np.nan, 3.0, 4.0]), rows("lazy", "accuracy", [2.0, 2.0, np.inf, 7.0])
    )
    assert list(result.n) == [3, 3]
    assert result.n_pairs[1] == 2
    assert result.difference[1] == pytest.approx(2.0)


def test_measures_without_any_value_stay_in_the_table():
    result = table(rows("joint", "forgetting", [np.nan] * 3), rows("rich", "forgetting", [0.1, 0.2, 0.4]),
                   regimes=["joint", "rich"])  # fmt: skip
    assert list(result.n) == [0, 3]
    assert result.loc[0, ["estimate", "low", "high"]].isna().all()
    assert result.loc[1, DIFFERENCE_COLUMNS].isna().all()


def test_a_regime_without_runs_is_shown_and_others_are_left_out():
    result = table(rows("rich", "accuracy", RICH), rows("extra", "accuracy", LAZY), regimes=["rich", "lazy"])
    assert list(result.regime) == ["rich", "lazy"]
    assert list(result.n) == [4, 0]


def test_order_is_that_of_first_appearance_and_of_regimes():
    result = table(
        rows("lazy", "z", LAZY), rows("rich", "a", RICH), rows("rich", "z", RICH), rows("lazy", "a", LAZY)
    )
    assert list(zip(result.measure, result.regime, strict=True)) == [
        ("z", "rich"), ("z", "lazy"), ("a", "rich"), ("a", "lazy"),
    ]  # fmt: skip


def test_holm_by_hand_within_each_regime():
    base = np.zeros(6)
    effects = {
        "strong": [1, 2, 3, 4, 5, 6],  # p = 2/64
        "middling": [-1, 2, 3, 4, 5, 6],  # p = 4/64
        "none": [1, -1, 2, -2, 3, -3],  # p = 1
        "unknown": [np.nan] * 6,  # no test: does not count among the three
    }
    groups = [rows("rich", m, base) + rows("lazy", m, values) for m, values in effects.items()]
    groups += [rows("other", "strong", effects["strong"])]
    result = table(*groups, regimes=["rich", "lazy", "other"]).set_index(["regime", "measure"])
    lazy = result.loc["lazy"]
    np.testing.assert_allclose(lazy.p, [2 / 64, 4 / 64, 1.0, np.nan])
    np.testing.assert_allclose(lazy.p_holm, [3 * 2 / 64, 2 * 4 / 64, 1.0, np.nan])
    # one test in its family: nothing to correct
    assert result.loc[("other", "strong"), "p_holm"] == 2 / 64


def test_holm_is_monotone():
    # 3·(4/64) for both of the equal p-values: the second is not cheaper than the first
    middling = [-1, 2, 3, 4, 5, 6]
    groups = [rows("rich", m, np.zeros(6)) + rows("lazy", m, middling) for m in "abc"]
    np.testing.assert_allclose(table(*groups).query("regime == 'lazy'").p_holm, [3 * 4 / 64] * 3)


def test_settings_are_never_pooled():
    groups = []
    for width, shift in ((64, 0.0), (256, 10.0)):
        extra = {"model.width": width}
        groups += [rows("rich", "a", RICH, **extra), rows("lazy", "a", np.add(LAZY, shift), **extra)]
        groups += [rows("rich", "b", np.zeros(6), **extra), rows("lazy", "b", [1, 2, 3, 4, 5, 6], **extra)]
    result = table(*groups, by=["model.width"])
    assert list(result.columns[:3]) == ["model.width", "measure", "regime"]
    assert list(result["model.width"]) == [64] * 4 + [256] * 4
    lazy = result.query("regime == 'lazy'").set_index(["model.width", "measure"])
    assert lazy.loc[(64, "a"), "difference"] == pytest.approx(-0.15)
    assert lazy.loc[(256, "a"), "difference"] == pytest.approx(9.85)
    assert lazy.loc[(256, "a"), "n_pairs"] == 4
    # families of two measures for each width, not of four
    assert lazy.loc[(64, "b"), "p_holm"] == pytest.approx(2 * 2 / 64)


def test_several_settings_and_missing_ones():
    groups = [
        rows(regime, "a", RICH, width=width, lr=lr)
        for regime in ("rich", "lazy") for width in (1, 2) for lr in (0.1, np.nan)
    ]  # fmt: skip
    result = table(*groups, by=("width", "lr"))
    assert len(result) == 8
    assert (result.n == 4).all()


def test_pooling_by_accident_is_refused():
    groups = [rows("rich", "a", RICH, width=w) + rows("lazy", "a", LAZY, width=w) for w in (64, 256)]
    with pytest.raises(DataError, match=r"found 16 rows .* regime=rich, seed=0, measure=a; name what .* by="):
        table(*groups)
    assert len(table(*groups, by=["width"])) == 4


def test_the_bootstrap_seed_and_level_are_passed_on():
    groups = rows("rich", "a", RICH), rows("lazy", "a", LAZY)
    wide, narrow = table(*groups, level=0.99), table(*groups, level=0.5)
    assert wide.low[1] < narrow.low[1]
    assert wide.diff_high[1] > narrow.diff_high[1]
    assert (table(*groups, seed=3).low[0], table(*groups, seed=3).high[0]) == bootstrap_interval(RICH, seed=3)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pd.DataFrame(rows("rich", "a", RICH)).iloc[:0], {}, "found an empty table"),
        (pd.DataFrame(), {}, "found an empty table"),
        (
            pd.DataFrame(rows("rich", "a", RICH)),
            {"regimes": []},
            "regimes: expected some of rich, found none",
        ),
        (
            pd.DataFrame(rows("rich", "a", RICH)),
            {"by": ["width"]},
            "expected the columns width, .* found no width",
        ),
        (pd.DataFrame(rows("rich", "a", RICH)).drop(columns="seed"), {}, "found no seed"),
        (pd.DataFrame(rows("rich", "a", RICH)), {"baseline": "rihc"}, "found 'rihc'; did you mean 'rich'"),
    ],
)
def test_errors_say_what_is_wrong(frame, options, message):
    with pytest.raises(DataError, match=f"compare_table.*{message}"):
        compare_table(frame, **{"regimes": ["rich", "lazy"], **options})


def test_the_input_is_not_changed():
    frame = pd.DataFrame(rows("rich", "a", [1.0, np.inf]) + rows("lazy", "a", [1.0, 2.0]))
    before = frame.copy()
    compare_table(frame, regimes=["rich", "lazy"])
    pd.testing.assert_frame_equal(frame, before)


def test_repeated_rows_of_regimes_that_are_not_compared_do_not_matter():
    result = table(rows("rich", "a", RICH), rows("extra", "b", LAZY), rows("extra", "b", LAZY))
    assert list(result.measure) == ["a", "a"]
