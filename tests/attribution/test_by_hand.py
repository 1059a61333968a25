"""Attributions of networks so small that the numbers are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn.attribution import grad_cam, integrated_gradients, occlusion, saliency
from xpcnn.attribution.gradients import METHODS, places_on_the_way

W = np.array([[1.0, -2.0], [3.0, 4.0]])


def linear(device="cpu", ending=()):
    """Scores x1 - 2 x2 and 3 x1 + 4 x2."""
    model = xpcnn.Model(
        [xpcnn.Linear(2, 2, bias=False), *ending], device=device, dtype="float64", seed=0
    )
    model.load_state_dict({"0.weight": W})
    return model


def two_layers(device="cpu"):
    """Score relu(x1 - 1) + 2 relu(x2), and its negative."""
    layers = [xpcnn.Linear(2, 2), xpcnn.ReLU(), xpcnn.Linear(2, 2, bias=False)]
    model = xpcnn.Model(layers, device=device, dtype="float64", seed=0)
    model.load_state_dict(
        {
            "0.weight": np.eye(2),
            "0.bias": np.array([-1.0, 0.0]),
            "2.weight": np.array([[1.0, 2.0], [-1.0, -2.0]]),
        }
    )
    return model


X = np.array([[5.0, 1.0], [-1.0, -1.0]])  # scores (3, 19) and (1, -7): classes 1 and 0


def test_saliency_of_a_linear_model(device):
    model = linear(device)
    np.testing.assert_array_equal(saliency(model, X, 0), [[1, 2], [1, 2]])
    np.testing.assert_array_equal(saliency(model, X, 0, absolute=False), [[1, -2], [1, -2]])
    np.testing.assert_array_equal(saliency(model, X, [1, 0]), [[3, 4], [1, 2]])
    predicted = saliency(model, X)
    assert type(predicted) is np.ndarray
    assert predicted.dtype == np.float64
    np.testing.assert_array_equal(predicted, [[3, 4], [1, 2]])
    np.testing.assert_array_equal(saliency(model, X, np.array([1, 0]), batch_size=1), predicted)


def test_saliency_of_two_layers(device):
    model = two_layers(device)
    x = np.array([[3.0, -1.0], [0.0, 2.0]])
    np.testing.assert_array_equal(saliency(model, x, 0), [[1, 0], [0, 2]])
    np.testing.assert_array_equal(saliency(model, x, 1, absolute=False), [[-1, 0], [0, -2]])


def test_integrated_gradients_of_a_linear_model(device):
    """Whatever the method, the weight times the difference from the baseline."""
    model = linear(device)
    for method in METHODS:
        found = integrated_gradients(model, X, 1, steps=3, method=method)
        np.testing.assert_allclose(found, W[1] * X, rtol=1e-12)
    found = integrated_gradients(model, X, 1, baseline=np.array([1.0, 2.0]), batch_size=7)
    np.testing.assert_allclose(found, W[1] * (X - [1.0, 2.0]), rtol=1e-12)


def test_integrated_gradients_of_two_layers():
    """On the way from 0 to 3 the first unit works for two thirds: steps of a sixth, by hand."""
    model, x = two_layers(), np.array([[3.0, 5.0]])
    expected = {"left": 3 / 6, "middle": 4 / 6, "right": 4 / 6}
    for method, share in expected.items():
        found, delta = integrated_gradients(
            model, x, 0, steps=6, method=method, return_convergence_delta=True
        )
        # at the baseline the second unit stands on its kink, where its gradient is 0
        second = 10 * (5 / 6 if method == "left" else 1)
        np.testing.assert_allclose(found, [[3 * share, second]], rtol=1e-12)
        np.testing.assert_allclose(delta, [3 * share + second - 12], atol=1e-12)
    found = integrated_gradients(model, x, 0, steps=300, method="middle")
    np.testing.assert_allclose(found, [[2, 10]], rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_places_on_the_way_integrate(method):
    """All are right for a line, from two places on; Gauss and Legendre for the 5th power."""
    places, weights = places_on_the_way(400, method)
    assert len(places) == len(weights) == 400
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(weights @ places**2, 1 / 3, rtol=0.01)
    places, weights = places_on_the_way(3, "gausslegendre")
    np.testing.assert_allclose(weights @ places**5, 1 / 6, rtol=1e-12)
    assert places_on_the_way(2, "trapezoid")[1].tolist() == [0.5, 0.5]


def image_model(device="cpu", dtype="float64"):
    """Two maps, x and -x behind ReLU; their means are weighted by (2, 1) and by (-1, 3)."""
    layers = [
        xpcnn.Conv2d(1, 2, 1, bias=False),
        xpcnn.ReLU(),
        xpcnn.GlobalAvgPool2d(),
        xpcnn.Linear(2, 2, bias=False),
    ]
    model = xpcnn.Model(layers, device=device, dtype=dtype, seed=0)
    state = {"0.weight": [[[[1.0]]], [[[-1.0]]]], "3.weight": [[2.0, 1.0], [-1.0, 3.0]]}
    model.load_state_dict({name: np.array(values) for name, values in state.items()})
    return model


IMAGE = np.array([[[[1.0, -2.0], [0.0, 4.0]]]])


def test_grad_cam_of_two_maps(device):
    model = image_model(device)
    # the gradient of each of the 4 numbers of a map is a quarter of its weight
    maps = grad_cam(model, IMAGE, 0)
    np.testing.assert_allclose(maps, [[[0.5, 0.5], [0, 2]]], rtol=1e-12)
    found = grad_cam(model, IMAGE, 1, relu=False)
    np.testing.assert_allclose(found, [[[-0.25, 1.5], [0, -1]]], rtol=1e-12)
    np.testing.assert_allclose(grad_cam(model, IMAGE, 1), np.maximum(found, 0), rtol=1e-12)


def test_grad_cam_of_the_convolution_itself():
    """Its gradient is 0 where ReLU lets nothing through: means (0.5, 0.25) / 2 and (0.25) / 4."""
    found = grad_cam(image_model(), IMAGE, 0, layer="0", relu=False, upsample=False)
    gradients = np.array([2 / 4 * 2 / 4, 1 / 4 * 1 / 4])
    np.testing.assert_allclose(found, IMAGE[0] * (gradients[0] - gradients[1]), rtol=1e-12)


def test_grad_cam_is_enlarged_by_linear_interpolation():
    """Behind a stride of 2 each map has 2 numbers of 4, half-way between the pixels' centres."""
    layers = [
        xpcnn.Conv1d(1, 1, 1, stride=2, bias=False),
        xpcnn.GlobalAvgPool1d(),
        xpcnn.Linear(1, 1, bias=False),
    ]
    model = xpcnn.Model(layers, device="cpu", dtype="float64", seed=0)
    model.load_state_dict({"0.weight": np.ones((1, 1, 1)), "2.weight": np.array([[2.0]])})
    x = np.array([[[4.0, 0.0, 8.0, 0.0]]])
    np.testing.assert_allclose(grad_cam(model, x, upsample=False), [[4, 8]])
    np.testing.assert_allclose(grad_cam(model, x), [[4, 5, 7, 8]])


