"""Losses of sequences whose alignment with the targets is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.losses.loss import Loss, Terms, check_numeric
from xpcnn.window import as_flag


class CTCLoss(Loss):
    """Connectionist temporal classification (Graves et al., 2006).

    The negative logarithm of the probability of all paths, a class or a blank for each step, that
    become the target when repetitions are merged and blanks left out. All sums are of logarithms.

    Parameters
    ----------
    blank : int
        The class that stands for nothing.
    reduction : "mean", "sum" or "none"
        As in PyTorch, for the mean the loss of each sample is divided by the length of its target
        (or 1) beforehand.
    zero_infinity : bool
        Whether the loss of a target that needs more steps than there are is 0, with no gradient.

    Notes
    -----
    In a model: prediction (N, C, T), logarithms of probabilities, as Conv1d and LogSoftmax(1) give
    them; target (N, S) of integers, each row filled up with -1 behind its labels.

    As PyTorch's, where lengths are given: ``loss(log_probs, targets, input_lengths,
    target_lengths)``, with log_probs (T, N, C) or (T, C), and targets (N, S), (S,), or all behind
    one another (sum of the lengths,).

    The gradient is the derivative by the log-probabilities. PyTorch's includes that of a
    log-softmax already, which makes no difference behind one.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> loss = CTCLoss()
    >>> log_probs = np.log(np.full((1, 2, 2), 0.5))  # two steps of blank or 1
    >>> float(loss(log_probs, np.array([[1]])))  # -log(3/4): all paths but blank, blank
    0.2876820724517809
    """

    reads = "log_probabilities"
    answers = "lists"

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction)
        if isinstance(blank, bool) or not isinstance(blank, (int, np.integer)) or blank < 0:
            raise ValueError(f"CTCLoss: blank must be a whole number of at least 0, got {blank!r}")
        self.blank = int(blank)
        self.zero_infinity = as_flag(zero_infinity, "CTCLoss", "zero_infinity")
        self._steps: Array | None = None
        self._turned = 0

    def forward(
        self,
        prediction: Array,
        target: Array,
        input_lengths: Any = None,
        target_lengths: Any = None,
        *,
        sample_weight: Array | None = None,
    ) -> Array:
        """Compute the loss.

        Parameters
        ----------
        prediction : array (N, C, T), or (T, N, C) or (T, C) with lengths
        target : array (N, S), or also (S,) or (sum of target_lengths,) with lengths
        input_lengths, target_lengths : int, sequence of N ints or array (N,), optional
            Steps of each prediction and labels of each target that count; both or neither.
        sample_weight : array (N,), optional
            Multiplies the loss of each sample.

        Raises
        ------
        ValueError
            If shapes, lengths or labels do not fit.
        TypeError
            If the arrays are of the wrong dtypes, or of different libraries.
        """
        steps, turned = None, 0
        if (input_lengths is None) != (target_lengths is None):
            raise ValueError("CTCLoss: give both input_lengths and target_lengths, or neither")
        if input_lengths is not None:
            turned = np.ndim(prediction)
            if turned not in (2, 3):
                raise ValueError(
                    "CTCLoss: with lengths, expected log_probs of shape (T, N, C) or (T, C), got "
                    f"{tuple(prediction.shape)}"
                )
            xp = _xp.namespace(prediction, who="CTCLoss")
            if turned == 2:
                prediction = xp.expand_dims(prediction, axis=1)
            prediction = xp.permute_dims(prediction, (1, 2, 0))
            samples, _, most = prediction.shape
            steps = _lengths("input_lengths", input_lengths, samples, most)
            target = self._filled_up(target, target_lengths, prediction)
            steps = Device.of(prediction).asarray(steps)
        before = self._steps, self._turned
        self._steps, self._turned = steps, turned
        try:
            value = super().forward(prediction, target, sample_weight=sample_weight)
        except Exception:
            self._steps, self._turned = before
            raise
        if turned == 2 and self.reduction == "none":
            return value[0, ...]
        return value

    def backward(self, dy: Array | None = None) -> Array:
        """Compute the gradient with respect to the log-probabilities, in their shape."""
        if dy is not None and self._turned == 2 and self.reduction == "none":
            dy = _xp.namespace(dy).reshape(dy, (1,))
        gradient = super().backward(dy)
        if not self._turned:
            return gradient
        gradient = _xp.namespace(gradient).permute_dims(gradient, (2, 0, 1))
        return gradient[:, 0, ...] if self._turned == 2 else gradient

    @staticmethod
    def _filled_up(target: Array, lengths: Any, prediction: Array) -> Array:
        """Return targets (N, S) with -1 behind the labels, on the prediction's device."""
        samples = prediction.shape[0]
        labels = np.asarray(_xp.to_numpy(target))
        check_integers(labels)
        if labels.ndim == 1 and samples == 1:
            labels = labels[None]
        most = labels.shape[-1] if labels.ndim == 2 else labels.size
        counts = _lengths("target_lengths", lengths, samples, most)
        rows = np.full((samples, int(counts.max(initial=0))), -1, np.int64)
        if labels.ndim == 1:
            if labels.size != counts.sum():
                raise ValueError(
                    f"CTCLoss: {labels.size} labels behind one another, but target_lengths add up "
                    f"to {counts.sum()}"
                )
            labels = [part.tolist() for part in np.split(labels, np.cumsum(counts)[:-1])]  # type: ignore[assignment]
        elif labels.shape[0] != samples:
            raise ValueError(f"CTCLoss: {samples} predictions, but targets of shape {labels.shape}")
        for row, label, count in zip(rows, labels, counts, strict=True):
            row[:count] = label[:count]
        return Device.of(prediction).asarray(rows)

    def _check_fit(self, xp: ModuleType, prediction: Array, target: Array) -> None:
        shape = tuple(prediction.shape)
        if len(shape) != 3 or target.ndim != 2:
            raise ValueError(
                "CTCLoss: expected predictions of shape (N, C, T) and targets (N, S), filled up "
                f"with -1, got {shape} and {tuple(target.shape)}"
            )
        if not self.blank < shape[1]:
            raise ValueError(f"CTCLoss: blank={self.blank} is none of the {shape[1]} classes")
        if _xp.is_floating(target):
            check_integers(_xp.to_numpy(target))
        if isinstance(target, np.ndarray):
            check_lists(target, shape[1], self.blank)

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        samples, classes, _ = prediction.shape
        if 0 in prediction.shape:  # no samples, or no steps
            return xp.sum(prediction, axis=(1, 2)), samples, prediction
        lattice = _lattice(xp, prediction, target, self.blank, self._steps)
        with np.errstate(divide="ignore", invalid="ignore"):
            after, total = _forwards(xp, lattice)
        terms = -total
        if self.zero_infinity:
            terms = xp.where(terms == math.inf, 0.0, terms)
        share = xp.ones_like(terms)
        if self.reduction == "mean":
            share = 1.0 / xp.astype(xp.maximum(lattice.labels, 1), terms.dtype)
        return terms * share, samples, (lattice, after, total, share, classes)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        if not isinstance(saved, tuple):
            return saved
        lattice, after, total, share, classes = saved
        with np.errstate(divide="ignore", invalid="ignore"):
            paths = _posterior(xp, lattice, after, total)  # (N, L, T)
        if self.zero_infinity:
            never = xp.reshape(total == -math.inf, (-1, 1, 1))
            paths = xp.where(never, 0.0, paths)
        own = F.one_hot(lattice.symbols, classes, paths.dtype)  # (N, C, L)
        scale = xp.reshape(scale * share, (-1, 1, 1))
        return -scale * xp.matmul(own, paths)

    def prepare_target(
        self, output_shape: Sequence[int], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check lists of labels on the host, once.

        Returns
        -------
        numpy.ndarray
            int64 (N, S).

        Raises
        ------
        ValueError
            If shape or values do not fit, or a target needs more steps than the network gives.
        TypeError
            If labels are not integers.
        """
        target = np.asarray(target)
        check_numeric("CTCLoss", target)
        check_integers(target)
        shape = tuple(output_shape)
        if len(shape) != 3 or target.ndim != 2:
            raise ValueError(
                "CTCLoss: expected a network with outputs (N, C, T) and targets (N, S), each row "
                f"filled up with -1 behind its labels, got {shape} and {target.shape}"
            )
        if not self.blank < shape[1]:
            raise ValueError(f"CTCLoss: blank={self.blank} is none of the {shape[1]} classes")
        check_lists(target, shape[1], self.blank)
        needed = (target >= 0).sum(axis=1)
        needed = needed + ((target[:, 1:] == target[:, :-1]) & (target[:, 1:] >= 0)).sum(axis=1)
        if not self.zero_infinity and (needed > shape[2]).any():
            first = int(np.flatnonzero(needed > shape[2])[0])
            raise ValueError(
                f"CTCLoss: target {first} needs {needed[first]} steps (one for each label, and one "
                f"between equal ones), and the network gives {shape[2]}; let it give more, or pass "
                "zero_infinity=True to leave such targets out"
            )
        return target.astype(np.int64, copy=False)


class Lattice(NamedTuple):
    """The symbols of each target with blanks between them, and their scores at each step.

    Attributes
    ----------
    symbols : array of int (N, L)
        L is twice the longest target and one more.
    scores : array (T, N, L)
    may_skip : array of bool (N, L)
        Whether a path may come from two symbols before.
    ends : array of bool (N, L)
        Whether a path may end there.
    labels : array of int (N,)
        Lengths of the targets.
    steps : array of int (N,), or None
        How many count; all if None.
    """

    symbols: Array
    scores: Array
    may_skip: Array
    ends: Array
    labels: Array
    steps: Array | None


def _lattice(
    xp: ModuleType, prediction: Array, target: Array, blank: int, steps: Array | None
) -> Lattice:
    samples, classes, most = prediction.shape
    row = xp.arange(samples, device=_xp.device_of(target))  # of the library's own integers
    target = xp.astype(target, row.dtype)
    labels = xp.sum(xp.astype(target >= 0, row.dtype), axis=1)
    target = xp.where(target < 0, blank, target)
    between = xp.full_like(target, blank)
    symbols = xp.reshape(xp.stack([between, target], axis=2), (samples, -1))
    last = xp.full((samples, 1), blank, dtype=symbols.dtype, device=_xp.device_of(symbols))
    symbols = xp.concat([symbols, last], axis=1)
    width = symbols.shape[1]
    place = xp.arange(width, dtype=symbols.dtype, device=_xp.device_of(symbols))
    place, end = xp.expand_dims(place, axis=0), xp.expand_dims(2 * labels, axis=1)
    before = _moved(xp, symbols, 2, blank)
    may_skip = xp.logical_and(symbols != blank, symbols != before)
    index = xp.reshape(symbols + classes * xp.expand_dims(row, axis=1), (-1,))
    table = xp.reshape(xp.permute_dims(prediction, (2, 0, 1)), (most, samples * classes))
    scores = xp.reshape(xp.take(table, index, axis=1), (most, samples, width))
    ends = xp.logical_or(place == end, place == end - 1)
    return Lattice(symbols, scores, may_skip, ends, labels, steps)


def _forwards(xp: ModuleType, lattice: Lattice) -> tuple[list[Array], Array]:
    """Return the logarithms of all ways to each place and step, (N, L) each, and of all to the end.

    What may be reached behind the end of a shorter target leads nowhere.
    """
    scores, symbols = lattice.scores, lattice.symbols
    place = xp.arange(symbols.shape[1], device=_xp.device_of(symbols))
    now = xp.where(xp.expand_dims(place, axis=0) < 2, scores[0, ...], -math.inf)
    after = [now]
    for step in range(1, scores.shape[0]):
        skipped = xp.where(lattice.may_skip, _moved(xp, now, 2, -math.inf), -math.inf)
        come = _log_add(xp, now, _moved(xp, now, 1, -math.inf), skipped)
        now = _while_it_lasts(xp, lattice, step, come + scores[step, ...], now)
        after.append(now)
    end = xp.where(lattice.ends, now, -math.inf)
    most = xp.max(end, axis=1, keepdims=True)
    most = xp.where(most == -math.inf, 0.0, most)
    total = xp.log(xp.sum(xp.exp(end - most), axis=1, dtype=end.dtype))
    total = total + most[:, 0]
    if lattice.steps is not None:  # no step at all is right for no label
        at_once = xp.where(lattice.labels == 0, xp.zeros_like(total), -math.inf)
        total = xp.where(lattice.steps == 0, at_once, total)
    return after, total


def _posterior(xp: ModuleType, lattice: Lattice, after: Sequence[Array], total: Array) -> Array:
    """Return the probability of each place at each step among all right paths, (N, L, T)."""
    scores = lattice.scores
    skip = _moved(xp, lattice.may_skip, -2, False)
    ends = xp.where(lattice.ends, xp.zeros_like(after[0]), -math.inf)
    leave, found = ends, []
    total = xp.expand_dims(total, axis=1)
    for step in range(scores.shape[0] - 1, -1, -1):
        if step < scores.shape[0] - 1:
            onward = leave + scores[step + 1, ...]
            skipped = xp.where(skip, _moved(xp, onward, -2, -math.inf), -math.inf)
            left = _log_add(xp, onward, _moved(xp, onward, -1, -math.inf), skipped)
            leave = _while_it_lasts(xp, lattice, step + 1, left, ends)
        share = xp.exp(after[step] + leave - total)
        found.append(_while_it_lasts(xp, lattice, step, share, xp.zeros_like(share)))
    return xp.stack(found[::-1], axis=2)


def _while_it_lasts(xp: ModuleType, lattice: Lattice, step: int, x: Array, otherwise: Array) -> Any:
    """Return `x` for samples that have this step, and something else for shorter ones."""
    if lattice.steps is None:
        return x
    return xp.where(xp.expand_dims(lattice.steps > step, axis=1), x, otherwise)


def _moved(xp: ModuleType, x: Array, by: int, filling: Any) -> Array:
    """Return rows (N, L) moved to the right, or to the left if `by` is negative."""
    width = x.shape[1]
    gap = min(abs(by), width)
    empty = xp.full((x.shape[0], gap), filling, dtype=x.dtype, device=_xp.device_of(x))
    if by > 0:
        return xp.concat([empty, x[:, : width - gap]], axis=1)
    return xp.concat([x[:, gap:], empty], axis=1)


def _log_add(xp: ModuleType, a: Array, b: Array, c: Array) -> Array:
    """Return the logarithm of the sum of three exponentials."""
    most = xp.maximum(xp.maximum(a, b), c)
    most = xp.where(most == -math.inf, 0.0, most)
    return most + xp.log(xp.exp(a - most) + xp.exp(b - most) + xp.exp(c - most))


def _lengths(name: str, given: Any, samples: int, most: int) -> np.ndarray:
    """Return lengths as an array (N,) of int64, checked."""
    lengths = np.atleast_1d(np.asarray(_xp.to_numpy(given) if _xp.is_array(given) else given))
    if lengths.dtype.kind not in "iu" or lengths.shape != (samples,):
        raise ValueError(
            f"CTCLoss: {name} must be {samples} whole numbers, one for each sample, got "
            f"{given!r:.100}"
        )
    if (lengths < 0).any() or (lengths > most).any():
        raise ValueError(
            f"CTCLoss: {name} must be from 0 to {most}, got {lengths.min()} to {lengths.max()}"
        )
    return lengths.astype(np.int64)


def check_integers(labels: np.ndarray) -> None:
    """Raise unless lists hold labels."""
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"CTCLoss: targets are labels, which must be integers, got {labels.dtype}; convert "
            "them with target.astype('int64')"
        )


def check_lists(target: np.ndarray, classes: int, blank: int) -> None:
    """Raise unless rows hold labels of classes other than the blank, and -1 behind them."""
    filling = target < 0
    wrong = (target == blank) | (target >= classes)
    fix = f"labels must be from 0 to {classes - 1} and not the blank, {blank}"
    if not wrong.any():
        wrong = filling & (target != -1)
        fix = "rows are filled up with -1"
    if not wrong.any():
        wrong[:, 1:] = filling[:, :-1] & ~filling[:, 1:]
        fix = "-1 stands behind the labels of a row, never before one"
    if wrong.any():
        at = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(f"CTCLoss: there is a target {target[at]} at index {at}; {fix}")
