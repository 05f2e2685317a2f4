"""A run's networks from its folder alone: they answer as they did when the facts were recorded."""

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional

import clntk
from clntk import registry
from clntk.errors import DamagedRun, StoreError
from clntk.runs.files import sha256
from clntk.runs.opened import Run
from clntk.strategies.training import accuracy

STREAMS = '''
"""Streams of noise in several shapes, whose training data a rebuilt network must not need."""

import torch

from clntk import register
from clntk.streams.base import Split, Task, TaskStream


def _noise(seeds, shape):
    g = torch.Generator().manual_seed(seeds.seed)
    split = lambda n: Split(torch.randn(n, *shape, generator=g), torch.arange(n) % 3)
    return TaskStream(tuple(Task(f"task{t}", split(24), split(12), split(7)) for t in range(2)))


@register("stream")
def noise_images(seeds):
    """Images."""
    return _noise(seeds, (2, 4, 4))


@register("stream")
def noise_sequences(seeds):
    """Sequences."""
    return _noise(seeds, (3, 4))
'''
FLAT = {"name": "gaussian_tasks", "n_tasks": 3, "n_features": 5, "n_train": 30, "n_test": 20, "n_probe": 8}
BLOBS = {"name": "context_blobs"}
IMAGES, SEQUENCES = {"name": "noise_images"}, {"name": "noise_sequences"}
MLP = {"name": "mlp", "width": 6, "depth": 2}
MODELS = {
    "deep_linear": ({"width": 6}, FLAT),
    "random_features": ({"width": 8}, FLAT),
    "cnn": ({"channels": [3, 4]}, IMAGES),
    "resnet": ({"width": 3, "stages": 2}, IMAGES),
    "rnn": ({"width": 5}, SEQUENCES),
    "transformer": ({"width": 4, "depth": 1, "heads": 2, "patch": 2}, SEQUENCES),
    "custom": ({"path": "clntk.models.mlp:mlp", "kwargs": {"width": 6}}, FLAT),
}
STRATEGIES = {
    "xdg": ({"gated": 0.5}, FLAT),
    "packnet": ({}, FLAT),
    "packnet, heads": ({}, {**FLAT, "head": "multi"}),
    "context_gating": ({}, BLOBS),
    "ewc": ({}, {**FLAT, "head": "multi"}),
}
STATEFUL = ("output_scale", "linearized")  # regimes that keep the network at initialisation


@pytest.fixture(scope="module")
def one_run(tmp_path_factory, write_protocol):
    """A run of a small protocol, which is not kept in memory in any way."""

    streams = tmp_path_factory.getbasetemp() / "streams.py"  # one file, however often this is set up
    streams.write_text(STREAMS)

    def make(**keys):
        folder = tmp_path_factory.mktemp("run")
        keys = {"stream": FLAT, "model": MLP, "probes": ["outputs", "activations"], "measures": [], **keys}
        strategy = {"name": "naive", "epochs": 1, "batch_size": 10, "lr": 0.05, **keys.pop("strategy", {})}
        path = write_protocol(folder, strategy=strategy, use=[str(streams)], seeds=1, **keys)
        (run,) = clntk.run(path, store=folder / "runs")
        return Run(run.path)

    return make


@pytest.fixture(scope="module")
def plain_run(one_run):
    """To look at, and not to change."""
    return one_run()


@pytest.fixture
def breakable(plain_run, tmp_path):
    """A copy of it, to change."""
    return Run(shutil.copytree(plain_run.path, tmp_path / plain_run.run_id))


def _assert_answers_as_recorded(run):
    recorded = run.fact("outputs")
    assert run.checkpoints == recorded.checkpoint.values.tolist()
    inputs = torch.cat(list(run.probe_sets.inputs.values()))
    for checkpoint in run.checkpoints:
        network = run.network(checkpoint)
        assert not any(module.training for module in network.modules())
        found = network(inputs).detach().numpy()
        expected = recorded.sel(checkpoint=checkpoint).values
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    first, last = recorded.isel(checkpoint=0), recorded.isel(checkpoint=-1)
    assert not np.allclose(first, last), "training changed nothing, so that nothing was tested"


@pytest.mark.parametrize("model", registry.names("model"))
def test_every_model_answers_as_recorded(model, one_run):
    options, stream = MODELS.get(model, ({}, FLAT))
    _assert_answers_as_recorded(one_run(model={"name": model, **options}, stream=stream))


@pytest.mark.parametrize("regime", registry.names("regime"))
def test_every_regime_answers_as_recorded(regime, one_run):
    options = {"alpha": 5.0} if regime == "output_scale" else {}
    _assert_answers_as_recorded(one_run(regimes={"it": {"name": regime, **options}}))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("regime", ["standard", *STATEFUL])
def test_gates_and_shares_of_weights_are_restored(strategy, regime, one_run):
    options, stream = STRATEGIES[strategy]
    name = strategy.partition(",")[0]
    if name == "packnet" and regime in STATEFUL:
        pytest.skip("refused by the strategy itself")
    keys = {"regimes": {"it": {"name": regime}}, "stream": stream}
    _assert_answers_as_recorded(one_run(strategy={"name": name, **options}, **keys))


def test_a_gated_network_answers_each_task_with_its_own_gate(one_run):
    run = one_run(strategy={"name": "xdg", "gated": 0.5})
    network, x = run.network("task0"), run.probe_sets.stream.tasks[0].probe.x
    zeros = [
        network(torch.cat([x, torch.full((len(x), 1), float(t))], dim=1)).detach().numpy() for t in range(3)
    ]
    assert not np.allclose(zeros[0], zeros[1])
    assert not np.allclose(zeros[0], zeros[2])


