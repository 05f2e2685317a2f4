"""What is registered, as people read it: what each component is, its options, and where it comes from."""

from collections.abc import Iterator
from dataclasses import fields

from rich.table import Table
from rich.text import Text

from clntk import registry
from clntk.component import KINDS, Entry

PROTOCOL = "protocol"


def heading(kind: str) -> tuple[str, str]:
    """What a kind is, and the options that every member of it takes."""
    if kind == PROTOCOL:
        return "experiments ready to run", ""
    names = registry.names(kind)
    common = ", ".join(_common(registry.get(kind, names[0]))) if names else ""
    return KINDS[kind].meaning, common


def table(kind: str) -> Table:
    """A row for each member: its name; what it is, its own options, its source."""
    found = Table.grid(padding=(0, 2, 0, 0))
    found.add_column(no_wrap=True)
    found.add_column(overflow="fold")
    for name, summary, *details in _protocols() if kind == PROTOCOL else _components(kind):
        about = Text(summary.replace("``", ""))
        for detail in filter(None, details):
            about.append("\n" + detail.replace("``", ""), style="dim")
        found.add_row(Text(name, style="bold"), about)
    return found


def _components(kind: str) -> Iterator[tuple[str, str, str, str]]:
    for name in registry.names(kind):
        entry = registry.get(kind, name)
        own = [option for key, option in _options(entry).items() if key not in _common_names(entry)]
        yield (
            name,
            entry.summary,
            f"options: {', '.join(own)}" if own else "",
            f"source: {entry.reference}" if entry.reference else "",
        )


def _common(entry: Entry) -> list[str]:
    return [option for key, option in _options(entry).items() if key in _common_names(entry)]


def _common_names(entry: Entry) -> set[str]:
    kinds = (entry.shared, entry.applied)
    return {field.name for kind in kinds if kind is not None for field in fields(kind)}


def _options(entry: Entry) -> dict[str, str]:
    """Name → the option with its default, as a protocol writes it."""
    return {
        key: key if field.is_required() else f"{key}={_written(field.default)}"
        for key, field in entry.schema.model_fields.items()
    }


def _written(value: object) -> str:
    plain = {None: "null", True: "true", False: "false"}
    return plain.get(value, str(value)) if isinstance(value, bool | None) else str(value)


def _protocols() -> Iterator[tuple[str, str]]:
    import yaml

    from clntk.protocol import available
    from clntk.text_files import read_yaml

    for name, path in available().items():
        try:
            summary = str((read_yaml(path) or {}).get("summary", ""))
        except (yaml.YAMLError, AttributeError, OSError, ValueError):
            summary = f"cannot be read (clntk validate {name} says why)"
        yield name, summary
