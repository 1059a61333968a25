"""What every layer keeps to, on every array library."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest

import xpcnn
from tests.layers import (
    by_hand,
    test_activations,
    test_conv,
    test_conv_transpose,
    test_linear,
    test_norm,
    test_padding,
    test_pool,
    test_resize,
    test_separable,
    test_shape,
)
from tests.layers.cases import CASES, OTHER_INPUTS
from tests.pytorch import PER_TEST
from xpcnn import _registry, _xp
from xpcnn.device import Device, resolve
from xpcnn.layers import Layer, Operation
from xpcnn.layers.layer import whole_batches
from xpcnn.training import saving

NAMES = list(CASES)
WITH_STATE = [name for name in NAMES if CASES[name].make()._tensors()]
CPU = resolve("cpu")
KNOWN = {
    name: getattr(where, name)
    for where in (xpcnn.layers, xpcnn.operations)
    for name in where.__all__
}


def built(name: str, device: Device = CPU, dtype: str = "float32") -> Layer:
    """Return a layer with the same first values whenever it is asked for."""
    layer = CASES[name].make()
    layer.build(CASES[name].shape, device=device, dtype=dtype, rng=np.random.default_rng(1))
    return layer


def numbers(shape: tuple[int, ...], dtype: str = "float64", seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def step(layer: Layer, device: Device, dtype: str):
    """One training step; returns everything that came out as NumPy arrays."""
    x = device.asarray(numbers(_shape_of(layer), dtype))
    y = layer.forward(x, training=True)
    dx = layer.backward(device.asarray(numbers(tuple(y.shape), dtype, seed=3)))
    found = {"y": y, "dx": dx, **{n: p.grad for n, p in layer.parameters().items()}}
    return {name: _xp.to_numpy(value) for name, value in found.items()}


def _shape_of(layer: Layer) -> tuple[int, ...]:
    return layer._test_shape  # type: ignore[attr-defined]


def rebuilt(layer):
    """Make an equal layer from its description, as a model file holds it."""
    description = json.loads(json.dumps(_registry.to_config(layer)))
    return _registry.from_config(description, saving.known_layers(), "layer")


def test_every_public_layer_is_among_the_cases():
    public = {
        name
        for name in xpcnn.layers.__all__
        if isinstance(getattr(xpcnn.layers, name), type)
        and issubclass(getattr(xpcnn.layers, name), Layer)
        and name not in ("Layer", "Operation")
    }
    assert public - OTHER_INPUTS == {type(case.make()).__name__ for case in CASES.values()}
    assert all(hasattr(xpcnn, name) for name in public)


@pytest.mark.parametrize("name", [name for name in NAMES if CASES[name].by_hand is not None])
def test_values_by_hand(name, device):
    x, *expected = CASES[name].by_hand
    found = by_hand.run(CASES[name].make(), x, device)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# -- On every array library ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step(device, name):
    """The numbers of NumPy in float64; dtype, device and shape kept; operands unchanged."""
    shape = CASES[name].shape
    reference = built(name, CPU, "float64")
    reference._test_shape = shape
    expected = step(reference, CPU, "float64")
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-4)):
        if dtype == "float64" and len(shape) > 3 and _xp.library(device.xp) == "jax":
            continue  # it compiles every operation anew, which takes long
        layer = built(name, device, dtype)
        assert layer.is_built
        x_before = numbers(shape, dtype)
        x = device.asarray(x_before.copy())
        y = layer.forward(x, training=True)
        assert tuple(y.shape) == layer.output_shape(shape)
        dy_before = numbers(tuple(y.shape), dtype, seed=3)
        dy = device.asarray(dy_before.copy())
        dx = layer.backward(dy)
        found = {"y": y, "dx": dx, **{n: p.grad for n, p in layer.parameters().items()}}
        for key, array in found.items():
            assert _xp.namespace(array) is device.xp, key
            assert _xp.device_of(array) == device.physical, key
            assert _xp.dtype_name(array) == dtype, key
            values = _xp.to_numpy(array)
            assert values.shape == expected[key].shape, key
            scale = max(np.abs(expected[key]).max(), 1.0)
            np.testing.assert_allclose(values, expected[key], rtol=0, atol=tolerance * scale)
        for key, tensor in layer._tensors().items():
            if key.endswith("num_batches_tracked"):
                continue
            assert _xp.dtype_name(tensor.data) == dtype, key
            assert _xp.device_of(tensor.data) == device.physical, key
        np.testing.assert_array_equal(_xp.to_numpy(x), x_before)
        np.testing.assert_array_equal(_xp.to_numpy(dy), dy_before)


@pytest.mark.parametrize("name", NAMES)
def test_running_without_training(device, name):
    """The same as NumPy, after a step that moved the running statistics."""
    outputs = []
    for where in (CPU, device):
        layer = built(name, where)
        layer._test_shape = CASES[name].shape
        step(layer, where, "float32")
        x = where.asarray(numbers(CASES[name].shape, "float32", seed=4))
        outputs.append(_xp.to_numpy(layer(x)))
        np.testing.assert_array_equal(
            _xp.to_numpy(x), numbers(CASES[name].shape, "float32", seed=4)
        )
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("library", ["cpu", "torch:cpu"])
@pytest.mark.parametrize("name", NAMES)
def test_memory_order_does_not_matter(name, library):
    """Input and gradient with their axes, or their steps, the other way round in memory."""
    try:
        device = resolve(library)
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    results = []
    for order in ("contiguous", "backwards", "strided"):
        layer = built(name, device, "float64")

        def arranged(shape, seed, order=order):
            values = device.asarray(numbers(shape, seed=seed))
            if order == "contiguous":
                return values
            xp = device.xp
            if order == "backwards":
                axes = tuple(reversed(range(len(shape))))
                copy = xp.asarray(xp.permute_dims(values, axes), copy=True)
                return xp.permute_dims(xp.reshape(copy, tuple(reversed(shape))), axes)
            twice = xp.stack([values, values], axis=-1)
            return twice[..., 1]

        y = layer.forward(arranged(CASES[name].shape, 2), training=True)
        dx = layer.backward(arranged(tuple(y.shape), 3))
        results.append([y, dx, *(p.grad for p in layer.parameters().values())])
    for other in results[1:]:
        for actual, expected in zip(other, results[0], strict=True):
            np.testing.assert_allclose(
                _xp.to_numpy(actual), _xp.to_numpy(expected), rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize("name", NAMES)
def test_broadcast_gradient(name):
    """A gradient without memory of its own, as a sum gives it, is not written to."""
    results = []
    for ones in (lambda shape: np.ones(shape), lambda shape: np.broadcast_to(np.ones(()), shape)):
        layer = built(name, CPU, "float64")
        y = layer.forward(numbers(CASES[name].shape), training=True)
        results.append(layer.backward(ones(y.shape)))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_read_only_operands(name):
    layer = built(name, CPU, "float64")
    x = numbers(CASES[name].shape)
    x.flags.writeable = False
    y = layer.forward(x, training=True)
    dy = numbers(y.shape)
    dy.flags.writeable = False
    assert layer.backward(dy).shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_half_precision(name):
    layer = built(name, CPU, "float16")
    reference = built(name, CPU, "float64")
    results = []
    for one, dtype in ((layer, "float16"), (reference, "float64")):
        one._test_shape = CASES[name].shape
        results.append(step(one, CPU, dtype))
    for key, expected in results[1].items():
        assert results[0][key].dtype == np.float16, key
        scale = max(np.abs(expected).max(), 1.0)
        np.testing.assert_allclose(results[0][key], expected, rtol=0, atol=0.03 * scale)


# -- Order of calls --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_backward_needs_a_forward_each(name):
    layer = built(name)
    x = numbers(CASES[name].shape, "float32")
    dy = np.ones(layer.output_shape(x.shape), "float32")
    kind = type(layer).__name__
    with pytest.raises(RuntimeError, match=rf"{kind}: backward needs a forward"):
        layer.backward(dy)
    layer.forward(x)
    layer.backward(dy)
    with pytest.raises(RuntimeError, match=rf"{kind}.*each forward serves one backward"):
        layer.backward(dy)
    layer.forward(x)
    layer.forward(x, training=True)
    layer.backward(dy)
    with pytest.raises(RuntimeError, match=rf"{kind}.*each forward serves one backward"):
        layer.backward(dy)
    layer.forward(x, training=True)
    layer.backward(dy)


@pytest.mark.parametrize("name", NAMES)
def test_without_dx(name):
    """The parameters' gradients are the same; dx is left out where that saves work."""
    results = []
    for need_dx in (True, False):
        layer = built(name, CPU, "float64")
        y = layer.forward(numbers(CASES[name].shape), training=True)
        dx = layer.backward(numbers(y.shape, seed=3), need_dx=need_dx)
        assert (dx is not None) == need_dx or not layer.parameters()
        results.append({n: p.grad for n, p in layer.parameters().items()})
    for key in results[0]:
        np.testing.assert_array_equal(results[0][key], results[1][key])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_add_up_until_they_are_forgotten(name):
    layer = built(name, CPU, "float64")
    x = numbers(CASES[name].shape)
    for count in (1, 2):
        y = layer.forward(x, training=True)
        layer.backward(numbers(y.shape, seed=3))
        if count == 1:
            first = {n: p.grad.copy() for n, p in layer.parameters().items()}
    for key, parameter in layer.parameters().items():
        np.testing.assert_allclose(parameter.grad, 2 * first[key], rtol=1e-12, atol=1e-12)
    layer.zero_grad()
    assert all(p.grad is None for p in layer.parameters().values())


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_must_fit_the_output(name):
    layer = built(name)
    x = numbers(CASES[name].shape, "float32")
    y = layer.forward(x, training=True)
    kind = type(layer).__name__
    with pytest.raises(ValueError, match=f"{kind}: backward expects a gradient of the output's"):
        layer.backward(np.ones((*y.shape, 2), "float32"))
    with pytest.raises(TypeError, match=rf"(?s){kind}.*float32.*float64"):
        layer.backward(np.ones(y.shape, "float64"))
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match=rf"(?s){kind}.*(numpy.*strict|strict.*numpy)"):
        layer.backward(strict.ones(y.shape, dtype=strict.float32))
    # what was kept is still there
    assert layer.backward(np.ones(y.shape, "float32")).shape == x.shape


