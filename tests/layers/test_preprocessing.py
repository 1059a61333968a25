"""Layers that prepare images in front of a network."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.layers import by_hand
from xpcnn import _xp
from xpcnn.layers.preprocessing import takes_bytes

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def images(dtype="float32", shape=(2, 3, 6, 5)):
    return np.random.default_rng(0).random(shape).astype(dtype)


# -- Numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 5), (2, 3, 4, 5)])
def test_rescale_by_hand(device, shape):
    x = np.arange(float(np.prod(shape))).reshape(shape)
    y, dx = by_hand.run(xc.Rescale(0.5, -2.0), x, device)
    np.testing.assert_array_equal(y, x / 2 - 2)
    np.testing.assert_array_equal(dx, (x + 1) / 2)


def test_bytes_come_to_0_to_1_exactly(device):
    x = np.arange(256, dtype="float32").reshape(1, 1, 16, 16)
    y = _xp.to_numpy(xc.Rescale(1 / 255)(device.asarray(x)))
    np.testing.assert_allclose(y, x / 255, rtol=1e-7)
    assert y.max() == 1.0


def test_normalize_by_hand(device):
    x = [[[[1.0, 2.0]], [[3.0, 5.0]]]]
    y, dx = by_hand.run(xc.Normalize([1.0, 3.0], [0.5, 4.0]), x, device)
    np.testing.assert_array_equal(y, [[[[0.0, 2.0]], [[0.0, 0.5]]]])
    np.testing.assert_array_equal(dx, [[[[2.0, 4.0]], [[0.75, 1.0]]]])
    y, _ = by_hand.run(xc.Normalize(1.0, 0.5), x, device)
    np.testing.assert_array_equal(y, [[[[0.0, 2.0]], [[4.0, 8.0]]]])


def test_as_torchvision_normalizes():
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchvision.transforms.v2.functional")
    x = images()
    theirs = F.normalize(torch.from_numpy(x), **IMAGENET).numpy()
    np.testing.assert_allclose(xc.Normalize(**IMAGENET)(x), theirs, rtol=1e-5, atol=1e-6)


# -- Wrong use -------------------------------------------------------------------------------------


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"Rescale: scale must not be 0.*Rescale\(1 / 255\)"):
        xc.Rescale(0)
    with pytest.raises(TypeError, match="Rescale: offset must be a number, got 'x'"):
        xc.Rescale(1, "x")
    with pytest.raises(ValueError, match="Normalize: std must be positive, got 0"):
        xc.Normalize(0.5, 0)
    with pytest.raises(ValueError, match="Normalize: mean and std must have as many numbers"):
        xc.Normalize([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="Normalize: mean must be a number, or one for each"):
        xc.Normalize([], 1)
    with pytest.raises(TypeError, match="Normalize: std must be a number, got 'a'"):
        xc.Normalize(1, "ab"[:1])
    layer = xc.Normalize(0.5, 0.25)
    with pytest.raises(ValueError, match="std must be positive"):
        layer.std = -1
    assert layer.std == (0.25,)


def test_channels_are_those_of_the_numbers():
    by_hand.assert_refused(
        xc.Normalize(**IMAGENET), (2, 1, 4, 4), r"expected 3 channels, .* got 1 in an input of"
    )


# -- In models -------------------------------------------------------------------------------------


def network():
    return [xc.Rescale(1 / 255), xc.Normalize(**IMAGENET), xc.Conv2d(3, 4, 3), xc.ReLU()]


def test_a_model_file_has_it(tmp_path):
    model = xc.Model(network(), device="cpu", seed=0)
    x = 255 * images()
    expected = model.predict(x)
    model.save(tmp_path / "model.safetensors")
    again = xc.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert repr(again.layers) == repr(model.layers)
    np.testing.assert_array_equal(again.predict(x), expected)


def test_it_goes_to_torch():
    torch = pytest.importorskip("torch")
    model = xc.Model(network(), device="cpu", seed=0)
    x = 255 * images()
    expected = model.predict(x)
    with torch.no_grad():
        found = xc.interop.to_torch(model)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# -- Bytes -----------------------------------------------------------------------------------------


def scale():
    return xc.Rescale(1 / 255)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], False),
        ([xc.Conv2d(3, 4, 3)], False),
        ([xc.Conv2d(3, 3, 1), scale()], False),
        ([scale()], True),
        ([xc.Sequential(xc.Sequential(scale())), xc.Flatten()], True),
        ([xc.Sequential(), scale()], True),
        ([xc.Normalize(128, 64), xc.Flatten()], True),
        ([xc.Flatten(), scale()], False),
    ],
)
def test_chains_that_take_bytes(layers, expected):
    assert takes_bytes(xc.Sequential(*layers)) == (expected,)


def test_graphs_that_take_bytes():
    def graph(*nodes, outputs="y", inputs=("x",)):
        return xc.Graph(list(inputs), nodes, outputs)

    assert takes_bytes(graph(("y", scale(), "x"))) == (True,)
    assert takes_bytes(graph(("y", xc.ReLU(), "x"))) == (False,)
    # two readers, of which one does not scale
    both = ("y", xc.operations.Add(), ["a", "b"])
    assert takes_bytes(graph(("a", scale(), "x"), ("b", scale(), "x"), both)) == (True,)
    assert takes_bytes(graph(("a", scale(), "x"), ("b", xc.ReLU(), "x"), both)) == (False,)
    assert takes_bytes(graph(("a", scale(), "x"), both[:2] + (["a", "x"],))) == (False,)
    # an input that is given as it is, and one of two
    assert takes_bytes(graph(("y", scale(), "x"), outputs=["y", "x"])) == (False,)
    two = graph(("a", scale(), "x1"), ("y", xc.operations.Add(), ["a", "x2"]), inputs=["x1", "x2"])
    assert takes_bytes(two) == (True, False)
    # graphs in chains, and chains in graphs
    assert takes_bytes(xc.Sequential(two, xc.ReLU())) == (True, False)
    inner = graph(("y", xc.Sequential(scale(), xc.ReLU()), "x"))
    assert takes_bytes(xc.Sequential(xc.Sequential(inner), xc.ReLU())) == (True,)
