"""Images that are rotated, moved, scaled and sheared at random."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpcnn as xc
from tests.layers import by_hand
from tests.layers.augmentation.drawing import assert_mean, drawn, images, seeded

SPREAD = 1 / math.sqrt(12)  # deviation of what is evenly spread from 0 to 1


# -- What is drawn ---------------------------------------------------------------------------------


def test_angles():
    assert_mean(drawn(xc.RandomRotation(30), (1, 4, 4)), 0.0, 60 * SPREAD)
    angles = drawn(xc.RandomRotation((10, 50)), (1, 4, 4))
    assert_mean(angles, 30.0, 40 * SPREAD)
    assert angles.min() >= 10
    assert angles.max() <= 50


def test_everything_that_an_affine_map_has():
    layer = xc.RandomAffine((-10, 30), (0.25, 0.5), (0.5, 1.5), (1, 3, -8, -4))
    angle, x, y, scale, shear_x, shear_y = drawn(layer, (1, 40, 80))
    assert_mean(angle, 10.0, 40 * SPREAD)
    # from -20 to 20 pixels in both directions; whole ones
    for move in (x, y):
        assert_mean(move, 0.0, 40 * SPREAD)
        assert set(move) == set(range(-20, 21))
    assert_mean(scale, 1.0, SPREAD)
    assert_mean(shear_x, 2.0, 2 * SPREAD)
    assert_mean(shear_y, -6.0, 4 * SPREAD)


def test_what_is_left_out_does_nothing():
    angle, *moves, scale, shear_x, shear_y = drawn(xc.RandomAffine(0), (1, 40, 80))
    assert not np.any([angle, *moves, shear_x, shear_y])
    np.testing.assert_array_equal(scale, 1.0)
    _, _, _, _, along_x, along_y = drawn(xc.RandomAffine(0, shear=5), (1, 4, 4))
    assert_mean(along_x, 0.0, 10 * SPREAD)
    assert not along_y.any()


# -- By hand ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_quarter_turns_by_hand(quarter, interpolation, device):
    """Counter-clockwise, as numpy.rot90."""
    x = images((2, 3, 5, 5))
    layer = xc.RandomRotation((90 * quarter,) * 2, interpolation)
    y, dx = by_hand.run(layer, x, device)
    np.testing.assert_allclose(y, np.rot90(x, quarter, (2, 3)), atol=1e-12)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    np.testing.assert_allclose(dx, np.rot90(dy, -quarter, (2, 3)), atol=1e-9)


def test_moves_by_hand(device):
    x = images((16, 2, 4, 6))
    layer = xc.RandomAffine(0, (0.5, 0.5), fill=(7.0, 8.0))
    _, across, down, *_ = seeded(layer).draw(x.shape)
    y, _ = by_hand.run(seeded(layer), x, device)
    for n in range(16):
        for i in range(4):
            for j in range(6):
                old = i - int(down[n]), j - int(across[n])
                inside = 0 <= old[0] < 4 and 0 <= old[1] < 6
                expected = x[(n, slice(None), *old)] if inside else [7.0, 8.0]
                np.testing.assert_array_equal(y[n, :, i, j], expected)


def naive(x, turn, scale, fill):
    """Rotate one image clockwise and scale it, around its middle, pixel by pixel."""
    channels, height, width = x.shape
    y = np.zeros_like(x)
    middle = (height - 1) / 2, (width - 1) / 2
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    for i in range(height):
        for j in range(width):
            down, across = (i - middle[0]) / scale, (j - middle[1]) / scale
            column = cos * across + sin * down + middle[1]
            row = -sin * across + cos * down + middle[0]
            total, share = np.zeros(channels), 0.0
            for a in (math.floor(row), math.floor(row) + 1):
                for b in (math.floor(column), math.floor(column) + 1):
                    weight = (1 - abs(row - a)) * (1 - abs(column - b))
                    if 0 <= a < height and 0 <= b < width:
                        total, share = total + weight * x[:, a, b], share + weight
            y[:, i, j] = share * (total - fill) + fill
    return y


def test_mixtures_by_a_naive_loop(device):
    x = images((3, 2, 6, 5))
    layer = xc.RandomAffine(40, scale=(0.6, 1.5), interpolation="bilinear", fill=0.25)
    turns, _, _, scales, *_ = seeded(layer).draw(x.shape)
    y, dx = by_hand.run(seeded(layer), x, device)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    for n in range(3):
        given = turns[n], scales[n]
        np.testing.assert_allclose(y[n], naive(x[n], *given, 0.25), rtol=1e-9, atol=1e-12)
        # without a fill the map is linear, so that its gradient is the same sum from behind
        linear = naive(x[n], *given, 0.0)
        assert np.sum(dx[n] * x[n]) == pytest.approx(np.sum(dy[n] * linear), rel=1e-9)


def test_infinity_outside_of_the_window_does_not_spread(device):
    """A pixel that counts nothing is not multiplied by 0."""
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = np.inf
    y, _ = by_hand.run(xc.RandomAffine(0, interpolation="bilinear"), x, device)
    np.testing.assert_array_equal(y, x)


# -- As torchvision --------------------------------------------------------------------------------

MAPS = [
    {"degrees": (-180, 180)},
    {"degrees": 0, "translate": (0.3, 0.4)},
    {"degrees": 20, "translate": (0.2, 0.1), "scale": (0.5, 1.5), "shear": (-20, 20, -10, 10)},
    {"degrees": 20, "shear": 15, "center": (3, 8.5), "fill": (0.1, 0.2, 0.3)},
]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("options", MAPS, ids=str)
def test_as_torchvisions_affine(options, interpolation):
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchvision.transforms.v2.functional")
    modes = pytest.importorskip("torchvision.transforms").InterpolationMode
    x = images((10, 3, 16, 19))
    layer = xc.RandomAffine(**options, interpolation=interpolation)
    angle, right, down, scale, shear_x, shear_y = seeded(layer).draw(x.shape)
    y = seeded(layer).forward(x, training=True)
    for n in range(10):
        theirs = F.affine(
            torch.from_numpy(x[n]),
            float(angle[n]),
            [right[n], down[n]],
            float(scale[n]),
            [shear_x[n], shear_y[n]],
            modes(interpolation),
            options.get("fill", 0),
            options.get("center"),
        ).numpy()
        np.testing.assert_allclose(y[n], theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("center", [None, (2, 5.5)])
def test_as_torchvisions_rotate(center, interpolation):
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchvision.transforms.v2.functional")
    modes = pytest.importorskip("torchvision.transforms").InterpolationMode
    x = images((10, 3, 16, 19))
    layer = xc.RandomRotation(180, interpolation, center=center, fill=0.5)
    angles = seeded(layer).draw(x.shape)
    y = seeded(layer).forward(x, training=True)
    for n, angle in enumerate(angles):
        theirs = F.rotate(
            torch.from_numpy(x[n]), float(angle), modes(interpolation), center=center, fill=0.5
        ).numpy()
        np.testing.assert_allclose(y[n], theirs, rtol=1e-9, atol=1e-9)


def test_float32_is_as_good_as_it_can_be(device):
    x = images((6, 3, 40, 31), "float32")
    layer = xc.RandomAffine(180, (0.3, 0.3), (0.5, 2), 20, "bilinear")
    expected = seeded(layer).forward(x.astype("float64"), training=True)
    from xpcnn import _xp

    y = _xp.to_numpy(seeded(layer).forward(device.asarray(x), training=True))
    np.testing.assert_allclose(y, expected, atol=1e-4)


# -- Wrong use -------------------------------------------------------------------------------------

WRONG = {
    "RandomRotation: degrees must be at least 0, got -3": lambda: xc.RandomRotation(-3),
    "RandomRotation: degrees must be a number, or a pair": lambda: xc.RandomRotation((1, 2, 3)),
    "degrees must be .* the lower number first": lambda: xc.RandomRotation((3, 2)),
    "degrees must be a number, got 'x'": lambda: xc.RandomRotation("x"),
    "RandomRotation: expand must be False": lambda: xc.RandomRotation(3, expand=True),
    "RandomRotation: interpolation must be": lambda: xc.RandomRotation(3, "bicubic"),
    "RandomRotation: center must be a point": lambda: xc.RandomRotation(3, center=3),
    "RandomRotation: fill must be a number": lambda: xc.RandomRotation(3, fill=None),
    "RandomAffine: translate must be a pair": lambda: xc.RandomAffine(0, 0.1),
    "RandomAffine: translate must be from 0 to 1": lambda: xc.RandomAffine(0, (0, 3)),
    "RandomAffine: scale must be a pair": lambda: xc.RandomAffine(0, scale=2),
    "RandomAffine: scale must be positive": lambda: xc.RandomAffine(0, scale=(0, 1)),
    "RandomAffine: shear must be .* or two of them": lambda: xc.RandomAffine(0, shear=(1, 2, 3)),
    "shear must be between -90 and 90": lambda: xc.RandomAffine(0, shear=90),
}


@pytest.mark.parametrize("message", WRONG)
def test_arguments_are_checked(message):
    with pytest.raises((TypeError, ValueError), match=message):
        WRONG[message]()


def test_fill_has_a_number_for_each_channel():
    layer = xc.RandomAffine(3, fill=(1.0, 2.0))
    by_hand.assert_refused(layer, (1, 3, 4, 9), "expected 2 channels, as fill has numbers, got 3")
