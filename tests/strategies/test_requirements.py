"""What a strategy cannot train is said before training, by whoever calls it and by the check of a protocol."""

import pytest
from kinds_of_strategies import descending

from clntk import registry
from clntk.errors import DataError, ProtocolError
from clntk.protocol import expand, load
from clntk.runs.preflight import preflight
from clntk.strategies.learner import Setup
from clntk.strategies.requirements import Unmet, requires


def _problems(*overrides):
    with pytest.raises(ProtocolError) as caught:
        preflight(expand(load("smoke", ["seeds=1", *overrides])))
    return [str(problem) for problem in caught.value.problems]


def test_a_protocol_is_refused_for_every_condition_and_with_the_reason():
    (problem,) = _problems("strategy.name=packnet")
    assert problem.startswith("regimes.rich; regimes.lazy:")
    assert "strategy packnet: expected a network without a frozen copy of itself" in problem


def test_a_protocol_is_refused_for_its_stream_and_loss():
    (problem,) = _problems("strategy.name=hebbian_gating")
    assert "expected flat inputs with a group of columns called context" in problem
    (problem,) = _problems("strategy.name=er_ace", "strategy.loss=squared_error")
    assert "strategy er_ace: expected labels trained with cross-entropy, found loss squared_error" in problem
    (problem,) = _problems("strategy.name=agem", "strategy.agem_sample=1")
    assert "expected agem_sample of at least 2" in problem


def test_a_sweep_over_strategies_asks_of_each_only_its_own():
    overrides = ["seeds=1", "sweep.strategy.name=[naive,ewc,gem,xdg]", "strategy.epochs=1"]
    specs = expand(load("smoke", overrides))
    preflight(specs)
    own = {spec.strategy["name"]: set(spec.strategy) for spec in specs}
    assert len(specs) == 8
    assert "ewc_lambda" in own["ewc"]
    assert "ewc_lambda" not in own["naive"] | own["gem"]
    assert "gated" in own["xdg"] - own["ewc"]


def test_requirements_are_checked_with_defaults_and_keep_the_signature(stream, make_model):
    asked = []

    def needs_more(setup, training, options):
        asked.append((setup, training, dict(options)))
        return Unmet("more", "less", "add some") if options["share"] < 0.5 else None

    @registry.register("strategy")
    @requires(needs_more)
    def picky(setup, training, *, share: float = 0.7):
        """A strategy of one's own."""
        return share

    entry = registry.get("strategy", "picky")
    setup = Setup(make_model(stream), stream)
    assert "share" in entry.schema.model_fields
    assert entry(setup) == 0.7
    assert asked[-1][0] is setup
    assert asked[-1][2] == {"share": 0.7}
    with pytest.raises(DataError, match=r"^strategy picky: expected more, found less; add some$"):
        entry(setup, share=0.1)


@pytest.mark.parametrize("name", ["gdumb", "cwr_star"])
def test_classes_are_needed_where_they_are_told_apart(name, seeds, make_learner):
    blobs = registry.get("stream", "context_blobs")(seeds)
    with pytest.raises(
        DataError, match=f"strategy {name}: expected a stream of class labels, found float targets"
    ):
        make_learner(blobs, name)


def test_a_read_out_is_needed_to_consolidate(stream):
    from torch import nn

    with pytest.raises(DataError, match="strategy cwr_star: expected a trained linear read-out"):
        registry.get("strategy", "cwr_star")(Setup(nn.Sequential(nn.Linear(12, 5), nn.ReLU()), stream))


def test_rewards_are_no_labels(stream, make_learner):
    with pytest.raises(
        DataError, match="expected cross_entropy or squared_error for a stream of labels, found reward"
    ):
        make_learner(stream, loss="reward")


def test_the_protocol_that_compares_strategies_has_all_that_need_no_context():
    specs = expand(load("strategies_compared"))
    preflight(specs)
    compared = {spec.strategy["name"] for spec in specs}
    assert compared == set(descending()) - {"context_gating", "hebbian_gating"}
    own = {name: registry.get("strategy", name).resolve({}) for name in compared}
    for spec in specs:
        changed = {k for k, v in spec.strategy.items() if k != "name" and v != own[spec.strategy["name"]][k]}
        assert changed <= {"epochs"}, "options are the strategies' defaults"
