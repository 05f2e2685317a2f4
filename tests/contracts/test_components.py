"""What every registered component owes its users: a new one is tested by being registered."""

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from clntk import registry
from clntk.axes import CHECKPOINT, EVAL_TASK, OTHER_PROBE, OTHER_TASK, OUTPUT, PROBE, UNIT
from clntk.capture.look import Look, hidden_layers, undisturbed
from clntk.component import KINDS
from clntk.errors import DataError
from clntk.regimes.base import Regime
from clntk.runs.derived import DERIVED
from clntk.streams.base import TaskStream

COMPONENTS = [(kind, name) for kind in KINDS for name in registry.names(kind)]


def every(kind):
    return pytest.mark.parametrize(kind, registry.names(kind))


# --- all kinds --------------------------------------------------------------------------------------------


@pytest.fixture(params=COMPONENTS, ids="-".join)
def entry(request):
    return registry.get(*request.param)


def _required(entry):
    return [name for name, option in entry.schema.model_fields.items() if option.is_required()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_meaning_and_members(kind):
    assert KINDS[kind].meaning
    assert registry.names(kind)


def test_summary_is_one_sentence_on_one_line(entry):
    assert entry.summary
    assert entry.summary[-1] in ".?!", "the first line of the docstring ends with the sentence"
    assert len(entry.summary) <= 110


def test_options_are_defaults_that_round_trip(entry):
    """Every built-in component runs with its defaults, but for what only its user can name: that has an example."""
    example = entry.traits.get("example", {})
    assert _required(entry) == list(example)
    resolved = entry.resolve(example)
    assert set(resolved) == set(entry.schema.model_fields)
    assert entry.resolve(resolved) == resolved


def test_schema_is_json_schema(entry):
    schema = entry.schema.model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema.get("properties", {})) == set(entry.schema.model_fields)


def test_unknown_options_are_refused(entry):
    with pytest.raises(ValidationError) as caught:
        entry.check({**entry.traits.get("example", {}), "no_such_option": 1})
    assert [(e["loc"], e["type"]) for e in caught.value.errors()] == [
        (("no_such_option",), "extra_forbidden")
    ]


def test_options_of_ones_own_are_described(entry):
    """Each own option has its line in the docstring."""
    text = entry.function.__doc__
    for option in entry.own_options:
        assert option.name in text


# --- streams ----------------------------------------------------------------------------------------------


@every("stream")
def test_a_stream_is_a_benchmark_of_two_tasks_or_more(stream, seeds):
    built = registry.get("stream", stream)(seeds)
    assert isinstance(built, TaskStream)
    assert len(built.tasks) >= 2
    assert len(set(built.task_names)) == len(built.tasks)
    assert len(built.benchmark.train_stream) == len(built.phases)
    assert len(built.benchmark.test_stream) == len(built.tasks)
    assert 0 <= built.chance < 1 if built.accuracy != "none" else np.isnan(built.chance)


@every("stream")
def test_a_stream_is_fixed_by_its_seed(stream, seeds):
    first, again = (registry.get("stream", stream)(seeds) for _ in range(2))
    for a, b in zip(first.tasks, again.tasks, strict=True):
        for part in ("train", "test", "probe"):
            assert torch.equal(getattr(a, part).x, getattr(b, part).x)
            assert torch.equal(getattr(a, part).y, getattr(b, part).y)


# --- models and regimes -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built_streams():
    from clntk.seeding import Seeds

    return {name: registry.get("stream", name)(Seeds(0)) for name in registry.names("stream")}


@every("stream")
@every("model")
def test_a_model_fits_every_stream_or_says_what_it_takes(model, stream, built_streams):
    """More on models, alone and under every regime: tests/regimes/test_models_under_regimes.py."""
    built, entry = built_streams[stream], registry.get("model", model)
    try:
        network = entry(built.shape, **entry.traits.get("example", {}))
    except DataError as refusal:
        reason = str(refusal)
    else:
        reason = ""
    if reason:
        assert f"found inputs of shape {built.shape.inputs}" in reason
        return
    x = built.tasks[0].test.x[:5]
    outputs = network(x)
    assert outputs.shape == (len(x), built.outputs)
    assert torch.isfinite(outputs).all()
    assert any(p.requires_grad for p in network.parameters())


@every("stream")
@every("regime")
def test_a_regime_starts_a_network_that_can_be_trained(regime, stream, built_streams, make_model):
    built = built_streams[stream]
    started = registry.get("regime", regime)(make_model(built), built.shape)
    assert isinstance(started, Regime)
    assert started.lr_scale > 0
    x = built.tasks[0].test.x[:5]
    outputs = started.model(x)
    assert outputs.shape == (len(x), built.outputs)
    assert torch.isfinite(outputs).all()
    outputs.sum().backward()
    assert all(p.grad is not None for p in started.model.parameters() if p.requires_grad)
    assert hidden_layers(started.model).keys() == hidden_layers(make_model(built)).keys()


# --- probes -----------------------------------------------------------------------------------------------

DIMENSIONS = {
    "outputs": {"outputs": (EVAL_TASK, PROBE, OUTPUT)},
    "activations": {"hidden1": (EVAL_TASK, PROBE, UNIT)},
    "kernels": {"kernels": (EVAL_TASK, OTHER_TASK, PROBE, OTHER_PROBE)},
    "weights": {
        "hidden1.linear.weight": ("hidden1.linear.weight.0", "hidden1.linear.weight.1"),
        "hidden1.linear.bias": ("hidden1.linear.bias.0",),
        "readout.weight": ("readout.weight.0", "readout.weight.1"),
        "readout.bias": ("readout.bias.0",),
    },
}


@every("probe")
def test_a_probe_returns_labelled_facts(probe, stream, make_model):
    model = make_model(stream)
    look = Look(model, {task.name: task.probe.x for task in stream.tasks}, hidden_layers(model))
    with undisturbed(model):
        fact = registry.get("probe", probe)(look)
    facts = {probe: fact} if isinstance(fact, xr.DataArray) else fact
    assert facts
    sizes = {EVAL_TASK: 3, OTHER_TASK: 3, PROBE: 6, OTHER_PROBE: 6, OUTPUT: 4, UNIT: 16}
    for array in facts.values():
        assert np.isfinite(array).all()
        assert CHECKPOINT not in array.dims
        for dim in set(array.dims) & set(sizes):
            assert array.sizes[dim] == sizes[dim]
        for dim in {EVAL_TASK, OTHER_TASK} & set(array.dims):
            assert array[dim].values.tolist() == stream.task_names
    if probe in DIMENSIONS:
        assert {name: array.dims for name, array in facts.items()} == DIMENSIONS[probe]


# --- measures ---------------------------------------------------------------------------------------------


@every("measure")
def test_a_measure_needs_facts_that_are_recorded_or_derived(measure):
    needs = registry.get("measure", measure).needs
    assert needs
    assert set(needs) <= {"metrics", "probes", "losses", *registry.names("probe"), *DERIVED}
