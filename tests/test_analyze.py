"""Questions asked of saved runs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import clntk
from clntk import registry
from clntk.analyze import analyze
from clntk.errors import NotApplicable, StoreError, UnknownName
from clntk.figures.answer import Answer
from clntk.runs.runset import RunSet


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


# those that every set of runs can be asked; the others are for some runs, and say so of the rest
EVERYWHERE = ("kernel_drift", "laziness", "interference", "forgetting", "task_tuning", "coding", "geometry")


def checked(answer: Answer) -> Answer:
    """What every answer owes its reader."""
    assert isinstance(answer, Answer)
    assert answer.title.endswith("?")
    assert len(answer.table)
    assert {"rich", "lazy"} <= {condition.partition(",")[0] for condition in answer.table.condition}
    assert "rich" in answer.text
    assert "lazy" in answer.text
    assert answer.caption
    assert all(
        axis.has_data() for axis in answer.figure.axes if axis.axison and axis.get_label() != "<colorbar>"
    )
    return answer


@pytest.mark.parametrize("name", [*EVERYWHERE, "claim", "closed_form_forgetting"])
def test_every_shipped_analysis_answers(smoke_runs, name):
    answer = checked(analyze(name, smoke_runs))
    for regime in smoke_runs.regimes:
        assert f"{regime} " in answer.text


@pytest.mark.parametrize(
    "name", sorted(set(registry.names("analysis")) - {*EVERYWHERE, "claim", "closed_form_forgetting"})
)
def test_an_analysis_that_is_for_other_runs_says_which(smoke_runs, name):
    with pytest.raises(NotApplicable, match=f"^{name}: "):
        analyze(name, smoke_runs)


@pytest.fixture(scope="module")
def small(write_protocol, tmp_path_factory):
    """Runs of two regimes that train in an instant, with all that analyses need; keys given replace the protocol's."""

    def run(**keys):
        folder = tmp_path_factory.mktemp("small")
        regimes = {
            "rich": {"name": "output_scale", "alpha": 1},
            "lazy": {"name": "output_scale", "alpha": 10},
        }
        measures = ["kernel_distance", "unit_tuning", "relative_weight_change"]
        path = write_protocol(folder, **{"regimes": regimes, "measures": measures, "seeds": 1, **keys})
        return clntk.run(path, store=folder / "runs")

    return run


@pytest.fixture(scope="module")
def regression(small):
    return small(stream={"name": "teacher_student", "n_train": 40, "n_tasks": 2}, seeds=2)


@pytest.fixture(scope="module")
def joint(small):
    return small(stream={"name": "context_blobs", "schedule": "joint"})


@pytest.fixture(scope="module")
def sweep(small):
    return small(sweep={"model.width": [4, 12]})


@pytest.mark.parametrize("name", EVERYWHERE)
def test_analyses_answer_for_targets_without_accuracy(regression, name):
    answer = checked(analyze(name, regression))
    if name == "forgetting":
        assert answer.table.equals(regression.measure("forgetting", of="loss"))
        assert "Average accuracy" not in answer.text


@pytest.mark.parametrize("name", EVERYWHERE)
def test_analyses_answer_for_one_seed_trained_jointly(joint, name):
    answer = checked(analyze(name, joint))
    if name == "interference":
        assert "Not defined in these runs: Prediction fit, r2" in answer.text


@pytest.mark.parametrize("name", [*EVERYWHERE, "lazy_rich_phase"])
def test_analyses_answer_for_every_point_of_a_sweep(sweep, name):
    answer = checked(analyze(name, sweep))
    assert set(answer.table.condition) == set(sweep.conditions)


def test_a_phase_diagram_has_a_row_a_run(sweep):
    answer = analyze("lazy_rich_phase", sweep, laziness="relative_weight_change")
    assert list(answer.table["run"]) == [run.run_id for run in sweep]
    forgotten = sweep.scalars(["forgetting"]).set_index("run")["value"]
    assert answer.table.set_index("run")["forgetting"].equals(forgotten.rename("forgetting"))


def test_a_phase_diagram_needs_a_sweep(smoke_runs):
    with pytest.raises(NotApplicable, match=r"expected runs of a sweep, found rich, lazy with nothing swept"):
        analyze("lazy_rich_phase", smoke_runs)


def test_nothing_forgotten_and_no_accuracy_is_said(small):
    stream = {"name": "teacher_student", "n_train": 20, "schedule": "joint"}
    with pytest.raises(StoreError, match="nothing that could have been forgotten"):
        analyze("forgetting", small(stream=stream))


def test_lesions_are_told_beside_random_groups_and_the_untrained_network(smoke_runs):
    answer = analyze("coding", smoke_runs)
    assert "Lesion damage by random groups: rich own task " in answer.text
    assert "Coding, one task, in the untrained network: rich " in answer.text
    assert {"init", *smoke_runs.runs[0].checkpoints[-1:]} == set(answer.table["checkpoint"])


def test_the_table_holds_what_the_measure_says(smoke_runs):
    answer = analyze("forgetting", smoke_runs)
    assert answer.table.equals(smoke_runs.measure("accuracy_matrix"))


