"""All ways to the kernel agree with autograd and with differences, and tiles cover what they should."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rules import CASES, build, reference
from torch import nn

import clntk
from clntk.errors import DataError
from clntk.kernels import contract
from clntk.kernels.tiles import mirror, output_blocks, row_blocks

METHODS = ("gram", "jacobian", "autograd", "auto")


def assert_right(kernel, expected):
    assert kernel.shape == expected.shape
    assert (kernel - expected).abs().max() <= 1e-10 * expected.abs().max()


def assert_all_modes_right(model, x, **options):
    expected = reference(model, x)
    assert_right(clntk.empirical_ntk(model, x, **options), expected)
    assert_right(clntk.empirical_ntk(model, x, mode="trace", **options), torch.einsum("ncmc->nm", expected))
    assert_right(clntk.empirical_ntk(model, x, mode="diag", **options), torch.einsum("ncnc->nc", expected))
    assert_right(clntk.empirical_ntk(model, x, mode="sum_logits", **options), expected.sum((1, 3)))


def assert_two_sides_right(model, x1, x2, **options):
    expected = reference(model, x1, x2)
    assert_right(clntk.empirical_ntk(model, x1, x2, **options), expected)
    assert_right(
        clntk.empirical_ntk(model, x1, x2, mode="trace", **options), torch.einsum("ncmc->nm", expected)
    )
    assert_right(clntk.empirical_ntk(model, x1, x2, mode="sum_logits", **options), expected.sum((1, 3)))


# --- methods and blocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_every_method_is_autograds(name, method):
    model, x = build(name, 5)
    assert_all_modes_right(model, x, method=method)
    assert_two_sides_right(model, x[:2], x[2:], method=method)


@pytest.mark.parametrize(
    ("method", "allowed"),
    [
        ("gram", {"gram", "positions", "readout"}),
        ("jacobian", {"jacobian", "readout"}),
        ("autograd", set()),
    ],
)
def test_a_method_keeps_to_its_way(monkeypatch, method, allowed):
    taken = set()
    original = contract.cheapest

    def watched(*arguments):
        way = original(*arguments)
        taken.add(way)
        return way

    monkeypatch.setattr(contract, "cheapest", watched)
    for name in ("linear", "conv2d", "linear at positions"):
        model, x = build(name, 4)
        clntk.empirical_ntk(model, x, method=method)
        clntk.empirical_ntk(model, x, mode="trace", method=method)
    assert taken == allowed


@pytest.mark.parametrize("block_bytes", [1, 1000, 5000, 10**9])
@pytest.mark.parametrize("method", ["gram", "jacobian", "auto"])
@pytest.mark.parametrize(
    "name", ["linear", "linear at positions", "conv2d", "conv2d groups", "called thrice", "tied tokens"]
)
def test_blocks_of_any_size(name, method, block_bytes):
    model, x = build(name, 7)
    assert_all_modes_right(model, x, method=method, block_bytes=block_bytes)
    assert_two_sides_right(model, x[:3], x[3:], method=method, block_bytes=block_bytes)


def test_blocks_bound_what_is_held_beside_the_kernel(monkeypatch):
    """The buffers that Jacobians are written to are of the size asked for."""
    held = []
    original = contract.empty

    def watched(shape, like):
        held.append(int(np.prod(shape)) * like.element_size())
        return original(shape, like)

    monkeypatch.setattr(contract, "empty", watched)
    model, x = build("conv2d", 5)
    clntk.empirical_ntk(model, x, method="jacobian", block_bytes=4000)
    assert held
    assert max(held) <= 4000


def test_what_does_not_exist_is_refused():
    model, x = build("linear", 3)
    for name, value, known in (
        ("method", "magic", "auto, gram, jacobian, autograd"),
        ("layout", "nmcd", "ncmd, cndm"),
        ("mode", "mean", "full, trace, diag, sum_logits"),
    ):
        with pytest.raises(
            DataError, match=f"empirical_ntk.{name}: expected one of {known}, found '{value}'"
        ):
            clntk.empirical_ntk(model, x, **{name: value})
    with pytest.raises(DataError, match="expected x1 alone in mode diag"):
        clntk.empirical_ntk(model, x, x, mode="diag")
    with pytest.raises(DataError, match="expected at least one name, found none"):
        clntk.empirical_ntk(model, x, params=[])


# --- other references -------------------------------------------------------------------------------------


def test_the_kernel_is_that_of_central_differences():
    torch.manual_seed(0)
    layers = [nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.LayerNorm(9), nn.Linear(9, 4), nn.GELU()]
    model = nn.Sequential(*layers, nn.Linear(4, 2)).double()
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    step, columns = 1e-5, []
    with torch.no_grad():
        for p in model.parameters():
            for i in range(p.numel()):
                value = p.view(-1)[i].item()
                p.view(-1)[i] = value + step
                above = model(x)
                p.view(-1)[i] = value - step
                columns.append((above - model(x)).flatten() / (2 * step))
                p.view(-1)[i] = value
    j = torch.stack(columns, 1)
    # A difference is off by step² f‴ / 6 and by rounding, 1e-16 f / step: by some 1e-10 of numbers near 1. A product
    # of two rows of 76 of them is then off by less than 76 · 2 · 1e-10 of the largest.
    error = (clntk.empirical_ntk(model, x).reshape(6, 6) - j @ j.T).abs().max()
    assert error <= 1.6e-8 * j.abs().max() ** 2


def test_a_kernel_by_torchs_own_jacobians():
    """Of the whole batch at once, without a module's own parameters."""
    model, x = build("conv2d", 4)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    jacobians = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, (x,)))(parameters)
    j = torch.cat([one.flatten(2) for one in jacobians.values()], 2)
    assert_right(clntk.empirical_ntk(model, x), torch.einsum("ncp,mdp->ncmd", j, j))


