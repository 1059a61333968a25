"""Which part of a run is shown: what is read through the window, or added through it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xpcnn.explaining.animation.gather import Gather, winner
from xpcnn.explaining.animation.geometry import as_image, padded, slide
from xpcnn.explaining.animation.running import WHO, Run
from xpcnn.explaining.animation.scatter import Scatter

Arrays = tuple[np.ndarray, np.ndarray]


def is_gathered(run: Run) -> bool:
    """Whether the operation reads through its window, rather than adding through it."""
    return (run.dx is None) == (run.kind != "conv_transpose")


def gather_of(run: Run, sample: int, channel: int) -> Gather:
    """Return what a window reads to make one channel of the output, or of a gradient."""
    names, source, target = _ends(run, sample, channel)
    slid = slide(run)
    if not slid.positions(inside=True):
        raise ValueError(
            f"{WHO}: the window covers {run.window.extent}, which is larger than the part of an "
            f"image that is shown, {slid.corner}; take a smaller kernel_size or dilation"
        )
    block, w, b, fill = slice(channel, channel + 1), None, None, 0.0
    if run.w is not None:
        own = as_image(run.w)
        block = _block(channel, len(target), len(source), run.groups)
        w = own[channel]
        b = None if run.b is None or run.dx is not None else float(run.b[channel])
    elif run.divisor is None:
        fill = -np.inf
    seen = padded(source[block], slid.window, run.padding_mode, fill)
    divisor = None if run.divisor is None else run.divisor.reshape(slid.out)
    first = (sample, channel)
    return Gather(slid, seen, target[channel], w, b, divisor, names, first, block.start)


def weights_of(run: Run, sample: int, channel: int) -> Gather:
    """Return what a window reads to make the gradient of a filter; the target is that of `y`."""
    if run.kind != "conv" or run.dy is None:
        raise ValueError(
            f"{WHO}: what='weights' shows how the gradient of a filter comes about, and is for "
            f"convolutions; got {run.name}; take what='backward'"
        )
    forward = gather_of(replace(run, dx=None, b=None), sample, channel)
    dy = as_image(run.dy)[sample, channel]
    return replace(forward, target=dy, w=None, names=("x", "dW"))


def scatter_of(run: Run, sample: int, channel: int) -> Scatter:
    """Return what a window adds to one channel of an output, or of a gradient."""
    names, source, target = _ends(run, sample, channel)
    slid, w, divisor = slide(run), None, None
    block, b, way = slice(channel, channel + 1), None, "scatter"
    if run.w is not None:
        block = _block(channel, len(target), len(source), run.groups)
        w = as_image(run.w)[block, channel % (len(target) // run.groups)]
        flat = w.reshape(len(w), -1).astype("float64")
        rows = source[block].reshape(len(w), -1).T @ flat
        b = None if run.b is None or run.dx is not None else float(run.b[channel])
    else:
        way = "scatter_max" if run.divisor is None else "scatter_mean"
        divisor = None if run.divisor is None else run.divisor.reshape(slid.out)
        rows = _pooled_rows(run, sample, channel, source[channel])
    last = "_".join(["cut"] * slid.window.is_padded + ["bias"] * (b is not None))
    last = "folded" if run.padding_mode != "zeros" and last else last
    first = (sample, channel)
    return Scatter(
        slid, source[block], rows, target[channel], w, b, divisor, way, last, names, first,
        block.start,
    )  # fmt: skip


def _ends(run: Run, sample: int, channel: int) -> tuple[tuple[str, str], np.ndarray, np.ndarray]:
    """Return names and arrays of where numbers come from and go to, of one sample."""
    if run.dx is None or run.dy is None:
        names, source, target = ("x", "y"), run.x, run.y
    else:
        names, source, target = ("dy", "dx"), run.dy, run.dx
    for name, value, axis in (("sample", sample, 0), ("channel", channel, 1)):
        if value >= target.shape[axis]:
            raise ValueError(
                f"{WHO}: {name} must be from 0 to {target.shape[axis] - 1}, since {names[1]} has "
                f"shape {target.shape}; got {value}"
            )
    return names, as_image(source)[sample], as_image(target)[sample]


def _block(channel: int, channels: int, others: int, groups: int) -> slice:
    """Return the channels on the other side that belong to a channel's group."""
    group, width = channel // (channels // groups), others // groups
    return slice(group * width, (group + 1) * width)


def _pooled_rows(run: Run, sample: int, channel: int, dy: np.ndarray) -> np.ndarray:
    """Return what each position of a pooling hands back to the numbers under its window."""
    slid = slide(run)
    taps = len(slid.taps())
    if run.divisor is not None:
        return np.repeat((dy / run.divisor.reshape(slid.out)).reshape(-1, 1), taps, axis=1)
    image = padded(as_image(run.x)[sample, channel : channel + 1], slid.window, "zeros", -np.inf)
    rows = np.zeros((dy.size, taps))
    for number, (position, value) in enumerate(np.ndenumerate(dy)):
        seen = np.array([image[0][place] for place in slid.under(position)])
        rows[number, winner(seen)] = value
    return rows
