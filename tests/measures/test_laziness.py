"""Relative weight change against an explicit loop and closed cases."""

import math

import numpy as np
import pytest
import xarray as xr

from clntk import registry
from clntk.errors import DataError
from clntk.measures.laziness import layer_weight_change, linearisation_error, relative_weight_change
from clntk.measures.summary import scalars


def weights(**parameters):
    """Facts from arrays whose first axis is the checkpoint."""
    return xr.Dataset(
        {
            name.replace("__", "."): (
                ("checkpoint", *(f"{name}{i}" for i in range(np.ndim(values) - 1))),
                values,
            )
            for name, values in parameters.items()
        },
        coords={"checkpoint": ["init", "a", "b"], "step": ("checkpoint", [0, 5, 10])},
    )


def test_against_an_explicit_loop_over_every_weight():
    rng = np.random.default_rng(0)
    facts = weights(
        hidden__weight=rng.normal(size=(3, 4, 5)).astype(np.float32),
        hidden__bias=rng.normal(size=(3, 4)).astype(np.float32),
        scale=rng.normal(size=3).astype(np.float32),
    )
    result = relative_weight_change(facts)
    assert list(result.param.values) == ["all", "hidden.weight", "hidden.bias", "scale"]
    assert list(result.step.values) == [0, 5, 10]
    for k in range(3):
        moved_all = start_all = 0.0
        for name in ("hidden.weight", "hidden.bias", "scale"):
            now = facts[name].values[k].ravel().tolist()
            start = facts[name].values[0].ravel().tolist()
            moved = sum((x - y) ** 2 for x, y in zip(now, start, strict=True))
            norm = sum(y**2 for y in start)
            moved_all, start_all = moved_all + moved, start_all + norm
            assert result.values[k, list(result.param.values).index(name)] == pytest.approx(
                math.sqrt(moved / norm), rel=1e-12
            )
        assert result.sel(param="all").values[k] == pytest.approx(math.sqrt(moved_all / start_all), rel=1e-12)


