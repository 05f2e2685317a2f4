"""One run: what it publishes, that the numbers in it are right, and that nothing can change them."""

import fcntl
import hashlib
import json
import math
import subprocess
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset

import clntk
from clntk.protocol import RunSpec, expand, load
from clntk.runs.boundary import callers_generators, seed_generators
from clntk.runs.build import build
from clntk.runs.events import What
from clntk.runs.execute import execute
from clntk.runs.index import INDEX
from clntk.runs.run import run_specs
from clntk.runs.store import RunStore
from clntk.seeding import Purpose, Seeds

CHECKPOINTS = ["init", "task0", "task1"]


@pytest.fixture(scope="module")
def runs(smoke_runs):
    """The smoke runs by regime and seed."""
    return {(run.spec.regime, run.spec.seed): run for run in smoke_runs}


@pytest.fixture(scope="module")
def rich(runs):
    return runs["rich", 0]


def rebuilt(run, checkpoint):
    """The stream and the network of a run, built anew from its spec, with the weights it had at a checkpoint."""
    built = build(run.spec)
    built.regime.model.load_state_dict(load_file(run.path / "weights" / f"{checkpoint}.safetensors"))
    return built.stream, built.regime.model.eval()


@contextmanager
def locked(store, spec):
    """A run's lock, held as another process would hold it."""
    with (store.root / ".locks" / f"{spec.run_id}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class TestLayout:
    def test_a_run_is_these_files_and_no_others(self, smoke_runs):
        weights = [f"weights/{checkpoint}.safetensors" for checkpoint in CHECKPOINTS]
        expected = {"spec.yaml", "provenance.json", "log.txt", "facts.nc", "metrics.parquet", *weights}
        assert [set(files_of(run.path)) for run in smoke_runs] == [expected] * 4

    def test_nothing_is_left_of_the_work(self, smoke_runs):
        folders = {path.name for path in smoke_runs.root.iterdir()}
        assert folders == {".work", ".locks", INDEX, *(run.run_id for run in smoke_runs)}
        assert not list((smoke_runs.root / ".work").iterdir())

    def test_no_file_can_execute_code(self, rich):
        magic = {".nc": b"\x89HDF", ".parquet": b"PAR1"}
        for name, data in files_of(rich.path).items():
            suffix = Path(name).suffix
            if suffix == ".safetensors":
                json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            elif suffix in magic:
                assert data.startswith(magic[suffix])
            else:
                data.decode("utf-8")
            assert b"numpy.core" not in data  # as pickled arrays name it
            assert b"torch._utils" not in data

    def test_facts_once_read_are_in_memory(self, smoke_copy):
        run = clntk.open_runs(smoke_copy).runs[0]
        nodes = list(run.tree.subtree)
        (run.path / "facts.nc").unlink()
        assert all(len(v.values) == len(v) for n in nodes for v in n.variables.values() if v.ndim)

    def test_facts_are_labelled_groups(self, rich):
        tree = xr.open_datatree(rich.path / "facts.nc", engine="netcdf4").load()
        dims = {
            node.path: dict(next(iter(node.dataset.data_vars.values())).sizes)
            for node in tree.leaves
            if node.path != "/losses"
        }
        look = {"checkpoint": 3, "eval_task": 2, "probe": 12}
        assert dims == {
            "/outputs": look | {"output": 10},
            "/activations/hidden1": look | {"unit": 32},
            "/kernels": look | {"other_task": 2, "other_probe": 12},
            "/schedule": {"checkpoint": 3, "eval_task": 2},
            "/probes": {"eval_task": 2, "probe": 12, "feature_0": 64},
            "/stream": {"eval_task": 2, "other_task": 2},
        }
        assert list(tree["outputs"].checkpoint.values) == CHECKPOINTS
        assert list(tree["outputs"].task.values) == ["", "task0", "task1"]
        assert tree["schedule"].trained.values.tolist() == [[False, False], [True, False], [False, True]]
        assert tree["kernels"].kernels.dtype == np.float64
        assert tree.attrs["run"] == rich.run_id
        assert tree.attrs["chance"] == 0.1
        assert RunSpec.from_dict(json.loads(tree.attrs["spec"])) == rich.spec

    def test_metrics_are_one_tidy_table(self, rich):
        table = pd.read_parquet(rich.path / "metrics.parquet")
        labels = [
            "run",
            "regime",
            "seed",
            "checkpoint",
            "step",
            "trained_task",
            "eval_task",
            "metric",
            "value",
        ]
        assert list(table.columns) == labels
        assert len(table) == len(table.drop_duplicates(labels[:-1])) == 3 * 2 * 4
        assert set(table.metric) == {"train_loss", "train_accuracy", "test_loss", "test_accuracy"}
        assert set(zip(table.checkpoint, table.step, table.trained_task, strict=True)) == {
            ("init", 0, ""),
            ("task0", 66, "task0"),
            ("task1", 132, "task1"),
        }

    def test_weights_say_which_tensors_are_parameters(self, rich):
        with safe_open(rich.path / "weights" / "task1.safetensors", framework="pt") as file:
            parameters, tensors = set(file.metadata()["parameters"].split("\n")), set(file.keys())
        assert parameters == {name for name, _ in build(rich.spec).regime.model.named_parameters()}
        assert {name.replace("network.", "initial.", 1) for name in parameters} == tensors - parameters

    def test_spec_is_plain_yaml_and_names_the_run(self, rich):
        spec = RunSpec.from_dict(yaml.safe_load((rich.path / "spec.yaml").read_text()))
        assert spec == rich.spec
        assert spec.run_id == rich.path.name

    def test_log_tells_every_checkpoint(self, rich):
        lines = (rich.path / "log.txt").read_text().splitlines()
        assert [line.partition(":")[0] for line in lines] == CHECKPOINTS
        assert "step 132, test accuracy 0." in lines[-1]

    def test_provenance_says_by_what_and_when(self, rich):
        facts = json.loads((rich.path / "provenance.json").read_text())
        assert facts["format"] == 1
        assert facts["run"] == rich.run_id
        assert facts["clntk"] == clntk.__version__
        assert facts["packages"]["torch"] == torch.__version__.partition("+")[0]
        assert facts["device"] == "cpu"
        assert facts["command"]
        assert facts["steps"] == 132 == len(rich.tree["losses"].loss)
        assert 0 < facts["seconds"] < 60
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(clntk.__file__).parent
        )
        if head.returncode == 0:
            assert facts["git"]["commit"] == head.stdout.strip()
            assert isinstance(facts["git"]["dirty"], bool)

    def test_provenance_holds_the_checksum_of_every_other_file(self, rich):
        files = files_of(rich.path)
        del files["provenance.json"]
        assert rich.provenance["files"] == {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        }


