"""What a model checks of the data it is given, on the host, before it works on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.training import data_adapter
from xpcnn.training.compile_args import (
    check_loss,
    check_metrics,
    check_reduction,
    check_trainable,
    prepare_labels,
)
from xpcnn.training.dataset import Batch
from xpcnn.training.doubts import doubt_inputs, what_outputs_are
from xpcnn.training.state import TrainingState


class Preparation:
    """Checks inputs, labels and weights against each other, the network and the loss.

    Parameters
    ----------
    model : TrainingState
        It is built for the first inputs that come.
    verb : str
        Name of the method, for messages.
    labelled : bool
        Whether there are labels; ``False`` for predictions.
    trains : bool
        Whether parameters are to be trained.
    class_weight : mapping, sequence or None
        By what :meth:`weigh` multiplies.

    Raises
    ------
    RuntimeError
        If the model lacks a loss or an optimizer.
    """

    def __init__(
        self,
        model: TrainingState,
        verb: str,
        *,
        labelled: bool = True,
        trains: bool = False,
        class_weight: Any = None,
    ) -> None:
        self.model, self.verb, self.labelled, self._trains = model, verb, labelled, trains
        self.class_weight = class_weight
        self._looks = verb == "fit" or (trains and model.step == 0)
        if not labelled:
            return
        if model.loss is None or (trains and model.optimizer is None):
            raise RuntimeError(
                f"{verb}: the model has no {'loss' if model.loss is None else 'optimizer'} yet; "
                "call model.compile('adam', 'cross_entropy', ['accuracy']) or give them to fit"
            )
        if trains or verb == "validation_data":
            check_reduction(model.loss)

    def batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        who: str | None = None,
        numbers: np.ndarray | None = None,
    ) -> Batch:
        """Check some samples: all that there are, or a batch of them.

        Parameters
        ----------
        x, y, sample_weight
            As users give them to ``fit``.
        who : str, optional
            Name for messages, where it is not that of the method.
        numbers : numpy.ndarray, optional
            Of the samples, for messages.

        Returns
        -------
        Batch
            On the host, but for inputs that lie on the device already.
        """
        model, who = self.model, who or self.verb
        name = f"{who}: x" if self.labelled else who
        given = data_adapter.one_each(x, model.inputs, name, "input")
        inputs = model.check_inputs(given, name, numbers=numbers)
        if not self.labelled:
            return Batch(inputs, None, None)
        labels = self._labels(inputs, y, f"{who}: y")
        if self._looks:
            doubt_inputs(model.network, inputs)
            self._looks = False
        dtype = data_adapter.host_dtype(model.dtype)
        count = int(inputs[0].shape[0])
        return Batch(inputs, labels, data_adapter.as_weights(sample_weight, count, dtype))

    def _labels(self, inputs: tuple[Array, ...], y: Any, who: str) -> Any:
        model, loss, outputs = self.model, self.model.loss, self.model.outputs
        assert loss is not None
        model.ready_for(inputs)
        if self._trains and self.verb != "train_step":
            check_trainable(model.parameters(), self.verb)
            if model.optimizer is not None:
                model.optimizer.check_groups(model.parameters())
        check_loss(loss, outputs)
        count, dtype = int(inputs[0].shape[0]), data_adapter.host_dtype(model.dtype)
        shapes = model.output_shapes_for([tuple(each.shape) for each in inputs])
        labels = prepare_labels(loss, y, outputs, shapes, count, who, dtype)
        if model.metrics:
            ends = what_outputs_are(model.network, outputs, loss)
            check_metrics(model.metrics, loss, labels, shapes, ends)
        return labels

    def weigh(self, data: Batch) -> Batch:
        """Multiply the weights of samples by those of their classes, where these are given."""
        if self.class_weight is None:
            return data
        model, dtype = self.model, data_adapter.host_dtype(self.model.dtype)
        assert model.loss is not None
        shape = model.output_shapes_for([tuple(x.shape) for x in data.inputs])[0]
        weights = data_adapter.with_class_weights(
            data.weights, self.class_weight, data.labels, model.loss, shape, dtype
        )
        return data._replace(weights=weights)
