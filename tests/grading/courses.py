"""A right layer of each kind, as a learner writes it; the tests break one thing of it each time."""

from __future__ import annotations

from typing import Any

import numpy as np


def im2col(x: Any, fh: int, fw: int, stride: int = 1, pad: int = 0) -> Any:
    n, c, h, w = x.shape
    oh, ow = (h + 2 * pad - fh) // stride + 1, (w + 2 * pad - fw) // stride + 1
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    cols = np.empty((n, oh, ow, c, fh, fw))
    for i in range(oh):
        for j in range(ow):
            top, left = i * stride, j * stride
            cols[:, i, j] = x[:, :, top : top + fh, left : left + fw]
    return cols.reshape(n * oh * ow, c * fh * fw)


def col2im(cols: Any, shape: Any, fh: int, fw: int, stride: int = 1, pad: int = 0) -> Any:
    n, c, h, w = shape
    oh, ow = (h + 2 * pad - fh) // stride + 1, (w + 2 * pad - fw) // stride + 1
    cols = cols.reshape(n, oh, ow, c, fh, fw)
    image = np.zeros((n, c, h + 2 * pad, w + 2 * pad))
    for i in range(oh):
        for j in range(ow):
            top, left = i * stride, j * stride
            image[:, :, top : top + fh, left : left + fw] += cols[:, i, j]
    return image[:, :, pad : pad + h, pad : pad + w]


class Conv:
    """By im2col; its steps are methods, so that one can be replaced."""

    def __init__(self, W: Any, b: Any, stride: int = 1, pad: int = 0) -> None:
        self.W, self.b, self.stride, self.pad = W, b, stride, pad

    def columns(self, x: Any) -> Any:
        return im2col(x, *self.W.shape[2:], self.stride, self.pad)

    def image(self, cols: Any) -> Any:
        return col2im(cols, self.x.shape, *self.W.shape[2:], self.stride, self.pad)

    def size(self, x: Any) -> tuple[int, int]:
        (h, w), (fh, fw) = x.shape[2:], self.W.shape[2:]
        p, s = self.pad, self.stride
        return (h + 2 * p - fh) // s + 1, (w + 2 * p - fw) // s + 1

    def filters(self) -> Any:
        return self.W.reshape(len(self.W), -1)

    def forward(self, x: Any) -> Any:
        self.x = x
        self.cols = self.columns(x)
        out = self.cols @ self.filters().T + self.b
        return out.reshape(len(x), *self.size(x), -1).transpose(0, 3, 1, 2)

    def rows(self, dout: Any) -> Any:
        return dout.transpose(0, 2, 3, 1).reshape(-1, len(self.W))

    def backward(self, dout: Any) -> Any:
        rows = self.rows(dout)
        self.db = rows.sum(axis=0)
        self.dW = (rows.T @ self.cols).reshape(self.W.shape)
        return self.image(rows @ self.filters())


