"""Outputs of a model as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.serving.batching import Arrays
from xpcnn.serving.problems import Problem
from xpcnn.serving.served import Served


def check_top(text: str | None, served: Served) -> int | None:
    """Return how many classes a client wants to see of each sample.

    Raises
    ------
    Problem
        If the number is none, or the model is no classifier.
    """
    if text is None:
        return None
    if not served.is_classifier:
        raise Problem(400, "top: the model gives no classes to choose from; leave it out")
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text[:9]) <= served.classes:
        raise Problem(
            400, f"top: expected a whole number from 1 to {served.classes}, got {text[:40]!r}"
        )
    return int(text)


def predictions(outputs: Arrays, served: Served, top: int | None) -> dict[str, Any]:
    """Return what is answered for samples with these outputs.

    Raises
    ------
    Problem
        If there is NaN or infinity among them, which JSON has no numbers for.
    """
    if not all(np.isfinite(y).all() for y in outputs):
        raise Problem(422, "the model gives NaN or infinity for these numbers; are they too large?")
    if served.is_classifier:
        found = served.probabilities(outputs[0])
        return {"predictions": [_classes(row, served.class_names, top) for row in found]}
    values = [y.tolist() for y in outputs]
    if len(values) == 1:
        return {"predictions": values[0]}
    rows = zip(*values, strict=True)
    return {"predictions": [dict(zip(served.outputs, row, strict=True)) for row in rows]}


def _classes(row: np.ndarray, names: tuple[str, ...] | None, top: int | None) -> dict[str, Any]:
    """Describe the most probable class, and the list of the first ones if it is wanted."""
    order = np.argsort(-row, kind="stable")[: top or 1].tolist()
    first = [
        {**({} if names is None else {"name": names[k]}), "class": k, "probability": float(row[k])}
        for k in order
    ]
    return first[0] if top is None else {**first[0], "top": first}