@pytest.mark.parametrize("stream", [FLAT, {**FLAT, "head": "multi"}, BLOBS], ids=["flat", "heads", "values"])
def test_probe_sets_are_those_of_the_stream(stream, one_run, seeds):
    run = one_run(stream=stream)
    given, kept = registry.get("stream", stream["name"]), run.probe_sets.stream
    made = given(seeds, **{k: v for k, v in stream.items() if k != "name"})
    assert kept.shape == made.shape
    same = ("task_names", "target", "accuracy", "chance", "heads")
    assert [getattr(kept, name) for name in same] == [getattr(made, name) for name in same]
    for task in made.tasks:
        assert torch.equal(run.probe_sets.inputs[task.name], task.probe.x)
        assert torch.equal(run.probe_sets.targets[task.name], task.probe.y)


def test_probe_sets_judge_as_the_run_did(one_run):
    """Test sets as probes: loss and accuracy are the run's own metrics, within the heads."""
    stream = {**FLAT, "head": "multi", "n_test": 8}
    run = one_run(stream=stream, strategy={"loss": "squared_error"})
    probes, network, metrics = (
        run.probe_sets,
        run.network("task1"),
        run.fact("metrics").sel(checkpoint="task1"),
    )
    for task, x in probes.inputs.items():
        f = network(x)
        answers = probes.answers(f, task)
        assert probes.losses[task](f).item() == pytest.approx(metrics.test_loss.sel(eval_task=task).item())
        found = accuracy(answers, probes.targets[task], "argmax").item()
        assert found == pytest.approx(metrics.test_accuracy.sel(eval_task=task).item())
        own = probes.heads[probes.stream.task_names.index(task)]
        wanted = functional.one_hot(probes.targets[task], probes.stream.outputs)
        by_hand = 0.5 * (f - wanted)[:, own].square().sum() / len(f)
        assert probes.losses[task](f).item() == pytest.approx(by_hand.item())


def test_networks_are_new_each_time_and_of_the_type_asked_for(one_run):
    run = one_run(regimes={"it": {"name": "output_scale", "alpha": 2.0}})
    first = run.network("task0")
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert next(run.network("task0").parameters()).any()
    double = run.network("task0", dtype=torch.float64)
    assert {t.dtype for t in [*double.parameters(), *double.buffers()]} == {torch.float64}


def test_rebuilding_draws_from_no_global_generator(plain_run):
    before = torch.get_rng_state()
    plain_run.network("init")
    assert torch.equal(torch.get_rng_state(), before)


def test_disk_alone_is_enough(one_run):
    """No Avalanche, no data, and no stream to make them."""
    run = one_run(stream=IMAGES, model={"name": "cnn", "channels": [3, 4]})
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from clntk.runs.opened import Run\n"
        "run = Run(Path(sys.argv[1]))\n"
        "run.network('init')(*[x for x in run.probe_sets.inputs.values()][:1])\n"
        "loaded = [name for name in sys.modules if name.startswith(('avalanche', 'sklearn', 'clntk_used'))]\n"
        "assert not loaded, loaded[0]"
    )
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True, timeout=60)


def test_an_unknown_checkpoint_is_refused_with_those_there_are(plain_run):
    with pytest.raises(StoreError, match=r"expected a checkpoint of init, task0, task1, task2, found 'end'"):
        plain_run.network("end")


def test_changed_weights_are_refused(breakable):
    file = breakable.path / "weights" / "task0.safetensors"
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    breakable.network("init")
    with pytest.raises(DamagedRun, match=r"weights/task0.safetensors is not what was published"):
        breakable.network("task0")


def test_runs_that_stored_too_little_say_what_to_do(breakable):
    """Those of a clntk that did not yet store heads."""
    path = breakable.path
    with h5py.File(path / "facts.nc", "a") as file:
        del file["probes/heads"]
    provenance = json.loads((path / "provenance.json").read_text())
    provenance["files"]["facts.nc"] = {
        "bytes": (path / "facts.nc").stat().st_size,
        "sha256": sha256(path / "facts.nc"),
    }
    (path / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(StoreError, match=r"expected the outputs of each task .* run it again"):
        Run(path).network("init")


def test_another_architecture_is_refused_by_name(breakable):
    breakable.spec.model["depth"] = 3
    with pytest.raises(StoreError, match=r"(?s)model 'mlp' under regime 'standard'.*hidden3.linear.weight"):
        breakable.network("init")


MODEL = '''
import torch
from clntk import register
from torch import nn


class Noisy(nn.Linear):
    """With noise that is drawn once, and not stored with the weights."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.noise = torch.randn(sizes[0])

    def forward(self, x):
        return super().forward(x + self.noise)


@register("model")
def my_model(shape):
    """A model of somebody's own."""
    return nn.Sequential(Noisy(*shape.inputs, 4), nn.{nonlinearity}(), nn.Linear(4, shape.outputs))
'''


def test_a_users_own_model_is_loaded_once_it_is_named_and_refused_once_it_changed(
    tmp_path, write_protocol, forget
):
    file = tmp_path / "mine.py"
    file.write_text(MODEL.format(nonlinearity="ReLU"))
    protocol = write_protocol(
        tmp_path, stream=FLAT, model={"name": "my_model"}, use=["./mine.py"], probes=["outputs"], seeds=1
    )
    (run,) = clntk.run(protocol, store=tmp_path / "runs")
    forget()
    with pytest.raises(StoreError, match=r"a run loads no code by itself.*--use FILE or clntk.use\(FILE\)"):
        Run(run.path).network("init")
    clntk.use(file)
    _assert_answers_as_recorded(Run(run.path))
    file.write_text(MODEL.format(nonlinearity="Tanh"))
    with pytest.raises(StoreError, match=r"mine.py: expected the model 'my_model' that small-plain"):
        Run(run.path).network("init")
