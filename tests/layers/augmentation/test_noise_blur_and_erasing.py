"""Images that get noisy or blurred, or lose a part."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpcnn as xc
from tests.layers import by_hand
from tests.layers.augmentation.drawing import MANY, assert_mean, drawn, images, seeded
from xpcnn import _xp

SPREAD = 1 / math.sqrt(12)

# -- Noise -----------------------------------------------------------------------------------------


def test_mean_and_deviation_of_noise():
    noise = drawn(xc.GaussianNoise(0.3, 0.2), (1, 3, 3)).reshape(-1)
    assert_mean(noise, 0.3, 0.2)
    # the deviation of a sample's variance is sigma^2 sqrt(2 / n)
    assert abs(noise.var() - 0.04) < 3 * 0.04 * math.sqrt(2 / len(noise))
    samples = noise.reshape(MANY, 9)
    assert abs(np.corrcoef(samples[:-1, 0], samples[1:, 0])[0, 1]) < 3 / math.sqrt(MANY)


def test_noise_by_hand(device):
    x = images((4, 2, 3, 3))
    noise = seeded(xc.GaussianNoise(0.1, 0.5)).draw(x.shape)
    y, dx = by_hand.run(seeded(xc.GaussianNoise(0.1, 0.5)), x, device)
    np.testing.assert_allclose(y, np.clip(x + noise, 0, 1), rtol=1e-12)
    inside = (x + noise >= 0) & (x + noise <= 1)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(dx, np.arange(1.0, 1 + y.size).reshape(y.shape) * inside)
    y, _ = by_hand.run(seeded(xc.GaussianNoise(0.1, 0.5, clip=False)), x, device)
    np.testing.assert_allclose(y, x + noise, rtol=1e-12)
    layer = seeded(xc.GaussianNoise(25.5, 127.5, max_value=255))
    y, _ = by_hand.run(layer, 255 * x, device)
    np.testing.assert_allclose(y, 255 * np.clip(x + noise, 0, 1), rtol=1e-6, atol=1e-4)


# -- Blur ------------------------------------------------------------------------------------------


def test_deviations_of_blurs():
    sigma = drawn(xc.GaussianBlur(3), (1, 3, 3))
    assert_mean(sigma, 1.05, 1.9 * SPREAD)
    assert sigma.min() >= 0.1
    assert set(drawn(xc.GaussianBlur(3, 0.7), (1, 3, 3))) == {0.7}


def test_blur_by_a_naive_loop(device):
    x = images((3, 2, 4, 6))
    layer = xc.GaussianBlur((5, 3), (0.4, 3))
    sigmas = seeded(layer).draw(x.shape)
    y, dx = by_hand.run(seeded(layer), x, device)
    for n, sigma in enumerate(sigmas):
        padded = np.pad(x[n], ((0, 0), (1, 1), (2, 2)), "reflect")
        weights = np.array(
            [
                [math.exp(-(a * a + b * b) / (2 * sigma**2)) for b in range(-2, 3)]
                for a in range(-1, 2)
            ]
        )
        weights /= weights.sum()
        for i in range(4):
            for j in range(6):
                expected = (padded[:, i : i + 3, j : j + 5] * weights).sum(axis=(1, 2))
                np.testing.assert_allclose(y[n, :, i, j], expected, rtol=1e-9)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    assert np.sum(dx * x) == pytest.approx(np.sum(dy * y), rel=1e-9)


@pytest.mark.parametrize("kernel_size", [3, (5, 9), [1, 7]])
def test_as_torchvision_blurs(kernel_size):
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchvision.transforms.v2.functional")
    x = images((6, 3, 10, 12), "float32")
    layer = xc.GaussianBlur(kernel_size)
    sigmas = seeded(layer).draw(x.shape)
    y = seeded(layer).forward(x, training=True)
    for n, sigma in enumerate(sigmas):
        theirs = F.gaussian_blur(torch.from_numpy(x[n]), kernel_size, [float(sigma)] * 2)
        np.testing.assert_allclose(y[n], theirs.numpy(), atol=1e-5)


# -- Erasing ---------------------------------------------------------------------------------------


def test_erased_rectangles():
    layer = xc.RandomErasing(0.7, (0.1, 0.3), (0.5, 2))
    (top, left, height, width), _ = drawn(layer, (1, 1000, 1000))
    is_erased = height > 0
    assert_mean(is_erased, 0.7, math.sqrt(0.21))
    assert ((width > 0) == is_erased).all()
    top, left, height, width = (part[is_erased] for part in (top, left, height, width))
    assert_mean(height * width / 1e6, 0.2, 0.2 * SPREAD)
    assert_mean(np.log(height / width), 0.0, 2 * math.log(2) * SPREAD)
    assert_mean(top / (1000 - height), 0.5, SPREAD)
    assert_mean(left / (1000 - width), 0.5, SPREAD)
    assert np.all((top + height <= 1000) & (left + width <= 1000))


def test_erasing_as_torchvision_draws():
    """Of small images, where many rectangles do not fit and others reach the edge."""
    torch = pytest.importorskip("torch")
    v2 = pytest.importorskip("torchvision.transforms.v2")
    torch.manual_seed(0)
    theirs = v2.RandomErasing(1, (0.3, 1), (0.3, 3.3))
    image = torch.zeros(1, 12, 20)
    expected = []
    for parameters in (theirs.make_params([image]) for _ in range(3000)):
        left_alone = parameters["v"] is None
        expected.append([0 if left_alone else parameters[key] for key in "ijhw"])
    ours, _ = drawn(xc.RandomErasing(1, (0.3, 1), (0.3, 3.3)), (1, 12, 20))
    ours = np.where(ours[2] > 0, ours, 0)
    for found, wanted in zip(ours, np.array(expected).T, strict=True):
        error = np.hypot(found.std() / math.sqrt(MANY), wanted.std() / math.sqrt(3000))
        assert abs(found.mean() - wanted.mean()) <= 3.5 * error


@pytest.mark.parametrize("value", [0.0, 0.5, (1.0, 2.0, 3.0), "random"])
def test_erasing_by_hand(value, device):
    x = images((8, 3, 9, 7))
    layer = xc.RandomErasing(0.6, value=value)
    places, instead = seeded(layer).draw(x.shape)
    assert 0 < (places[2] > 0).sum() < 8
    y, dx = by_hand.run(seeded(layer), x, device)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    instead = np.broadcast_to(instead, x.shape)
    for n, (top, left, height, width) in enumerate(places.T):
        part = (n, slice(None), slice(top, top + height), slice(left, left + width))
        expected, gradient = x.copy(), dy.copy()
        expected[part], gradient[part] = instead[part], 0.0
        np.testing.assert_array_equal(y[n], expected[n])
        np.testing.assert_array_equal(dx[n], gradient[n])


def test_random_values_are_normal():
    _, values = seeded(xc.RandomErasing(value="random")).draw((100, 1, 10, 10))
    assert_mean(values.reshape(-1), 0.0, 1.0)


# -- Without training, and wrong use ---------------------------------------------------------------


@pytest.mark.parametrize("make", [xc.GaussianNoise, lambda: xc.GaussianBlur(3), xc.RandomErasing])
def test_without_training_nothing_happens(make, device):
    x = images(dtype="float32")
    np.testing.assert_array_equal(_xp.to_numpy(make()(device.asarray(x))), x)


WRONG = {
    "GaussianNoise: mean must be a number": lambda: xc.GaussianNoise("x"),
    "GaussianNoise: sigma must be at least 0": lambda: xc.GaussianNoise(0, -1),
    "GaussianNoise: clip must be True or False": lambda: xc.GaussianNoise(clip=1),
    "GaussianNoise: max_value must be positive": lambda: xc.GaussianNoise(max_value=-1),
    "max_value has no effect with clip=False": lambda: xc.GaussianNoise(clip=False, max_value=255),
    "GaussianBlur: kernel_size must be odd": lambda: xc.GaussianBlur(4),
    "GaussianBlur: kernel_size must be one integer or 2": lambda: xc.GaussianBlur((3, 3, 3)),
    "GaussianBlur: sigma must be positive": lambda: xc.GaussianBlur(3, 0),
    "GaussianBlur: sigma must be a pair": lambda: xc.GaussianBlur(3, (1, 2, 3)),
    "RandomErasing: p must be from 0 to 1": lambda: xc.RandomErasing(1.5),
    "RandomErasing: scale must be from 0 to 1": lambda: xc.RandomErasing(scale=(-0.1, 0.3)),
    "RandomErasing: ratio must be positive": lambda: xc.RandomErasing(ratio=(0, 1)),
    "RandomErasing: value must be .*got 'mean'": lambda: xc.RandomErasing(value="mean"),
}


@pytest.mark.parametrize("message", WRONG)
def test_arguments_are_checked(message):
    with pytest.raises((TypeError, ValueError), match=message):
        WRONG[message]()


def test_inputs_are_checked():
    by_hand.assert_refused(xc.GaussianBlur((3, 7)), (1, 1, 3, 9), "'reflect' can add at most 2")
    layer = xc.RandomErasing(value=(1, 2))
    by_hand.assert_refused(layer, (1, 3, 4, 9), "expected 2 channels, as value has numbers, got 3")