def test_a_row_of_the_damage_matrix_is_a_group_and_a_column_the_task_it_is_judged_on(smoke_runs, monkeypatch):
    monkeypatch.setattr("clntk.figures.findings.scored_by", lambda runs: "loss")
    answer = analyze("coding", smoke_runs)
    damage = answer.table[
        (answer.table["quantity"] == "lesion_damage.damage") & (answer.table["condition"] == "rich")
    ]
    measured = smoke_runs.measure("lesion_damage", of="loss")
    last = measured["checkpoint"] == smoke_runs.runs[0].checkpoints[-1]
    assert sorted(damage["value"]) == sorted(
        measured[last & (measured["condition"] == "rich")]["damage"].dropna()
    )
    (axis,) = (a for part in answer.figure.subfigs for a in part.axes if a.get_title(loc="left") == "rich")
    drawn = axis.collections[0].get_array().reshape(2, 2)
    expected = damage.pivot_table(values="value", index="other_task", columns="eval_task", sort=False)
    np.testing.assert_allclose(drawn, expected)
    assert axis.get_ylabel() == "Units tuned to"


@pytest.mark.parametrize(
    ("name", "measure", "variable", "column"),
    [
        ("interference", "predicted_output_change", "actual", "value"),
        ("interference", "predicted_output_change", "predicted", "reference"),
        ("geometry", "task_subspaces", "alignment", "value"),
        ("geometry", "task_subspaces", "alignment_chance", "reference"),
        ("geometry", "decoding", "chance", "reference"),
        ("laziness", "feature_movement", "joint", "value"),
    ],
)
def test_what_is_drawn_is_what_the_measure_says(smoke_runs, name, measure, variable, column):
    table = analyze(name, smoke_runs).table
    rows = table[table["quantity"].str.startswith(f"{measure}.")]
    measured = smoke_runs.measure(measure)
    keys = ["run", "checkpoint", "layer", "eval_task", "other_task", "probe", "output", "decoded"]
    keys = [k for k in keys if k in measured and rows[k].notna().all()]
    both = rows.merge(measured.drop_duplicates(keys), on=keys, suffixes=("", "_measured"))
    assert len(both) == len(rows) > 0
    np.testing.assert_array_equal(both[column], both[variable])


def test_the_weights_that_moved_are_all_of_them(smoke_runs):
    table = analyze("laziness", smoke_runs).table
    assert set(table[table["quantity"] == "relative_weight_change"]["param"]) == {"all"}


def test_units_are_drawn_before_and_after_training(smoke_runs):
    answer = analyze("task_tuning", smoke_runs)
    assert set(answer.table["checkpoint"]) == {"init", smoke_runs.runs[0].checkpoints[-1]}
    assert not answer.table.duplicated(["run", "checkpoint", "unit"]).any()


def test_an_analysis_of_ones_own_gets_the_runs_and_its_options(smoke_runs):
    @clntk.register("analysis")
    def how_many(runs, *, unit: str = "runs"):
        """How many runs there are."""
        return f"{len(runs)} {unit}"

    assert analyze("how_many", smoke_runs, unit="pieces") == "4 pieces"


def test_an_unknown_analysis_names_the_nearest(smoke_runs):
    with pytest.raises(UnknownName, match="did you mean 'kernel_drift'"):
        analyze("kernel_drfit", smoke_runs)


def test_no_runs_are_an_error():
    with pytest.raises(StoreError, match="expected finished runs, found none"):
        analyze("forgetting", RunSet([]))


def test_a_fact_that_is_missing_says_what_to_add(write_protocol, tmp_path):
    path = write_protocol(tmp_path, measures=[], probes=["outputs"])
    runs = clntk.run(path, store=tmp_path / "runs")
    with pytest.raises(StoreError, match="add kernels to the protocol's probes and run it again"):
        analyze("kernel_drift", runs)


# --- published results ------------------------------------------------------------------------------------

CLAIMS = [
    {
        "claim": "the scale of the output changes nothing",
        "published": 1,
        "finding": {
            "name": "ratio",
            "measure": "average_accuracy",
            "where": {"regime": "rich"},
            "over": {"regime": "lazy"},
        },
        "within": [0.0, None],
    },
    {
        "claim": "networks are always right",
        "published": "100 %",
        "finding": {"name": "level", "measure": "average_accuracy", "where": {"regime": "rich"}},
        "within": [1.0, 1.0],
        "seeds": 30,
    },
]


def test_published_results_are_held_against_runs(small):
    runs = small(published=CLAIMS)
    answer = analyze("replication", runs)
    assert answer.table["verdict"].tolist() == ["reproduced", "too few seeds"]
    assert answer.text.startswith("1 of 2 results reproduced")
    assert "networks are always right: too few seeds. Published 100 %; measured " in answer.text
    assert "tolerance: at least 0." in answer.text
    ratio = answer.table["mean"][0]
    levels = runs.scalars(["average_accuracy"]).set_index("regime")["value"]
    assert ratio == pytest.approx(levels["rich"] / levels["lazy"])


def test_published_results_of_another_protocol_can_be_asked(small, write_protocol, tmp_path):
    path = write_protocol(tmp_path, regimes={"rich": {"name": "standard"}}, published=CLAIMS[:1])
    answer = analyze("replication", small(), protocol=str(path))
    assert answer.table["claim"].tolist() == [CLAIMS[0]["claim"]]
