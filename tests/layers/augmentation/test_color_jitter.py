"""Images whose colours change at random."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest

import xpcnn as xc
from tests.layers import by_hand
from tests.layers.augmentation.drawing import MANY, assert_even, assert_mean, drawn, images, seeded
from xpcnn import _xp

SPREAD = 1 / math.sqrt(12)
ALL = {"brightness": 0.4, "contrast": (0.5, 2), "saturation": (0, 3), "hue": 0.3}


def changed(layer, x, device, dtype="float64"):
    y = seeded(layer).forward(device.asarray(x.astype(dtype)), training=True)
    assert _xp.dtype_name(y) == dtype
    return _xp.to_numpy(y)


# -- What is drawn ---------------------------------------------------------------------------------


def test_factors():
    _, found = drawn(xc.ColorJitter(**ALL), (3, 2, 2))
    limits = [(0.6, 1.4), (0.5, 2), (0, 3), (-0.3, 0.3)]
    for factors, (low, high) in zip(found, limits, strict=True):
        assert_mean(factors, (low + high) / 2, (high - low) * SPREAD)
        assert low <= factors.min() < factors.max() <= high


def test_factors_do_not_fall_below_0():
    _, found = drawn(xc.ColorJitter(brightness=3), (3, 2, 2))
    assert_mean(found[0], 2.0, 4 * SPREAD)


def test_every_order_is_as_likely():
    order, _ = drawn(xc.ColorJitter(**ALL), (3, 2, 2))
    assert (np.sort(order, axis=1) == np.arange(4)).all()
    _, numbers = np.unique(order @ [64, 16, 4, 1], return_inverse=True)
    assert_even(numbers, 24)
    assert len(order) == MANY


# -- By hand ---------------------------------------------------------------------------------------

SHARES = np.array([0.2989, 0.587, 0.114])


def naive(pixel, mean, kind, factor):
    """Change one pixel, whose image has that mean brightness."""
    gray = SHARES @ pixel
    if kind == "hue":
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((h + factor) % 1.0, s, v)
    other = {"brightness": 0.0, "contrast": mean, "saturation": gray}[kind]
    return np.clip(factor * pixel + (1 - factor) * other, 0.0, 1.0)


@pytest.mark.parametrize("kind", ALL)
def test_one_change_pixel_by_pixel(kind, device):
    x = images((4, 3, 3, 2))
    x[0, :, 0] = 0.25  # gray, white and black
    x[1, :, 0, 0], x[1, :, 0, 1] = 1.0, 0.0
    layer = xc.ColorJitter(**{kind: ALL[kind]})
    _, factors = seeded(layer).draw(x.shape)
    factors = factors[list(ALL).index(kind)]
    y = changed(layer, x, device)
    for n in range(4):
        mean = np.einsum("cij,c->ij", x[n], SHARES).mean()
        for i in range(3):
            for j in range(2):
                expected = naive(x[n, :, i, j], mean, kind, factors[n])
                np.testing.assert_allclose(y[n, :, i, j], expected, rtol=1e-9, atol=1e-12)


def test_each_image_has_an_order_of_its_own(device):
    x = images((12, 3, 3, 2))
    layer = xc.ColorJitter(**ALL)
    order, factors = seeded(layer).draw(x.shape)
    assert len({tuple(row) for row in order.tolist()}) > 6
    y = changed(layer, x, device)
    for n in range(12):
        expected = x[n]
        for kind in order[n]:
            mean = np.einsum("cij,c->ij", expected, SHARES).mean()
            pixels = expected.reshape(3, -1).T
            pixels = [naive(p, mean, list(ALL)[kind], factors[kind, n]) for p in pixels]
            expected = np.array(pixels).T.reshape(3, 3, 2)
        np.testing.assert_allclose(y[n], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_dtypes(dtype, device):
    if device.name.startswith("strict") and dtype == "float16":
        pytest.skip("array-api-strict has no float16")
    x = images((5, 3, 4, 4))
    expected = changed(xc.ColorJitter(**ALL), x, xc.Device.of(x))
    found = changed(xc.ColorJitter(**ALL), x, device, dtype)
    # near a corner of the colours, a rounded hue may be off by more
    np.testing.assert_allclose(found, expected, atol=1e-5 if dtype == "float32" else 2e-2)


def test_shades_of_gray_have_no_saturation_and_no_hue(device):
    x = images((4, 1, 3, 2))
    y = changed(xc.ColorJitter(saturation=(0, 2), hue=0.5), x, device)
    np.testing.assert_allclose(y, x, rtol=1e-12)
    _, factors = seeded(xc.ColorJitter(brightness=(0.5, 0.9))).draw(x.shape)
    y = changed(xc.ColorJitter(brightness=(0.5, 0.9)), x, device)
    np.testing.assert_allclose(y, x * factors[0].reshape(-1, 1, 1, 1), rtol=1e-12)


def test_images_of_bytes():
    x = images()
    y = seeded(xc.ColorJitter(**ALL)).forward(x, training=True)
    found = seeded(xc.ColorJitter(**ALL, max_value=255)).forward(255 * x, training=True)
    np.testing.assert_allclose(found, 255 * y, rtol=1e-9, atol=1e-9)


def test_without_training_nothing_happens():
    x = images()
    np.testing.assert_array_equal(xc.ColorJitter(**ALL)(x), x)


def test_as_torchvision():
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchvision.transforms.v2.functional")
    functions = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    x = images((30, 3, 8, 9), "float32")
    order, factors = seeded(xc.ColorJitter(**ALL)).draw(x.shape)
    y = seeded(xc.ColorJitter(**ALL)).forward(x, training=True)
    for n in range(30):
        theirs = torch.from_numpy(x[n])
        for kind in order[n]:
            theirs = functions[kind](theirs, float(factors[kind, n]))
        np.testing.assert_allclose(y[n], theirs.numpy(), atol=1e-5)


# -- Wrong use -------------------------------------------------------------------------------------

WRONG = {
    "give at least one of brightness, contrast, saturation and hue": xc.ColorJitter,
    "brightness must be at least 0": lambda: xc.ColorJitter(brightness=-0.1),
    "contrast must be a number, got 'x'": lambda: xc.ColorJitter(contrast="x"),
    "contrast must be at least 0, got -1": lambda: xc.ColorJitter(contrast=(-1, 1)),
    "saturation must be a pair": lambda: xc.ColorJitter(saturation=(1, 2, 3)),
    "hue must be from 0 to 0.5": lambda: xc.ColorJitter(hue=0.6),
    "hue must be from -0.5 to 0.5": lambda: xc.ColorJitter(hue=(-0.6, 0)),
    "max_value must be positive": lambda: xc.ColorJitter(0.1, max_value=0),
}


@pytest.mark.parametrize("message", WRONG)
def test_arguments_are_checked(message):
    with pytest.raises((TypeError, ValueError), match=f"ColorJitter: {message}"):
        WRONG[message]()


def test_other_channels_are_refused():
    by_hand.assert_refused(xc.ColorJitter(0.1), (1, 2, 4, 4), "expected 1 channel, or 3 channels")
    by_hand.assert_refused(xc.ColorJitter(0.1), (2, 4, 4), "expected 1 channel, or 3 channels")


def test_there_is_no_gradient():
    layer = xc.ColorJitter(0.1)
    y = layer.forward(images(), training=True)
    assert layer.backward(y, need_dx=False) is None
    layer.forward(images(), training=True)
    with pytest.raises(RuntimeError, match="ColorJitter: it has no gradient; put it in front"):
        layer.backward(y)


def test_its_description_makes_it_again():
    layer = xc.ColorJitter(0.1, (0.5, 2), hue=0.2, max_value=255)
    again = by_hand.rebuilt(layer)
    assert repr(again) == repr(eval(repr(layer), vars(xc))) == repr(layer)
    x = images()
    expected = seeded(layer).forward(x, training=True)
    np.testing.assert_array_equal(seeded(again).forward(x, training=True), expected)
