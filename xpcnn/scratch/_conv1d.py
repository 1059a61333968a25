"""Convolution and pooling along one dimension; public through ``conv1d``."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.errors import choice_error, rank_error
from xpcnn.scratch._layers import Filters, Pools, max_pool
from xpcnn.scratch._shared import LAYOUTS, as_floats, columns, images, sliding_window
from xpcnn.window import Ints, as_int

PAD_MODES = ("constant", "edge")


def get_output_size(n_features: int, filter_length: int, stride: int = 1, pad: Any = 0) -> int:
    """Return the length of a convolution's output: floor((n + 2 p - f) / s) + 1.

    Raises
    ------
    ValueError
        If the filter is longer than the padded input.

    Examples
    --------
    >>> get_output_size(4, 3), get_output_size(784, 5, stride=2, pad=1)
    (2, 391)
    """
    who = "get_output_size"
    n = as_int(n_features, who, "n_features", 1)
    window = sliding_window((n,), filter_length, stride, pad, who, "filter_length")
    return window.output_shape((n,))[0]


def im2col_1d(input_data: Array, filter_size: int, stride: int = 1, pad: Any = 0) -> Array:
    """Lay out signals (N, C, L) as rows, one for each window position.

    Returns
    -------
    array of shape (N * OL, C * filter_size)

    Raises
    ------
    ValueError
        If the input is not (N, C, L), or the window does not fit into it.

    Examples
    --------
    >>> import numpy as np
    >>> im2col_1d(np.array([[[1, 2, 3, 4]]]), 3)
    array([[1, 2, 3],
           [2, 3, 4]])
    """
    return columns(input_data, (filter_size,), stride, pad, 0, "im2col_1d")


def col2im_1d(
    col: Array, input_shape: Sequence[int], filter_size: int, stride: int = 1, pad: Any = 0
) -> Array:
    """Add rows of :func:`im2col_1d` back into signals of shape (N, C, L): its transpose.

    Raises
    ------
    ValueError
        If the number of elements of `col` does not follow from the other arguments.

    Examples
    --------
    >>> import numpy as np
    >>> col2im_1d(np.array([[1, 2, 3], [2, 3, 4]]), (1, 1, 4), 3)
    array([[[1, 4, 6, 4]]])
    """
    return images(col, input_shape, (filter_size,), stride, pad, True, "col2im_1d")


class Conv1d(Filters):
    """One-dimensional convolution with channels.

    Parameters
    ----------
    W : array of shape (O, C, F)
        O filters; or (F,), one filter for signals without a channel axis.
    b : array of shape (O,), or a number
    stride : int
    pad : int or "same"
        Elements added at either end; "same" gives ceil(L / stride) outputs.
    pad_mode : {"constant", "edge"}
        Add zeros, or repeat the first and the last element.

    Attributes
    ----------
    dW, db : array of the shape of `W` and of `b`, or None
        Gradients, after `backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the filter does not fit into the padded signal.

    Notes
    -----
    With W of shape (O, C, F): (N, C, L) gives (N, O, OL), and one sample (C, L) gives (O, OL).
    With W of shape (F,): (L,) gives (OL,), and a batch (N, L) or (N, 1, L) gives (N, OL) or
    (N, 1, OL).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.conv1d import Conv1d
    >>> conv = Conv1d(W=np.ones((3, 2, 3)), b=np.array([1, 2, 3]))
    >>> conv.forward(np.array([[1, 2, 3, 4], [2, 3, 4, 5]]))
    array([[16., 22.],
           [17., 23.],
           [18., 24.]])
    """

    def __init__(
        self, W: Array, b: Array, stride: int = 1, pad: Any = 0, pad_mode: str = "constant"
    ) -> None:
        if pad_mode not in PAD_MODES:
            raise choice_error(self.who, "pad_mode", pad_mode, PAD_MODES)
        super().__init__(W, b, stride, pad)
        self.pad_mode = pad_mode

    X = property(attrgetter("x"), doc="Input of the last forward.")

    def forward(self, x: Array) -> Array:
        x, w, b = as_floats(self.who, x, self.W, self.b)
        given = x
        xp = _xp.namespace(x)
        full, out_axes = self._batch_shape(tuple(x.shape), tuple(w.shape))
        shapes = tuple(x.shape), tuple(w.shape), tuple(b.shape)
        x, b = xp.reshape(x, full), xp.reshape(b, (-1,))
        w = xp.reshape(w, (1, 1, -1) if w.ndim == 1 else w.shape)
        window = sliding_window(
            full[2:], w.shape[2:], self.stride, self.pad, self.who, "filter size"
        )
        padded = None
        if self.pad_mode == "edge" and window.is_padded:
            x, pad_saved = F.run("pad", x, window.padding, "replicate", who=self.who)
            padded, window = pad_saved, window.without_padding()
        y, saved = F.conv_forward(x, w, b, window, who=self.who)
        self.x, self._columns, self._filters, self._dout = given, (x, window), w, None
        kept = (saved, padded, tuple(y.shape), shapes)
        return self._keep(xp.reshape(y, tuple(y.shape[axis] for axis in out_axes)), kept)

    def backward(self, dout: Array, need_dx: bool = True) -> Array:
        """Set `dW` and `db`, and return the gradient of the input (None unless `need_dx`)."""
        dout, (saved, padded, y_shape, (x_shape, w_shape, b_shape)) = self._recall(dout)
        xp = _xp.namespace(dout)
        self._dout = xp.reshape(dout, y_shape)
        dx, dw, db = F.conv_backward(self._dout, saved, need_dx=need_dx)
        self.dW, self.db = xp.reshape(dw, w_shape), xp.reshape(db, b_shape)
        if dx is None:
            return None
        if padded is not None:
            dx = F.run_backward(dx, padded)
        return xp.reshape(dx, x_shape)

    def _batch_shape(self, x: Ints, w: Ints) -> tuple[Ints, Ints]:
        """Return the input's shape as (N, C, L), and the axes of (N, O, OL) that the output has."""
        if len(w) not in (1, 3):
            raise rank_error(f"{self.who} W", 3, "(O, C, F)", w)
        if len(x) == 3:
            return x, (0, 1, 2)
        if len(x) == 1:
            return (1, 1, *x), ((2,) if len(w) == 1 else (1, 2))
        if len(x) == 2 and len(w) == 1:
            return (x[0], 1, x[1]), (0, 2)
        if len(x) == 2:
            return (1, *x), (1, 2)
        raise rank_error(self.who, 3, LAYOUTS[1], x)


class SimpleConv1d(Conv1d):
    """One-dimensional convolution of one channel: signals (L,) with a filter (F,).

    Parameters
    ----------
    W : array of shape (F,)
    b : array of shape (1,), or a number
    stride : int
    pad : int or "same"
        Elements added at either end; "same" gives ceil(L / stride) outputs.
    pad_mode : {"constant", "edge"}
        Add zeros, or repeat the first and the last element.

    Attributes
    ----------
    dW, db : array of the shape of `W` and of `b`, or None
        Gradients, after `backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the filter does not fit into the padded signal.

    Notes
    -----
    It takes batches and channels as well, as :class:`Conv1d` does.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.conv1d import SimpleConv1d
    >>> layer = SimpleConv1d(np.array([1.0, 2.0]), 3.0)
    >>> layer.forward(np.array([1.0, 2.0, 3.0]))  # 1 * 1 + 2 * 2 + 3, 2 * 1 + 3 * 2 + 3
    array([ 8., 11.])
    """


class MaxPooling1D(Pools):
    """Max pooling of signals (N, C, L), or of one sample (C, L) or (L,).

    Parameters
    ----------
    pool_size : int
    stride : int
    pad : int
        Elements of minus infinity added at either end; they never win.

    Raises
    ------
    ValueError
        If the window does not fit into the padded signal, or `pad` is more than half of it.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.conv1d import MaxPooling1D
    >>> MaxPooling1D(2, stride=2).forward(np.array([1.0, 3.0, 2.0, 0.0]))
    array([3., 2.])
    """

    def __init__(self, pool_size: int, stride: int = 1, pad: int = 0) -> None:
        self.pool_size = pool_size
        self.stride = stride
        self.pad = pad

    def forward(self, x: Array) -> Array:
        (x,) = as_floats(self.who, x)
        shape = tuple(x.shape)
        if not 1 <= len(shape) <= 3:
            raise rank_error(self.who, 3, LAYOUTS[1], shape)
        xp = _xp.namespace(x)
        x = xp.reshape(x, (1,) * (3 - len(shape)) + shape)
        y, saved, window = max_pool(x, (self.pool_size,), self.stride, self.pad, self.who)
        self.x, self._columns, self._dout = xp.reshape(x, shape), (x, window), None
        kept = (saved, tuple(y.shape), shape)
        return self._keep(xp.reshape(y, shape[:-1] + tuple(y.shape[2:])), kept)

    def backward(self, dout: Array) -> Array:
        dout, (saved, y_shape, x_shape) = self._recall(dout)
        xp = _xp.namespace(dout)
        self._dout = xp.reshape(dout, y_shape)
        return xp.reshape(F.pool_backward(self._dout, saved), x_shape)
