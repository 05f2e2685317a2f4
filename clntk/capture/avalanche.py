"""Capture as an Avalanche plugin: a thin adapter that knows when a phase ends."""

from collections.abc import Callable, Sequence
from typing import Any

from avalanche.core import SupervisedPlugin

from clntk.axes import INIT
from clntk.capture.capture import Capture, Record


class CapturePlugin(SupervisedPlugin):
    """Records a checkpoint at initialisation and at the end of every training experience.

    Args:
        capture: the capture to call.
        phases: checkpoint labels of the training experiences, in order.
        on_record: called with each record, the moment it exists.
        tasks: what each of them trains, where that is not called as its checkpoint is.
    """

    def __init__(
        self,
        capture: Capture,
        phases: Sequence[str],
        on_record: Callable[[Record], None] | None = None,
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.capture, self.phases, self.on_record = capture, list(phases), on_record
        self.tasks = tasks

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter == 0 and not self.capture.records:
            self._record(INIT, step=0)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        # the clock runs last: its counter still counts the experiences before this one
        index = strategy.clock.train_exp_counter
        task = (self.tasks or self.phases)[index]
        self._record(self.phases[index], step=strategy.clock.train_iterations, task=task)

    def _record(self, checkpoint: str, *, step: int, task: str = "") -> None:
        record = self.capture(checkpoint, step=step, task=task)
        if self.on_record is not None:
            self.on_record(record)
