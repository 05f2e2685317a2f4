"""Layers of which only the read-out tells the outputs apart: right where they are, and where they only seem so."""

import pytest
import torch
from test_rules import reference
from torch import nn

import clntk
from clntk.kernels import separable
from clntk.kernels.costs import cheapest
from clntk.kernels.groups import Outer
from clntk.kernels.route import shares


@pytest.fixture
def found(monkeypatch):
    """For each group that the separable way was tried on in a contraction: whether its gradients were of that form.

    The look at a network's first two examples is left out.
    """
    seen = []
    original = separable.parts

    def watched(group):
        parts = original(group)
        if len(group.inputs) > 2:
            seen.append(parts is not None)
        return parts

    monkeypatch.setattr(separable, "parts", watched)
    return seen


def seeded(make):
    torch.manual_seed(0)
    return make().double()


def pooled(outputs=10, *, groups=1, last=None):
    """Convolutions, the mean over positions, and a read-out."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, groups=groups),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        last or nn.Linear(6, outputs),
    )


def perceptron(outputs=10):
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, outputs))


def images(n, *, seed=1):
    return torch.randn(n, 2, 7, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vectors(n, *, seed=1):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def methods(model, x, mode):
    """The cheapest way of each layer's first group."""
    _, groups = shares(model, x, tuple(name for name, _ in model.named_parameters()))
    return {name: cheapest(one, one, mode, "auto") for name, (one, *_) in groups.items()}


def assert_right(model, x1, x2=None, *, modes=("full", "trace"), **options):
    expected = reference(model, x1, x2)
    for mode in modes:
        wanted = expected if mode == "full" else torch.einsum("ncmc->nm", expected)
        kernel = clntk.empirical_ntk(model, x1, x2, mode=mode, **options)
        assert (kernel - wanted).abs().max() <= 1e-10 * wanted.abs().max()


@pytest.mark.parametrize("mode", ["full", "trace"])
def test_a_convolution_below_mean_pooling(found, mode):
    model, x = seeded(pooled), images(12)
    assert methods(model, x, mode)["2"] == "separable"
    found.clear()
    assert_right(model, x, modes=[mode])
    assert found == [True]
    found.clear()
    assert_right(model, x[:5], images(7, seed=2), modes=[mode])
    assert found == [True, True]


def test_the_last_hidden_layer_of_a_trace_kernel(found):
    model, x = seeded(perceptron), vectors(90)
    assert (
        methods(model, x[:40], "trace")["2"] == "gram"
    )  # to look the numbers through would cost more than it saves
    assert {name: methods(model, x, "trace")[name] for name in "024"} == {
        "0": "gram",
        "2": "separable",
        "4": "readout",
    }
    found.clear()
    assert_right(model, x)
    assert found == [True, True]
    found.clear()
    assert_right(model, x[:80], vectors(85, seed=2), modes=["trace"])
    assert found == [True, True]


def test_the_plan_says_so():
    plan = clntk.ntk_plan(seeded(pooled).float(), images(2).float(), 50)
    assert {row.layer: row.method for row in plan.rows if row.layer != "0"} == {
        "forward and backward": "10 outputs",
        "2": "separable",
        "6": "readout",
    }


@pytest.mark.parametrize("outputs", [1, 2])
def test_few_outputs(found, outputs):
    model, x = seeded(lambda: pooled(outputs)), images(60)
    for mode in ("full", "trace"):  # with one output there is nothing to save
        assert methods(model, x, mode)["2"] == ("separable" if outputs == 2 else "jacobian")
    assert_right(model, x)
    assert_right(model, x, images(50, seed=2))
    assert all(found)
    assert_right(seeded(lambda: perceptron(outputs)), vectors(150))


def test_units_that_no_output_reads(found):
    model = seeded(pooled)
    with torch.no_grad():
        model[-1].weight[:, [0, 3]] = 0
    assert_right(model, images(12))
    assert_right(model, images(12), images(3, seed=2))
    assert found
    assert all(found)
    with torch.no_grad():
        model[-1].weight.zero_()
    assert_right(model, images(12))


