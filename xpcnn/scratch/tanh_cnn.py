"""One convolution with tanh, trained image by image, by matrix products alone.

An image becomes columns (F_h * F_w, O_h * O_w); the kernels times the columns, through tanh, are
the hidden layer; that times ``weights_1_2``, through the softmax, gives the classes. There is no
bias. Pixels lie between 0 and 1 in training and testing alike.

Two courses have these functions, with ``weights_1_2`` lying one way and the other; that says which
of the two is meant.

=========================  ===================================  ===================================
``weights_1_2``            (hidden, n_classes)                  (n_classes, hidden)
``cnn`` returns            the probabilities (n_classes,)       the class, an ``int``
``back_propagation_cnn``   returns ``kernels, weights_1_2``     returns ``weights_1_2, kernels``
=========================  ===================================  ===================================

Examples
--------
>>> import numpy as np
>>> from xpcnn.scratch.tanh_cnn import back_propagation_cnn, cnn
>>> rng = np.random.default_rng(0)
>>> upright, lying = np.zeros((6, 6)), np.zeros((6, 6))
>>> upright[1:5, 3], lying[3, 1:5] = 1.0, 1.0
>>> kernels, weights_1_2 = rng.normal(0, 0.1, (4, 3, 3)), rng.normal(0, 0.1, (4 * 16, 2))
>>> kernels, weights_1_2 = back_propagation_cnn(
...     np.stack([upright, lying]), np.eye(2), kernels, weights_1_2, 100
... )
>>> [int(np.argmax(cnn(image, kernels, weights_1_2))) for image in (upright, lying)]
[0, 1]
"""

from __future__ import annotations

from math import isqrt
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.scratch._layers import softmax
from xpcnn.scratch._shared import (
    as_array,
    as_floats,
    as_number,
    default_float,
    one_hot_targets,
    sliding_window,
    store,
)
from xpcnn.window import as_int

__all__ = ["tanh", "tanh_deriv", "softmax", "im2col", "cnn", "back_propagation_cnn"]

_PIXEL_MAX = 255


def tanh(x: Array) -> Array:
    """Hyperbolic tangent, element by element.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.tanh_cnn import tanh
    >>> tanh(np.array([0.0]))
    array([0.])
    """
    (x,) = as_floats("tanh", x)
    return _xp.namespace(x).tanh(x)


def tanh_deriv(x: Array) -> Array:
    """Slope of the hyperbolic tangent at x: ``1 - tanh(x) ** 2``.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.tanh_cnn import tanh_deriv
    >>> tanh_deriv(np.array([0.0]))
    array([1.])
    """
    y = tanh(x)
    return 1.0 - y * y