class Conv1dLoops:
    """By loops, of (N, C, L)."""

    def __init__(self, W: Any, b: Any, stride: int = 1, pad: int = 0) -> None:
        self.w, self.b, self.s, self.p = W, b, stride, pad

    def forward(self, x: Any) -> Any:
        self.x = np.pad(x, ((0, 0), (0, 0), (self.p, self.p)))
        n, _, length = self.x.shape
        f, _, k = self.w.shape
        out = np.zeros((n, f, (length - k) // self.s + 1))
        for i in range(out.shape[2]):
            window = self.x[:, :, i * self.s : i * self.s + k]
            out[:, :, i] = np.einsum("nck,fck->nf", window, self.w) + self.b
        return out

    def backward(self, dout: Any) -> Any:
        k = self.w.shape[2]
        self.dw, dx = np.zeros_like(self.w), np.zeros_like(self.x)
        for i in range(dout.shape[2]):
            at = slice(i * self.s, i * self.s + k)
            self.dw += np.einsum("nf,nck->fck", dout[:, :, i], self.x[:, :, at])
            dx[:, :, at] += np.einsum("nf,fck->nck", dout[:, :, i], self.w)
        self.db = dout.sum(axis=(0, 2))
        return dx[:, :, self.p : dx.shape[2] - self.p]


class Affine:
    def __init__(self, W: Any, b: Any) -> None:
        self.W, self.b = W, b

    def forward(self, x: Any) -> Any:
        self.shape = x.shape
        self.x = x.reshape(len(x), -1)
        return self.x @ self.W + self.b

    def backward(self, dout: Any) -> Any:
        self.dW = self.x.T @ dout
        self.db = dout.sum(axis=0)
        return (dout @ self.W.T).reshape(self.shape)


class MaxPool:
    """By loops over the positions."""

    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        self.kernel, self.stride, self.pad = (pool_h, pool_w), stride, pad
        self.fill: float = -np.inf

    def windows(self, x: Any) -> Any:
        (kh, kw), s = self.kernel, self.stride
        for i in range((x.shape[2] - kh) // s + 1):
            for j in range((x.shape[3] - kw) // s + 1):
                yield i, j, (..., slice(i * s, i * s + kh), slice(j * s, j * s + kw))

    def reduce(self, window: Any) -> Any:
        return window.max(axis=(2, 3))

    def forward(self, x: Any) -> Any:
        p, s = self.pad, self.stride
        self.x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=self.fill)
        oh, ow = ((n - k) // s + 1 for n, k in zip(self.x.shape[2:], self.kernel, strict=True))
        out = np.zeros((*x.shape[:2], oh, ow))
        for i, j, at in self.windows(self.x):
            out[:, :, i, j] = self.reduce(self.x[at])
        return out

    def share(self, window: Any) -> Any:
        flat = window.reshape(*window.shape[:2], -1)
        best = flat.argmax(axis=2)[..., None]
        return (np.arange(flat.shape[2]) == best).reshape(window.shape)

    def backward(self, dout: Any) -> Any:
        dx = np.zeros(self.x.shape)
        for i, j, at in self.windows(self.x):
            dx[at] += self.share(self.x[at]) * dout[:, :, i, j, None, None]
        h, w = dx.shape[2:]
        return dx[:, :, self.pad : h - self.pad, self.pad : w - self.pad]


class AvgPool(MaxPool):
    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        super().__init__(pool_h, pool_w, stride, pad)
        self.fill = 0.0

    def reduce(self, window: Any) -> Any:
        return window.mean(axis=(2, 3))

    def share(self, window: Any) -> Any:
        return np.full(window.shape, 1 / np.prod(self.kernel))


class Activation:
    """``forward`` keeps x and y; the derivative is a method of its own."""

    def forward(self, x: Any) -> Any:
        self.x, self.y = x, self.f(x)
        return self.y

    def backward(self, dout: Any) -> Any:
        return dout * self.derivative()

    def f(self, x: Any) -> Any:
        raise NotImplementedError

    def derivative(self) -> Any:
        raise NotImplementedError


class ReLU(Activation):
    def f(self, x: Any) -> Any:
        return np.maximum(x, 0)

    def derivative(self) -> Any:
        return self.x > 0


class Sigmoid(Activation):
    def f(self, x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def derivative(self) -> Any:
        return self.y * (1 - self.y)


class Tanh(Activation):
    def f(self, x: Any) -> Any:
        return np.tanh(x)

    def derivative(self) -> Any:
        return 1 - self.y**2


class Softmax(Activation):
    def f(self, x: Any) -> Any:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def backward(self, dout: Any) -> Any:
        return self.y * (dout - (dout * self.y).sum(axis=1, keepdims=True))


class SoftmaxWithLoss:
    def softmax(self, x: Any) -> Any:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def loss(self, y: Any, t: Any) -> Any:
        return -np.sum(t * np.log(y + 1e-7)) / len(t)

    def forward(self, x: Any, t: Any) -> Any:
        self.y, self.t = self.softmax(x), t
        return self.loss(self.y, t)

    def backward(self, dout: float = 1) -> Any:
        return (self.y - self.t) / len(self.t)


class BatchNorm:
    """Of (N, D)."""

    eps = 1e-7
    momentum = 0.9

    def __init__(self, gamma: Any, beta: Any) -> None:
        self.gamma, self.beta = gamma, beta
        self.mean: Any = np.zeros(len(gamma))
        self.var: Any = np.ones(len(gamma))

    def statistics(self, x: Any) -> tuple[Any, Any]:
        return x.mean(axis=0), x.var(axis=0)

    def follow(self, mu: Any, var: Any) -> None:
        self.mean = self.momentum * self.mean + (1 - self.momentum) * mu
        self.var = self.momentum * self.var + (1 - self.momentum) * var

    def forward(self, x: Any, train_flg: bool = True) -> Any:
        if not train_flg:
            return self.gamma * (x - self.mean) / np.sqrt(self.var + self.eps) + self.beta
        self.x = x
        mu, var = self.statistics(x)
        self.std = np.sqrt(var + self.eps)
        self.hat = (x - mu) / self.std
        self.follow(mu, var)
        return self.gamma * self.hat + self.beta

    def backward(self, dout: Any) -> Any:
        self.dgamma, self.dbeta = (dout * self.hat).sum(axis=0), dout.sum(axis=0)
        d = dout * self.gamma / self.std
        return d - d.mean(axis=0) - self.hat * (d * self.hat).mean(axis=0)


class Dropout:
    """Scaled in inference."""

    def __init__(self, dropout_ratio: float = 0.5) -> None:
        self.ratio = dropout_ratio

    def draw(self, shape: Any) -> Any:
        return np.random.rand(*shape) > self.ratio

    def forward(self, x: Any, train_flg: bool = True) -> Any:
        if not train_flg:
            return x * (1 - self.ratio)
        self.mask = self.draw(x.shape)
        return x * self.mask

    def backward(self, dout: Any) -> Any:
        return dout * self.mask


class Optimizer:
    """The step of one parameter is a method; what it keeps lies in ``self.kept``."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr, self.t = lr, 0
        self.kept: dict[str, Any] = {}

    def update(self, params: Any, grads: Any) -> None:
        self.t += 1
        for key in params:
            params[key] -= self.step(key, grads[key])

    def keep(self, name: str, old: float, new: Any) -> Any:
        self.kept[name] = old * self.kept.get(name, 0.0) + new
        return self.kept[name]

    def step(self, key: str, g: Any) -> Any:
        return self.lr * g


class Momentum(Optimizer):
    def step(self, key: str, g: Any) -> Any:
        return -self.keep(key, 0.9, -self.lr * g)


class AdaGrad(Optimizer):
    def step(self, key: str, g: Any) -> Any:
        return self.lr * g / (np.sqrt(self.keep(key, 1.0, g * g)) + 1e-7)


class RMSProp(Optimizer):
    def step(self, key: str, g: Any) -> Any:
        return self.lr * g / (np.sqrt(self.keep(key, 0.99, 0.01 * g * g)) + 1e-7)


class Adam(Optimizer):
    def step(self, key: str, g: Any) -> Any:
        m = self.keep("m" + key, 0.9, 0.1 * g) / (1 - 0.9**self.t)
        v = self.keep("v" + key, 0.999, 0.001 * g * g) / (1 - 0.999**self.t)
        return self.lr * m / (np.sqrt(v) + 1e-8)
