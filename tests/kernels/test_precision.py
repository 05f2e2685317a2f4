"""Kernels in full single precision, whatever torch was told before, and torch as it was afterwards."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from test_rules import build, reference
from torch import nn

import clntk
from clntk.kernels import empirical, operator, request
from clntk.kernels.precision import full_precision

BACKENDS = torch.backends
OPERATIONS = {
    "cudnn.conv": BACKENDS.cudnn.conv,
    "cudnn.rnn": BACKENDS.cudnn.rnn,
    "cuda.matmul": BACKENDS.cuda.matmul,
    "mkldnn.conv": BACKENDS.mkldnn.conv,
    "mkldnn.rnn": BACKENDS.mkldnn.rnn,
    "mkldnn.matmul": BACKENDS.mkldnn.matmul,
}
PARENTS = {"all": BACKENDS, "cudnn": BACKENDS.cudnn, "mkldnn": BACKENDS.mkldnn}
IEEE = dict.fromkeys(OPERATIONS, "ieee")


def precisions():
    return {name: operation.fp32_precision for name, operation in OPERATIONS.items()}


def state():
    """All that can be read: torch refuses to read an older switch that a newer setting belies."""
    found = precisions() | {name: parent.fp32_precision for name, parent in PARENTS.items()}
    for name, read in {
        "older matmul": torch.get_float32_matmul_precision,
        "older cuda.matmul": lambda: BACKENDS.cuda.matmul.allow_tf32,
        "older cudnn": lambda: BACKENDS.cudnn.allow_tf32,
    }.items():
        with suppress(RuntimeError):
            found[name] = read()
    return found


def as_torch_starts():
    for parent in PARENTS.values():
        parent.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True
    for name, operation in OPERATIONS.items():
        operation.fp32_precision = "tf32" if name.startswith("cudnn") else "none"


@pytest.fixture(autouse=True)
def _torch_is_left_as_it_starts():
    as_torch_starts()
    yield
    as_torch_starts()


def _all(value):
    BACKENDS.fp32_precision = value


def _older_switch():
    BACKENDS.cuda.matmul.allow_tf32 = True


def _older_cudnn():
    BACKENDS.cudnn.allow_tf32 = False


def _one_operation():
    BACKENDS.cudnn.conv.fp32_precision = "ieee"


def _mkldnn():
    BACKENDS.mkldnn.fp32_precision = "bf16"


def _mixed():
    BACKENDS.cuda.matmul.allow_tf32 = True
    BACKENDS.cuda.matmul.fp32_precision = "ieee"


CASES = {
    "defaults": lambda: None,
    "older switch": _older_switch,
    "older switch of cuDNN": _older_cudnn,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "all tf32": lambda: _all("tf32"),
    "all ieee": lambda: _all("ieee"),
    "one operation": _one_operation,
    "mkldnn": _mkldnn,
    "older and newer": _mixed,
}


@pytest.fixture(params=CASES)
def before(request):
    """What can be read of torch's settings before, in each case."""
    CASES[request.param]()
    return state()


def assert_full():
    """Also what reads the older switches inside must find them in order: models do."""
    found = state()
    assert {name: found[name] for name in IEEE} == IEEE
    assert found["older matmul"] == "highest"
    assert found["older cuda.matmul"] is False
    assert found["older cudnn"] is False


def assert_as_before(before):
    after = state()
    assert {name: after.get(name) for name in before} == before


def test_full_inside_and_as_before_after(before):
    with full_precision():
        assert_full()
        with full_precision():
            assert_full()
        assert_full()
    assert_as_before(before)


def test_as_before_after_an_exception(before):
    def broken():
        with full_precision():
            assert_full()
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert_as_before(before)


def test_what_was_inherited_inherits_again():
    _all("tf32")
    with full_precision():
        pass
    _all("ieee")
    assert precisions() == IEEE
    as_torch_starts()
    with full_precision():
        pass
    for value in ("tf32", "ieee"):
        _all(value)
        assert {precisions()[name] for name in OPERATIONS if not name.startswith("cudnn")} == {value}


class Recording(nn.Module):
    """Notes torch's settings whenever it is called."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = nn.Linear(4, 3), []

    def forward(self, x):
        self.seen.append(precisions())
        return self.inner(x)

    def __deepcopy__(self, memo):
        copy = Recording()
        copy.load_state_dict(self.state_dict())
        copy.seen = self.seen
        return copy


@pytest.fixture
def settings_of(monkeypatch):
    """Notes torch's settings whenever a function of a module is called."""

    def watch(module, name):
        seen, original = [], getattr(module, name)

        def watched(*arguments, **options):
            seen.append(precisions())
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, watched)
        return seen

    return watch


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("mode", ["full", "trace", "diag", "sum_logits"])
def test_forward_passes_and_contractions_are_in_full_precision(mode, settings_of):
    model, x = Recording(), torch.randn(3, 4)
    contractions = settings_of(*(empirical, "squared_norms") if mode == "diag" else (request, "contracted"))
    clntk.empirical_ntk(model, x, mode=mode)
    assert len(model.seen) > 3
    assert all(found == IEEE for found in model.seen)
    assert contractions == [IEEE]