class TestValues:
    @pytest.mark.parametrize("checkpoint", CHECKPOINTS)
    @pytest.mark.parametrize("key", [("rich", 0), ("lazy", 1)])
    def test_accuracies_are_those_of_the_stored_weights(self, runs, key, checkpoint):
        stream, model = rebuilt(runs[key], checkpoint)
        table = pd.read_parquet(runs[key].path / "metrics.parquet")
        stored = table[table.checkpoint == checkpoint].set_index(["eval_task", "metric"])["value"]
        for task in stream.tasks:
            for part in ("train", "test"):
                split = getattr(task, part)
                with torch.no_grad():
                    f = model(split.x)
                right = (f.argmax(1) == split.y).sum().item()
                assert stored[task.name, f"{part}_accuracy"] == pytest.approx(right / len(split), abs=1e-7)
                log_p = f.double().log_softmax(1)[torch.arange(len(split)), split.y]
                assert stored[task.name, f"{part}_loss"] == pytest.approx(-log_p.mean().item(), rel=1e-5)

    def test_outputs_and_activations_are_those_of_the_stored_weights(self, runs):
        for run in runs.values():
            for checkpoint in CHECKPOINTS:
                stream, model = rebuilt(run, checkpoint)
                outputs = run.fact("outputs").sel(checkpoint=checkpoint)
                hidden = run.fact("activations")["hidden1"].sel(checkpoint=checkpoint)
                for task in stream.tasks:
                    x = task.probe.x
                    with torch.no_grad():
                        f, h = model(x), model.network.hidden1(x)
                    np.testing.assert_allclose(outputs.sel(eval_task=task.name), f, rtol=1e-5, atol=1e-5)
                    np.testing.assert_allclose(hidden.sel(eval_task=task.name), h, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("key", [("rich", 0), ("lazy", 0)])
    def test_kernels_are_those_of_the_stored_weights_in_float64(self, runs, key):
        for checkpoint in CHECKPOINTS:
            stream, model = rebuilt(runs[key], checkpoint)
            x = torch.cat([task.probe.x for task in stream.tasks]).double()
            kernel = clntk.empirical_ntk(model.double(), x, mode="trace").detach().numpy()
            stored = runs[key].fact("kernels").sel(checkpoint=checkpoint)
            np.testing.assert_array_equal(
                stored.transpose("eval_task", "probe", "other_task", "other_probe").values.reshape(24, 24),
                kernel,
            )

    def test_a_kernel_entry_is_the_sum_of_gradient_products(self, rich):
        stream, model = rebuilt(rich, "task1")
        model.double()

        def gradients(x):
            f = model(x[None].double())[0]
            rows = [torch.autograd.grad(f_c, list(model.parameters()), retain_graph=True) for f_c in f]
            return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])

        a, b = gradients(stream.tasks[0].probe.x[2]), gradients(stream.tasks[1].probe.x[5])
        stored = rich.fact("kernels").sel(checkpoint="task1", eval_task="task0", other_task="task1")
        assert float(stored.sel(probe=2, other_probe=5)) == pytest.approx((a * b).sum().item(), rel=1e-12)

    def test_a_centred_network_starts_from_the_loss_of_a_guess(self, runs):
        for run in runs.values():
            losses = run.tree["losses"].loss
            assert float(losses[0]) == pytest.approx(math.log(10), rel=1e-6)
            assert list(losses.step.values) == list(range(1, 133))

    def test_regimes_of_one_seed_share_stream_and_initial_weights(self, runs):
        rich, lazy, other = runs["rich", 0], runs["lazy", 0], runs["rich", 1]
        assert rich.tree["probes"].dataset.identical(lazy.tree["probes"].dataset)
        assert not rich.tree["probes"].dataset.equals(other.tree["probes"].dataset)
        first = [run.fact("weights").sel(checkpoint="init") for run in (rich, lazy, other)]
        assert first[0].equals(first[1])
        assert not first[0].equals(first[2])
        assert not rich.fact("weights").equals(lazy.fact("weights"))

    def test_a_plain_loop_ends_in_the_same_bits(self, runs):
        for run in runs.values():
            built, training = build(run.spec), run.spec.strategy
            model = built.regime.model.train()
            optimizer = torch.optim.SGD(model.parameters(), lr=training["lr"] * built.regime.lr_scale)
            with callers_generators():
                seed_generators(Seeds(run.spec.seed).integer(Purpose.ORDER))
                for task in built.stream.tasks:
                    data = TensorDataset(task.train.x, task.train.y)
                    for _ in range(training["epochs"]):
                        for x, y in DataLoader(data, batch_size=training["batch_size"], shuffle=True):
                            optimizer.zero_grad()
                            torch.nn.functional.cross_entropy(model(x), y).backward()
                            optimizer.step()
            stored = load_file(run.path / "weights" / "task1.safetensors")
            assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())


