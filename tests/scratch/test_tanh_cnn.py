"""xpcnn.scratch.tanh_cnn against loops, in every layout, and on digits."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn._xp import to_numpy
from xpcnn.data import load_digits_subset
from xpcnn.scratch.tanh_cnn import back_propagation_cnn, cnn

KERNELS = np.random.default_rng(1).normal(0, 0.5, (2, 3, 3))
WEIGHTS = np.random.default_rng(2).normal(0, 0.5, (2 * 4, 3))
IMAGES = np.random.default_rng(3).random((3, 4, 4))
LABELS = np.eye(3)[[2, 0, 1]]


def naive_forward(image, kernels, weights) -> tuple[np.ndarray, np.ndarray]:
    k, f, _ = kernels.shape
    h, w = image.shape[0] - f + 1, image.shape[1] - f + 1
    hidden = np.zeros((k, h, w))
    for c, i, j in np.ndindex(k, h, w):
        hidden[c, i, j] = np.tanh((kernels[c] * image[i : i + f, j : j + f]).sum())
    e = np.exp(hidden.ravel() @ weights)
    return hidden, e / e.sum()


def naive_training(images, labels, kernels, weights, epochs, lr) -> tuple[np.ndarray, np.ndarray]:
    kernels, weights = kernels.copy(), weights.copy()
    for _ in range(epochs):
        for image, label in zip(images, labels, strict=True):
            hidden, y = naive_forward(image, kernels, weights)
            delta = y - label
            d_hidden = (weights @ delta).reshape(hidden.shape) * (1 - hidden**2)
            weights -= lr * np.outer(hidden.ravel(), delta)
            f = kernels.shape[1]
            for c, i, j in np.ndindex(*hidden.shape):
                kernels[c] -= lr * d_hidden[c, i, j] * image[i : i + f, j : j + f]
    return kernels, weights


def test_forward_against_loops_on_every_device(device) -> None:
    y = cnn(*map(device.asarray, (IMAGES[0], KERNELS, WEIGHTS)))
    np.testing.assert_allclose(to_numpy(y), naive_forward(IMAGES[0], KERNELS, WEIGHTS)[1])


def test_training_against_loops_on_every_device(device) -> None:
    kernels, weights = device.asarray(KERNELS.copy()), device.asarray(WEIGHTS.copy())
    got = back_propagation_cnn(device.asarray(IMAGES), device.asarray(LABELS), kernels, weights, 2)
    expected = naive_training(IMAGES, LABELS, KERNELS, WEIGHTS, 2, lr=0.02)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(to_numpy(a), b, atol=1e-12)


def test_numpy_arrays_are_trained_in_place_as_in_the_notebook() -> None:
    kernels, weights, images = KERNELS.copy(), WEIGHTS.copy(), IMAGES.copy()
    got = back_propagation_cnn(images, LABELS, kernels, weights, epoch=1, lr=0.1)
    assert got[0] is kernels
    assert got[1] is weights
    assert not np.allclose(kernels, KERNELS)
    np.testing.assert_array_equal(images, IMAGES)


def test_layouts_of_kernels_images_and_labels() -> None:
    expected = naive_training(IMAGES, LABELS, KERNELS, WEIGHTS, 1, lr=0.02)[0]
    for kernels in (KERNELS.reshape(2, 1, 3, 3), KERNELS.reshape(2, 9)):
        for images in (IMAGES, IMAGES[:, None], IMAGES.reshape(3, 16)):
            for labels in (LABELS, [2, 0, 1]):
                got, _ = back_propagation_cnn(images, labels, kernels.copy(), WEIGHTS.copy(), 1)
                assert got.shape == kernels.shape
                np.testing.assert_allclose(got.reshape(2, 3, 3), expected, atol=1e-12)
    for image in (IMAGES[0], IMAGES[0][None], IMAGES[0].ravel()):
        assert cnn(image, KERNELS, WEIGHTS).shape == (3,)


def test_kernels_as_columns_have_the_hidden_layer_by_position() -> None:
    by_position = WEIGHTS.reshape(2, 4, 3).transpose(1, 0, 2).reshape(8, 3)
    columns = KERNELS.reshape(2, 9).T.copy()
    np.testing.assert_allclose(
        cnn(IMAGES[0], columns, by_position), cnn(IMAGES[0], KERNELS, WEIGHTS), atol=1e-12
    )
    kernels, weights = back_propagation_cnn(IMAGES, LABELS, columns, by_position, 2)
    expected = naive_training(IMAGES, LABELS, KERNELS, WEIGHTS, 2, lr=0.02)
    np.testing.assert_allclose(kernels.T.reshape(2, 3, 3), expected[0], atol=1e-12)
    expected_weights = expected[1].reshape(2, 4, 3).transpose(1, 0, 2).reshape(8, 3)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-12)


def test_the_weights_tell_sixteen_kernels_of_nine_from_nine_of_sixteen(rng) -> None:
    image, kernels = rng.random((6, 6)), rng.normal(size=(16, 9))
    weights = rng.normal(size=(16 * 16, 2))
    expected = naive_forward(image, kernels.reshape(16, 3, 3), weights)[1]
    np.testing.assert_allclose(cnn(image, kernels, weights), expected)


def test_integer_pixels_are_scaled() -> None:
    image = (IMAGES[0] * 255).astype(np.uint8)
    np.testing.assert_array_equal(cnn(image, KERNELS, WEIGHTS), cnn(image / 255, KERNELS, WEIGHTS))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 3\) and weights_1_2 of shape \(7, 3\)"):
        cnn(IMAGES[0], KERNELS, WEIGHTS[:7])
    with pytest.raises(ValueError, match="images of one channel"):
        cnn(np.zeros((3, 4, 4)), KERNELS, WEIGHTS)
    with pytest.raises(ValueError, match="or 3 integer labels"):
        back_propagation_cnn(IMAGES, LABELS[:2], KERNELS.copy(), WEIGHTS.copy(), 1)


def test_it_learns_digits() -> None:
    (x, t), (x_test, t_test) = load_digits_subset()
    np.random.seed(0)
    kernels = np.random.normal(0, 0.1, (4, 3, 3))
    weights = np.random.normal(0, 0.01, (4 * 26 * 26, 10))
    back_propagation_cnn(x[:400, 0], np.eye(10)[t[:400]], kernels, weights, 3)
    guesses = [int(cnn(image, kernels, weights).argmax()) for image in x_test[:100, 0]]
    assert np.mean(guesses == t_test[:100]) > 0.6
