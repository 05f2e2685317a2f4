"""Pages that are written from the code: what is registered, the public functions, an example for each analysis."""

import inspect
import re
import shutil
from collections import defaultdict
from pathlib import Path

import clntk
from clntk import registry
from clntk.component import KINDS
from clntk.report.sections import analyses

# what an analysis' example runs: by default the smallest protocol; None where it is a study of its own
RUNS = {
    "lazy_rich_phase": '"smoke", ["seeds=3", "sweep={regimes.lazy.alpha: [3, 10, 30, 100]}"]',
    "lazy_training": None,
    "width_convergence": None,
    "double_descent": None,
    "replication": None,
}
SMALLEST = '"smoke", ["seeds=3"]'
EXAMPLE = '''"""
{title}
{line}

{text}

In the terminal: ``clntk analyze {name} RUNS``.
"""

import clntk
from clntk.analyze import analyze

# %%
# {of}

runs = {runs}
answer = analyze("{name}", runs)
print(answer.text, answer.caption, sep="\\n\\n")
'''


def write_pages(folder: Path) -> None:
    """Write all of them anew.

    Args:
        folder: what they were before is lost.
    """
    shutil.rmtree(folder / "analyses", ignore_errors=True)
    (folder / "analyses").mkdir(parents=True)
    (folder / "components.md").write_text(_components(), encoding="utf-8")
    (folder / "functions.rst").write_text(_functions(), encoding="utf-8")
    (folder / "analyses" / "GALLERY_HEADER.rst").write_text(
        "Analyses\n========\n\nOne question asked of saved runs: figure, table and text.\n", encoding="utf-8"
    )
    for i, name in enumerate(analyses()):
        shown = "ask" if RUNS.get(name, SMALLEST) else "see"
        path = folder / "analyses" / f"{shown}_{i:02}_{name}.py"
        path.write_text(_example(name), encoding="utf-8")


def _example(name: str) -> str:
    entry = registry.get("analysis", name)
    given = RUNS.get(name, SMALLEST)
    title = inspect.getdoc(inspect.getmodule(entry.function)).partition("\n")[0]
    return EXAMPLE.format(
        name=name,
        title=title,
        line="=" * len(title),
        text=_rst(inspect.getdoc(entry.function)),
        of="The smallest protocol, in seconds: what it shows is how, not what is so."
        if given
        else "Of a study of its own, which takes minutes; its protocols are in ``protocols/replications``.",
        runs=f'clntk.run({given}, store="runs")'
        if given
        else 'clntk.open_runs("runs/replications", protocol=...)',
    )


def _components() -> str:
    """All that a protocol can name, with options and sources."""
    parts = [
        "# Components",
        "What a protocol can name, as `clntk list` has it; options are keys of the protocol.",
    ]
    for kind, about in KINDS.items():
        parts.append(f"## {kind}\n\n{about.meaning[:1].upper()}{about.meaning[1:]}.")
        for name in registry.names(kind):
            entry = registry.get(kind, name)
            parts.append(f"### `{name}`\n\n{_markdown(inspect.getdoc(entry.function))}")
            options = [f"`{p.name}`" + _default(p) for p in entry.own_options]
            if options:
                parts.append("Options: " + ", ".join(options) + ".")
    return "\n\n".join(parts) + "\n"


def _default(parameter: inspect.Parameter) -> str:
    return "" if parameter.default is inspect.Parameter.empty else f" = `{parameter.default!r}`"


def _markdown(docstring: str) -> str:
    """A docstring of this project as Markdown: its sections as bold words, its arguments as a list."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring).replace("``", "`")
    out = []
    for block in text.split("\n\n"):
        lines = block.split("\n")
        section = re.fullmatch(r"(Args|Returns|Raises):", lines[0])
        if not section:
            out.append(block)
            continue
        items = re.split(r"\n {4}(?=\S)", "\n".join(lines[1:]))
        told = [re.sub(r"\s+", " ", item).strip() for item in items]
        out.append(f"**{section[1]}**\n\n" + "\n".join(f"- {item}" for item in told if item))
    return "\n\n".join(out)


def _rst(docstring: str) -> str:
    """The paragraphs of a docstring before its sections."""
    return docstring.partition("\n\nArgs:")[0].partition("\n\nRaises:")[0]


def _functions() -> str:
    """The public names, by the part of the package that they are of."""
    parts = defaultdict(list)
    for name in clntk.__all__:
        if name != "__version__":
            found = getattr(clntk, name)
            parts[found.__module__.split(".")[1]].append((name, found))
    lines = ["Functions", "=========", "", "What ``import clntk`` offers.", ""]
    for part, members in sorted(parts.items()):
        lines += [part, "-" * len(part), ""]
        for name, found in members:
            directive = "autoclass" if inspect.isclass(found) else "autofunction"
            lines += [f".. {directive}:: {found.__module__}.{name}"]
            lines += ["   :members:", ""] if inspect.isclass(found) else [""]
    return "\n".join(lines)
