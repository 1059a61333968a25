"""Right implementations in every style that courses have: none is reported as wrong.

Layers are put together from a way to compute and a way to be called; a sample of them is checked
always, all of them with --run-slow.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.grading import courses
from tests.grading.courses import col2im, im2col

# -- Ways to compute a convolution of (N, C, H, W); of signals as images of one row ----------------


def by_loops(x: Any, w: Any, b: Any, s: int, p: int) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    (fh, fw), (h, wd) = w.shape[2:], x.shape[2:]
    out = np.zeros((len(x), len(w), (h - fh) // s + 1, (wd - fw) // s + 1))
    for n, f, i, j in np.ndindex(out.shape):
        out[n, f, i, j] = np.sum(x[n, :, i * s : i * s + fh, j * s : j * s + fw] * w[f]) + b[f]
    return out


def by_columns(x: Any, w: Any, b: Any, s: int, p: int) -> Any:
    fh, fw = w.shape[2:]
    oh = (x.shape[2] + 2 * p - fh) // s + 1
    out = im2col(x, fh, fw, s, p) @ w.reshape(len(w), -1).T + b
    return out.reshape(len(x), oh, -1, len(w)).transpose(0, 3, 1, 2)


def by_strides(x: Any, w: Any, b: Any, s: int, p: int) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    view = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::s, ::s]
    return np.einsum("ncijkl,fckl->nfij", view, w) + b[:, None, None]


def by_tensordot(x: Any, w: Any, b: Any, s: int, p: int) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    view = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::s, ::s]
    out = np.tensordot(view, w, axes=[(1, 4, 5), (1, 2, 3)]) + b
    return out.transpose(0, 3, 1, 2)


def by_taps(x: Any, w: Any, b: Any, s: int, p: int) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    (fh, fw), (h, wd) = w.shape[2:], x.shape[2:]
    oh, ow = (h - fh) // s + 1, (wd - fw) // s + 1
    out = np.zeros((len(x), len(w), oh, ow)) + b.reshape(1, -1, 1, 1)
    for i, j in np.ndindex(fh, fw):
        part = x[:, :, i : i + s * (oh - 1) + 1 : s, j : j + s * (ow - 1) + 1 : s]
        out += np.einsum("ncij,fc->nfij", part, w[:, :, i, j])
    return out


def by_fft(x: Any, w: Any, b: Any, s: int, p: int) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    size = tuple(x.shape[i] + w.shape[i] - 1 for i in (2, 3))
    spectrum = np.einsum(
        "nchw,fchw->nfhw", np.fft.rfft2(x, size), np.fft.rfft2(w[:, :, ::-1, ::-1], size)
    )
    full = np.fft.irfft2(spectrum, size)
    (fh, fw), (h, wd) = w.shape[2:], x.shape[2:]
    return full[:, :, fh - 1 : h : s, fw - 1 : wd : s] + b[:, None, None]


FORWARDS = (by_loops, by_columns, by_strides, by_tensordot, by_taps, by_fft)


def gradients(x: Any, w: Any, dout: Any, s: int, p: int) -> tuple[Any, Any, Any]:
    rows = dout.transpose(0, 2, 3, 1).reshape(-1, len(w))
    dw = (rows.T @ im2col(x, *w.shape[2:], s, p)).reshape(w.shape)
    dx = col2im(rows @ w.reshape(len(w), -1), x.shape, *w.shape[2:], s, p)
    return dx, dw, rows.sum(axis=0)


# -- Ways to be called -----------------------------------------------------------------------------


class Given:
    """W and b come with the constructor, gradients are attributes."""

    def __init__(self, W: Any, b: Any, stride: int = 1, pad: int = 0) -> None:
        self.W, self.b, self.stride, self.pad = W, b, stride, pad

    def forward(self, x: Any) -> Any:
        self.x = x
        return self.compute(x, self.W, self.b, self.stride, self.pad)

    def backward(self, dout: Any) -> Any:
        dx, self.dW, self.db = gradients(self.x, self.W, dout, self.stride, self.pad)
        return dx


class Returned(Given):
    """backward returns all three, in an order of its own."""

    def backward(self, dout: Any) -> Any:
        dx, dw, db = gradients(self.x, self.W, dout, self.stride, self.pad)
        return db, dw, dx


class Counted:
    """Made of numbers of channels; weights lie in a dict."""

    def __init__(self, out_channels: int, in_channels: int, kernel_size: Any, stride: int = 1,
                 padding: int = 0) -> None:  # fmt: skip
        k = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 2
        self.params = {"W": np.random.randn(out_channels, in_channels, *k),
                       "b": np.zeros((out_channels, 1))}  # fmt: skip
        self.stride, self.padding = stride, padding

    def __call__(self, x: Any, training: bool = True) -> Any:
        self.x = x
        b = self.params["b"].ravel()
        return self.compute(x, self.params["W"], b, self.stride, self.padding)

    def backward(self, dout: Any) -> Any:
        dx, dw, db = gradients(self.x, self.params["W"], dout, self.stride, self.padding)
        self.grads = {"W": dw, "b": db.reshape(-1, 1)}
        return dx


class Plain:
    """No stride, no padding, square filters by a count; gradients end in _grad."""

    def __init__(self, n_channels: int, n_filters: int, filter_size: int) -> None:
        self.weight = np.zeros((n_filters, n_channels, filter_size, filter_size))
        self.bias = np.zeros(n_filters)

    def forward(self, x: Any) -> Any:
        self.x = x
        return self.compute(x, self.weight, self.bias, 1, 0)

    def backward(self, dout: Any) -> Any:
        dx, self.weight_grad, self.bias_grad = gradients(self.x, self.weight, dout, 1, 0)
        return dx


class Last:
    """Images (N, H, W, C), filters (height, width, C, F)."""

    def __init__(self, W: Any, b: Any, stride: int = 1, pad: int = 0) -> None:
        self.W, self.b, self.stride, self.pad = W, b, stride, pad

    def forward(self, A_prev: Any) -> Any:
        self.x = A_prev.transpose(0, 3, 1, 2)
        w = self.W.transpose(3, 2, 0, 1)
        out = self.compute(self.x, w, self.b.reshape(-1), self.stride, self.pad)
        return out.transpose(0, 2, 3, 1)

    def backward(self, dZ: Any) -> Any:
        w, dout = self.W.transpose(3, 2, 0, 1), dZ.transpose(0, 3, 1, 2)
        dx, dw, db = gradients(self.x, w, dout, self.stride, self.pad)
        return dx.transpose(0, 2, 3, 1), dw.transpose(2, 3, 1, 0), db


class OneImage(Given):
    """Images (C, H, W) without a batch."""

    def forward(self, x: Any) -> Any:
        if x.ndim != 3:
            raise ValueError("expected one image")
        return super().forward(x[None])[0]

    def backward(self, dout: Any) -> Any:
        return super().backward(dout[None])[0]


class Signals(Given):
    """Signals (N, C, L); attributes are written w and dw."""

    def forward(self, x: Any) -> Any:
        self.w = self.W
        x = np.pad(x, ((0, 0), (0, 0), (self.pad, self.pad)))
        self.x, w = x[:, :, None], self.w[:, :, None]
        out = self.compute(self.x, w, self.b, 1, 0)
        return out[:, :, 0, :: self.stride]

    def backward(self, dout: Any) -> Any:
        n, f, _ = dout.shape
        dense = np.zeros((n, f, 1, self.x.shape[3] - self.w.shape[2] + 1))
        dense[:, :, 0, :: self.stride] = dout
        dx, dw, self.db = gradients(self.x, self.w[:, :, None], dense, 1, 0)
        self.dw = self.dW = dw[:, :, 0]
        return dx[:, :, 0, self.pad : dx.shape[3] - self.pad]


class Float32(Given):
    """Computes in float32 whatever comes."""

    def forward(self, x: Any) -> Any:
        return super().forward(x.astype(np.float32)).astype(np.float32)


CALLED = (Given, Returned, Counted, Plain, Last, OneImage, Signals, Float32)
RIGHT: list[Any] = []


def add(theirs: Any, like: Any, name: str) -> None:
    RIGHT.append(pytest.param(theirs, like, id=name))


for called, computed in product(CALLED, FORWARDS):
    layer = type(called.__name__, (called,), {"compute": staticmethod(computed)})
    kind = "conv1d" if called is Signals else "conv2d"
    add(layer, kind, f"{called.__name__}-{computed.__name__}")
    if called in (Given, Returned):  # objects with weights, stride and padding of their own
        for n_filters, stride, pad in product((1, 3), (1, 2), (0, 1)):
            weights = np.linspace(-1, 1, n_filters * 18).reshape(n_filters, 2, 3, 3)
            obj = layer(weights, np.arange(n_filters) / 2, stride, pad)
            add(obj, kind, f"object-{called.__name__}-{computed.__name__}-{n_filters}{stride}{pad}")
    if called is Counted:
        asked = xpcnn.Conv2d(2, 3, 3, stride=2, padding=1)
        add(layer, asked, f"as-asked-{computed.__name__}")
for computed in FORWARDS:
    add(lambda x, w, b, stride=1, pad=0, f=computed: f(x, w, b, stride, pad), "conv2d",
        f"function-{computed.__name__}")  # fmt: skip

# -- Linear layers ---------------------------------------------------------------------------------


def linear(rows_first: bool, bias: str, where: str) -> Any:
    """Make a class: W (in, out) or (out, in), b of a shape, gradients in a place."""

    class Dense:
        def __init__(self, n_in: int, n_out: int) -> None:
            self.W = np.zeros((n_in, n_out) if rows_first else (n_out, n_in))
            self.b = np.zeros({"line": (n_out,), "row": (1, n_out)}[bias])

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ (self.W if rows_first else self.W.T) + self.b

        def backward(self, dout: Any) -> Any:
            dw = self.x.T @ dout if rows_first else dout.T @ self.x
            db = dout.sum(axis=0, keepdims=bias == "row")
            dx = dout @ (self.W.T if rows_first else self.W)
            if where == "returned":
                return dx, dw, db
            if where == "dict":
                self.grads = {"W": dw, "b": db}
            elif where == "list":
                self.grads = [dw, db]
            else:
                setattr(self, where.format("W"), dw)
                setattr(self, where.format("b"), db)
            return dx

    return Dense


for rows_first, bias, where in product(
    (True, False), ("line", "row"),
    ("returned", "dict", "list", "d{}", "{}_grad", "grad_{}", "d_{}"),
):  # fmt: skip
    add(linear(rows_first, bias, where), "linear", f"linear-{rows_first}-{bias}-{where}")

# -- The others ------------------------------------------------------------------------------------

for name, like in {
    "Conv": "conv2d", "Conv1dLoops": "conv1d", "Affine": "linear", "MaxPool": "max_pool2d",
    "AvgPool": "avg_pool2d", "ReLU": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh",
    "Softmax": "softmax", "SoftmaxWithLoss": "cross_entropy", "BatchNorm": "batch_norm",
    "Dropout": "dropout", "Optimizer": "sgd", "Momentum": "momentum", "AdaGrad": "adagrad",
    "RMSProp": "rmsprop", "Adam": "adam", "im2col": "im2col", "col2im": "col2im",
}.items():  # fmt: skip
    add(getattr(courses, name), like, name)

for name, function in {
    "where": lambda x: np.where(x > 0, x, 0),
    "product": lambda x: x * (x > 0),
    "abs": lambda x: (np.abs(x) + x) / 2,
    "clip": lambda x: np.clip(x, 0, None),
    "lists": lambda x: np.array([max(v, 0.0) for v in x.ravel()]).reshape(x.shape),
}.items():
    add(function, "relu", f"relu-{name}")
add(lambda x: 0.5 * (1 + np.tanh(x / 2)), "sigmoid", "sigmoid-by-tanh")
add(lambda x: np.where(x > 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x))), xpcnn.Sigmoid,
    "sigmoid-both-sides")  # fmt: skip
add(lambda x: 2 / (1 + np.exp(-2 * x)) - 1, "tanh", "tanh-by-sigmoid")
add(lambda z: np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True)), "softmax", "softmax-lae")
add(lambda y, t: -np.log(y[np.arange(len(t)), t] + 1e-7).mean(), "cross_entropy", "ce-labels")
add(lambda y, t: -np.log(y[np.arange(len(t)), t] + 1e-7).sum(), "cross_entropy", "ce-sum")
add(lambda y, t: -np.sum(t * np.log(np.maximum(y, 1e-12))) / len(y), "cross_entropy", "ce-max")
add(lambda t, y: -np.sum(t * np.log(y + 1e-7)) / len(y), "cross_entropy", "ce-swapped")
add(lambda y, t: ((y - t) ** 2).mean(), "mse", "mse-mean")
add(lambda y, t: 0.5 * ((y - t) ** 2).sum(), xpcnn.MSELoss, "mse-half")
add(lambda y_true, y_pred: np.mean(np.square(y_pred - y_true)), "mse", "mse-swapped")


def conv_forward(x: Any, w: Any, b: Any, conv_param: Any) -> Any:
    return by_taps(x, w, b, conv_param["stride"], conv_param["pad"]), (x, w, b, conv_param)


def pool_forward(x: Any, pool_param: Any) -> Any:
    layer = courses.MaxPool(
        pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    )
    return layer.forward(x), (x, pool_param)


add(conv_forward, "conv2d", "settings-in-a-dict")
add(pool_forward, xpcnn.MaxPool2d((2, 3), stride=2), "pool-settings-in-a-dict")


class AdamOfLists:
    def __init__(self, lr: float = 0.001, betas: Any = (0.9, 0.999)) -> None:
        self.lr, self.betas, self.t = lr, betas, 0
        self.m: Any = None

    def step(self, params: Any, grads: Any) -> None:
        if self.m is None:
            self.m, self.v = ([np.zeros_like(p) for p in params] for _ in range(2))
        self.t += 1
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            self.m[i] = self.betas[0] * self.m[i] + (1 - self.betas[0]) * g
            self.v[i] = self.betas[1] * self.v[i] + (1 - self.betas[1]) * g**2
            m = self.m[i] / (1 - self.betas[0] ** self.t)
            p -= self.lr * m / (np.sqrt(self.v[i] / (1 - self.betas[1] ** self.t)) + 1e-6)


def descend(params: Any, grads: Any, learning_rate: float = 0.01) -> None:
    for key, gradient in grads.items():
        params[key] -= learning_rate * gradient


class ReluOneAtZero(courses.ReLU):
    def derivative(self) -> Any:
        return self.x >= 0


add(AdamOfLists, "adam", "adam-of-lists")
add(descend, "sgd", "sgd-function")
add(ReluOneAtZero, "relu", "relu-one-at-zero")


def test_there_are_more_than_200() -> None:
    assert len(RIGHT) >= 200


def check_it(theirs: Any, like: Any) -> None:
    report = xpcnn.check(theirs, like=like)
    assert report.passed, report.text
    assert report.mistakes == []


@pytest.mark.parametrize(("theirs", "like"), RIGHT[::5])
def test_a_sample(theirs: Any, like: Any) -> None:
    check_it(theirs, like)


@pytest.mark.slow
@pytest.mark.parametrize(("theirs", "like"), RIGHT)
def test_all(theirs: Any, like: Any) -> None:
    check_it(theirs, like)
