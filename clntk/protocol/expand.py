"""A protocol expanded into run specs: sweep × regimes × seeds."""

import inspect
from pathlib import Path
from typing import Any

from clntk import registry
from clntk.component import Entry
from clntk.protocol.load import with_options
from clntk.protocol.model import Component, Protocol, normalised
from clntk.protocol.spec import RunSpec, content_hash, leaves, text_hash
from clntk.protocol.sweep import cells

ALWAYS = ("weights", "outputs")  # from these every other fact can be computed again


def expand(protocol: Protocol) -> list[RunSpec]:
    """The run specs, seeds innermost, in an order that never changes."""
    raw = protocol.model_dump(mode="json")
    specs: dict[str, RunSpec] = {}  # by identity: cells that come to the same are one
    for cell in cells(protocol.sweep):
        point = Protocol.model_validate(normalised(with_options({**raw, "sweep": {}}, cell)))
        for label in point.regimes:
            for spec in (_spec(point, label, seed, cell) for seed in point.seed_list):
                specs.setdefault(spec.identity, spec)
    return list(specs.values())


def needed_probes(protocol: Protocol) -> list[Component]:
    """The probes of a protocol: those it lists, or those its measures need, and always weights and outputs."""
    listed = [] if protocol.probes == "auto" else list(protocol.probes)
    known = {component.name for component in listed}
    wanted = list(ALWAYS)
    if protocol.probes == "auto":
        for measure in protocol.measured:
            wanted += registry.get("measure", measure).needs
    probes = set(registry.names("probe"))
    extra = [name for name in dict.fromkeys(wanted) if name in probes and name not in known]
    return sorted([*listed, *(Component(name=name) for name in extra)], key=lambda component: component.name)


def _spec(protocol: Protocol, label: str, seed: int, cell: dict[str, Any]) -> RunSpec:
    resolved = {
        kind: _resolved(kind, component)
        for kind, component in (
            ("stream", protocol.stream),
            ("model", protocol.model),
            ("strategy", protocol.strategy),
            ("regime", protocol.regimes[label]),
        )
    }
    probes = [_resolved("probe", probe) for probe in needed_probes(protocol)]
    taking_part = [(kind, options["name"]) for kind, options in resolved.items()]
    taking_part += [("probe", options["name"]) for options in probes]
    return RunSpec(
        protocol=protocol.name,
        regime=label,
        seed=seed,
        stream=resolved["stream"],
        model=resolved["model"],
        strategy=resolved["strategy"],
        regime_options=resolved["regime"],
        probes=probes,
        sweep=_beside(protocol, label, cell),
        cell=cell,
        device=protocol.device,
        code=_code([registry.get(kind, name) for kind, name in taking_part], protocol.use),
        summary=protocol.summary,
        reference=protocol.reference,
        measures=[_resolved("measure", measure) for measure in protocol.measures],
        regimes=list(protocol.regimes),
        use=list(protocol.use),
        published=[
            {**claim.model_dump(), "finding": _resolved("finding", claim.finding)}
            for claim in protocol.published
        ],
    )


def _beside(point: Protocol, label: str, cell: dict[str, Any]) -> dict[str, Any]:
    """The swept options of other regimes than this one, as these regimes resolve them."""
    swept = tuple(f"{key}." for key in cell if f"{key}.".startswith("regimes."))
    others = point.regimes.items() if swept else ()  # or there is nothing to resolve, run by run
    return {
        key: value
        for other, component in others
        if other != label
        for key, value in leaves(f"regimes.{other}", _resolved("regime", component)).items()
        if f"{key}.".startswith(swept)
    }


def _code(taking_part: list[Entry], use: list[str]) -> dict[str, str]:
    """Name → content hash of the code of a user's own: files that the protocol uses, and the script or notebook cell
    that is running.
    """
    own = {entry.source for entry in taking_part if entry.function.__module__ == "__main__"}
    named = {Path(path) for path in use} & {entry.source for entry in taking_part}
    code = {path.name: content_hash(path) for path in sorted(own | named) if path.is_file()}
    for entry in taking_part:
        if entry.source in own and not entry.source.is_file():  # of a notebook: its cell is no file
            code[f"{entry.kind} {entry.name}"] = text_hash(inspect.getsource(entry.function))
    return code


def _resolved(kind: str, component: Component) -> dict[str, Any]:
    return {"name": component.name, **registry.get(kind, component.name).resolve(component.options)}
