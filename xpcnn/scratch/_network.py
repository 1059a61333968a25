"""What the courses' networks have in common: layers, loss, accuracy and gradients by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device, resolve
from xpcnn.errors import ModelFileError, choice_error
from xpcnn.interop.weights import read_arrays
from xpcnn.scratch._layers import Affine, Convolution
from xpcnn.scratch._shared import (
    CourseClass,
    batch_slices,
    check_samples,
    class_labels,
    count_correct,
    numerical_gradient,
)
from xpcnn.window import Ints, Window, as_int

FLOATS = ("float32", "float64", "float16", "bfloat16")
GRADIENTS = {"W": "dW", "b": "db", "gamma": "dgamma", "beta": "dbeta"}


class Layers(OrderedDict[str, Any]):
    """Layers by name; a name is also found as the courses spell it, ``Relu1`` or ``BarchNorm1``."""

    def __missing__(self, key: Any) -> Any:
        wanted = str(key).lower().replace("barch", "batch")
        for name in self:
            if name.lower() == wanted:
                return self[name]
        raise KeyError(f"no layer {key!r}; the layers are {', '.join(self)}")


class Network(CourseClass):
    """Layers in a row, whose weights are the entries of the dict ``params``.

    Before every forward the layers are handed the arrays that are in ``params`` at that moment.
    So an update written into the arrays is seen, and one that replaces entries of the dict, too.
    """

    takes_flag: ClassVar[tuple[type[Any], ...]] = ()
    """Layers whose forward takes ``train_flg``."""

    last_layer: Any

    @property
    def who(self) -> str:
        """Name for messages."""
        return type(self).__name__

    def __init__(
        self, device: str | Device, dtype: str, input_shape: Sequence[int], layout: str
    ) -> None:
        who = type(self).__name__
        if dtype not in FLOATS:
            raise choice_error(who, "dtype", dtype, FLOATS)
        # by name: a Device holds a module, and a network must be open to copy.deepcopy
        self._device = str(resolve(device))
        self._dtype = dtype
        rank = layout.count(",")
        if not isinstance(input_shape, (tuple, list)) or len(input_shape) != rank:
            raise ValueError(
                f"{who}: input_dim must be {rank} numbers, {layout.replace('(N, ', '(')}, got "
                f"{input_shape!r}"
            )
        self._input_shape = tuple(as_int(n, who, "input_dim", 1) for n in input_shape)
        self._layout = layout
        self.params: dict[str, Array] = {}
        self._owners: list[tuple[Any, str, str]] = []

    def _new_param(self, key: str, value: np.ndarray) -> Array:
        self.params[key] = resolve(self._device).asarray(value, self._dtype)
        return self.params[key]

    def _own(self, layer: Any, number: int, names: Iterable[str] = ("W", "b")) -> Any:
        """Note that a layer holds the parameters called ``W<number>`` and so on."""
        self._owners += [(layer, name, f"{name}{number}") for name in names]
        return layer

    def _weighted(
        self, kind: Any, number: int, std: float, shape: Sequence[int], *settings: Any
    ) -> Any:
        """Make a layer of weights from N(0, std**2) and biases of zero, which go into params.

        They are drawn by NumPy's global generator, as the courses do: a notebook that sets its
        seed gets the initial weights it always had.
        """
        w = self._new_param(f"W{number}", std * np.random.randn(*shape))
        b = self._new_param(f"b{number}", np.zeros(shape[1] if kind is Affine else shape[0]))
        return self._own(kind(w, b, *settings), number)

    def __repr__(self) -> str:
        shown = "".join(f"\n    {layer!r}," for layer in (*self._layer_list(), self.last_layer))
        return f"{type(self).__name__}({shown}\n)"

    def _layer_list(self) -> list[Any]:
        layers: Any = self.layers  # type: ignore[attr-defined]
        return list(layers.values()) if isinstance(layers, Mapping) else list(layers)

    def _hand_out(self) -> None:
        for layer, name, key in self._owners:
            setattr(layer, name, self.params[key])

    def _move(self, x: Any) -> Array:
        """Bring images to where the weights are."""
        return Device.of(next(iter(self.params.values()))).asarray(x)

    def predict(self, x: Array, train_flg: bool = False) -> Array:
        """Return the scores (N, K) of images (N, C, H, W)."""
        self._hand_out()
        x = self._move(x)
        if tuple(x.shape[1:]) != self._input_shape or not x.ndim:
            raise ValueError(
                f"{self.who}: expected an input {self._layout} of shape "
                f"(N, {', '.join(map(str, self._input_shape))}), got {tuple(x.shape)}"
            )
        for layer in self._layer_list():
            flag = (train_flg,) if isinstance(layer, self.takes_flag) else ()
            x = layer.forward(x, *flag)
        return x

    def loss(self, x: Array, t: Any) -> Any:
        """Return the loss of a training forward; `t` are integer labels or one-hot rows."""
        return self.last_layer.forward(self.predict(x, train_flg=True), t)

    def accuracy(self, x: Array, t: Any, batch_size: int = 100) -> float:
        """Return the share of images classified correctly; every image counts."""
        who = f"{type(self).__name__}.accuracy"
        labels = class_labels(t)
        check_samples(x, labels, who, "images")
        batch_size = as_int(batch_size, who, "batch_size", 1)
        right = sum(
            count_correct(self.predict(x[part, ...]), labels[part])
            for part in batch_slices(x.shape[0], batch_size)
        )
        return right / x.shape[0]

    def gradient(self, x: Array, t: Any) -> dict[str, Array]:
        """Return the gradient of the loss for every entry of ``params``."""
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        first, *others = self._layer_list()
        for layer in reversed(others):
            dout = layer.backward(dout)
        if isinstance(first, (Convolution, Affine)):
            first.backward(dout, need_dx=False)
        else:
            first.backward(dout)
        return {key: getattr(layer, GRADIENTS[name]) for layer, name, key in self._owners}

    def numerical_gradient(self, x: Array, t: Any) -> dict[str, Array]:
        """Return what :meth:`gradient` does, from differences of the loss; very slow."""
        gradients = {}
        for key, original in self.params.items():

            def loss_with(value: Array, key: str = key) -> Any:
                self.params[key] = value
                return self.loss(x, t)

            gradients[key] = numerical_gradient(loss_with, original)
            self.params[key] = original
        return gradients

    def save_params(self, file_name: str | PathLike[str] = "params.npz") -> None:
        """Write ``params`` to a file of NumPy's npz format, whatever its name."""
        host: dict[str, Any] = {key: _xp.to_numpy(p) for key, p in self.params.items()}
        with open(file_name, "wb") as file:
            np.savez(file, **host)

    def load_params(self, file_name: str | PathLike[str] = "params.npz") -> None:
        """Read what :meth:`save_params` wrote, or the dict that the course's own pickled.

        Raises
        ------
        ModelFileError
            If the file is something else, or was written by a network with other parameters.
            Of a pickle nothing is executed; see :func:`xpcnn.interop.read_pickle`.
        """
        who = f"{type(self).__name__}.load_params"
        loaded = read_arrays(Path(file_name))
        ours = {key: tuple(value.shape) for key, value in self.params.items()}
        theirs = {key: value.shape for key, value in loaded.items()}
        if ours != theirs:
            raise ModelFileError(f"{who}: expected parameters of shapes {ours}, got {theirs}")
        for key, old in self.params.items():
            self.params[key] = Device.of(old).asarray(loaded[key], _xp.dtype_name(old))


