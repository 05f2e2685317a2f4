"""Components of a user's own in runs from disk: to be named by the user, and to be what they were."""

from collections.abc import Iterator
from pathlib import Path

from clntk import registry
from clntk.errors import StoreError
from clntk.protocol.spec import RunSpec, content_hash, name_of

UNNAMED = (
    "{}: expected the {} {!r} to be registered, found it to come from a file that this run names ({}); a run loads no "
    "code by itself, as it may be anybody's: if you trust the file, name it, with --use FILE or clntk.use(FILE)"
)


def components(spec: RunSpec) -> Iterator[tuple[str, str]]:
    """Kind and name of all that takes part in a run."""
    parts = {
        "stream": spec.stream,
        "model": spec.model,
        "strategy": spec.strategy,
        "regime": spec.regime_options,
    }
    yield from ((kind, name_of(options)) for kind, options in parts.items())
    yield from (("probe", name_of(probe)) for probe in spec.probes)


def refuse_unnamed_or_changed(spec: RunSpec, *parts: tuple[str, str]) -> None:
    """Check that components of a user's own are registered, and are what the run was made with.

    Args:
        spec: of the run.
        parts: kind and name of each; by default all that take part.

    Raises:
        StoreError: for one that nobody has named, or that has changed.
        UnknownName: for one that is not of a file, but of a package that is not installed or of a later clntk.
    """
    for kind, name in parts or components(spec):
        if name not in registry.names(kind) and spec.code:
            files = ", ".join(path for path in spec.use if Path(path).name in spec.code) or ", ".join(
                spec.code
            )
            raise StoreError(UNNAMED.format(spec.run_id, kind, name, files))
        source = registry.get(kind, name).source
        if source.name not in spec.code:
            continue
        if not source.is_file():
            raise StoreError(f"{source}: expected the {kind} {name!r}, found the file gone; put it back")
        if content_hash(source) != spec.code[source.name]:
            raise StoreError(
                f"{source}: expected the {kind} {name!r} that {spec.run_id} was run with, found it changed since; "
                f"put it back, or run the protocol {spec.protocol} again: changed code makes a new run"
            )
