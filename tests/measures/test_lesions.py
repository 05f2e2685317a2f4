"""Lesions of networks built to be localist, distributed, or tuned but unprotected; and the score by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from clntk import registry
from clntk.errors import DataError
from clntk.measures.lesions import (
    lesion_damage,
    localism,
    localism_score,
    own_and_others,
    unit_lesions,
)
from clntk.measures.selectivity_damage import selectivity_damage, spearman
from clntk.measures.summary import scalars
from clntk.runs.lesions import lesion_accuracies, lesions
from clntk.runs.rebuild import ProbeSets
from clntk.strategies.training import Loss
from clntk.streams.base import Split, Task, TaskStream

T, PROBES = 3, 96  # tasks, and probes of each: half of them x = 0, half x = 1
seeds = st.integers(0, 2**32 - 1)


def network_of(from_x, from_cue, hidden_bias, readout, readout_bias):
    """Inputs (x, one-hot task) → ReLU units → two outputs."""
    network = nn.Sequential(nn.Linear(1 + T, len(from_x)), nn.ReLU(), nn.Linear(len(from_x), 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.cat([torch.tensor(from_x)[:, None], torch.tensor(from_cue)], dim=1))
        network[0].bias.copy_(torch.tensor(hidden_bias))
        network[2].weight.copy_(torch.tensor(readout))
        network[2].bias.copy_(torch.tensor(readout_bias))
    return network


def own_cue(units_each):
    """Units × tasks: 1 for the task that a unit belongs to."""
    return np.eye(T, dtype=np.float32).repeat(units_each, axis=0)


def localist():
    """Unit t is x in task t and silent elsewhere; the answer is 1 if any is active. Dead units beside them."""
    cue = np.concatenate([own_cue(1), np.zeros((2, T), np.float32)])
    return network_of([1.0] * T + [0.0] * 2, cue, [-1.0] * 5, [[0.0] * 5, [1.0] * 5], [0.5, 0.0])


def distributed():
    """Units respond more to a task of their own, and the answer is 1 if all of them say so, in every task."""
    n = 2 * T
    return network_of([1.0] * n, 0.5 * own_cue(2), [0.0] * n, [[0.0] * n, [1.0] * n], [n - 0.01, 0.0])


def unprotected():
    """Units of one task alone, which nothing reads, beside the one that does all the work."""
    cue = np.concatenate([own_cue(1), np.zeros((1, T), np.float32)])
    readout = [[0.0] * 4, [0.0] * T + [1.0]]
    return network_of([1.0] * T + [1.0], cue, [-1.0] * T + [0.0], readout, [0.5, 0.0])


def shared_by_two():
    """Unit t is x in the two tasks that are not t; the answer is 1 if both units of a task say so."""
    return network_of([1.0] * T, -own_cue(1), [0.0] * T, [[0.0] * T, [1.0] * T], [1.5, 0.0])


def run_of(network, *, accuracy="argmax"):
    """What lesions need of a published run."""
    x = torch.tensor([0.0, 1.0]).repeat(PROBES // 2)
    tasks = []
    for t in range(T):
        cue = functional.one_hot(torch.full((PROBES,), t), T).float()
        split = Split(torch.cat([x[:, None], cue], dim=1), x.long())
        tasks.append(Task(f"task{t}", split, split, split))
    stream = TaskStream(tuple(tasks), outputs=2, accuracy=accuracy)
    moments = xr.DataArray(
        ["init", "end"],
        dims="checkpoint",
        coords={
            "checkpoint": ["init", "end"],
            "step": ("checkpoint", [0, 7]),
            "task": ("checkpoint", ["", "end"]),
        },
    )
    silent = network_of([0.0] * 4, np.zeros((4, T)), [-1.0] * 4, np.zeros((2, 4)), [0.1, 0.0])
    first = silent if len(network[0].weight) == 4 else network
    return SimpleNamespace(
        spec=SimpleNamespace(seed=0),
        checkpoints=["init", "end"],
        probe_sets=ProbeSets(stream, Loss("cross_entropy"), gated=False),
        network=lambda checkpoint: {"init": first, "end": network}[checkpoint],
        fact=lambda name: {"outputs": moments}[name],
    )


def at_the_end(measure, network, **options):
    found = measure(lesions(run_of(network)), **options).isel(checkpoint=-1)
    return found.isel(layer=0) if "layer" in found.dims else found


# --- constructed networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["tuned", "task_only"])
def test_localist_units_are_needed_by_their_own_task_alone(group):
    damage = at_the_end(lesion_damage, localist(), group=group)
    np.testing.assert_array_equal(damage["damage"], 0.5 * np.eye(T))
    np.testing.assert_array_equal(damage["size"], 1)
    found = at_the_end(localism, localist(), group=group)
    assert (found["score"], found["own"], found["others"], found["groups"]) == (1, 0.5, 0, T)
    # the three live units are one task's each: a random group hits its task with probability 1/3
    assert damage["null_mean"].values[0, 0] == pytest.approx(0.5 / 3, abs=0.06)
    assert damage["p"].values[0, 0] == pytest.approx(1 / 3, abs=0.12)
    # all three of them do with 1/27, and are then as specific as the tuned ones
    assert found["p"] == pytest.approx(1 / 27, abs=0.05)
    assert found["null_specificity"] == pytest.approx(0, abs=0.05)
    units = at_the_end(unit_lesions, localist())
    np.testing.assert_array_equal(units["score"], [1, 1, 1, np.nan, np.nan])


def test_distributed_units_are_needed_by_all_tasks():
    assert at_the_end(lesion_damage, distributed())["size"].values.tolist() == [2, 2, 2]
    np.testing.assert_array_equal(at_the_end(lesion_damage, distributed())["damage"], 0.5)
    found = at_the_end(localism, distributed())
    assert (found["score"], found["specificity"], found["p"]) == (0, 0, 1)
    assert at_the_end(localism, distributed(), group="task_only")["groups"] == 0
    assert np.isnan(at_the_end(localism, distributed(), group="task_only")["score"])


def test_tuned_units_need_not_protect():
    found = at_the_end(localism, unprotected(), group="task_only")
    assert found["groups"] == T
    assert np.isnan(found["score"])
    assert (found["own"], found["others"], found["specificity"]) == (0, 0, 0)
    np.testing.assert_array_equal(at_the_end(unit_lesions, unprotected())["score"], [np.nan] * 3 + [0])


def test_units_that_two_tasks_share_are_in_between():
    """Unit 0 is tuned to task 1 first, units 1 and 2 to task 0; together they serve all three."""
    damage = at_the_end(lesion_damage, shared_by_two())["damage"]
    np.testing.assert_array_equal(damage, [[0.5, 0.5, 0.5], [0, 0.5, 0.5], [np.nan] * 3])
    found = at_the_end(localism, shared_by_two())
    assert (found["groups"], found["own"], found["others"], found["score"]) == (2, 0.5, 0.375, 0.25)
    np.testing.assert_array_equal(at_the_end(unit_lesions, shared_by_two())["score"], [0.5] * T)


def test_loss_sees_what_accuracy_does_not():
    """With one redundant copy of every unit nothing is answered wrongly, but less surely."""
    cue = np.concatenate([own_cue(2), np.zeros((2, T), np.float32)])
    n = 2 * T + 2
    network = network_of([1.0] * (2 * T) + [0.0] * 2, cue, [-1.0] * n, [[0.0] * n, [1.0] * n], [0.5, 0.0])
    assert at_the_end(unit_lesions, network)["damage"].max() == 0
    damage = at_the_end(unit_lesions, network, of="loss")["damage"].values[: 2 * T]
    sure, less = (
        functional.cross_entropy(torch.tensor([[0.5, s]]), torch.tensor([1])).item() for s in (2.0, 1.0)
    )
    np.testing.assert_allclose(damage, own_cue(2) * (less - sure) / 2, atol=1e-7)


def test_a_stream_without_accuracy_has_losses_only():
    facts = lesions(run_of(localist(), accuracy="none"))
    assert np.isnan(localism(facts)["score"]).all()
    assert np.isnan(localism(facts)["p"]).all()
    assert localism(facts, of="loss")["score"].values[-1, 0] == 1


def test_groups_are_those_of_the_networks_own_tuning_at_the_checkpoint():
    facts = lesions(run_of(unprotected()))
    assert facts["groups"]["size"].isel(checkpoint=0).sum() == 0  # all units are dead at the start
    assert facts["units"]["dead"].isel(checkpoint=0).all()
    assert np.isnan(localism(facts)["score"].values[0, 0])
    assert facts["groups"]["size"].isel(checkpoint=1).sel(group="task_only").sum() == T
    assert facts["units"].step.values.tolist() == facts["groups"].step.values.tolist() == [0, 7]


def test_lesions_are_fixed_by_the_seed_of_the_run():
    first, again = (lesions(run_of(distributed()))["groups"] for _ in range(2))
    xr.testing.assert_identical(first, again)


# --- any network, without a run ---------------------------------------------------------------------------


def test_lesions_of_ones_own_groups_need_no_run():
    """As in Flesch et al. 2022: both groups of task-only units, judged by sign, on tasks of unequal size."""
    network = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1)).eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    inputs = {"A": torch.randn(9, 3, generator=g), "B": torch.randn(5, 3, generator=g)}
    targets = {k: torch.randint(-1, 2, (len(x), 1), generator=g).float() for k, x in inputs.items()}
    masks = torch.rand(7, 6, generator=g) < 0.5
    found = lesion_accuracies(network, {"h": "1"}, inputs, targets, {"h": masks}, rule="sign")
    for k, mask in enumerate(masks):
        for task, x in inputs.items():
            hidden = torch.relu(network[0](x)) * ~mask
            f, y = network[2](hidden), targets[task]
            right = (f.sign() == y.sign())[y != 0].double().mean().item()
            assert found["accuracy"].values[k, list(inputs).index(task)] == pytest.approx(right)
            loss = (0.5 * (f - y) ** 2).mean().item()
            assert found["loss"].values[k, list(inputs).index(task)] == pytest.approx(loss, rel=1e-5)
    assert found.eval_task.values.tolist() == ["A", "B"]


def test_answers_are_those_within_the_head():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 4)).eval()
    x, y = torch.ones(3, 2), torch.tensor([2, 3, 2])
    heads = torch.tensor([[False, False, True, True]])
    found = lesion_accuracies(
        network, {"h": "1"}, {"A": x}, {"A": y}, {"h": torch.zeros(1, 2, dtype=torch.bool)}, heads=heads
    )
    f = network(x)[:, 2:]
    assert found["accuracy"].item() == pytest.approx((f.argmax(1) + 2 == y).double().mean().item())
    assert found["loss"].item() == pytest.approx(functional.cross_entropy(f, y - 2).item(), rel=1e-5)


# --- the score --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "others", "score"),
    [
        (0.4, 0.0, 1.0),
        (0.4, 0.1, 0.75),
        (0.4, 0.4, 0.0),
        (0.1, 0.4, -0.75),
        (0.0, 0.4, -1.0),
        (0.4, -0.2, 1.0),
        (-0.2, 0.4, -1.0),
        (0.0, 0.0, np.nan),
        (-0.1, -0.2, np.nan),
        (np.nan, 0.1, np.nan),
        (1e-12, 0.0, np.nan),
    ],
)
def test_the_score_of_known_damages(own, others, score):
    np.testing.assert_allclose(localism_score(np.array(own), np.array(others)), score)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.5, 100))
@settings(deadline=None)
def test_the_score_is_bounded_antisymmetric_and_blind_to_scale(own, others, scale):
    score = localism_score(np.array(own), np.array(others))
    if np.isnan(score):
        assert max(own, others) <= 1e-9
        return
    assert -1 <= score <= 1
    np.testing.assert_allclose(localism_score(np.array(others), np.array(own)), -score, atol=1e-12)
    np.testing.assert_allclose(
        localism_score(np.array(scale * own), np.array(scale * others)), score, atol=1e-6
    )
    if own >= others >= 0:
        assert score == pytest.approx(1 - others / own)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_means_over_groups_against_loops(seed):
    rng = np.random.default_rng(seed)
    damage, present = rng.normal(size=(4, 4)), rng.random(4) < 0.6
    damage[~present] = np.nan
    own, others = own_and_others(damage, present)
    diagonal = [damage[t, t] for t in range(4) if present[t]]
    rest = [damage[t, s] for t in range(4) for s in range(4) if present[t] and s != t]
    for found, expected in ((own, diagonal), (others, rest)):
        np.testing.assert_allclose(found, np.mean(expected) if expected else np.nan)


# --- measures of facts ------------------------------------------------------------------------------------


@pytest.fixture
def facts():
    """Facts of two layers, three tasks and five draws, with a group that is empty."""
    rng = np.random.default_rng(0)
    names = [f"task{t}" for t in range(3)]
    dims = ("checkpoint", "layer", "group", "other_task")
    size = rng.integers(1, 4, (2, 2, 2, 3))
    size[1, 0, 0, 1] = 0
    groups = xr.Dataset(
        {
            "accuracy": ((*dims, "eval_task"), rng.random((2, 2, 2, 3, 3))),
            "loss": ((*dims, "eval_task"), rng.random((2, 2, 2, 3, 3))),
            "random_accuracy": ((*dims, "draw", "eval_task"), rng.random((2, 2, 2, 3, 5, 3))),
            "random_loss": ((*dims, "draw", "eval_task"), rng.random((2, 2, 2, 3, 5, 3))),
            "size": (dims, size),
            "intact_accuracy": (("checkpoint", "eval_task"), rng.random((2, 3))),
            "intact_loss": (("checkpoint", "eval_task"), rng.random((2, 3))),
        },
        coords={
            "checkpoint": ["init", "end"],
            "layer": ["a", "b"],
            "group": ["tuned", "task_only"],
            "other_task": names,
            "eval_task": names,
        },
    )
    return {"groups": groups}


@pytest.mark.parametrize("of", ["accuracy", "loss"])
@pytest.mark.parametrize("group", ["tuned", "task_only"])
def test_damage_against_loops(of, group, facts):
    found, g = lesion_damage(facts, group=group, of=of), facts["groups"].sel(group=group)
    sign = 1 if of == "accuracy" else -1
    for c, layer, t, s in np.ndindex(2, 2, 3, 3):
        at = {"checkpoint": c, "layer": layer, "other_task": t, "eval_task": s}
        cell, known = found.isel(at), g["size"].isel(checkpoint=c, layer=layer, other_task=t) > 0
        intact = g[f"intact_{of}"].isel(checkpoint=c, eval_task=s).item()
        damage = sign * (intact - g[of].isel(at).item())
        random = sign * (intact - g[f"random_{of}"].isel(at).values)
        expected = {
            "damage": damage,
            "null_mean": random.mean(),
            "null_sd": np.sqrt(((random - random.mean()) ** 2).sum() / 4),
            "p": (1 + sum(r >= damage for r in random)) / 6,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(cell[name], value if known else np.nan, err_msg=name)


@pytest.mark.parametrize("of", ["accuracy", "loss"])
def test_localism_against_loops(of, facts):
    found, g = localism(facts, of=of), facts["groups"].sel(group="tuned")
    sign = 1 if of == "accuracy" else -1
    for c, layer in np.ndindex(2, 2):
        at = {"checkpoint": c, "layer": layer}
        there = g["size"].isel(at).values > 0
        intact = g[f"intact_{of}"].isel(checkpoint=c).values

        def specificity(values, there=there, intact=intact):
            damage = sign * (intact - values)
            own = np.mean([damage[t, t] for t in range(3) if there[t]])
            others = np.mean([damage[t, s] for t in range(3) for s in range(3) if there[t] and t != s])
            return own, others, own - others

        own, others, difference = specificity(g[of].isel(at).values)
        random = g[f"random_{of}"].isel(at).transpose("draw", "other_task", "eval_task").values
        null = [specificity(draw)[2] for draw in random]
        expected = {
            "own": own,
            "others": others,
            "specificity": difference,
            "null_specificity": np.mean(null),
            "p": (1 + sum(n >= difference for n in null)) / 6,
            "groups": there.sum(),
            "score": localism_score(np.array(own), np.array(others)),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name].isel(at), value, err_msg=name)


def test_tasks_are_paired_by_label(facts):
    turned = {"groups": facts["groups"].isel(other_task=[2, 0, 1])}
    for measure in (localism, lesion_damage):
        xr.testing.assert_allclose(measure(turned), measure(facts))


def test_measures_are_registered_with_numbers_for_tables():
    facts = lesions(run_of(localist()))
    found = {}
    for name in ("localism", "lesion_damage", "unit_lesions"):
        entry = registry.get("measure", name)
        assert entry.needs == ("lesions",)
        found |= scalars(name, entry(facts), entry.traits["scalar"])
    assert found == {
        "localism.score": 1.0,
        "lesion_damage.own": 0.5,
        "lesion_damage.others": 0.0,
        "lesion_damage.size": 1.0,
        "unit_lesions.score": 1.0,
    }


def test_options_that_do_not_exist_are_refused(facts):
    with pytest.raises(DataError, match="expected one of tuned, task_only, found 'mixed'"):
        localism(facts, group="mixed")
    with pytest.raises(DataError, match="expected 'accuracy' or 'loss', found 'error'"):
        lesion_damage(facts, of="error")


def _units(damage, dead=()):
    """Facts of single lesions: the loss on two tasks rises by ``damage``, once intact 0."""
    n = len(damage)
    unit = {"unit": np.arange(n)}
    loss = np.repeat(np.asarray(damage, float)[None, :, None], 2, axis=2)
    units = xr.Dataset(
        {
            "intact_loss": (("checkpoint", "eval_task"), np.zeros((1, 2))),
            "loss": (("checkpoint", "unit", "eval_task"), loss),
        },
        coords={"checkpoint": ["end"], "eval_task": ["A", "B"], **unit},
    )
    values = np.zeros((1, 2, 3, n))
    for i in range(n):  # from no selectivity up to all of it
        values[0, 0, :, i], values[0, 1, :, i] = 1.0, 1 - i / (n - 1)
    values[..., list(dead)] = 0
    dims = ["checkpoint", "eval_task", "probe", "unit"]
    coords = {"checkpoint": ["end"], "eval_task": ["A", "B"]}
    return {"units": units}, {"h": xr.DataArray(values, dims=dims, coords=coords)}


@pytest.mark.parametrize(
    ("damage", "dead", "expected"),
    [
        ([1, 2, 3, 4], (), 1.0),
        ([4, 3, 2, 1], (), -1.0),
        ([1, 1, 1, 1], (), np.nan),
        ([1, 2, 3, 0], (3,), 1.0),
    ],
)
def test_selectivity_damage_is_a_rank_correlation_over_live_units(damage, dead, expected):
    found = selectivity_damage(*_units(damage, dead))
    np.testing.assert_allclose(found.sel(checkpoint="end").item(), expected)


def test_spearman_is_scipys():
    x, y = np.random.default_rng(0).normal(size=(2, 30))
    assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
