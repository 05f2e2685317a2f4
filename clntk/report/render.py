"""Pages from templates, written whole or not at all."""

from pathlib import Path
from typing import Any

from clntk.runs.files import disk_errors, write_atomic


def rendered(template: str, **context: Any) -> str:
    """A page from one of the templates beside this file."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # autoescape: labels come from protocols that strangers may have written
    environment = Environment(
        loader=PackageLoader("clntk.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**context)


def written(page: str, path: str | Path) -> Path:
    """Write a page; its folder is made if need be. Returns its absolute path.

    Raises:
        StoreError: if the disk refuses.
    """
    path = Path(path).resolve()
    with disk_errors(path.parent, what="the report", option="--out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, page.encode("utf-8"))
    return path
