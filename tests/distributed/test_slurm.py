"""A real SLURM on this machine alone: a sweep through it, with one job cancelled half-way."""

import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import slurm
import yaml
from processes import wait_for

import clntk
from clntk.engines.slurm import slurm_cluster
from clntk.protocol import expand, load
from clntk.runs.events import What

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm.missing()), reason=f"no SLURM here: {slurm.missing()}"),
]

PROTOCOL = {
    "stream": {"name": "permuted_digits", "n_tasks": 3, "n_probe": 4},
    "strategy": {"name": "naive", "epochs": 30, "batch_size": 32, "lr": 0.02},
    "sweep": {"strategy.momentum": [0.0, 0.9]},
    "seeds": 8,
}
SETTINGS = {"walltime": "00:10:00", "memory": "2GB", "maximum": 2, "logs": "jobs"}


@pytest.fixture(scope="module")
def cluster():
    """The environment of a controller with one node: this machine."""
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        slurm.slurm(Path(folder)) as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for key in ("PATH", "SLURM_CONF"):
            patch.setenv(key, environment[key])
        yield environment


def jobs(environment, state):
    command = ["squeue", "-h", "-o", "%i", "-t", state]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_a_sweep_of_16_runs_with_one_job_cancelled_half_way(cluster, write_protocol, tmp_path, differences):
    path = write_protocol(tmp_path, **PROTOCOL)
    specs = expand(load(path))
    settings = tmp_path / "slurm.yaml"
    settings.write_text(yaml.safe_dump(SETTINGS))
    store, events, cancelled = tmp_path / "runs", [], []

    def listener(event):
        events.append(event)
        done = sum(event.what is What.DONE for event in events)
        if event.what is What.BOUNDARY and done >= 4 and not cancelled:
            cancelled.append(jobs(cluster, "R")[0])
            threading.Thread(target=subprocess.run, args=(["scancel", cancelled[0]],)).start()

    engine = {"name": "dask", "cluster": str(settings)}
    runs = clntk.run(path, store=store, engine=engine, listener=listener)
    assert len(runs) == len(specs) == 16
    assert runs.others == []
    assert cancelled
    assert not list((store / ".work").iterdir())
    trained = [(event.spec.run_id, event.info["done"]) for event in events if event.what is What.BOUNDARY]
    assert len(trained) == len(set(trained)) == 16 * 3  # no task was trained and saved twice
    resumed = [event for event in events if event.what is What.RESUMED]
    assert len(resumed) <= 1  # the run of the job that was cancelled, if it had saved a task by then
    wait_for(lambda: not jobs(cluster, "R,PD,CG"))
    assert "CANCELLED" in (tmp_path / "jobs" / f"clntk-{cancelled[0]}.err").read_text()

    whole = clntk.run(path, ["seeds=[0]"], store=tmp_path / "whole")
    assert [differences(run.path, store / run.run_id) for run in whole] == [[], []]


def test_all_talk_is_encrypted_where_it_leaves_the_machine(cluster, write_protocol, tmp_path, monkeypatch):
    settings, seen = tmp_path / "slurm.yaml", []
    settings.write_text(yaml.safe_dump({**SETTINGS, "maximum": 1, "tls": True}))
    real = slurm_cluster

    @contextmanager
    def watched(path):
        with real(path) as cluster:
            seen.append(
                (cluster.scheduler_address, [oct(p.stat().st_mode) for p in path.parent.glob("jobs/*/*")])
            )
            yield cluster

    monkeypatch.setattr("clntk.engines.slurm.slurm_cluster", watched)
    path = write_protocol(tmp_path)
    runs = clntk.run(path, store=tmp_path / "runs", engine={"name": "dask", "cluster": str(settings)})
    assert len(runs) == 1
    ((address, modes),) = seen
    assert address.startswith("tls://127.0.0.1:")
    assert modes == 3 * ["0o100600"]
    assert not list((tmp_path / "jobs").glob("clntk-tls-*"))


def test_a_job_that_slurm_does_not_take_is_refused_at_once(cluster, tmp_path):
    settings = tmp_path / "slurm.yaml"
    settings.write_text(yaml.safe_dump({**SETTINGS, "partition": "nowhere"}))
    with pytest.raises(clntk.ClntkError, match=r"does not take such a job: .*[Ii]nvalid partition"):
        clntk.registry.get("engine", "dask")(cluster=settings)
