"""Before anything is trained: do stream, network, regime, strategy and loss of every condition fit together?"""

from collections.abc import Iterable

from clntk import registry
from clntk.errors import ClntkError, DataError, Problem, ProtocolError
from clntk.protocol.spec import RunSpec, name_of, options_of
from clntk.runs.build import build, training_of
from clntk.runs.longest_first import size
from clntk.strategies.learner import Setup
from clntk.strategies.requirements import check
from clntk.streams.base import TaskStream

TOLD = 3  # conditions named of those that have the same problem


def preflight(specs: Iterable[RunSpec]) -> dict[str, float]:
    """Build each distinct condition once, for its first seed, and gather what does not fit.

    An error that is not clntk's own comes from somebody's component: it is left to the run, which keeps its
    traceback.

    Returns:
        By condition, what the work of a run grows with (:func:`clntk.runs.longest_first.size`).

    Raises:
        ProtocolError: with every combination that cannot be trained.
    """
    wrong: dict[str, list[str]] = {}  # what is said → the conditions that it is said of
    protocols: dict[str, None] = {}
    sizes: dict[str, float] = {}
    for condition, spec in _distinct(specs).items():
        try:
            sizes[condition] = _fit(spec)
        except ClntkError as error:
            protocols[spec.protocol] = None
            sweep = "".join(f", {key}={value}" for key, value in spec.cell.items())
            wrong.setdefault(str(error), []).append(f"regimes.{spec.regime}{sweep}")
        except Exception:
            continue
    if wrong:
        raise ProtocolError(", ".join(protocols), [_problem(said, places) for said, places in wrong.items()])
    return sizes


def _problem(said: str, places: list[str]) -> Problem:
    """What is wrong with a condition, or with several alike."""
    expected = "a stream, model, regime and strategy that fit together"
    others = f" and {len(places) - TOLD} conditions more" if len(places) > TOLD else ""
    return Problem("; ".join(places[:TOLD]) + others, expected, "the error below", f"\n    {said}")


def _fit(spec: RunSpec) -> float:
    built = build(spec)
    training = training_of(spec)
    training.make_loss(built.stream)
    _refuse_answers(spec, built.stream)
    _refuse_looks(spec, built.stream)
    strategy = registry.get("strategy", name_of(spec.strategy)).function
    own = {key: value for key, value in options_of(spec.strategy).items() if key not in vars(training)}
    check(strategy, Setup(built.regime.model, built.stream), training, own)
    return size(built, training)


def _refuse_looks(spec: RunSpec, stream: TaskStream) -> None:
    """
    Raises:
        DataError: for looks beyond the epochs, or a strategy that does something at the end of every phase.
    """
    looks = [phase.until for phase in stream.phases if phase.until is not None]
    if not looks:
        return
    if not registry.get("strategy", name_of(spec.strategy)).traits.get("cut"):
        cut = [
            name for name in registry.names("strategy") if registry.get("strategy", name).traits.get("cut")
        ]
        raise DataError(
            f"stream.looks: expected a strategy that does nothing at the ends of phases ({', '.join(cut)}), found "
            f"{spec.strategy['name']}; leave looks out"
        )
    if max(looks) >= training_of(spec).epochs:
        raise DataError(
            f"stream.looks: expected epochs below strategy.epochs ({training_of(spec).epochs}), found {max(looks)}"
        )


def _refuse_answers(spec: RunSpec, stream: TaskStream) -> None:
    """
    Raises:
        DataError: for measures that count right answers on a stream whose targets do not say what is right.
    """
    counting = [
        name_of(measure)
        for measure in spec.measures
        if registry.get("measure", name_of(measure)).traits.get("answers") and measure.get("of") != "loss"
    ]
    if counting and stream.accuracy == "none":
        raise DataError(
            "measures: expected none that count right answers, since the stream's float targets do not say what is "
            f"right, found {', '.join(counting)}; ask for losses instead ({{name: forgetting, of: loss}}, "
            "final_train_loss)"
        )


def _distinct(specs: Iterable[RunSpec]) -> dict[str, RunSpec]:
    """The first spec of each condition."""
    first: dict[str, RunSpec] = {}
    for spec in specs:
        first.setdefault(spec.condition, spec)
    return first
