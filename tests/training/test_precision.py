"""Mixed precision: float32 weights, products in half precision, and the scale of the loss."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import xpcnn
from tests.layers.cases import CASES
from xpcnn import kernels
from xpcnn._xp import dtype_name, to_numpy
from xpcnn.device import resolve
from xpcnn.kernels.dispatch import OPS
from xpcnn.layers.parameter import Parameter
from xpcnn.training import loop
from xpcnn.training.scaling import LossScale

HALVES = [("cpu", "float16"), ("torch:cpu", "float16"), ("torch:cpu", "bfloat16")]
DIGITS = {"float16": 11, "bfloat16": 8}
"""Significant bits."""


@pytest.fixture(params=HALVES, ids=" ".join)
def half(request):
    """A device that has a half precision, and its name."""
    device, precision = request.param
    try:
        resolve(device)
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    return device, precision


def network(device, precision, seed=3, **optimizer):
    layers = [
        xpcnn.Conv2d(1, 6, 3, padding=1),
        xpcnn.BatchNorm2d(6),
        xpcnn.ReLU(),
        xpcnn.MaxPool2d(2),
        xpcnn.Residual(xpcnn.Sequential(xpcnn.Conv2d(6, 6, 3, padding=1), xpcnn.BatchNorm2d(6))),
        xpcnn.ReLU(),
        xpcnn.Conv2d(6, 8, 2),
        xpcnn.ReLU(),
        xpcnn.MaxPool2d(2),
        xpcnn.Tanh(),
        xpcnn.Flatten(),
        xpcnn.Dropout(0.1),
        xpcnn.Linear(out_features=16),
        xpcnn.ReLU(),
        xpcnn.Linear(16, 4),
    ]
    model = xpcnn.Model(layers, device=device, seed=seed, precision=precision)
    model.compile(xpcnn.optim.Adam(**{"lr": 0.01, **optimizer}), "cross_entropy", ["accuracy"])
    return model


def data(n=96):
    """Images with a bright quarter each, which is the class."""
    rng = np.random.default_rng(8)
    x, y = rng.random((n, 1, 10, 10), dtype=np.float32), rng.integers(0, 4, n)
    for image, label in zip(x, y, strict=True):
        image[0, 5 * (label // 2) :, 5 * (label % 2) :][:5, :5] += 0.5
    return x, y


def bits(model):
    return {name: to_numpy(a).tobytes() for name, a in model.state_dict().items()}


def close(found, expected, precision, factor=8.0):
    """Compare in the Euclidean norm, in roundings of the precision."""
    a, b = (to_numpy(v).astype(np.float64) for v in (found, expected))
    assert np.linalg.norm(a - b) <= factor * 2.0 ** -DIGITS[precision] * np.linalg.norm(b)


# -- It learns what float32 learns ----------------------------------------------------------------


def test_training_ends_where_float32_does(half):
    device, precision = half
    x, y = data()
    logs = []
    for chosen in ("float32", precision):
        model = network(device, chosen)
        model.fit(x, y, epochs=5, batch_size=16, verbose=0)
        logs.append(model.evaluate(x, y))
    expected, found = logs
    assert expected["accuracy"] > 0.9
    assert abs(found["accuracy"] - expected["accuracy"]) <= 2 / len(x)
    assert found["loss"] == pytest.approx(expected["loss"], abs=0.03)
    # and it did compute in half precision
    assert found["loss"] != expected["loss"]


def test_what_stays_in_float32(half):
    device, precision = half
    x, y = data(16)
    model = network(device, precision)
    seen = []
    for layer in model.layers:
        layer.forward = watched(layer.forward, seen)
    model.fit(x, y, epochs=1, batch_size=8, verbose=0)
    assert set(seen) == {precision}
    for name, array in model.state_dict().items():
        assert dtype_name(array) == ("int64" if "num_batches" in name else "float32")
    for name, array in model.optimizer.state_dict().items():
        assert dtype_name(array) in ("float32", "int64"), name
    assert {dtype_name(p.grad) for p in model.parameters().values()} == {"float32"}
    assert model.predict(x).dtype == np.float32
    assert dtype_name(model(x)) == "float32"
    array = model.device.asarray(x)
    y = model.forward(array, training=True)
    assert dtype_name(y) == "float32"
    assert dtype_name(model.backward(y, need_dx=True)) == "float32"
    assert model.dtype == "float32"


def watched(forward, seen):
    def run(x, *, training=False):
        seen.append(dtype_name(x))
        return forward(x, training=training)

    return run


def test_small_updates_are_not_lost():
    """Next to 1, float16 has steps of 1/1024: an update of 1e-4 is nothing to it."""
    x, y = np.full((1, 1), 0.125, np.float32), np.zeros((1, 1), np.float32)
    ends = {}
    for kind in ({"precision": "float16"}, {"dtype": "float16"}):
        model = xpcnn.Model([xpcnn.Linear(1, 1, bias=False)], device="cpu", seed=0, **kind)
        model.compile(xpcnn.optim.SGD(lr=32e-4), "mse")
        model.load_state_dict({"0.weight": np.ones((1, 1))})
        model.build((None, 1))
        for _ in range(100):
            model.train_on_batch(x.astype(model.dtype), y)
        ends[model.dtype] = float(model.state_dict()["0.weight"][0, 0])
    # dL/dw = w / 32, with w rounded to float16: it shrinks by 1e-4 of itself in each step
    assert ends["float32"] == pytest.approx((1 - 1e-4) ** 100, abs=1e-5)
    assert ends["float16"] == 1.0


# -- One step against others ----------------------------------------------------------------------


def test_a_step_by_hand():
    """Every rounding to float16 written out, for two linear layers with ReLU between them."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 7)).astype("f4"), rng.standard_normal((5, 2)).astype("f4")
    w1, w2 = 0.3 * rng.standard_normal((3, 7)), 0.3 * rng.standard_normal((2, 3))
    w1, w2 = w1.astype("f4"), w2.astype("f4")
    b1, b2 = rng.standard_normal(3).astype("f4"), rng.standard_normal(2).astype("f4")
    model = xpcnn.Model(
        [xpcnn.Linear(7, 3), xpcnn.ReLU(), xpcnn.Linear(3, 2)], device="cpu", precision="float16"
    )
    model.compile(xpcnn.optim.SGD(lr=0.5), "mse")
    before = {"0.weight": w1, "0.bias": b1, "2.weight": w2, "2.bias": b2}
    model.load_state_dict(before)
    model.scaling.scale = 1024.0

    def h(a):
        return np.asarray(a, np.float64).astype(np.float16).astype(np.float64)

    hidden = h(h(h(x) @ h(w1).T) + h(b1))
    active = np.maximum(hidden, 0)
    out = h(h(active @ h(w2).T) + h(b2))
    loss = np.mean((out - y) ** 2)
    scaled = h(2 * (out - y) / y.size * 1024.0)
    gradients = {"2.weight": h(scaled.T @ active), "2.bias": h(scaled.sum(axis=0))}
    back = h(scaled @ h(w2)) * (hidden > 0)
    gradients |= {"0.weight": h(back.T @ h(x)), "0.bias": h(back.sum(axis=0))}

    found = model.train_on_batch(x, y)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    for name, parameter in model.parameters().items():
        gradient = gradients[name] / 1024.0
        np.testing.assert_allclose(parameter.grad, gradient, rtol=2e-3, err_msg=name)
        expected = before[name] - 0.5 * parameter.grad
        np.testing.assert_allclose(model.state_dict()[name], expected, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_step_is_that_of_autocast(precision):
    torch = pytest.importorskip("torch")
    x, y = data(24)
    layers = [
        xpcnn.Conv2d(1, 6, 3, padding=1), xpcnn.BatchNorm2d(6), xpcnn.ReLU(), xpcnn.MaxPool2d(2),
        xpcnn.Conv2d(6, 4, 3, stride=2), xpcnn.ReLU(), xpcnn.Flatten(), xpcnn.Linear(16, 4),
    ]  # fmt: skip
    model = xpcnn.Model(layers, device="torch:cpu", seed=1, precision=precision)
    model.compile(xpcnn.optim.SGD(lr=0.1), "cross_entropy")
    model.build((None, 1, 10, 10))
    nn = torch.nn
    theirs = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip
    theirs.load_state_dict({n: torch.tensor(to_numpy(a)) for n, a in model.state_dict().items()})
    scale = 65536.0 if precision == "float16" else 1.0
    with torch.autocast("cpu", dtype=getattr(torch, precision)):
        loss = nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
    (loss * scale).backward()
    loss = loss.detach()

    found = model.train_on_batch(x, y)
    assert found["loss"] == pytest.approx(float(loss), rel=2.0 ** -DIGITS[precision])
    for name, parameter in theirs.named_parameters():
        ours = model.parameters()[name]
        close(ours.grad, parameter.grad / scale, precision, factor=2)
        close(ours.value, parameter.detach() - 0.1 * parameter.grad / scale, precision, 0.1)
    for name, buffer in theirs.named_buffers():
        np.testing.assert_allclose(to_numpy(model.state_dict()[name]), buffer, rtol=1e-3, atol=1e-5)


# -- The scale of the loss ------------------------------------------------------------------------


@pytest.fixture(params=["cpu", "torch:cpu"])
def scaled(request):
    """A model that scales its loss, with data."""
    try:
        resolve(request.param)
    except xpcnn.DeviceError as error:
        pytest.skip(str(error))
    model = network(request.param, "float16", clip_norm=5.0)
    model.build((None, 1, 10, 10))
    return model, *data(32)


def test_a_step_that_overflows_is_left_out(scaled):
    model, x, y = scaled
    model.train_on_batch(x, y)
    before, slots = bits(model), copy.deepcopy(model.optimizer.state_dict())
    model.scaling.scale = 2.0**40
    model.scaling.good_steps = 7
    logs = model.train_on_batch(x, y)
    assert np.isfinite(logs["loss"])
    after = bits(model)
    for name in model.parameters():
        assert after[name] == before[name], name
    for name, array in model.optimizer.state_dict().items():
        np.testing.assert_array_equal(to_numpy(array), to_numpy(slots[name]))
    assert (model.optimizer.iterations, model.step) == (1, 2)
    assert model.scaling.state_dict() == {"scale": 2.0**39, "good_steps": 0}


def test_the_scale_is_found(scaled):
    model, x, y = scaled
    model.scaling.scale = 2.0**40
    history = model.fit(x, y, epochs=20, batch_size=16, verbose=0)
    assert model.scaling.scale < 2.0**39
    skipped = model.step - model.optimizer.iterations
    assert model.scaling.scale == 2.0 ** (40 - skipped)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert all(np.isfinite(to_numpy(a)).all() for a in model.state_dict().values())


def test_the_scale_grows_after_good_steps():
    scaling, gradient = LossScale(8.0, interval=3), np.ones(4, np.float32)
    parameter = Parameter((4,), lambda shape, rng: np.zeros(shape))
    for expected in ((8.0, 1), (8.0, 2), (16.0, 0), (16.0, 1)):
        parameter.grad = gradient * scaling.scale
        assert scaling.unscale({"p": parameter})
        np.testing.assert_array_equal(parameter.grad, gradient)
        assert (scaling.scale, scaling.good_steps) == expected
    parameter.grad = np.asarray([1, np.inf, 1, 1], np.float32)
    assert not scaling.unscale({"p": parameter})
    assert (scaling.scale, scaling.good_steps) == (8.0, 0)
    parameter.requires_grad = False  # frozen: nobody uses its gradient
    assert scaling.unscale({"p": parameter})
    scaling.scale, scaling.good_steps = scaling.LARGEST, 2
    assert scaling.unscale({})
    assert scaling.scale == scaling.LARGEST


def test_the_norm_is_clipped_without_the_scale(scaled):
    model, x, y = scaled
    largest = []
    for scale, limit in ((65536.0, None), (65536.0, 1000.0), (1024.0, 1000.0)):
        other = copy.deepcopy(model)
        other.optimizer = xpcnn.optim.SGD(lr=1.0, clip_norm=limit)
        other.scaling.scale = scale
        before = to_numpy(other.state_dict()["12.weight"]).copy()
        other.train_on_batch(x, y)
        largest.append(to_numpy(other.state_dict()["12.weight"]) - before)
    np.testing.assert_array_equal(largest[0], largest[1])
    close(largest[2], largest[1], "float16")


@pytest.mark.parametrize("on_host", [True, False])
def test_a_loss_that_is_nan_stops_training(scaled, monkeypatch, on_host):
    model, x, y = scaled
    model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    before, scale = bits(model), model.scaling.state_dict()
    monkeypatch.setattr(loop._xp, "on_host", lambda _: on_host)
    x = x.copy()
    x[20] = 3e38  # infinite in float16
    with np.errstate(all="ignore"), pytest.raises(xpcnn.NonFiniteError) as caught:
        model.fit(x, y, epochs=1, batch_size=32, shuffle=False, verbose=0)
    assert "the loss became NaN or infinite in epoch 2, batch 1" in str(caught.value)
    assert "Conv2d '0'" in str(caught.value)
    assert bits(model) == before
    assert model.scaling.state_dict() == scale


class Broken(xpcnn.ReLU):
    """Its output is finite and its gradient never."""

    def _backward(self, xp, dy, saved, need_dx):
        return dy * float("nan")


def test_gradients_that_no_scale_helps_stop_training():
    x, y = data(16)
    model = xpcnn.Model(
        [xpcnn.Flatten(), xpcnn.Linear(100, 4), Broken()], device="cpu", precision="float16"
    )
    model.compile("sgd", "cross_entropy")
    with pytest.raises(xpcnn.NonFiniteError, match="the gradients became NaN.* no loss scale"):
        model.fit(x, y, epochs=100, batch_size=16, verbose=0)
    assert np.isfinite(model.state_dict()["1.weight"]).all()


def test_only_float16_scales_its_loss():
    assert network("cpu", "float16").scaling.scale == 65536.0
    assert network("cpu", "float32").scaling is None
    assert network("cpu", "tf32").scaling is None


# -- Files, copies, moves -------------------------------------------------------------------------


def test_resuming_is_exact(half, tmp_path):
    device, precision = half
    x, y = data(48)
    whole, first = network(device, precision), network(device, precision)
    for model in (whole, first):
        if model.scaling is not None:
            model.scaling.good_steps = 1996  # so that the scale changes on the way
    whole.fit(x, y, epochs=2, batch_size=16, verbose=0)
    first.fit(x, y, epochs=1, batch_size=16, verbose=0)
    first.save(tmp_path / "model")
    second = xpcnn.Model.load(tmp_path / "model", device=device)
    assert second.precision == precision
    second.fit(x, y, epochs=1, batch_size=16, verbose=0)
    assert bits(second) == bits(whole)
    assert second.evaluate(x, y) == whole.evaluate(x, y)
    if precision == "float16":
        assert second.scaling.state_dict() == whole.scaling.state_dict()
        assert whole.scaling.scale == 131072.0


def test_copies_go_on_alike(half):
    device, precision = half
    x, y = data(32)
    model = network(device, precision)
    model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for other in (model, *twins):
        other.fit(x, y, epochs=1, batch_size=16, verbose=0)
    assert bits(twins[0]) == bits(twins[1]) == bits(model)
    np.testing.assert_array_equal(twins[0].predict(x), model.predict(x))


def test_a_file_without_a_precision_is_of_float32(tmp_path, monkeypatch):
    model = network("cpu", "float32")
    model.build((None, 1, 10, 10))
    from xpcnn.training import saving

    tensors, description = saving.describe(model)
    for name in ("precision", "loss_scale"):
        del description[name]
    saving.write_file(tmp_path / "old", tensors, description)
    assert xpcnn.Model.load(tmp_path / "old", device="cpu").precision == "float32"


@pytest.mark.parametrize("wrong", [{"scale": -1.0, "good_steps": 0}, {"scale": 1.0}, [1], "x"])
def test_a_file_with_a_wrong_scale_is_refused(tmp_path, wrong):
    from xpcnn.training import saving

    model = network("cpu", "float16")
    model.build((None, 1, 10, 10))
    tensors, description = saving.describe(model)
    saving.write_file(tmp_path / "bad", tensors, description | {"loss_scale": wrong})
    with pytest.raises(xpcnn.ModelFileError):
        xpcnn.Model.load(tmp_path / "bad", device="cpu")


def test_moving_keeps_the_precision():
    pytest.importorskip("torch")
    x, y = data(32)
    model = network("cpu", "float16")
    model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    expected = model.predict(x)
    scale = model.scaling.state_dict()
    model.to("torch:cpu")
    assert (model.precision, model.scaling.state_dict()) == ("float16", scale)
    close(model.predict(x), expected, "float16")
    model.fit(x, y, epochs=1, batch_size=16, verbose=0)


@pytest.mark.parametrize("kernel_set", ["generic", None])
def test_the_precision_can_be_changed(kernel_set):
    with kernels.force(kernel_set):
        x, y = data(32)
        model = network("cpu", "float32")
        model.fit(x, y, epochs=1, batch_size=16, verbose=0)
        expected = model.predict(x[:4])
        for _ in range(3):  # so that weights are kept in the form in which they serve best
            np.testing.assert_array_equal(model.predict(x[:4]), expected)
        assert model.to(precision="float16") is model
        found = model.predict(x[:4])
        assert found.dtype == np.float32
        assert not np.array_equal(found, expected)
        close(found, expected, "float16")
        model.to(precision="float32")
        np.testing.assert_array_equal(model.predict(x[:4]), expected)
        assert model.scaling is None


def test_layers_of_other_models_are_as_before():
    layer = xpcnn.Linear(3, 2)
    xpcnn.Model([layer], device="cpu", precision="float16").build((None, 3))
    xpcnn.Model([layer], device="cpu").build((None, 3))
    assert layer(np.ones((1, 3), np.float32)).dtype == np.float32


# -- What is asked for and cannot be --------------------------------------------------------------


def test_numpy_has_no_bfloat16(tmp_path):
    with pytest.raises(xpcnn.DeviceError) as caught:
        network("cpu", "bfloat16")
    text = "Model: device 'cpu': numpy has no dtype 'bfloat16'; or use precision='float32' or 'flo"
    assert text in str(caught.value)
    pytest.importorskip("torch")
    model = network("torch:cpu", "bfloat16")
    x, _ = data(4)
    expected = model.predict(x)
    model.save(tmp_path / "model")
    with pytest.raises(xpcnn.DeviceError, match="or use precision='float32'"):
        xpcnn.Model.load(tmp_path / "model", device="cpu")
    with pytest.raises(xpcnn.DeviceError, match=r"Model\.to: .*numpy has no dtype 'bfloat16'"):
        model.to("cpu")
    np.testing.assert_array_equal(model.predict(x), expected)
    loaded = xpcnn.Model.load(tmp_path / "model", device="cpu", precision="float32")
    close(loaded.predict(x), expected, "bfloat16")


def test_other_errors():
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'tf32', .*'half'"):
        network("cpu", "half")
    with pytest.raises(ValueError, match="dtype='float64' asks for others; leave dtype out"):
        xpcnn.Model([], device="cpu", dtype="float64", precision="tf32")
    model = network("cpu", "float16")
    with pytest.raises(ValueError, match=r"Model\.to: precision='float16'"):
        model.to(dtype="float64")
    assert model.dtype == "float32"
    with pytest.raises(TypeError, match="expected dtype float32, got float16"):
        model.predict(np.zeros((1, 1, 10, 10), np.float16))
    model.build((None, 1, 10, 10))
    with pytest.raises(TypeError, match="expected dtype float16, got float32"):
        model.layers[0](np.zeros((1, 1, 10, 10), np.float32))


def test_array_api_strict_has_no_half_precision():
    pytest.importorskip("array_api_strict")
    with pytest.raises(xpcnn.DeviceError, match="array_api_strict has no dtype 'float16'"):
        network("strict", "float16")
    network("strict", "tf32").train_on_batch(*data(8))


def test_the_summary_says_it(capsys):
    for precision, said in (("float16", ", computed in float16"), ("float32", "")):
        text = network("cpu", precision).summary((None, 1, 10, 10))
        assert text.splitlines()[0] == f"input (1, 1, 10, 10), float32{said}"


# -- Layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_every_layer_takes_half_precision(name, training):
    """Whether a layer knows of mixed precision or not, what it gives is that of float32."""
    device = pytest.importorskip("torch") and resolve("torch:cpu")
    case, rng = CASES[name], np.random.default_rng(5)
    layer = case.make()
    layer.build(case.shape, device=device, rng=rng)
    x = device.asarray(rng.standard_normal(case.shape), "bfloat16")
    results = []
    for half in (None, "bfloat16"):
        layer.compute_in(half)
        for inner in (inner for _, inner in layer.layers_within() if hasattr(inner, "step")):
            inner.step = 0
        layer.zero_grad()
        given = x if half else device.asarray(x, "float32")
        y = layer.forward(given, training=training)
        values = {"y": y}
        if training:
            dy = device.asarray(np.random.default_rng(6).standard_normal(y.shape), "bfloat16")
            values["dx"] = layer.backward(dy if half else device.asarray(dy, "float32"))
        assert {dtype_name(a) for a in values.values()} == {half or "float32"}
        gradients = {n: p.grad for n, p in layer.parameters().items() if p.grad is not None}
        assert {dtype_name(a) for a in gradients.values()} <= {"float32"}
        results.append(values | gradients)
    expected, found = results
    assert set(found) == set(expected)
    for key in expected:
        a, b = (to_numpy(v).astype(np.float64) for v in (found[key], expected[key]))
        assert np.linalg.norm(a - b) <= 0.02 * np.linalg.norm(b) + 0.02, key


@pytest.mark.parametrize("affine", [True, False])
def test_statistics_are_those_of_float32(half, affine):
    device, precision = half
    device, rng = resolve(device), np.random.default_rng(2)
    layer = xpcnn.BatchNorm1d(3, momentum=None, affine=affine)
    layer.build((200, 3), device=device, rng=rng)
    layer.compute_in(precision)
    x = device.asarray(3.0 + rng.standard_normal((200, 3)), precision)
    layer.forward(x, training=True)
    exact = to_numpy(x).astype(np.float64)
    mean, variance = (to_numpy(b.value) for b in (layer.running_mean, layer.running_var))
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axis=0, ddof=1), rtol=1e-6)