def test_occlusion_of_a_linear_model(device):
    model = linear(device)
    np.testing.assert_allclose(occlusion(model, X, 1, window=1), W[1] * X)
    found = occlusion(model, X, 1, window=1, baseline=np.array([1.0, 2.0]), batch_size=3)
    np.testing.assert_allclose(found, W[1] * (X - [1.0, 2.0]))
    both = (W[1] * X).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(occlusion(model, X, 1, window=2), np.repeat(both, 2, axis=1))


def sums(shape, weights):
    """Return a model whose score is a weighted sum of the input."""
    layers = [xpcnn.Flatten(), xpcnn.Linear(int(np.prod(shape)), 1, bias=False)]
    model = xpcnn.Model(layers, device="cpu", dtype="float64", seed=0)
    model.load_state_dict({"1.weight": np.reshape(weights, (1, -1)).astype(float)})
    return model


def test_windows_that_overlap_are_averaged_and_the_last_is_cut_off():
    """Along 5 numbers windows of 3 with stride 2: of 0 to 2 and of 2 to 4; stride 3: 3 and 4."""
    model, x = sums((1, 5), [1, 2, 4, 8, 16]), np.ones((1, 1, 5))
    found = occlusion(model, x, window=3, stride=2)
    np.testing.assert_allclose(found[0, 0], [7, 7, (7 + 28) / 2, 28, 28])
    found = occlusion(model, x, window=3, stride=3)
    np.testing.assert_allclose(found[0, 0], [7, 7, 7, 24, 24])
    found = occlusion(model, x, window=1, stride=2)
    np.testing.assert_allclose(found[0, 0], [1, 0, 4, 0, 16])  # what no window reaches has 0


def test_windows_with_and_without_channels():
    weights = np.arange(1, 9).reshape(2, 2, 2)
    model, x = sums((2, 2, 2), weights), np.ones((1, 2, 2, 2))
    np.testing.assert_allclose(occlusion(model, x, window=1)[0], [weights.sum(axis=0)] * 2)
    np.testing.assert_allclose(occlusion(model, x, window=(1, 1, 1))[0], weights)
    rows = occlusion(model, x, window=(1, 2))[0]
    np.testing.assert_allclose(rows, np.broadcast_to([[[14], [22]]], (2, 2, 2)))


