"""Kernel drift against double loops over kernel entries, and where cancellation would show."""

import math

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.errors import DataError
from clntk.measures import drift
from clntk.measures.summary import scalars

MEASURES = {
    drift.kernel_distance: drift.cosine_distance,
    drift.kernel_alignment: drift.centred_alignment,
    drift.relative_kernel_change: drift.relative_change,
}
each_measure = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)


def psd(rng, *lead, n=6, rank=9):
    features = rng.normal(size=(*lead, n, rank))
    return features @ features.swapaxes(-1, -2)


def kernels(seed=0, n_checkpoints=4, n_tasks=3, n=5):
    """Blocks of joint kernels over all tasks' probes, so that off-diagonal blocks differ from K_tt."""
    joint = psd(np.random.default_rng(seed), n_checkpoints, n=n_tasks * n, rank=40)
    blocks = joint.reshape(n_checkpoints, n_tasks, n, n_tasks, n).transpose(0, 1, 3, 2, 4)
    return xr.DataArray(
        blocks,
        dims=("checkpoint", "eval_task", "other_task", "probe", "other_probe"),
        coords={
            "checkpoint": ["init", *(f"phase{k}" for k in range(1, n_checkpoints))],
            "step": ("checkpoint", np.arange(n_checkpoints) * 7),
            "eval_task": [f"task{t}" for t in range(n_tasks)],
            "other_task": [f"task{t}" for t in range(n_tasks)],
        },
    )


def loop_inner(K, K2):
    return math.fsum(K[n, m] * K2[n, m] for n in range(len(K)) for m in range(len(K)))


def loop_centred(K):
    H = np.eye(len(K)) - np.ones_like(K) / len(K)
    return H @ K @ H


def loop_cosine(K, K2):
    return loop_inner(K, K2) / math.sqrt(loop_inner(K, K) * loop_inner(K2, K2))


REFERENCES = {
    drift.cosine_distance: lambda K, K2: 1 - loop_cosine(K, K2),
    drift.centred_alignment: lambda K, K2: loop_cosine(loop_centred(K), loop_centred(K2)),
    drift.relative_change: lambda K, K2: math.sqrt(loop_inner(K - K2, K - K2) / loop_inner(K2, K2)),
}