@pytest.mark.parametrize("block_bytes", [1, 1000, 5000, 10**9])
def test_blocks_of_any_size(found, block_bytes):
    model = seeded(pooled)
    assert_right(model, images(12), block_bytes=block_bytes)
    assert_right(model, images(12), images(5, seed=2), block_bytes=block_bytes)
    assert all(found)


def test_blocks_bound_what_is_held_beside_the_kernel(monkeypatch):
    held, original = [], separable._moved

    def watched(*arguments):
        moved = original(*arguments)
        held.append(moved.numel() * moved.element_size())
        return moved

    monkeypatch.setattr(separable, "_moved", watched)
    clntk.empirical_ntk(seeded(pooled), images(12), block_bytes=8000)
    assert sum(held) == 6 * 12 * 37 * 8  # units, examples, inputs of a patch and the bias
    assert max(held) <= 8000


def test_single_precision(found):
    model, x = seeded(pooled), images(40)
    expected = reference(model, x)
    model.float()
    for mode, wanted in (("full", expected), ("trace", torch.einsum("ncmc->nm", expected))):
        found.clear()
        kernel = clntk.empirical_ntk(model, x.float(), mode=mode)
        assert found == [True]
        assert (kernel - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_the_read_out_is_looked_up_anew(found):
    model, x = seeded(pooled), images(12)
    assert_right(model, x)
    with torch.no_grad():
        model[-1].weight.normal_()
    found.clear()
    assert_right(model, x)
    model[-1].weight = nn.Parameter(torch.randn(10, 6, dtype=torch.float64))
    assert_right(model, x)
    assert found == [True] * 4


def test_a_read_out_that_is_not_asked_for():
    model, x = seeded(pooled), images(12)
    model[-1].requires_grad_(False)
    assert_right(model, x)
    model.requires_grad_(True)
    kernel = clntk.empirical_ntk(model, x, params=["2.weight"])
    for name, p in model.named_parameters():
        p.requires_grad_(name == "2.weight")
    torch.testing.assert_close(kernel, reference(model, x))


class Scaled(nn.Module):
    """Logits that are not the read-out's outputs, though as many."""

    def __init__(self):
        super().__init__()
        self.inner = pooled(6)
        self.scale = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=torch.float64)

    def forward(self, x):
        return self.inner(x) * self.scale


def test_what_comes_after_the_read_out_counts():
    assert_right(seeded(Scaled), images(12))


# --- what only seems so on the two examples of the check --------------------------------------------------


class Waking(nn.Module):
    """Two layers above the inputs, of which the second passes each unit on alone, but for what unit 0 adds to unit 1.

    Unit 0 answers only to negative first inputs; while it sleeps, the first layer too seems to reach the logits unit
    by unit.
    """

    def __init__(self, *, image):
        super().__init__()
        make = (lambda: nn.Conv2d(2, 4, 1)) if image else (lambda: nn.Linear(6, 4))
        self.first, self.second = make(), (nn.Conv2d(4, 4, 1) if image else nn.Linear(4, 4))
        self.out = nn.Linear(4, 10)
        with torch.no_grad():
            self.first.bias.fill_(5.0)  # all others are awake
            self.first.weight[0] = 0
            self.first.weight[0, 0] = -1
            self.first.bias[0] = 0
            self.second.weight.copy_(torch.eye(4).view_as(self.second.weight))
            self.second.weight[1, 0] = 1
            self.second.bias.fill_(5.0)

    def forward(self, x):
        hidden = torch.relu(self.second(torch.relu(self.first(x))))
        return self.out(hidden.flatten(2).mean(2) if hidden.ndim == 4 else hidden)


class Turning(nn.Module):
    """The features of some examples are turned before they are read: which, the input's sign says."""

    def __init__(self, *, image):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3) if image else nn.Linear(6, 4)
        self.out = nn.Linear(4, 10)
        self.register_buffer("turn", torch.linalg.qr(torch.randn(4, 4)).Q)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        if hidden.ndim == 4:
            hidden = hidden.flatten(2).mean(2)
        return self.out(torch.where(x.flatten(1)[:, :1] > 0, hidden, hidden @ self.turn))


