"""The comparison table: which seeds enter, what is paired, how p-values are corrected."""

import numpy as np
import pandas as pd
import pytest

from clntk.errors import DataError
from clntk.stats.compare import compare_table
from clntk.stats.effects import hedges_g_independent, hedges_g_paired
from clntk.stats.intervals import bootstrap_interval
from clntk.stats.permutation import permutation_p, sign_flip_p
from clntk.stats.power import detectable_independent, detectable_paired

RICH = [0.5, 0.6, 0.8, 0.65]
LAZY = [0.4, 0.3, 0.75, 0.5]
DIFFERENCE_COLUMNS = [
    "difference", "diff_low", "diff_high", "effect_size", "effect_low", "effect_high", "p", "smallest_p",
    "detectable", "p_corrected",
]  # fmt: skip


def rows(regime, measure, values, seeds=None, **extra):
    seeds = range(len(values)) if seeds is None else seeds
    return [
        {"run": f"{regime}{s}", "regime": regime, "seed": s, "measure": measure, "value": v, **extra}
        for s, v in zip(seeds, values, strict=True)
    ]


def table(*values, groups=("rich", "lazy"), **options):
    return compare_table(pd.DataFrame([row for each in values for row in each]), groups=groups, **options)


@pytest.fixture
def two():
    return table(rows("rich", "accuracy", RICH), rows("lazy", "accuracy", LAZY))


def test_columns_and_estimates(two):
    assert list(two.columns) == [
        "measure", "regime", "n", "estimate", "low", "high", "baseline", "n_pairs", "difference", "diff_low",
        "diff_high", "effect_size", "effect_low", "effect_high", "test", "p", "smallest_p", "detectable",
        "p_corrected", "correction",
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
    effect = lazy.effect_size, lazy.effect_low, lazy.effect_high
    assert effect == pytest.approx(hedges_g_paired(differences), rel=1e-12)
    assert lazy.p == lazy.p_corrected == lazy.smallest_p == sign_flip_p(differences) == 0.125
    assert lazy.test == "sign flip"
    assert lazy.detectable == np.inf  # 4 pairs cannot give p ≤ .05


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
                   groups=["joint", "rich"])  # fmt: skip
    assert list(result.n) == [0, 3]
    assert result.loc[0, ["estimate", "low", "high"]].isna().all()
    assert result.loc[1, ["difference", "diff_low", "effect_size", "p", "p_corrected"]].isna().all()


def test_a_regime_without_runs_is_shown_and_others_are_left_out():
    result = table(rows("rich", "accuracy", RICH), rows("extra", "accuracy", LAZY), groups=["rich", "lazy"])
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
    result = table(*groups, groups=["rich", "lazy", "other"]).set_index(["regime", "measure"])
    lazy = result.loc["lazy"]
    np.testing.assert_allclose(lazy.p, [2 / 64, 4 / 64, 1.0, np.nan])
    np.testing.assert_allclose(lazy.p_corrected, [3 * 2 / 64, 2 * 4 / 64, 1.0, np.nan])
    # one test in its family: nothing to correct
    assert result.loc[("other", "strong"), "p_corrected"] == 2 / 64


def test_holm_is_monotone():
    # 3·(4/64) for both of the equal p-values: the second is not cheaper than the first
    middling = [-1, 2, 3, 4, 5, 6]
    groups = [rows("rich", m, np.zeros(6)) + rows("lazy", m, middling) for m in "abc"]
    np.testing.assert_allclose(table(*groups).query("regime == 'lazy'").p_corrected, [3 * 4 / 64] * 3)


def test_settings_are_never_pooled():
    groups = []
    for width, shift in ((64, 0.0), (256, 10.0)):
        extra = {"model.width": width}
        groups += [rows("rich", "a", RICH, **extra), rows("lazy", "a", np.add(LAZY, shift), **extra)]
        groups += [rows("rich", "b", np.zeros(6), **extra), rows("lazy", "b", [1, 2, 3, 4, 5, 6], **extra)]
    result = table(*groups, within=["model.width"])
    assert list(result.columns[:3]) == ["model.width", "measure", "regime"]
    assert list(result["model.width"]) == [64] * 4 + [256] * 4
    lazy = result.query("regime == 'lazy'").set_index(["model.width", "measure"])
    assert lazy.loc[(64, "a"), "difference"] == pytest.approx(-0.15)
    assert lazy.loc[(256, "a"), "difference"] == pytest.approx(9.85)
    assert lazy.loc[(256, "a"), "n_pairs"] == 4
    # families of two measures for each width, not of four
    assert lazy.loc[(64, "b"), "p_corrected"] == pytest.approx(2 * 2 / 64)


def test_several_settings_and_missing_ones():
    groups = [
        rows(regime, "a", RICH, width=width, lr=lr)
        for regime in ("rich", "lazy") for width in (1, 2) for lr in (0.1, np.nan)
    ]  # fmt: skip
    result = table(*groups, within=("width", "lr"))
    assert len(result) == 8
    assert (result.n == 4).all()


