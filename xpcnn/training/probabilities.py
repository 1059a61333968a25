"""The probabilities of classes, from whatever a network ends in."""

from __future__ import annotations

import numpy as np

from xpcnn import functional as F
from xpcnn.training.doubts import GIVES, last_layer
from xpcnn.training.state import TrainingState


def class_probabilities(model: TrainingState, outputs: np.ndarray) -> np.ndarray:
    """Return the probability of each class.

    What the outputs are is told by the last layer (Softmax, LogSoftmax, Sigmoid, ...), otherwise by
    the loss; without either they are scores.

    Parameters
    ----------
    model : Model
    outputs : numpy.ndarray (N, columns) or (N,)
        What the model predicts.

    Returns
    -------
    numpy.ndarray (N, classes)
        float64. A single column is the answer yes, and becomes two: no and yes. Where columns are
        answers of their own, as with BCEWithLogitsLoss, they do not add up to 1.

    Raises
    ------
    ValueError
        If the model has several outputs, or they are no probabilities of classes.
    """
    if isinstance(outputs, tuple):
        raise ValueError(
            f"the model has {len(outputs)} outputs, {', '.join(model.outputs)}, and probabilities "
            "are those of one"
        )
    rows = outputs.astype(np.float64).reshape(len(outputs), -1)
    if outputs.ndim > 1 and rows.shape[1] != outputs.shape[1]:
        raise ValueError(
            f"the model gives outputs of shape (N, {', '.join(map(str, outputs.shape[1:]))}), not "
            "one number for each class"
        )
    how = how_to_read(model, rows.shape[1])
    if how == "exp":
        rows = np.exp(rows)
    elif how != "as they are":
        with np.errstate(invalid="ignore"):  # NaN for an infinite score, as elsewhere
            rows = F.sigmoid(rows) if how == "sigmoid" else F.softmax(rows)
    return np.concatenate([1.0 - rows, rows], axis=1) if rows.shape[1] == 1 else rows


def how_to_read(model: TrainingState, columns: int) -> str:
    """Return what makes probabilities of the outputs.

    Parameters
    ----------
    model : Model
    columns : int
        Numbers that the model gives for each sample.

    Returns
    -------
    str
        ``"softmax"``, ``"sigmoid"``, ``"exp"`` or ``"as they are"``.

    Raises
    ------
    ValueError
        If the outputs are no probabilities of classes.
    """
    last, loss = type(last_layer(model.network, model.outputs[0])), model.loss
    kind = GIVES.get(last) or (None if loss is None else loss.reads) or "logits"  # type: ignore[arg-type]
    if kind in ("values", "distances"):
        raise ValueError(
            f"the model was trained with {type(loss).__name__}, and its outputs are {kind}, not "
            "probabilities of classes"
        )
    if kind == "log_probabilities":
        return "exp"
    if kind != "logits":
        return "as they are"
    by_column = columns == 1 or getattr(loss, "answers", "") == "columns"
    return "sigmoid" if by_column else "softmax"


def names_of_classes(model: TrainingState, count: int) -> tuple[str, ...]:
    """Return a name for each of `count` classes: the model's own, or the numbers.

    Raises
    ------
    ValueError
        If the model has names, and not so many.
    """
    names = model.class_names
    if names is None:
        return tuple(map(str, range(count)))
    if len(names) == 1 and count == 2:
        return f"not {names[0]}", names[0]
    if len(names) != count:
        raise ValueError(
            f"the model has names for {len(names)} classes and gives {count}; set "
            "model.class_names to one name for each"
        )
    return names