# -- Bad input -------------------------------------------------------------------------------------


def refuses(layer: Layer, x, error: type[Exception], match: str) -> None:
    """The layer must raise, and work as before afterwards."""
    with pytest.raises(error, match=match):
        layer.forward(x, training=True)


@pytest.mark.parametrize("name", NAMES)
def test_bad_input(name):
    case, layer = CASES[name], built(name)
    kind = type(layer).__name__
    if isinstance(layer, Operation):  # it takes integers too, if those inside do
        kind = f"({'|'.join(type(part).__name__ for _, part in layer.layers_within())})"
    good = numbers(case.shape, "float32")
    before = layer(good)
    for dtype in ("uint8", "int64", "bool"):
        refuses(layer, np.ones(case.shape, dtype), TypeError, f"{kind}: expected dtype.*{dtype}")
    refuses(layer, np.ones(case.shape, "complex64"), TypeError, f"{kind}.*complex64")
    refuses(layer, good.tolist(), TypeError, f"{kind}: expected an array of NumPy.*got list")
    refuses(layer, None, TypeError, kind)
    if good.ndim > 1:
        refuses(layer, good[:, :0], ValueError, f"{kind}: got an empty array of shape ")
    refuses(layer, good.astype(object), TypeError, f"{kind}.*object")
    if case.wrong_rank is not None:
        # a layer inside may be the one that says so
        inside = "|".join(type(part).__name__ for _, part in layer.layers_within())
        with as_in_a_model():
            refuses(layer, numbers(case.wrong_rank, "float32"), ValueError, f"^({inside}).*: ")
    if case.wrong_channels is not None:
        inside = "|".join(type(part).__name__ for _, part in layer.layers_within())
        match = rf"^({inside}).*expected \d+ (input )?(channels|features).*got \d+ in an input"
        refuses(layer, numbers(case.wrong_channels, "float32"), ValueError, match)
    np.testing.assert_array_equal(layer(good), before)