def signed(x, signs):
    """The first input of each example (at all positions) has the sign asked for."""
    x = x.clone()
    first = x[:, 0].reshape(len(x), -1).abs() * torch.tensor(signs, dtype=x.dtype)[:, None]
    x[:, 0] = first.view_as(x[:, 0])
    return x


@pytest.mark.parametrize("kind", [Waking, Turning])
@pytest.mark.parametrize("image", [True, False])
def test_what_seems_separable_on_two_examples_alone(found, kind, image):
    model = seeded(lambda: kind(image=image))
    x = images(60)[..., :4, :4] if image else vectors(100)
    odd = signed(x, [1.0, 1.0] + [-1.0] * (len(x) - 2))
    even = signed(x, [1.0] * len(x))
    modes = ["full"] if image else ["trace"]  # where it would be the cheapest way
    assert methods(model, odd, *modes)["first"] == "separable"
    found.clear()
    assert_right(model, odd, modes=modes)
    assert False in found
    assert_right(model, even, odd, modes=modes)  # on one side only
    assert_right(model, odd, even, modes=modes)
    found.clear()
    assert_right(model, even, modes=modes)
    assert all(found)


def test_one_odd_example_among_many(found):
    model = seeded(lambda: Turning(image=False))
    x = signed(vectors(120), [1.0] * 119 + [-1.0])
    assert_right(model, x, modes=["trace"])
    assert found == [False]


class Halves(nn.Module):
    """A convolution of two groups, whose outputs are added; the read-out is as wide as a group."""

    def __init__(self, change):
        super().__init__()
        self.conv, self.out, self.change = nn.Conv2d(2, 8, 3, stride=2, groups=2), nn.Linear(4, 10), change

    def forward(self, x):
        hidden = torch.tanh(self.conv(x)).flatten(2).mean(2)
        return self.out(hidden[:, :4] + self.change(hidden[:, 4:]))


@pytest.mark.parametrize(
    ("change", "form"),
    [(lambda h: 2 * h, [True, True]), (lambda h: h.flip(1), [True, False])],
    ids=["doubled", "turned round"],
)
def test_each_group_of_a_convolution_is_seen_for_itself(found, change, form):
    model = seeded(lambda: Halves(change))
    for mode in ("full", "trace"):
        found.clear()
        assert_right(model, images(75), modes=[mode])
        assert found == form


# --- the look at the numbers ------------------------------------------------------------------------------


def _group(*, outputs=3):
    torch.manual_seed(0)
    weight = torch.randn(outputs, 4, dtype=torch.float64)
    shared = torch.randn(5, 2, 4, dtype=torch.float64)
    inputs = torch.randn(5, 2, 6, dtype=torch.float64)
    return Outer(inputs, tuple(shared * row for row in weight), weight), shared


def test_the_factors_are_found():
    group, shared = _group()
    parts = separable.parts(group)
    torch.testing.assert_close(parts.shared, shared, rtol=1e-13, atol=1e-13)
    assert parts.inputs is group.inputs


@pytest.mark.parametrize("outputs", [1, 3])
def test_contractions_of_the_factors(outputs):
    group, _ = _group(outputs=outputs)
    j = group.written_out().jacobian
    wanted = torch.einsum("cnp,dmp->cndm", j, j)
    parts = separable.parts(group)
    for block_bytes in (1, 200, 10**6):
        kernel = torch.ones_like(wanted)
        separable.add_full(kernel, parts, parts, block_bytes)
        torch.testing.assert_close(kernel, 1 + wanted)
    one = parts.as_one_output().written_out().jacobian[0]
    torch.testing.assert_close(one @ one.T, torch.einsum("cncm->nm", wanted))


@pytest.mark.parametrize("off", [1e-12, 1e-6, 1.0, float("nan")])
def test_one_number_off_is_seen(off):
    group, _ = _group()
    group.grads[1][2, 1, 3] += off
    assert separable.parts(group) is None


def test_another_width_and_no_read_out_are_not_of_the_form():
    group, _ = _group()
    assert separable.parts(Outer(group.inputs, group.grads)) is None
    assert separable.parts(Outer(group.inputs, group.grads, group.readout[:, :3])) is None
    assert separable.parts(Outer(group.inputs, group.grads, group.readout[:2])) is None
