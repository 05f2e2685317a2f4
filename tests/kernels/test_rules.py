"""Every rule, and every way around the rules, against plain autograd in float64."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from clntk import empirical_ntk
from clntk.errors import DataError, KernelFallbackWarning
from clntk.kernels.decide import decide


def reference(model, x1, x2=None):
    """The full kernel (N, C, M, C) by one backward pass an example and output: slow and obvious."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def jacobian(x):
        rows = []
        for n in range(len(x)):
            for logit in model(x[n : n + 1])[0]:
                grads = torch.autograd.grad(logit, parameters, retain_graph=True, allow_unused=True)
                pairs = zip(grads, parameters, strict=True)
                rows.append(
                    torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
                )
        return torch.stack(rows)

    left = jacobian(x1)
    right = left if x2 is None else jacobian(x2)
    n, m = len(x1), len(x1 if x2 is None else x2)
    return (left @ right.T).view(n, -1, m, len(left) // n)


class Recurrent(nn.Module):
    """One module called three times."""

    def __init__(self):
        super().__init__()
        self.step, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.step(x))
        return self.out(x)


class Defeating(nn.Module):
    """Written to defeat hooks: a module's weight is used a second time, functionally."""

    def __init__(self):
        super().__init__()
        self.seen, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(functional.linear(torch.tanh(self.seen(x)), self.seen.weight.T))