def test_occlusion_by_a_naive_loop():
    layers = [xpcnn.Conv2d(1, 3, 3), xpcnn.Tanh(), xpcnn.Flatten(), xpcnn.Linear(out_features=2)]
    model = xpcnn.Model(layers, device="cpu", dtype="float64", seed=0)
    x = np.random.default_rng(0).normal(size=(2, 1, 6, 5))
    classes = model.predict(x).argmax(axis=1)
    total, count = np.zeros_like(x), np.zeros_like(x)
    for n in range(2):
        for i in (0, 2, 4):
            for j in (0, 2, 4):
                hidden = x[n : n + 1].copy()
                hidden[..., i : i + 2, j : j + 2] = 0.25
                fall = model.predict(x[n : n + 1]) - model.predict(hidden)
                total[n, :, i : i + 2, j : j + 2] += fall[0, classes[n]]
                count[n, :, i : i + 2, j : j + 2] += 1
    found = occlusion(model, x, window=2, stride=2, baseline=0.25)
    np.testing.assert_allclose(found, total / count, rtol=1e-9, atol=1e-12)


def test_completeness():
    """Integrated gradients add up to the difference of the scores; the delta is what is missing."""
    layers = [
        xpcnn.Conv2d(1, 4, 3), xpcnn.Tanh(), xpcnn.BatchNorm2d(4), xpcnn.Dropout(0.5),
        xpcnn.Flatten(), xpcnn.Linear(out_features=3), xpcnn.Softmax(),
    ]  # fmt: skip
    model = xpcnn.Model(layers, device="cpu", dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    x, baseline = rng.normal(size=(2, 3, 1, 6, 6))
    for options in ({"probabilities": True}, {}):
        found, delta = integrated_gradients(
            model, x, baseline=baseline, return_convergence_delta=True, **options
        )
        top = model.predict(x).argmax(axis=1)
        ends = (model.predict(a) if options else model.outputs_of("5", a) for a in (x, baseline))
        wanted, without = (np.take_along_axis(y, top[:, None], axis=1)[:, 0] for y in ends)
        np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), wanted - without, atol=1e-5)
        missing = found.sum(axis=(1, 2, 3)) - (wanted - without)
        np.testing.assert_allclose(delta, missing, atol=1e-12)


def test_probabilities_by_hand():
    """The gradient of sigmoid(z) is s (1 - s); without saying so, that of z is meant."""
    model = linear(ending=[xpcnn.Sigmoid()])
    x = np.array([[0.5, 0.25]])  # scores 0 and 2.5
    np.testing.assert_array_equal(saliency(model, x, 0), [[1, 2]])
    np.testing.assert_allclose(saliency(model, x, 0, probabilities=True), [[0.25, 0.5]])
    model = linear(ending=[xpcnn.Softmax()])
    p = np.exp(2.5) / (1 + np.exp(2.5))
    found = saliency(model, x, probabilities=True, absolute=False)
    np.testing.assert_allclose(found, [p * (1 - p) * (W[1] - W[0])])


def test_a_saturated_softmax_hides_nothing():
    model = linear(ending=[xpcnn.Softmax()])
    x = np.array([[1e4, 0.0]])
    assert not saliency(model, x, 1, probabilities=True).any()
    np.testing.assert_array_equal(saliency(model, x, 1), [[3, 4]])


def test_outputs_of_one_number_and_of_places():
    layers = [xpcnn.Linear(2, 1, bias=False), xpcnn.Flatten(0)]
    model = xpcnn.Model(layers, device="cpu", dtype="float64", seed=0)
    model.load_state_dict({"0.weight": W[:1]})
    np.testing.assert_array_equal(saliency(model, X), [[1, 2], [1, 2]])
    with pytest.raises(ValueError, match="one number for each sample.*leave out target, got 0"):
        saliency(model, X, 0)
    conv = xpcnn.Model([xpcnn.Conv1d(1, 2, 1, bias=False)], device="cpu", dtype="float64")
    conv.load_state_dict({"0.weight": np.array([[[2.0]], [[5.0]]])})
    x = np.ones((2, 1, 3))
    np.testing.assert_array_equal(saliency(conv, x, 1), np.full((2, 1, 3), 5))
    np.testing.assert_array_equal(saliency(conv, x, (1, 2))[0], [[0, 0, 5]])
    np.testing.assert_array_equal(saliency(conv, x, [(0, 0), (1, 1)])[:, 0], [[2, 0, 0], [0, 5, 0]])
