"""The command line: a thin layer over the public functions."""

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from clntk._version import __version__
from clntk.errors import ClntkError

app = typer.Typer(
    help="Run continual protocols, measure what happens inside the network, and compare rich with lazy regimes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ProtocolArgument = Annotated[
    str, typer.Argument(metavar="PROTOCOL", help="A shipped name, or the path of a .yaml file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value ...]", help="Dotted overrides, such as seeds=5 model.width=64."),
]
RunsArgument = Annotated[Path, typer.Argument(metavar="RUNS", help="A folder of runs.")]
StoreOption = Annotated[Path, typer.Option("--store", help="The folder of runs to write to.")]
EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help="Where runs execute: serial, dask or one of your own (clntk list engine)."),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Dask: how many processes of this machine.")
]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", help="Dask: the address of a scheduler that is running.")
]
ClusterOption = Annotated[
    Path | None, typer.Option("--cluster", help="Dask: a YAML file that says what to ask SLURM for.")
]
RetryOption = Annotated[
    bool, typer.Option("--retry-failed", help="Try runs again that failed for a reason of their own.")
]
TogetherOption = Annotated[
    bool,
    typer.Option(
        "--together/--one-by-one",
        help="Train regimes and seeds whose networks are alike as one batched computation: faster.",
    ),
]
BoardsOption = Annotated[
    Path | None,
    typer.Option("--tensorboard", help="A folder for TensorBoard: losses and accuracies as they come."),
]
ProtocolOption = Annotated[str | None, typer.Option("--protocol", help="Only the runs of this protocol.")]
UseOption = Annotated[
    list[Path] | None, typer.Option("--use", help="A Python file with components of your own.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Where to write; by default beside the runs.")]


data_app = typer.Typer(help="Datasets that need a download.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"clntk {__version__}")
        raise typer.Exit


@app.command()
def run(
    protocol: ProtocolArgument,
    overrides: Overrides = None,
    store: StoreOption = Path("runs"),
    engine: EngineOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    retry_failed: RetryOption = False,
    together: TogetherOption = False,
    tensorboard: BoardsOption = None,
) -> None:
    """Run a protocol: all regimes, seeds and sweep points; what the store already holds is not run again."""
    from clntk.terminal.training import engine_of, run_protocol

    where = engine_of(engine, workers, scheduler, cluster)
    how = {"engine": where, "retry_failed": retry_failed, "together": together, "boards": tensorboard}
    run_protocol(protocol, overrides or [], store, **how)


@app.command()
def replicate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[PROTOCOL]...", help="By default all replications.")
    ] = None,
    store: StoreOption = Path("runs/replications"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer seeds and wider tolerances, as the protocols say.")
    ] = False,
    engine: EngineOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    retry_failed: RetryOption = False,
    together: TogetherOption = True,
    out: OutOption = None,
) -> None:
    """Run the replications of published results, and write one page with what was reproduced and what was not."""
    from clntk.terminal.training import engine_of, replicate_published

    where = engine_of(engine, workers, scheduler, cluster)
    how = {"engine": where, "retry_failed": retry_failed, "together": together}
    replicate_published(names or [], store, out, quick=quick, **how)


@app.command()
def resume(
    runs: RunsArgument,
    engine: EngineOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    retry_failed: RetryOption = False,
    together: TogetherOption = False,
    protocol: ProtocolOption = None,
    use: UseOption = None,
    tensorboard: BoardsOption = None,
) -> None:
    """Go on with every run of a folder that is not done, from its last task boundary."""
    from clntk.terminal.training import engine_of, resume_runs

    where = engine_of(engine, workers, scheduler, cluster)
    how = {"engine": where, "retry_failed": retry_failed, "together": together, "boards": tensorboard}
    resume_runs(runs, protocol, use or [], **how)


@app.command()
def status(runs: RunsArgument, protocol: ProtocolOption = None) -> None:
    """Say how many runs are done, running, interrupted, failed or waiting, and why any failed."""
    from clntk.terminal.results import print_status

    print_status(runs, protocol)


@app.command()
def show(runs: RunsArgument, protocol: ProtocolOption = None, use: UseOption = None) -> None:
    """Show each finished run: its numbers, where it lies, and how it was made."""
    from clntk.terminal.results import show_runs

    show_runs(runs, protocol, use or [])


@app.command()
def analyze(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An analysis (clntk list analysis).")],
    runs: RunsArgument,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options of the analysis.")
    ] = None,
    protocol: ProtocolOption = None,
    out: OutOption = None,
    use: UseOption = None,
) -> None:
    """Ask one question of saved runs: writes its figure (PDF and PNG) and table (CSV), prints its answer."""
    from clntk.terminal.results import analyze_runs

    analyze_runs(name, runs, options or [], protocol, out, use or [])


