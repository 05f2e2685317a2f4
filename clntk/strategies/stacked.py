"""Networks of one architecture, trained as one batched computation.

Their weights are stacked along a new first axis; torch maps the gradient of one network's loss over it, and what comes
out is recorded once as a plain sequence of tensor operations, which runs without the cost of the mapping. The steps
are torch's own optimizers, on the stacked weights: SGD and Adam act number by number.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

OPTIMIZERS = (torch.optim.SGD, torch.optim.Adam)  # whose steps act number by number
AGREED = 1e-4  # of the largest gradient, in float32: what is not rounding is another computation
_MOVED_BY_EXAMPLES = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
_Call = Callable[..., Any]


class NotAlike(Exception):
    """Networks that cannot be trained together, and why."""


def architecture(model: nn.Module) -> Hashable:
    """Equal for networks that compute the same with other weights, as far as can be seen without computing.

    Raises:
        NotAlike: for a network that can only go alone.
    """
    for name, module in model.named_modules():
        if isinstance(module, _MOVED_BY_EXAMPLES):
            raise NotAlike(f"{name} ({type(module).__name__}) changes, or draws, with every minibatch")
    tensors = [*model.named_parameters(), *model.named_buffers()]
    sizes = tuple((n, tuple(t.shape), t.dtype, str(t.device), t.requires_grad) for n, t in tensors)
    return repr(model), sizes, tuple((n, str(_plain(m))) for n, m in model.named_modules())


def step_rule(optimizer: torch.optim.Optimizer, model: nn.Module) -> Hashable:
    """Equal for optimizers that take the same steps along the same gradients.

    Raises:
        NotAlike: for one that can only go alone.
    """
    if type(optimizer) not in OPTIMIZERS:
        raise NotAlike(f"{type(optimizer).__name__} may not act number by number")
    names = {id(p): n for n, p in model.named_parameters()}
    groups = tuple(
        str({k: [names[id(p)] for p in v] if k == "params" else v for k, v in group.items()})
        for group in optimizer.param_groups
    )
    states = tuple((n, str(_scalars(optimizer.state.get(p, {}), p))) for n, p in model.named_parameters())
    return type(optimizer), groups, states


def _plain(module: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vars(module).items() if isinstance(v, bool | int | float | str)}


def _scalars(state: dict[str, Any], like: Tensor) -> dict[str, Any]:
    """An optimizer's state of one parameter, for tensors of its shape only that they are there."""
    return {k: "tensor" if _shaped(v, like) else float(v) for k, v in state.items() if v is not None}


