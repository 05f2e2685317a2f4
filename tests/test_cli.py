"""The command line says what it did, what is wrong, and what to do next."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest
from rich.cells import cell_len
from rich.console import Console

import clntk
from clntk import registry
from clntk.cli import app
from clntk.component import KINDS
from clntk.protocol import expand, load

MINE = '''
import xarray as xr

from clntk.registry import get, register


@register("stream")
def my_stream(seeds, *, order: str = "AB"):
    """Two contexts of my own."""
    return get("stream", "context_blobs")(seeds, order=order)


@register("measure")
def my_measure(outputs):
    """The mean size of an output."""
    return abs(outputs).mean(["eval_task", "probe", "output"]).rename("my_measure")
'''


def process(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "clntk.cli", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


class TestProgram:
    def test_it_is_a_program_with_a_version(self):
        done = process("--version")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"clntk {clntk.__version__}\n", "")

    def test_a_mistake_is_a_sentence_on_stderr_and_status_1(self):
        done = process("validate", "smok")
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("clntk: no protocol is called 'smok'; did you mean 'smoke'?")
        assert "Traceback" not in done.stderr

    def test_without_arguments_it_shows_its_commands(self, cli):
        shown = cli("--help").out
        commands = {info.name or info.callback.__name__ for info in app.registered_commands}
        assert commands >= {
            "run",
            "status",
            "show",
            "resume",
            "analyze",
            "compare",
            "report",
            "list",
            "validate",
        }
        for command in commands:
            assert re.search(rf"\b{command}\b", shown)


class TestRun:
    def test_a_log_has_plain_lines(self, write_protocol, tmp_path, cli):
        done = cli("run", write_protocol(tmp_path), "seeds=2", "--store", tmp_path / "runs")
        assert done.code == 0
        assert "\x1b" not in done.out
        lines = done.out.splitlines()
        assert [re.sub(r"^ +\d+\.\ds ", "", line) for line in lines[:4]] == [
            "[0/2] plain seed 0: training on 2 phases",
            "[0/2] plain seed 0: A trained (1 of 2)",
            "[0/2] plain seed 0: B trained (2 of 2)",
            "[1/2] plain seed 0: done",
        ]
        assert lines[-1] == f"2 of 2 runs done; they lie in {tmp_path / 'runs'}"

    def test_again_there_is_nothing_to_do(self, smoke_runs, cli):
        done = cli("run", "smoke", "--store", smoke_runs.root)
        assert done.code == 0
        assert done.out.count("was done before") == 4
        assert f"nothing to do: all 4 runs were done before and lie in {smoke_runs.root}" in done.out

    def test_what_was_done_before_is_told_apart(self, write_protocol, tmp_path, cli):
        path, store = write_protocol(tmp_path), tmp_path / "runs"
        cli("run", path, "--store", store)
        done = cli("run", path, "seeds=3", "--store", store)
        assert "2 of 3 runs done, 1 done before" in done.out

    def test_a_damaged_run_is_told_and_what_to_do(self, smoke_copy, cli):
        run = next(path for path in smoke_copy.iterdir() if (path / "facts.nc").exists())
        (run / "facts.nc").unlink()
        done = cli("run", "smoke", "--store", smoke_copy)
        assert done.code == 1
        assert "nothing to do" not in done.out
        assert f"{run}: facts.nc is missing; move this folder away and run its protocol again" in done.err


class TestStatus:
    def test_runs_are_counted_by_state(self, smoke_runs, cli):
        done = cli("status", smoke_runs.root)
        assert done.code == 0
        assert re.search(r"smoke +done +4", done.out)

    def test_damage_is_named(self, smoke_copy, smoke_runs, cli):
        name = smoke_runs.runs[2].run_id
        (smoke_copy / name / "provenance.json").unlink()
        done = cli("status", smoke_copy)
        assert re.search(r"smoke +done +3", done.out)
        assert f"{name}: damaged: {smoke_copy / name}: provenance.json cannot be read" in done.out

    def test_a_newer_format_asks_for_an_update(self, smoke_copy, smoke_runs, cli):
        path = smoke_copy / smoke_runs.runs[0].run_id / "provenance.json"
        path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
        assert "has format 9, this clntk reads up to 1; update clntk" in cli("status", smoke_copy).out
        shown = cli("show", path.parent)
        assert shown.code == 1
        assert "update clntk (pip install -U clntk)" in shown.err

    @pytest.mark.parametrize(
        "command", [["status"], ["show"], ["resume"], ["compare"], ["analyze", "forgetting"]]
    )
    def test_a_missing_folder(self, tmp_path, cli, command):
        done = cli(*command, tmp_path / "nope")
        assert done.code == 1
        assert "expected a folder of runs, found nothing at" in done.err

    @pytest.mark.parametrize("command", [["show"], ["resume"], ["compare"], ["analyze", "forgetting"]])
    def test_an_empty_folder(self, tmp_path, cli, command):
        done = cli(*command, tmp_path)
        assert done.code == 1
        assert "expected runs, found an empty folder; run a protocol first" in done.err


class TestShow:
    def test_each_run_has_its_numbers_and_its_making(self, smoke_runs, cli):
        done = cli("show", smoke_runs.root)
        assert done.code == 0
        values = smoke_runs.scalars(["average_accuracy"]).set_index("run").value
        for run in smoke_runs:
            assert str(run.path) in done.out
            assert re.search(rf"^ average_accuracy +{values[run.run_id]:.3g} ", done.out, re.MULTILINE)
        assert f"after 132 steps in {smoke_runs.runs[0].provenance['seconds']} s on cpu" in done.out

    def test_one_run_alone(self, smoke_runs, cli):
        done = cli("show", smoke_runs.runs[0].path)
        assert done.code == 0
        assert str(smoke_runs.runs[0].path) in done.out
        assert smoke_runs.runs[1].run_id not in done.out


class TestCompare:
    def test_the_table_is_shown_and_saved(self, smoke_runs, tmp_path, cli):
        done = cli("compare", smoke_runs.root, "--out", tmp_path / "new" / "out")
        assert done.code == 0
        saved = pd.read_csv(tmp_path / "new" / "out" / "comparison.csv")
        expected = clntk.compare_regimes(smoke_runs)
        pd.testing.assert_frame_equal(saved, expected, check_dtype=False, atol=1e-12)
        assert re.search(r"Kernel distance +rich +2 ", done.out)
        assert "With n = 2 such intervals are too narrow" in done.out

    def test_measures_and_baseline_can_be_chosen(self, smoke_runs, tmp_path, cli):
        options = ["-m", "forgetting", "-m", "kernel_distance", "--baseline", "lazy", "--out", tmp_path]
        assert cli("compare", smoke_runs.root, *options).code == 0
        saved = pd.read_csv(tmp_path / "comparison.csv")
        assert list(dict.fromkeys(saved.measure)) == ["forgetting", "kernel_distance"]
        assert set(saved.baseline) == {"lazy"}

    def test_results_go_beside_published_runs_never_into_them(self, smoke_copy, smoke_runs, cli):
        run = smoke_copy / smoke_runs.runs[0].run_id
        before = sorted(run.rglob("*"))
        for runs in (smoke_copy, run):
            done = cli("compare", runs, "-m", "forgetting")
            assert done.out.splitlines()[-1] == str(smoke_copy / "results" / "comparison.csv")
        assert sorted(run.rglob("*")) == before
        assert len(clntk.open_runs(smoke_copy)) == 4

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--baseline", "rihc"], "did you mean 'rich'"),
            (["-m", "forgeting"], "did you mean 'forgetting'"),
            (["--protocol", "smok"], "did you mean 'smoke'"),
            (["--use", "nope.py"], "expected a Python file of components, found nothing at"),
        ],
    )
    def test_mistakes_name_what_is_near(self, smoke_runs, cli, options, message):
        done = cli("compare", smoke_runs.root, *options)
        assert done.code == 1
        assert message in done.err

    def test_several_protocols_ask_which(self, write_protocol, tmp_path, cli):
        for name in ("one", "other"):
            cli("run", write_protocol(tmp_path, name), "--store", tmp_path / "runs")
        for command in (["compare"], ["show"], ["analyze", "forgetting"]):
            done = cli(*command, tmp_path / "runs")
            assert done.code == 1
            assert "holds runs of several protocols; choose one of one, other with --protocol" in done.err
        assert cli("compare", tmp_path / "runs", "--protocol", "one").code == 0
        assert "other" not in cli("status", tmp_path / "runs", "--protocol", "one").out


class TestAnalyze:
    def test_figure_table_and_text(self, smoke_runs, tmp_path, cli):
        done = cli("analyze", "forgetting", smoke_runs.root, "--out", tmp_path)
        assert done.code == 0
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert set(files) == {f"forgetting.{kind}" for kind in ("pdf", "png", "csv", "txt")}
        assert files["forgetting.pdf"].startswith(b"%PDF")
        assert files["forgetting.png"].startswith(b"\x89PNG")
        assert done.out.startswith("How much was forgotten?")
        assert f"Average accuracy: rich {clntk.compare_regimes(smoke_runs).estimate[0]:.3g}" in done.out
        assert all(str(tmp_path / name) in done.out for name in files)

    def test_an_unknown_analysis(self, smoke_runs, cli):
        done = cli("analyze", "forgeting", smoke_runs.root)
        assert done.code == 1
        assert "no analysis is called 'forgeting'; did you mean 'forgetting'?" in done.err

    def test_options_of_an_analysis(self, smoke_runs, cli):
        done = cli("analyze", "replication", smoke_runs.root, "protocol=nowhere")
        assert done.code == 1
        assert "no protocol is called 'nowhere'" in done.err
        done = cli("analyze", "replication", smoke_runs.root, "protocl=smoke")
        assert done.code == 1
        assert "did you mean 'protocol'?" in done.err
        done = cli("analyze", "replication", smoke_runs.root, "smoke")
        assert "expected key=value, found 'smoke'" in done.err


class TestReplicate:
    def test_a_protocol_is_run_and_its_published_results_are_on_one_page(self, write_protocol, tmp_path, cli):
        finding = {"name": "level", "measure": "average_accuracy"}
        published = [
            {
                "claim": "it is <easy>",
                "published": 1,
                "finding": finding,
                "within": [0, 1],
                "seeds": 3,
                "quick": [0, 1],
            },
            {"claim": "it is hard", "published": 2, "finding": finding, "within": [2, None]},
        ]
        path = write_protocol(tmp_path, published=published, seeds=3, quick=["seeds=1"])
        done = cli("replicate", path, "--store", tmp_path / "runs", "--quick", "--out", tmp_path / "out")
        assert done.code == 0
        assert "1 of 1 runs done" in done.out
        assert (
            "1 of 2 results reproduced; of 0 the whole 95 % interval" in done.out
        )  # of one seed, there is none
        page = (tmp_path / "out" / "replications.html").read_text(encoding="utf-8")
        assert "1 of 2 results reproduced" in page
        assert "it is &lt;easy&gt;" in page
        assert "not reproduced" in page
        table = pd.read_csv(tmp_path / "out" / "replications.csv")
        assert table["verdict"].tolist() == ["reproduced", "not reproduced"]
        assert table["n"].tolist() == [1, 1]

    def test_runs_of_several_protocols_are_one_sweep_and_named(self, write_protocol, tmp_path, cli):
        finding = {"name": "level", "measure": "average_accuracy"}
        published = [{"claim": "it is easy", "published": 1, "finding": finding, "within": [0, 1]}]
        paths = [write_protocol(tmp_path, name, published=published) for name in ("first", "second")]
        done = cli("replicate", *paths, "--store", tmp_path / "runs")
        assert done.code == 0
        assert "[1/2] first plain seed 0: done" in done.out
        assert "[2/2] second plain seed 0: done" in done.out
        assert "2 of 2 runs done" in done.out

    def test_without_published_results_there_is_nothing_to_say(self, write_protocol, tmp_path, cli):
        done = cli("replicate", write_protocol(tmp_path), "--store", tmp_path / "runs")
        assert done.code == 1
        assert "held against published results, found none" in done.err


class TestNew:
    def test_a_starter_is_written_and_told_how_to_try(self, tmp_path, cli):
        done = cli("new", "measure", "mine", "--out", tmp_path)
        assert done.code == 0
        assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "test_mine.py"}
        assert f"Try: clntk compare RUNS --use {tmp_path / 'mine.py'} -m mine" in done.out


class TestList:
    def test_every_kind_with_everything_registered(self, cli):
        done = cli("list")
        assert done.code == 0
        for kind in KINDS:
            assert re.search(rf"^{kind}: ", done.out, re.MULTILINE)
            for name in registry.names(kind):
                assert re.search(rf"^{name} ", done.out, re.MULTILINE)

    def test_one_kind_with_options_and_a_line_each(self, cli):
        done = cli("list", "strategy")
        about = r"^replay +Experience replay: .*\n +options: memory_size=200 *\n +source: .*2019"
        assert re.search(about, done.out, re.MULTILINE)
        assert re.search(
            r"^every strategy takes: epochs=10, .*stop_loss=null, .*reset_optimizer=false", done.out, re.M
        )
        assert done.out.count("reset_optimizer") == 1
        assert "permuted_digits" not in done.out

    def test_it_fits_a_terminal(self, cli, monkeypatch):
        monkeypatch.setattr("clntk.terminal.components.wide_console", lambda: Console(width=80))
        out = cli("list").out
        assert max(map(cell_len, out.splitlines())) <= 80  # combining marks take no room
        assert "source: Lee, Goldt & Saxe 2021, arXiv 2107.04384." in out

    def test_protocols(self, cli):
        out = cli("list", "protocol").out
        assert re.search(r"^smoke +The whole path in seconds", out, re.MULTILINE)

    @pytest.mark.parametrize("content", ["a: [", "- 1", "3"])
    def test_a_broken_protocol_does_not_hide_the_others(self, tmp_path, cli, monkeypatch, content):
        (tmp_path / "protocols").mkdir()
        (tmp_path / "protocols" / "broken.yaml").write_text(content)
        monkeypatch.chdir(tmp_path)
        done = cli("list", "protocol")
        assert done.code == 0
        assert re.search(
            r"^broken +cannot be read \(clntk validate broken says why\)", done.out, re.MULTILINE
        )
        assert "smoke" in done.out
        assert cli("validate", "broken").code == 1

    @pytest.mark.parametrize(("kind", "near"), [("strategies", "strategy"), ("protocols", "protocol")])
    def test_an_unknown_kind(self, cli, kind, near):
        done = cli("list", kind)
        assert done.code == 1
        assert f"no kind is called '{kind}'; did you mean '{near}'?" in done.err


class TestValidate:
    @pytest.mark.parametrize("name", ["smoke", "digits_rich_vs_lazy"])
    def test_shipped_protocols_are_valid(self, cli, name):
        done = cli("validate", name)
        assert done.code == 0
        assert f"{name} is valid: {len(expand(load(name)))} runs (2 regimes" in done.out

    def test_a_sweep_is_counted(self, cli):
        done = cli("validate", "smoke", "sweep={model.width: [4, 8, 16]}")
        assert "12 runs (2 regimes, 2 seeds, sweep over model.width)" in done.out

    def test_all_mistakes_at_once(self, cli):
        done = cli("validate", "smoke", "stream.n_taks=3", "model.width=wide", "strategy.name=nave")
        assert done.code == 1
        assert "3 problems" in done.err
        for path in ("stream.n_taks", "model.width", "strategy.name"):
            assert f"  {path}: expected" in done.err


def test_the_schema_is_json_and_knows_every_component(cli):
    done = cli("schema")
    assert done.code == 0
    schema = json.loads(done.out)
    assert schema["properties"]["stream"]["anyOf"][0]["enum"] == registry.names("stream")


class TestUse:
    @pytest.fixture
    def mine(self, write_protocol, tmp_path):
        (tmp_path / "mine.py").write_text(MINE)
        measures = ["average_accuracy", "my_measure"]
        return write_protocol(tmp_path, stream={"name": "my_stream"}, measures=measures, use=["mine.py"])

    def test_a_stream_and_a_measure_of_ones_own_run_and_compare(self, mine, tmp_path, cli):
        store = tmp_path / "runs"
        assert cli("run", mine, "--store", store).code == 0
        done = cli("compare", store, "--use", tmp_path / "mine.py")
        assert done.code == 0
        assert "My measure" in done.out
        (run,) = clntk.open_runs(store)
        stored = run.fact("outputs").isel(checkpoint=-1)
        comparison = pd.read_csv(store / "results" / "comparison.csv").set_index("measure")
        assert comparison.estimate["my_measure"] == pytest.approx(float(abs(stored).mean()), rel=1e-6)

    def test_it_is_listed(self, tmp_path, cli):
        (tmp_path / "mine.py").write_text(MINE)
        done = cli("list", "measure", "--use", tmp_path / "mine.py")
        assert re.search(r"^my_measure +The mean size of an output", done.out, re.MULTILINE)

    def test_the_code_of_a_stream_enters_the_identity_of_its_runs(self, mine, tmp_path):
        (before,) = expand(load(mine))
        (tmp_path / "mine.py").write_text(MINE.replace("my own", "my very own"))
        (after,) = expand(load(mine))
        assert set(before.code) == {"mine.py"}
        assert before.run_id != after.run_id

    def test_the_code_of_a_measure_does_not(self, write_protocol, tmp_path):
        stream, measure = MINE.split('@register("measure")')
        (tmp_path / "stream.py").write_text(stream)
        (tmp_path / "measure.py").write_text(f'{stream.split("@")[0]}@register("measure"){measure}')
        path = write_protocol(
            tmp_path, stream={"name": "my_stream"}, measures=["my_measure"], use=["stream.py", "measure.py"]
        )
        (before,) = expand(load(path))
        text = (tmp_path / "measure.py").read_text()
        (tmp_path / "measure.py").write_text(text.replace("abs(outputs)", "abs(2 * outputs)"))
        (after,) = expand(load(path))
        assert set(before.code) == {"stream.py"}
        assert before.run_id == after.run_id
