"""How each kind of module turns what it saw and what came back into its share of the Jacobian."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from clntk.kernels.groups import Direct, Group, Outer


@dataclass(frozen=True)
class Call:
    """One call of a module in a forward pass.

    Args:
        x: its input, (N, …).
        grads: ∂f_c(x_n) / ∂(its output of example n), for each output c (N, …).
    """

    x: Tensor
    grads: tuple[Tensor, ...]

    def each(self, change: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        return tuple(change(g) for g in self.grads)


Rule = Callable[[Any, Call, frozenset[str]], list[Group]]  # each of modules of its own kinds
RuleT = TypeVar("RuleT", bound=Rule)
RULES: dict[type[nn.Module], Rule] = {}


def rule_for(*kinds: type[nn.Module]) -> Callable[[RuleT], RuleT]:
    """Declare the decorated function the rule of exactly these module types: a subclass may compute anything."""

    def decorate(rule: RuleT) -> RuleT:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return decorate


def _affine(u: Tensor, grads: tuple[Tensor, ...], trained: frozenset[str]) -> list[Group]:
    """Weight and bias of one matrix: the bias is a column of ones beside the inputs."""
    if trained == {"bias"}:
        return [Direct(torch.stack([g.sum(1) for g in grads]))]
    if "bias" in trained:
        u = torch.cat([u, u.new_ones(*u.shape[:2], 1)], dim=2)
    return [Outer(u, grads)]


@rule_for(nn.Linear)
def linear(module: nn.Linear, call: Call, trained: frozenset[str]) -> list[Group]:
    """y = W x + b at every position: J = Σ_t g_t ⊗ [x_t, 1]."""
    n = len(call.x)
    grads = call.each(lambda g: g.reshape(n, -1, module.out_features))
    return _affine(call.x.reshape(n, -1, module.in_features), grads, trained)


@rule_for(nn.Conv1d, nn.Conv2d)
def convolution(module: nn.Conv1d | nn.Conv2d, call: Call, trained: frozenset[str]) -> list[Group]:
    """A linear map of every patch: one outer product a position, one group of them a channel group."""
    n, groups = len(call.x), module.groups
    grads = call.each(lambda g: g.reshape(n, groups, module.out_channels // groups, -1).permute(1, 0, 3, 2))
    unfolded = patches(module, call.x)
    u = unfolded.reshape(n, groups, -1, unfolded.shape[-1]).permute(1, 0, 3, 2)
    return [group for k in range(groups) for group in _affine(u[k], tuple(g[k] for g in grads), trained)]


def patches(module: nn.Conv1d | nn.Conv2d, x: Tensor) -> Tensor:
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


@rule_for(nn.ConvTranspose1d, nn.ConvTranspose2d)
def transposed_convolution(
    module: nn.ConvTranspose1d | nn.ConvTranspose2d, call: Call, trained: frozenset[str]
) -> list[Group]:
    """The convolution's roles exchanged: every input position meets the patch of output gradients that it feeds."""
    out: list[Group] = []
    if "bias" in trained:
        out.append(Direct(torch.stack(call.each(lambda g: g.flatten(2).sum(2)))))
    if "weight" not in trained:
        return out
    n, groups = len(call.x), module.groups
    size = (1, call.x.shape[2]) if call.x.ndim == 3 else (call.x.shape[2], call.x.shape[3])
    u = call.x.reshape(n, groups, -1, size[0] * size[1]).permute(1, 0, 3, 2)
    grads = call.each(
        lambda g: _fed_patches(module, g, size).view(n, groups, -1, size[0] * size[1]).permute(1, 0, 3, 2)
    )
    return [*(Outer(u[k], tuple(g[k] for g in grads)) for k in range(groups)), *out]


def _fed_patches(
    module: nn.ConvTranspose1d | nn.ConvTranspose2d, grad: Tensor, size: tuple[int, int]
) -> Tensor:
    """The patches of output gradients that each input position feeds: (N, channels · kernel, *size)."""
    lacking = {
        "kernel_size": 1,
        "dilation": 1,
        "padding": 0,
        "stride": 1,
    }  # and of the height that a series lacks
    options: dict[str, tuple[int, int]]
    if grad.ndim == 3:
        grad = grad[:, :, None]
        options = {name: (flat, *getattr(module, name)) for name, flat in lacking.items()}
    else:
        options = {name: getattr(module, name) for name in lacking}
    patches = functional.unfold(grad, **options)
    # a large output padding leaves room for patches beyond the last input position: they are cut off
    room = [
        (
            grad.shape[2 + i]
            + 2 * options["padding"][i]
            - options["dilation"][i] * (options["kernel_size"][i] - 1)
            - 1
        )
        // options["stride"][i]
        + 1
        for i in (0, 1)
    ]
    return patches.unflatten(2, room)[:, :, : size[0], : size[1]].contiguous()


@rule_for(nn.LayerNorm, nn.RMSNorm)
def layer_norm(module: nn.LayerNorm | nn.RMSNorm, call: Call, trained: frozenset[str]) -> list[Group]:
    """y = w · x̂ + b, elementwise over the normalised dimensions: J = Σ_t g_t x̂_t."""
    shape = tuple(module.normalized_shape)
    if isinstance(module, nn.LayerNorm):
        normal = functional.layer_norm(call.x, shape, eps=module.eps)
    else:
        normal = functional.rms_norm(call.x, shape, eps=module.eps)
    n, size = len(call.x), module.weight.numel()
    grads = call.each(lambda g: g.reshape(n, -1, size))
    return _scale_and_shift(normal.reshape(n, -1, size), grads, trained)


@rule_for(nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)
def channel_norm(
    module: nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm, call: Call, trained: frozenset[str]
) -> list[Group]:
    """y = w · x̂ + b, one scale a channel: J = Σ_t g_t x̂_t over positions (batch-norm by its running statistics)."""
    if isinstance(module, nn.GroupNorm):
        normal = functional.group_norm(call.x, module.num_groups, eps=module.eps)
    else:
        normal = functional.batch_norm(call.x, module.running_mean, module.running_var, eps=module.eps)
    n, channels = call.x.shape[:2]
    grads = call.each(lambda g: g.reshape(n, channels, -1).transpose(1, 2))
    return _scale_and_shift(normal.reshape(n, channels, -1).transpose(1, 2), grads, trained)


def _scale_and_shift(normal: Tensor, grads: tuple[Tensor, ...], trained: frozenset[str]) -> list[Group]:
    rows = []
    for g in grads:
        parts = [(g * normal).sum(1)] if "weight" in trained else []
        parts += [g.sum(1)] if "bias" in trained else []
        rows.append(torch.cat(parts, dim=1))
    return [Direct(torch.stack(rows))]


@rule_for(nn.Embedding)
def embedding(module: nn.Embedding, call: Call, trained: frozenset[str]) -> list[Group]:
    """y = row of the table: J = Σ_t onehot(x_t) ⊗ g_t, over the rows that occur; the padding row has no gradient."""
    tokens = call.x.reshape(len(call.x), -1)
    grads = call.each(lambda g: g.reshape(*tokens.shape, module.embedding_dim))
    onehot = functional.one_hot(tokens, module.num_embeddings).to(grads[0].dtype)
    if module.padding_idx is not None:
        onehot[:, :, module.padding_idx] = 0
    return [Outer(onehot, grads)]