def size_after(size: Ints, kernel: int, stride: int, pad: int, who: str) -> Ints:
    """Return the (height, width) that a square convolution or pooling makes of another."""
    window = Window((kernel, kernel), (stride, stride), ((pad, pad), (pad, pad)), (1, 1))
    return window.output_shape(size, who)


SAME_KEY = {"n_filters": "filter_num"}
"""What one course calls so, and what the others call it."""


def check_param(given: Any, defaults: Mapping[str, int], who: str) -> dict[str, Any]:
    """Fill in a dict such as ``conv_param`` from its defaults, and refuse what makes no sense.

    A key under its other name (`SAME_KEY`) is kept, and added under the usual one.
    """
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(
            f"{who} must be a dict with the keys {', '.join(map(repr, defaults))}, got {given!r}"
        )
    found: dict[str, Any] = dict(given or {})
    for other, usual in SAME_KEY.items():
        if other in found and usual in defaults:
            if found.get(usual, found[other]) != found[other]:
                raise ValueError(f"{who}: {other!r} and {usual!r} mean the same; give one of them")
            found[usual] = found[other]
    unknown = [key for key in found if SAME_KEY.get(key, key) not in defaults]
    if unknown:
        raise ValueError(
            f"{who}: unknown keys {', '.join(map(repr, unknown))}; the keys are "
            f"{', '.join(map(repr, defaults))}"
        )
    for key, value in found.items():
        if not (key == "pad" and isinstance(value, (str, tuple, list))):
            found[key] = as_int(value, who, key, 0 if key == "pad" else 1)
    return {**defaults, **found}


def check_pool_param(given: Any, who: str) -> dict[str, Any]:
    """Complete ``pool_param``; windows lie side by side unless a stride is given."""
    pool = check_param(given, {"pool_size": 2, "pad": 0, "stride": 2}, who)
    if "stride" not in (given or {}):
        pool["stride"] = pool["pool_size"]
    return pool
