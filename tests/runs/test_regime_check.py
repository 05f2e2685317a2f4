"""Where regimes lie between lazy and rich after a brief training, and in what words that is said."""

import math
import re
from itertools import pairwise

import pytest
import torch

import clntk
from clntk.errors import ProtocolError
from clntk.kernels.empirical import empirical_ntk
from clntk.measures.drift import cosine_distance
from clntk.models.linearize import linearize
from clntk.protocol import expand, load
from clntk.runs.build import build
from clntk.runs.regime_check import Place, check_regimes, placed

RICH = {"name": "output_scale", "alpha": 1.0}


def _place(regime, kernel, error, loss=1.0):
    return Place(regime, 10, loss, kernel, error)


def _verdicts(*places):
    return {place.regime: place.verdict for place in placed(places)}


# --- words ------------------------------------------------------------------------------------------------


def test_regimes_come_in_the_order_of_their_kernel_distance():
    places = placed([_place("a", 0.1, 0.3), _place("b", 0.3, 0.5), _place("c", 0.2, 0.1)])
    assert [place.regime for place in places] == ["b", "c", "a"]


def test_an_extreme_is_one_in_both_measures():
    found = _verdicts(_place("a", 0.1, 0.1), _place("b", 0.3, 0.5), _place("c", 0.2, 0.2))
    assert found == {"b": "richest", "c": "between", "a": "laziest"}


def test_an_extreme_of_one_measure_alone_is_undecided():
    found = _verdicts(_place("a", 0.1, 0.2), _place("b", 0.3, 0.5), _place("c", 0.2, 0.1))
    assert found == {"b": "richest", "c": "undecided", "a": "undecided"}


def test_a_shared_place_is_shared():
    found = _verdicts(_place("a", 0.0, 0.0), _place("b", 0.0, 0.0), _place("c", 0.2, 0.1))
    assert found == {"c": "richest", "a": "laziest", "b": "laziest"}
    assert set(_verdicts(_place("a", 0.2, 0.1), _place("b", 0.2, 0.1)).values()) == {"equal"}


def test_one_regime_has_none_to_be_compared_with():
    assert _verdicts(_place("a", 0.2, 0.1)) == {"a": "alone"}


def test_what_diverged_or_stood_still_is_no_part_of_the_comparison():
    found = placed(
        [
            _place("burst", math.nan, math.nan, math.inf),
            _place("still", 0.0, math.nan),
            _place("a", 0.1, 0.1),
            _place("b", 0.2, 0.2),
        ]
    )
    assert [(place.regime, place.verdict) for place in found] == [
        ("b", "richest"),
        ("a", "laziest"),
        ("burst", "diverged"),
        ("still", "did not move"),
    ]


# --- measurements -----------------------------------------------------------------------------------------


@pytest.fixture
def specs(write_protocol, tmp_path):
    def make(**keys):
        keys = {"model": {"name": "mlp", "width": 16, "depth": 1}, **keys}
        return expand(load(write_protocol(tmp_path, **keys)))

    return make


def _strategy(**options):
    return {
        "name": "naive",
        "epochs": 200,
        "batch_size": None,
        "lr": 0.05,
        "loss": "squared_error",
        **options,
    }


def test_numbers_are_those_of_a_loop_written_out(specs):
    """Full-batch descent on the first task of the first seed: the same weights, kernels and outputs by hand."""
    both = specs(regimes={"mine": {"name": "standard"}}, strategy=_strategy(), seeds=2)
    (place,) = check_regimes(both, steps=30)
    spec = both[0]
    built = build(spec)
    task, model = built.stream.tasks[0], built.regime.model
    x = task.probe.x.double()
    expansion = linearize(model)
    before = empirical_ntk(expansion.double(), x, mode="trace")
    start = model(x).detach()
    expansion.float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        loss = 0.5 * (model(task.train.x) - task.train.y).square().sum(1).mean()
        loss.backward()
        optimizer.step()
    loss = 0.5 * (model(task.train.x) - task.train.y).square().sum(1).mean().item()
    expansion.double()
    gap = (model(x) - expansion(x)).norm() / (model(x) - start).norm()
    distance = cosine_distance(empirical_ntk(model, x, mode="trace").numpy(), before.numpy())
    assert (place.regime, place.steps, place.verdict) == ("mine", 30, "alone")
    assert place.loss == pytest.approx(loss, rel=1e-4)
    assert place.kernel_distance == pytest.approx(distance, rel=1e-3)
    assert place.linearisation_error == pytest.approx(gap.item(), rel=1e-3)


