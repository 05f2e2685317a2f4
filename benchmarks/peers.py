"""The other ways to the same kernel."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

import clntk


def ours(model: nn.Module, x: Tensor, mode: str) -> Tensor:
    return clntk.empirical_ntk(model, x, mode=mode)


def torch_func(model: nn.Module, x: Tensor, mode: str) -> Tensor:
    """Jacobian contraction, as in torch's own tutorial on neural tangent kernels."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def logits(p: dict[str, Tensor], example: Tensor) -> Tensor:
        return functional_call(model, (p, buffers), (example[None],))[0]

    jacobian = vmap(jacrev(logits), (None, 0))(parameters, x)
    flat = [j.flatten(2) for j in jacobian.values()]
    how = "Naf,Maf->NM" if mode == "trace" else "Naf,Mbf->NaMb"
    return sum(torch.einsum(how, j, j) for j in flat)


def nngeometry(model: nn.Module, x: Tensor, mode: str) -> Tensor:
    """Its Gram matrix; it has no trace mode."""
    from nngeometry.gram import GramMatrix
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(x, torch.zeros(len(x)))
    gram = GramMatrix(model, DataLoader(data, batch_size=len(x)), function=lambda batch, _: model(batch))
    return gram.data.permute(1, 0, 3, 2)


def torch_func_product(model: nn.Module, x: Tensor, v: Tensor) -> Tensor:
    """K v by one vector-Jacobian and one Jacobian-vector product."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def logits(p: dict[str, Tensor]) -> Tensor:
        return functional_call(model, p, (x,))

    outputs, pull = vjp(logits, parameters)
    return jvp(logits, (parameters,), pull(v.view_as(outputs)))[1].flatten()
