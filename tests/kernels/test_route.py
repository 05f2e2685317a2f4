"""Networks that change their ways, with an attribute or from example to example, are not misread."""

import random
import warnings

import numpy as np
import pytest
import torch
from test_refusals import Headed, assert_right, inputs, perceptron, seeded
from test_rules import reference
from torch import nn
from torch.nn import functional

import clntk
from clntk.errors import DataError, KernelFallbackWarning


class Toggled(nn.Module):
    """An attribute says, to nobody, what its forward pass does."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.use_shared_weight_functionally = False
        self.scale_outputs = False
        self.stop_gradients = False

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        if self.use_shared_weight_functionally:
            hidden = functional.linear(hidden, self.first.weight)
        hidden = self.second(hidden)
        if self.stop_gradients:
            hidden = hidden.detach()
        outputs = self.out(torch.tanh(hidden))
        return outputs * torch.tensor([1.0, 2.0, 3.0]).to(x) if self.scale_outputs else outputs


TOGGLES = ["use_shared_weight_functionally", "scale_outputs", "stop_gradients"]


@pytest.mark.filterwarnings("ignore::clntk.errors.KernelFallbackWarning")
@pytest.mark.parametrize("toggle", TOGGLES)
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("n", [1, 2, 100])
def test_a_network_that_changes_its_ways_is_seen_through(toggle, start, n):
    model, x = seeded(Toggled), inputs(n, 4)
    for on in (start, not start, start, not start):
        setattr(model, toggle, on)
        assert_right(model, x)
        assert_right(model, x, inputs(3, 4, seed=2))


@pytest.mark.filterwarnings("ignore::clntk.errors.KernelFallbackWarning")
@pytest.mark.parametrize("mode", ["full", "trace", "diag", "sum_logits"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whatever_is_asked_for_first_after_a_change(mode, dtype):
    model, x = seeded(Toggled).to(dtype), inputs(5, 4).to(dtype)
    clntk.empirical_ntk(model, x, mode=mode)
    model.use_shared_weight_functionally = True
    kernel = clntk.empirical_ntk(model, x, mode=mode)
    expected = clntk.empirical_ntk(model, x, mode=mode, method="autograd")
    torch.testing.assert_close(kernel, expected, rtol=1e-4 if dtype == torch.float32 else 1e-10, atol=1e-5)


@pytest.mark.filterwarnings("ignore::clntk.errors.KernelFallbackWarning")
def test_the_operator_and_layers_shares_after_a_change():
    model, x = seeded(Toggled), inputs(5, 4)
    clntk.ntk_operator(model, x)
    clntk.empirical_ntk(model, x, per_layer=True)
    model.use_shared_weight_functionally = True
    expected = reference(model, x)
    parts = clntk.empirical_ntk(model, x, per_layer=True)
    torch.testing.assert_close(sum(parts.values()), expected)
    product = clntk.ntk_operator(model, x).matmat(torch.eye(15, dtype=torch.float64))
    torch.testing.assert_close(product, expected.reshape(15, 15))


@pytest.mark.filterwarnings("ignore::clntk.errors.KernelFallbackWarning")
@pytest.mark.parametrize("toggle", TOGGLES)
def test_a_kernel_on_disk_is_not_taken_for_that_of_a_network_that_changed(tmp_path, toggle):
    model, x = seeded(Toggled), inputs(5, 4)
    clntk.empirical_ntk(model, x, out=tmp_path / "k")
    setattr(model, toggle, True)
    with pytest.raises(DataError, match="holds the kernel of another network"):
        clntk.empirical_ntk(model, x, out=tmp_path / "k")
    kernel = clntk.empirical_ntk(model, x, out=tmp_path / "other")
    np.testing.assert_allclose(kernel.values, reference(model, x), rtol=0, atol=1e-12)


class Forked(nn.Module):
    """Which way an example takes, its first input says; two of three ways use a weight behind its module's back."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        hidden = torch.tanh(self.second(torch.tanh(self.first(x))))
        one = functional.linear(hidden, self.first.weight)
        other = functional.linear(hidden, self.second.weight)
        way = x[:, :1]
        return self.out(torch.where(way > 1, one, torch.where(way < -1, other, hidden)))


