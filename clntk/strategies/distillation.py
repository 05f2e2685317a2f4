"""New tasks learned under the eyes of the network as it was before."""

from typing import Annotated, Any

from pydantic import Field

from clntk.registry import register
from clntk.strategies.learner import Learner, Setup, build_learner
from clntk.strategies.requirements import cross_entropy, requires
from clntk.strategies.training import Training


@register("strategy")
@requires(cross_entropy)
def lwf(
    setup: Setup,
    training: Training,
    *,
    lwf_alpha: Annotated[float, Field(ge=0)] = 1.0,
    lwf_temperature: Annotated[float, Field(gt=0)] = 2.0,
) -> Learner:
    """Learning without forgetting: on new inputs, the old outputs are held to what the last phase's network says.

    To the loss comes α times the divergence of softmax outputs at a temperature, over the classes seen so far: of the
    single head, or of each old head, summed. It is old heads that the paper protects (``stream.head=multi``). Where
    all tasks share a head and its classes, as permuted digits do, what the old network says of the new inputs means
    nothing and contradicts their labels: new tasks are learned less well, and the final accuracy is that of naive
    training (van de Ven & Tolias 2019, arXiv 1904.07734, report the same). Left out is the paper's warm-up, in which
    the new head is trained alone at first.

    Through Avalanche's ``LwFPlugin``, which with task labels and a single head would distil the classes of the first
    task only, and would leave the old network in training mode.

    Args:
        setup: what to train.
        training: shared options.
        lwf_alpha: weight α of the distillation.
        lwf_temperature: of the softmax outputs.

    Source: Li & Hoiem 2016, arXiv 1606.09282, eq. (2).
    """
    return build_learner(setup, training, _teacher(lwf_alpha, lwf_temperature))


def _teacher(alpha: float, temperature: float) -> Any:
    import copy

    from avalanche.models.utils import is_multi_task_module
    from avalanche.training.plugins import LwFPlugin

    from clntk.strategies.avalanche.remember import remembering

    kept: Any = remembering(LwFPlugin, "lwf.expcount", "lwf.prev_classes_by_task")

    class Teacher(kept):
        """Avalanche's plugin, which keeps the last phase's network; restored, it is built when training goes on.

        The old network answers in eval mode: once for each input, whatever else is in the minibatch.
        """

        _restored: dict[str, Any] | None = None

        def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            if self._restored is not None:
                self.lwf.prev_model = copy.deepcopy(strategy.model)
                self.lwf.prev_model.load_state_dict(self._restored)
                self._restored = None
            if self.lwf.prev_model is not None:
                self.lwf.prev_model.eval()

        def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            super().after_training_exp(strategy, **kwargs)
            if not is_multi_task_module(strategy.model):  # one head: the classes of all tasks are its own
                classes = self.lwf.prev_classes_by_task
                everything = set().union(*classes.values())
                classes.clear()
                classes[0] = everything

        def state_dict(self) -> dict[str, Any]:
            teacher = self.lwf.prev_model
            return super().state_dict() | {"teacher": None if teacher is None else teacher.state_dict()}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self._restored = state["teacher"]
            super().load_state_dict({name: value for name, value in state.items() if name != "teacher"})

    return Teacher(alpha, temperature)
