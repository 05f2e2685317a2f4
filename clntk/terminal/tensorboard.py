"""What happens, told to TensorBoard: losses by epoch and accuracies by phase, one board a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clntk.errors import ClntkError
from clntk.runs.events import Event, Listener, What

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@contextmanager
def tensorboard(folder: Path | None, listener: Listener) -> Iterator[Listener]:
    """A listener that tells another one and TensorBoard.

    Args:
        folder: where boards are written, one folder a run; None for none.
        listener: the other one.

    Raises:
        ClntkError: if TensorBoard is not installed.
    """
    if folder is None:
        yield listener
        return
    boards = _Boards(folder)

    def both(event: Event) -> None:
        boards(event)
        listener(event)

    try:
        yield both
    finally:
        boards.close()


class _Boards:
    """The loss of epochs against epochs over all phases, the accuracy on each task against phases done."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ClntkError(
                f"--tensorboard: needs a package that is not installed ({error.name}); pip install tensorboard"
            ) from error
        self.folder, self._make = folder, SummaryWriter
        self._writers: dict[str, SummaryWriter] = {}

    def __call__(self, event: Event) -> None:
        info = event.info
        if event.what is What.EPOCH:
            epoch = info["phases"].index(info["phase"]) * info["epochs"] + info["epoch"]
            self._of(event).add_scalar("loss/train", info["loss"], epoch)
        elif event.what is What.BOUNDARY:
            for task, accuracy in info["test_accuracy"].items():
                self._of(event).add_scalar(f"test_accuracy/{task}", accuracy, info["done"])
        elif event.what in (What.DONE, What.FAILED) and event.spec.run_id in self._writers:
            self._writers.pop(event.spec.run_id).close()

    def _of(self, event: Event) -> "SummaryWriter":
        name = event.spec.run_id
        if name not in self._writers:
            self._writers[name] = self._make(str(self.folder / name))
        return self._writers[name]

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