class TestAgain:
    def test_the_same_spec_in_another_store_gives_the_same_bits(self, smoke_runs, tmp_path, differences):
        torch.manual_seed(5)  # what the process did before must not matter
        torch.set_default_dtype(torch.float64)
        try:
            again = clntk.run("smoke", ["seeds=[1]"], store=tmp_path / "other")
            networks = [run.network("init") for run in again]
            assert torch.get_default_dtype() == torch.float64
        finally:
            torch.set_default_dtype(torch.float32)
        assert len(again) == 2
        assert {p.dtype for network in networks for p in network.parameters()} == {torch.float32}
        for run in again:
            assert differences(smoke_runs.root / run.run_id, run.path) == []

    def test_a_finished_protocol_is_left_alone(self, smoke_copy):
        def state():
            return {
                p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else None)
                for p in smoke_copy.rglob("*")
                if p.name != INDEX  # of where the copy came from
            }

        before, events = state(), []
        runs = clntk.run("smoke", store=smoke_copy, listener=events.append)
        assert state() == before
        assert [event.what for event in events] == [What.SKIPPED] * 4
        assert len(runs) == 4

    def test_only_what_is_missing_is_run(self, smoke_copy):
        events = []
        runs = clntk.run("smoke", ["seeds=3"], store=smoke_copy, listener=events.append)
        ended = [(event.spec.seed, event.what) for event in events if event.what in (What.SKIPPED, What.DONE)]
        assert ended == [(0, "skipped"), (1, "skipped"), (2, "done")] * 2
        assert runs.seeds == [0, 1, 2]


