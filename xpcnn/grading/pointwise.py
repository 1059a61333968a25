"""Pooling, activations, softmax and flattening: what is tried, and what mistakes give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.grading import windows
from xpcnn.grading.calling import TheirError, UnrecognisedError
from xpcnn.grading.dialects import Layout
from xpcnn.grading.running import Accepted, Family, Grading, Hypotheses, close
from xpcnn.grading.trials import Trial, drawn, run_ours
from xpcnn.layers.layer import Layer


class PoolFamily(Family):
    """Max or average pooling of any rank."""

    preferred = ("size", "height", "width", "stride", "pad")
    make_example = "make=lambda size, stride, pad: TheirClass(size, stride, pad)"
    layouts = (Layout(), Layout("last"), Layout("unbatched"))

    def __init__(self, cls: Any, rank: int, fixed: dict[str, Any], *, maximum: bool) -> None:
        self.cls, self.rank, self.fixed, self.maximum = cls, rank, fixed, maximum

    def layer(self, trial: Trial) -> Layer:
        s = trial.settings
        return self.cls(s["size"], stride=s["stride"], padding=s["pad"])

    def trials(self, layout: Layout) -> list[Trial]:
        d = self.rank
        n = 1 if layout.images == "unbatched" else 3
        make = self._trial
        found = [make("forward", n, 2, (6,) * d, 2, 2)]
        if n > 1:
            found.append(make("batch of 1", 1, 3, (6,) * d, 2, 2))
        if d > 1:
            found.append(make("image not square", n, 2, tuple(4 + 2 * i for i in range(d)), 2, 2))
        if self.fixed:
            return found
        found.append(make("overlapping windows", n, 2, (7,) * d, 3, 2))
        found.append(make("windows that do not fit", n, 2, (7,) * d, 2, 2))
        found.append(make("padding 1", n, 2, (5,) * d, 3, 2, 1))
        if self.maximum:
            negative = make("negative maxima", n, 2, (5,) * d, 3, 2, 1)
            found.append(self.solved(replace(negative, x=-np.abs(negative.x) - 1)))
            ties = make("equal maxima", n, 2, (6,) * d, 2, 2)
            found.append(self.solved(replace(ties, x=np.round(ties.x / 4))))
        return found

    def _trial(
        self, name: str, n: int, channels: int, size: tuple[int, ...],
        kernel: int, stride: int, pad: int = 0,
    ) -> Trial:  # fmt: skip
        d = self.rank
        generator = np.random.default_rng(2)
        settings: dict[str, Any] = {"size": (kernel,) * d, "stride": (stride,) * d}
        settings["pad"] = (pad,) * d
        settings |= self.fixed
        settings["pooling"] = "max" if self.maximum else "average"
        size = tuple(max(s, k) for s, k in zip(size, settings["size"], strict=True))
        shape = (n, channels, *size)
        x = generator.permutation(int(np.prod(shape))).reshape(shape) / 10 - 3  # no two alike
        asked: tuple[str, ...] = () if settings["stride"] == settings["size"] else ("stride",)
        asked += ("pad",) * (set(settings["pad"]) != {0})
        return self.solved(Trial(name, x, drawn(generator, shape), {}, settings, asked))

    def _columns(self, trial: Trial, fill: float) -> tuple[Array, Any, Any]:
        s = trial.settings
        pads = [(p, p) for p in s["pad"]]
        padded = windows.padded(trial.x, pads, fill)
        return windows.windows(padded, s["size"], s["stride"]), padded.shape, pads

    def _back(self, trial: Trial, marks: Array, how: str = "add") -> Array:
        """Spread dout over the windows by weights, and gather dx."""
        _, shape, pads = self._columns(trial, 0.0)
        d = trial.dout.reshape(*trial.dout.shape, *(1,) * self.rank)
        image = windows.scatter(d * marks, shape, trial.settings["stride"], how)
        return windows.unpadded(image, pads)

    def accepted(self, trial: Trial, quantity: str) -> Accepted:
        if self.maximum and quantity == "dx":
            cols, _, _ = self._columns(trial, -np.inf)
            for which in ("last", "evenly"):
                yield self._back(trial, windows.one_hot_maxima(cols, self.rank, which))
        if not self.maximum and any(trial.settings["pad"]):  # only what is there is counted
            cols, _, _ = self._columns(trial, np.nan)
            taps = tuple(range(-self.rank, 0))
            if quantity == "y":
                yield np.nanmean(cols, axis=taps)
            if quantity == "dx":
                there = ~np.isnan(cols)
                yield self._back(trial, there / there.sum(taps, keepdims=True))

    def hypotheses(self, trial: Trial, quantity: str) -> Hypotheses:
        if quantity == "y":
            yield from self._forward(trial)
        elif quantity == "dx":
            yield from self._backward(trial)

    def _forward(self, trial: Trial) -> Hypotheses:
        y = trial.right["y"]
        taps = tuple(range(-self.rank, 0))
        zeros, _, _ = self._columns(trial, 0.0)
        if self.maximum:
            yield "max_pool_padded_with_zero", lambda: zeros.max(taps)
            yield "mean_instead_of_max", lambda: zeros.mean(taps)
        else:
            yield "max_instead_of_mean", lambda: zeros.max(taps)
            yield "sum_instead_of_mean", lambda: zeros.sum(taps)
        reduce: Any = np.max if self.maximum else np.mean
        ones = windows.windows(trial.x, trial.settings["size"], (1,) * self.rank)
        yield "stride_ignored", lambda: reduce(ones, axis=taps)
        own = windows.windows(trial.x, trial.settings["size"], trial.settings["size"])
        yield "stride_ignored", lambda: reduce(own, axis=taps)
        bare = windows.windows(trial.x, trial.settings["size"], trial.settings["stride"])
        yield "padding_ignored", lambda: reduce(bare, axis=taps)
        yield "output_size_too_small", lambda: y[(..., *(slice(None, -1),) * self.rank)]
        fill = -np.inf if self.maximum else 0.0
        more = windows.padded(trial.x, [(p, p + 1) for p in trial.settings["pad"]], fill)
        cols = windows.windows(more, trial.settings["size"], trial.settings["stride"])
        yield "output_size_too_large", lambda: reduce(cols, axis=taps)
        yield (
            "output_size_too_large",
            lambda: np.where(
                np.isinf(cols.max(taps)), 0, reduce(np.where(np.isinf(cols), 0, cols), axis=taps)
            ),
        )
        yield "reshape_instead_of_transpose", lambda: np.moveaxis(y, 1, -1).reshape(y.shape)
        yield (
            "reshape_instead_of_transpose",
            lambda: np.moveaxis(y.reshape(y.shape[0], *y.shape[2:], y.shape[1]), -1, 1),
        )
        if self.rank == 2:
            yield "height_and_width_exchanged", lambda: np.swapaxes(y, 2, 3)

    def _backward(self, trial: Trial) -> Hypotheses:
        cols, _, _ = self._columns(trial, -np.inf if self.maximum else 0.0)
        ones, size = np.ones(cols.shape), float(np.prod(trial.settings["size"]))
        if self.maximum:
            marks = windows.one_hot_maxima(cols, self.rank)
            every = windows.one_hot_maxima(cols, self.rank, "all")
            yield "gradient_to_all_maxima", lambda: self._back(trial, every)
            yield "gradient_to_every_position", lambda: self._back(trial, ones)
            yield "gradient_shared_over_window", lambda: self._back(trial, ones / size)
            yield (
                "gradient_to_minimum",
                lambda: self._back(trial, windows.one_hot_maxima(cols, self.rank, "smallest")),
            )
        else:
            marks = ones / size
            yield "average_backward_not_divided", lambda: self._back(trial, ones)
        for how in ("taps", "windows"):
            yield "col2im_overwrites", lambda h=how: self._back(trial, marks, h)
        dout = trial.dout
        last = np.moveaxis(dout, 1, -1)
        rows = dout.reshape(dout.shape[0], *dout.shape[2:], -1)
        for d in (last.reshape(dout.shape), np.moveaxis(rows, -1, 1)):
            moved = replace(trial, dout=d)
            yield "reshape_instead_of_transpose", lambda t=moved: self._back(t, marks)


class PointwiseFamily(Family):
    """An activation without parameters, or anything that has none, such as flattening."""

    preferred = ("ratio",)
    make_example = "make=lambda: TheirClass()"

    def __init__(self, layer: Any, theirs: Any) -> None:
        self.made, self.theirs = layer, theirs
        self.kind = type(layer).__name__
        self.layouts = (Layout("plain"),)

    def layer(self, trial: Trial) -> Layer:
        return self.made

    def trials(self, layout: Layout) -> list[Trial]:
        shapes = [("forward", (3, 4)), ("batch of 1", (1, 5)), ("image as input", (2, 3, 4, 5))]
        if self.kind in ("Softmax", "LogSoftmax"):
            shapes = [("forward", (3, 4)), ("batch of 1", (1, 5))]
        if self.kind == "Flatten":
            shapes = [("forward", (3, 2, 4, 5)), ("batch of 1", (1, 2, 3, 3))]
        found = []
        for name, shape in shapes:
            generator = np.random.default_rng(3)
            x = drawn(generator, shape)
            x[x == 0.0] = 0.05  # there is a kink at 0
            found.append(self.solved(Trial(name, x, drawn(generator, shape))))
        return found

    def hypotheses(self, trial: Trial, quantity: str) -> Hypotheses:
        specific = {"ReLU": _relu, "LeakyReLU": _relu, "Sigmoid": _sigmoid, "Tanh": _tanh,
                    "Softmax": _softmax, "LogSoftmax": _softmax}.get(self.kind)  # fmt: skip
        if specific is not None:
            yield from specific(trial, quantity)
        if quantity == "dx":
            if self.kind == "Flatten":
                yield "backward_forgets_shape", lambda: trial.dout
            layer = self.made
            once_more = run_ours(layer, trial.right["y"], trial.dout, {})["dx"]
            yield "activation_applied_twice", lambda: once_more

    def finish(self, grading: Grading, layout: Layout) -> None:
        if self.kind in ("Sigmoid", "Tanh", "Softmax", "LogSoftmax"):
            self._large(grading, layout)
        if self.kind in ("ReLU", "LeakyReLU") and "dx" not in grading.wrong:
            self._at_zero(grading, layout)

    def _large(self, grading: Grading, layout: Layout) -> None:
        """Numbers whose exponential overflows."""
        x = np.array([[1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]])
        trial = self.solved(Trial("large numbers", x, np.ones((2, 3)), tolerance=1e-6))
        try:
            y = grading.player.made(trial, layout).forward(x.copy())
        except (TheirError, UnrecognisedError) as error:
            grading.add("large numbers", "wrong", str(error))
            return
        if self.kind in ("Softmax", "LogSoftmax") and not np.isfinite(y).all():
            message = grading.difference("y", y, trial.right["y"], layout, 1e-6)
            grading.add("large numbers", "wrong", message, "softmax_overflows")
        elif grading.compare("large numbers", trial, "y", y, layout):
            grading.right("large numbers")

    def _at_zero(self, grading: Grading, layout: Layout) -> None:
        trial = self.solved(Trial("at zero", np.array([[0.0, 1.0, -1.0]]), np.ones((1, 3))))
        dx = _gradient(grading, trial, layout)
        if dx is not None and dx.shape == (1, 3) and dx[0, 0] != trial.right["dx"][0, 0]:
            grading.add("at zero", "note", grading.say("kink"))


def _gradient(grading: Grading, trial: Trial, layout: Layout) -> Array | None:
    """Return their dx, where they have a backward and it runs."""
    try:
        run = grading.player.made(trial, layout)
        run.forward(trial.x.copy())
        return run.backward(trial.dout.copy())["dx"] if run.has_backward else None
    except (TheirError, UnrecognisedError, KeyError):
        return None


class SoftmaxFamily(PointwiseFamily):
    """Softmax; some courses leave its derivative to the loss."""

    def accepted(self, trial: Trial, quantity: str) -> Accepted:
        if quantity == "dx":
            yield trial.dout
            yield trial.dout / trial.x.shape[0]

    def finish(self, grading: Grading, layout: Layout) -> None:
        super().finish(grading, layout)
        trial = self.trials(layout)[0]
        dx = _gradient(grading, trial, layout)
        for how, value in (("dout", trial.dout), ("dout / N", trial.dout / trial.x.shape[0])):
            if dx is not None and close(dx, value, 1e-6):
                grading.add("backward", "note", grading.say("combined", how=how))


def _relu(trial: Trial, quantity: str) -> Hypotheses:
    x, dout = trial.x, trial.dout
    if quantity == "y":
        yield "mask_of_wrong_sign", lambda: np.minimum(x, 0)
        yield "absolute_value", lambda: np.abs(x)
    else:
        yield "mask_by_dout", lambda: dout * (dout > 0)
        yield "mask_of_wrong_sign", lambda: dout * (x <= 0)
        yield "dout_ignored", lambda: (x > 0).astype(float)


def _sigmoid(trial: Trial, quantity: str) -> Hypotheses:
    x, dout, y = trial.x, trial.dout, trial.right["y"]
    if quantity == "y":
        yield "wrong_sign", lambda: 1 - y  # exp(x) in the place of exp(-x)
    else:
        yield "derivative_at_x_instead_of_y", lambda: dout * x * (1 - x)
        yield "sigmoid_factor_missing", lambda: dout * y
        yield "sigmoid_factor_missing", lambda: dout * (1 - y)


def _tanh(trial: Trial, quantity: str) -> Hypotheses:
    x, dout, y = trial.x, trial.dout, trial.right["y"]
    if quantity == "dx":
        yield "tanh_square_missing", lambda: dout * (1 - y)
        yield "derivative_at_x_instead_of_y", lambda: dout * (1 - x**2)
        yield "derivative_at_x_instead_of_y", lambda: dout * (1 - x)


def _softmax(trial: Trial, quantity: str) -> Hypotheses:
    x, dout, y = trial.x, trial.dout, trial.right["y"]
    e = np.exp(x)
    if quantity == "y":
        yield "softmax_over_wrong_axis", lambda: e / e.sum(0, keepdims=True)
        yield "softmax_over_everything", lambda: e / e.sum()
        yield "softmax_not_normalised", lambda: e
        shifted = np.exp(x - x.max(1, keepdims=True))
        yield "softmax_not_normalised", lambda: shifted
        yield "softmax_over_everything", lambda: shifted / shifted.sum()
    else:
        yield "softmax_jacobian_diagonal", lambda: dout * y * (1 - y)
        yield "softmax_jacobian_diagonal", lambda: dout * y
        yield "dout_ignored", lambda: y * (1 - y)