@pytest.mark.parametrize(
    "name",
    [
        "conv1d",
        "conv2d",
        "conv2d groups",
        "conv transposed",
        "tied tokens",
        "tokens",
        "called thrice",
        "batch norm",
        "one output",
    ],
)
def test_the_operator_on_the_identity_is_the_kernel(name):
    model, x = build(name, 4)
    expected = reference(model, x)
    size = expected[0, 0].numel()
    operator = clntk.ntk_operator(model, x)
    matrix = expected.reshape(size, size)
    assert_right(operator.matmat(torch.eye(size, dtype=torch.float64)), matrix)
    assert_right(operator.diagonal(), matrix.diagonal())
    assert operator.trace() == pytest.approx(float(matrix.trace()), rel=1e-10)
    assert operator.shape == (size, size)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["one output", "conv2d", "lstm"])
def test_one_example(name, method):
    model, x = build(name, 1)
    assert_all_modes_right(model, x, method=method)
    assert_two_sides_right(model, x, x, method=method)


# --- several row blocks -----------------------------------------------------------------------------------


class Wide(nn.Module):
    """A share of each kind: one position, several of them, written out."""

    def __init__(self, outputs=3):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 3, 2), nn.LayerNorm(9)
        self.inner, self.out = nn.Linear(9, 4), nn.Linear(4, outputs)

    def forward(self, x):
        return self.out(torch.tanh(self.inner(self.norm(torch.tanh(self.conv(x)).flatten(1)))))


@pytest.fixture(scope="module")
def many():
    """A network, inputs, and the kernel that autograd gives of them."""
    torch.manual_seed(0)
    model, x = Wide().double(), torch.randn(200, 2, 4, dtype=torch.float64)
    return model, x, reference(model, x)


@pytest.mark.parametrize("n", [63, 64, 127, 130, 200])
@pytest.mark.parametrize("method", ["auto", "gram", "jacobian"])
@pytest.mark.parametrize("block_bytes", [None, 50_000])
def test_many_examples(many, n, method, block_bytes):
    model, x, expected = many
    x, expected = x[:n], expected[:n, :, :n]
    options = {"method": method, "block_bytes": block_bytes}
    full = clntk.empirical_ntk(model, x, **options)
    assert_right(full, expected)
    assert torch.equal(full, full.permute(2, 3, 0, 1))  # to the last digit
    trace = clntk.empirical_ntk(model, x, mode="trace", **options)
    assert_right(trace, torch.einsum("ncmc->nm", expected))
    assert torch.equal(trace, trace.T)


def test_many_examples_on_two_sides(many):
    model, x, expected = many
    kernel = clntk.empirical_ntk(model, x[:130], x[130:])
    assert_right(kernel, expected[:130, :, 130:])
    kernel = clntk.empirical_ntk(model, x[:20], x, mode="trace")
    assert_right(kernel, torch.einsum("ncmc->nm", expected[:20]))


@pytest.mark.parametrize("method", ["auto", "gram", "jacobian"])
def test_many_examples_of_one_output(method):
    torch.manual_seed(0)
    model, x = Wide(1).double(), torch.randn(130, 2, 4, dtype=torch.float64)
    expected = reference(model, x)
    assert_right(clntk.empirical_ntk(model, x, method=method), expected)
    assert_right(clntk.empirical_ntk(model, x, mode="trace", method=method), expected[:, 0, :, 0])


# --- tiles ------------------------------------------------------------------------------------------------


def assert_covers(times, *, symmetric):
    """Each entry is reached once; of a symmetric matrix those above the diagonal at most once."""
    if symmetric:
        assert (times.tril() == torch.ones_like(times).tril()).all()
        assert times.max() == 1
    else:
        assert (times == 1).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 40))
def test_row_blocks_cover_the_matrix(rows, columns):
    for shape, symmetric in (((rows, columns), False), ((rows, rows), True)):
        times = torch.zeros(shape, dtype=torch.int8)
        for where in row_blocks(*shape, symmetric):
            times[where] += 1
        assert_covers(times, symmetric=symmetric)
    if rows >= 512:
        assert times.float().mean() < 0.57  # and spare nearly half of a large one


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 5), st.integers(1, 12), st.integers(1, 20))
def test_output_blocks_cover_the_kernel(c, n, d, m, step):
    for shape, symmetric in (((c, n, d, m), False), ((c, n, c, n), True)):
        times = torch.zeros(shape, dtype=torch.int8)
        for output, rows, outputs, examples in output_blocks(shape, symmetric, step):
            assert len(range(n)[rows]) <= step
            times[output, rows, outputs, examples] += 1
        assert_covers(times.view(c * n, -1), symmetric=symmetric)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1, 2, 17, 511, 512, 513, 600, 1030]), st.sampled_from([1, 2, 5]))
def test_a_mirrored_matrix_is_its_lower_triangle(size, outputs):
    lower = torch.randn(size, size).tril()
    expected = lower + lower.tril(-1).T
    kernel = lower + torch.full((size, size), float("nan")).triu(1)  # what is above does not matter
    mirror(kernel)
    assert torch.equal(kernel, expected)
    if size % outputs == 0:
        four = lower.view(outputs, size // outputs, outputs, -1).clone()
        mirror(four)
        assert torch.equal(four.view(size, size), expected)
