"""First-order facts against autograd loops, kernels written out, and networks that are linear in their weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from clntk import registry
from clntk.capture.look import Look, undisturbed
from clntk.capture.tangents import gradient_products, linearised_outputs, output_change
from clntk.kernels.empirical import empirical_ntk
from clntk.measures.interference import cross_task_overlap, gradient_cosine, layer_interference
from clntk.measures.laziness import linearisation_error
from clntk.measures.predicted_change import prediction_fit
from clntk.models.linearize import linearize

CHANGES = ("before", "actual", "tangent_start", "tangent_end", "kernel_start", "kernel_end")


def small(seed=0, nonlinear=True):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Tanh() if nonlinear else nn.Identity()
        return nn.Sequential(nn.Linear(5, 6), body, nn.Linear(6, 3)) if nonlinear else nn.Linear(5, 3)


@pytest.fixture
def inputs():
    g = torch.Generator().manual_seed(1)
    return {"A": torch.randn(4, 5, generator=g), "B": torch.randn(4, 5, generator=g)}


@pytest.fixture
def losses():
    g = torch.Generator().manual_seed(2)
    y = {"A": torch.randint(3, (4,), generator=g), "B": torch.randint(3, (4,), generator=g)}
    return {task: lambda f, y=labels: functional.cross_entropy(f, y) for task, labels in y.items()}


def stepped(network, inputs, losses, rates, at=None):
    """A copy after one step of plain gradient descent on the probes, in double precision; gradients are those of
    another network if one is given."""
    after = copy.deepcopy(network).double()
    where = after if at is None else at
    loss = sum(rate * losses[task](where(inputs[task].double())) for task, rate in rates.items())
    gradients = torch.autograd.grad(loss, list(where.parameters()))
    with torch.no_grad():
        for p, g in zip(after.parameters(), gradients, strict=True):
            p -= g
    return after


def flowed(network, inputs, losses, task, span, steps=20):
    """A copy after gradient flow for a time, by the midpoint rule, whose own error is small beside what is tested."""
    for _ in range(steps):
        middle = stepped(network, inputs, losses, {task: span / steps / 2})
        network = stepped(network, inputs, losses, {task: span / steps}, at=middle)
    return network


def jacobian(network, x):
    """Rows of ∂f_c(x_n)/∂θ by a loop of backward passes: (examples, outputs, weights)."""
    network = network.double()
    out = network(x.double())
    rows = [
        torch.cat(
            [g.flatten() for g in torch.autograd.grad(v, list(network.parameters()), retain_graph=True)]
        )
        for v in out.flatten()
    ]
    return torch.stack(rows).reshape(*out.shape, -1)


def flat(network):
    return torch.cat([p.detach().double().flatten() for p in network.parameters()])


# --- gradients --------------------------------------------------------------------------------------------


def test_gradient_products_against_a_loop_of_backward_passes(inputs, losses):
    network = small()
    result = gradient_products(network, inputs, losses)
    assert result.dims == ("layer", "eval_task", "other_task")
    assert result.layer.values.tolist() == ["0", "2"]
    reference = small().double()
    gradients = {}
    for task, x in inputs.items():
        reference.zero_grad()
        losses[task](reference(x.double())).backward()
        gradients[task] = {name: p.grad.clone() for name, p in reference.named_parameters()}
    for layer in ("0", "2"):
        for s in inputs:
            for t in inputs:
                parts = [
                    (gradients[s][f"{layer}.{p}"] * gradients[t][f"{layer}.{p}"]).sum()
                    for p in ("weight", "bias")
                ]
                found = float(result.sel(layer=layer, eval_task=s, other_task=t))
                assert found == pytest.approx(float(sum(parts)), rel=1e-10)


def test_a_task_seen_twice_and_its_opposite(inputs):
    twice = {"A": inputs["A"], "B": inputs["A"], "C": inputs["A"]}
    same = {task: lambda f, s=sign: s * f.sum() for task, sign in (("A", 1), ("B", 2), ("C", -1))}
    facts = gradient_products(small(), twice, same).expand_dims(checkpoint=["init"])
    np.testing.assert_allclose(gradient_cosine(facts)[0, 0], [1, 1, -1], rtol=1e-12)


def test_weights_that_are_not_trained_and_not_used_have_no_gradient(inputs, losses):
    network = small()
    network[0].requires_grad_(False)
    network.register_parameter("unused", nn.Parameter(torch.ones(2)))
    result = gradient_products(network, inputs, losses)
    assert result.layer.values.tolist() == ["unused", "2"]
    assert (result.sel(layer="unused") == 0).all()
    assert (np.diagonal(result.sel(layer="2")) > 0).all()


# --- linearisation ----------------------------------------------------------------------------------------


def test_linearised_outputs_against_the_jacobian(inputs):
    before, after = small(0), small(1)
    facts = linearised_outputs(before, after, inputs)
    assert facts.attrs["parameters"] == 6 * 5 + 6 + 3 * 6 + 3
    for task, x in inputs.items():
        J = jacobian(small(0), x)
        linear = small(0).double()(x.double()) + J @ (flat(after) - flat(before))
        np.testing.assert_allclose(facts.linear.sel(eval_task=task), linear.detach(), rtol=1e-10)
        np.testing.assert_allclose(facts.outputs.sel(eval_task=task), after.double()(x.double()).detach())
        after.float()


def test_a_network_that_is_linear_in_its_weights_has_no_linearisation_error(inputs):
    for before, after in (
        (small(0, nonlinear=False), small(1, nonlinear=False)),
        _moved_expansion(),
    ):
        facts = linearised_outputs(before, after, inputs).expand_dims(checkpoint=["x"])
        assert (linearisation_error(facts) == 0).all()
    facts = linearised_outputs(small(0), small(1), inputs).expand_dims(checkpoint=["x"])
    assert (linearisation_error(facts) > 0.1).all()


def _moved_expansion():
    before, after = (linearize(small(0)) for _ in range(2))
    with torch.no_grad():
        for p in after.parameters():
            p += 0.3
    return before, after


# --- output changes ---------------------------------------------------------------------------------------


def test_changes_against_jacobians_and_full_kernels_at_both_ends(inputs, losses):
    rates = {"A": 0.3, "B": 0.1}
    before, after = small(0), small(1)
    facts = output_change(before, after, inputs, losses, rates, 1)
    moved = flat(after) - flat(before)
    for moment, network in (("start", small(0)), ("end", small(1))):
        for s, x in inputs.items():
            np.testing.assert_allclose(
                facts[f"tangent_{moment}"].sel(eval_task=s),
                (jacobian(network, x) @ moved).detach(),
                rtol=1e-9,
            )
            expected = torch.zeros(4, 3, dtype=torch.float64)
            for t, rate in rates.items():
                K = empirical_ntk(network.double(), x.double(), inputs[t].double()).detach()
                f = small(0).double()(inputs[t].double()).detach().requires_grad_()
                residual = torch.autograd.grad(losses[t](f), f)[0]
                expected -= rate * torch.einsum("ncmd,md->nc", K, residual)
            np.testing.assert_allclose(
                facts[f"kernel_{moment}"].sel(eval_task=s), expected, rtol=1e-7, atol=1e-12
            )
    np.testing.assert_allclose(
        facts.before + facts.actual,
        output_change(after, before, inputs, losses, rates, 1).before,
        rtol=1e-10,
    )


def as_facts(change, trained=((False, True),)):
    facts = change.expand_dims(checkpoint=["x"])
    facts["trained"] = (("checkpoint", "eval_task"), np.array(trained))
    return facts


def test_the_tangent_prediction_of_a_linear_network_is_what_happens(inputs, losses):
    """However it was trained: here, not at all."""
    before, after = small(0, nonlinear=False), small(1, nonlinear=False)
    facts = as_facts(output_change(before, after, inputs, losses, {"B": 1.0}, 3))
    for rule in ("start", "trapezoid"):
        result = prediction_fit(facts, since="previous", rule=rule)
        np.testing.assert_allclose([result.r2, result.slope], 1.0, rtol=1e-12)
        np.testing.assert_allclose(result.relative_error, 0.0, atol=1e-12)


@pytest.mark.parametrize("rates", [{"B": 0.7}, {"A": 0.4, "B": 0.1}], ids=["one task", "two tasks"])
def test_the_kernel_prediction_of_a_linear_network_trained_on_its_probes_is_what_happens(
    rates, inputs, losses
):
    before = after = small(0, nonlinear=False)
    for _ in range(30):
        after = stepped(after, inputs, losses, rates)
    facts = as_facts(output_change(before, after, inputs, losses, rates, 30))
    for rule in ("start", "trapezoid"):
        result = prediction_fit(facts, theory="kernel", rule=rule, since="previous")
        np.testing.assert_allclose([result.r2, result.slope], 1.0, rtol=1e-10)
        np.testing.assert_allclose(result.relative_error, 0.0, atol=1e-10)


@pytest.mark.parametrize("steps", [50, 200], ids=["huge", "beyond numbers"])
def test_a_step_too_large_for_the_kernel_predicts_nothing(steps, inputs):
    losses = {task: lambda f: 0.5 * f.square().sum() for task in inputs}
    facts = output_change(small(0), small(1), inputs, losses, {"B": 1e3}, steps)
    assert facts.kernel_start.isnull().all()
    assert facts.kernel_end.isnull().all()


@pytest.mark.parametrize(
    ("theory", "rule", "order"),
    [
        ("tangent", "start", 2),
        ("tangent", "trapezoid", 3),
        ("kernel", "start", 2),
        ("kernel", "trapezoid", 3),
    ],
)
def test_order_of_the_error_of_each_prediction(theory, rule, order, inputs, losses):
    """Of gradient flow: halving the interval divides the error by 2^order."""
    errors = []
    for span in (0.05, 0.025):
        after = flowed(small(0), inputs, losses, "B", span)
        facts = as_facts(output_change(small(0), after, inputs, losses, {"B": span / 600}, 600))
        result = prediction_fit(facts, theory=theory, rule=rule, since="previous")
        errors.append(float(result.relative_error.sel(eval_task="A")[0]))
    # relative to a change of first order
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order - 1, abs=0.1)


def test_without_gradient_descent_there_is_no_kernel_prediction(inputs, losses):
    facts = output_change(small(0), small(1), inputs, losses, {"B": float("nan")}, 3)
    assert facts.kernel_start.isnull().all()
    assert facts.tangent_start.notnull().all()
    nobody = output_change(small(0), small(1), inputs, losses, {}, 3)
    assert (nobody.kernel_end == 0).all()


def test_a_moving_buffer_is_part_of_what_changed_and_not_of_the_prediction(inputs, losses):
    before, after = (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)) for _ in range(2))
    after.load_state_dict(before.state_dict())
    after[1].running_mean += 1.0
    facts = output_change(before, after, inputs, losses, {}, 3)
    assert (facts.tangent_start == 0).all()
    assert (facts.tangent_end == 0).all()
    assert float(np.abs(facts.actual).max()) > 0.1


def test_networks_are_left_as_they_were(inputs, losses):
    before, after = small(0).train(), small(1)
    states = [{k: v.clone() for k, v in n.state_dict().items()} for n in (before, after)]
    output_change(before, after, inputs, losses, {"A": 1.0}, 3)
    linearised_outputs(before, after, inputs)
    gradient_products(before, inputs, losses)
    for network, state in zip((before, after), states, strict=True):
        assert all(
            torch.equal(v, state[k]) and v.dtype == torch.float32 for k, v in network.state_dict().items()
        )
        assert all(p.grad is None for p in network.parameters())
    assert before.training
    assert before[0].training


# --- kernels by layer -------------------------------------------------------------------------------------


def test_layer_kernels_against_jacobians_by_layer(inputs):
    network = small()
    with undisturbed(network):
        facts = registry.get("probe", "layer_kernels")(Look(network, inputs, {}))
        whole = registry.get("probe", "kernels")(Look(network, inputs, {}))
    J = {t: jacobian(small(), x) for t, x in inputs.items()}
    columns = {"0": slice(0, 36), "2": slice(36, None)}
    for s in inputs:
        for t in inputs:
            K = whole.sel(eval_task=s, other_task=t).values
            for layer, own in columns.items():
                share = torch.einsum("ncp,mcp->nm", J[s][..., own], J[t][..., own]).numpy()
                place = {"layer": layer, "eval_task": s, "other_task": t}
                assert float(facts["norm"].sel(place)) == pytest.approx(np.linalg.norm(share), rel=1e-10)
                assert float(facts["projection"].sel(place)) == pytest.approx((share * K).sum(), rel=1e-10)
    result = layer_interference({k: v.expand_dims(checkpoint=["x"]) for k, v in facts.items()})
    np.testing.assert_allclose(result.share.sum("layer"), 1.0, rtol=1e-12)
    assert cross_task_overlap(whole.expand_dims(checkpoint=["x"])).notnull().all()
