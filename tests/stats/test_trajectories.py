"""Mixed models against paired t tests of runs' means and slopes, statsmodels, and data without any difference."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from clntk.errors import DataError
from clntk.stats import mixed
from clntk.stats.mixed import Effect, fit_mixed
from clntk.stats.trajectories import compare_trajectories

STEPS = np.array([0.0, 100.0, 300.0, 400.0])
FIT_COLUMNS = ["estimate", "se", "low", "high", "p"]


def trajectories(
    seed=0,
    *,
    n=5,
    regimes=("rich", "lazy"),
    run=1.0,
    run_slope=1.0,
    shared=1.0,
    noise=0.2,
    effect=0.0,
    slope=0.0,
):
    """Straight lines over steps with levels and slopes of seeds and of runs, and noise; lazy differs by the effects."""
    rng, rows = np.random.default_rng(seed), []
    for s in range(n):
        level, tilt = shared * rng.normal(size=2)
        for regime in regimes:
            own, own_tilt = run * rng.normal(), run_slope * rng.normal()
            lazy = regime == "lazy"
            line = 5 + level + own + effect * lazy + (tilt + own_tilt + slope * lazy) * STEPS / 400
            for i, value in enumerate(line + noise * rng.normal(size=len(STEPS))):
                rows.append(
                    {"regime": regime, "seed": s, "step": STEPS[i], "checkpoint": f"task{i}", "drift": value}
                )
    return pd.DataFrame(rows)


def wide(table):
    """The values with shape (seed, step) of each regime."""
    return {regime: rows.pivot(index="seed", columns="step", values="drift").to_numpy()
            for regime, rows in table.groupby("regime", sort=False)}  # fmt: skip


def means_and_slopes(values):
    centred = STEPS - STEPS.mean()
    return values.mean(1), values @ centred / (centred @ centred)


def row(result, term, at=None):
    rows = result[result.term == term]
    rows = rows if at is None else rows[rows["at"] == at]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_balanced_differences_are_the_paired_t_tests_over_seeds(seed):
    table = trajectories(seed, effect=0.5, slope=-1)
    result, values = compare_trajectories(table, "drift"), wide(table)
    assert set(result.status) == {"converged"}
    differences = means_and_slopes(values["lazy"] - values["rich"])
    for term, each in zip(("difference", "difference slope"), differences, strict=True):
        found, test = row(result, term), stats.ttest_1samp(each, 0)
        interval = test.confidence_interval(0.95)
        assert found.estimate == pytest.approx(each.mean(), rel=1e-6)
        assert found.se == pytest.approx(each.std(ddof=1) / math.sqrt(5), rel=2e-3)
        assert (found.low, found.high) == pytest.approx(tuple(interval), rel=5e-3, abs=5e-3 * abs(found.se))
        assert found.p == pytest.approx(test.pvalue, rel=1e-2)
        assert (found.df, found.n, found.n_values) == (4, 5, 40)
    levels, slopes = means_and_slopes(values["rich"])
    assert row(result, "baseline").estimate == pytest.approx(levels.mean(), rel=1e-6)
    assert row(result, "baseline slope").estimate == pytest.approx(slopes.mean(), rel=1e-6)
    assert row(result, "difference")["at"] == STEPS.mean()


@pytest.mark.parametrize("seed", [0, 2])
def test_balanced_independent_samples_are_the_two_sample_t_tests(seed):
    table = trajectories(seed)
    result, values = compare_trajectories(table, "drift", paired=False), wide(table)
    for term, rich, lazy in zip(
        ("difference", "difference slope"), *map(means_and_slopes, values.values()), strict=True
    ):
        test = stats.ttest_ind(lazy, rich)
        assert row(result, term).p == pytest.approx(test.pvalue, rel=1e-2)
        assert row(result, term).df == 8
    assert set(result.n) == {5}


def test_at_checkpoints_each_difference_is_that_of_the_means():
    table = trajectories(3, run_slope=0.2, noise=1.0)
    result, values = compare_trajectories(table, "drift", x="checkpoint"), wide(table)
    differences = values["lazy"] - values["rich"]
    for i in range(len(STEPS)):
        found = row(result, "difference", f"task{i}")
        assert found.estimate == pytest.approx(differences[:, i].mean(), rel=1e-6)
    # one spread for all moments: the mean square of differences about their moments' means
    pooled = math.sqrt(differences.var(axis=0, ddof=1).mean() / 5)
    assert result[result.term == "difference"].se.tolist() == pytest.approx([pooled] * 4, rel=2e-3)
    assert row(result, "baseline", "task2").estimate == pytest.approx(values["rich"][:, 2].mean(), rel=1e-6)


def test_the_likelihood_is_that_of_statsmodels():
    table = trajectories(1, n=8).assign(
        run=lambda t: t.seed.astype(str) + t.regime, lazy=lambda t: t.regime == "lazy"
    )
    table = table[table.index % 7 != 3]  # unbalanced
    table["trend"] = (table.step - table.step.mean()) / 200
    design = np.column_stack([np.ones(len(table)), table.trend, table.lazy, table.lazy * table.trend]).astype(
        float
    )
    names = ["one", "trend", "other", "both"]
    model = MixedLM.from_formula(
        f"drift ~ 0 + {' + '.join(names)}",
        table.assign(**dict(zip(names, design.T, strict=True))),
        groups="seed",
        re_formula="1",
        vc_formula={"run": "0 + C(run)", "slopes": "0 + C(run):trend", "tilt": "0 + trend"},
    )
    theirs = model.fit(method="lbfgs")
    one, trend = np.ones(len(table)), table.trend.to_numpy()
    run, seed = table.run.to_numpy(), table.seed.to_numpy()
    mine = fit_mixed(
        table.drift.to_numpy(),
        design,
        seed,
        [Effect(run, one), Effect(run, trend), Effect(seed, one), Effect(seed, trend)],
    )
    assert theirs.converged
    assert mine.status == "converged"
    np.testing.assert_allclose(mine.estimates, theirs.fe_params, rtol=1e-3)
    np.testing.assert_allclose(mine.errors, theirs.bse_fe, rtol=2e-3)
    variances = [theirs.vcomp[0], theirs.vcomp[1], theirs.cov_re.iloc[0, 0], theirs.vcomp[2], theirs.scale]
    np.testing.assert_allclose(mine.variances, variances, rtol=0.02)


def test_a_variance_of_zero_is_said_and_the_spread_pooled():
    table = trajectories(2, run=0.0, run_slope=0.0, shared=0.0, noise=1.0)
    result = compare_trajectories(table, "drift")
    assert set(result.status) == {"boundary"}
    assert set(result.note) == {"some variance is estimated as zero or next to it"}
    # least squares, without any random effect, unless some were estimated as more than zero
    lazy, trend = (table.regime == "lazy").to_numpy(float), (table.step - 200).to_numpy()
    design = np.column_stack([np.ones(len(table)), trend, lazy, lazy * trend])
    solution, squares, *_ = np.linalg.lstsq(design, table.drift)
    errors = np.sqrt(squares[0] / (len(table) - 4) * np.diag(np.linalg.inv(design.T @ design)))
    assert result.estimate.tolist() == pytest.approx(solution.tolist(), rel=1e-5)
    assert (result.se > 0.7 * errors).all()


def test_values_of_one_run_are_no_replicates():
    # more moments of the same runs say no more about their levels
    few = trajectories(5, noise=0.01, run_slope=0.0)
    many = pd.concat([few, few.assign(step=few.step + 50), few.assign(step=few.step + 7)])
    one, other = (row(compare_trajectories(table, "drift"), "difference") for table in (few, many))
    assert other.se == pytest.approx(one.se, rel=0.02)
    assert other.df == one.df == 4


SAMPLES = 40


def test_false_positives_are_few_though_values_are_many():
    hits = 0
    for seed in range(SAMPLES):
        result = compare_trajectories(trajectories(seed + 100), "drift")
        assert set(result.status) <= {"converged", "boundary"}
        hits += row(result, "difference slope").p <= 0.05
    # 3.5 binomial standard errors; with values as replicates, it would be a half
    assert hits / SAMPLES <= 0.05 + 3.5 * math.sqrt(0.05 * 0.95 / SAMPLES)


def test_units_do_not_matter():
    table = trajectories(2, effect=1.0, slope=2.0)
    plain = compare_trajectories(table, "drift")
    scaled = compare_trajectories(
        table.assign(drift=table.drift * 1e-7 - 3e-6, step=table.step * 1e4), "drift"
    )
    slopes = plain.term.str.endswith("slope")
    factor = np.where(slopes, 1e-11, 1e-7)
    np.testing.assert_allclose(scaled.se, plain.se * factor, rtol=1e-3)
    np.testing.assert_allclose(scaled[2:].p, plain[2:].p, rtol=1e-2)
    shifted = plain.estimate * factor - np.where(plain.term == "baseline", 3e-6, 0)
    np.testing.assert_allclose(scaled.estimate, shifted, rtol=1e-3)


def test_each_regime_is_fitted_with_the_baseline_alone():
    table = trajectories(0, regimes=("rich", "lazy", "wild"))
    wild = table.regime == "wild"
    both = compare_trajectories(table.assign(drift=table.drift * np.where(wild, 100, 1)), "drift")
    alone = compare_trajectories(table[~wild], "drift")
    assert both.regime.tolist() == ["lazy"] * 4 + ["wild"] * 4
    pd.testing.assert_frame_equal(both.iloc[:4], alone)


def test_the_baseline_and_the_columns_can_be_chosen():
    table = trajectories(0, effect=2.0).rename(columns={"regime": "model.width"})
    result = compare_trajectories(table, "drift", by="model.width", baseline="lazy")
    assert list(result.columns[:4]) == ["model.width", "baseline", "term", "at"]
    assert set(result["model.width"]) == {"rich"}
    plain = compare_trajectories(table, "drift", by="model.width", level=0.5)
    assert row(result, "difference").estimate == pytest.approx(-row(plain, "difference").estimate, rel=1e-5)
    assert row(plain, "difference").high < -row(result, "difference").low


def test_settings_are_never_pooled():
    table = pd.concat([trajectories(s, effect=s).assign(width=w) for s, w in ((0, 8), (5, 64))])
    with pytest.raises(
        DataError, match=r"found 80 rows that share theirs, .* name what distinguishes them in within="
    ):
        compare_trajectories(table, "drift")
    result = compare_trajectories(table, "drift", within=["width"])
    assert result.width.tolist() == [8] * 4 + [64] * 4
    alone = compare_trajectories(table[table.width == 64], "drift")
    pd.testing.assert_frame_equal(result[4:].drop(columns="width").reset_index(drop=True), alone)


def test_missing_values_and_unbalanced_seeds():
    table = trajectories(0)
    table.loc[3, "drift"], table.loc[9, "drift"] = np.nan, np.inf
    table = table[~((table.seed == 4) & (table.regime == "lazy"))]
    result = compare_trajectories(table, "drift")
    assert set(result.n_values) == {40 - 2 - 4}
    assert set(result.n) == {4}
    assert row(result, "difference").df == 3
    assert row(result, "baseline").df == 4
    assert np.isfinite(result[FIT_COLUMNS]).all(axis=None)


def test_one_regime_only_has_a_trajectory_and_no_difference():
    table = trajectories(0).query("regime == 'rich'")
    result = compare_trajectories(table, "drift")
    assert result.term.tolist() == ["baseline", "baseline slope"]
    _, slopes = means_and_slopes(wide(table)["rich"])
    assert row(result, "baseline slope").p == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue, rel=1e-2)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda t: t[t.seed == 0], "fewer than two seeds to compare"),
        (lambda t: t[(t.regime == "rich") | (t.seed == 0)], "fewer than two seeds to compare"),
        (lambda t: t[(t.regime == "rich") & (t.seed == 0)], "fewer than two seeds"),
        (lambda t: t.assign(drift=0.1), "nothing varies between seeds"),
        (lambda t: t.assign(drift=np.where(t.index % 2, 0.3, 0.1 + 0.2)), "nothing varies between seeds"),
        (lambda t: t.assign(drift=t.step), "nothing varies between seeds"),
        (
            lambda t: t.assign(drift=np.where(t.regime == "lazy", np.nan, t.drift)),
            "fewer than two seeds to compare",
        ),
        (
            lambda t: t.assign(drift=np.where(t.step > 0, np.nan, t.drift)),
            "the values that there are do not tell",
        ),
    ],
)
@pytest.mark.parametrize("x", ["step", "checkpoint"])
def test_what_cannot_be_fitted_is_a_failure_with_its_reason(change, note, x):
    if x == "checkpoint" and "do not tell" in note:
        note = "nothing varies"  # at one checkpoint alone there is a mean
        change = lambda t: t.assign(drift=t.checkpoint.str[-1].astype(float))  # noqa: E731
    result = compare_trajectories(change(trajectories(0)), "drift", x=x)
    assert set(result.status) == {"failed"}
    assert result.note.str.startswith(note).all()
    assert result[FIT_COLUMNS].isna().all(axis=None)


@pytest.mark.parametrize("logs", [np.full(5, -3.0), np.array([0.0, -20.0, 0.0, 0.0, -3.0])])
def test_an_optimiser_that_stops_short_is_reported(monkeypatch, logs):
    from scipy import optimize

    monkeypatch.setattr(mixed, "minimize", lambda *_, **__: optimize.OptimizeResult(x=logs, success=True))
    result = compare_trajectories(trajectories(0), "drift")
    assert set(result.note) == {"the optimiser did not converge"}
    assert result[FIT_COLUMNS].isna().all(axis=None)


def test_an_optimiser_that_stops_just_beside_the_optimum_is_reported(monkeypatch):
    real = mixed.minimize

    def beside(descent, logs, **options):
        end = real(descent, logs, **options)
        end.x[-1] += 0.1
        return end

    monkeypatch.setattr(mixed, "minimize", beside)
    assert set(compare_trajectories(trajectories(0), "drift").status) == {"failed"}


def test_the_slopes_are_those_of_the_likelihood():
    rng = np.random.default_rng(0)
    labels, weights = np.arange(12) // 3, rng.normal(size=12)
    effects = [Effect(labels, np.ones(12)), Effect(labels, weights)]
    design, values = np.column_stack([np.ones(12), rng.normal(size=12)]), rng.normal(size=12)
    blocks = [
        mixed._Block(values[rows], design[rows], mixed._shared(effects, rows))
        for rows in (labels < 2, labels >= 2)
    ]
    variances, small = np.array([0.4, 0.3, 0.6]), 1e-5
    for k, slope in enumerate(mixed._at(blocks, variances).slopes):
        step = small * (np.arange(3) == k)
        up, down = (mixed._at(blocks, variances + sign * step).likelihood for sign in (1, -1))
        assert slope == pytest.approx((up - down) / (2 * small), rel=1e-5)


def test_one_independent_seed_is_not_compared():
    table = trajectories(0)
    table = table[(table.regime == "rich") | (table.seed == 0)]
    result = compare_trajectories(table, "drift", paired=False)
    assert set(result.note) == {"fewer than two seeds to compare"}


def test_a_variance_that_ran_to_zero_by_mistake_is_raised_again(monkeypatch):
    table, calls, real = trajectories(0), [], mixed.minimize

    def overshoots_once(descent, logs, *, bounds, **options):
        calls.append(logs)
        zero = np.log(1e-9)
        bounds = [(zero, zero), *bounds[1:]] if len(calls) == 1 else bounds
        return real(descent, logs, bounds=bounds, **options)

    want = compare_trajectories(table, "drift")
    monkeypatch.setattr(mixed, "minimize", overshoots_once)
    pd.testing.assert_frame_equal(compare_trajectories(table, "drift"), want, rtol=1e-4)
    assert len(calls) > 1


def test_a_spread_that_differs_between_checkpoints_is_noted():
    table = trajectories(0, run_slope=0.0)
    assert not compare_trajectories(table, "drift", x="checkpoint").note.str.contains("pooled").any()
    uneven = table.assign(drift=table.drift * np.where(table.checkpoint == "task3", 30, 1))
    assert compare_trajectories(uneven, "drift", x="checkpoint").note.str.contains("spread is pooled").all()
    still = table.assign(drift=np.where(table.checkpoint == "task0", 0.0, table.drift))
    assert compare_trajectories(still, "drift", x="checkpoint").note.str.contains("differs inf-fold").all()


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (trajectories().iloc[:0], {}, "table: expected some values, found an empty table"),
        (trajectories().drop(columns="seed"), {}, "table: expected the columns .* found no seed"),
        (trajectories(), {"within": ["width"]}, "found no width"),
        (trajectories().query("step == 0"), {}, "step: expected several moments, found 1"),
        (trajectories(), {"baseline": "rihc"}, "baseline: .* did you mean 'rich'"),
    ],
)
def test_errors_say_what_is_wrong(table, options, message):
    with pytest.raises(DataError, match=f"compare_trajectories, {message}|compare_trajectories.*{message}"):
        compare_trajectories(table, "drift", **options)
