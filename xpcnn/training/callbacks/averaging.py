"""Averages of the weights that training passes through, which often predict better than the last.

Training goes on with weights of its own. The averages take their place in the model at times, and
those of training are kept meanwhile, in the model's file too, so that it goes on as if they had
never left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.parameter import Parameter, Tensor
from xpcnn.training.callbacks.base import Callback, Logs, say
from xpcnn.training.state import Snapshot, all_below
from xpcnn.window import as_int, as_number


class Averaging(Callback):
    """Keeps an average of the parameters, and puts it into the model and out again."""

    def __init__(self, start: int) -> None:
        self.start = as_int(start, type(self).__name__, "start", 1)
        self._average: dict[str, Array] = {}
        self._count = 0  # of the weights in it
        self._own: dict[str, Array] = {}  # what training goes on with, while averages are in place
        self._placed: dict[str, Array] = {}  # these

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Start afresh, unless the weights in the model are the averages of the last training."""
        last = self.model.epoch + epochs
        if epochs and self.start > last:
            raise ValueError(
                f"{type(self).__name__}: start={self.start}, and training ends with epoch {last}, "
                "so that nothing would be averaged; choose an earlier epoch"
            )
        if not self._is_in_place():
            self._average, self._count, self._own, self._placed = {}, 0, {}, {}

    def on_epoch_begin(self, epoch: int) -> None:
        """Go on with the weights of training."""
        self._take_out()

    def on_train_end(self) -> None:
        """Forget an average that numbers have got into that are not finite."""
        if not all_below(list(self._average.values()), 1.0):
            self._average, self._count = {}, 0
            say("%r has averaged weights that are not finite, and forgets them", self)

    def _tensors(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.model.network._tensors()
        return found

    def _parameters(self) -> dict[str, Parameter]:
        return {n: t for n, t in self._tensors().items() if isinstance(t, Parameter)}

    def _add(self, share: float) -> None:
        """Move the average towards the weights of this moment by a share of the way."""
        values = {name: parameter.value for name, parameter in self._parameters().items()}
        if set(values) != set(self._average):  # the first, or other layers
            self._average = {name: _copy(value) for name, value in values.items()}
            self._count = 1
            return
        for name, value in values.items():
            old = self._average[name]
            self._average[name] = old + share * (value - old)
        self._count += 1

    def _put_in(self) -> None:
        """Put the average in the place of the weights of training."""
        tensors = self._tensors()
        self._own = {name: tensor.value for name, tensor in tensors.items()}
        for name, average in self._average.items():
            tensors[name].renew(_copy(average))
        self._placed = {name: tensors[name].value for name in self._average}

    def _is_in_place(self) -> bool:
        """Whether the model has the averages, and nobody has set other weights since."""
        if not self._placed:
            return False
        tensors = self._tensors()
        return all(n in tensors and tensors[n].value is a for n, a in self._placed.items())

    def _take_out(self) -> None:
        """Put the weights of training back; where others were set meanwhile, those stay."""
        if self._is_in_place():
            tensors = self._tensors()
            for name, value in self._own.items():
                if tensors[name].value is not value:
                    tensors[name].renew(value)
        self._own, self._placed = {}, {}

    def identity(self) -> dict[str, Any]:
        """Return nothing: the average may go on with other settings."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the average, and the weights of training where the average is in the model."""
        if not self._average:
            return {}
        state = {f"average/{name}": array for name, array in self._average.items()}
        if self._is_in_place():
            state |= {f"own/{name}": array for name, array in self._own.items()}
        return {"count": self._count, "epoch": self.model.epoch, **state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with them, unless the model was trained without this callback meanwhile."""
        tensors = self._tensors()
        average = _part(state, "average/", {n: tensors[n] for n in self._parameters()})
        own = _part(state, "own/", tensors)
        count, epoch = state.get("count"), state.get("epoch")
        if type(count) is not int or count < 1 or type(epoch) is not int or average is None:
            raise ValueError(
                f"{type(self).__name__}: the model's file has an invalid state, which does not fit "
                f"the network: {', '.join(state)!s:.200}"
            )
        if epoch != self.model.epoch:
            return
        self._average, self._count = self._like(average), count
        for name, value in self._like(own or {}).items():
            tensors[name].renew(value)

    def _like(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """Bring arrays to where those of the model are."""
        tensors = self._tensors()
        return {
            name: np.array(array)
            if getattr(tensors[name], "on_host", False)
            else self.model.device.asarray(np.array(array), _xp.dtype_name(tensors[name].value))
            for name, array in arrays.items()
        }


class EMA(Averaging):
    """Exponential moving average of the weights, updated with every step.

    With each step the average becomes ``decay * average + (1 - decay) * weights``, beginning with
    the weights after the first. It takes their place when the batches of an epoch are done, so that
    validation, checkpoints and EarlyStopping have the averages, until the next epoch begins; after
    training they stay in the model. Running statistics are those of training. Another ``fit`` with
    the same callback, or of a model that was loaded, goes on with the weights of training, bit for
    bit. After an error or a Ctrl-C in an epoch the model has the weights of training.

    Put it in front of callbacks that look at weights.

    Parameters
    ----------
    decay : float
        From 0 to below 1. It looks back over about ``1 / (1 - decay)`` steps.
    start : int
        The first epoch whose steps count, from 1.

    Raises
    ------
    ValueError, TypeError
        If a setting is none; and before anything is trained, if `start` is behind the last epoch.

    Notes
    -----
    The numbers are those of PyTorch's ``AveragedModel`` with ``get_ema_multi_avg_fn(decay)``.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1, bias=False)], device="cpu")
    >>> model.compile(xpcnn.optim.SGD(1.0), "l1")  # steps of 1 towards 100
    >>> x, y = np.array([[1.0]], dtype="float32"), np.array([[100.0]], dtype="float32")
    >>> _ = model.build((None, 1))
    >>> _ = model.load_state_dict({"0.weight": np.zeros((1, 1), dtype="float32")})
    >>> _ = model.fit(x, y, epochs=2, callbacks=[xpcnn.callbacks.EMA(0.5)], verbose=0)
    >>> model.state_dict()["0.weight"].tolist()  # the weights are 1, then 2: (1 + 2) / 2
    [[1.5]]
    """

    def __init__(self, decay: float = 0.999, start: int = 1) -> None:
        super().__init__(start)
        self.decay = as_number(decay, "EMA", "decay")
        if not 0.0 <= self.decay < 1.0:
            raise ValueError(f"EMA: decay must be from 0 to below 1, got {decay!r}")
        self._is_whole = True  # the epoch that the averages are in place for

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Take in the weights after a step."""
        if self.model.epoch + 1 >= self.start:
            self._add(1.0 - self.decay)

    def on_epoch_trained(self, epoch: int) -> None:
        """Put the average into the model."""
        if self._average:
            self._is_whole = False
            self._put_in()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Take note that the epoch has ended well."""
        self._is_whole = True

    def on_train_end(self) -> None:
        """Leave the average in the model after a whole epoch, else the weights of training."""
        if not self._is_whole:
            self._take_out()
        self._is_whole = True
        super().on_train_end()


class SWA(Averaging):
    """Stochastic weight averaging: the mean of the weights after some epochs.

    From epoch `start` on the weights after each epoch, or each `every` of them, count alike
    (Izmailov et al., 2018). When all epochs are done, their mean takes the place of the weights,
    and batch normalisation learns its running statistics anew, in one more pass over the training
    data; a generator must have batches for it. Until then, validation and callbacks have the
    weights of training. Keep the learning rate constant, as :class:`xpcnn.optim.SWALR` does, or let
    it fall and rise, as :class:`xpcnn.optim.CosineAnnealingWarmRestarts` does, with `every` the
    length of a wave. Another ``fit`` with the same callback, or of a model that was loaded, goes on
    with the weights of training, bit for bit.

    Parameters
    ----------
    start : int
        The first epoch that counts, from 1.
    every : int

    Raises
    ------
    ValueError, TypeError
        If a setting is none; and before anything is trained, if `start` is behind the last epoch.

    Notes
    -----
    The numbers are those of PyTorch's ``AveragedModel`` and ``update_bn``.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1, bias=False)], device="cpu")
    >>> model.compile(xpcnn.optim.SGD(1.0), "l1")  # steps of 1 towards 100
    >>> x, y = np.array([[1.0]], dtype="float32"), np.array([[100.0]], dtype="float32")
    >>> _ = model.build((None, 1))
    >>> _ = model.load_state_dict({"0.weight": np.zeros((1, 1), dtype="float32")})
    >>> _ = model.fit(x, y, epochs=4, callbacks=[xpcnn.callbacks.SWA(start=3)], verbose=0)
    >>> model.state_dict()["0.weight"].tolist()  # 3 after epoch 3, 4 after epoch 4
    [[3.5]]
    """

    def __init__(self, start: int, every: int = 1) -> None:
        super().__init__(start)
        self.every = as_int(every, "SWA", "every", 1)

    def on_epoch_trained(self, epoch: int) -> None:
        """Take in the weights after an epoch."""
        if epoch >= self.start and (epoch - self.start) % self.every == 0:
            self._add(1.0 / (self._count + 1))

    def on_epochs_done(self, inputs: Callable[[], Iterator[tuple[Any, ...]]]) -> None:
        """Put the mean into the model, with statistics of batches that are its own."""
        if not self._average or self._is_in_place():
            return
        before = Snapshot(self.model)
        self._put_in()
        try:
            _learn_statistics(self.model, inputs)
        except BaseException as error:
            before.restore()
            self._own, self._placed = {}, {}
            if isinstance(error, ValueError):
                raise ValueError(
                    "SWA: all epochs are done, and the model has the weights of training. Batch "
                    f"normalisation needs one more pass over the training data: {error}"
                ) from error
            raise


def _learn_statistics(model: Any, inputs: Callable[[], Iterator[tuple[Any, ...]]]) -> None:
    """Let batch normalisation forget its running statistics, and average those of all batches."""
    norms = [
        layer
        for _, layer in model.network.layers_within()
        if isinstance(layer, BatchNorm) and layer.track_running_stats
        and not layer.holds_statistics
    ]  # fmt: skip
    if not norms:
        return
    momenta, forwards = [layer.momentum for layer in norms], model.forwards
    try:
        for layer in norms:
            layer.momentum = None
            _forget_statistics(layer)
        for arrays in inputs():
            model.forward_batch(arrays, training=True)
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        model.forwards = forwards  # what is drawn at random goes on as if nothing had been
        model.forget_step()


def _forget_statistics(layer: Any) -> None:
    mean, variance, count = layer.running_mean, layer.running_var, layer.num_batches_tracked
    mean.renew(_xp.namespace(mean.value).zeros_like(mean.value))
    variance.renew(_xp.namespace(variance.value).ones_like(variance.value))
    count.renew(count.value * 0)


def _part(
    state: Mapping[str, Any], prefix: str, tensors: Mapping[str, Tensor]
) -> dict[str, Any] | None:
    """Return the arrays under a prefix, unless they do not fit."""
    found = {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}
    fits = set(found) == set(tensors) and all(
        np.shape(array) == tuple(tensors[name].value.shape) for name, array in found.items()
    )
    return found if fits else None


def _copy(x: Array) -> Array:
    return _xp.namespace(x).asarray(x, copy=True)
