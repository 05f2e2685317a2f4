"""The inputs that a network takes, or the reason why it doesn't."""

from clntk.errors import DataError
from clntk.shape import TaskShape

_ELSE = "take a stream of them, or a model for inputs of any shape, such as mlp"


def image_shape(shape: TaskShape, model: str) -> tuple[int, int, int]:
    """Channels, height and width.

    Raises:
        DataError: for inputs of another rank.
    """
    if len(shape.inputs) != 3:
        raise DataError(
            f"model {model}: expected images (channels, height, width), found inputs of shape {shape.inputs}; {_ELSE}"
        )
    return shape.inputs


def sequence_shape(shape: TaskShape, model: str) -> tuple[int, int]:
    """Time steps and features.

    Raises:
        DataError: for inputs of another rank.
    """
    if len(shape.inputs) != 2:
        raise DataError(
            f"model {model}: expected sequences (time, features), found inputs of shape {shape.inputs}; {_ELSE}"
        )
    return shape.inputs
