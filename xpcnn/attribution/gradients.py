"""Attribution by gradients of the input."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.attribution.baselines import baselines_for
from xpcnn.attribution.explained import Explained, Options
from xpcnn.errors import check_choice
from xpcnn.window import as_flag, as_int

METHODS = ("gausslegendre", "left", "middle", "right", "trapezoid")


def saliency(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    absolute: bool = True,
    output: str | None = None,
    probabilities: bool = False,
    batch_size: int | None = None,
) -> Any:
    """Return how much the score of a class changes with each number of the input.

    That is the gradient of the score with respect to the input (Simonyan et al., 2013), with the
    network as it predicts.

    Parameters
    ----------
    model : Model
    x : array, or tuple or dict of arrays
        Samples, as :meth:`xpcnn.Model.predict` takes them.
    target : int, str, or list of one for each sample, optional
        Number of the class, or its name if the model has ``class_names``; the class that is
        predicted if left out. Where an output has more axes than (N, classes), a tuple such as
        ``(class, row, column)`` picks one number, and a class alone stands for the sum of its own.
    absolute : bool
        ``False`` leaves the sign, which says whether the score grows with the number.
    output : str, optional
        Name of the output, if the network has several.
    probabilities : bool
        Where the network ends in Softmax, LogSoftmax or Sigmoid, the score in front of it is
        explained; ``True`` explains what comes out of it. Probabilities near 0 and 1 hardly change
        with anything, so that little is seen there.
    batch_size : int, optional
        Samples that run at a time; 32 if left out.

    Returns
    -------
    numpy.ndarray
        Of the shape of `x`, in score per unit of the input; a tuple or dict where `x` is one,
        with ``None`` for inputs of integers, which have no gradient.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(2, 2, bias=False)], device="cpu")
    >>> model.load_state_dict({"0.weight": np.array([[1.0, -2.0], [3.0, 4.0]])})
    LoadedNames(missing_keys=[], unexpected_keys=[], mismatched_keys=[])
    >>> xpcnn.attribution.saliency(model, np.ones((1, 2), "float32"), target=0)
    array([[1., 2.]], dtype=float32)
    """
    who = "saliency"
    absolute = as_flag(absolute, who, "absolute")
    explained = Explained(model, x, target, Options(output, probabilities, batch_size), who)
    explained.check_gradients()
    parts = []
    with explained.running():
        for numbers in explained.batches(explained.count):
            parts.append(explained.gradients(explained.rows(numbers), numbers)[0])
    found = [None if each[0] is None else np.concatenate(each) for each in zip(*parts, strict=True)]
    return explained.like_x([np.abs(g) if absolute and g is not None else g for g in found])


def integrated_gradients(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    baseline: Any = 0.0,
    steps: int = 50,
    method: str = "gausslegendre",
    return_convergence_delta: bool = False,
    output: str | None = None,
    probabilities: bool = False,
    batch_size: int | None = None,
) -> Any:
    """Return what each number of the input adds to the score of a class.

    Gradients are averaged on the straight way from a baseline to the sample, and multiplied by the
    difference of the two (Sundararajan et al., 2017). So what is returned adds up to the score of
    the sample less that of the baseline.

    Parameters
    ----------
    model, x, target, output, probabilities
        As for :func:`saliency`. The class that is predicted is that of `x`.
    baseline : float or array, or tuple or dict of one for each input
        What stands for nothing: a number, such as that of black; an array of the shape of a sample,
        or of `x`.
    steps : int
        Gradients that are averaged.
    method : {"gausslegendre", "left", "middle", "right", "trapezoid"}
        Where on the way they are taken, and with what weights: as Gauss and Legendre have it, which
        takes the fewest steps, or at the beginning, middle or end of `steps` equal parts, or at
        `steps` places from the baseline to the sample, of which the first and last count half.
    return_convergence_delta : bool
        Whether to return also by how much the sums miss the difference of the scores.
    batch_size : int, optional
        Steps, of one sample or several, that run at a time; 32 if left out.

    Returns
    -------
    attributions : numpy.ndarray
        Of the shape of `x`, in units of the score; a tuple or dict where `x` is one, with ``None``
        for inputs of integers, which stay as they are.
    delta : numpy.ndarray (N,)
        Only with `return_convergence_delta`. More steps make it smaller.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(2, 2, bias=False)], device="cpu")
    >>> model.load_state_dict({"0.weight": np.array([[1.0, -2.0], [3.0, 4.0]])})
    LoadedNames(missing_keys=[], unexpected_keys=[], mismatched_keys=[])
    >>> x = np.array([[5.0, 1.0]], "float32")  # the scores are 3 and 19
    >>> xpcnn.attribution.integrated_gradients(model, x, target=1).round(4)
    array([[15.,  4.]], dtype=float32)
    """
    who = "integrated_gradients"
    check_choice(who, "method", method, METHODS)
    steps = as_int(steps, who, "steps", 2 if method == "trapezoid" else 1)
    with_delta = as_flag(return_convergence_delta, who, "return_convergence_delta")
    explained = Explained(model, x, target, Options(output, probabilities, batch_size), who)
    explained.check_gradients()
    starts = baselines_for(explained, baseline, moves_integers=False)
    shares, weights = places_on_the_way(steps, method)
    totals = [np.zeros(x.shape) for x in explained.inputs]
    with explained.running():
        places = explained.choose()
        for pairs in explained.batches(explained.count * steps):
            numbers, step = np.divmod(pairs, steps)
            between = _between(starts, explained.inputs, numbers, shares[step])
            for total, gradients in zip(
                totals, explained.gradients(between, numbers)[0], strict=True
            ):
                for at, number in enumerate(numbers if gradients is not None else ()):
                    total[number] += weights[step[at]] * gradients[at]
        delta = _missing(explained, starts, totals, places) if with_delta else None
    found = [
        ((x - start) * total).astype(x.dtype) if x.dtype.kind == "f" else None
        for x, start, total in zip(explained.inputs, starts, totals, strict=True)
    ]
    return (explained.like_x(found), delta) if with_delta else explained.like_x(found)


def places_on_the_way(steps: int, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return where from 0 to 1 gradients are taken, and their weights, which add up to 1."""
    if method == "gausslegendre":
        places, weights = np.polynomial.legendre.leggauss(steps)
        return 0.5 * (1.0 + places), 0.5 * weights
    if method == "trapezoid":
        weights = np.full(steps, 1.0 / (steps - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0.0, 1.0, steps), weights
    offset = {"left": 0.0, "middle": 0.5, "right": 1.0}[method]
    return (np.arange(steps) + offset) / steps, np.full(steps, 1.0 / steps)


def _between(
    starts: list[np.ndarray], ends: list[np.ndarray], numbers: np.ndarray, shares: np.ndarray
) -> list[np.ndarray]:
    """Return samples on the way from a baseline, each by its own share."""
    found = []
    for start, end in zip(starts, ends, strict=True):
        first, last = start[numbers], end[numbers]
        if end.dtype.kind == "f":
            share = shares.reshape(-1, *(1,) * (end.ndim - 1))
            last = (first + share * (last.astype(np.float64) - first)).astype(end.dtype)
        found.append(last)
    return found


def _missing(
    explained: Explained, starts: list[np.ndarray], totals: list[np.ndarray], places: list[Any]
) -> np.ndarray:
    """Return by how much the attributions of each sample miss the difference of the scores."""
    found = np.zeros(explained.count)
    for x, start, total in zip(explained.inputs, starts, totals, strict=True):
        found += ((x.astype(np.float64) - start) * total).reshape(explained.count, -1).sum(axis=1)
    for numbers in explained.batches(explained.count):
        chosen = [places[number] for number in numbers]
        found[numbers] -= explained.scores(explained.rows(numbers), chosen)
        found[numbers] += explained.scores([start[numbers] for start in starts], chosen)
    return found
