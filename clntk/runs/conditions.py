"""What tells runs of one protocol apart: regime, seed, and the settings that vary."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from clntk.axes import REGIME, SEED
from clntk.errors import DataError, did_you_mean
from clntk.protocol.spec import RunSpec, options_of


class Conditions:
    """The settings of runs, as far as runs differ in them.

    Args:
        specs: of all runs that are looked at together.
    """

    def __init__(self, specs: Iterable[RunSpec]) -> None:
        self.specs = list(specs)
        self._known: dict[str, dict[str, Any]] = {}  # by identity

    @cached_property
    def axes(self) -> list[str]:
        """Dotted keys that differ between runs of one regime and seed-set: the sweep, however it came about."""
        varying: dict[str, set[str]] = {}
        for spec in self.specs:
            for key, value in self._settings(spec).items():
                varying.setdefault(key, set()).add(repr(value))
        return [key for key, values in varying.items() if len(values) > 1 or _above(key) & varying.keys()]

    @cached_property
    def regimes(self) -> list[str]:
        """Regime labels, in the protocol's order."""
        declared = dict.fromkeys(label for spec in self.specs for label in spec.regimes)
        present = {spec.regime for spec in self.specs}
        return [label for label in dict.fromkeys([*declared, *sorted(present)]) if label in present]

    def values(self, spec: RunSpec) -> dict[str, Any]:
        """The run's values on the axes; None where it has none."""
        settings = self._settings(spec)
        return {axis: settings.get(axis) for axis in self.axes}

    def name(self, spec: RunSpec) -> str:
        """The run's regime, with its values on the axes, these by the shortest names that tell them apart."""
        settings = self._settings(spec)
        told = (f"{short}={settings[axis]}" for axis, short in self.short.items() if axis in settings)
        return ", ".join([spec.regime, *told])

    @cached_property
    def short(self) -> dict[str, str]:
        """Axis → the last part of its key, or of a component's name the component; the key itself where two agree."""
        ends = {axis: axis.removesuffix(".name").rpartition(".")[-1] for axis in self.axes}
        shared = {end for end, n in Counter(ends.values()).items() if n > 1}
        return {axis: axis if end in shared else end for axis, end in ends.items()}

    def rank(self, spec: RunSpec) -> tuple[Any, ...]:
        """What runs are sorted by: regimes in the protocol's order, then settings from low to high, then seeds."""
        values = self.values(spec).values()
        ranks = [(0, v, "") if isinstance(v, int | float) else (1, 0, str(v)) for v in values]
        return self.regimes.index(spec.regime), *ranks, spec.seed, spec.run_id

    def agree(self, spec: RunSpec, wanted: Mapping[str, Any]) -> bool:
        """Whether the run has these values of regime, seed or axes."""
        has = {**self.values(spec), REGIME: spec.regime, SEED: spec.seed}
        return all(has[key] == value for key, value in wanted.items())

    def refuse_unknown(self, wanted: Iterable[str]) -> None:
        """Check that runs can be told apart by these keys.

        Raises:
            DataError: for a key that they do not differ in.
        """
        known = [REGIME, SEED, *self.axes]
        for key in wanted:
            if key not in known:
                hint = did_you_mean(key, known)
                raise DataError(
                    f"where: expected what the runs differ in ({', '.join(known)}), found {key!r}"
                    f"{f'; {hint}' if hint else ''}"
                )

    def _settings(self, spec: RunSpec) -> dict[str, Any]:
        """All that can tell runs of one regime and seed apart, by dotted key.

        A run takes part in a sweep over another regime's option, too: it is what that regime is compared with there.
        """
        if spec.identity not in self._known:
            self._known[spec.identity] = self._found(spec)
        return self._known[spec.identity]

    def _found(self, spec: RunSpec) -> dict[str, Any]:
        settings = spec.flat()
        settings |= {key: value for key, value in spec.sweep.items() if key not in settings}
        settings["probes"] = ", ".join(_probe_label(probe) for probe in spec.probes)
        settings |= {f"code.{name}": digest[:10] for name, digest in spec.code.items()}
        return settings


def _above(key: str) -> set[str]:
    """What a dotted key lies in. An option that is a mapping here and None there is told apart by what is in it."""
    parts = key.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts))}


def _probe_label(probe: dict[str, Any]) -> str:
    options = ", ".join(f"{key}={value}" for key, value in options_of(probe).items())
    return f"{probe['name']}({options})" if options else probe["name"]
