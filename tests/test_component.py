"""Components: a signature is a schema, and nothing that is given is coerced or ignored."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from clntk import registry
from clntk.component import KINDS
from clntk.errors import ClntkError, OptionError
from clntk.registry import register
from clntk.strategies.training import Training


@pytest.fixture
def component():
    """A model that hands back what it is called with."""

    @register("model", "echo", colour="blue")
    def echo(
        shape,
        *,
        size: Annotated[int, Field(ge=1)],
        rate: float = 0.5,
        kind: Literal["a", "b"] = "a",
        root: Path | None = None,
        layers: float | list[float] = 1.0,
        on: bool = False,
    ):
        """An echo.

        More about it.
        """
        return shape, {"size": size, "rate": rate, "kind": kind, "root": root, "layers": layers, "on": on}

    return registry.get("model", "echo")


def _wrong(component, **options):
    with pytest.raises(ValidationError) as caught:
        component.check({"size": 1, **options})
    return {error["loc"][0]: error["type"] for error in caught.value.errors()}


def test_the_signature_is_the_schema(component):
    assert component.needs == ("shape",)
    assert component.summary == "An echo."
    assert component.traits == {"colour": "blue"}
    assert component.source == Path(__file__).resolve()
    assert {name: f.is_required() for name, f in component.schema.model_fields.items()} == {
        "size": True, "rate": False, "kind": False, "root": False, "layers": False, "on": False
    }  # fmt: skip


def test_a_call_hands_over_what_is_injected_and_fills_in_defaults(component):
    shape, options = component("the shape", size=3, root="some/where")
    assert shape == "the shape"
    assert options == {
        "size": 3, "rate": 0.5, "kind": "a", "root": Path("some/where"), "layers": 1.0, "on": False
    }  # fmt: skip


def test_resolved_options_are_plain_values_and_a_fixed_point(component):
    resolved = component.resolve({"size": 3, "rate": 1, "root": "x"})
    assert resolved == {"size": 3, "rate": 1.0, "kind": "a", "root": "x", "layers": 1.0, "on": False}
    assert type(resolved["rate"]) is float  # 1 and 1.0 are the same run
    assert component.resolve(resolved) == resolved


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"size": "3"}, "size"),
        ({"size": True}, "size"),
        ({"size": 2.5}, "size"),
        ({"size": 0}, "size"),
        ({"rate": "0.5"}, "rate"),
        ({"rate": True}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"kind": "c"}, "kind"),
        ({"on": 1}, "on"),
        ({"on": "true"}, "on"),
        ({"layers": ["1"]}, "layers"),
        ({"sise": 3}, "sise"),
    ],
)
def test_nothing_is_coerced_and_nothing_ignored(component, options, where):
    assert set(_wrong(component, **options)) == {where}


def test_all_problems_are_found_at_once(component):
    assert _wrong(component, size=0, rate="x", other=1) == {
        "size": "greater_than_equal", "rate": "float_type", "other": "extra_forbidden"
    }  # fmt: skip
    with pytest.raises(ValidationError) as caught:
        component.check({})
    assert [(e["loc"], e["type"]) for e in caught.value.errors()] == [(("size",), "missing")]


def test_a_call_checks_its_options(component):
    with pytest.raises(OptionError, match=r"size: expected a valid integer, found .3."):
        component("the shape", size="3")


def test_a_kinds_shared_options_belong_to_every_member():
    @register("strategy")
    def patient(setup, training, *, patience: int = 3):
        """Patient training."""
        return setup, training, patience

    entry = registry.get("strategy", "patient")
    assert entry.needs == ("setup", "training")
    assert entry("the setup", lr=0.25, patience=4) == ("the setup", replace(Training(), lr=0.25), 4)
    assert entry.resolve({})["epochs"] == Training().epochs
    with pytest.raises(ValidationError, match="patience"):
        registry.get("strategy", "naive").check({"patience": 3})


@dataclass(frozen=True)
class Doubled:
    """Options that are applied to whatever a member of the made-up kind returns."""

    times: Annotated[int, Field(ge=1)] = 1

    def __call__(self, result, *injected):
        return [result] * self.times, injected


def test_a_kinds_applied_options_belong_to_every_member_and_act_on_its_result(monkeypatch):
    kind = replace(KINDS["strategy"], applied=f"{__name__}:Doubled")
    monkeypatch.setitem(KINDS, "strategy", kind)

    @register("strategy")
    def patient(setup, training, *, patience: int = 3):
        """Patient training."""
        return setup, training.lr, patience

    entry = registry.get("strategy", "patient")
    # what is applied is handed what the toolkit injected, without the shared options
    assert entry("the setup", lr=0.5, times=2) == ([("the setup", 0.5, 3)] * 2, ("the setup",))
    assert entry.resolve({})["times"] == 1
    assert list(entry.schema.model_fields)[-2:] == ["patience", "times"]
    with pytest.raises(ValidationError, match="times"):
        entry.check({"times": 0})
    with pytest.raises(ValidationError, match="times"):
        registry.get("model", "mlp").check({"times": 2})


def test_an_option_that_its_kind_has_already_is_refused():
    with pytest.raises(
        ClntkError, match=r"strategy 'greedy' in .*: every strategy has an option 'momentum' already"
    ):

        @register("strategy", "greedy")
        def with_momentum(setup, training, *, momentum: float = 0.0):
            """Greedy."""

    with pytest.raises(
        ClntkError, match=r"stream 'greedy' in .*: every stream has an option 'schedule'.*rename it"
    ):

        @register("stream", "greedy")
        def with_schedule(seeds, *, schedule: str = "mine"):
            """Greedy."""

    assert "greedy" not in registry.names("strategy") + registry.names("stream")


def test_annotations_of_what_is_injected_may_be_for_type_checkers_only():
    @register("probe")
    def gradients(look: "NameThatIsNotImported", *, scale: "float" = 2.0):  # noqa: F821
        """Gradients."""
        return scale

    assert registry.get("probe", "gradients")(None, scale=3) == 3.0


def test_a_decorated_function_keeps_its_file_and_signature():
    entry = registry.get("regime", "init_scale")  # under torch.no_grad, whose file is torch's
    assert entry.source.name == "init_scale.py"
    assert set(entry.schema.model_fields) == {"scale", "sd", "input_sd"}
