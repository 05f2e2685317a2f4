"""Expanding a protocol: which runs, what decides them, and what they are called."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from processes import said_by

from clntk.component import Entry
from clntk.errors import ProtocolError
from clntk.protocol import Protocol, RunSpec, expand, load
from clntk.protocol.expand import needed_probes
from clntk.python_files import use
from clntk.registry import register

BASE = {
    "name": "mine",
    "stream": {"name": "permuted_digits", "n_tasks": 2},
    "model": {"name": "mlp", "width": 8},
    "strategy": {"name": "naive", "lr": 0.1},
    "regimes": {"rich": {"name": "standard"}, "lazy": {"name": "output_scale", "alpha": 10.0}},
}


def _protocol(**keys):
    return Protocol.model_validate({**BASE, **keys})


def _component(name, **options):
    return {"name": name, **options}


def _ids(**keys):
    return [spec.run_id for spec in expand(_protocol(**keys))]


# --- which runs -------------------------------------------------------------------------------------------


def test_runs_are_sweep_by_regime_by_seed():
    specs = expand(_protocol(seeds=[3, 5], sweep={"model.width": [8, 16], "strategy.lr": [0.1, 0.2]}))
    found = [(s.model["width"], s.strategy["lr"], s.regime, s.seed) for s in specs]
    assert found == [
        (width, lr, regime, seed) for width in (8, 16) for lr in (0.1, 0.2) for regime in ("rich", "lazy")
        for seed in (3, 5)
    ]  # fmt: skip
    for spec in specs:
        assert spec.cell == {"model.width": spec.model["width"], "strategy.lr": spec.strategy["lr"]}


def test_specs_hold_every_option_in_full():
    rich, lazy = expand(_protocol(measures=[_component("forgetting")], summary="why"))
    assert rich.stream == {
        "name": "permuted_digits", "n_tasks": 2, "n_probe": 32, "test_fraction": 0.25, "data_root": None,
        "schedule": "blocked", "cycles": None, "mixing": None, "mixing_steps": None, "head": "single", "cue": None,
        "looks": None, "context_rate": 1.0,
    }  # fmt: skip
    assert rich.strategy["momentum"] == 0.0
    assert (rich.regime_options, lazy.regime_options) == (
        {"name": "standard"},
        {"name": "output_scale", "alpha": 10.0},
    )
    assert (rich.summary, rich.regimes) == ("why", ["rich", "lazy"])
    assert rich.measures == [{"name": "forgetting", "of": "accuracy"}]


def test_a_sweep_may_change_regimes_components_and_seeds():
    specs = expand(_protocol(sweep={"regimes.lazy.alpha": [1.0, 2.0]}))
    assert [s.regime_options.get("alpha") for s in specs] == [None, 1.0, None, 2.0]
    specs = expand(_protocol(sweep={"model": ["mlp", _component("mlp", width=3)]}))
    assert [s.model["width"] for s in specs] == [256, 256, 3, 3]


def test_a_regime_takes_part_in_a_sweep_over_anothers_options():
    rich, lazy, *_ = expand(_protocol(sweep={"regimes.lazy.alpha": [1, 2]}))
    assert rich.sweep == {"regimes.lazy.alpha": 1.0}  # as the other one resolves it
    assert lazy.sweep == {}
    assert rich.cell == lazy.cell == {"regimes.lazy.alpha": 1}
    rich, lazy = expand(_protocol(sweep={"regimes.lazy": ["output_scale"]}))
    assert rich.sweep.keys() == {key for key in lazy.flat() if key.startswith("regimes.lazy.")}


@pytest.mark.parametrize(
    "sweep", [{"model": ["mlp", _component("mlp")]}, {"measures": [[], [_component("forgetting")]]}]
)
def test_cells_that_come_to_the_same_are_one(sweep):
    assert len(expand(_protocol(sweep=sweep))) == 2


def test_a_spec_survives_its_own_dictionary():
    import json

    for spec in expand(_protocol(sweep={"model.width": [8]})):
        again = RunSpec.from_dict(json.loads(json.dumps(spec.as_dict())))
        assert again == spec
        assert again.run_id == spec.run_id


def test_flat_keys_name_all_that_can_vary():
    lazy = expand(_protocol())[1]
    flat = lazy.flat()
    assert flat["regimes.lazy.alpha"] == 10.0
    assert flat["model.width"] == 8
    assert flat["strategy.lr"] == 0.1
    assert flat["device"] == "cpu"


# --- what a run is called ---------------------------------------------------------------------------------


def test_run_ids_are_readable_unique_and_stable():
    ids = _ids(seeds=2, sweep={"model.width": [8, 16]})
    assert len(set(ids)) == 8
    assert all(re.fullmatch(r"mine-(rich|lazy)-s[01]-[0-9a-f]{10}", run_id) for run_id in ids)
    assert ids == _ids(seeds=2, sweep={"model.width": [8, 16]})


@pytest.mark.parametrize(
    "keys",
    [
        {"summary": "new"},
        {"reference": "new"},
        {"measures": [_component("forgetting")]},  # needs no probe
        {"measures": [_component("relative_weight_change")]},  # needs one that is always recorded
        {"seeds": [0]},
        {"probes": []},  # what is always recorded is the same as automatic without measures
        {"model": _component("mlp", width=8, depth=2, init_scale=1)},  # defaults written out, 1 for 1.0
        {"strategy": _component("naive", lr=0.1, momentum=0)},
        {"regimes": {"rich": _component("standard"), "other": _component("output_scale")}},  # of the others
        {"sweep": {"model.width": [8]}},  # the cell of a sweep is the run that it would be alone
        {"sweep": {"model.width, strategy.lr": [[8, 0.1]]}},
        {"sweep": {"regimes.rich": ["standard"]}},
    ],
)
def test_what_does_not_decide_the_numbers_keeps_the_identity(keys):
    assert _ids(**keys)[0] == _ids()[0]


@pytest.mark.parametrize(
    "keys",
    [
        {"strategy": _component("naive", lr=0.2)},
        {"strategy": _component("joint", lr=0.1)},
        {"seeds": [1]},
        {"stream": _component("permuted_digits", n_tasks=3)},
        {"model": _component("mlp", width=9)},
        {"regimes": {"rich": _component("init_scale")}},
        {"regimes": {"poor": _component("standard")}},
        {"sweep": {"regimes.lazy.alpha": [1.0]}},  # what it is compared with
        {"probes": [_component("kernels")]},
        {"measures": [_component("kernel_distance")]},  # needs a probe more
        {"device": "cuda"},
        {"name": "other"},
    ],
)
def test_what_decides_the_numbers_changes_the_identity(keys):
    specs = [expand(_protocol(**k))[0] for k in (keys, {})]
    assert specs[0].identity != specs[1].identity
    assert specs[0].run_id != specs[1].run_id


@pytest.mark.parametrize("decorated", ["", "@torch.no_grad()\n"])
def test_the_users_code_is_part_of_the_identity_where_it_takes_part(tmp_path, decorated):
    path = tmp_path / "mine.py"
    text = 'import torch\nfrom clntk import register\n@register("regime")\n'
    text += f'{decorated}def mine(model, shape):\n    """A."""\n'

    def specs():
        use(path)
        regimes = {"mine": _component("mine"), "rich": _component("standard")}
        return expand(_protocol(regimes=regimes, use=[str(path)]))

    path.write_text(text)
    mine, rich = specs()
    path.write_text(text + "# another content\n")
    mine_again, rich_again = specs()
    assert mine.run_id != mine_again.run_id
    assert rich.run_id == rich_again.run_id  # does not use it
    assert (list(mine.code), rich.code) == (["mine.py"], {})


def test_where_the_users_code_lies_is_not_part_of_the_identity():
    spec = expand(_protocol())[0]
    assert replace(spec, use=["/elsewhere/mine.py"]).identity == spec.identity


# --- probes -----------------------------------------------------------------------------------------------


def _probes(**keys):
    return [component.name for component in needed_probes(_protocol(**keys))]


def test_automatic_probes_are_what_the_measures_need():
    assert _probes() == ["outputs", "weights"]
    assert _probes(measures=[_component("forgetting")]) == ["outputs", "weights"]
    assert _probes(measures=[_component("kernel_distance")]) == ["kernels", "outputs", "weights"]
    both = [_component("kernel_distance"), _component("cross_task_overlap"), _component("unit_tuning")]
    assert _probes(measures=both) == ["activations", "kernels", "outputs", "weights"]


def test_listed_probes_are_kept_and_the_essential_ones_added():
    measures = [_component("unit_tuning")]
    assert _probes(probes=[_component("kernels")], measures=measures) == ["kernels", "outputs", "weights"]
    assert _probes(probes=[_component("weights"), _component("outputs")]) == ["outputs", "weights"]


# --- keys that move together ------------------------------------------------------------------------------


def test_keys_that_move_together_are_one_axis(write_protocol, tmp_path):
    sweep = {"stream.schedule, strategy.lr": [["blocked", 0.1], ["joint", 0.2]], "model.width": [4, 8]}
    specs = expand(load(write_protocol(tmp_path, sweep=sweep)))
    found = [(s.stream["schedule"], s.strategy["lr"], s.model["width"]) for s in specs]
    assert found == [("blocked", 0.1, 4), ("blocked", 0.1, 8), ("joint", 0.2, 4), ("joint", 0.2, 8)]
    assert specs[1].cell == {"stream.schedule": "blocked", "strategy.lr": 0.1, "model.width": 8}


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (
            {"model.width, strategy.lr": [[4, 0.1], [8]]},
            r"lists of 2 values, one for each key \(\[8\] is none\)",
        ),
        ({"model.width, strategy.lr": [4, 8]}, r"lists of 2 values, one for each key \(4 is none\)"),
        (
            {"model.width, strategy.lr": [[4, 0.1]], "model.width": [8]},
            r"every key once \(model.width is repeated\)",
        ),
        ({"model.width, model.width": [[4, 4]]}, r"every key once \(model.width, model.width is repeated\)"),
        ({"model.width, strategy.lrr": [[4, 0.1]]}, r"unknown key 'lrr'; did you mean 'lr'"),
    ],
)
def test_what_is_wrong_with_keys_that_move_together_is_said(write_protocol, tmp_path, sweep, said):
    with pytest.raises(ProtocolError, match=said):
        load(write_protocol(tmp_path, sweep=sweep))


def test_settings_inside_of_an_option_are_keys_of_their_own(write_protocol, tmp_path):
    regime = {"name": "init_scale", "input_sd": {"stimulus": 1.0, "context": 0.5}}
    (spec,) = expand(load(write_protocol(tmp_path, regimes={"a": regime})))
    flat = spec.flat()
    assert (flat["regimes.a.input_sd.stimulus"], flat["regimes.a.input_sd.context"]) == (1.0, 0.5)
    assert "regimes.a.input_sd" not in flat


SCRIPT = """
import sys

