"""What a model checks of the data it is given, on the host, before it works on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.losses.per_output import LossPerOutput
from xpcnn.training import class_weights, data_adapter
from xpcnn.training.compile_args import (
    check_loss,
    check_metrics,
    check_reduction,
    check_trainable,
    prepare_labels,
)
from xpcnn.training.dataset import Batch, map_arrays
from xpcnn.training.doubts import doubt_augmentation, doubt_inputs, what_outputs_are
from xpcnn.training.mixing import Mix, no_weights_error
from xpcnn.training.sample_weights import as_weights
from xpcnn.training.sources.kinds import MOST, is_lazy
from xpcnn.training.sources.lazy import Rows, is_small
from xpcnn.training.state import TrainingState

SOME = 16
"""Samples that are read beforehand of arrays in files."""


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
    class_weight : mapping, sequence, "balanced" or None
        By what :meth:`weigh` multiplies.
    mix : Mix, optional
        What mixes the samples of a batch later.

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
        mix: Mix | None = None,
    ) -> None:
        self.model, self.verb, self.labelled, self._trains = model, verb, labelled, trains
        self.class_weight, self._mix = class_weight, mix
        if isinstance(class_weight, str) and class_weight != "balanced":
            raise TypeError(
                "class_weight must be a mapping such as {0: 1.0, 1: 5.0}, one number for each "
                f"class, or 'balanced'; got {class_weight!r}"
            )
        if mix is not None and class_weight is not None:
            raise no_weights_error(verb, mix)
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
            Name for messages, where it is not that of the method: of one batch among others.
        numbers : numpy.ndarray, optional
            Of the samples, for messages.

        Returns
        -------
        Batch
            On the host, but for inputs that lie on the device already.
        """
        model = self.model
        whole = who is None and not self.verb.startswith("train_")  # no step of many
        who = who or self.verb
        given = data_adapter.one_each(x, model.inputs, self._name(who), "input")
        inputs = model.check_inputs(given, self._name(who), numbers=numbers)
        if not self.labelled:
            return Batch(inputs, None, None)
        count = int(inputs[0].shape[0])
        labels = self._labels(inputs, y, count, f"{who}: y", whole)
        weights = self._weights(sample_weight, inputs, count)
        return self._mixable(Batch(inputs, labels, weights), who)

    def lazy(self, x: Any, y: Any, sample_weight: Any) -> Batch:
        """Check arrays of which some lie in files; a few samples are read.

        Labels are read at once, unless they take much memory.

        Returns
        -------
        Batch
            Its inputs, and labels that take much memory, are :class:`Rows`.
        """
        model, who = self.model, self._name(self.verb)
        given = data_adapter.one_each(x, model.inputs, who, "input")
        rows = tuple(self._rows(each, who) for each in given)
        counts = {name: each.shape[0] for name, each in zip(model.inputs, rows, strict=True)}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{who}: the inputs differ in the number of samples: {counts}")
        count = rows[0].shape[0]
        some = np.arange(min(count, SOME))
        inputs = model.check_inputs([each.take(some) for each in rows], who, numbers=some)
        if not self.labelled:
            return Batch(rows, None, None)
        who = f"{self.verb}: y"
        if not is_long(y):
            labels = self._labels(inputs, y, count, who, whole=True)
            weights = self._weights(sample_weight, inputs, count)
            self._mixable(Batch(inputs, labels, weights), self.verb)
            return Batch(rows, labels, weights)
        labels = tuple(
            self._rows(each, who)
            for each in data_adapter.one_each(y, self._targets(), who, "output")
        )
        for each in labels:
            if each.shape[0] != count:
                raise ValueError(
                    f"{who}: expected one label for each of the {count} samples, got an array of "
                    f"shape {each.shape}"
                )
        labels = labels if len(labels) > 1 else labels[0]
        first = map_arrays(labels, lambda rows: rows.take(some))
        prepared = self._labels(inputs, first, len(some), who)
        weights = self._weights(sample_weight, inputs, count)
        self._mixable(Batch(inputs, prepared, weights), self.verb)
        return Batch(rows, labels, weights)

    def read(self, data: Batch, indices: np.ndarray) -> Batch:
        """Read and check some samples of what :meth:`lazy` has returned."""
        model, who = self.model, self._name(self.verb)
        inputs = model.check_inputs([r.take(indices) for r in data.inputs], who, numbers=indices)
        weights = map_arrays(data.weights, lambda a: a[indices])
        if not has_rows(data.labels):
            return Batch(inputs, map_arrays(data.labels, lambda a: a[indices]), weights)
        taken = map_arrays(data.labels, lambda rows: rows.take(indices))
        labels = self._labels(inputs, taken, len(indices), f"{self.verb}: y")
        return self._mixable(Batch(inputs, labels, weights), self.verb)

    def _mixable(self, data: Batch, who: str) -> Batch:
        """Return samples, unless they are to be mixed and cannot be."""
        if self._mix is not None:
            assert self.model.loss is not None
            shapes = self.model.output_shapes_for([tuple(each.shape) for each in data.inputs])
            self._mix.check(self.model.loss, data, shapes, who)
        return data

    def _name(self, who: str) -> str:
        return f"{who}: x" if self.labelled else who

    def _rows(self, array: Any, who: str) -> Rows:
        """Return the rows of an array; what is not in a file comes to the host."""
        if not is_lazy(array):
            array = np.asarray(_xp.to_numpy(array))
        if 0 in array.shape or not array.shape:
            raise ValueError(
                f"{who}: got an empty array of shape {tuple(array.shape)}; every axis needs at "
                "least one element"
            )
        return Rows(array)

    def _targets(self) -> Sequence[str]:
        """Name the outputs that have labels of their own."""
        several = isinstance(self.model.loss, LossPerOutput)
        return self.model.outputs if several else self.model.outputs[:1]

    def _weights(self, sample_weight: Any, inputs: tuple[Array, ...], count: int) -> Any:
        """Check weights of so many samples, for inputs of which some are enough."""
        model, dtype = self.model, data_adapter.host_dtype(self.model.dtype)
        assert model.loss is not None
        some = model.output_shapes_for([tuple(x.shape) for x in inputs])
        shapes = [(count, *shape[1:]) for shape in some]
        return as_weights(sample_weight, model.loss, model.outputs, shapes, dtype)

    def _labels(
        self, inputs: tuple[Array, ...], y: Any, count: int, who: str, whole: bool = False
    ) -> Any:
        """Check so many labels, all there are or not, for inputs of which some are enough."""
        model, loss, outputs = self.model, self.model.loss, self.model.outputs
        assert loss is not None
        model.ready_for(inputs)
        if self._trains and self.verb != "train_step":
            check_trainable(model.parameters(), self.verb)
            if model.optimizer is not None:
                model.optimizer.check_groups(model.parameters())
        check_loss(loss, outputs)
        dtype = data_adapter.host_dtype(model.dtype)
        shapes = model.output_shapes_for([tuple(each.shape) for each in inputs])
        labels = prepare_labels(loss, y, outputs, shapes, count, who, dtype)
        if whole and loss.takes_target:
            loss.check_something_counts(labels)
        if model.metrics:
            ends = what_outputs_are(model.network, outputs, loss)
            check_metrics(model.metrics, loss, labels, shapes, ends)
        if self._looks:
            doubt_inputs(model.network, inputs)
            if self._trains:
                doubt_augmentation(model.network)
            self._looks = False
        return labels

    def weigh(self, data: Batch) -> Batch:
        """Multiply the weights of samples by those of their classes, where these are given."""
        if self.class_weight is None:
            return data
        if has_rows(data.labels):
            raise ValueError(
                "class_weight needs one class for each sample, and the labels given as y take more "
                "memory than that; use sample_weight, or the weight argument of the loss"
            )
        if isinstance(self.class_weight, str):
            self.balance(data.labels)
        model, dtype = self.model, data_adapter.host_dtype(self.model.dtype)
        assert model.loss is not None
        shape = model.output_shapes_for([tuple(x.shape) for x in data.inputs])[0]
        weights = class_weights.with_class_weights(
            data.weights, self.class_weight, data.labels, model.loss, shape, dtype
        )
        return data._replace(weights=weights)

    def balance(self, labels: Any) -> None:
        """Let classes weigh the same together, by all labels."""
        assert self.model.loss is not None
        self.class_weight = class_weights.balanced(labels, self.model.loss.ignore_index)


def is_long(y: Any) -> bool:
    """Whether labels lie in files and take so much memory that they are not read at once."""
    if isinstance(y, Mapping):
        y = list(y.values())
    each = y[:MOST] if isinstance(y, (tuple, list)) else [y]
    return any(is_lazy(one) and not is_small(one) for one in each)


def has_rows(labels: Any) -> bool:
    """Whether labels are rows that are still to be read."""
    return isinstance(labels[0] if isinstance(labels, tuple) else labels, Rows)