@app.command()
def compare(
    runs: RunsArgument,
    measures: Annotated[
        list[str] | None, typer.Option("--measure", "-m", help="Only this measure; may be repeated.")
    ] = None,
    by: Annotated[
        str,
        typer.Option("--by", metavar="KEY", help="What is compared: regime, or a dotted key of the sweep."),
    ] = "regime",
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="The regime (or value of --by) to compare with.")
    ] = None,
    paired: Annotated[
        bool,
        typer.Option("--paired/--unpaired", help="Differences seed by seed, or of independent samples."),
    ] = True,
    correction: Annotated[
        str, typer.Option("--correction", help="Of p over measures: holm, or fdr (Benjamini-Hochberg).")
    ] = "holm",
    protocol: ProtocolOption = None,
    out: OutOption = None,
    use: UseOption = None,
) -> None:
    """Compare regimes: n, estimate, 95 % interval over seeds, difference, effect size, p; also as CSV."""
    from clntk.terminal.results import compare_runs

    how = {"by": by, "baseline": baseline, "paired": paired, "correction": correction}
    compare_runs(runs, measures or None, protocol, out, use or [], **how)


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUNS...", help="A folder of runs; several are compared.")
    ],
    protocol: ProtocolOption = None,
    out: OutOption = None,
    use: UseOption = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="With the analyses that rebuild every run's networks: seconds a run."),
    ] = False,
) -> None:
    """Write one self-contained HTML page on the runs, or on how several stores compare, and print its path."""
    from clntk.terminal.results import report_runs

    report_runs(runs, protocol, out, use or [], full=full)


@app.command("list")
def list_components(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="Only this kind.")] = None,
    use: UseOption = None,
) -> None:
    """List what is registered, with options and one-line descriptions."""
    from clntk.terminal.components import list_registered

    list_registered(kind, use or [])


@app.command()
def validate(protocol: ProtocolArgument, overrides: Overrides = None) -> None:
    """Check a protocol and say everything that is wrong with it at once."""
    from clntk.terminal.components import validate_protocol

    validate_protocol(protocol, overrides or [])


@app.command("check-regimes")
def check_regimes(
    protocol: ProtocolArgument,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimizer steps a regime, at most.")] = 2000,
) -> None:
    """Train each regime of a protocol briefly, storing nothing, and say which is richer and which lazier."""
    from clntk.terminal.components import check_protocol_regimes

    check_protocol_regimes(protocol, overrides or [], steps)


@app.command()
def doctor(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A folder of runs.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged runs aside, remove leftovers, make the index anew.")
    ] = False,
) -> None:
    """Check every file of every run against what was published; exit status 1 if anything is damaged."""
    from clntk.terminal.upkeep import examine_store

    examine_store(store, mend=repair)


@app.command()
def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of one published run.")],
    store: Annotated[
        Path | None,
        typer.Option("--store", help="Keep the new run in this folder; by default it is dropped."),
    ] = None,
    use: UseOption = None,
) -> None:
    """Run a published run again from its own spec, and say whether it comes out the same to the bit."""
    from clntk.terminal.upkeep import reproduce_run

    reproduce_run(run, store, use or [])


@app.command()
def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="protocol, measure or stream.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write to.")] = Path(),
) -> None:
    """Write a commented starter for a component of your own, with a test that passes."""
    from clntk.terminal.components import write_starter

    write_starter(kind, name, out)


@app.command()
def schema(use: UseOption = None) -> None:
    """Print the JSON schema of protocols, for editors."""
    from clntk.terminal.components import print_schema

    print_schema(use or [])


@data_app.command("fetch")
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="mnist, fashion_mnist, cifar10, cifar100 or tiny_imagenet.")
    ],
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="The folder of datasets; by default $CLNTK_DATA, else ./data."),
    ] = None,
) -> None:
    """Download a dataset, with a progress bar and a checksum, unless it is there; nothing else ever downloads."""
    from clntk.terminal.components import fetch_data

    fetch_data(name, data_root)


def main() -> None:
    """Entry point: a user's mistake is a sentence and exit status 1, an interrupt is status 130."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # figures go to files: no display is needed
    atexit.register(gc.freeze)  # the interpreter would look for garbage in all that it imported, as it ends
    try:
        app()
    except ClntkError as error:
        from clntk.terminal.text import say

        say(f"clntk: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
