"""Whoever wrote a text, on the terminal it is nothing but a text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clntk.terminal.text import inert, plain

HOSTILE = {
    "\x1b[2J": r"\x1b[2J",
    "a\rb": r"a\rb",
    "\x9b1A": r"\x9b1A",
    "\u202eabc": r"\u202eabc",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\ud800": r"\ud800",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_seen_is_written_out(text):
    assert plain(text) == HOSTILE[text]


@given(st.text())
def test_lines_are_all_that_is_left_of_control(text):
    assert all(each.isprintable() or each in "\n\t\xa0\u202f" for each in plain(text))
    assert plain(plain(text)) == plain(text)


def test_letters_of_any_language_stay_as_they_are():
    text = "α‖K‖₂ — grün, 日本\n\tzwei"
    assert plain(text) == text


def test_no_markup(capsys):
    Console(width=200).print(inert("[red]no[/] \x1b[1mbold"))
    assert capsys.readouterr().out == "[red]no[/] \\x1b[1mbold\n"


def test_a_run_cannot_paint_the_terminal(smoke_copy, cli):
    facts = next(smoke_copy.glob("smoke-*/provenance.json"))
    found = json.loads(facts.read_text()) | {"device": "cpu\x1b[2J\x1b]0;mine\x07"}
    facts.write_text(json.dumps(found))
    shown = cli("show", smoke_copy)
    assert shown.code == 0
    assert r"on cpu\x1b[2J\x1b]0;mine\x07; clntk" in shown.out
    assert "\x1b" not in shown.out


def test_an_error_cannot_either(tmp_path, cli):
    (tmp_path / "x\x1b[2J.yaml").write_text("a: [")
    said = cli("validate", tmp_path / "x\x1b[2J.yaml")
    assert said.code == 1
    assert "\x1b" not in said.err
    assert r"x\x1b[2J.yaml" in said.err
