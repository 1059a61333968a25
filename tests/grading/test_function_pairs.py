"""Pairs of functions, forward and backward: with a cache, with dicts of settings, channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xpcnn

Pair = tuple[Callable[..., Any], Callable[..., Any]]

# -- (N, C, H, W), settings in a dict, out and cache -----------------------------------------------


def conv_there(x: Any, w: Any, b: Any, conv_param: Any) -> Any:
    stride, pad = conv_param["stride"], conv_param["pad"]
    xp = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    fh, fw = w.shape[2:]
    ho = 1 + (x.shape[2] + 2 * pad - fh) // stride
    wo = 1 + (x.shape[3] + 2 * pad - fw) // stride
    out = np.zeros((len(x), len(w), ho, wo))
    for i in range(ho):
        for j in range(wo):
            part = xp[:, None, :, i * stride : i * stride + fh, j * stride : j * stride + fw]
            out[:, :, i, j] = (part * w[None]).sum(axis=(2, 3, 4)) + b
    return out, (x, w, b, conv_param)


def conv_back(dout: Any, cache: Any, mistake: str = "") -> Any:
    x, w, _, conv_param = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    xp = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    fh, fw = w.shape[2:]
    for n, f, i, j in np.ndindex(dout.shape):
        rows = slice(i * stride, i * stride + fh)
        columns = slice(j * stride, j * stride + fw)
        if mistake == "dw_of_the_last":
            dw[f] = 0 if (i, j) == (0, 0) else dw[f]
        dw[f] += xp[n, :, rows, columns] * dout[n, f, i, j]
        if mistake == "overwrites":
            dxp[n, :, rows, columns] = w[f] * dout[n, f, i, j]
        else:
            dxp[n, :, rows, columns] += w[f] * dout[n, f, i, j]
    h, wd = x.shape[2:]
    dx = dxp if mistake == "padded" else dxp[:, :, pad : pad + h, pad : pad + wd]
    return dx, dw, dout.sum(axis=(0, 2) if mistake == "db" else (0, 2, 3))


def affine_there(x: Any, w: Any, b: Any) -> Any:
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def affine_back(dout: Any, cache: Any) -> Any:
    x, w, _ = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)


def relu_there(x: Any) -> Any:
    return np.maximum(0, x), x


def relu_back(dout: Any, cache: Any) -> Any:
    return dout * (cache > 0)


def pool_there(x: Any, pool_param: Any) -> Any:
    ph, pw = pool_param["pool_height"], pool_param["pool_width"]
    s = pool_param["stride"]
    out = np.zeros(
        (*x.shape[:2], 1 + (x.shape[2] - ph) // s, 1 + (x.shape[3] - pw) // s), dtype=x.dtype
    )
    for i, j in np.ndindex(out.shape[2:]):
        out[:, :, i, j] = x[:, :, i * s : i * s + ph, j * s : j * s + pw].max(axis=(2, 3))
    return out, (x, pool_param)


def pool_back(dout: Any, cache: Any) -> Any:
    x, pool_param = cache
    ph, pw = pool_param["pool_height"], pool_param["pool_width"]
    s = pool_param["stride"]
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dout.shape):
        part = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
        r, q = np.unravel_index(part.argmax(), part.shape)
        dx[n, c, i * s + r, j * s + q] += dout[n, c, i, j]
    return dx


def norm_there(x: Any, gamma: Any, beta: Any, bn_param: Any) -> Any:
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    var = bn_param.get("running_var", np.zeros(x.shape[1]))
    cache = None
    if bn_param["mode"] == "train":
        mu, v = x.mean(axis=0), x.var(axis=0)
        hat = (x - mu) / np.sqrt(v + eps)
        out = gamma * hat + beta
        cache = hat, gamma, np.sqrt(v + eps)
        bn_param["running_mean"] = momentum * mean + (1 - momentum) * mu
        bn_param["running_var"] = momentum * var + (1 - momentum) * v
    elif bn_param["mode"] == "test":
        out = gamma * (x - mean) / np.sqrt(var + eps) + beta
    else:
        raise ValueError(bn_param["mode"])
    return out, cache


def norm_back(dout: Any, cache: Any) -> Any:
    hat, gamma, std = cache
    d = dout * gamma
    dx = (d - d.mean(0) - hat * (d * hat).mean(0)) / std
    return dx, (dout * hat).sum(0), dout.sum(0)


def dropout_there(x: Any, dropout_param: Any, *, keeps: bool = True, scaled: bool = True) -> Any:
    p = dropout_param["p"]
    kept = p if keeps else 1 - p
    mask = None
    if dropout_param["mode"] == "train":
        mask = (np.random.random(x.shape) < kept) / (kept if scaled else 1)
        x = x * mask
    return x, (dropout_param, mask)


def dropout_back(dout: Any, cache: Any) -> Any:
    dropout_param, mask = cache
    return dout * mask if dropout_param["mode"] == "train" else dout


# -- (N, H, W, C), as in the courses with hparameters ----------------------------------------------


def last_there(a_prev: Any, W: Any, b: Any, hparameters: Any) -> Any:
    stride, pad = hparameters["stride"], hparameters["pad"]
    xp = np.pad(a_prev, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    fh, fw, _, filters = W.shape
    ho = (a_prev.shape[1] - fh + 2 * pad) // stride + 1
    wo = (a_prev.shape[2] - fw + 2 * pad) // stride + 1
    z = np.zeros((len(a_prev), ho, wo, filters))
    for i, h, v, c in np.ndindex(z.shape):
        part = xp[i, h * stride : h * stride + fh, v * stride : v * stride + fw]
        z[i, h, v, c] = np.sum(part * W[..., c]) + b[0, 0, 0, c]
    return z, (a_prev, W, b, hparameters)


def last_back(dZ: Any, cache: Any) -> Any:
    a_prev, W, _, hparameters = cache
    stride, pad = hparameters["stride"], hparameters["pad"]
    xp = np.pad(a_prev, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    d = np.zeros_like(xp)
    dW = np.zeros_like(W)
    fh, fw = W.shape[:2]
    for i, h, v, c in np.ndindex(dZ.shape):
        place = (i, slice(h * stride, h * stride + fh), slice(v * stride, v * stride + fw))
        d[place] += W[..., c] * dZ[i, h, v, c]
        dW[..., c] += xp[place] * dZ[i, h, v, c]
    db = dZ.sum(axis=(0, 1, 2)).reshape(1, 1, 1, -1)
    return d[:, pad : d.shape[1] - pad, pad : d.shape[2] - pad], dW, db


def last_pool_there(A_prev: Any, hparameters: Any, mode: str = "max") -> Any:
    f, s = hparameters["f"], hparameters["stride"]
    out = np.zeros(
        (
            len(A_prev),
            1 + (A_prev.shape[1] - f) // s,
            1 + (A_prev.shape[2] - f) // s,
            A_prev.shape[3],
        )
    )
    for i, j in np.ndindex(out.shape[1:3]):
        part = A_prev[:, i * s : i * s + f, j * s : j * s + f]
        out[:, i, j] = part.max(axis=(1, 2)) if mode == "max" else part.mean(axis=(1, 2))
    return out, (A_prev, hparameters)


def last_pool_back(dA: Any, cache: Any, mode: str = "max") -> Any:
    A_prev, hparameters = cache
    f, s = hparameters["f"], hparameters["stride"]
    d = np.zeros(A_prev.shape)
    for n, i, j, c in np.ndindex(dA.shape):
        place = (n, slice(i * s, i * s + f), slice(j * s, j * s + f), c)
        if mode == "max":
            mask = A_prev[place] == A_prev[place].max()
            d[place] += mask / mask.sum() * dA[n, i, j, c]
        else:
            d[place] += np.full((f, f), dA[n, i, j, c] / f**2)
    return d


def columns_there(A: Any, W: Any, b: Any) -> Any:
    """Samples in columns, (features, samples)."""
    return W @ A + b, (A, W, b)


def columns_back(dZ: Any, cache: Any) -> Any:
    """The loss is not divided by the batch, so the gradients are."""
    A, W, _ = cache
    m = A.shape[1]
    return W.T @ dZ, dZ @ A.T / m, dZ.sum(axis=1, keepdims=True) / m


def relu_of_columns(Z: Any) -> Any:
    return np.maximum(0, Z), Z


def relu_of_columns_back(dA: Any, cache: Any) -> Any:
    dZ = np.array(dA, copy=True)
    dZ[cache <= 0] = 0
    return dZ


# -- without a cache -------------------------------------------------------------------------------


def plain_sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def from_output(dout: Any, y: Any) -> Any:
    return dout * y * (1 - y)


def from_input(x: Any, grad_output: Any) -> Any:
    return grad_output * plain_sigmoid(x) * (1 - plain_sigmoid(x))


def dense(x: Any, W: Any, b: Any) -> Any:
    return x @ W + b


def dense_back(dout: Any, x: Any, W: Any) -> Any:
    return {"dx": dout @ W.T, "dW": x.T @ dout, "db": dout.sum(axis=0)}


def several(x: Any, W: Any, b: Any) -> Any:
    return x @ W + b, x.T, W.T


def several_back(dout: Any, xt: Any, wt: Any) -> Any:
    return dout @ wt, xt @ dout, dout.sum(axis=0)


def cross_entropy(logits: Any, labels: Any) -> Any:
    shifted = logits - logits.max(axis=1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -logp[np.arange(len(labels)), labels].mean(), (np.exp(logp), labels)


def cross_entropy_back(cache: Any) -> Any:
    p, labels = cache
    d = p.copy()
    d[np.arange(len(labels)), labels] -= 1
    return d / len(labels)


RIGHT: list[tuple[Pair, str]] = [
    ((conv_there, conv_back), "conv2d"),
    ((affine_there, affine_back), "affine"),
    ((relu_there, relu_back), "relu"),
    ((pool_there, pool_back), "max_pool2d"),
    ((norm_there, norm_back), "batch_norm"),
    ((dropout_there, dropout_back), "dropout"),
    ((lambda x, dropout_param: dropout_there(x, dropout_param, keeps=False), dropout_back),
     "dropout"),
    ((last_there, last_back), "conv2d"),
    ((last_pool_there, last_pool_back), "max_pool2d"),
    ((last_pool_there, last_pool_back), "avg_pool2d"),
    ((columns_there, columns_back), "linear"),
    ((relu_of_columns, relu_of_columns_back), "relu"),
    ((plain_sigmoid, from_output), "sigmoid"),
    ((plain_sigmoid, from_input), "sigmoid"),
    ((dense, dense_back), "linear"),
    ((several, several_back), "linear"),
    ((cross_entropy, cross_entropy_back), "cross_entropy"),
]  # fmt: skip


@pytest.mark.parametrize(("pair", "like"), RIGHT)
def test_right_pairs_pass(pair: Pair, like: str) -> None:
    report = xpcnn.check(pair, like=like)
    assert report.passed, report.text
    states = {check.name: check.state for check in report.checks}
    assert states.get("dx", states.get("gradient")) == "right", report.text
    dicts = {n: s for n, s in states.items() if n in ("dW", "db", "dgamma", "dbeta", "inference")}
    assert set(dicts.values()) <= {"right", "note"}, report.text


def test_settings_in_a_dict_are_tested() -> None:
    for pair in ((conv_there, conv_back), (last_there, last_back)):
        states = {c.name: c.state for c in xpcnn.check(pair, like="conv2d").checks}
        for name in ("stride 2", "padding 1", "image not square", "kernel not square"):
            assert states[name] == "right", (name, states)


def dout_written(dout: Any, cache: Any) -> Any:
    dout[cache <= 0] = 0
    return dout


def mean_forgotten(dout: Any, cache: Any) -> Any:
    hat, gamma, std = cache
    d = dout * gamma
    return (d - hat * (d * hat).mean(0)) / std, (dout * hat).sum(0), dout.sum(0)


def no_gradient_of_labels(cache: Any) -> Any:
    return cross_entropy_back(cache) * len(cache[1])


def crashes(dout: Any, cache: Any) -> Any:
    return dout @ cache["weights"]


def of(mistake: str) -> Pair:
    return conv_there, lambda dout, cache: conv_back(dout, cache, mistake)


def columns_back_transposed(dZ: Any, cache: Any) -> Any:
    dA, dW, db = columns_back(dZ, cache)
    return dA, dW.T * dZ.shape[1], db * dZ.shape[1]


def norm_of(mistake: str) -> Pair:
    def there(x: Any, gamma: Any, beta: Any, bn_param: Any) -> Any:
        mode, kept = bn_param["mode"], dict(bn_param)
        if mistake == "batch_statistics_in_inference":
            kept = bn_param | {"mode": "train"}
        if mistake == "momentum_reversed":
            bn_param["momentum"] = 0.1
        if mistake != "running_statistics_never_move":
            kept = kept if kept["mode"] != mode else bn_param
        out, cache = norm_there(x, gamma, beta, kept)
        if mistake == "variance_divided_by_n_minus_1" and mode == "train":
            out = gamma * (x - x.mean(0)) / x.std(0, ddof=1) + beta
        return out, cache

    return there, norm_back


def stride_forgotten(x: Any, w: Any, b: Any, conv_param: Any) -> Any:
    out, cache = conv_there(x, w, b, {"stride": 1, "pad": conv_param["pad"]})
    return out, (*cache[:3], {"stride": conv_param["stride"], "pad": conv_param["pad"]})


WRONG: list[tuple[Pair, str, str]] = [
    (of("overwrites"), "conv2d", "col2im_overwrites"),
    (of("db"), "conv2d", "db"),
    (of("dw_of_the_last"), "conv2d", "dW"),
    (of("padded"), "conv2d", "padding_not_removed"),
    ((relu_there, dout_written), "relu", "backward_changes_dout"),
    ((norm_there, mean_forgotten), "batch_norm", "mean_ignored_in_backward"),
    ((lambda x, dropout_param: dropout_there(x, dropout_param, scaled=False), dropout_back),
     "dropout", "dropout_not_scaled"),
    ((cross_entropy, no_gradient_of_labels), "cross_entropy", "gradient_not_divided_by_batch"),
    ((plain_sigmoid, lambda dout, x: dout * x * (1 - x)), "sigmoid",
     "derivative_at_x_instead_of_y"),
    ((relu_there, crashes), "relu", "backward"),
    ((columns_there, columns_back_transposed), "linear", "gradient_transposed"),
    ((stride_forgotten, conv_back), "conv2d", "stride_ignored"),
    (norm_of("batch_statistics_in_inference"), "batch_norm", "batch_statistics_in_inference"),
    (norm_of("momentum_reversed"), "batch_norm", "momentum_reversed"),
    (norm_of("running_statistics_never_move"), "batch_norm", "running_statistics_never_move"),
    (norm_of("variance_divided_by_n_minus_1"), "batch_norm", "variance_divided_by_n_minus_1"),
    ((affine_there, lambda dout, cache: (dout @ cache[1].T, *affine_back(dout, cache)[1:])),
     "affine", "backward_forgets_shape"),
    ((lambda x, w, b: (x @ w, (x, w, b)), affine_back), "affine", "bias_missing"),
    ((affine_there, lambda d, cache: (*affine_back(d, cache)[:2], d.sum(axis=1))), "affine", "db"),
    ((dropout_there, lambda dout, cache: dout * (cache[1] > 0)), "dropout",
     "dropout_backward_not_scaled"),
    ((last_there, lambda dZ, cache: (*last_back(dZ, cache)[:2], last_back(dZ, cache)[2] / 3)),
     "conv2d", "db"),
]  # fmt: skip


@pytest.mark.parametrize(("pair", "like", "found"), WRONG)
def test_wrong_pairs(pair: Pair, like: str, found: str) -> None:
    """A name of a mistake, or of the check that fails where no name is certain."""
    report = xpcnn.check(pair, like=like)
    assert not report.passed
    wrong = [check.name for check in report.checks if check.state == "wrong"]
    assert found in report.mistakes or found in wrong, report.text
    if found not in report.mistakes:
        assert set(wrong) <= {found} | {"second call"}, report.text


def test_what_is_no_pair() -> None:
    with pytest.raises(TypeError, match="theirs must be two functions, .forward, backward."):
        xpcnn.check((relu_there, relu_back, relu_back), like="relu")
    with pytest.raises(TypeError, match="make is for a class"):
        xpcnn.check((relu_there, relu_back), like="relu", make=lambda: None)
    with pytest.raises(TypeError, match="must be a function"):
        xpcnn.check((relu_there, relu_back), like="im2col")
    assert xpcnn.check([relu_there, relu_back], like="relu").passed
