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
    last, loss = type(last_layer(model.network, model.outputs[0])), model.loss
    kind = GIVES.get(last) or (None if loss is None else loss.reads) or "logits"  # type: ignore[arg-type]
    if kind in ("values", "distances"):
        raise ValueError(
            f"the model was trained with {type(loss).__name__}, and its outputs are {kind}, not "
            "probabilities of classes"
        )
    single = rows.shape[1] == 1
    by_column = single or getattr(loss, "answers", "") == "columns"
    if kind == "log_probabilities":
        rows = np.exp(rows)
    elif kind == "logits":
        with np.errstate(invalid="ignore"):  # NaN for an infinite score, as elsewhere
            rows = F.sigmoid(rows) if by_column else F.softmax(rows)
    return np.concatenate([1.0 - rows, rows], axis=1) if single else rows
