"""Looks within phases: further checkpoints, and not a bit of difference in what is trained."""

import numpy as np
import pytest

import clntk
from clntk.errors import ProtocolError
from clntk.protocol import expand, load
from clntk.runs.events import What
from clntk.runs.preflight import preflight
from clntk.runs.run import run_specs
from clntk.runs.store import RunStore
from clntk.streams.phases import Phase, cut

STREAM = {"name": "permuted_digits", "n_tasks": 2, "n_probe": 4}
OPTIONS = {"name": "naive", "epochs": 5, "batch_size": 37, "lr": 0.05, "momentum": 0.9}
LOOKS = ["stream.looks=[1, 3]"]


@pytest.fixture
def protocol(write_protocol, tmp_path):
    def make(name="small", **options):
        return write_protocol(tmp_path, name, stream=STREAM, strategy=OPTIONS | options)

    return make


def last_weights(run):
    return {name: values[-1].values for name, values in run.fact("weights").items()}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_the_same_bits_at_the_ends_of_phases(protocol, tmp_path, reset, together):
    path = protocol(reset_optimizer=reset)
    overrides = ["seeds=2"]
    plain = clntk.run(path, overrides, store=tmp_path / "plain")
    cut_up = clntk.run(path, [*overrides, *LOOKS], store=tmp_path / "cut", together=together)
    for one, other in zip(plain, cut_up, strict=True):
        assert other.checkpoints == [
            "init",
            *(f"{t}{at}" for t in ("task0", "task1") for at in ("@1", "@3", "")),
        ]
        for name, values in one.fact("weights").items():
            found = other.fact("weights")[name].sel(checkpoint=one.checkpoints)
            if together:
                np.testing.assert_allclose(found.values, values.values, rtol=0, atol=1e-6)
            else:
                np.testing.assert_array_equal(found.values, values.values)
        np.testing.assert_array_equal(
            other.fact("metrics")["step"].sel(checkpoint=one.checkpoints), one.fact("metrics")["step"]
        )
        assert other.fact("losses").sizes == one.fact("losses").sizes


def test_parts_belong_to_their_task(protocol, tmp_path):
    (run,) = clntk.run(protocol(), LOOKS, store=tmp_path / "runs")
    velocity = clntk.open_runs(run.path).measure("kernel_velocity")
    switched = velocity[velocity["after_switch"]]["checkpoint"].unique().tolist()
    assert switched == ["task0@1", "task1@1"]
    assert run.fact("outputs")["task"].values.tolist() == ["", *["task0"] * 3, *["task1"] * 3]


def test_interrupted_between_two_looks_it_goes_on_to_the_same_bits(protocol, tmp_path, differences):
    specs = expand(load(protocol(), LOOKS))
    run_specs(specs, store=tmp_path / "whole")

    def interrupt(event):
        if event.what is What.BOUNDARY and event.info["done"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_specs(specs, store=tmp_path / "halted", listener=interrupt)
    run_specs(specs, store=tmp_path / "halted")
    paths = [RunStore(tmp_path / name).published(specs[0].run_id) for name in ("whole", "halted")]
    assert differences(*paths) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["strategy.name=ewc"],
            r"expected a strategy that does nothing at the ends of phases \(context_gating",
        ),
        (["stream.looks=[5]"], r"expected epochs below strategy.epochs \(5\), found 5"),
        (["stream.looks=[3, 1]"], r"expected rising epochs, such as \[1, 3, 10\], found \[3, 1\]"),
        (["stream.looks=[]"], "leave it out for none"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(protocol, overrides, message):
    with pytest.raises(ProtocolError, match=message):
        preflight(expand(load(protocol(), [*LOOKS, *overrides])))


def test_phases_are_cut_at_their_epochs():
    parts = cut([Phase("A", (0,)), Phase("B", (1,))], [2, 7])
    assert [(p.name, p.stretch, p.after, p.until) for p in parts] == [
        ("A@2", "A", 0, 2),
        ("A@7", "A", 2, 7),
        ("A", "A", 7, None),
        ("B@2", "B", 0, 2),
        ("B@7", "B", 2, 7),
        ("B", "B", 7, None),
    ]
