"""clntk: does a network that learns task after task learn lazily or richly, and what protects its old tasks?

The names below are the public interface; each is imported when it is first used, so that importing clntk is cheap.
"""

from importlib import import_module
from typing import Any

from clntk._version import __version__

_PUBLIC = {
    "Capture": "clntk.capture.capture",
    "ClntkError": "clntk.errors",
    "RunSet": "clntk.runs.runset",
    "compare_regimes": "clntk.stats.regimes",
    "empirical_ntk": "clntk.kernels.empirical",
    "ntk_operator": "clntk.kernels.operator",
    "ntk_plan": "clntk.kernels.plan",
    "open_ntk": "clntk.kernels.stored",
    "open_runs": "clntk.runs.runset",
    "register": "clntk.registry",
    "run": "clntk.runs.run",
    "stream_from": "clntk.streams.own",
    "task_tuning": "clntk.measures.tuning",
    "write_report": "clntk.report.page",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'clntk' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
