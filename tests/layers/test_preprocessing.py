"""Layers that prepare images in front of a network."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.layers import by_hand
from tests.layers.augmentation.drawing import not_on_jax
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


def test_normalize_takes_rows(device):
    y, dx = by_hand.run(xc.Normalize([1.0, 3.0], [0.5, 4.0]), [[1.0, 3.0], [2.0, 5.0]], device)
    np.testing.assert_array_equal(y, [[0.0, 0.0], [2.0, 0.5]])
    np.testing.assert_array_equal(dx, [[2.0, 0.5], [6.0, 1.0]])


def test_as_torchvision_normalizes():
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchvision.transforms.v2.functional")
    x = images()
    theirs = F.normalize(torch.from_numpy(x), **IMAGENET).numpy()
    np.testing.assert_allclose(xc.Normalize(**IMAGENET)(x), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("outputs", [1, 3])
def test_shades_of_gray_by_hand(channels, outputs, device):
    not_on_jax(device)
    x = images("float64", (2, channels, 3, 2))
    y, dx = by_hand.run(xc.Grayscale(outputs), x, device)
    shares = np.array([0.2989, 0.587, 0.114] if channels == 3 else [1.0])
    gray = np.einsum("ncij,c->nij", x, shares)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    for channel in range(outputs):
        np.testing.assert_allclose(y[:, channel], gray, rtol=1e-12)
    for channel in range(channels):
        np.testing.assert_allclose(dx[:, channel], dy.sum(axis=1) * shares[channel], rtol=1e-12)


@pytest.mark.parametrize("size", [(1, 2), (2, 3), (3, 3), (5, 4), (6, 5), (8, 2), (9, 9)])
def test_center_crop_by_hand(size, device):
    """In the middle; an odd row is above, by Python's rounding, or below what is padded."""
    not_on_jax(device)
    x = images("float64", (1, 2, 6, 5))
    y, dx = by_hand.run(xc.CenterCrop(size), x, device)
    expected = np.zeros((1, 2, 20, 20))
    expected[:, :, 7:13, 7:12] = x
    top, left = (
        7 + round((n - m) / 2) if m <= n else 7 - (m - n) // 2
        for n, m in zip((6, 5), size, strict=True)
    )
    np.testing.assert_array_equal(y, expected[:, :, top : top + size[0], left : left + size[1]])
    back = np.zeros((1, 2, 20, 20))
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    back[:, :, top : top + size[0], left : left + size[1]] = dy
    np.testing.assert_array_equal(dx, back[:, :, 7:13, 7:12])


def naive_resize(line, out):
    """Each new pixel is the mean of the old ones under a triangle as wide as two new pixels."""
    n = len(line)
    width = max(n / out, 1.0)
    new = []
    for i in range(out):
        center = (i + 0.5) * n / out - 0.5
        weights = [max(0.0, 1 - abs(j - center) / width) for j in range(n)]
        new.append(sum(w * v for w, v in zip(weights, line, strict=True)) / sum(weights))
    return new


@pytest.mark.parametrize("size", [(3, 2), (4, 9), (1, 1), (6, 5), (13, 3)])
def test_resize_by_a_naive_loop(size, device):
    not_on_jax(device)
    x = images("float64", (1, 1, 6, 5))
    y, dx = by_hand.run(xc.Resize(size), x, device)
    tall = np.stack([naive_resize(x[0, 0, :, j], size[0]) for j in range(5)], axis=1)
    expected = np.stack([naive_resize(tall[i], size[1]) for i in range(size[0])])
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-12)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    assert np.sum(dx * x) == pytest.approx(np.sum(dy * y), rel=1e-12)