def ways(x, first):
    x = x.clone()
    x[:, 0] = torch.tensor(first, dtype=x.dtype)
    return x


def test_an_example_of_the_first_two_says_enough_of_the_others():
    model, x = seeded(Forked), ways(inputs(6, 4), [0, 2, 2, 0, 2, 2])
    with pytest.warns(KernelFallbackWarning, match="first: its rule and autograd disagree"):
        assert_right(model, x)


@pytest.mark.parametrize("n", [3, 8, 40])
def test_examples_that_take_another_way_than_the_first_two_are_seen(n):
    model, x = seeded(Forked), ways(inputs(n, 4), [0, 0] + [2] * (n - 2))
    with pytest.warns(KernelFallbackWarning, match="first: its rule and autograd disagree"):
        kernel = clntk.empirical_ntk(model, x)
    torch.testing.assert_close(kernel, reference(model, x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # told once
        assert_right(model, x)
        assert_right(model, ways(x, [0] * n), x)


def test_the_one_example_that_shows_it_is_the_one_that_is_looked_at():
    """Only the module in doubt leaves its rule, and not all of them."""
    for odd in range(8):
        model, x = seeded(Forked), ways(inputs(8, 4), [2 if n == odd else 0 for n in range(8)])
        with pytest.warns(KernelFallbackWarning) as told:
            parts = clntk.empirical_ntk(model, x, per_layer=True)
        assert [str(warning.message).split(":")[1].strip() for warning in told] == ["first"]
        assert set(parts) == {"first.weight", "first.bias", "second", "out"}
        torch.testing.assert_close(sum(parts.values()), reference(model, x))


@pytest.mark.filterwarnings("ignore::clntk.errors.KernelFallbackWarning")
@pytest.mark.parametrize("first", [[0, 0, 2, 2, 2, -2, -2, -2], [2, 2, 2, 2, 2, 2, 2, -2]])
def test_what_was_found_stays_found(first):
    """The second module in doubt does not clear the first."""
    model, x = seeded(Forked), ways(inputs(8, 4), first)
    parts = clntk.empirical_ntk(model, x, per_layer=True)
    assert set(parts) == {"first.weight", "first.bias", "second.weight", "second.bias", "out"}
    torch.testing.assert_close(sum(parts.values()), reference(model, x))


class Precise(nn.Module):
    """Another way in single precision than in the double one of the check."""

    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        if x.dtype == torch.float32:
            hidden = functional.linear(hidden, self.first.weight)
        return self.out(hidden)


def test_what_no_check_explains_goes_by_autograd():
    torch.manual_seed(0)
    model, x = Precise(), inputs(5, 4).float()
    with pytest.warns(
        KernelFallbackWarning, match="the model itself: its rules and autograd disagree on some"
    ):
        kernel = clntk.empirical_ntk(model, x)
    torch.testing.assert_close(kernel, reference(model, x))
    assert set(clntk.empirical_ntk(model, x, per_layer=True)) == {
        name for name, _ in model.named_parameters()
    }


def test_wherever_they_are():
    generator = random.Random(0)
    for _ in range(8):
        first = [0, 0, *generator.choices([0, 2, -2], k=6)]
        model, x = seeded(Forked), ways(inputs(8, 4), first)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", KernelFallbackWarning)
            assert_right(model, x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # told already
            assert_right(model, x)


@pytest.mark.filterwarnings("ignore::clntk.errors.KernelFallbackWarning")
def test_on_disk_too(tmp_path):
    model, x = seeded(Forked), ways(inputs(9, 4), [0, 0, 0, 2, 2, 0, -2, -2, 0])
    kernel = clntk.empirical_ntk(model, x, out=tmp_path / "k", block_bytes=9 * 9 * 8)
    assert kernel.attrs["tile"] == 3
    np.testing.assert_allclose(kernel.values, reference(model, x), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::clntk.errors.KernelFallbackWarning")
@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize("m", [1, 2, 9])
def test_both_sides_go_by_one_route(n, m):
    """What one side shows changes the way of the other, which was there first."""
    for first, second in (([0] * n, [2] * m), ([2] * n, [0] * m), ([2] * n, [-2] * m)):
        model = seeded(Forked)
        x1, x2 = ways(inputs(n, 4), first), ways(inputs(m, 4, seed=2), second)
        assert_right(model, x1, x2)
        assert_right(model, x2, x1)
        expected = reference(model, x1, x2)
        parts = clntk.empirical_ntk(seeded(Forked), x1, x2, per_layer=True)
        torch.testing.assert_close(sum(parts.values()), expected)


class Experts(nn.Module):
    """Each expert sees the examples that are sent to it, and is not called where there are none."""

    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Linear(4, 4), nn.Linear(4, 3)
        self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        found = torch.zeros_like(hidden)
        for expert, chosen in zip(self.experts, (x[:, 0] > 0, x[:, 0] <= 0), strict=True):
            if chosen.any():
                found = found.index_put((chosen.nonzero()[:, 0],), torch.tanh(expert(hidden[chosen])))
        return self.out(found)


@pytest.mark.filterwarnings("ignore::clntk.errors.KernelFallbackWarning")
@pytest.mark.parametrize(
    "first", [[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1, -1], [1, 1] + [1, -1] * 5], ids=str
)
def test_modules_that_see_some_of_the_examples(tmp_path, first):
    model, x = seeded(Experts), ways(inputs(len(first), 4), first)
    assert_right(model, x)
    assert_right(seeded(Experts), x, x[:1])
    if len(x) > 4:
        parts = clntk.empirical_ntk(model, x, per_layer=True)
        experts = {f"experts.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
        assert set(parts) == {"first", "out", *experts}  # these alone are off their rule
    kernel = clntk.empirical_ntk(seeded(Experts), x, out=tmp_path / "k", block_bytes=1)
    np.testing.assert_allclose(kernel.values, reference(model, x), rtol=0, atol=1e-12)


def test_modules_that_are_called_on_one_side_only():
    model, x1, x2 = seeded(Experts), ways(inputs(4, 4), [1] * 4), ways(inputs(5, 4), [-1] * 5)
    assert_right(model, x1, x2)
    for params in (["experts.0.weight"], ["experts.0.weight", "experts.1.weight"]):
        kernel = clntk.empirical_ntk(model, x1, x2, params=params)
        assert kernel.shape == (4, 3, 5, 3)
        assert not kernel.any()
    own = clntk.empirical_ntk(model, x1, params=["experts.0.weight"])
    for name, p in model.named_parameters():
        p.requires_grad_(name == "experts.0.weight")
    torch.testing.assert_close(own, reference(model, x1))


class Own(nn.Linear):
    """A linear module without a rule, as it may compute anything."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("make", [lambda: nn.Linear(5, 6), lambda: nn.Linear(5, 1), lambda: Own(5, 3)])
def test_a_read_out_that_was_exchanged(tmp_path, make):
    model, x = seeded(perceptron), inputs(5, 4)
    assert_right(model, x)
    model[2] = make().double()
    kernel = clntk.empirical_ntk(model, x, out=tmp_path / "k", block_bytes=1)
    np.testing.assert_allclose(kernel.values, reference(model, x), rtol=0, atol=1e-12)
    assert_right(model, x)


def test_heads_of_their_own():
    model, x = seeded(Headed), inputs(5, 4)
    for task in (0, 1, 0):
        model.task = task
        assert_right(model, x)