def test_pooling_by_accident_is_refused():
    groups = [rows("rich", "a", RICH, width=w) + rows("lazy", "a", LAZY, width=w) for w in (64, 256)]
    with pytest.raises(
        DataError, match=r"found 16 rows .* regime=rich, seed=0, measure=a; name what .* within="
    ):
        table(*groups)
    assert len(table(*groups, within=["width"])) == 4


def test_the_bootstrap_seed_and_level_are_passed_on():
    groups = rows("rich", "a", RICH), rows("lazy", "a", LAZY)
    wide, narrow = table(*groups, level=0.99), table(*groups, level=0.5)
    assert wide.low[1] < narrow.low[1]
    assert wide.diff_high[1] > narrow.diff_high[1]
    for pair in (True, False):
        broad, thin = (table(*groups, level=level, pair=pair).iloc[1] for level in (0.99, 0.5))
        assert broad.diff_low < thin.diff_low < thin.diff_high < broad.diff_high
        assert broad.effect_low < thin.effect_low < thin.effect_high < broad.effect_high
    assert (table(*groups, seed=3).low[0], table(*groups, seed=3).high[0]) == bootstrap_interval(RICH, seed=3)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pd.DataFrame(rows("rich", "a", RICH)).iloc[:0], {}, "found an empty table"),
        (pd.DataFrame(), {}, "found an empty table"),
        (
            pd.DataFrame(rows("rich", "a", RICH)),
            {"groups": []},
            "groups: expected some of rich, found none",
        ),
        (
            pd.DataFrame(rows("rich", "a", RICH)),
            {"within": ["width"]},
            "expected the columns width, .* found no width",
        ),
        (pd.DataFrame(rows("rich", "a", RICH)).drop(columns="seed"), {}, "found no seed"),
        (pd.DataFrame(rows("rich", "a", RICH)), {"baseline": "rihc"}, "found 'rihc'; did you mean 'rich'"),
        (pd.DataFrame(rows("rich", "a", RICH)), {"correction": "hlom"}, "correction: .* did you mean 'holm'"),
        (pd.DataFrame(rows("rich", "a", RICH)), {"by": "width"}, "found no width"),
    ],
)
def test_errors_say_what_is_wrong(frame, options, message):
    with pytest.raises(DataError, match=f"compare_table.*{message}"):
        compare_table(frame, **{"groups": ["rich", "lazy"], **options})


def test_the_input_is_not_changed():
    frame = pd.DataFrame(rows("rich", "a", [1.0, np.inf]) + rows("lazy", "a", [1.0, 2.0]))
    before = frame.copy()
    compare_table(frame, groups=["rich", "lazy"])
    pd.testing.assert_frame_equal(frame, before)


def test_repeated_rows_of_regimes_that_are_not_compared_do_not_matter():
    result = table(rows("rich", "a", RICH), rows("extra", "b", LAZY), rows("extra", "b", LAZY))
    assert list(result.measure) == ["a", "a"]


def test_independent_samples_share_no_seeds():
    a, b = [0.5, 0.75, 3.0, 1.0, 1.25], [1.0, 2.0, 4.0, 4.5]
    result = table(rows("rich", "a", b), rows("lazy", "a", a, seeds=range(7, 12)), pair=False)
    lazy = result.iloc[1]
    assert lazy.test == "permutation"
    assert (lazy.n, lazy.n_pairs) == (5, 0)
    assert lazy.difference == pytest.approx(1.3 - 2.875)
    assert (lazy.diff_low, lazy.diff_high) == bootstrap_interval(a, b)
    assert (lazy.effect_size, lazy.effect_low, lazy.effect_high) == hedges_g_independent(a, b)
    assert lazy.p == permutation_p(a, b)
    assert lazy.smallest_p == 2 / 126
    pooled = np.sqrt((np.var(a) * 5 + np.var(b) * 4) / 7)
    assert lazy.detectable == pytest.approx(detectable_independent(5, 4, pooled), rel=1e-4)
    assert result.loc[0, DIFFERENCE_COLUMNS].isna().all()


def test_the_pairing_decides_when_seeds_vary_more_than_conditions():
    base = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    groups = rows("rich", "a", base), rows("lazy", "a", np.add(base, [1.0, 1.2, 0.8, 1.1, 0.9, 1.3]))
    assert table(*groups).p[1] == 2 / 64
    assert table(*groups, pair=False).p[1] > 0.5


def test_what_the_pairs_could_have_shown():
    differences = np.array([1.0, -1.0, 2.0, 0.5, 0.0, 1.5, 1.0])
    groups = rows("rich", "a", np.zeros(7)), rows("lazy", "a", differences)
    assert table(*groups).detectable[1] == pytest.approx(detectable_paired(7, differences.std(ddof=1)))
    stricter = table(*groups, level=0.98)
    assert stricter.detectable[1] == pytest.approx(detectable_paired(7, differences.std(ddof=1), alpha=0.02))
    assert table(*groups, level=0.99).detectable[1] == np.inf


