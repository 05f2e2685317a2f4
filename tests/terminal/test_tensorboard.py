"""What TensorBoard is told, read back with its own reader."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import clntk


def scalars(folder):
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


@pytest.mark.parametrize("how", [[], ["--together"]])
def test_losses_by_epoch_and_accuracies_by_phase(cli, write_protocol, tmp_path, how):
    path, boards = write_protocol(tmp_path), tmp_path / "boards"
    done = cli("run", path, "seeds=2", "--store", tmp_path / "runs", "--tensorboard", boards, *how)
    assert done.code == 0
    runs = clntk.open_runs(tmp_path / "runs")
    assert {folder.name for folder in boards.iterdir()} == {run.run_id for run in runs}
    for run in runs:
        found = scalars(boards / run.run_id)
        metrics = run.fact("metrics")["test_accuracy"].isel(checkpoint=slice(1, None))
        for task in ("A", "B"):
            values = metrics.sel(eval_task=task).values
            assert found[f"test_accuracy/{task}"] == [
                (k, pytest.approx(v)) for k, v in enumerate(values, start=1)
            ]
        assert [step for step, _ in found["loss/train"]][-1] == 4  # two epochs of two phases


def test_without_the_flag_there_are_none(cli, write_protocol, tmp_path):
    assert cli("run", write_protocol(tmp_path), "--store", tmp_path / "runs").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml", "runs"}
