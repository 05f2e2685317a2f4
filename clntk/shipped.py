"""Where protocols and analyses lie: at the top of a checkout, or inside the installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The shipped folder ``protocols`` or ``analyses``.

    In a wheel they lie in ``clntk/_shipped``; in a checkout, beside the package.
    """
    installed = _PACKAGE / "_shipped" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
