"""clntk: does a network that learns task after task learn lazily or richly, and what protects its old tasks?

The names below are the public interface; each is imported when it is first used, so that importing clntk is cheap.
"""

import warnings
from importlib import import_module
from typing import Any

from clntk._version import __version__

# Avalanche imports qpsolvers, which warns that the one strategy that would need a solver has none
warnings.filterwarnings("ignore", "no QP solver found", UserWarning)

_PUBLIC = {
    "Capture": "clntk.capture.capture",
    "ClntkError": "clntk.errors",
    "GradientDescent": "clntk.theory.schedules",
    "GradientFlow": "clntk.theory.schedules",
    "InfiniteSpec": "clntk.kernels.infinite.spec",
    "RunSet": "clntk.runs.runset",
    "StoredGradients": "clntk.theory.projection",
    "compare_regimes": "clntk.stats.regimes",
    "continual_regression": "clntk.theory.continual",
    "cross_entropy_flow": "clntk.theory.cross_entropy",
    "empirical_ntk": "clntk.kernels.empirical",
    "ensemble_dynamics": "clntk.theory.ensemble",
    "expected_regression": "clntk.theory.learning_curves",
    "gp_posterior": "clntk.theory.ensemble",
    "infinite_nngp": "clntk.kernels.infinite.kernels",
    "infinite_ntk": "clntk.kernels.infinite.kernels",
    "join_blocks": "clntk.theory.blocks",
    "kernel_dynamics": "clntk.theory.dynamics",
    "kernel_regression": "clntk.theory.dynamics",
    "linearize": "clntk.models.linearize",
    "ntk_operator": "clntk.kernels.operator",
    "ntk_plan": "clntk.kernels.plan",
    "open_ntk": "clntk.kernels.stored",
    "open_runs": "clntk.runs.runset",
    "operator_regression": "clntk.theory.large",
    "predict_forgetting": "clntk.runs.kernel_forecast",
    "register": "clntk.registry",
    "reproduce": "clntk.runs.reproduce",
    "run": "clntk.runs.run",
    "stream_from": "clntk.streams.own",
    "task_tuning": "clntk.measures.tuning",
    "use": "clntk.python_files",
    "write_report": "clntk.report.page",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'clntk' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
