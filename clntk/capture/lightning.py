"""Capture as a Lightning callback: a thin adapter that knows when a fit begins and ends."""

from typing import Any

from lightning.pytorch import Callback

from clntk.axes import INIT
from clntk.capture.capture import Capture


class CaptureCallback(Callback):
    """Records a checkpoint before the first fit and after every fit, and after epochs where asked.

    ::

        capture = clntk.Capture(module, inputs={"A": x_a, "B": x_b})
        for task, loader in loaders.items():
            trainer = lightning.Trainer(max_epochs=5, callbacks=[CaptureCallback(capture, task=task)])
            trainer.fit(module, loader)
        facts = capture.facts()

    Args:
        capture: the capture to call; of the module that is fitted, or of a network inside it.
        task: the label of the checkpoint after this fit, and of the task that it trains.
        every_n_epochs: record also after every so many epochs, as ``task:epoch``; the last is that of the fit's end.
    """

    def __init__(self, capture: Capture, *, task: str, every_n_epochs: int | None = None) -> None:
        super().__init__()
        self.capture, self.task, self.every_n_epochs = capture, task, every_n_epochs
        self._before = capture.records[-1].step if capture.records else 0  # steps of the fits before this one

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if not self.capture.records:
            self.capture(INIT, step=0)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        epoch = trainer.current_epoch + 1
        if self.every_n_epochs and epoch % self.every_n_epochs == 0 and epoch != trainer.max_epochs:
            self._record(trainer, f"{self.task}:{epoch}")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._record(trainer, self.task)

    def _record(self, trainer: Any, checkpoint: str) -> None:
        self.capture(checkpoint, step=self._before + trainer.global_step, task=self.task)