RESIZES = [
    {"size": (4, 9)},
    {"size": (30, 11)},
    {"size": 5},
    {"size": (11, 14), "antialias": False},
    {"size": (70, 80), "antialias": False},
    {"size": (9, 31), "interpolation": "bicubic"},
    {"size": (9, 23), "interpolation": "bicubic"},
    {"size": (40, 23), "interpolation": "bicubic", "antialias": False},
    {"size": (9, 7), "interpolation": "nearest"},
    {"size": (71, 99), "interpolation": "nearest"},
    {"size": (29, 40), "interpolation": "nearest-exact"},
    {"size": 8, "max_size": 9},
    {"size": 20, "max_size": 50},
    {"size": (17, 23)},
    {"size": (17, 23), "interpolation": "bicubic"},
]


@pytest.mark.parametrize("options", RESIZES, ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 17, 23), (2, 1, 23, 17)])
def test_as_torchvision_resizes(options, shape):
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchvision.transforms.v2.functional")
    x = images(shape=shape)
    given = {"interpolation": "bilinear", **options}
    size = given["size"]
    modes = pytest.importorskip("torchvision.transforms").InterpolationMode
    given["interpolation"] = modes(given["interpolation"])
    given["size"] = [size] if isinstance(size, int) else list(size)
    theirs = F.resize(torch.from_numpy(x), **given).numpy()
    y = xc.Resize(**options)(x)
    assert y.shape == theirs.shape == xc.Resize(**options).output_shape(shape)
    np.testing.assert_allclose(y, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [4, (30, 5), (16, 24), (17, 23), (40, 41)])
def test_as_torchvision_crops_and_grays(size):
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchvision.transforms.v2.functional")
    x = images(shape=(2, 3, 17, 23))
    theirs = F.center_crop(torch.from_numpy(x), size).numpy()
    np.testing.assert_array_equal(xc.CenterCrop(size)(x), theirs)
    theirs = F.rgb_to_grayscale(torch.from_numpy(x), 3).numpy()
    np.testing.assert_allclose(xc.Grayscale(3)(x), theirs, rtol=1e-5)


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

    with pytest.raises(ValueError, match="Resize: size must be at least 1, got 0"):
        xc.Resize(0)
    with pytest.raises(TypeError, match="Resize: size must be an integer, got None"):
        xc.Resize(None)
    with pytest.raises(ValueError, match="Resize: size must be one integer or 2"):
        xc.Resize((1, 2, 3))
    with pytest.raises(ValueError, match="Resize: interpolation must be .*'linear'"):
        xc.Resize(3, "linear")
    with pytest.raises(ValueError, match="Resize: max_size is for one number as size"):
        xc.Resize((3, 4), max_size=5)
    with pytest.raises(ValueError, match="Resize: max_size must be larger than size, 3"):
        xc.Resize(3, max_size=3)
    with pytest.raises(TypeError, match="Resize: antialias must be True or False"):
        xc.Resize(3, antialias=1)
    with pytest.raises(ValueError, match="max_size=3 leaves nothing of the shorter side"):
        xc.Resize(2, max_size=3)(images(shape=(1, 1, 1, 90)))
    with pytest.raises(TypeError, match="CenterCrop: size must be an integer, got 2.5"):
        xc.CenterCrop(2.5)
    with pytest.raises(ValueError, match="Grayscale: num_output_channels must be 1 or 3, got 2"):
        xc.Grayscale(2)


def test_channels_are_those_of_the_numbers():
    by_hand.assert_refused(
        xc.Normalize(**IMAGENET), (2, 1, 4, 4), r"expected 3 channels, .* got 1 in an input of"
    )
    by_hand.assert_refused(
        xc.Grayscale(), (2, 4, 4, 4), r"expected 1 channel, or 3 channels .* got 4 in an input of"
    )


# -- In models -------------------------------------------------------------------------------------


def network():
    return [
        xc.Resize((8, 9)),
        xc.CenterCrop(7),
        xc.Rescale(1 / 255),
        xc.Grayscale(3),
        xc.Normalize(**IMAGENET),
        xc.Conv2d(3, 4, 3),
        xc.ReLU(),
    ]


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