class Tokens(nn.Module):
    def __init__(self, *, tied=False):
        super().__init__()
        self.table = nn.Embedding(7, 6, padding_idx=0)
        self.scale = nn.Parameter(torch.randn(6))
        self.out = nn.Linear(6, 7, bias=False)
        if tied:
            self.out.weight = self.table.weight

    def forward(self, tokens):
        return self.out(torch.tanh(self.table(tokens) * self.scale).mean(1))


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Sequence(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell, self.out = kind(4, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        return self.out(self.cell(x)[0][:, -1])


class TimeFirst(nn.Module):
    """Positions before examples: a shape that a rule must not mistake for a batch."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.inner(x.transpose(0, 1))).mean(0))


def flat(*layers, features, outputs=3):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, outputs))


IMAGE, SERIES = (3, 6, 6), (3, 7)
CASES = {
    "linear": (lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)), (5,)),
    "no bias": (
        lambda: nn.Sequential(nn.Linear(5, 6, bias=False), nn.Tanh(), nn.Linear(6, 3, bias=False)),
        (5,),
    ),
    "one output": (lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)), (5,)),
    "linear at positions": (lambda: flat(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2), features=8), (4, 5)),
    "conv2d": (lambda: flat(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), features=36), IMAGE),
    "conv2d groups": (lambda: flat(nn.Conv2d(3, 6, 3, groups=3), nn.ReLU(), features=96), IMAGE),
    "conv2d dilated": (lambda: flat(nn.Conv2d(3, 2, 2, dilation=2, padding="same"), features=72), IMAGE),
    "conv2d reflect": (
        lambda: flat(nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"), features=72),
        IMAGE,
    ),
    "conv1d": (lambda: flat(nn.Conv1d(3, 4, 3, padding=1), nn.ReLU(), features=28), SERIES),
    "conv transposed": (lambda: flat(nn.ConvTranspose2d(3, 2, 2), features=98), IMAGE),
    "conv transposed, all options": (
        lambda: flat(
            nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, dilation=2, groups=2),
            features=1176,
        ),
        (4, 6, 6),
    ),
    "conv transposed, output padding as large as the stride": (
        lambda: flat(nn.ConvTranspose2d(4, 2, 3, stride=2, output_padding=2, dilation=3), features=722),
        (4, 6, 6),
    ),
    "series, conv transposed": (
        lambda: flat(
            nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), features=84
        ),
        (4, 7),
    ),
    "series, conv transposed, output padding as large as the stride": (
        lambda: flat(nn.ConvTranspose1d(3, 2, 3, stride=2, output_padding=2, dilation=3), features=42),
        SERIES,
    ),
    "volume": (lambda: flat(nn.Conv3d(2, 3, 2), nn.ReLU(), features=24), (2, 3, 3, 3)),
    "mean pooling": (
        lambda: flat(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), features=4),
        IMAGE,
    ),
    "batch norm": (lambda: flat(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), features=64), IMAGE),
    "group norm": (lambda: flat(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), features=64), IMAGE),
    "layer norm": (lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)), (5,)),
    "rms norm": (lambda: nn.Sequential(nn.Linear(5, 6), nn.RMSNorm(6), nn.Linear(6, 3)), (5,)),
    "called thrice": (Recurrent, (6,)),
    "attention": (Attentive, (5, 8)),
    "transformer layer": (
        lambda: flat(nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True), features=40),
        (5, 8),
    ),
    "lstm": (lambda: Sequence(nn.LSTM), (3, 4)),
    "gru": (lambda: Sequence(nn.GRU), (3, 4)),
    "tokens": (Tokens, None),
    "tied tokens": (lambda: Tokens(tied=True), None),
}


def build(name, n, *, dtype=torch.float64):
    make, shape = CASES[name]
    torch.manual_seed(0)
    model = make().to(dtype).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    x = torch.randint(7, (n, 4)) if shape is None else torch.randn(n, *shape, dtype=dtype)
    return model, x


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_is_autograds(name):
    model, x = build(name, 4)
    expected = reference(model, x)
    scale = expected.abs().max()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none of these needs the emergency exit
        full = empirical_ntk(model, x)
    assert (full - expected).abs().max() <= 1e-10 * scale
    trace = torch.einsum("ncmc->nm", expected)
    assert (empirical_ntk(model, x, mode="trace") - trace).abs().max() <= 1e-10 * scale
    diagonal = torch.einsum("ncnc->nc", expected)
    assert (empirical_ntk(model, x, mode="diag") - diagonal).abs().max() <= 1e-10 * scale
    summed = expected.sum((1, 3))
    assert (empirical_ntk(model, x, mode="sum_logits") - summed).abs().max() <= 1e-10 * scale


@pytest.mark.parametrize("name", CASES)
def test_two_sides_and_one_example(name):
    model, x = build(name, 5)
    expected = reference(model, x[:1], x[1:])
    for mode, wanted in (("full", expected), ("trace", torch.einsum("ncmc->nm", expected))):
        kernel = empirical_ntk(model, x[:1], x[1:], mode=mode)
        assert (kernel - wanted).abs().max() <= 1e-10 * expected.abs().max()


@pytest.mark.parametrize("name", CASES)
def test_layers_shares_sum_to_the_kernel(name):
    model, x = build(name, 3)
    for mode in ("full", "trace", "diag", "sum_logits"):
        parts = empirical_ntk(model, x, mode=mode, per_layer=True)
        torch.testing.assert_close(sum(parts.values()), empirical_ntk(model, x, mode=mode))


@pytest.mark.parametrize("name", CASES)
def test_single_precision_is_good_to_its_rounding(name):
    model, x = build(name, 4, dtype=torch.float32)
    kernel = empirical_ntk(model, x)
    expected = reference(model.double(), x.double() if x.is_floating_point() else x)
    assert kernel.dtype == torch.float32
    assert (kernel - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_module_written_to_defeat_hooks_gets_the_right_kernel_and_a_warning():
    torch.manual_seed(0)
    model, x = Defeating().double(), torch.randn(4, 6, dtype=torch.float64)
    with pytest.warns(KernelFallbackWarning, match=r"seen: its rule and autograd disagree"):
        kernel = empirical_ntk(model, x)
    torch.testing.assert_close(kernel, reference(model, x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # told once for each network
        torch.testing.assert_close(empirical_ntk(model, x, mode="trace"), torch.einsum("ncmc->nm", kernel))


def test_positions_before_examples_are_not_mistaken_for_a_batch_even_when_as_many():
    torch.manual_seed(0)
    model, x = TimeFirst().double(), torch.randn(4, 4, 4, dtype=torch.float64)
    with pytest.warns(KernelFallbackWarning, match="not indexed by example first"):
        kernel = empirical_ntk(model, x)
    torch.testing.assert_close(kernel, reference(model, x))


def test_common_layers_do_go_by_their_rules():
    model, x = build("conv2d", 3)
    names = tuple(name for name, _ in model.named_parameters())
    assert decide(model, x[:2], names).rest == ()
    model, x = build("tied tokens", 3)
    rest = decide(model, x[:2], tuple(n for n, _ in model.named_parameters())).rest
    assert set(rest) == {"table.weight", "scale"}


def test_some_parameters_only_and_unknown_ones():
    model, x = build("linear", 3)
    parts = empirical_ntk(model, x, params=["0.bias", "2.weight"], per_layer=True)
    for p in model.parameters():
        p.requires_grad_(False)
    for name in ("0.bias", "2.weight"):
        model.get_parameter(name).requires_grad_(True)
    torch.testing.assert_close(sum(parts.values()), reference(model, x))
    with pytest.raises(
        DataError, match=r"expected names of parameters that require gradients .* found '0.weight'"
    ):
        empirical_ntk(model, x, params=["0.weight"])


def test_layouts_hold_the_same_numbers():
    model, x = build("linear", 3)
    torch.testing.assert_close(
        empirical_ntk(model, x, layout="cndm").permute(1, 0, 3, 2), empirical_ntk(model, x)
    )


def test_outputs_that_couple_examples_are_refused():
    class Coupled(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(3, 2)

        def forward(self, x):
            return self.out(x - x.mean(0))

    with pytest.raises(DataError, match="outputs change with the others in its batch"):
        empirical_ntk(Coupled(), torch.randn(4, 3))


@st.composite
def networks(draw):
    """A random stack of supported layers on images, ending in logits."""
    layers, channels, size = [], 2, 5
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["conv", "norm", "group norm", "activation"]))
        if kind == "conv":
            out = 2 * draw(st.integers(1, 2))
            groups = draw(st.sampled_from([1, 2]))
            layers.append(nn.Conv2d(channels, out, 3, padding=1, groups=groups, bias=draw(st.booleans())))
            channels = out
        elif kind == "norm":
            layers.append(nn.BatchNorm2d(channels))
        elif kind == "group norm":
            layers.append(nn.GroupNorm(2, channels))
        else:
            layers.append(draw(st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU]))())
    hidden = draw(st.integers(1, 6))
    layers += [nn.Flatten(), nn.Linear(channels * size**2, hidden), nn.Tanh(), nn.LayerNorm(hidden)]
    layers.append(nn.Linear(hidden, draw(st.integers(1, 4))))
    return nn.Sequential(*layers).double().eval()


@settings(max_examples=30, deadline=None)
@given(networks(), st.integers(1, 4), st.integers(0, 2**16))
def test_random_architectures(model, n, seed):
    x = torch.randn(n, 2, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = reference(model, x)
    kernel = empirical_ntk(model, x)
    assert (kernel - expected).abs().max() <= 1e-10 * expected.abs().max().clamp_min(1e-12)
    matrix = kernel.reshape(n * kernel.shape[1], -1)
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() >= -1e-9 * matrix.abs().max()