def im2col(image: Array, F_h: int, F_w: int) -> Array:
    """Lay out one image as columns, one for each window position.

    Parameters
    ----------
    image : array of shape (H, W)
    F_h, F_w : int
        Size of the window.

    Returns
    -------
    array of floats of shape (F_h * F_w, O_h * O_w)
        With ``O_h = H - F_h + 1`` and ``O_w = W - F_w + 1``. Values are as they were, also those
        of integers.

    Raises
    ------
    ValueError
        If `image` is not (H, W), or the window does not fit into it.

    Examples
    --------
    >>> import numpy as np
    >>> im2col(np.arange(9).reshape(3, 3), 2, 2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    (image,) = as_floats("im2col", image)
    if image.ndim != 2:
        raise rank_error("im2col", 2, "(H, W)", image.shape)
    window = sliding_window(image.shape, (F_h, F_w), 1, 0, "im2col", "filter size")
    return F.im2col(image[None, None, ...], window.kernel)[0, ...]


def cnn(image: Array, kernels: Array, weights_1_2: Array) -> Any:
    """Classify one image.

    Parameters
    ----------
    image : array of shape (H, W), (1, H, W), or (H * W,) if square
        Pixels between 0 and 1; integers are taken to lie between 0 and 255 and divided by 255.
    kernels : array of shape (K, F_h, F_w), (K, 1, F_h, F_w), (K, F * F) or (F * F, K)
        K kernels; those without a height and width of their own are square.
    weights_1_2 : array of shape (K * O_h * O_w, n_classes) or (n_classes, K * O_h * O_w)
        From the hidden layer to the classes. The hidden layer is (K, O_h * O_w) laid out in a
        row, or (O_h * O_w, K) for kernels of shape (F * F, K).

    Returns
    -------
    array of shape (n_classes,), or int
        The probability of each class; or, with `weights_1_2` of shape (n_classes, ...), the class.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.tanh_cnn import cnn
    >>> cnn(np.ones((3, 3)), kernels=np.ones((5, 2, 2)), weights_1_2=np.zeros((20, 2)))
    array([0.5, 0.5])
    """
    pixels = _pixels(as_array(image)[None, ...], "cnn")
    x, w, weights = as_floats("cnn", pixels, kernels, weights_1_2)
    xp = _xp.namespace(x)
    rows, by_position, size, turned = _kernel_rows(xp, w, x.shape[1:], weights.shape, "cnn")
    weights = weights.T if turned else weights
    _, scores, _ = _forward(xp, x[0, ...], rows, weights, size, by_position)
    return int(xp.argmax(scores)) if turned else F.softmax(scores, axis=1)[0, :]


def back_propagation_cnn(
    images: Array,
    one_hot_labels: Array,
    kernels: Array,
    weights_1_2: Array,
    epoch: int,
    lr: float = 0.02,
) -> tuple[Array, Array]:
    """Train by one step of gradient descent on the cross-entropy for each image in turn.

    Parameters
    ----------
    images : array of shape (N, H, W), (N, 1, H, W), or (N, H * W) if square
        Pixels as in :func:`cnn`.
    one_hot_labels : array of shape (N, n_classes), or integer labels (N,)
    kernels, weights_1_2 : array
        As in :func:`cnn`. They are written to where the library's arrays can be.
    epoch : int
        How many times to go through the images.
    lr : float
        Learning rate.

    Returns
    -------
    kernels, weights_1_2 : array
        The trained arrays; with `weights_1_2` of shape (n_classes, ...), `weights_1_2` comes
        first.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.tanh_cnn import back_propagation_cnn
    >>> kernels, weights = np.zeros((1, 2, 2)), np.array([[1.0, -1.0]])
    >>> images, labels = np.ones((1, 2, 2)), np.array([[1.0, 0.0]])
    >>> kernels, weights = back_propagation_cnn(images, labels, kernels, weights, epoch=1, lr=0.1)
    >>> kernels  # both classes had the probability 1 / 2
    array([[[0.1, 0.1],
            [0.1, 0.1]]])
    """
    who = "back_propagation_cnn"
    x, w, weights = as_floats(who, _pixels(as_array(images), who), kernels, weights_1_2)
    xp = _xp.namespace(x)
    rows, by_position, size, turned = _kernel_rows(xp, w, x.shape[1:], weights.shape, who)
    weights = weights.T if turned else weights
    epoch = as_int(epoch, who, "epoch", 0)
    lr = as_number(lr, who, "lr")
    blank = xp.zeros((x.shape[0], weights.shape[1]), dtype=x.dtype, device=_xp.device_of(x))
    targets = one_hot_targets(blank, one_hot_labels, who)
    rows, weights = xp.asarray(rows, copy=True), xp.asarray(weights, copy=True)
    for _ in range(epoch):
        for i in range(x.shape[0]):
            columns, scores, hidden = _forward(xp, x[i, ...], rows, weights, size, by_position)
            delta = F.softmax(scores, axis=1) - targets[i : i + 1, :]
            d_hidden = (delta @ weights.T) * (1.0 - hidden * hidden)
            weights = _xp.add_at(weights, ..., hidden.T @ (delta * -lr))
            if by_position:
                d_hidden = xp.reshape(d_hidden, (-1, rows.shape[0])).T
            else:
                d_hidden = xp.reshape(d_hidden, (rows.shape[0], -1))
            rows = _xp.add_at(rows, ..., (d_hidden @ columns.T) * -lr)
    rows = rows.T if by_position else rows
    trained = _write(kernels, xp.reshape(rows, w.shape))
    if turned:
        return _write(weights_1_2, weights.T), trained
    return trained, _write(weights_1_2, weights)


def _forward(
    xp: ModuleType, image: Array, rows: Array, weights: Array, size: Any, by_position: bool
) -> tuple[Array, Array, Array]:
    """Return the columns, the scores (1, n_classes) and the hidden layer (1, K * positions)."""
    columns = F.im2col(image[None, None, ...], size)[0, ...]
    hidden = xp.tanh(rows @ columns)
    hidden = xp.reshape(hidden.T if by_position else hidden, (1, -1))
    return columns, hidden @ weights, hidden


def _pixels(images: Array, who: str) -> Array:
    """Return images as (N, H, W) with pixels between 0 and 1."""
    xp = _xp.namespace(images, who=who)
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0, :, :]
    if images.ndim == 2 and isqrt(images.shape[1]) ** 2 == images.shape[1]:
        side = isqrt(images.shape[1])
        images = xp.reshape(images, (images.shape[0], side, side))
    if images.ndim != 3:
        raise ValueError(
            f"{who}: expected images of one channel, (H, W) each, got shape "
            f"{tuple(images.shape[1:])} for one image"
        )
    if not _xp.is_floating(images):
        images = xp.astype(images, default_float(xp, images)) / _PIXEL_MAX
    return images


def _kernel_rows(
    xp: ModuleType, kernels: Array, image: Any, weights: Any, who: str
) -> tuple[Array, bool, tuple[int, int], bool]:
    """Find out what the shapes mean.

    Kernels (K, F * F) and (F * F, K) can have the same shape; the length of the weights tells
    which is meant.

    Returns
    -------
    rows : array of shape (K, F_h * F_w)
        The kernels.
    by_position : bool
        Whether the hidden layer is (O_h * O_w, K).
    size : (int, int)
        Of a kernel.
    turned : bool
        Whether the weights are (n_classes, hidden).
    """
    shape = tuple(kernels.shape)
    if len(shape) == 4 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    candidates = []
    if len(shape) == 3:
        candidates.append((shape[0], (shape[1], shape[2]), False))
    elif len(shape) == 2:
        for count, taps, by_position in ((*shape, False), (*shape[::-1], True)):
            if isqrt(taps) ** 2 == taps:
                candidates.append((count, (isqrt(taps), isqrt(taps)), by_position))
    for turned in (False, True):
        for count, (f_h, f_w), by_position in candidates:
            positions = max(image[0] - f_h + 1, 0) * max(image[1] - f_w + 1, 0)
            if len(weights) == 2 and positions and count * positions == weights[int(turned)]:
                rows = kernels.T if by_position else xp.reshape(kernels, (count, f_h * f_w))
                return rows, by_position, (f_h, f_w), turned
    raise ValueError(
        f"{who}: kernels of shape {tuple(kernels.shape)} and weights_1_2 of shape "
        f"{tuple(weights)} do not fit images of size {tuple(image)}; kernels are (K, F_h, F_w) "
        "or (K, F_h * F_w), and weights_1_2 (K * (H - F_h + 1) * (W - F_w + 1), classes) or the "
        "other way round"
    )


def _write(old: Any, new: Array) -> Array:
    """Write into what the caller gave, if it is an array of floats; else return the new array."""
    old = as_array(old)
    return store(old, new) if _xp.is_floating(old) else new