class TestEvents:
    def test_a_run_tells_what_it_does_in_order(self, write_protocol, tmp_path):
        events = []
        clntk.run(write_protocol(tmp_path), store=tmp_path / "runs", listener=events.append)
        what = [event.what.value for event in events]
        phase = ["epoch", "epoch", "boundary"]
        assert what == ["started", *phase, *phase, "done"]
        epochs = [event.info for event in events if event.what is What.EPOCH]
        assert [(e["phase"], e["epoch"], e["epochs"]) for e in epochs] == [
            ("A", 1, 2), ("A", 2, 2), ("B", 1, 2), ("B", 2, 2),
        ]  # fmt: skip
        assert [event.info["done"] for event in events if event.what is What.BOUNDARY] == [1, 2]

    @pytest.mark.parametrize("strategy", ["naive", "replay", "ewc"])
    def test_stopped_at_any_event_it_goes_on_to_the_same_bits(
        self, write_protocol, tmp_path, differences, strategy
    ):
        options = {"name": strategy, "epochs": 2, "batch_size": 10, "lr": 0.05, "momentum": 0.9}
        path = write_protocol(tmp_path, stream={"name": "permuted_digits", "n_tasks": 3, "n_probe": 3,
                              "test_fraction": 0.9}, strategy=options)  # fmt: skip
        (whole,) = clntk.run(path, store=tmp_path / "whole")
        met = []

        def stop_at_what_is_new(event):
            this = (event.what, event.info.get("phase"), event.info.get("epoch"))
            if event.what is not What.RESUMED and this not in met:
                met.append(this)
                raise KeyboardInterrupt

        for _ in range(20):
            try:
                (run,) = clntk.run(path, store=tmp_path / "stopped", listener=stop_at_what_is_new)
                break
            except KeyboardInterrupt:
                continue
        assert len(met) == 12  # started, three times two epochs and a boundary, done, skipped
        assert differences(whole.path, run.path) == []

    def test_a_joint_run_has_one_phase(self, write_protocol, tmp_path):
        path = write_protocol(tmp_path, strategy={"name": "joint", "epochs": 1, "batch_size": 10})
        (run,) = clntk.run(path, store=tmp_path / "runs")
        schedule = run.tree["schedule"]
        assert list(schedule.checkpoint.values) == ["init", "joint"]
        assert schedule.trained.values.tolist() == [[False, False], [True, True]]


class TestOtherProcesses:
    def test_a_run_in_other_hands_is_busy_and_untouched(self, write_protocol, tmp_path):
        (spec,) = expand(load(write_protocol(tmp_path)))
        store = RunStore(tmp_path / "runs")
        store.enrol([spec])
        with locked(store, spec):
            before = files_of(store.work(spec.run_id))
            assert execute(spec, store).status == "busy"
            assert files_of(store.work(spec.run_id)) == before

    def test_a_busy_run_is_waited_for(self, write_protocol, tmp_path):
        specs = expand(load(write_protocol(tmp_path), ["seeds=2"]))
        store = RunStore(tmp_path / "runs")
        store.enrol(specs)
        events, lock = [], ExitStack()
        lock.enter_context(locked(store, specs[0]))

        def told(event):
            events.append((event.spec.seed, event.what))
            if event.what is What.WAITING:
                threading.Timer(0.1, lock.close).start()

        tally = run_specs(specs, store=store.root, listener=told)
        assert Counter(outcome.status for outcome in tally.outcomes) == {"done": 2}
        waiting = events.index((0, What.WAITING))
        assert events.index((1, What.DONE)) < waiting < events.index((0, What.STARTED))