def test_on_disk_too(tmp_path, settings_of, before):
    model, contractions = Recording(), settings_of(request, "contracted")
    clntk.empirical_ntk(model, torch.randn(3, 4), out=tmp_path / "k", block_bytes=1)
    assert all(found == IEEE for found in model.seen)
    assert contractions == [IEEE] * 6
    assert_as_before(before)


def test_the_operator_too(settings_of, before):
    model = Recording()
    products, norms = settings_of(operator, "_product"), settings_of(operator, "squared_norms")
    found = clntk.ntk_operator(model, torch.randn(3, 4))
    assert all(settings == IEEE for settings in model.seen)
    found.matmat(torch.randn(9, 2))
    found.solve(torch.randn(9), ridge=1.0)
    found.diagonal()
    assert len(products) > 2
    assert all(settings == IEEE for settings in products)
    assert norms == [IEEE]
    assert_as_before(before)


def test_as_before_after_a_network_that_fails(before):
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.calls = nn.Linear(4, 3), 0

        def forward(self, x):
            if len(x) > 2:
                raise ValueError("broken")
            return self.inner(x)

    with pytest.raises(ValueError, match="broken"):
        clntk.empirical_ntk(Failing(), torch.randn(5, 4))
    assert_as_before(before)


@pytest.mark.parametrize("mode", ["full", "trace"])
def test_processors_that_multiply_in_bfloat16_do_not(mode):
    """Holds by itself on processors that cannot."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 3))
    x = torch.randn(128, 128)
    torch.set_float32_matmul_precision("medium")
    kernel = clntk.empirical_ntk(model, x, mode=mode)
    expected = clntk.empirical_ntk(model.double(), x.double(), mode=mode)
    assert (kernel - expected).abs().max() <= 1e-5 * expected.abs().max()


# --- on a graphics card: pytest -m gpu --------------------------------------------------------------------

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none")


@pytest.fixture(params=["defaults", "older switch", "all tf32"])
def _tf32(request):
    CASES[request.param]()


def on_card(name, n):
    """The network in double precision and its inputs, and both in single precision on the card."""
    model, x = build(name, n)
    card, y = build(name, n, dtype=torch.float32)
    card.load_state_dict(model.state_dict())
    y = x.to(y.dtype)
    return model, x, card.cuda(), y.cuda()


@cuda
@pytest.mark.gpu
@pytest.mark.usefixtures("_tf32")
@pytest.mark.parametrize("name", ["linear", "conv2d", "linear at positions", "layer norm", "tied tokens"])
def test_on_a_card_it_is_that_of_the_processor(name):
    model, x, card, y = on_card(name, 40)
    expected = reference(model, x)
    wanted = {
        "full": expected,
        "trace": torch.einsum("ncmc->nm", expected),
        "diag": torch.einsum("ncnc->nc", expected),
        "sum_logits": expected.sum((1, 3)),
    }
    for mode, right in wanted.items():
        kernel = clntk.empirical_ntk(card, y, mode=mode)
        assert kernel.device == y.device
        assert kernel.dtype == torch.float32
        assert (kernel.cpu() - right).abs().max() <= 1e-5 * expected.abs().max()
    kernel = clntk.empirical_ntk(card, y[:15], y[15:])
    assert kernel.device == y.device
    assert (kernel.cpu() - expected[:15, :, 15:]).abs().max() <= 1e-5 * expected.abs().max()


@cuda
@pytest.mark.gpu
@pytest.mark.parametrize("method", ["gram", "jacobian", "autograd"])
def test_every_method_on_a_card(method):
    model, x, card, y = on_card("conv2d", 20)
    expected = reference(model, x)
    kernel = clntk.empirical_ntk(card, y, method=method)
    assert (kernel.cpu() - expected).abs().max() <= 1e-5 * expected.abs().max()


@cuda
@pytest.mark.gpu
def test_from_a_card_to_the_disk(tmp_path):
    model, x, card, y = on_card("conv2d", 20)
    expected = reference(model, x).numpy()
    kernel = clntk.empirical_ntk(card, y, out=tmp_path / "k", block_bytes=4000)
    assert kernel.attrs["tile"] < 20
    assert kernel.dtype == np.float32
    assert np.abs(kernel.values - expected).max() <= 1e-5 * np.abs(expected).max()


@cuda
@pytest.mark.gpu
def test_the_operator_on_a_card():
    model, x, card, y = on_card("conv2d", 20)
    size = 20 * 3
    expected = reference(model, x).reshape(size, size)
    found = clntk.ntk_operator(card, y)
    product = found.matmat(torch.eye(size, device="cuda"))
    assert product.device == y.device
    assert (product.cpu() - expected).abs().max() <= 1e-5 * expected.abs().max()
    values, _ = found.top_eigenpairs(3)
    assert values.device == y.device
    torch.testing.assert_close(
        values.cpu().double(), torch.linalg.eigvalsh(expected).flip(0)[:3], rtol=1e-4, atol=0
    )