@pytest.mark.parametrize("pair", REFERENCES, ids=lambda pair: pair.__name__)
def test_pairs_against_a_double_loop_with_leading_axes(pair):
    rng = np.random.default_rng(1)
    K, K2 = psd(rng, 2, 3), psd(rng, 2, 3)
    expected = [[REFERENCES[pair](K[i, j], K2[i, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(pair(K, K2), expected, rtol=1e-12)


def test_cosine_distance_of_orthogonal_parallel_and_opposite_kernels():
    K = np.diag([1.0, 0.0])
    assert drift.cosine_distance(K, np.diag([0.0, 5.0])) == pytest.approx(1.0, rel=1e-15)
    assert drift.cosine_distance(K, 3 * K) == 0.0
    assert drift.cosine_distance(K, -K) == pytest.approx(2.0, rel=1e-15)


def test_cosine_distance_of_a_relative_change_of_1e_9():
    rng = np.random.default_rng(2)
    K = psd(rng)
    E = rng.normal(size=K.shape)
    E -= K * (E * K).sum() / (K * K).sum()  # orthogonal to K: then tan(angle) = ‖εE‖/‖K‖ exactly
    angle = math.atan(1e-9)
    moved = K + 1e-9 * E * np.linalg.norm(K) / np.linalg.norm(E)
    exact = 2 * math.sin(angle / 2) ** 2
    assert exact == pytest.approx(5e-19, rel=1e-9, abs=0)
    assert drift.cosine_distance(moved, K) == pytest.approx(exact, rel=1e-5, abs=0)
    assert abs(1 - loop_cosine(moved, K)) < 1e-15  # the plain formula sees nothing, or only rounding
    assert drift.relative_change(moved, K) == pytest.approx(1e-9, rel=1e-5, abs=0)


def test_scale_is_invisible_to_the_distance_and_alignment_but_not_to_the_change():
    K = psd(np.random.default_rng(3))
    assert drift.cosine_distance(2.5 * K, K) < 1e-30
    assert drift.centred_alignment(2.5 * K, K) == pytest.approx(1.0, abs=1e-15)
    assert drift.relative_change(2.5 * K, K) == pytest.approx(1.5, rel=1e-14)
    assert drift.relative_change(K, 2.5 * K) == pytest.approx(1.5 / 2.5, rel=1e-14)


def test_alignment_ignores_what_is_common_to_all_probes():
    K = psd(np.random.default_rng(4))
    assert drift.centred_alignment(K + 100.0, K) == pytest.approx(1.0, abs=1e-12)
    assert drift.cosine_distance(K + 100.0, K) > 0.1


def test_kernels_without_content_are_nan():
    K, zero = psd(np.random.default_rng(5)), np.zeros((6, 6))
    assert np.isnan(drift.cosine_distance(K, zero))
    assert np.isnan(drift.cosine_distance(zero, K))
    assert np.isnan(drift.centred_alignment(zero, K))
    assert np.isnan(drift.relative_change(K, zero))
    assert drift.relative_change(zero, K) == 1.0
    assert np.isnan(drift.centred_alignment(np.full((6, 6), 0.1), K))
    # H(u1ᵀ + 1uᵀ)H is zero up to rounding, which is not a direction
    u = np.random.default_rng(6).random(6)
    assert np.isnan(drift.centred_alignment(u[:, None] + u[None, :], K))


@each_measure
def test_each_reference_against_a_loop_over_blocks(measure):
    facts, pair = kernels(), MEASURES[measure]
    to_init, to_previous, to_every = (measure(facts, reference=r) for r in ("init", "previous", "every"))
    assert to_init.name == to_every.name == measure.__name__
    assert to_init.dims == to_previous.dims == ("checkpoint", "eval_task")
    assert to_every.dims == ("checkpoint", "eval_task", "reference")
    assert list(to_every.reference.values) == list(facts.checkpoint.values)
    assert list(to_init.step.values) == [0, 7, 14, 21]
    for k in range(4):
        for t in range(3):
            K = facts.values[k, t, t]
            assert to_init.values[k, t] == pytest.approx(pair(K, facts.values[0, t, t]), abs=1e-15)
            if k > 0:
                assert to_previous.values[k, t] == pytest.approx(
                    pair(K, facts.values[k - 1, t, t]), abs=1e-15
                )
            for r in range(4):
                assert to_every.values[k, t, r] == pytest.approx(pair(K, facts.values[r, t, t]), abs=1e-15)
    assert to_previous[0].isnull().all()
    xr.testing.assert_allclose(measure(facts), to_init)


@each_measure
def test_blocks_are_found_by_label_in_any_order_of_axes(measure):
    facts = kernels()
    shuffled = facts.isel(other_task=[2, 0, 1]).transpose("probe", "other_task", ..., "other_probe")
    xr.testing.assert_allclose(measure(shuffled), measure(facts))


@each_measure
def test_a_zero_block_is_nan_only_for_its_task(measure):
    facts = kernels()
    facts[:, 1, 1] = 0.0
    result = measure(facts)
    assert result.isel(eval_task=1).isnull().all()
    assert result.isel(eval_task=[0, 2]).notnull().all()


@each_measure
def test_a_single_checkpoint_is_enough(measure):
    facts = kernels(n_checkpoints=1)
    assert measure(facts, reference="previous").isnull().all()
    assert measure(facts, reference="every").shape == (1, 3, 1)


def test_options_are_checked():
    with pytest.raises(DataError, match=r"kernel_distance, reference: expected 'init', .* found 'last'"):
        drift.kernel_distance(kernels(), reference="last")
    with pytest.raises(DataError, match="first checkpoint to be 'init', found"):
        drift.kernel_distance(kernels().isel(checkpoint=[1, 2]))
    entry = registry.get("measure", "kernel_distance")
    assert entry.needs == ("kernels",)
    assert entry.resolve({}) == {"reference": "init"}
    with pytest.raises(ValueError, match="reference"):
        entry.resolve({"reference": "last"})


# --- velocity ---------------------------------------------------------------------------------------------


def moving(steps, tasks):
    return kernels(n_checkpoints=len(steps)).assign_coords(
        step=("checkpoint", steps), task=("checkpoint", tasks)
    )


def test_velocity_is_the_distance_of_neighbours_by_the_steps_between_them():
    facts = moving([0, 5, 25, 26], ["", "task0", "task0", "task1"])
    result = drift.kernel_velocity(facts)
    assert result.dims == ("checkpoint", "eval_task")
    assert result[0].isnull().all()
    for k, taken in ((1, 5), (2, 20), (3, 1)):
        for t in range(3):
            S = 1 - loop_cosine(facts.values[k, t, t], facts.values[k - 1, t, t])
            assert result.values[k, t] == pytest.approx(S / taken, rel=1e-10)
    assert result.after_switch.values.tolist() == [False, True, False, True]


def test_velocity_by_label_and_over_all_intervals():
    facts = moving([0, 5, 25, 26], ["", "task0", "task1", "task2"])
    xr.testing.assert_allclose(
        drift.kernel_velocity(facts.isel(other_task=[2, 0, 1])), drift.kernel_velocity(facts)
    )
    entry = registry.get("measure", "kernel_velocity")
    result = entry(facts)
    number = scalars("v", result, entry.traits["scalar"])
    assert number == {"v": pytest.approx(np.nanmean(result.values))}


def test_an_interval_without_steps_has_no_velocity():
    result = drift.kernel_velocity(moving([0, 4, 4], ["", "task0", "task0"]))
    assert result[1].notnull().all()
    assert result[2].isnull().all()


@pytest.mark.parametrize("axis", ["step", "task"])
def test_velocity_needs_to_know_steps_and_tasks(axis):
    facts = moving([0, 4, 9], ["", "task0", "task1"]).drop_vars(axis)
    with pytest.raises(DataError, match=f"found no '{axis}'; assign"):
        drift.kernel_velocity(facts)