def _shaped(value: Any, like: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == like.shape and value.ndim > 0


class Stack:
    """Networks in training together; a network that is done is let go, and the others go on.

    Args:
        models: networks of the same :func:`architecture`.
        optimizers: theirs, of the same :func:`step_rule`; their states are taken over and handed back.
        loss: of outputs and targets.
        score: of outputs and targets, for the record.
        recorded: operations recorded before, for this architecture, loss and score.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        loss: Callable[[Tensor, Tensor], Tensor],
        score: Callable[[Tensor, Tensor], Tensor],
        recorded: dict[Hashable, _Call] | None = None,
    ) -> None:
        self.models, self.optimizers = models, optimizers
        self.loss, self.score = loss, score
        self.members = list(range(len(models)))  # what lies where along the first axis
        own = [dict(m.named_parameters()) for m in models]
        held = [dict(m.named_buffers()) for m in models]
        self.trained = {
            n: nn.Parameter(torch.stack([p[n].detach() for p in own]))
            for n, p in own[0].items()
            if p.requires_grad
        }
        frozen = {n: torch.stack([p[n].detach() for p in own]) for n in own[0] if n not in self.trained}
        self.held = frozen | {n: torch.stack([b[n] for b in held]) for n in held[0]}
        self.optimizer = self._joint_optimizer(own)
        self._recorded = {} if recorded is None else recorded

    def step(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """One step of every network on a minibatch of its own.

        Args:
            batch: inputs, targets, and tasks for networks that depend on them: members × examples × ….

        Returns:
            The losses and scores before the step: (members) each.
        """
        gradients, (losses, scores) = self._run(self._gradients, batch, training=True)
        for name, p in self.trained.items():
            p.grad = gradients[name]
        self.optimizer.step()
        return losses, scores

    def losses(self, *batch: Tensor) -> Tensor:
        """The losses in eval mode: (members); the batch as in :meth:`step`."""
        return self._run(self._losses, batch, training=False)

    def write_back(self, position: int) -> None:
        """Hand the weights and the optimizer's state at a position back to their network."""
        member = self.members[position]
        state = self.optimizers[member].state
        own = dict(self.models[member].named_parameters())
        for name, stacked in self.trained.items():
            with torch.no_grad():
                own[name].copy_(stacked[position])
            joint = self.optimizer.state.get(stacked, {})
            if joint:
                state[own[name]] = {
                    k: v[position].clone() if _shaped(v, stacked) else _copied(v) for k, v in joint.items()
                }

    def keep(self, positions: Tensor) -> None:
        """Let go of the networks at all other positions."""
        self.members = [self.members[i] for i in positions.tolist()]
        for p in self.trained.values():
            state = self.optimizer.state.get(p, {})
            state.update({k: v[positions] for k, v in state.items() if _shaped(v, p)})
            p.grad = None
            p.data = p.data[positions]
        self.held = {name: value[positions] for name, value in self.held.items()}

    def check(self, *batch: Tensor) -> None:
        """Every network's own loss and gradient against those computed together.

        Raises:
            NotAlike: if they differ, or if the networks cannot be mapped over.
        """
        try:
            gradients, (losses, _) = self._run(self._gradients, batch, training=True)
        except Exception as error:  # whatever a network of somebody's own does that torch cannot map
            raise NotAlike(f"{type(error).__name__}: {error}") from error
        for i, model in enumerate(self.models):
            own = {n: p for n, p in model.named_parameters() if p.requires_grad}
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                x, y, *tasks = (part[i] for part in batch)
                loss = self.loss(model(x, *tasks), y)
                found = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
            for name, gradient in zip(own, found, strict=True):
                if gradient is None:
                    raise NotAlike(f"the loss does not depend on {name}")
            largest = max(gradient.abs().max() for gradient in found)
            for name, gradient in zip(own, found, strict=True):
                _refuse_far(gradients[name][i], gradient, largest, name)
            _refuse_far(losses[i], loss.detach(), loss.detach().abs(), "the loss")

    def _joint_optimizer(self, own: Sequence[Mapping[str, Tensor]]) -> torch.optim.Optimizer:
        first = self.optimizers[0]
        names = {id(p): n for n, p in own[0].items()}
        groups = [
            {**group, "params": [self.trained[names[id(p)]] for p in group["params"] if p.requires_grad]}
            for group in first.param_groups
        ]
        # one of OPTIMIZERS, whose options all have defaults
        kind: Callable[..., torch.optim.Optimizer] = type(first)
        joint = kind(groups)
        for name, stacked in self.trained.items():
            states = [o.state.get(p[name], {}) for o, p in zip(self.optimizers, own, strict=True)]
            for key, value in states[0].items():
                if value is not None:
                    shaped = _shaped(value, own[0][name])
                    joint.state[stacked][key] = (
                        torch.stack([s[key] for s in states]) if shaped else _copied(value)
                    )
        return joint

    def _losses(self, *given: Any) -> Tensor:
        return vmap(self._judged)(*given)[0]

    def _gradients(self, *given: Any) -> Any:
        return vmap(grad_and_value(self._judged, has_aux=True))(*given)

    def _judged(
        self, trained: dict[str, Tensor], held: dict[str, Tensor], batch: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        x, y, *tasks = batch
        f = functional_call(self.models[0], (trained, held), (x, *tasks))
        return self.loss(f, y), self.score(f, y)

    def _run(self, work: _Call, batch: tuple[Tensor, ...], *, training: bool) -> Any:
        """The recorded operations of ``work`` for batches of this shape, carried out."""
        trained = {name: p.detach() for name, p in self.trained.items()}
        shape = training, tuple(part.shape for part in batch)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(work, (trained, self.held, batch), training=training)
        with torch.no_grad():
            return self._recorded[shape](trained, self.held, batch)

    def _record(self, work: _Call, given: tuple[Any, ...], *, training: bool) -> _Call:
        modes = [(module, module.training) for module in self.models[0].modules()]
        if not training:
            self.models[0].eval()
        try:
            recorded = make_fx(lambda trained, held, batch: work(trained, held, batch))(
                *given
            )  # no bound methods
        finally:
            for module, mode in modes:
                module.training = mode
        return _lean(recorded)


_SAME = (torch.ops.aten.expand.default, torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)


def _lean(recorded: GraphModule) -> GraphModule:
    """The same operations without those that change nothing, and products with a vector one by one."""
    for node in recorded.graph.nodes:
        if node.target in _SAME and node.args[0].meta["val"].shape == node.meta["val"].shape:
            node.replace_all_uses_with(node.args[0])
        elif node.target is torch.ops.aten.bmm.default and 1 in node.meta["val"].shape[1:]:
            node.target = _one_by_one
    recorded.graph.eliminate_dead_code()
    recorded.recompile()
    return recorded


def _one_by_one(a: Tensor, b: Tensor) -> Tensor:
    """Batched products with a vector: summed in the order in which torch sums a single one, which its batched product
    does not keep."""
    return torch.stack([torch.mm(left, right) for left, right in zip(a, b, strict=True)])


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _refuse_far(together: Tensor, alone: Tensor, scale: Tensor, what: str) -> None:
    if not (together - alone).abs().max() <= AGREED * scale + torch.finfo(alone.dtype).tiny:
        raise NotAlike(f"{what} comes out differently when it is computed together")
