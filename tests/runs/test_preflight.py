"""What cannot be trained is said before anything is written."""

import pytest

import clntk
from clntk.errors import ProtocolError
from clntk.protocol import available, expand, load
from clntk.registry import register
from clntk.runs.preflight import preflight


def problems_of(*arguments: object) -> list[str]:
    with pytest.raises(ProtocolError) as caught:
        preflight(expand(load(*arguments)))
    return [str(problem) for problem in caught.value.problems]


def test_all_conditions_that_do_not_fit_are_named_at_once():
    first, second = problems_of(
        "context_blobs", ["strategy.loss=cross_entropy", "regimes.rich.sd=[0.1]", "seeds=5"]
    )
    assert first.startswith("regimes.rich:")
    assert "init_scale.sd: expected 2 entries" in first
    assert second.startswith("regimes.lazy:")
    assert "expected squared_error or sum_squared_error" in second


def test_sweep_points_are_told_apart_and_what_is_wrong_with_several_is_said_once():
    (problem,) = problems_of("split_digits", ["sweep.stream.n_tasks=[2,11]", "seeds=1"])
    assert problem.partition(":")[0] == "regimes.rich, stream.n_tasks=11; regimes.lazy, stream.n_tasks=11"
    swept = "sweep={stream.n_tasks: [11], model.width: [4, 8, 16]}"
    (problem,) = problems_of("split_digits", [swept, "seeds=1"])
    assert problem.partition(":")[0].endswith("width=8 and 3 conditions more")


def test_every_shipped_protocol_fits():
    for name in available():
        preflight(expand(load(name, ["seeds=1"])))


def test_nothing_is_written_for_a_protocol_that_does_not_fit(tmp_path):
    with pytest.raises(ProtocolError, match="at most 10 tasks"):
        clntk.run("split_digits", ["stream.n_tasks=11"], store=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_an_error_of_somebodys_own_component_is_left_to_the_run():
    @register("stream")
    def breaks(seeds, *, n_tasks: int = 2, n_probe: int = 2):
        """A stream that breaks."""
        raise KeyError("mine")

    preflight(expand(load("smoke", ["stream.name=breaks"])))


TEACHERS = ["stream.name=teacher_student", "seeds=1"]


def test_accuracy_of_float_targets_is_refused_before_training(tmp_path):
    (problem,) = problems_of("smoke", TEACHERS)
    assert "found average_accuracy, forgetting; ask for losses instead" in problem
    with pytest.raises(ProtocolError, match="do not say what is right"):
        clntk.run("smoke", TEACHERS, store=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_losses_of_float_targets_and_accuracies_by_a_rule_are_not():
    losses = "measures=[{name: forgetting, of: loss}, {name: backward_transfer, of: loss}, final_train_loss]"
    preflight(expand(load("smoke", [*TEACHERS, losses])))
    preflight(expand(load("context_blobs", ["measures=[forgetting]"])))
