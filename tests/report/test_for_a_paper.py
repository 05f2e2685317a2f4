"""What a paper says of runs: settings and sources that are theirs."""

import re

from clntk.report.methods import bibtex, methods


def test_the_paragraph_names_settings_conditions_seeds_and_measures(smoke_runs):
    text = methods(smoke_runs)
    spec = next(iter(smoke_runs)).spec
    assert f"The stream was {spec.stream['name']} (" in text
    assert f"width {spec.model['width']}" in text
    for label in smoke_runs.regimes:
        assert f"{label}, " in text
    assert f"{len(smoke_runs.seeds)} seeds (" in text
    assert "torch " in text
    assert "kernel distance" in text
    assert "\n" not in text


def test_what_varies_is_told_with_its_values(smoke_runs, monkeypatch):
    for run, width in zip(smoke_runs, (8, 8, 16, 16), strict=True):
        monkeypatch.setitem(run.spec.model, "width", width)
    runs = type(smoke_runs)(smoke_runs.runs)
    text = methods(runs)
    assert "Varied: model.width (16, 8)." in text
    assert not re.search(r"The model was mlp \([^)]*width", text)


def test_bibtex_has_each_key_once_and_the_sources_of_measures(smoke_runs):
    text = bibtex(smoke_runs)
    keys = re.findall(r"^@\w+\{(.+),$", text, re.MULTILINE)
    assert len(keys) == len(set(keys))
    assert {"clntk", "pytorch", "avalanche"} < set(keys)
    assert all(re.fullmatch(r"[a-z0-9-]+", key) for key in keys)
    assert text.count("{") == text.count("}")
    assert any(key.startswith("chaudhry2018") for key in keys) == ("forgetting" in methods(smoke_runs))
