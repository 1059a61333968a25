"""Initial values of weights.

Every function takes its settings, PyTorch's, and returns ``init(shape, rng) -> numpy.ndarray``
(float64). For a weight of shape (out, in, *kernel), fan_in is ``in * prod(kernel)`` and fan_out
``out * prod(kernel)``. Set one before the layer is built::

    layer = Conv2d(3, 30, 5)
    layer.weight.init = he_normal(nonlinearity="relu")
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from xpcnn.errors import choice_error

__all__ = [
    "Initializer", "zeros", "ones", "constant", "uniform", "normal", "xavier_uniform",
    "xavier_normal", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal",
    "kaiming_uniform", "kaiming_normal", "orthogonal", "fan_in_uniform", "fans", "gain",
]  # fmt: skip

Initializer = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]
"""What draws initial values: ``init(shape, rng)`` returns an array of float64."""

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight of shape (out, in, *kernel).

    Raises
    ------
    ValueError
        If the shape has fewer than two dimensions.

    Examples
    --------
    >>> fans((30, 3, 5, 5))
    (75, 750)
    """
    if len(shape) < 2:
        raise ValueError(
            f"fan-based initializers need a weight of shape (out, in, ...), got {shape}; "
            "use zeros(), ones(), normal() or uniform() for a bias"
        )
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def gain(nonlinearity: str, negative_slope: float = 0.01) -> float:
    """Return the factor that keeps the variance through a nonlinearity (PyTorch's table).

    Examples
    --------
    >>> from xpcnn import initializers
    >>> round(initializers.gain("relu") ** 2, 4)  # half of the inputs are lost
    2.0
    """
    if nonlinearity == "leaky_relu":
        if not math.isfinite(negative_slope):
            raise ValueError(f"the negative slope must be a finite number, got {negative_slope!r}")
        return math.sqrt(2.0 / (1.0 + negative_slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(
            f"nonlinearity must be one of {', '.join([*_GAINS, 'leaky_relu'])}; "
            f"got {nonlinearity!r}"
        )
    return _GAINS[nonlinearity]


def normal(mean: float = 0.0, std: float = 1.0) -> Initializer:
    """Normal distribution.

    Raises
    ------
    ValueError
        If `std` is negative or a setting is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> w = initializers.normal(mean=5.0, std=0.0)((2,), np.random.default_rng(0))
    >>> w.tolist()  # without any spread
    [5.0, 5.0]
    """
    if not (math.isfinite(mean) and 0.0 <= std < math.inf):
        raise ValueError(f"normal: expected a finite mean and std >= 0, got {mean!r} and {std!r}")
    return lambda shape, rng: rng.normal(mean, std, shape)


def uniform(a: float = 0.0, b: float = 1.0) -> Initializer:
    """Uniform distribution on [a, b).

    Raises
    ------
    ValueError
        If `b` is below `a` or one of them is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> w = initializers.uniform(-2.0, 3.0)((10, 10), np.random.default_rng(0))
    >>> w.shape, bool(w.min() >= -2.0), bool(w.max() < 3.0)
    ((10, 10), True, True)
    """
    if not (math.isfinite(a) and math.isfinite(b) and a <= b):
        raise ValueError(f"uniform: expected finite bounds a <= b, got {a!r} and {b!r}")
    return lambda shape, rng: rng.uniform(a, b, shape)


def constant(value: float) -> Initializer:
    """Return an initializer that sets every element to `value`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> rng = np.random.default_rng(0)
    >>> initializers.constant(0.25)((2,), rng).tolist()
    [0.25, 0.25]
    """
    return partial(_filled, value)  # no lambda: layers keep it, and can be pickled


def _filled(value: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.full(shape, value)


def zeros() -> Initializer:
    """All zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> rng = np.random.default_rng(0)
    >>> initializers.zeros()((2, 3), rng).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return constant(0.0)


def ones() -> Initializer:
    """All ones.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> rng = np.random.default_rng(0)
    >>> initializers.ones()((3,), rng).tolist()
    [1.0, 1.0, 1.0]
    """
    return constant(1.0)


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Normal with variance 2 gain^2 / (fan_in + fan_out) (Glorot & Bengio, 2010).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> w = initializers.xavier_normal()((250, 250), np.random.default_rng(0))
    >>> round(float(w.var()), 3)  # 2 / (250 + 250)
    0.004
    """
    return lambda shape, rng: rng.normal(0.0, gain * math.sqrt(2.0 / sum(fans(shape))), shape)


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Uniform with variance 2 gain^2 / (fan_in + fan_out) (Glorot & Bengio, 2010).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> w = initializers.xavier_uniform()((2, 4), np.random.default_rng(0))  # 4 inputs, 2 outputs
    >>> bool(abs(w).max() <= 1.0)  # within +- sqrt(6 / (4 + 2))
    True
    """
    return _symmetric(lambda shape: gain * math.sqrt(6.0 / sum(fans(shape))))


def he_normal(
    a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Initializer:
    """Normal with variance gain^2 / fan (He et al., 2015).

    Parameters
    ----------
    a : float
        Negative slope of a leaky ReLU; 0 is a plain ReLU.
    mode : "fan_in" or "fan_out"
        Which pass keeps its variance: forward, or backward.
    nonlinearity : str
        What follows the layer; see :func:`gain`.

    Raises
    ------
    ValueError
        If `mode` or `nonlinearity` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> w = initializers.he_normal()((250, 200), np.random.default_rng(0))  # 200 inputs
    >>> round(float(w.var()), 3)  # 2 / 200
    0.01
    """
    std = _he_std(a, mode, nonlinearity)
    return lambda shape, rng: rng.normal(0.0, std(shape), shape)


def he_uniform(
    a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Initializer:
    """Uniform with variance gain^2 / fan (He et al., 2015); settings as :func:`he_normal`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> w = initializers.he_uniform()((4, 6), np.random.default_rng(0))  # 6 inputs
    >>> bool(abs(w).max() <= 1.0)  # the variance 2 / 6 is a third of the square of 1
    True
    """
    std = _he_std(a, mode, nonlinearity)
    return _symmetric(lambda shape: math.sqrt(3.0) * std(shape))


def orthogonal(gain: float = 1.0) -> Initializer:
    """Rows (or columns) orthonormal, times `gain` (Saxe et al., 2014).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> w = initializers.orthogonal()((2, 3), np.random.default_rng(0))
    >>> np.allclose(w @ w.T, np.eye(2))  # rows of length 1, at right angles
    True
    """

    def init(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        fans(shape)
        rows, columns = shape[0], math.prod(shape[1:])
        q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
        q = q * np.where(np.diag(r) < 0.0, -1.0, 1.0)  # else QR would prefer some directions
        return gain * (q.T if rows < columns else q).reshape(shape)

    return init


def fan_in_uniform(fan_in: int) -> Initializer:
    """Uniform on +-1 / sqrt(fan_in): PyTorch's default for weights and biases alike.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import initializers
    >>> w = initializers.fan_in_uniform(4)((3, 4), np.random.default_rng(0))
    >>> bool(abs(w).max() <= 0.5)  # 1 / sqrt(4)
    True
    """
    return _symmetric(lambda shape: 1.0 / math.sqrt(fan_in) if fan_in else 0.0)


def _symmetric(bound: Callable[[tuple[int, ...]], float]) -> Initializer:
    def init(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        limit = bound(shape)
        return rng.uniform(-limit, limit, shape)

    return init


def _he_std(a: float, mode: str, nonlinearity: str) -> Callable[[tuple[int, ...]], float]:
    if mode not in ("fan_in", "fan_out"):
        raise choice_error("he initializer", "mode", mode, ("fan_in", "fan_out"))
    factor, which = gain(nonlinearity, a), int(mode == "fan_out")
    return lambda shape: factor / math.sqrt(fans(shape)[which])


glorot_normal = xavier_normal
glorot_uniform = xavier_uniform
kaiming_normal = he_normal
kaiming_uniform = he_uniform
