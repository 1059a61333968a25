"""Convolution, linear layers, pooling and activations: what is tried, and what mistakes give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.grading import windows
from xpcnn.grading.calling import TheirError, UnrecognisedError
from xpcnn.grading.dialects import Layout
from xpcnn.grading.running import Family, Grading, Hypotheses, close
from xpcnn.grading.trials import Trial, drawn
from xpcnn.layers.layer import Layer


class ConvFamily(Family):
    """A convolution of any rank.

    `fixed` has settings that every trial must have, from an object given as `like`.
    """

    preferred = ("W", "b", "stride", "pad", "out", "in", "size", "height", "width")

    def __init__(self, cls: Any, rank: int, fixed: dict[str, Any], held: Any = None) -> None:
        self.cls, self.rank, self.fixed, self.held = cls, rank, fixed, held
        if held is not None:
            layouts = [Layout()]
        else:
            layouts = [Layout()]
            layouts += [Layout("last", "last"), Layout("last", "last", "row"), Layout("last")]
            layouts += [Layout("first", "as is", "column"), Layout("first", "last")]
            layouts += [Layout("first", "flat")]
            layouts += [Layout("unbatched"), Layout("unbatched", "as is", "column")]
            if rank == 1 and fixed.get("in", 1) == fixed.get("out", 1) == 1:
                layouts += [Layout("line", "line")]
        layouts += [
            Layout(bias="none"),
            Layout("last", "last", "none"),
            Layout("first", "flat", "none"),
        ]
        layouts += [Layout("unbatched", "as is", "none")]
        self.layouts = tuple(layouts)

    def layer(self, trial: Trial) -> Layer:
        w = trial.params["W"]
        return self.cls(
            w.shape[1], w.shape[0], w.shape[2:],
            stride=trial.settings["stride"], padding=trial.settings["pad"],
        )  # fmt: skip

    def trials(self, layout: Layout) -> list[Trial]:
        d = self.rank
        one = layout.images in ("unbatched", "line")
        n = 1 if one else 3
        channels, filters = (1, 1) if layout.images == "line" else (2, 4)
        size = (7, 7, 5)[:d] if d == 3 else (7,) * d
        kernel = (3,) * d
        make = self._trial
        found = [make("forward", layout, n, channels, filters, size, kernel)]
        if not one:
            found.append(make("batch of 1", layout, 1, channels, filters, size, kernel))
        if layout.images != "line":
            found.append(make("one channel", layout, n, 1, 1, size, kernel))
        if d > 1:
            oblong = tuple(6 + 2 * i for i in range(d))
            found.append(make("image not square", layout, n, channels, filters, oblong, kernel))
            odd = (2, *(3,) * (d - 1))
            found.append(make("kernel not square", layout, n, channels, filters, size, odd))
        settings = [("stride 2", 2, 0, 7), ("windows that do not fit", 2, 0, 8),
                    ("padding 1", 1, 1, 6), ("stride 2, padding 1", 2, 1, 6)]  # fmt: skip
        for name, stride, pad, length in settings:
            if not {"stride", "pad"} & set(self.fixed):
                found.append(
                    make(name, layout, n, channels, filters, (length,) * d, kernel, stride, pad)
                )
        return found

    def _trial(
        self, name: str, layout: Layout, n: int, channels: int, filters: int,
        size: tuple[int, ...], kernel: tuple[int, ...], stride: int = 1, pad: int = 0,
    ) -> Trial:  # fmt: skip
        fixed = self.fixed
        channels, filters = fixed.get("in", channels), fixed.get("out", filters)
        kernel = fixed.get("size", kernel)
        strides = fixed.get("stride", (stride,) * self.rank)
        pads = fixed.get("pad", (pad,) * self.rank)
        size = tuple(max(s, k) for s, k in zip(size, kernel, strict=True))
        generator = np.random.default_rng(0)
        held = self.held or {}
        params = {
            "W": held.get("W", drawn(generator, (filters, channels, *kernel))),
            "b": held.get("b", drawn(generator, (filters,))),
        }
        if not layout.has_bias:
            params["b"] = np.zeros(filters)
        asked = ("stride",) * (set(strides) != {1}) + ("pad",) * (set(pads) != {0})
        settings = {"stride": strides, "pad": pads, "in": channels, "out": filters, "size": kernel}
        x = drawn(generator, (n, channels, *size))
        room = tuple(s + 2 * max(pads) for s in size)
        return self.solved(
            Trial(name, x, drawn(generator, (n, filters, *room)), params, settings, asked)
        )

    def hypotheses(self, trial: Trial, quantity: str) -> Hypotheses:
        w, b = trial.params["W"], trial.params["b"]
        stride, pad = trial.settings["stride"], trial.settings["pad"]
        pads = [(p, p) for p in pad]
        flipped = w[(..., *(slice(None, None, -1),) * self.rank)]
        if quantity == "y":
            yield from self._forward(trial, w, b, flipped, stride, pads)
        elif quantity == "dx":
            yield from self._dx(trial, w, flipped, stride, pads)
        elif quantity == "dW":
            yield from self._dw(trial, w, stride, pads)
        elif quantity == "db":
            dout, n = trial.dout, trial.x.shape[0]
            positions = tuple(range(2, dout.ndim))
            yield "positions_not_summed", lambda: dout.sum(0)
            yield "positions_not_summed", lambda: dout
            yield "batch_not_summed", lambda: dout.sum(positions)
            yield (
                "averaged_over_positions",
                lambda: dout.sum(0).mean(tuple(range(1, dout.ndim - 1))),
            )
            yield "averaged_over_batch", lambda: dout.mean((0, *positions))
            yield "only_last_sample", lambda: dout[n - 1].sum(tuple(range(1, dout.ndim - 1)))
            yield "summed_over_everything", lambda: dout.sum()
            yield "summed_over_everything", lambda: np.full(b.shape, dout.sum())

    def _forward(
        self, trial: Trial, w: Any, b: Any, flipped: Any, stride: Any, pads: Any
    ) -> Hypotheses:
        y = trial.right["y"]
        yield from self._filters(windows.padded(trial.x, pads), y, w, b, flipped, stride)
        yield from self._geometry(trial.x, y, w, b, stride, pads)
        if self.rank == 2:
            yield "height_and_width_exchanged", lambda: np.swapaxes(y, 2, 3)
        yield "only_first_sample", lambda: np.broadcast_to(y[:1], y.shape)
        yield "only_last_sample", lambda: np.broadcast_to(y[-1:], y.shape)

    def _filters(
        self, xp: Array, y: Array, w: Array, b: Array, flipped: Array, stride: Any
    ) -> Hypotheses:
        """Mistakes with the numbers of the filters, the biases and the channels."""
        spatial = tuple(range(2, xp.ndim))
        column = b.reshape(-1, *(1,) * self.rank)
        yield "filter_flipped", lambda: windows.conv(xp, flipped, b, stride)
        if self.rank > 1:
            swapped = np.moveaxis(w, spatial, spatial[::-1])
            yield "filter_transposed", lambda: windows.conv(xp, swapped, b, stride)
        yield "bias_missing", lambda: y - column
        yield "bias_sign", lambda: y - 2 * column
        taps = int(np.prod(w.shape[2:]))
        for times in {w.shape[1], taps, taps * w.shape[1], 2} - {1}:
            yield "bias_added_too_often", lambda k=times: y + (k - 1) * column
        last_axis = np.moveaxis(w, 1, -1).reshape(w.shape)
        yield "columns_in_wrong_order", lambda: windows.conv(xp, last_axis, b, stride)
        scrambled = np.moveaxis(w.reshape(w.shape[0], *w.shape[2:], w.shape[1]), -1, 1)
        yield "columns_in_wrong_order", lambda: windows.conv(xp, scrambled, b, stride)
        yield "reshape_instead_of_transpose", lambda: np.moveaxis(y, 1, -1).reshape(y.shape)
        yield "reshape_instead_of_transpose", lambda: np.moveaxis(y, 1, 0).reshape(y.shape)
        if w.shape[1] > 1:
            first, last = slice(0, 1), slice(w.shape[1] - 1, None)
            yield "only_first_channel", lambda: windows.conv(xp[:, first], w[:, first], b, stride)
            yield "only_last_channel", lambda: windows.conv(xp[:, last], w[:, last], b, stride)
            mean = (y - column) / w.shape[1]
            yield "channels_averaged", lambda: mean + column

    def _geometry(
        self, x: Array, y: Array, w: Array, b: Array, stride: Any, pads: Any
    ) -> Hypotheses:
        """Mistakes with stride, padding and the size of the output."""
        xp = windows.padded(x, pads)
        yield "stride_ignored", lambda: windows.conv(xp, w, b, (1,) * self.rank)
        yield "padding_ignored", lambda: windows.conv(x, w, b, stride)
        for one in ([(lo, 0) for lo, _ in pads], [(0, hi) for _, hi in pads],
                    [(2 * lo, 0) for lo, _ in pads], [(0, 2 * hi) for _, hi in pads]):  # fmt: skip
            if any(map(any, pads)):
                yield (
                    "padded_on_one_side",
                    lambda p=one: windows.conv(windows.padded(x, p), w, b, stride),
                )
        for mode in ("edge", "reflect"):
            if any(map(any, pads)):
                yield (
                    "padding_not_zero",
                    lambda m=mode: windows.conv(windows.padded(x, pads, mode=m), w, b, stride),
                )
        inner = (slice(None, -1),) * self.rank
        yield "output_size_too_small", lambda: y[(..., *inner)]
        more = windows.padded(xp, [(0, s - 1) for s in stride])
        larger = (slice(0, n + 1) for n in y.shape[2:])
        grown = tuple(larger)
        yield (
            "output_size_too_large",
            lambda: windows.conv(windows.padded(xp, [(0, s) for s in stride]), w, b, stride)[
                (..., *grown)
            ],
        )
        yield "output_size_too_large", lambda: windows.conv(more, w, b, stride)

    def _dx(self, trial: Trial, w: Any, flipped: Any, stride: Any, pads: Any) -> Hypotheses:
        x, dout, right = trial.x, trial.dout, trial.right["dx"]
        shape = (
            *x.shape[:2],
            *(s + lo + hi for s, (lo, hi) in zip(x.shape[2:], pads, strict=True)),
        )
        cols = windows.spread(dout, w)

        def image(columns: Any = cols, how: str = "add", steps: Any = stride) -> Array:
            return windows.scatter(columns, shape, steps, how)

        def inside(*columns: Array, **options: Any) -> Array:
            return windows.unpadded(image(*columns, **options), pads)

        for how in ("taps", "windows"):
            yield "col2im_overwrites", lambda h=how: inside(how=h)
        last = windows.spread(dout[:, -1:], w[-1:])  # loops overwrite over the filters too
        yield "col2im_overwrites", lambda: inside(last, "windows")
        yield "filter_flipped_in_backward", lambda: inside(windows.spread(dout, flipped))
        if any(map(any, pads)):
            yield "padding_not_removed", image
            start = (slice(0, s) for s in x.shape[2:])
            first = tuple(start)
            yield "padding_removed_on_one_side", lambda: image()[(..., *first)]
            end = tuple(slice(-s, None) for s in x.shape[2:])
            yield "padding_removed_on_one_side", lambda: image()[(..., *end)]
        if set(stride) != {1}:
            yield "stride_ignored", lambda: inside(steps=(1,) * self.rank)
        order = np.moveaxis(w, 1, -1).reshape(w.shape)
        yield "columns_in_wrong_order", lambda: inside(windows.spread(dout, order))
        scrambled = np.moveaxis(dout, 1, -1).reshape(dout.shape)
        back = dout.reshape(dout.shape[0], *dout.shape[2:], dout.shape[1])
        for d in (scrambled, np.moveaxis(back, -1, 1), _flat_rows(dout)):
            yield "reshape_instead_of_transpose", lambda d=d: inside(windows.spread(d, w))
        for i, name in ((-1, "only_last_channel"), (0, "only_first_channel")):
            part = slice(i, None) if i else slice(0, 1)
            yield name, lambda p=part: inside(windows.spread(dout[:, p], w[p]))
        yield "only_first_sample", lambda: np.broadcast_to(right[:1], right.shape)

    def _dw(self, trial: Trial, w: Any, stride: Any, pads: Any) -> Hypotheses:
        x, dout, right = trial.x, trial.dout, trial.right["dW"]
        xp = windows.padded(x, pads)
        kernel = w.shape[2:]
        n, rows = x.shape[0], int(np.prod(dout.shape[2:]))
        yield "dw_flipped", lambda: right[(..., *(slice(None, None, -1),) * self.rank)]
        if self.rank > 1:
            spatial = tuple(range(2, w.ndim))
            yield "filter_transposed", lambda: np.moveaxis(right, spatial, spatial[::-1])
        yield "averaged_over_positions", lambda: right / rows
        yield "averaged_over_positions", lambda: right / (rows * n)
        # col.T @ dout is (C * taps, F), and reshaped without .T
        yield (
            "reshape_instead_of_transpose",
            lambda: right.reshape(w.shape[0], -1).T.reshape(w.shape),
        )
        yield "columns_in_wrong_order", lambda: np.moveaxis(right, 1, -1).reshape(w.shape)
        yield (
            "reshape_instead_of_transpose",
            lambda: windows.conv_dw(xp, _flat_rows(dout), kernel, stride),
        )
        if any(map(any, pads)):
            yield (
                "padding_ignored",
                lambda: windows.conv_dw(
                    windows.padded(x, [(0, 2 * p) for p, _ in pads]), dout, kernel, stride
                ),
            )
        if set(stride) != {1}:
            dense = (*dout.shape[2:],)
            part = tuple(slice(0, o + k - 1) for o, k in zip(dense, kernel, strict=True))
            yield (
                "stride_ignored",
                lambda: windows.conv_dw(xp[(..., *part)], dout, kernel, (1,) * self.rank),
            )

    def finish(self, grading: Grading, layout: Layout) -> None:
        integers(grading, self.trials(layout)[0], layout, self)


def _flat_rows(dout: Array) -> Array:
    """Read dout, (N, F, ...), as if it were (N * positions, F) already."""
    rows = dout.reshape(-1, dout.shape[1])
    return np.moveaxis(rows.reshape(dout.shape[0], *dout.shape[2:], dout.shape[1]), -1, 1)


def integers(grading: Grading, trial: Trial, layout: Layout, family: Family) -> None:
    """Give an input of integers, as the examples of courses are."""
    whole = np.round(trial.x * 3)
    again = family.solved(replace(trial, x=whole, name="integers"))
    try:
        run = grading.player.made(again, layout)
        y = run.forward(layout.theirs("x", whole).astype(np.int64))
    except (TheirError, UnrecognisedError):
        return  # a layer may refuse them
    if close(y, again.right["y"], 1e-6):
        grading.right("integers")
    elif y.dtype.kind in "iu":
        message = grading.difference("y", y, again.right["y"], layout, 1e-6)
        grading.add("integers", "wrong", message, "integers_cut_off")
    else:
        grading.compare("integers", again, "y", y, layout)


class LinearFamily(Family):
    """A linear layer, ``x @ W + b``."""

    preferred = ("W", "b", "out", "in")
    make_example = "make=lambda W, b: TheirClass(W, b)"

    def __init__(self, cls: Any, fixed: dict[str, Any], held: Any = None) -> None:
        self.cls, self.fixed, self.held = cls, fixed, held
        weights = ("transposed", "as is")  # (in, out) is what courses have
        self.layouts = tuple(
            Layout("rows", w, bias) for w in weights for bias in ("line", "row", "column", "none")
        )
        self.layouts += (Layout("columns", "as is", "column"),)

    def layer(self, trial: Trial) -> Layer:
        w = trial.params["W"]
        return self.cls(w.shape[1], w.shape[0])

    def trials(self, layout: Layout) -> list[Trial]:
        return [
            self._trial("forward", 3, 5, 4, layout),
            self._trial("batch of 1", 1, 5, 4, layout),
            self._trial("one output", 3, 4, 1, layout),
        ]

    def _trial(self, name: str, n: int, n_in: int, n_out: int, layout: Layout) -> Trial:
        n_in, n_out = self.fixed.get("in", n_in), self.fixed.get("out", n_out)
        generator = np.random.default_rng(1)
        w, b = drawn(generator, (n_out, n_in)), drawn(generator, (n_out,))
        if self.held:
            w, b = self.held["W"], self.held.get("b", b)
            w = w.T if layout.weights == "transposed" else w
            n_out, n_in = w.shape
            b = b.ravel() if b.size == n_out else np.zeros(n_out)
        b = b if layout.has_bias else np.zeros(n_out)
        trial = Trial(
            name, drawn(generator, (n, n_in)), drawn(generator, (n, n_out)),
            {"W": w, "b": b}, {"in": n_in, "out": n_out},
        )  # fmt: skip
        return self.solved(trial)

    def hypotheses(self, trial: Trial, quantity: str) -> Hypotheses:
        x, w, b, dout = trial.x, trial.params["W"], trial.params["b"], trial.dout
        if quantity == "y":
            yield "bias_missing", lambda: x @ w.T
            yield "bias_sign", lambda: x @ w.T - b
            yield "bias_added_too_often", lambda: x @ w.T + 2 * b
        elif quantity == "db":
            yield "batch_not_summed", lambda: dout
            yield "summed_over_everything", lambda: dout.sum()
            yield "summed_over_everything", lambda: np.full(b.shape, dout.sum())
        elif quantity == "dx":
            yield "averaged_over_batch", lambda: dout @ w / x.shape[0]

    def finish(self, grading: Grading, layout: Layout) -> None:
        integers(grading, self.trials(layout)[0], layout, self)
        self._images(grading, layout)

    def _images(self, grading: Grading, layout: Layout) -> None:
        """Give (N, C, H, W) to a layer that flattens its input itself."""
        if self.fixed or self.held or layout.images == "columns":
            return
        trial = self._trial("image as input", 3, 8, 4, layout)
        run = grading.player.made(trial, layout)
        try:
            y = run.forward(trial.x.reshape(3, 2, 2, 2))
            if not close(y, trial.right["y"], 1e-6) or not run.has_backward:
                return
            dx = run.backward(trial.dout.copy())["dx"]
        except (TheirError, UnrecognisedError, KeyError):
            return  # it takes rows only
        if dx.shape == (3, 2, 2, 2):
            if close(dx.reshape(3, 8), trial.right["dx"], 1e-6):
                grading.right("image as input")
        elif "dx" not in grading.wrong:
            message = grading.say("shape", what="dx", got=dx.shape, right=(3, 2, 2, 2))
            grading.add("image as input", "wrong", message, "backward_forgets_shape")
