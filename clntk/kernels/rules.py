"""How each kind of module turns what it saw and what came back into its share of the Jacobian."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from clntk.kernels.groups import Direct, Group, Outer


@dataclass(frozen=True)
class Call:
    """One call of a module in a forward pass.

    Args:
        x: its input, (N, …).
        grads: ∂f_c(x_n) / ∂(its output of example n), (C, N, …).
    """

    x: Tensor
    grads: Tensor


Rule = Callable[[nn.Module, Call, frozenset[str]], list[Group]]
RULES: dict[type[nn.Module], Rule] = {}


def rule_for(*kinds: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Declare the decorated function the rule of exactly these module types: a subclass may compute anything."""

    def decorate(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return decorate


def _affine(u: Tensor, g: Tensor, trained: frozenset[str]) -> list[Group]:
    """Weight and bias of one matrix: the bias is a column of ones beside the inputs."""
    if trained == {"bias"}:
        return [Direct(g.sum(2).transpose(0, 1))]
    if "bias" in trained:
        u = torch.cat([u, u.new_ones(*u.shape[:2], 1)], dim=2)
    return [Outer(u, g)]


@rule_for(nn.Linear)
def linear(module: nn.Linear, call: Call, trained: frozenset[str]) -> list[Group]:
    """y = W x + b at every position: J = Σ_t g_t ⊗ [x_t, 1]."""
    c, n = call.grads.shape[:2]
    return _affine(
        call.x.reshape(n, -1, module.in_features), call.grads.reshape(c, n, -1, module.out_features), trained
    )


@rule_for(nn.Conv1d, nn.Conv2d)
def convolution(module: nn.Conv1d | nn.Conv2d, call: Call, trained: frozenset[str]) -> list[Group]:
    """A linear map of every patch: one outer product a position, one group of them a channel group."""
    c, n = call.grads.shape[:2]
    groups = module.groups
    g = call.grads.reshape(c, n, groups, module.out_channels // groups, -1).permute(2, 0, 1, 4, 3)
    patches = _patches(module, call.x)
    u = patches.reshape(n, groups, -1, patches.shape[-1]).permute(1, 0, 3, 2)
    return [group for k in range(groups) for group in _affine(u[k], g[k], trained)]


def _patches(module: nn.Conv1d | nn.Conv2d, x: Tensor) -> Tensor:
    """The input patches of every output position: (N, channels · kernel, positions)."""
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x, padding = (
            functional.pad(x, module._reversed_padding_repeated_twice, mode=mode),
            (0,) * (x.ndim - 2),
        )
    else:
        padding = module.padding
    as_2d = [
        (1, *v) if x.ndim == 3 else tuple(v) for v in (module.kernel_size, module.dilation, module.stride)
    ]
    if x.ndim == 3:
        x, padding = x[:, :, None], (0, *padding)
    kernel, dilation, stride = as_2d
    return functional.unfold(x, kernel, dilation=dilation, padding=padding, stride=stride)


@rule_for(nn.ConvTranspose2d)
def transposed_convolution(module: nn.ConvTranspose2d, call: Call, trained: frozenset[str]) -> list[Group]:
    """The convolution's roles exchanged: every input position meets the patch of output gradients that it feeds."""
    c, n = call.grads.shape[:2]
    flat = call.grads.flatten(0, 1)
    out = [Direct(call.grads.sum((3, 4)).transpose(0, 1))] if "bias" in trained else []
    if "weight" not in trained:
        return out
    kernel, dilation, padding, stride = module.kernel_size, module.dilation, module.padding, module.stride
    patches = functional.unfold(flat, kernel, dilation=dilation, padding=padding, stride=stride)
    # a large output padding leaves room for patches beyond the last input position: they are cut off
    grid = [
        (flat.shape[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    ]
    height, width = call.x.shape[2:]
    g = patches.view(c, n, module.groups, -1, *grid)[..., :height, :width].flatten(4).permute(2, 0, 1, 4, 3)
    u = call.x.reshape(n, module.groups, -1, height * width).permute(1, 0, 3, 2)
    return [*(Outer(u[k], g[k]) for k in range(module.groups)), *out]


@rule_for(nn.LayerNorm, nn.RMSNorm)
def layer_norm(module: nn.LayerNorm | nn.RMSNorm, call: Call, trained: frozenset[str]) -> list[Group]:
    """y = w · x̂ + b, elementwise over the normalised dimensions: J = Σ_t g_t x̂_t."""
    shape = tuple(module.normalized_shape)
    if isinstance(module, nn.LayerNorm):
        normal = functional.layer_norm(call.x, shape, eps=module.eps)
    else:
        normal = functional.rms_norm(call.x, shape, eps=module.eps)
    c, n = call.grads.shape[:2]
    g = call.grads.reshape(c, n, -1, module.weight.numel())
    return _scale_and_shift(normal.reshape(n, -1, module.weight.numel()), g, trained)


@rule_for(nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)
def channel_norm(module: nn.Module, call: Call, trained: frozenset[str]) -> list[Group]:
    """y = w · x̂ + b, one scale a channel: J = Σ_t g_t x̂_t over positions (batch-norm by its running statistics)."""
    if isinstance(module, nn.GroupNorm):
        normal = functional.group_norm(call.x, module.num_groups, eps=module.eps)
    else:
        normal = functional.batch_norm(call.x, module.running_mean, module.running_var, eps=module.eps)
    c, n = call.grads.shape[:2]
    channels = call.x.shape[1]
    g = call.grads.reshape(c, n, channels, -1).transpose(2, 3)
    return _scale_and_shift(normal.reshape(n, channels, -1).transpose(1, 2), g, trained)


def _scale_and_shift(normal: Tensor, g: Tensor, trained: frozenset[str]) -> list[Group]:
    parts = [(g * normal).sum(2)] if "weight" in trained else []
    parts += [g.sum(2)] if "bias" in trained else []
    return [Direct(torch.cat(parts, dim=2).transpose(0, 1))]


@rule_for(nn.Embedding)
def embedding(module: nn.Embedding, call: Call, trained: frozenset[str]) -> list[Group]:
    """y = row of the table: J = Σ_t onehot(x_t) ⊗ g_t, over the rows that occur; the padding row has no gradient."""
    c, n = call.grads.shape[:2]
    tokens = call.x.reshape(n, -1)
    g = call.grads.reshape(c, n, -1, module.embedding_dim)
    if module.padding_idx is not None:
        g = g * (tokens != module.padding_idx)[:, :, None]
    onehot = functional.one_hot(tokens, module.num_embeddings).to(g.dtype)
    return [Outer(onehot, g)]
