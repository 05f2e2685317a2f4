"""Facts that no run records: they are computed from its stored weights and probes when a measure needs them.

Nothing is written: a published run stays as it is, and a derived fact is as fresh as the code that computes it. What
was computed is kept by the :class:`~clntk.runs.opened.Run`, for as long as that lives.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clntk.runs.opened import Run

DERIVED = {
    "gradients": "clntk.runs.first_order:gradients",
    "linearisation": "clntk.runs.first_order:linearisation",
    "output_change": "clntk.runs.first_order:output_changes",
    "layer_kernels": "clntk.runs.first_order:layer_kernels",
    "kernel_forecast": "clntk.runs.kernel_forecast:kernel_forecast",
    "kept_outputs": "clntk.runs.kept:kept_outputs",
    "infinite_kernels": "clntk.runs.infinite:infinite_kernels",
    "closed_form": "clntk.runs.closed_form:closed_form",
    "lesions": "clntk.runs.lesions:lesions",
    "congruence": "clntk.runs.congruence:congruence",
}  # name → module:function of a run, imported when it is first needed, since what it imports is heavy


def derive(name: str, run: "Run") -> Any:
    """The derived fact of that name.

    Raises:
        StoreError: if the run's networks cannot be rebuilt.
    """
    module, _, function = DERIVED[name].partition(":")
    return getattr(importlib.import_module(module), function)(run)