@contextmanager
def as_in_a_model():
    """By itself a layer may take a sample without a batch axis; a model wants batches."""
    token = whole_batches.set(True)
    try:
        yield
    finally:
        whole_batches.reset(token)


@pytest.mark.parametrize("name", NAMES)
def test_output_shape_refuses_what_forward_refuses(name):
    with as_in_a_model():
        shapes_are_refused(name)


def shapes_are_refused(name):
    case, layer = CASES[name], built(name)
    for wrong in (case.wrong_rank, case.wrong_channels):
        if wrong is not None:
            with pytest.raises(ValueError, match=r"expected|out of range|cannot merge"):
                layer.output_shape(wrong)
            with pytest.raises(ValueError, match=r"expected|out of range|cannot merge"):
                CASES[name].make().build(case.wrong_rank or wrong)


@pytest.mark.parametrize("name", WITH_STATE)
def test_input_of_another_dtype_or_library(name):
    layer = built(name)
    x = numbers(CASES[name].shape)
    inside = "|".join(type(part).__name__ for _, part in layer.layers_within())
    refuses(layer, x, TypeError, rf"(?s)^({inside}).*expected dtype float32, got float64.*astype")
    strict = pytest.importorskip("array_api_strict")
    foreign = strict.asarray(x.astype("float32"))
    refuses(layer, foreign, TypeError, rf"(?s)^({inside}).*(numpy.*array_api_strict|strict.*numpy)")
    assert layer.forward(x.astype("float32")).dtype == np.float32


def test_input_on_another_device_of_the_library():
    strict = pytest.importorskip("array_api_strict")
    layer = built("Conv2d", resolve("strict:1"))
    x = strict.asarray(numbers(CASES["Conv2d"].shape, "float32"))
    refuses(layer, x, TypeError, r"Conv2d: the input is an? array_api_strict.*CPU.*lie on.*device1")