def test_benjamini_hochberg_by_hand():
    base, effects = np.zeros(6), {
        "strong": [1, 2, 3, 4, 5, 6],  # p = 2/64
        "middling": [-1, 2, 3, 4, 5, 6],  # p = 4/64
        "none": [1, -1, 2, -2, 3, -3],  # p = 1
    }  # fmt: skip
    groups = [rows("rich", m, base) + rows("lazy", m, values) for m, values in effects.items()]
    lazy = table(*groups, correction="fdr").query("regime == 'lazy'")
    np.testing.assert_allclose(lazy.p_corrected, [3 / 1 * 2 / 64, 3 / 2 * 4 / 64, 1.0])
    assert set(lazy.correction) == {"fdr"}


def test_any_column_can_be_compared():
    frame = pd.DataFrame(
        [
            row
            for regime, shift in (("rich", 0.0), ("lazy", 5.0))
            for width, values in ((64, RICH), (256, LAZY))
            for row in rows(regime, "a", np.add(values, shift), width=width)
        ]
    )
    result = compare_table(frame, groups=[64, 256], by="width", within=["regime"], baseline="256")
    assert list(result.columns[:3]) == ["regime", "measure", "width"]
    assert list(result.baseline) == [256] * 4
    wide = result.query("width == 64")
    np.testing.assert_allclose(wide.difference, [0.15, 0.15])
    assert list(wide.n_pairs) == [4, 4]


def test_values_that_are_all_equal():
    result = table(rows("rich", "a", [0.5] * 6), rows("lazy", "a", [0.75] * 6), rows("same", "a", [0.5] * 6),
                   groups=["rich", "lazy", "same"])  # fmt: skip
    lazy, same = result.iloc[1], result.iloc[2]
    assert (lazy.low, lazy.high, lazy.diff_low, lazy.diff_high) == (0.75, 0.75, 0.25, 0.25)
    assert lazy.p == 2 / 64
    assert same.p == 1
    assert result[["effect_size", "effect_low", "detectable"]].isna().all(axis=None)


@pytest.mark.parametrize("pair", [True, False])
@pytest.mark.parametrize("n", [0, 1])
def test_one_seed_shows_nothing(n, pair):
    result = table(rows("rich", "a", RICH), rows("lazy", "a", LAZY[:n]), pair=pair)
    lazy = result.iloc[1]
    assert np.isnan(
        [lazy.low, lazy.diff_low, lazy.effect_size, lazy.effect_low, lazy.p, lazy.p_corrected]
    ).all()
    assert (lazy.smallest_p, lazy.detectable) == (1, np.inf)
    assert np.isfinite(lazy.difference) == (n == 1)


def test_two_seeds_have_an_interval_but_no_effect_size():
    lazy = table(rows("rich", "a", RICH[:2]), rows("lazy", "a", LAZY[:2])).iloc[1]
    assert np.isfinite([lazy.diff_low, lazy.diff_high]).all()
    assert lazy.p >= lazy.smallest_p == 0.5
    assert np.isnan([lazy.effect_size, lazy.effect_low, lazy.effect_high]).all()


def test_one_regime_only():
    result = table(rows("rich", "a", RICH), groups=["rich"])
    assert len(result) == 1
    assert result.n[0] == 4
    assert result[DIFFERENCE_COLUMNS].isna().all(axis=None)


@pytest.mark.parametrize(("correction", "method"), [("holm", "holm"), ("fdr", "fdr_bh")])
def test_corrections_are_statsmodels_own(monkeypatch, correction, method):
    from statsmodels.stats.multitest import multipletests

    p = [0.01, 0.04, 0.002, 0.04, 0.9, 0.6, 0.002]
    drawn = iter(p)
    monkeypatch.setattr("clntk.stats.contrasts.sign_flip_p", lambda *_, **__: next(drawn))
    groups = [rows("rich", m, RICH) + rows("lazy", m, RICH) for m in "abcdefg"]
    result = table(*groups, correction=correction).query("regime == 'lazy'")
    np.testing.assert_allclose(result.p_corrected, multipletests(p, method=method)[1], rtol=1e-12)


FAMILIES = 150


def test_corrected_p_values_hold_their_error_rate(monkeypatch):
    # of three tests without a difference, one has p ≤ .05 in .14 of families, and corrected p in at most .05
    rng = np.random.default_rng(4)
    monkeypatch.setattr("clntk.stats.contrasts.sign_flip_p", lambda *_, **__: rng.uniform())
    groups = [
        rows("rich", m, [0.0, 0.0], family=i) + rows("lazy", m, [0.0, 0.0], family=i)
        for i in range(FAMILIES)
        for m in "abc"
    ]
    lowest = table(*groups, within=["family"]).groupby("family")[["p", "p_corrected"]].min()
    found = (lowest <= 0.05).mean()
    # 3.5 binomial standard errors
    assert found["p"] == pytest.approx(1 - 0.95**3, abs=3.5 * np.sqrt(0.14 * 0.86 / FAMILIES))
    assert found["p_corrected"] <= 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / FAMILIES)
