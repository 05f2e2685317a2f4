"""Where each regime of a protocol lies between lazy and rich: a brief training in memory, nothing stored."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Literal

import torch
from torch import Tensor, nn

from clntk.kernels.empirical import empirical_ntk
from clntk.measures.drift import cosine_distance
from clntk.measures.laziness import relative_gap
from clntk.models.linearize import Linearized, linearize
from clntk.protocol import RunSpec
from clntk.runs.build import build, training_of
from clntk.runs.torch_state import steady_torch
from clntk.seeding import Purpose, Seeds
from clntk.strategies.training import Training, evaluate
from clntk.streams.base import Split

Verdict = Literal["richest", "laziest", "between", "undecided", "equal", "alone", "diverged", "did not move"]
Loss = Callable[[Tensor, Tensor], Tensor]
STEPS = 2000


@dataclass(frozen=True)
class Place:
    """Where one regime lies after a brief training.

    Args:
        regime: its label.
        steps: optimizer steps taken.
        loss: on the training data at the end, NaN or infinite if training diverged.
        kernel_distance: S between the kernel now and at initialisation, in [0, 1].
        linearisation_error: ‖f(θ) − f_lin(θ)‖/‖f(θ) − f(θ₀)‖, ≥ 0; NaN if no output moved.
        verdict: its place relative to the other regimes, and to nothing else.
    """

    regime: str
    steps: int
    loss: float
    kernel_distance: float
    linearisation_error: float
    verdict: Verdict = "alone"


def check_regimes(specs: Sequence[RunSpec], *, steps: int = STEPS) -> list[Place]:
    """Train each regime briefly, and place it by how far kernel and outputs leave those of its linearisation.

    Plain gradient descent on the first phase of the first seed and sweep point, with the protocol's optimizer, learning
    rate, batch size and loss, until its ``stop_loss``, or for its epochs, or for ``steps`` steps; what a strategy adds
    against forgetting has no part in a first phase. Kernel (summed over outputs) and outputs are those of the phase's
    probes, in float64.

    Args:
        specs: the runs of one protocol.
        steps: optimizer steps at most.

    Returns:
        One place a regime, the richest first.

    Raises:
        DataError: if a stream, model, regime and optimizer do not fit together.

    Source: Fort et al. 2020, arXiv 2010.15110 (kernel distance); Chizat et al. 2019, arXiv 1812.07956 (linearisation).
    """
    first = {spec.regime: spec for spec in reversed(specs)}
    return placed(_place(first[regime], steps) for regime in dict.fromkeys(spec.regime for spec in specs))


def placed(places: Iterable[Place]) -> list[Place]:
    """The places with their verdicts, by falling kernel distance; those without one come last.

    ``richest`` is a regime that none exceeds in kernel distance nor in linearisation error, ``laziest`` one that
    exceeds none in either, ``equal`` both at once; ``undecided`` is an extreme of one of the two alone.
    """
    places = list(places)
    moved = [place for place in places if math.isfinite(place.kernel_distance + place.linearisation_error)]
    moved.sort(key=lambda place: (-place.kernel_distance, -place.linearisation_error))
    others = [place for place in places if place not in moved]
    return [
        *(replace(place, verdict=_verdict(place, moved)) for place in moved),
        *(
            replace(place, verdict="did not move" if math.isfinite(place.loss) else "diverged")
            for place in others
        ),
    ]


def _verdict(place: Place, among: Sequence[Place]) -> Verdict:
    if len(among) == 1:
        return "alone"
    both = ("kernel_distance", "linearisation_error")
    top = [getattr(place, name) == max(getattr(other, name) for other in among) for name in both]
    bottom = [getattr(place, name) == min(getattr(other, name) for other in among) for name in both]
    if all(top):
        return "equal" if all(bottom) else "richest"
    if all(bottom):
        return "laziest"
    return "undecided" if any(top) or any(bottom) else "between"


def _place(spec: RunSpec, steps: int) -> Place:
    built = build(spec)
    regime, stream = built.regime, built.stream
    phase = stream.phases[0]
    x = torch.cat([stream.tasks[t].probe.x for t in phase.tasks]).to(spec.device)
    training = training_of(spec)
    expansion = linearize(regime.model)  # its θ are the regime's own: training the one moves the other
    before = _kernel(regime.model, x)
    seed = Seeds(spec.seed).integer(Purpose.ORDER)
    with steady_torch(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        data = stream.phase_data(phase)[0].to(torch.device(spec.device))
        regime.model.train()
        taken, loss = _train(regime.model, data, training, training.make_loss(stream), regime.lr_scale, steps)
    if not math.isfinite(loss):
        return Place(spec.regime, taken, loss, math.nan, math.nan)
    distance = float(cosine_distance(_kernel(regime.model, x).numpy(), before.numpy()))
    return Place(spec.regime, taken, loss, distance, _linearisation_error(expansion, x))


def _train(
    model: nn.Module, data: Split, training: Training, loss_of: Loss, lr_scale: float, steps: int
) -> tuple[int, float]:
    """Steps taken, and the loss on all the data at the end: in eval mode, as ``stop_loss`` is looked at."""
    optimizer = training.make_optimizer(model, lr_scale)
    taken = 0
    for batch in _batches(data, training.batch_size, training.epochs, steps):
        optimizer.zero_grad()
        loss_of(model(batch.x), batch.y).backward()
        optimizer.step()
        taken += 1
        if taken % training.stop_check == 0:
            loss = evaluate(model, data, loss_of, "none")[0]
            if not math.isfinite(loss) or (training.stop_loss is not None and loss <= training.stop_loss):
                return taken, loss
    return taken, evaluate(model, data, loss_of, "none")[0]


def _batches(data: Split, size: int | None, epochs: int, steps: int) -> Iterator[Split]:
    """Minibatches of passes in random order, or all data each time, for a number of epochs or steps."""
    orders = (torch.randperm(len(data)).split(size or len(data)) for _ in range(epochs))
    for index in islice(chain.from_iterable(orders), steps):
        yield data.subset(index.to(data.x.device))


def _kernel(model: nn.Module, x: Tensor) -> Tensor:
    return empirical_ntk(copy.deepcopy(model).double().eval(), x.double(), mode="trace").cpu()


@torch.no_grad()
def _linearisation_error(expansion: Linearized, x: Tensor) -> float:
    """Of the network whose θ the expansion shares: see :func:`clntk.measures.laziness.relative_gap`."""
    twin, x = copy.deepcopy(expansion).double().eval(), x.double()
    now, linear, start = (f.cpu().numpy() for f in (twin.network(x), twin(x), twin.initial(x)))
    return float(relative_gap(now, linear, start, terms=sum(p.numel() for p in twin.parameters())))
