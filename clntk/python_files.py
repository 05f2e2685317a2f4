"""Python files that become modules under names of our choosing: users' own, and those shipped beside the package."""

import hashlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import CodeType, ModuleType

from clntk.errors import ClntkError

_USED = "clntk_used_"  # how modules of users' files are called


def use(path: str | Path) -> Path:
    """Load a user's own file of components, once per content.

    Raises:
        ClntkError: if the file is missing or fails while it is loaded.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ClntkError(f"use: expected a Python file of components, found nothing at {path}")
    load_file(path, _module_name(path))
    return path


def used_module(path: Path) -> ModuleType | None:
    """What :func:`use` made of a file with the content that it has now; None if nobody has named it."""
    return sys.modules.get(_module_name(path.resolve()))


def _module_name(path: Path) -> str:
    content = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()
    return f"{_USED}{path.stem}_{content[:16]}"


def used() -> list[Path]:
    """The files of components that were loaded with :func:`use`, in order."""
    modules = [module for name, module in sys.modules.items() if name.startswith(_USED)]
    return [Path(module.__file__) for module in modules if module.__file__ is not None]


class _Source(importlib.machinery.SourceFileLoader):
    """Runs a file as it is now: Python would take what it compiled of one as long in the same second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_file(path: Path, module_name: str) -> ModuleType:
    """Import a file under a name of our choosing, or return it if it is already imported."""
    if module_name in sys.modules:
        return sys.modules[module_name]
    if path.suffix != ".py":
        raise ClntkError(f"{path}: expected a Python file, with a name that ends in .py, found another kind")
    loader = _Source(module_name, str(path))
    spec = importlib.util.spec_from_loader(module_name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        loader.exec_module(module)
    except ClntkError:
        del sys.modules[module_name]
        raise
    except Exception as error:
        del sys.modules[module_name]
        raise ClntkError(f"{path}: failed while it was loaded: {type(error).__name__}: {error}") from error
    return module
