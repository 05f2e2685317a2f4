"""What a network must fit: the shape that a stream hands to models and regimes."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TaskShape:
    """Shape of one input, number of outputs, and named groups of input columns.

    Args:
        inputs: shape of one example, without the batch.
        outputs: number of outputs C.
        input_groups: column ranges ``(start, stop)`` by name, for regimes that scale parts of the input layer.
    """

    inputs: tuple[int, ...]
    outputs: int
    input_groups: dict[str, tuple[int, int]] = field(default_factory=dict)
