"""The facts that are recorded at checkpoints: each probe is one function of one look at the network."""

import copy

import xarray as xr

from clntk.axes import EVAL_TASK, LAYER, OTHER_PROBE, OTHER_TASK, OUTPUT, PROBE, UNIT
from clntk.capture.look import Look
from clntk.registry import register

Fact = xr.DataArray | dict[str, xr.DataArray]


@register("probe")
def weights(look: Look) -> Fact:
    """Parameters by name, each in its own shape.

    Returns:
        Parameter name → array with dimensions ``<name>.0``, ``<name>.1`` ….
    """
    out = {}
    for name, parameter in look.model.named_parameters():
        value = parameter.detach().cpu().numpy().copy()
        out[name] = xr.DataArray(value, dims=[f"{name}.{i}" for i in range(value.ndim)])
    return out


@register("probe")
def outputs(look: Look) -> Fact:
    """Logits f(x; θ) on the probe sets (never softmax outputs): eval_task × probe × output."""
    values = look.by_task(look.forward[0]).cpu().numpy()
    return xr.DataArray(values, dims=(EVAL_TASK, PROBE, OUTPUT), coords={EVAL_TASK: look.tasks})


@register("probe")
def activations(look: Look) -> Fact:
    """Hidden units on the probe sets, by layer: eval_task × probe × unit, after the nonlinearity."""
    return {
        layer: xr.DataArray(
            look.by_task(values).cpu().numpy(), dims=(EVAL_TASK, PROBE, UNIT), coords={EVAL_TASK: look.tasks}
        )
        for layer, values in look.forward[1].items()
    }


@register("probe")
def kernels(look: Look) -> Fact:
    """Empirical NTK in trace mode (sum over outputs) as task blocks K_st, in float64.

    Computed in double precision whatever the network trains in: the kernel distance of a lazy network is second
    order in a small change, and would drown in float32 rounding.

    Returns:
        eval_task × other_task × probe × other_probe.
    """
    from clntk.kernels.empirical import empirical_ntk

    model = copy.deepcopy(look.model).double()
    kernel = empirical_ntk(model, look.stacked.double(), mode="trace").detach().cpu().numpy()
    t, n = len(look.tasks), look.n_probes
    blocks = kernel.reshape(t, n, t, n).transpose(0, 2, 1, 3)
    return xr.DataArray(
        blocks,
        dims=(EVAL_TASK, OTHER_TASK, PROBE, OTHER_PROBE),
        coords={EVAL_TASK: look.tasks, OTHER_TASK: look.tasks},
    )


@register("probe")
def layer_kernels(look: Look) -> Fact:
    """How much of each task block K_st of the kernel is each layer's, in float64: K_st = Σ_l K_st^l.

    Returns:
        ``norm``, ‖K_st^l‖_F, and ``projection``, ⟨K_st^l, K_st⟩_F, each layer × eval_task × other_task; a layer is a
        module with parameters, by its path.
    """
    import torch

    from clntk.kernels.empirical import empirical_ntk

    model = copy.deepcopy(look.model).double()
    shares = empirical_ntk(model, look.stacked.double(), mode="trace", per_layer=True)
    t, n = len(look.tasks), look.n_probes
    layers = torch.stack(list(shares.values())).detach().cpu().reshape(-1, t, n, t, n)
    found = {
        "norm": layers.square().sum((2, 4)).sqrt(),
        "projection": (layers * layers.sum(0)).sum((2, 4)),
    }
    coords = {LAYER: list(shares), EVAL_TASK: look.tasks, OTHER_TASK: look.tasks}
    return {
        name: xr.DataArray(values.numpy(), dims=(LAYER, EVAL_TASK, OTHER_TASK), coords=coords)
        for name, values in found.items()
    }
