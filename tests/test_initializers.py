"""Initializers: fans by hand, and distributions by their moments and bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xpcnn import initializers as init

SHAPES = [(40, 30), (40, 10, 9), (24, 8, 5, 5), (16, 4, 3, 3, 3)]


def test_fans_by_hand() -> None:
    assert init.fans((7, 5)) == (5, 7)
    assert init.fans((8, 3, 4)) == (12, 32)
    assert init.fans((30, 1, 5, 5)) == (25, 750)
    assert init.fans((2, 3, 4, 5, 6)) == (360, 240)
    with pytest.raises(ValueError, match=r"\(out, in, ...\), got \(5,\)"):
        init.fans((5,))


@pytest.mark.parametrize("shape", SHAPES)
def test_fans_as_pytorch(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    assert init.fans(shape) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


@pytest.mark.parametrize(
    "name",
    ["linear", "conv1d", "conv2d", "conv3d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"],
)
def test_gain_as_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert init.gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-14)


def check_normal(values: np.ndarray, mean: float, std: float) -> None:
    """Mean and deviation within 5 standard errors, and tails that a uniform has not."""
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(values.size)
    assert abs(values.std() / std - 1) < 5 / math.sqrt(2 * values.size)
    assert np.abs(values - mean).max() > 2 * std


def check_uniform(values: np.ndarray, low: float, high: float) -> None:
    """All within the bounds, both bounds nearly reached, and the right mean and deviation."""
    width = high - low
    assert values.min() >= low
    assert values.max() <= high
    assert values.min() < low + 0.02 * width
    assert values.max() > high - 0.02 * width
    assert abs(values.mean() - (low + high) / 2) < 5 * width / math.sqrt(12 * values.size)
    assert abs(values.std() / (width / math.sqrt(12)) - 1) < 5 / math.sqrt(values.size)


@pytest.mark.parametrize("shape", SHAPES)
def test_distributions_by_their_definitions(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    receptive = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * receptive, shape[0] * receptive
    check_normal(init.normal()(shape, rng), 0.0, 1.0)
    check_normal(init.normal(2.0, 0.01)(shape, rng), 2.0, 0.01)
    check_uniform(init.uniform()(shape, rng), 0.0, 1.0)
    check_uniform(init.uniform(-3.0, 1.0)(shape, rng), -3.0, 1.0)
    check_normal(init.xavier_normal(2.0)(shape, rng), 0.0, 2 * math.sqrt(2 / (fan_in + fan_out)))
    limit = math.sqrt(6 / (fan_in + fan_out))
    check_uniform(init.xavier_uniform()(shape, rng), -limit, limit)
    check_normal(init.he_normal()(shape, rng), 0.0, math.sqrt(2 / fan_in))
    values = init.he_normal(mode="fan_out", nonlinearity="linear")(shape, rng)
    check_normal(values, 0.0, math.sqrt(1 / fan_out))
    limit = math.sqrt(6 / (1 + 0.3**2) / fan_in)
    check_uniform(init.he_uniform(0.3)(shape, rng), -limit, limit)
    limit = 1 / math.sqrt(fan_in)
    check_uniform(init.fan_in_uniform(fan_in)(shape, rng), -limit, limit)


@pytest.mark.parametrize("shape", SHAPES)
def test_spread_as_pytorch(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    pairs: list[tuple[init.Initializer, Any]] = [
        (init.xavier_normal(0.5), lambda t: torch.nn.init.xavier_normal_(t, 0.5)),
        (init.xavier_uniform(0.5), lambda t: torch.nn.init.xavier_uniform_(t, 0.5)),
        (init.he_normal(0.2), lambda t: torch.nn.init.kaiming_normal_(t, 0.2)),
        (
            init.he_uniform(mode="fan_out", nonlinearity="relu"),
            lambda t: torch.nn.init.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"),
        ),
    ]
    for ours, theirs in pairs:
        expected = theirs(torch.empty(shape, dtype=torch.float64)).numpy()
        # Two samples of the same spread differ by 5 standard errors of the ratio at most.
        assert abs(ours(shape, rng).std() / expected.std() - 1) < 5 / math.sqrt(expected.size)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6), (4, 3, 2), (30, 2, 3, 3)])
def test_orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    matrix = init.orthogonal(3.0)(shape, rng).reshape(shape[0], -1) / 3.0
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    np.testing.assert_allclose(product, np.eye(min(rows, columns)), atol=1e-13)


def test_orthogonal_prefers_no_direction() -> None:
    draws = [init.orthogonal()((2, 2), np.random.default_rng(i)) for i in range(400)]
    # The mean of a uniformly drawn rotation or reflection is 0; its elements have variance 1/2.
    assert np.abs(np.mean(draws, axis=0)).max() < 5 * math.sqrt(0.5 / 400)


def test_constants() -> None:
    generator = np.random.default_rng(0)
    np.testing.assert_array_equal(init.zeros()((2, 3), generator), np.zeros((2, 3)))
    np.testing.assert_array_equal(init.ones()((3,), generator), np.ones(3))
    np.testing.assert_array_equal(init.constant(0.25)((3,), generator), np.full(3, 0.25))


def test_same_seed_same_values() -> None:
    for make in (init.normal, init.xavier_uniform, init.kaiming_normal, init.orthogonal):
        first, second = (make()((4, 5), np.random.default_rng(9)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert first.dtype == np.float64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: init.he_normal(mode="fan_avg"), "mode must be one of 'fan_in', 'fan_out'"),
        (lambda: init.he_uniform(nonlinearity="gelu"), "nonlinearity must be one of"),
        (lambda: init.he_uniform(a=math.nan), "negative slope"),
        (lambda: init.normal(std=-1.0), "std >= 0"),
        (lambda: init.uniform(1.0, 0.0), "a <= b"),
        (lambda: init.uniform(0.0, math.inf), "finite"),
    ],
)
def test_wrong_settings(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
