"""Networks that have no kernel are refused with the reason."""

import warnings

import pytest
import torch
from test_rules import Sequence, reference
from torch import nn
from torch.nn.utils import parametrizations

import clntk
from clntk.errors import DataError


def seeded(make):
    torch.manual_seed(0)
    return make().double()


def perceptron(outputs=3):
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs))


def inputs(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_right(model, x, x2=None):
    expected = reference(model, x, x2)
    wanted = {
        "full": expected,
        "trace": torch.einsum("ncmc->nm", expected),
        "sum_logits": expected.sum((1, 3)),
    }
    if x2 is None:
        wanted["diag"] = torch.einsum("ncnc->nc", expected)
    for mode, right in wanted.items():
        kernel = clntk.empirical_ntk(model, x, x2, mode=mode)
        assert kernel.shape == right.shape
        assert (kernel - right).abs().max() <= 1e-10 * expected.abs().max()


# --- chance, precision, and what autograd cannot do -------------------------------------------------------


class Attentive(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=dropout, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Encoded(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=dropout, batch_first=True)
        self.encoder, self.out = nn.TransformerEncoder(layer, 2), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.encoder(x).mean(1))


def recurrent(kind, dropout):
    return Sequence(lambda *sizes, **options: kind(*sizes, num_layers=2, dropout=dropout, **options))


DROPPING = {
    "RNN": lambda dropout: recurrent(nn.RNN, dropout),
    "LSTM": lambda dropout: recurrent(nn.LSTM, dropout),
    "GRU": lambda dropout: recurrent(nn.GRU, dropout),
    "MultiheadAttention": Attentive,
    "TransformerEncoder": Encoded,
}


@pytest.mark.parametrize("name", DROPPING)
def test_dropout_within_a_module_is_refused_in_training_and_accepted_in_evaluation(name):
    model, x = seeded(lambda: DROPPING[name](0.5)), inputs(3, 4, 4)
    kind = "MultiheadAttention" if name == "TransformerEncoder" else name
    with pytest.raises(
        DataError, match=rf"\({kind}\) is in training mode, so that f\(x\) depends on .* chance"
    ):
        clntk.empirical_ntk(model, x)
    with pytest.raises(DataError, match="is in training mode"):
        clntk.ntk_operator(model, x)
    assert_right(model.eval(), x)
    assert_right(model, x[:1], x[1:])
    if name != "TransformerEncoder":  # its dropout modules of chance 0 count as well
        assert_right(seeded(lambda: DROPPING[name](0.0)).train(), x)


def test_a_transformer_where_torch_vectorises():
    """Elsewhere here, the warning of a slow batching rule is an error, and the slow way is taken."""
    model, x = seeded(lambda: Encoded(0.1)).eval(), inputs(4, 5, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_right(model, x)
        assert_right(model, x[:1], x[1:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    model = perceptron()
    model[2].to(dtype)
    name = str(dtype).removeprefix("torch.")
    match = rf"expected parameters in float32 or float64, found 2.weight in {name}; use model.float\(\)"
    for function in (clntk.empirical_ntk, clntk.ntk_operator):
        with pytest.raises(DataError, match=match):
            function(model, torch.randn(3, 4))


class NoWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("no way back")


class Changed(nn.Module):
    """A perceptron whose outputs are changed."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = perceptron(), change

    def forward(self, x):
        return self.change(self.inner(x))


def _in_place(outputs):
    grown = outputs.exp()
    return grown.mul_(2) + grown  # exp needs its output for the way back


@pytest.mark.parametrize(
    ("change", "why"), [(NoWayBack.apply, "no way back"), (_in_place, "modified by an inplace operation")]
)
@pytest.mark.parametrize("method", ["auto", "autograd"])
def test_what_autograd_cannot_differentiate_is_refused(change, why, method):
    model = seeded(lambda: Changed(change))
    with pytest.raises(DataError, match=f"expected a network that autograd can differentiate: .*{why}"):
        clntk.empirical_ntk(model, inputs(3, 4), method=method)


def _without_gradients(outputs):
    with torch.no_grad():
        return outputs * 2


@pytest.mark.parametrize("change", [torch.Tensor.detach, _without_gradients, torch.sign])
@pytest.mark.parametrize("method", ["auto", "autograd"])
def test_outputs_without_gradients(change, method):
    model, x = seeded(lambda: Changed(change)), inputs(3, 4)
    if change is torch.sign:  # flat, but differentiable
        assert not clntk.empirical_ntk(model, x, method=method).any()
        return
    with pytest.raises(DataError, match=r"expected outputs that depend on parameters.*look for detach\(\)"):
        clntk.empirical_ntk(model, x, method=method)


class Headed(nn.Module):
    """One read-out a task, of which one is in use."""

    def __init__(self):
        super().__init__()
        self.inner, self.heads, self.task = (
            nn.Linear(4, 5),
            nn.ModuleList([nn.Linear(5, 3), nn.Linear(5, 2)]),
            0,
        )

    def forward(self, x):
        return self.heads[self.task](torch.tanh(self.inner(x)))


@pytest.mark.parametrize("method", ["auto", "autograd"])
@pytest.mark.parametrize("mode", ["full", "trace", "diag"])
def test_the_share_of_parameters_out_of_use_is_nothing(mode, method):
    model, x = seeded(Headed), inputs(3, 4)
    kernel = clntk.empirical_ntk(model, x, mode=mode, params=["heads.1.weight"], method=method)
    assert kernel.shape == {"full": (3, 3, 3, 3), "trace": (3, 3), "diag": (3, 3)}[mode]
    assert not kernel.any()


# --- numbers that are none --------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("where", ["0.weight", "2.weight", "2.bias"])
def test_a_diverged_network_is_said_to_be_one(known, where):
    model, x = seeded(perceptron), inputs(5, 4)
    if known:
        clntk.empirical_ntk(model, x)
    with torch.no_grad():
        model.get_parameter(where).view(-1)[0] = float("nan")
    for function in (clntk.empirical_ntk, clntk.ntk_operator):
        with pytest.raises(
            DataError, match=r"expected outputs that are numbers, found NaN for (2 of 2|5 of 5)"
        ):
            function(model, x)


@pytest.mark.parametrize("known", [False, True])
def test_infinite_weights_are_said_to_be_so(known):
    model, x = seeded(perceptron), inputs(5, 4)
    if known:
        clntk.empirical_ntk(model, x)
    with torch.no_grad():
        model[2].weight[0, 0] = float("inf")
    with pytest.raises(DataError, match=r"expected finite gradients, .* infinity among the weights \(did"):
        clntk.empirical_ntk(model, x)


@pytest.mark.parametrize("lost", [0, 3, 29])
def test_an_input_that_is_no_number_is_found(lost):
    x = inputs(30, 4)
    x[lost, 2] = float("nan")
    with pytest.raises(DataError, match=r"found NaN for 1 of (2|30) examples; look for NaN"):
        clntk.empirical_ntk(seeded(perceptron), x)


def test_outputs_masked_with_infinity_are_none_of_it():
    mask = torch.tensor([False, True, False])
    assert_right(seeded(lambda: Changed(lambda f: f.masked_fill(mask, -float("inf")))), inputs(4, 4))


@pytest.mark.parametrize("worn", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_a_spectral_norm_moves_with_every_call_in_training(worn):
    model = nn.Sequential(worn(nn.Linear(4, 3)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        DataError, match=r"module '0.*' .* changes its spectral norm .* call model.eval\(\) first"
    ):
        clntk.empirical_ntk(model, torch.randn(2, 4))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    clntk.empirical_ntk(
        nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3))).eval(), torch.randn(2, 4)
    )


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_a_network_that_cannot_be_copied_is_refused_with_what_to_use():
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)))
    with pytest.raises(DataError, match=r"can be copied.*use torch.nn.utils.parametrizations.weight_norm"):
        clntk.empirical_ntk(model, torch.randn(2, 4))
