"""What training works on: a network with its optimizer, loss, metrics and counters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp, losses, optim
from xpcnn._xp import Array
from xpcnn.data.images import ImageReader
from xpcnn.device import Device
from xpcnn.graph import Program
from xpcnn.interrupts import deferred
from xpcnn.kernels.constant import is_moderate as known_moderate
from xpcnn.layers.containers import check_layers
from xpcnn.layers.layer import Layer
from xpcnn.layers.parameter import Tensor
from xpcnn.layers.replacing import replace_layer
from xpcnn.metrics import Metric
from xpcnn.training.doubts import doubt_ends
from xpcnn.training.history import History
from xpcnn.training.known_data import check_class_names, check_image_input
from xpcnn.training.network import PlacedNetwork
from xpcnn.training.rollback import all_or_nothing
from xpcnn.window import as_int

FEW = 100_000
"""Numbers that can be looked at in every step."""


class TrainingState(PlacedNetwork):
    """A network on a device, and all that training changes or needs.

    It is the base of :class:`xpcnn.Model`, which describes the arguments. The training loop,
    model files, and what they stand on take a state, and know nothing of `Model`.
    """

    def __init__(
        self,
        layers: Iterable[Layer] = (),
        *,
        device: str | Device = "auto",
        dtype: str = "float32",
        seed: int | None = None,
        precision: str = "float32",
    ) -> None:
        super().__init__(layers, device=device, dtype=dtype, seed=seed, precision=precision)
        self.history = History()
        self.stop_training = False
        self._epoch = 0
        self._fits = 0  # that are running, one inside a callback of the other
        self._token = object()  # what stands for this model with its optimizer
        self._optimizer: optim.Optimizer | None = None
        self._loss: losses.Loss | None = None
        self._metrics: list[Metric] = []
        self._callbacks: Sequence[Any] = ()  # of the last training, whose state is saved
        self._callback_states: list[dict[str, Any]] = []  # of a file, until a callback takes it
        self._class_names: tuple[str, ...] | None = None
        self._image_input: ImageReader | None = None

    @property
    def optimizer(self) -> optim.Optimizer | None:
        """What changes the weights; an optimizer belongs to one model."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: optim.Optimizer | None) -> None:
        if optimizer is not None:
            if not isinstance(optimizer, optim.Optimizer):
                raise TypeError(
                    f"model.optimizer must be an Optimizer, got {optimizer!r}; names are for "
                    "model.compile"
                )
            optimizer.claim(self._token)
        self._optimizer = optimizer

    @property
    def loss(self) -> losses.Loss | None:
        """What is minimised."""
        return self._loss

    @loss.setter
    def loss(self, loss: losses.Loss | None) -> None:
        if loss is not None and not isinstance(loss, losses.Loss):
            raise TypeError(
                f"model.loss must be a Loss, got {loss!r}; names and functions are for "
                "model.compile"
            )
        self._loss = loss

    @property
    def metrics(self) -> list[Metric]:
        """What is measured besides the loss."""
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Sequence[Metric]) -> None:
        if not isinstance(metrics, (list, tuple)) or not all(
            isinstance(metric, Metric) for metric in metrics
        ):
            raise TypeError(
                f"model.metrics must be a list of Metric, got {metrics!r}; names and functions are "
                "for model.compile"
            )
        self._metrics = list(metrics)

    @property
    def epoch(self) -> int:
        """Epochs trained so far. When it is set, the optimizer's schedule goes along."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        epoch = as_int(epoch, "Model", "epoch", 0)
        if self._optimizer is not None:
            self._optimizer.epochs = max(self._optimizer.epochs + epoch - self._epoch, 0)
        self._epoch = epoch

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The name of each class, in the order of the labels, or ``None``.

        A network with a single column, the answer yes or no, has two: that of no and that of yes.
        The model's file holds them.
        """
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        self._class_names = check_class_names(names, self)

    @property
    def image_input(self) -> ImageReader | None:
        """What makes the model's input of image files, or ``None``; the model's file holds it."""
        return self._image_input

    @image_input.setter
    def image_input(self, reader: ImageReader | None) -> None:
        self._image_input = check_image_input(reader, self)

    def check_known_data(self) -> None:
        """Raise unless class names and the reader of images fit the network as it is built."""
        check_class_names(self._class_names, self)
        check_image_input(self._image_input, self)

    def _set_up(self, shapes: Sequence[Any], weights: str = "weights", **inputs: Any) -> Any:
        output_shape = super()._set_up(shapes, weights, **inputs)
        self.check_known_data()
        return output_shape

    def replace(self, name: str, layer: Layer) -> Layer:
        """Put a layer in the place of another, as a head for other classes.

        If the model is built, the new layer is built too: widths that it leaves open follow from
        the layers before it, and its weights are drawn by the model's seed. All others keep theirs.
        The optimizer forgets what it learnt of the old layer's parameters, and the model its class
        names, if there are no longer so many classes.

        Parameters
        ----------
        name : str
            Dotted, as in the names of parameters: ``"classifier.1"``, or ``"6"`` for the seventh
            of a chain of layers.
        layer : Layer
            One that is nowhere in the model.

        Returns
        -------
        Layer
            The one that was there.

        Raises
        ------
        TypeError, ValueError
            If there is no such name, which the message says with those that there are, or the
            layer does not fit there. Nothing has been changed then.

        Examples
        --------
        >>> import xpcnn
        >>> model = xpcnn.Model([xpcnn.Linear(4, 8), xpcnn.ReLU(), xpcnn.Linear(8, 2)], seed=0)
        >>> model.replace("2", xpcnn.Linear(out_features=5))
        Linear(in_features=8, out_features=2)
        >>> model.build((None, 4))
        (1, 5)
        """
        check_layers([layer], "Model.replace")
        with self.on_device(), all_or_nothing(self, layer):
            class_names, self._class_names = self._class_names, None
            before = self.network.parameters()
            old = replace_layer(self.network, name, layer, "Model.replace")
            if self.input_shape is not None:
                self._set_up(self._whole_shapes(self.input_shape), f"weights of {name}")
            after = self.network.parameters()
            self._forget([n for n, p in before.items() if after.get(n) is not p])
            with suppress(ValueError):  # there are other classes now
                self.class_names = class_names
        return old

    def _forget(self, gone: Sequence[str]) -> None:
        """Forget what belonged to parameters of some names, in whose place there are others."""
        if self.optimizer is not None:
            self.optimizer.forget(gone)
        if self.loss is not None:
            doubt_ends(self.network, self.outputs, self.loss)
        if not self._fits:  # weights that they have kept are of the network before
            self._callbacks, self._callback_states = (), []

    def _move(self, device: Any, dtype: str | None, precision: str | None) -> None:
        super()._move(device, dtype, precision)
        if self.optimizer is not None:
            self.optimizer.move(self.device, self.dtype)

    # -- Running -------------------------------------------------------------------------------

    @property
    def random_layers(self) -> list[Any]:
        """The layers that draw random numbers in training."""
        return self._random_layers

    @property
    def tensors(self) -> list[Tensor]:
        """All parameters and buffers."""
        return self._tensors

    def is_moderate(self) -> bool:
        """Whether parameters and running statistics are finite, and products of two of them."""
        arrays = [tensor.value for tensor in self._tensors]
        return all_below([array for array in arrays if not known_moderate(array)], 0.5)

    def forget_step(self) -> None:
        """Drop the gradients, and all that was kept for a backward that will not come."""
        self.zero_grad()
        self.network.forget()
        if self.loss is not None:
            self.loss._saved = None
        if self._program is not None:
            segments = self._program.segments
            self._program = Program(self.network)
            self._program.run_again(segments)

    def first_not_finite(self, inputs: tuple[Array, ...]) -> str | None:
        """Name the first layer whose output is not finite; the state stays as it is."""
        now = Snapshot(self)
        try:
            assert self._program is not None
            return self._program.first_not_finite(*self.narrow(inputs))
        except Exception:  # it would hide the error that is on its way
            return None
        finally:
            now.restore()
            self.forget_step()

    # -- Training ------------------------------------------------------------------------------

    def end_epoch(self, logs: Mapping[str, float] | None = None, *, validated: bool = True) -> None:
        """Count an epoch of a training loop of your own; :meth:`fit` does so by itself.

        Schedules that count epochs move on, those that watch a value see it, and the history gets
        a line.

        Parameters
        ----------
        logs : mapping of str to float, optional
            What the epoch has come to, such as ``{"loss": 0.3, "val_loss": 0.4}``.
        validated : bool
            ``False`` where only some epochs are validated, and not this one: a schedule that
            watches a figure of validation waits for the next.

        Raises
        ------
        ValueError
            If they lack what the optimizer's schedule watches. Nothing has been counted then.
        """
        logs = dict(logs or {})
        with deferred(), all_or_nothing(self):
            if self.optimizer is not None:
                self.optimizer.end_epoch(logs, validated=validated)
            self._epoch += 1
            self.history.append(self._epoch, logs)

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Count a call of ``fit``; a callback of another one may have made it."""
        outer = self.stop_training, self._callbacks
        self._fits, self.stop_training = self._fits + 1, False
        try:
            yield
        finally:
            self._fits -= 1
            if self._fits:
                self.stop_training, self._callbacks = outer

    def resume(self, callbacks: Sequence[Any]) -> None:
        """Give callbacks the states that the model's file has for them."""
        self._callbacks = callbacks
        for callback in callbacks if self._callback_states else ():
            own = {"class": type(callback).__name__, "settings": callback.identity()}
            for number, entry in enumerate(self._callback_states):
                if own == {name: entry[name] for name in own}:
                    callback.load_state_dict(entry["state"])
                    del self._callback_states[number]
                    break

    def states_of_callbacks(self) -> list[dict[str, Any]]:
        """Return the states of the callbacks of the last training, and of those not claimed."""
        entries = []
        for callback in self._callbacks:
            state = callback.state_dict()
            if state:
                entry = {"class": type(callback).__name__, "settings": callback.identity()}
                entries.append({**entry, "state": state})
        return [*entries, *self._callback_states]

    def keep_callback_states(self, states: list[dict[str, Any]]) -> None:
        """Keep the states that a file has for callbacks, until :meth:`resume`."""
        self._callback_states = states