def test_it_is_the_norm_of_the_difference_and_not_the_difference_of_norms():
    # a rotation by a right angle keeps the norm; ‖(0,1)−(1,0)‖ = √2
    result = relative_weight_change(weights(w=[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    np.testing.assert_allclose(result.sel(param="w"), [0.0, math.sqrt(2), 2.0], rtol=1e-15)


def test_a_parameter_that_starts_at_zero_is_nan_itself_and_counts_in_all():
    result = relative_weight_change(weights(w=[[3.0], [3.0], [3.0]], b=[[0.0], [0.0], [6.0]]))
    np.testing.assert_array_equal(result.sel(param="b"), [np.nan] * 3)
    np.testing.assert_array_equal(result.sel(param="w"), [0.0] * 3)
    np.testing.assert_array_equal(result.sel(param="all"), [0.0, 0.0, 2.0])


def test_a_network_that_starts_at_zero_is_nan_without_a_warning():
    assert relative_weight_change(weights(w=[[0.0], [1.0], [2.0]])).isnull().all()


def test_small_changes_of_float32_weights_are_not_lost():
    start = np.full(1000, 1.0, np.float32)
    moved = np.nextafter(start, np.float32(2.0))
    result = relative_weight_change(weights(w=np.stack([start, moved, moved])))
    assert result.sel(param="w").values[1] == pytest.approx(2.0**-23, rel=1e-9)


def test_the_checkpoint_axis_need_not_come_first():
    facts = weights(w=np.arange(6.0).reshape(3, 2) + 1)
    xr.testing.assert_identical(
        relative_weight_change(facts.transpose(..., "checkpoint")), relative_weight_change(facts)
    )


def test_the_number_per_run_is_all_at_the_end():
    facts = weights(w=[[3.0], [9.0], [4.5]], b=[[4.0], [4.0], [4.0]])
    entry = registry.get("measure", "relative_weight_change")
    assert entry.needs == ("weights",)
    number = scalars("change", entry.function(facts), entry.traits["scalar"])
    assert number == {"change": pytest.approx(1.5 / 5)}


def test_errors_say_what_is_missing():
    facts = weights(w=[[1.0], [2.0], [3.0]])
    with pytest.raises(
        DataError, match=r"weights: expected the first checkpoint to be 'init', found .*'a', 'b'"
    ):
        relative_weight_change(facts.isel(checkpoint=[1, 2]))
    with pytest.raises(DataError, match="at least one parameter, found none"):
        relative_weight_change(xr.Dataset(coords={"checkpoint": ["init"]}))


# --- by layer ---------------------------------------------------------------------------------------------


def test_a_layer_takes_its_weights_and_biases_together():
    facts = weights(
        first__weight=[[3.0, 0.0], [0.0, 0.0], [3.0, 4.0]],
        first__bias=[[4.0], [4.0], [4.0]],
        net__second__weight=[[2.0], [3.0], [2.0]],
        scale=[1.0, 1.0, 0.0],
        bias=[0.0, 1.0, 2.0],
    )
    result = layer_weight_change(facts)
    assert result.dims == ("checkpoint", "layer")
    assert result.layer.values.tolist() == ["first", "net.second", "scale", "bias"]
    assert result.step.values.tolist() == [0, 5, 10]
    expected = [[0, 0, 0, np.nan], [3 / 5, 1 / 2, 0, np.nan], [4 / 5, 0, 1, np.nan]]
    np.testing.assert_allclose(result, expected, rtol=1e-15)


def test_layers_need_weights_since_initialisation():
    with pytest.raises(DataError, match="first checkpoint to be 'init'"):
        layer_weight_change(weights(w=[[1.0], [2.0], [3.0]]).isel(checkpoint=[1, 2]))
    with pytest.raises(DataError, match="at least one parameter, found none"):
        layer_weight_change(xr.Dataset(coords={"checkpoint": ["init"]}))


# --- linearisation error ----------------------------------------------------------------------------------


def linearisation(**arrays):
    dims = ("checkpoint", "eval_task", "probe", "output")
    return xr.Dataset({k: (dims, v) for k, v in arrays.items()}, attrs={"parameters": 10})


def test_linearisation_error_against_a_loop():
    rng = np.random.default_rng(0)
    now, linear, start = rng.normal(size=(3, 2, 3, 4, 2))
    result = linearisation_error(linearisation(outputs=now, linear=linear, start=start))
    assert result.dims == ("checkpoint", "eval_task")
    for k in range(2):
        for t in range(3):
            cells = [(n, c) for n in range(4) for c in range(2)]
            gap, moved = (
                math.sqrt(math.fsum((now[k, t, n, c] - other[k, t, n, c]) ** 2 for n, c in cells))
                for other in (linear, start)
            )
            assert result.values[k, t] == pytest.approx(gap / moved, rel=1e-12)


def test_linearisation_error_does_not_care_how_axes_are_ordered():
    now, linear, start = np.random.default_rng(1).normal(size=(3, 2, 3, 4, 2))
    facts = linearisation(outputs=now, linear=linear, start=start)
    turned = facts.transpose("output", "checkpoint", "probe", "eval_task")
    xr.testing.assert_allclose(linearisation_error(turned), linearisation_error(facts))


def test_linearisation_error_of_no_movement_and_of_rounding():
    start = np.ones((1, 1, 2, 1))
    moved, off = start + 1e-3, start + 1e-3 * (1 + 1e-14)

    def error(now, linear):
        return linearisation_error(linearisation(outputs=now, linear=linear, start=start)).item()

    assert math.isnan(error(start, start))
    assert error(moved, off) == 0.0
    assert error(moved, start) == 1.0
    assert error(moved, start + 2e-3) == pytest.approx(1.0)
    assert math.isnan(error(moved, np.full_like(start, np.nan)))  # an expansion that diverged is no exact one