from torch import nn

import clntk
from clntk.protocol import expand, load


@clntk.register("model")
def of_a_script(shape):
    \"\"\"A layer.\"\"\"
    return nn.Linear(shape.inputs[0], shape.outputs)


parts = {"stream": "permuted_digits", "model": "of_a_script", "strategy": "naive", "regimes": {"plain": "standard"}}
(spec,) = expand(load({"name": "mine", **parts}))
print(spec.run_id, *spec.code)
"""


def test_a_components_script_is_part_of_the_runs_that_it_makes(begin, tmp_path):
    def printed(text):
        script = tmp_path / "script.py"
        script.write_text(text)
        return said_by(begin(script)).split()

    first, again, changed = printed(SCRIPT), printed(SCRIPT), printed(SCRIPT.replace("A layer", "One layer"))
    assert first == again
    assert first[1] == changed[1] == "script.py"
    assert first[0] != changed[0]


def test_a_notebooks_component_is_known_by_its_cell(monkeypatch):
    def of_a_cell(shape):
        """A layer."""

    of_a_cell.__module__ = "__main__"
    register("model")(of_a_cell)
    found = Entry.source.fget
    nowhere = property(lambda entry: Path("/nowhere/2.py") if entry.name == "of_a_cell" else found(entry))
    monkeypatch.setattr(Entry, "source", nowhere)
    (spec,) = expand(_protocol(model={"name": "of_a_cell"}, regimes={"rich": {"name": "standard"}}))
    assert list(spec.code) == ["model of_a_cell"]
    assert len(spec.code["model of_a_cell"]) == 64
