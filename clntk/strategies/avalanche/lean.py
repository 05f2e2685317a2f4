"""Avalanche's supervised template without the cost of its loader, its idle plugin triggers and its evaluation.

Same strategy API, same plugins, same order of random draws: weights come out bit-identical to the stock template's
wherever an experience holds one task. Where it holds several, stock Avalanche balances minibatches by task label; here
they are drawn from the union, or hold one task each (``pure_batches``).
"""

from collections.abc import Iterable
from types import MethodType
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.templates.base_sgd import PeriodicEval

from clntk.strategies.avalanche.loader import Batch, TensorLoader, in_memory

ITERATION_EVENTS = (
    "before_training_iteration",
    "before_forward",
    "after_forward",
    "before_backward",
    "after_backward",
    "before_update",
    "after_update",
    "after_training_iteration",
)
EVAL_BATCH = 4096


class LeanTemplate(SupervisedTemplate):
    """Supervised training on data in memory.

    Args:
        pure_batches: whether each minibatch holds one task's examples only.
        kwargs: as for Avalanche's ``SupervisedTemplate``.
    """

    dataloader: Iterable[Batch]

    def __init__(self, *, pure_batches: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pure_batches = pure_batches

    def make_train_dataloader(self, shuffle: bool = True, **kwargs: Any) -> None:
        """The in-memory loader; plugins may still put another in its place."""
        self.dataloader = TensorLoader(
            self.adapted_dataset,
            batch_size=self.train_mb_size,
            device=self.device,
            shuffle=shuffle,
            pure=self.pure_batches,
        )

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        """The in-memory loader, in large batches."""
        self.dataloader = TensorLoader(
            self.adapted_dataset, batch_size=self.eval_mb_size, device=self.device, shuffle=False
        )

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        """A loader that a plugin has put in place becomes its in-memory twin."""
        self.dataloader = in_memory(self.dataloader, self.device)
        super()._train_exp(experience, eval_streams, **kwargs)

    def begin(self, experience: Any, **kwargs: Any) -> None:
        """What ``train`` does on one experience before its first epoch; :meth:`epochs` and :meth:`end` go on."""
        self.is_training, self._stop_training = True, False
        self.model.train()
        self.model.to(self.device)
        self.experience = experience
        self._eval_streams: list[Any] = []
        self._before_training(**kwargs)
        self._before_training_exp(**kwargs)

    def epochs(self) -> None:
        """The epochs of the experience begun."""
        self._train_exp(self.experience, [])

    def end(self) -> None:
        """What ``train`` does on one experience after its last epoch."""
        self._after_training_exp()
        self._after_training()
        self._train_cleanup()

    def training_epoch(self, **kwargs: Any) -> None:
        """One epoch: the template's own steps, but only the plugin callbacks that do something."""
        on = {event: live_callbacks(self.plugins, event) for event in ITERATION_EVENTS}

        def trigger(event: str) -> None:
            for callback in on[event]:
                callback(self, **kwargs)

        added_to = any(on[event] for event in ("before_forward", "after_forward", "before_backward"))
        for batch in self.dataloader:
            if self._stop_training:
                break
            self.mbatch = batch
            trigger("before_training_iteration")
            self.optimizer.zero_grad()
            if added_to:
                self.loss = self._make_empty_loss()
            trigger("before_forward")
            self.mb_output = self.forward()
            trigger("after_forward")
            self.loss = self.loss + self.criterion() if added_to else self.criterion()
            trigger("before_backward")
            self.backward()
            trigger("after_backward")
            trigger("before_update")
            self.optimizer_step()
            trigger("after_update")
            trigger("after_training_iteration")

    @torch.no_grad()
    def eval(self, experiences: Any, **kwargs: Any) -> Any:
        """Avalanche's evaluation, with the generators put back: looking at a network never changes its training."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            return super().eval(experiences, **kwargs)


def live_callbacks(plugins: list[Any], event: str) -> list[MethodType]:
    """The plugins' callbacks for an event, without those inherited unchanged from Avalanche's empty plugin, of an
    evaluator that has neither metrics nor loggers, and of a periodic evaluation that is switched off."""
    empty = getattr(SupervisedPlugin, event, None)
    live = []
    for plugin in plugins:
        if isinstance(plugin, EvaluationPlugin):
            idle = not plugin.metrics and not plugin.loggers
        elif isinstance(plugin, PeriodicEval):
            idle = plugin.eval_every < 1
        else:
            idle = getattr(type(plugin), event, empty) is empty
        if not idle:
            live.append(getattr(plugin, event))
    return live