class Scale(xpcnn.layers.Layer):
    """A layer of a user who has never heard of mixed precision."""

    def __init__(self, n):
        self.n = n
        self.factor = Parameter((n,), lambda shape, rng: np.full(shape, 1.0 / 3.0))
        self.inner = xpcnn.Linear(n, n)

    def build(self, input_shape, **options):
        self.inner.build(input_shape, **options)
        return super().build(input_shape, **options)

    def _forward(self, xp, x, training):
        self.seen = x.dtype
        return self.inner.forward(x * self.factor.value, training=training), x

    def _backward(self, xp, dy, x, need_dx):
        dy = self.inner.backward(dy)
        self.factor.accumulate(xp.sum(dy * x, axis=0))
        return dy * self.factor.value


def test_layers_that_do_not_know_compute_in_float32():
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float16)
    layer = Scale(3)
    layer.build(x.shape)
    layer.compute_in("float16")
    y = layer.forward(x, training=True)
    assert (y.dtype, layer.seen) == (np.float16, np.float32)
    exact = (x / np.float32(3.0)) @ layer.inner.weight.value.T + layer.inner.bias.value
    np.testing.assert_array_equal(y, exact.astype(np.float16))
    dx = layer.backward(y)
    assert dx.dtype == np.float16
    back = y.astype(np.float32) @ layer.inner.weight.value
    np.testing.assert_allclose(dx, back / 3, rtol=1e-3)
    np.testing.assert_allclose(layer.factor.grad, (back * x).sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("device", ["cpu", "torch:cpu"])
def test_the_operand_follows_the_values(device):
    device = pytest.importorskip("torch") and resolve(device)
    parameter = Parameter((2,), lambda shape, rng: np.ones(shape))
    parameter.allocate(device, "float32", np.random.default_rng(0))
    assert parameter.operand is parameter.value
    parameter.compute_in("float16")
    first = parameter.operand
    assert dtype_name(first) == "float16"
    assert parameter.operand is first  # nobody can have changed the values
    parameter.renew(device.asarray([2.0, 3.0], "float32"))
    np.testing.assert_array_equal(to_numpy(parameter.operand), [2, 3])
    mine = parameter.data
    np.testing.assert_array_equal(to_numpy(parameter.operand), [2, 3])
    mine[0] = 5.0
    np.testing.assert_array_equal(to_numpy(parameter.operand), [5, 3])
    parameter.load(np.asarray([7.0, 8.0]))
    kept = parameter.operand
    np.testing.assert_array_equal(to_numpy(kept), [7, 8])
    assert parameter.operand is kept
    parameter.data = mine
    mine[1] = 6.0
    np.testing.assert_array_equal(to_numpy(parameter.operand), [5, 6])
    parameter.accumulate(kept)
    assert dtype_name(parameter.grad) == "float32"
    parameter.compute_in(None)
    assert parameter.operand is parameter.value


def test_sums_in_half_precision_do_not_stick():
    """In float16 itself, 2048 + 1 is 2048."""
    n, xp = 6000, np
    ones = np.ones((n, 2), np.float16)
    _, saved = OPS["linear"].forward(xp, ones, ones[:2], ones[0])
    _, _, db = OPS["linear"].backward(xp, ones, saved, False)
    np.testing.assert_array_equal(db, np.full(2, n, np.float16))
    x = (np.arange(n) % 2 * 2.0 + 4.0).astype(np.float16).reshape(n, 1)
    (y, mean, variance), saved = OPS["batch_norm"].forward(xp, x, None, None, 0.0, None)
    assert (float(mean[0]), float(variance[0])) == (5.0, 1.0)
    np.testing.assert_array_equal(y[:, 0], x[:, 0] - 5)
    assert (y.dtype, mean.dtype) == (np.float16, np.float32)
    y, _ = OPS["softmax"].forward(xp, ones.T, 1)
    np.testing.assert_array_equal(y, np.full((2, n), 1 / n, np.float16))
