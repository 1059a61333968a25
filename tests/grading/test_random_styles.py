"""A thousand right layers, put together at random from dialects, names, dtypes and dimensions.

None may be reported as wrong. Some are run always, all of them with --run-slow.
"""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import numpy as np
import pytest

import xpcnn

# -- The numbers, of any rank, (N, C, ...) ---------------------------------------------------------


def places(x: Any, kernel: Any, s: int) -> Any:
    """Yield each tap with the part of the padded x that it is multiplied with."""
    out = [(n - k) // s + 1 for n, k in zip(x.shape[2:], kernel, strict=True)]
    for tap in product(*map(range, kernel)):
        part = tuple(slice(t, t + s * (o - 1) + 1, s) for t, o in zip(tap, out, strict=True))
        yield tap, (slice(None), slice(None), *part)


def padded(x: Any, p: int) -> Any:
    return np.pad(x, [(0, 0), (0, 0), *[(p, p)] * (x.ndim - 2)])


def convolve(x: Any, w: Any, b: Any, s: int, p: int) -> Any:
    x = padded(x, p)
    terms = [
        np.einsum("nc...,fc->nf...", x[part], w[(..., *tap)])
        for tap, part in places(x, w.shape[2:], s)
    ]
    return sum(terms) + b.reshape(-1, *(1,) * (x.ndim - 2))


def gradients(x: Any, w: Any, dout: Any, s: int, p: int) -> Any:
    shape, x = x.shape, padded(x, p)
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for tap, part in places(x, w.shape[2:], s):
        dx[part] += np.einsum("nf...,fc->nc...", dout, w[(..., *tap)])
        rows = np.moveaxis(dout, 1, 0).reshape(len(w), -1)
        dw[(..., *tap)] = rows @ np.moveaxis(x[part], 1, 0).reshape(x.shape[1], -1).T
    inner = tuple(slice(p, p + n) for n in shape[2:])
    return dx[(..., *inner)], dw, dout.sum(axis=(0, *range(2, dout.ndim)))


# -- How it is laid out, called and named ----------------------------------------------------------

LAYOUTS = ("first", "last", "unbatched")
NAMES = {
    "W": ("W", "w", "weight", "weights", "kernel"),
    "b": ("b", "bias", "biases"),
    "stride": ("stride", "strides", "S", "step"),
    "pad": ("pad", "padding", "P"),
}
GRADIENTS = ("d{}", "{}_grad", "grad_{}", "d_{}", "delta_{}")


class Layer:
    """A convolution; `style` says how it is laid out, called and named."""

    style: Any

    def setup(self, W: Any, b: Any, stride: int, pad: int) -> None:
        self.stride, self.pad = stride, pad
        setattr(self, self.style["W"], W)
        setattr(self, self.style["b"], b)

    def ours(self, x: Any) -> Any:
        layout = self.style["layout"]
        return {"first": x, "last": np.moveaxis(x, -1, 1), "unbatched": x[None]}[layout]

    def theirs(self, y: Any) -> Any:
        layout = self.style["layout"]
        y = {"first": y, "last": np.moveaxis(y, 1, -1), "unbatched": y[0]}[layout]
        return y.astype(self.style["dtype"])

    def filters_first(self) -> Any:
        w = getattr(self, self.style["W"])
        return np.moveaxis(w, (-1, -2), (0, 1)) if self.style["layout"] == "last" else w

    def compute(self, x: Any) -> Any:
        if x.ndim != self.style["rank"] + 2 - (self.style["layout"] == "unbatched"):
            raise ValueError("x has another number of axes")
        self.x = self.ours(x)
        b = np.asarray(getattr(self, self.style["b"])).ravel()
        return self.theirs(convolve(self.x, self.filters_first(), b, self.stride, self.pad))

    def differentiate(self, dout: Any) -> Any:
        dx, dw, db = gradients(self.x, self.filters_first(), self.ours(dout), self.stride, self.pad)
        if self.style["layout"] == "last":
            dw = np.moveaxis(dw, (0, 1), (-1, -2))
        dx, db = self.theirs(dx), db.reshape(np.shape(getattr(self, self.style["b"])))
        named = {"W": dw.astype(self.style["dtype"]), "b": db}
        if self.style["gives"] == "returns":
            return dx, *named.values()
        for role, gradient in named.items():
            setattr(self, self.style["gradient"].format(self.style[role]), gradient)
        if self.style["gives"] == "dict":
            self.grads = {self.style[role]: gradient for role, gradient in named.items()}
        return dx


def styled(seed: int) -> tuple[type, Any, dict[str, Any]]:
    """Return a class, what it is like, and its style."""
    pick = random.Random(seed)
    style: dict[str, Any] = {role: pick.choice(names) for role, names in NAMES.items()}
    style |= {"layout": pick.choice(LAYOUTS), "rank": pick.choice((1, 1, 2, 2, 2, 3)),
              "dtype": pick.choice(("float64", "float32")), "gradient": pick.choice(GRADIENTS),
              "gives": pick.choice(("returns", "dict", "attributes")),
              "settings": pick.choice((0, 1, 2)), "called": pick.choice(("forward", "__call__")),
              "flag": pick.choice(("", ", train_flg=True", ", training=False"))}  # fmt: skip
    names = ("stride", "pad")[: style["settings"]]
    given = {name: style[name] for name in names}
    settings = "".join(f", {n}={int(role == 'stride')}" for role, n in given.items())
    values = ", ".join([given.get("stride", "1"), given.get("pad", "0")])
    source = f"""
class Made(Layer):
    def __init__(self, {style["W"]}, {style["b"]}{settings}):
        self.setup({style["W"]}, {style["b"]}, {values})
    def {style["called"]}(self, x{style["flag"]}):
        return self.compute(x)
    def backward(self, {pick.choice(("dout", "grad_output", "dZ", "grad"))}):
        return self.differentiate({{}})
"""
    argument = source.split("backward(self, ")[1].split(")")[0]
    made: dict[str, Any] = {"Layer": Layer}
    exec(source.replace("{}", argument), made)
    made["Made"].style = style
    rank, layout = style["rank"], style["layout"]
    cls = {1: xpcnn.Conv1d, 2: xpcnn.Conv2d, 3: xpcnn.Conv3d}[rank]
    likes = [cls, f"conv{rank}d", f"Conv{rank}D"]
    if style["settings"] == 2 and layout != "unbatched":
        likes.append(cls(2, 3, 3, stride=pick.choice((1, 2)), padding=pick.choice((0, 1))))
    return made["Made"], pick.choice(likes), style


def check_it(seed: int) -> None:
    made, like, style = styled(seed)
    report = xpcnn.check(made, like=like)
    assert report.passed, f"{style}\n{report.text}"
    assert report.mistakes == []
    states = {check.name: check.state for check in report.checks}
    assert [states[name] for name in ("forward", "dx", "dW", "db")] == ["right"] * 4, report.text


@pytest.mark.parametrize("seed", range(60))
def test_some(seed: int) -> None:
    check_it(seed)


@pytest.mark.slow
def test_a_thousand() -> None:
    for seed in range(60, 1060):
        check_it(seed)


def test_a_mistake_in_a_random_style_is_seen() -> None:
    """The same classes with dW of the wrong sign: all of them fail, by that name."""
    for seed in range(12):
        made, like, style = styled(seed)
        style["gives"] = "returns"
        right = made.differentiate  # type: ignore[attr-defined]
        made.differentiate = lambda self, dout, f=right: (  # type: ignore[attr-defined]
            lambda dx, dw, db: (dx, -dw, db)
        )(*f(self, dout))
        assert xpcnn.check(made, like=like).mistakes == ["wrong_sign"], style
