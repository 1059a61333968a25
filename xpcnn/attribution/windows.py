"""Attribution by hiding parts of the input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from xpcnn.attribution.baselines import baselines_for
from xpcnn.attribution.explained import Explained, Options
from xpcnn.window import as_int, is_sequence

Slices = tuple[slice, ...]


def occlusion(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    window: Any,
    stride: Any = 1,
    baseline: Any = 0.0,
    output: str | None = None,
    probabilities: bool = False,
    batch_size: int | None = None,
) -> Any:
    """Return by how much the score of a class falls where a part of the input is hidden.

    A window slides over each sample; what is in it is replaced by a baseline, and the fall of the
    score is noted for all that was hidden (Zeiler & Fergus, 2014). Where windows overlap, the mean
    of theirs is returned. No gradient is needed, so inputs may be integers.

    Parameters
    ----------
    model, x, target, output, probabilities
        As for :func:`saliency`. The class that is predicted is that of the whole sample.
    window : int or tuple of int
        Size of what is hidden at a time along the axes behind (N, channels), with all channels;
        with one number more, the first is that of channels. For samples of a single axis, the
        length on it. Where the network has several inputs, a dict of those that are to be hidden.
    stride : int or tuple of int
        Steps of the window; as many as `window` has, or one for all. The network runs once for each
        place of the window, so that larger steps are faster. A last window that would stick
        out is cut off.
    baseline : float or array, or tuple or dict of one for each input
        What hides: a number, or an array of the shape of a sample, or of `x`.
    batch_size : int, optional
        Windows, of one sample or several, that run at a time; 32 if left out.

    Returns
    -------
    numpy.ndarray
        Of the shape of `x`, in units of the score; a tuple or dict where `x` is one, with ``None``
        for inputs of which nothing is hidden. Numbers that no window reaches have 0.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(3, 1, bias=False)], device="cpu")
    >>> model.load_state_dict({"0.weight": np.array([[1.0, -2.0, 3.0]])})
    LoadedNames(missing_keys=[], unexpected_keys=[], mismatched_keys=[])
    >>> xpcnn.attribution.occlusion(model, np.full((1, 3), 2, "float32"), window=1)
    array([[ 2., -4.,  6.]], dtype=float32)
    """
    who = "occlusion"
    explained = Explained(model, x, target, Options(output, probabilities, batch_size), who)
    windows, strides = _per_input(explained, window, stride)
    hidden = baselines_for(explained, baseline, moves_integers=True)
    found: list[Any] = [None] * len(explained.inputs)
    with explained.running():
        places = explained.choose()
        whole = np.concatenate(
            [
                explained.scores(explained.rows(rows), [places[row] for row in rows])
                for rows in explained.batches(explained.count)
            ]
        )
        for position, sizes in windows.items():
            where = list(_slices(explained.inputs[position].shape[1:], sizes, strides[position]))
            found[position] = _falls(explained, position, where, hidden, places, whole)
    return explained.like_x(found)


def _falls(
    explained: Explained,
    position: int,
    where: Sequence[Slices],
    hidden: Sequence[np.ndarray],
    places: Sequence[Any],
    whole: np.ndarray,
) -> np.ndarray:
    """Return the mean fall of the score where parts of one input are hidden."""
    x = explained.inputs[position]
    total, count = np.zeros(x.shape), np.zeros(x.shape[1:])
    for part in where:
        count[part] += 1
    for pairs in explained.batches(explained.count * len(where)):
        numbers, chosen = np.divmod(pairs, len(where))
        inputs = explained.rows(numbers)
        for row, (number, at) in enumerate(zip(numbers, chosen, strict=True)):
            inputs[position][(row, *where[at])] = hidden[position][(number, *where[at])]
        scores = explained.scores(inputs, [places[number] for number in numbers])
        for number, at, score in zip(numbers, chosen, scores, strict=True):
            total[(number, *where[at])] += whole[number] - score
    found = total / np.maximum(count, 1)
    return found.astype(x.dtype if x.dtype.kind == "f" else "float32")


def _slices(shape: Sequence[int], sizes: Sequence[int], strides: Sequence[int]) -> Iterator[Slices]:
    """Yield what the places of a window cover; the last along an axis may be cut off."""
    axes = [
        [slice(start, start + size) for start in _starts(length, size, stride)]
        for length, size, stride in zip(shape, sizes, strides, strict=True)
    ]
    yield from product(*axes)


def _starts(length: int, size: int, stride: int) -> range:
    """Return where windows start, so many that the last one reaches the end."""
    steps = -(-(length - size) // stride)
    return range(0, steps * stride + 1, stride)


# -- Arguments -------------------------------------------------------------------------------------


def _per_input(
    explained: Explained, window: Any, stride: Any
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return windows and strides along all axes of a sample, by the position of the input."""
    names, who = explained.model.inputs, explained.who
    given = window if isinstance(window, Mapping) else dict.fromkeys(names[:1], window)
    if len(names) > 1 and not isinstance(window, Mapping):
        raise TypeError(
            f"{who}: the network has the inputs {', '.join(names)}; give window as a dict of those "
            f"of which parts are to be hidden, such as {{{names[0]!r}: 3}}; got {window!r:.200}"
        )
    steps = stride if isinstance(stride, Mapping) else dict.fromkeys(given, stride)
    for what, each in (("window", given), ("stride", steps)):
        unknown = [name for name in each if name not in names]
        if unknown or not each:
            raise ValueError(
                f"{who}: {what} must name inputs, which are {', '.join(names)}, got {each!r:.200}"
            )
    if set(steps) != set(given):
        raise ValueError(f"{who}: window names {list(given)}, and stride {list(steps)}")
    windows, strides = {}, {}
    for name, value in given.items():
        position = names.index(name)
        shape = explained.inputs[position].shape[1:]
        windows[position], used = _sizes(value, shape, who)
        strides[position] = _steps(steps[name], used, len(shape), who)
    return windows, strides


def _sizes(given: Any, shape: tuple[int, ...], who: str) -> tuple[list[int], int]:
    """Return the window along all axes of a sample, and how many of them were given."""
    channels = min(1, len(shape) - 1)  # axes of which all is hidden if nobody says otherwise
    behind = len(shape) - channels
    listed = list(given) if is_sequence(given) else [given] * behind
    if len(listed) not in (behind, len(shape)) or not listed:
        raise ValueError(
            f"{who}: window must have {behind} number{'s' * (behind > 1)}"
            + (f", or {len(shape)} with that of channels," if channels else "")
            + f" for samples of shape {shape}, got {given!r}"
        )
    sizes = [as_int(size, who, "window", 1) for size in listed]
    whole = list(shape[: len(shape) - len(sizes)]) + sizes
    if any(size > length for size, length in zip(whole, shape, strict=True)):
        raise ValueError(f"{who}: window {given!r} is larger than a sample, of shape {shape}")
    return whole, len(sizes)


def _steps(given: Any, used: int, ndim: int, who: str) -> list[int]:
    """Return the stride along all axes of a sample."""
    listed = list(given) if is_sequence(given) else [given] * used
    if len(listed) != used:
        raise ValueError(
            f"{who}: stride must be one number, or {used} as window has, got {given!r}"
        )
    return [1] * (ndim - used) + [as_int(step, who, "stride", 1) for step in listed]
