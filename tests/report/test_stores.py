"""Several stores on one page: the same runs, other seeds, other settings."""

import re
import shutil
from html import unescape

import pytest
from browsers import browser, needs_browser
from processes import wait_for

import clntk
from clntk.errors import ClntkError, StoreError
from clntk.report import stores
from clntk.report.stores import compared, write_comparison


@pytest.fixture(scope="module")
def other_seeds(tmp_path_factory):
    """The smoke protocol with one seed of the fixture's and one of its own."""
    return clntk.run("smoke", ["seeds=[1, 2]"], store=tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module", autouse=True)
def two_analyses():
    """All of them take their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "analyses", lambda **_: ["kernel_drift", "forgetting"])
        yield


@pytest.fixture(scope="module")
def page(smoke_runs, other_seeds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return write_comparison({"here": smoke_runs, "there": other_seeds}, folder / "page.html")


def text(page):
    html = re.sub(r"<(script|style)>.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]+>", " ", html))


def test_shared_runs_are_compared_to_the_bit(page, smoke_runs, other_seeds):
    shared = {run.run_id for run in smoke_runs} & {run.run_id for run in other_seeds}
    assert len(shared) == 2
    assert "here and there share 2 runs; 2 are equal to the bit." in text(page)


def test_a_run_that_came_out_otherwise_is_named_with_what_differs(smoke_runs, tmp_path, monkeypatch):
    copy = clntk.open_runs(shutil.copytree(smoke_runs.root, tmp_path / "copy"))
    run = next(iter(copy))
    changed = run.fact("metrics").copy(deep=True)
    changed["test_loss"] = changed["test_loss"] + 1
    monkeypatch.setitem(run._facts, "metrics", changed)
    shown = text(write_comparison({"here": smoke_runs, "there": copy}, tmp_path / "page.html"))
    assert "here and there share 4 runs; 3 are equal to the bit." in shown
    assert re.search(rf"{run.run_id}: metrics/test_loss: differs .* by up to 1 \(", shown)


def test_conditions_are_compared_seed_by_seed_over_the_seeds_that_both_have(smoke_runs, other_seeds):
    table = compared({"here": smoke_runs, "there": other_seeds})
    there = table[table["store"] == "there"]
    assert (there["n"] == 2).all()
    assert (there["n_pairs"] == 1).all()
    assert (there["difference"] == 0).all()  # seed 1 is the same run
    assert set(table["condition"]) == set(smoke_runs.regimes)


def test_measures_that_one_store_alone_has_are_not_compared(smoke_runs, tmp_path):
    other = clntk.run("smoke", ["measures=[forgetting]", "seeds=1"], store=tmp_path / "runs")
    table = compared({"here": smoke_runs, "there": other})
    assert set(table["measure"]) == {"forgetting"}


def test_stores_of_nothing_in_common_are_shown_beside_each_other(smoke_runs, write_protocol, tmp_path):
    other = clntk.run(write_protocol(tmp_path), store=tmp_path / "runs")
    assert compared({"here": smoke_runs, "there": other}).empty
    shown = text(write_comparison({"here": smoke_runs, "there": other}, tmp_path / "page.html"))
    assert "here and there share no run" in shown
    assert "there is nothing to subtract" in shown


def test_one_store_is_not_enough_and_each_is_of_one_protocol(smoke_runs, write_protocol, tmp_path):
    with pytest.raises(ClntkError, match="expected two stores or more, found 1"):
        write_comparison({"here": smoke_runs}, tmp_path / "page.html")
    for name in ("one", "two"):
        both = clntk.run(write_protocol(tmp_path, name=name), store=tmp_path / "runs")
    both = clntk.open_runs(both.root)
    with pytest.raises(StoreError, match="several protocols"):
        write_comparison({"here": smoke_runs, "there": both}, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_command_takes_several_folders_and_names_them_by_what_differs(
    smoke_runs, smoke_copy, other_seeds, cli
):
    done = cli("report", smoke_copy, other_seeds.root)
    assert done.code == 0
    assert str(smoke_copy / "results" / "comparison.html") in done.out
    shown = text(smoke_copy / "results" / "comparison.html")
    assert f"{smoke_copy.name}" in shown
    again = cli("report", smoke_copy, smoke_copy)
    assert again.code == 1
    assert "expected different stores" in again.err


@needs_browser
def test_the_charts_hold_all_stores(page, tmp_path):
    with browser(tmp_path) as driver:
        driver.get(f"{page.as_uri()}#kernel_drift")
        paths = "#kernel_drift .chart path[role=graphics-symbol]"
        marks = f"return [...document.querySelectorAll('{paths}')].map(p => p.ariaLabel)"
        wait_for(lambda: driver.execute_script(marks))
        told = driver.execute_script(marks)
        assert driver.get_log("browser") == []
    assert {label.split(",")[0] for label in told} == {
        f"{store}: {regime}" for store in ("here", "there") for regime in ("rich", "lazy")
    }
