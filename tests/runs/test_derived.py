"""Facts computed from a published run when a measure needs them; lesions of trained networks above all."""

import copy
import importlib

import numpy as np
import pytest
import torch
import xarray as xr

import clntk
from clntk import registry
from clntk.errors import StoreError
from clntk.runs import derived, lesions
from clntk.runs.derived import DERIVED
from clntk.runs.opened import Run
from clntk.strategies.training import answered

TASKS = {
    "name": "gaussian_tasks",
    "n_tasks": 3,
    "n_features": 5,
    "n_train": 60,
    "n_test": 60,
    "n_probe": 24,
    "cue": 3.0,  # so that some units are tuned
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, write_protocol):
    """A few small runs: plain, gated, with heads, of float targets, convolutional."""

    def make(**keys):
        folder = tmp_path_factory.mktemp("run")
        strategy = {"name": "naive", "epochs": 4, "batch_size": 10, "lr": 0.1, **keys.pop("strategy", {})}
        keys = {"stream": TASKS, "model": {"name": "mlp", "width": 6, "depth": 2}, "seeds": 1, **keys}
        path = write_protocol(folder, strategy=strategy, **{"measures": ["unit_tuning"], **keys})
        (run,) = clntk.run(path, store=folder / "runs")
        return Run(run.path)

    images = {"name": "permuted_images", "data": "digits", "n_tasks": 2, "n_train": 30, "n_probe": 8}
    return {
        "plain": make(),
        "centred": make(regimes={"it": {"name": "output_scale", "alpha": 20.0}}),
        "gated": make(strategy={"name": "xdg", "gated": 0.5}),
        "heads": make(stream={**TASKS, "head": "multi"}),
        "values": make(stream={"name": "context_blobs"}, model={"name": "mlp", "width": 6, "depth": 1}),
        "images": make(
            stream={**images, "flatten": False},
            model={"name": "cnn", "channels": [2, 3]},
            measures=["localism"],
        ),
    }


KINDS = ("plain", "centred", "gated", "heads", "values", "images")