# -- State and description -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_config_rebuilds_an_equal_layer(name):
    layer = built(name)
    again = rebuilt(CASES[name].make())
    assert repr(again) == repr(CASES[name].make())
    # what was inferred at build is part of the configuration from then on
    again = rebuilt(layer)
    assert repr(again) == repr(layer)
    assert again is not layer
    again.load_state_dict(layer.state_dict())
    x = numbers(CASES[name].shape, "float32")
    np.testing.assert_array_equal(again(x), layer(x))


@pytest.mark.parametrize("name", NAMES)
def test_repr_can_be_read(name):
    layer = CASES[name].make()
    assert repr(layer).startswith(type(layer).__name__ + "(")
    again = eval(repr(layer), KNOWN)
    assert repr(again) == repr(layer)


@pytest.mark.parametrize("when", ["before build", "after build", "other dtype"])
@pytest.mark.parametrize("name", WITH_STATE)
def test_state_round_trip(name, when):
    shape = CASES[name].shape
    layer = built(name)
    layer._test_shape = shape
    step(layer, CPU, "float32")
    state = {key: np.array(value) for key, value in layer.state_dict().items()}
    other = CASES[name].make()
    if when != "before build":
        other.build(shape)
    if when == "other dtype":
        state = {k: v.astype("float64") if v.dtype == np.float32 else v for k, v in state.items()}
    other.load_state_dict(state)
    if when == "before build":
        other.build(shape)
    assert list(other.state_dict()) == list(state)
    for key, values in other.state_dict().items():
        np.testing.assert_array_equal(values, state[key])
        assert values.dtype == layer.state_dict()[key].dtype
        assert values is not state[key]
    x = numbers(shape, "float32", seed=5)
    np.testing.assert_array_equal(other(x), layer(x))


@pytest.mark.parametrize("name", WITH_STATE)
def test_state_that_does_not_fit(name):
    layer = built(name)
    before = {key: np.array(value) for key, value in layer.state_dict().items()}
    first, *others = before
    wrong = {key: before[key] + 1 for key in others}
    wrong[first] = np.zeros((*before[first].shape, 1), "float32")
    wrong["surprise"] = np.zeros(3)
    left_out = others[0] if others else None
    if left_out:
        del wrong[left_out]
    with pytest.raises(ValueError, match="the state does not fit") as error:
        layer.load_state_dict(wrong)
    for part in ("unexpected: surprise", f"misshapen: {first} has shape", left_out or ""):
        assert part in str(error.value)
    for key, values in layer.state_dict().items():
        np.testing.assert_array_equal(values, before[key])
    layer.load_state_dict({first: before[first] + 1, "surprise": np.zeros(3)}, strict=False)
    np.testing.assert_array_equal(layer.state_dict()[first], before[first] + 1)


def test_state_from_another_library(device):
    layer = built("BatchNorm2d", device)
    source = built("BatchNorm2d")
    source._test_shape = CASES["BatchNorm2d"].shape
    step(source, CPU, "float32")
    layer.load_state_dict(source.state_dict())
    assert _xp.namespace(layer.state_dict()["weight"]) is device.xp
    back = built("BatchNorm2d")
    back.load_state_dict(layer.state_dict())
    for key, values in source.state_dict().items():
        np.testing.assert_array_equal(back.state_dict()[key], values)


def test_state_loaded_before_build_goes_where_the_input_is(device):
    layer = xpcnn.Conv1d(1, 1, 3)
    layer.load_state_dict({"weight": np.array([[[3.0, 5.0, 7.0]]]), "bias": np.array([1.0])})
    x = device.asarray(np.array([[[1.0, 2.0, 3.0, 4.0]]], dtype="float32"))
    y = layer(x)
    assert _xp.dtype_name(y) == "float32"
    np.testing.assert_array_equal(_xp.to_numpy(y), [[[35, 50]]])


def test_building_twice_keeps_the_values():
    layer = built("Conv2d")
    weight = layer.weight.data
    layer.build(CASES["Conv2d"].shape, rng=np.random.default_rng(99))
    assert layer.weight.data is weight
    layer.build(CASES["Conv2d"].shape, dtype="float64")
    np.testing.assert_array_equal(layer.weight.data, weight)
    assert layer.weight.data.dtype == np.float64


def test_same_first_values_on_every_library(device):
    for name in ("Conv2d", "Linear", "BatchNorm2d"):
        ours, plain = built(name, device), built(name)
        for key, values in plain.state_dict().items():
            np.testing.assert_array_equal(_xp.to_numpy(ours.state_dict()[key]), values)


def test_there_are_at_least_500_draws():
    counted = (
        test_activations,
        test_conv,
        test_conv_transpose,
        test_linear,
        test_norm,
        test_padding,
    )
    counted += (test_pool, test_resize, test_separable, test_shape)
    assert sum(sum(module.FAMILIES.values()) for module in counted) * PER_TEST >= 500
