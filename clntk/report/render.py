"""Pages from templates, written whole or not at all."""

from pathlib import Path
from typing import Any

from clntk.provenance import environment
from clntk.report.scripts import policy, scripts
from clntk.runs.files import disk_errors, write_atomic


def rendered(template: str, *, charts: bool = True, **context: Any) -> str:
    """A page from one of the templates beside this file, with its scripts and who wrote it.

    Args:
        template: its name.
        charts: whether there are charts to choose from on it.
        context: what the template names.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # autoescape: labels come from protocols that strangers may have written
    templates = Environment(
        loader=PackageLoader("clntk.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    code = scripts(charts=charts)
    return templates.get_template(template).render(
        **context, scripts=code, policy=policy(code), environment=environment()
    )


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
