"""What a paper says of these runs: a paragraph on methods, and what to cite."""

import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from clntk import registry
from clntk._version import __version__
from clntk.protocol.spec import options_of

if TYPE_CHECKING:
    from clntk.runs.runset import RunSet

SOFTWARE = f"""@software{{clntk,
  title = {{clntk: a continual-learning analysis toolkit}},
  author = {{{{The clntk founders}}}},
  version = {{{__version__}}},
}}

@inproceedings{{pytorch,
  title = {{PyTorch: An Imperative Style, High-Performance Deep Learning Library}},
  author = {{Paszke, Adam and Gross, Sam and Massa, Francisco and Lerer, Adam and others}},
  booktitle = {{Advances in Neural Information Processing Systems}},
  year = {{2019}},
}}

@article{{avalanche,
  title = {{Avalanche: A PyTorch Library for Deep Continual Learning}},
  author = {{Carta, Antonio and Pellegrini, Lorenzo and Cossu, Andrea and Hemati, Hamed and Lomonaco, Vincenzo}},
  journal = {{Journal of Machine Learning Research}},
  volume = {{24}},
  number = {{363}},
  year = {{2023}},
}}"""
# "Lopez-Paz & Ranzato 2017", "Jacot et al. 2018", "Oja 1982": a surname, whoever is with it, and the year
_SOURCE = re.compile(
    r"(?P<author>[A-Z][\w-]+)(?: et al\.|(?:,? (?:& )?[A-Z][\w-]+)+)? (?P<year>(?:19|20)\d\d)\b"
)


def methods(runs: "RunSet") -> str:
    """A paragraph for a paper: what was trained, on what, with which settings, versions and statistics.

    Args:
        runs: of one protocol.
    """
    spec = next(iter(runs)).spec
    facts = next(iter(runs)).provenance
    packages = facts.get("packages") or {}
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("torch", "avalanche-lib", "numpy") if name in packages
    )
    regimes = {run.spec.regime: run.spec.regime_options for run in runs}
    parts = [
        f"Networks were trained and measured with clntk {facts['clntk']}{f' ({versions})' if versions else ''}, on "
        f"{'the CPU' if facts['device'] == 'cpu' else facts['device']}.",
        *(
            f"The {part} was {_told(part, getattr(spec, part), runs.axes)}."
            for part in ("stream", "model", "strategy")
        ),
        "Conditions: "
        + "; ".join(
            f"{label}, {_told(f'regimes.{label}', regimes[label], runs.axes)}" for label in runs.regimes
        )
        + ".",
    ]
    if runs.axes:
        varied = (
            {axis: sorted({str(run.spec.flat().get(axis)) for run in runs}) for axis in runs.axes}
        ).items()
        parts.append("Varied: " + "; ".join(f"{axis} ({', '.join(values)})" for axis, values in varied) + ".")
    n = len(runs.seeds)
    seeds = f"{n} seed{'s' if n > 1 else ''} ({', '.join(map(str, runs.seeds))})"
    parts.append(f"Each condition was trained with {seeds}.")
    measured = [_measured(measure) for measure in runs.default_measures()]
    parts.append(f"Measures: {'; '.join(measured)}.")
    parts.append(
        "The seed is the unit of replication: intervals are 95 % BCa bootstrap intervals over seeds, differences are "
        "taken seed by seed, effect sizes are Hedges' g, and p values are those of sign-flip permutation tests, "
        "Holm-corrected over measures."
    )
    return " ".join(parts)


def bibtex(runs: "RunSet") -> str:
    """BibTeX of the software, and of the sources that the protocol and its components name."""
    notes: dict[tuple[str, str], list[str]] = {}
    for source in dict.fromkeys(_sources(runs)):
        for found in _SOURCE.finditer(source):
            key = _plain(found["author"]).lower() + found["year"], found["year"]
            notes.setdefault(key, []).append(source.translate({ord(c): None for c in "{}"}))
    entries = [
        f"@misc{{{key},\n  year = {{{year}}},\n  note = {{{'; '.join(dict.fromkeys(said))}}},\n}}"
        for (key, year), said in notes.items()
    ]
    return "\n\n".join([SOFTWARE, *entries])


def _told(part: str, component: dict[str, Any], axes: list[str]) -> str:
    options = [
        f"{key} {value}"
        for key, value in options_of(component).items()
        if value is not None and not any(axis.startswith(f"{part}.{key}") for axis in axes)
    ]
    return component["name"] + (f" ({', '.join(options)})" if options else "")


def _measured(measure: dict[str, Any]) -> str:
    entry = registry.get("measure", measure["name"])
    source = f" ({entry.reference.rstrip('.')})" if _SOURCE.search(entry.reference) else ""
    return f"{measure['name'].replace('_', ' ')}{source}"


def _sources(runs: "RunSet") -> Iterator[str]:
    """Of the protocol, of the components (as they were when the runs were made), and of the measures."""
    if reference := next(iter(runs)).spec.reference:
        yield reference
    for run in runs:
        yield from (
            part.strip() for source in run.provenance.get("sources") or [] for part in str(source).split(";")
        )
    for measure in runs.default_measures():
        yield from (part.strip() for part in registry.get("measure", measure["name"]).reference.split(";"))


def _plain(name: str) -> str:
    """A name in ASCII letters, as a key of BibTeX has to be."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() or "source"