@pytest.fixture(scope="module")
def facts(runs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lesions, "DRAWS", 20)
        return {kind: run.fact("lesions") for kind, run in runs.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_intact_networks_do_as_well_as_they_did(kind, runs, facts):
    run, found = runs[kind], facts[kind]["units"]
    outputs = run.fact("outputs")
    for checkpoint in run.checkpoints:
        for t, (task, y) in enumerate(run.probe_sets.targets.items()):
            f = torch.from_numpy(outputs.sel(checkpoint=checkpoint, eval_task=task).values)
            right, counted = answered(run.probe_sets.answers(f, task), y, run.probe_sets.stream.accuracy)
            row = found.sel(checkpoint=checkpoint).isel(eval_task=t)
            assert row["intact_accuracy"] == pytest.approx((right.sum() / counted.sum()).item())
            loss = run.probe_sets.losses[task](f).item()
            loss = loss / len(f) if run.probe_sets.loss.name == "sum_squared_error" else loss
            assert row["intact_loss"] == pytest.approx(loss, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", ["plain", "centred", "gated", "heads", "values"])
def test_lesions_of_units_against_networks_cut_by_hand(kind, runs, facts):
    run, found = runs[kind], facts[kind]["units"]
    network, sets = run.network(run.checkpoints[-1]), run.probe_sets
    readers = [
        name
        for name, m in network.named_modules()
        if isinstance(m, torch.nn.Linear) and ("readout" in name or "hidden2" in name)
    ]
    trained = [name for name in readers if not name.startswith("initial")]
    by_layer = {"hidden1": trained[0], "hidden2": trained[-1]}
    position = dict.fromkeys(by_layer, 0)
    for unit, layer in enumerate(found.layer.values):
        cut = copy.deepcopy(network)
        path = by_layer[str(layer)]
        with torch.no_grad():
            for place in (path, path.replace("network.", "initial.")):
                cut.get_submodule(place).weight[:, position[str(layer)]] = 0
        position[str(layer)] += 1
        for task, x in sets.inputs.items():
            f = cut(x).detach()
            right, counted = answered(sets.answers(f, task), sets.targets[task], sets.stream.accuracy)
            row = found.isel(checkpoint=-1, unit=unit).sel(eval_task=task)
            assert row["accuracy"] == pytest.approx((right.sum() / counted.sum()).item(), abs=1e-6)
            assert row["loss"] == pytest.approx(sets.losses[task](f).item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_are_those_of_unit_tuning(kind, runs, facts):
    run, groups, units = runs[kind], facts[kind]["groups"], facts[kind]["units"]
    if kind != "images":  # whose units are channels here
        tuning = registry.get("measure", "unit_tuning")(run.fact("activations"))
        for name in ("tuned", "task_only", "dead", "preferred_task"):
            xr.testing.assert_equal(units[name], tuning[name])
    for c, layer, name, task in np.ndindex(*(groups["size"].shape)):
        cell = groups["size"].isel(checkpoint=c, layer=layer, group=name, other_task=task)
        own = units.isel(checkpoint=c, unit=units.layer.values == str(cell.layer.item()))
        members = own[str(cell.group.item())] & (own["preferred_task"] == str(cell.other_task.item()))
        assert cell == members.sum()
        if cell == 0:
            at = {"checkpoint": c, "layer": layer, "group": name, "other_task": task}
            intact = groups["intact_loss"].isel(checkpoint=c)
            np.testing.assert_allclose(groups["loss"].isel(at), intact, rtol=1e-5)
            np.testing.assert_allclose(
                groups["random_loss"].isel(at),
                intact.broadcast_like(groups["random_loss"].isel(at)),
                rtol=1e-5,
            )
    assert (groups["size"].sum(["layer", "group", "other_task"]) > 0).any()


def test_a_group_of_one_is_its_unit(facts):
    groups, units = facts["plain"]["groups"], facts["plain"]["units"]
    seen = 0
    for c, layer, task in np.ndindex(groups.sizes["checkpoint"], 2, 3):
        group = groups.isel(checkpoint=c, layer=layer, other_task=task).sel(group="tuned")
        own = units.isel(checkpoint=c, unit=units.layer.values == str(group.layer.item()))
        member = (own["tuned"] & (own["preferred_task"] == str(group.other_task.item()))).values
        if member.sum() == 1:
            seen += 1
            np.testing.assert_allclose(group["loss"], own["loss"].values[member][0], rtol=1e-5)
            losses = own["loss"].where(~own["dead"], drop=True).values
            for draw in group["random_loss"].transpose("draw", "eval_task").values:
                assert np.isclose(losses, draw, rtol=1e-5).all(axis=1).any()
    assert seen


def test_channels_are_the_units_of_feature_maps(facts):
    assert facts["images"]["units"].layer.values.tolist() == ["hidden1"] * 2 + ["hidden2"] * 3


def test_a_channel_responds_by_its_rectified_mean_over_positions():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 2), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(18, 2)
    )
    inputs = {
        task: torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(t))
        for t, task in enumerate("AB")
    }
    found = lesions.rectified_activity({"end": network}, {"a": "1"}, inputs)["a"]
    for t, x in enumerate(inputs.values()):
        maps = network[:2](x).detach().numpy()
        assert (maps < 0).any()
        np.testing.assert_allclose(found.values[0, t], np.maximum(maps, 0).mean(axis=(2, 3)), rtol=1e-5)


@pytest.mark.parametrize("measure", ["localism", "lesion_damage", "unit_lesions"])
def test_measures_of_a_store_compute_what_they_need(measure, runs, facts):
    run = runs["plain"]
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    table = clntk.open_runs(run.path.parent).measure(measure, of="loss")
    assert len(table)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_protocol_may_list_measures_of_derived_facts(runs):
    run = runs["images"]
    assert [probe["name"] for probe in run.spec.probes] == ["outputs", "weights"]
    assert clntk.open_runs(run.path.parent).scalars()["measure"].tolist() == ["localism.score"]


def test_a_derived_fact_is_computed_once_and_only_if_it_was_not_recorded(runs, monkeypatch):
    run, calls = Run(runs["plain"].path), []
    monkeypatch.setattr("clntk.runs.lesions.lesions", lambda run: calls.append(run) or "facts")
    assert [run.fact("lesions"), run.fact("lesions")] == ["facts", "facts"]
    assert calls == [run]
    monkeypatch.setitem(derived.DERIVED, "outputs", "nowhere:nothing")
    assert run.fact("outputs").dims[0] == "checkpoint"


def test_derived_facts_have_functions():
    for place in DERIVED.values():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_a_fact_that_is_neither_is_refused(runs):
    with pytest.raises(StoreError, match="holds no 'lesion'"):
        runs["plain"].fact("lesion")
