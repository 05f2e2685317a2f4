"""The report in a browser: one page at a time, charts whose contents are chosen, and no code but its own."""

import json
import re
from itertools import pairwise

import pytest
from browsers import browser, needs_browser
from processes import wait_for

from clntk import registry

pytestmark = needs_browser


@pytest.fixture(scope="module")
def opened(page, tmp_path_factory):
    """The report of the smoke protocol in a browser."""
    with browser(tmp_path_factory.mktemp("browser")) as driver:
        driver.get(page.as_uri())
        yield driver
        assert driver.get_log("browser") == []


def go(driver, page):
    driver.execute_script("location.hash = arguments[0]", page)
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def chart(driver, page):
    """The marks of a page's chart, once it is drawn."""
    go(driver, page)
    find = "return document.querySelectorAll(arguments[0]).length"
    wait_for(lambda: driver.execute_script(find, f"#{page} .chart svg .role-mark path"))
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(p => p.getAttribute('aria-label'))",
        f"#{page} .chart svg .role-mark path[role=graphics-symbol]",
    )


def choose(driver, page, label, text):
    """Choose an option by its label and text; the chart is drawn anew."""
    driver.execute_script(
        """
        const box = [...document.querySelectorAll(`#${arguments[0]} .controls label`)]
          .find(label => label.firstChild.textContent.trim() === arguments[1]);
        document.querySelector(`#${arguments[0]} .chart`).replaceChildren();
        const select = box.querySelector("select");
        select.value = [...select.options].find(option => option.text === arguments[2]).value;
        select.dispatchEvent(new Event("change"));
        """,
        page,
        label,
        text,
    )


def test_one_page_is_shown_at_a_time_and_everything_on_request(opened):
    shown = "return [...document.querySelectorAll('.page')].filter(p => p.offsetHeight > 0).map(p => p.id)"
    links = opened.execute_script("return [...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert opened.execute_script(shown) == ["overview"]
    for page in links[:-1]:
        go(opened, page)
        assert opened.execute_script(shown) == [page]
        current = opened.execute_script("return document.querySelector('nav [aria-current]').hash")
        assert current == f"#{page}"
        assert opened.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
    go(opened, links[-1])
    assert opened.execute_script(shown) == links[:-1]


def test_what_nobody_sees_on_the_screen_is_printed(opened):
    go(opened, "overview")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        heights = opened.execute_script(
            "return [...document.querySelectorAll('.page')].map(p => p.offsetHeight)"
        )
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert all(height > 0 for height in heights)


def test_every_figure_is_there_and_named(opened):
    go(opened, "everything")
    images = opened.execute_script(
        "return [...document.images].map(i => [i.complete, i.naturalWidth, i.alt, i.getBoundingClientRect().width])"
    )
    assert len(images) >= 3
    assert all(complete and width > 300 and alt and shown > 200 for complete, width, alt, shown in images)


def test_every_control_and_chart_has_a_name(opened):
    for page in {"kernel_drift", "forgetting", "task_tuning", "geometry"}:
        assert chart(opened, page)
    go(opened, "everything")
    tree = opened.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    wanted = {"combobox", "checkbox", "link", "image", "graphics-document", "DisclosureTriangle"}
    named = [(n["role"]["value"], n.get("name", {}).get("value")) for n in tree if "role" in n]
    found = [(role, name) for role, name in named if role in wanted]
    assert wanted == {role for role, _ in found}
    assert [pair for pair in found if not pair[1]] == []


def test_marks_are_the_means_of_the_table(opened, smoke_runs):
    """What pointing at a mark tells, beside what pandas makes of the same table."""
    table = smoke_runs.measure("kernel_distance")
    within = table.groupby(["regime", "seed", "checkpoint"])["kernel_distance"].mean()
    means = within.groupby(["regime", "checkpoint"]).mean()
    pattern = r"(.+), After training on (.+): Kernel distance (\S+?)(?: \[.*\])?, \d+ seeds"
    told = [re.fullmatch(pattern, label).groups() for label in chart(opened, "kernel_drift")]
    found = {(regime, checkpoint): float(value) for regime, checkpoint, value in told}
    assert len(found) == len(told) == (means > 0).sum()
    for key, value in found.items():
        assert value == pytest.approx(means[key], rel=1e-3)


def test_a_choice_of_task_and_measure_is_drawn(opened, smoke_runs):
    before = chart(opened, "kernel_drift")
    choose(opened, "kernel_drift", "Task", smoke_runs.measure("kernel_distance")["eval_task"].iloc[0])
    one = chart(opened, "kernel_drift")
    choose(opened, "kernel_drift", "Measure", "Relative kernel change")
    other = chart(opened, "kernel_drift")
    choose(opened, "kernel_drift", "Regime", smoke_runs.regimes[0])
    rest = chart(opened, "kernel_drift")
    assert all(a != b for a, b in pairwise([before, one, other, rest]))
    assert all("Relative kernel change" in label for label in other)
    assert not any(smoke_runs.regimes[1] in label for label in rest)
    for label, text in (("Measure", "Kernel distance"), ("Task", "mean of all"), ("Regime", "each")):
        choose(opened, "kernel_drift", label, text)
    assert chart(opened, "kernel_drift") == before


def test_a_chart_is_saved_as_svg_and_png(opened):
    chart(opened, "kernel_drift")
    found = opened.execute_script(
        "return [...document.querySelectorAll('#kernel_drift .vega-actions a')].map(a => [a.text, a.download])"
    )
    assert found == [["Save as SVG", "kernel_drift.svg"], ["Save as PNG", "kernel_drift.png"]]
    link = "document.querySelectorAll('#kernel_drift .vega-actions a')[arguments[0]]"
    for i, start in enumerate(("blob:", "data:image/png")):
        opened.execute_script(f"{link}.dispatchEvent(new MouseEvent('mousedown', {{cancelable: true}}))", i)
        wait_for(lambda i=i, start=start: opened.execute_script(f"return {link}.href", i).startswith(start))


def test_colours_follow_the_light(opened):
    chart(opened, "forgetting")
    background = "const s = document.querySelector('#forgetting .chart svg.marks'); return s && s.style.backgroundColor"
    for scheme, colour in (("dark", "rgb(24, 25, 27)"), ("light", "rgb(255, 255, 255)")):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        wait_for(lambda colour=colour: opened.execute_script(background) == colour)


def test_no_code_but_the_pages_own_runs(opened):
    opened.get_log("browser")
    ran = opened.execute_async_script(
        """
        const done = arguments[0];
        const script = document.createElement("script");
        script.textContent = "window.intruder = true";
        document.body.append(script);
        const image = document.createElement("img");
        image.setAttribute("onerror", "window.intruder = true");
        image.src = "data:,";
        document.body.append(image);
        setTimeout(() => { script.remove(); image.remove(); done(window.intruder === true); }, 100);
        """
    )
    refused = opened.get_log("browser")  # and taken from the log
    assert not ran
    assert all("Content Security Policy" in entry["message"] for entry in refused)
    assert len(refused) >= 2


def test_what_can_be_chosen_is_told_as_json(opened):
    told = opened.execute_script(
        "return [...document.querySelectorAll('.explore')].map(e => [e.dataset.table, e.dataset.roles])"
    )
    assert {table.removeprefix("data-") for table, _ in told} <= set(registry.names("analysis"))
    assert all(json.loads(roles)["values"] for _, roles in told)
