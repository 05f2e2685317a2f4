"""Small sequence tasks on the same two channels, told apart by a rule cue."""

from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from clntk.registry import register
from clntk.seeding import Seeds
from clntk.streams.base import TaskStream
from clntk.streams.images import Positive
from clntk.streams.planted import planted_tasks

Rule = Literal["integrate_first", "integrate_second", "running_sum", "delayed_match"]
CHANNELS = 2
COHERENCE = 0.5  # standard deviation of a channel's mean over trials


@register("stream")
def cued_sequences(
    seeds: Seeds,
    *,
    rules: Annotated[list[Rule], Field(min_length=2)] | None = None,
    length: Annotated[int, Field(ge=4)] = 20,
    noise: Annotated[float, Field(ge=0)] = 0.5,
    n_train: Positive = 400,
    n_test: Positive = 400,
    n_probe: Positive = 32,
) -> TaskStream:
    """Sequence tasks on two noisy channels and a rule cue: inputs time × features, one of two answers at the end.

    Channels 0 and 1 come first (input group ``stimulus``), then one column a task that is 1 throughout that task
    (``context``). ``integrate_first`` and ``integrate_second`` ask for the sign of one channel's sum over time, the
    other being a distractor, ``running_sum`` for the sign of both channels' sum; each channel has a mean drawn anew
    for each trial from N(0, ½²). In ``delayed_match`` channel 0 shows +1 or −1 in the first quarter and again in the
    last, and the answer is whether they agree; everything else is noise.

    Args:
        seeds: the run's generators.
        rules: the tasks in order, each once; null is all four as listed here.
        length: time steps.
        noise: standard deviation of the noise at each step, independent over steps and channels.
        n_train: training trials of each task.
        n_test: test trials of each task.
        n_probe: probes of each task, drawn from its test set.

    Source: context-dependent integration: Mante et al. 2013, Nature 503:78; rule cues and the family: Yang et al.
    2019, Nature Neuroscience 22:297.
    """
    names = list(get_args(Rule)) if rules is None else rules

    def sample(t: int, _part: str, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        channels, y = _trials(names[t], n, length, noise, generator)
        cue = np.zeros((n, length, len(names)))
        cue[:, :, t] = 1
        return np.concatenate([channels, cue], axis=2), y

    tasks = planted_tasks(seeds, names, sample, n_train=n_train, n_test=n_test, n_probe=n_probe)
    groups = {"stimulus": (0, CHANNELS), "context": (CHANNELS, CHANNELS + len(names))}
    return TaskStream(tasks, outputs=2, chance=0.5, input_groups=groups)


def _trials(
    rule: Rule, n: int, length: int, noise: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Channels (trials × time × 2) and answers (trials,)."""
    channels = noise * generator.standard_normal((n, length, CHANNELS))
    if rule == "delayed_match":
        shown = generator.choice([-1.0, 1.0], size=(n, 2))
        quarter = length // 4
        channels[:, :quarter, 0] += shown[:, :1]
        channels[:, -quarter:, 0] += shown[:, 1:]
        return channels, (shown[:, 0] == shown[:, 1]).astype(np.int64)
    channels += COHERENCE * generator.standard_normal((n, 1, CHANNELS))
    evidence = channels.sum(axis=1)
    relevant = {"integrate_first": evidence[:, 0], "integrate_second": evidence[:, 1]}
    return channels, (relevant.get(rule, evidence.sum(axis=1)) > 0).astype(np.int64)
