"""A model as a server sees it: what it takes, how it is run, what its outputs mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.serving.batching import Arrays
from xpcnn.training.data_adapter import host_dtype
from xpcnn.training.doubts import GIVES, NAMES, last_layer
from xpcnn.training.model import Model
from xpcnn.training.probabilities import class_probabilities, names_of_classes

Shape = tuple[int, ...]


class Served:
    """A model that is ready to serve.

    Parameters
    ----------
    model : Model
    max_batch : int
        The most samples it will be run on at a time.

    Attributes
    ----------
    inputs : dict of str to (tuple of int, str)
        Shape of a sample, and dtype on the host, of each input by name.
    outputs : tuple of str
    class_names : tuple of str or None
    is_classifier : bool
        Whether its outputs are, or become, probabilities of classes.

    Raises
    ------
    TypeError, ValueError
        If it is none, is not built, or does not give one output for each sample.
    """

    def __init__(self, model: Model, max_batch: int) -> None:
        if not isinstance(model, Model):
            raise TypeError(
                f"serving: expected a Model, got {model!r}; load it with Model.load, say"
            )
        if model.input_shape is None:
            raise ValueError("the model is not built: train it, or call model.build, first")
        shapes = (model.input_shape,) if len(model.inputs) == 1 else model.input_shape
        self.model = model
        self.inputs: dict[str, tuple[Shape, str]] = {
            name: (tuple(n or 1 for n in shape[1:]), host_dtype(dtype))
            for name, shape, dtype in zip(model.inputs, shapes, model.input_dtypes(), strict=True)
        }
        self.outputs = tuple(model.outputs)
        self.class_names = model.class_names
        self._max_batch = max_batch
        self._try_it()
        self.is_classifier = self._is_classifier()
        self._check_names()

    def _try_it(self) -> None:
        """Run the model once for one sample and once for many, so that no request waits for it."""
        for count in sorted({1, min(2, self._max_batch), self._max_batch}):
            zeros = [np.zeros((count, *shape), dtype) for shape, dtype in self.inputs.values()]
            found = self.run(tuple(zeros))
            shapes = [y.shape for y in found]
            if any(shape[:1] != (count,) for shape in shapes):
                raise ValueError(
                    f"the model gives outputs of shape {', '.join(map(str, shapes))} for {count} "
                    "samples; a server needs one output for each sample along the first axis"
                )
        self.shapes = [shape[1:] for shape in shapes]

    def _check_names(self) -> None:
        if self.is_classifier and self.class_names is not None:
            self.class_names = names_of_classes(self.model, self.classes)

    @property
    def classes(self) -> int:
        """The number of classes of a classifier."""
        return self.probabilities(np.zeros((1, *self.shapes[0]))).shape[1]

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each class, (N, classes), of a classifier's outputs."""
        return class_probabilities(self.model, outputs)

    def run(self, inputs: Arrays) -> Arrays:
        """Return the outputs for arrays of samples."""
        count, fixed = len(inputs[0]), self.model.batch
        if fixed is not None and count % fixed:
            inputs = tuple(_filled_up(x, fixed) for x in inputs)
        found = self.model.predict(*inputs, batch_size=self._max_batch)
        outputs = found if isinstance(found, tuple) else (found,)
        return tuple(y[:count] for y in outputs)

    def _is_classifier(self) -> bool:
        if len(self.outputs) != 1 or len(self.shapes[0]) != 1:
            return False
        loss = self.model.loss
        last: Any = type(last_layer(self.model.network, self.outputs[0]))
        if loss is not None and loss.reads in NAMES:
            return loss.answers != "lists"
        return last in GIVES or (self.class_names is not None and loss is None)


def _filled_up(x: np.ndarray, multiple: int) -> np.ndarray:
    """Repeat the last sample until the number of samples is a multiple."""
    return np.concatenate([x, np.repeat(x[-1:], -len(x) % multiple, axis=0)])