class Snapshot:
    """All that a training step changes.

    Updates put new arrays in the place of old ones, so keeping the old ones costs no copy.
    """

    def __init__(self, model: TrainingState) -> None:
        self.model = model
        self.arrays = [(t, t.value) for t in model.tensors]
        self.counts = model.step, model.forwards
        self.scale = None if model.scaling is None else model.scaling.state_dict()
        self.slots = None if model.optimizer is None else model.optimizer.snapshot()

    def restore(self) -> None:
        """Put the old arrays back."""
        model = self.model
        with deferred():
            for tensor, array in self.arrays:
                if tensor.value is not array:
                    tensor.data = array
            model.step, model.forwards = self.counts
            if model.scaling is not None and self.scale is not None:
                model.scaling.load_state_dict(self.scale)
            if model.optimizer is not None and self.slots is not None:
                model.optimizer.restore(self.slots)

    def is_current(self) -> bool:
        """Whether the model has the same arrays still."""
        return all(tensor.value is array for tensor, array in self.arrays)

    def is_surely_finite(self) -> bool:
        """Whether they are, where that is known but for a few numbers; nothing large is read."""
        unknown = [array for _, array in self.arrays if not known_moderate(array)]
        return sum(map(_size, unknown)) <= FEW and all_below(unknown, 1.0)

    def is_finite(self) -> bool:
        """Whether parameters and running statistics are free of NaN and infinity."""
        return all_below([array for _, array in self.arrays], 1.0)


def _size(array: Array) -> int:
    return math.prod(array.shape)


def all_below(arrays: list[Array], power: float) -> bool:
    """Whether all numbers are finite, and below some power of the largest one of their dtype.

    The host waits for the device once.
    """
    good: Any = True
    with np.errstate(over="ignore", invalid="ignore"):
        for array in arrays:
            if not _xp.is_floating(array) or 0 in array.shape:
                continue
            xp = _xp.namespace(array)
            largest = _largest(xp, array.dtype) ** power
            if _xp.on_host(array):
                # One look at the sum of squares is enough as a rule: none of them is larger.
                flat = array if array.ndim == 1 else xp.reshape(array, (-1,))
                squares = float(flat @ flat)
                if math.isfinite(squares) and squares <= largest * largest:
                    continue
            # NaN is the largest and the smallest where there is one, and below nothing.
            here = xp.logical_and(xp.max(array) <= largest, xp.min(array) >= -largest)
            good = here if good is True else xp.logical_and(good, here)
    return bool(good)


@cache
def _largest(xp: ModuleType, dtype: Any) -> float:
    return float(xp.finfo(dtype).max)