def test_the_lazy_limit_is_found_lazier_and_linear_regimes_laziest(specs):
    """Between α = 10 and 100 kernel distance falls as 1/α², linearisation error as 1/α (Chizat et al. 2019)."""
    regimes = {
        "lazy": {"name": "output_scale", "alpha": 100.0},
        "mild": {"name": "output_scale", "alpha": 10.0},
        "linear": {"name": "linearized"},
        "rich": RICH,
        "readout": {"name": "frozen_features"},
    }
    model = {"name": "mlp", "width": 64, "depth": 1, "activation": "tanh"}
    digits = {"name": "permuted_digits", "n_tasks": 2, "n_probe": 12}
    strategy = _strategy(batch_size=64, lr=0.01)
    found = check_regimes(specs(stream=digits, model=model, regimes=regimes, strategy=strategy), steps=60)
    assert [place.regime for place in found] == ["rich", "mild", "lazy", "linear", "readout"]
    assert [place.verdict for place in found] == ["richest", "between", "between", "laziest", "laziest"]
    _, mild, lazy, *linear = found
    assert mild.kernel_distance / lazy.kernel_distance == pytest.approx(100, rel=0.2)
    assert mild.linearisation_error / lazy.linearisation_error == pytest.approx(10, rel=0.2)
    assert all(place.kernel_distance == place.linearisation_error == 0 for place in linear)


def test_training_ends_at_the_stop_loss_the_epochs_or_the_steps(specs):
    def taken(steps=1000, **options):
        (place,) = check_regimes(specs(regimes={"mine": RICH}, strategy=_strategy(**options)), steps=steps)
        return place

    assert taken(epochs=7).steps == 7
    assert taken(steps=3).steps == 3
    assert taken(epochs=3, batch_size=10).steps == 9  # 25 examples: three minibatches an epoch
    stopped = taken(stop_loss=0.9, stop_check=5)
    assert stopped.loss <= 0.9
    assert stopped.steps < 200
    assert stopped.steps % 5 == 0


def test_a_regime_that_diverges_is_told(specs):
    regimes = {"mine": RICH, "burst": {"name": "init_scale", "scale": 1000.0}}
    found = check_regimes(specs(regimes=regimes, strategy=_strategy(lr=10.0)), steps=200)
    assert [(place.regime, place.verdict) for place in found][-1] == ("burst", "diverged")


def test_nothing_is_left_behind(specs, tmp_path):
    cells = specs(regimes={"mine": RICH}, strategy=_strategy())
    files, state = sorted(tmp_path.rglob("*")), torch.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        first, again = (check_regimes(cells, steps=20) for _ in range(2))
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert first == again
    assert sorted(tmp_path.rglob("*")) == files
    assert torch.equal(torch.get_rng_state(), state)


SPY = """
from torch import nn

class Spy(nn.Linear):
    modes = []

    def __init__(self, shape):
        super().__init__(shape.inputs[0], shape.outputs)

    def forward(self, x):
        self.modes.append(self.training)
        return super().forward(x)
"""


def test_training_is_in_training_mode_and_looking_is_not(specs, tmp_path):
    (tmp_path / "spy.py").write_text(SPY)
    clntk.use(tmp_path / "spy.py")
    model = {"name": "custom", "path": f"{tmp_path / 'spy.py'}:Spy"}
    regimes = {"mine": {"name": "standard"}}
    (spec,) = specs(model=model, regimes=regimes, strategy=_strategy(stop_check=4))
    modes = type(build(spec).regime.model).modes
    modes.clear()
    check_regimes([spec], steps=6)
    trained = [i for i, training in enumerate(modes) if training]
    assert len(trained) == 6
    assert [b - a for a, b in pairwise(trained)] == [1, 1, 1, 2, 1]  # one look after the fourth step


def test_random_order_and_momentum_are_the_protocols(specs):
    """Minibatches differ from full batches, momentum from none: the options reach the loop."""
    found = {
        name: check_regimes(specs(regimes={"mine": RICH}, strategy=_strategy(**options)), steps=20)[0].loss
        for name, options in {
            "full": {},
            "mini": {"batch_size": 10},
            "momentum": {"momentum": 0.9},
            "adam": {"optimizer": "adam"},
        }.items()
    }
    assert len(set(found.values())) == 4


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_stores_nothing(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli("check-regimes", "smoke", "--steps", 20)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert re.match(r"regime +steps +training loss +kernel distance +linearisation error +verdict", lines[0])
    assert re.match(r"rich +20 +\S+ +0\.00\d+ +0\.\d+ +richest", lines[1])
    assert re.match(r"lazy +20 +\S+ +\S+·10⁻⁵ +0\.00\d+ +laziest", lines[2])
    assert lines[3].startswith("Seed 0, first phase of training.")
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_overrides_and_names_what_is_wrong(cli):
    assert "third" in cli("check-regimes", "smoke", "regimes.third.name=standard", "--steps", 2).out
    done = cli("check-regimes", "smoke", "regimes.third.name=standart")
    assert done.code == 1
    assert "did you mean 'standard'" in done.err
    done = cli("check-regimes", "smoke", "model.name=rnn", "model.width=8", "--steps", 2)
    assert done.code == 1
    assert "smoke: 1 problem" in done.err
    assert "regimes.rich; regimes.lazy: expected a stream, model" in done.err
    assert "expected sequences (time, features)" in done.err
    assert cli("check-regimes", "smoke", "--steps", 0).code == 2


def test_what_does_not_fit_is_refused_before_anything_is_trained(specs):
    from clntk.runs.preflight import preflight

    with pytest.raises(
        ProtocolError, match="expected sgd, for which the regime mine sets its learning rates"
    ):
        preflight(specs(regimes={"mine": {"name": "mup"}}, strategy=_strategy(optimizer="adam")))
