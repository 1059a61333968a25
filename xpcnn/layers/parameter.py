"""What a layer owns: parameters, which training changes, and buffers, which it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from xpcnn import _xp
from xpcnn._registry import Closed
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.kernels.constant import promise, withdraw

Initializer = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]
_changes = 0


def changes() -> int:
    """Return a number that differs after every change of a setting of any layer or parameter."""
    return _changes


def note_change() -> None:
    """Note that some layer or parameter has changed."""
    global _changes
    _changes += 1


class Tensor(Closed):
    """An array that belongs to a layer; its shape may be known before its numbers are.

    Parameters
    ----------
    shape : tuple of int, optional
        ``None`` until the layer has inferred it from its input.
    init : callable
        ``init(shape, rng)`` returns the first values as a NumPy array.

    Attributes
    ----------
    pattern : tuple of int or None, optional
        What is known of the shape before all of it is, with ``None`` for an open length.
    """

    on_host = False
    """Whether it is a NumPy array wherever the layer computes, and takes no part in computing."""
    spellings: ClassVar[Mapping[str, str]] = {"trainable": "requires_grad", "gradient": "grad"}
    read_only: ClassVar[Mapping[str, str]] = {
        "value": "set data, the same array to be written to",
        "operand": "set data, of which it is a copy",
        "is_built": "build the layer",
    }

    def __init__(self, shape: tuple[int, ...] | None, init: Initializer) -> None:
        self.shape = shape
        self.pattern: tuple[int | None, ...] | None = None
        self.init = init
        self._data: Array | None = None
        self._is_placed = False  # values loaded before build wait for their device and dtype
        self._is_lent = False  # somebody outside has the array, and may write to it

    @property
    def is_built(self) -> bool:
        """Whether the numbers are there, on the device and in the dtype the layer works with."""
        return self._data is not None and self._is_placed

    @property
    def data(self) -> Array:
        """The array, in the layout the layer documents. It may be written to, or replaced.

        Raises
        ------
        RuntimeError
            If the layer was not built yet.
        """
        value = self.value
        self._is_lent = True
        withdraw(value)
        return value

    @data.setter
    def data(self, value: Array) -> None:
        self.renew(value)
        self._is_lent = True
        withdraw(value)

    @property
    def value(self) -> Array:
        """The same array, for reading only: kernels may keep what they make of it."""
        if self._data is None:
            raise RuntimeError(
                "this parameter has no values yet; build the layer or run it on an input first"
            )
        return self._data

    def renew(self, value: Array) -> None:
        """Take a new array that nobody else will write to."""
        shape = tuple(value.shape)
        if self.shape is not None and shape != self.shape:
            raise ValueError(f"expected an array of shape {self.shape}, got {shape}")
        if self._data is not None and value.dtype != self._data.dtype:
            raise TypeError(
                f"expected dtype {_xp.dtype_name(self._data)}, got {_xp.dtype_name(value)}; "
                "use Model.to to change the dtype of a model"
            )
        if self.shape is None:
            self.shape = shape
        self._hold(value)

    def _hold(self, value: Array) -> None:
        vars(self).update(_data=value, _is_placed=True, _is_lent=False)
        promise(value)

    def problem(self, values: np.ndarray) -> str | None:
        """Say why these cannot be the values of this array, or ``None`` if they can."""
        expected = self.pattern if self.shape is None else self.shape
        if expected is not None:
            fits = len(expected) == values.ndim and all(
                n in (None, m) for n, m in zip(expected, values.shape, strict=True)
            )
            if not fits:
                shown = ", ".join("any" if n is None else str(n) for n in expected)
                shown += "," if len(expected) == 1 else ""
                return f"has shape {values.shape}, expected ({shown})"
        if values.dtype.kind not in "biuf" and "float" not in values.dtype.name:
            return f"has dtype {values.dtype}, expected real numbers"
        return None

    def allocate(self, device: Device, dtype: str, rng: np.random.Generator) -> None:
        """Draw the first values on the host and move them; values already there are kept."""
        if self._data is not None:
            return
        if self.shape is None:
            raise RuntimeError("the shape of a parameter is unknown; build the layer first")
        # A copy: whoever drew the values may keep and change them.
        self._hold(device.asarray(np.array(self.init(self.shape, rng)), dtype))

    def load(self, values: Any) -> None:
        """Take values from an array of any library; device and dtype stay as they are."""
        host = np.array(_xp.to_numpy(values))
        if self._data is None:
            self._data, self.shape = host, tuple(host.shape)
        else:
            self._data = Device.of(self._data).asarray(host, _xp.dtype_name(self._data))
        promise(self._data)
        self._is_lent = False

    def move(self, device: Device, dtype: str) -> None:
        """Bring the values, if there are any, to another device or dtype."""
        if self._data is not None:
            moved = device.asarray(self._data, dtype)
            if moved is not self._data:
                promise(moved)
                self._is_lent = False
            self._data = moved
            self._is_placed = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set up a copy, whose array is a new one."""
        vars(self).update(state)
        promise(self._data)

    def __repr__(self) -> str:
        state = _xp.dtype_name(self._data) if self._data is not None else "not built"
        return f"{type(self).__name__}(shape={self.shape}, {state})"


class Parameter(Tensor):
    """An array that training changes.

    In mixed precision its values stay as they are, so that small updates are not lost, and layers
    compute with `operand`, a copy in the dtype that :meth:`compute_in` chose.

    Attributes
    ----------
    grad : array or None
        Sum of the gradients of the backward passes since :meth:`zero_grad`.
    requires_grad : bool
        ``False`` freezes the parameter: it gets no gradient, and optimizers pass it over.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.Linear(2, 1)
    >>> y = layer.forward(np.array([[3.0, 5.0]], dtype="float32"), training=True)
    >>> dx = layer.backward(np.array([[2.0]], dtype="float32"))
    >>> layer.weight.grad.tolist()  # dy times x
    [[6.0, 10.0]]
    """

    def __init__(self, shape: tuple[int, ...] | None, init: Initializer) -> None:
        super().__init__(shape, init)
        self.grad: Array | None = None
        self.requires_grad = True
        self._compute: str | None = None
        self._copy: tuple[Array, Array] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "grad" or name[0] == "_":
            object.__setattr__(self, name, value)
            return
        if name == "requires_grad":
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"requires_grad must be True or False, got {value!r:.200}")
            value = bool(value)
            if "_is_made" in vars(self):
                note_change()
        super().__setattr__(name, value)

    @property
    def operand(self) -> Array:
        """The array to compute with, for reading only: `value`, or a copy of another dtype."""
        if self._compute is None:
            return self.value
        value, kept = self.value, self._copy
        if kept is not None and kept[0] is value and not self._is_lent:
            return kept[1]
        copy = Device.of(value).asarray(value, self._compute)
        self._copy = (value, copy)
        return copy

    def _hold(self, value: Array) -> None:
        super()._hold(value)
        self._copy = None  # it would keep the old values in memory

    def compute_in(self, dtype: str | None) -> None:
        """Choose the dtype of `operand`; ``None`` is that of the values."""
        self._compute, self._copy = dtype, None

    def accumulate(self, gradient: Array) -> None:
        """Add a gradient, in the dtype of the values; a frozen parameter takes none."""
        if not self.requires_grad:
            return
        if self._data is not None and gradient.dtype != self._data.dtype:
            gradient = _xp.namespace(gradient).astype(gradient, self._data.dtype)
        self.grad = gradient if self.grad is None else self.grad + gradient

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def move(self, device: Device, dtype: str) -> None:
        """Bring the values to another device or dtype, and forget the gradient."""
        super().move(device, dtype)
        self.grad = None


class Buffer(Tensor):
    """An array that belongs to the state of a layer but is not trained, as running statistics.

    With ``on_host=True`` it holds whole numbers in a NumPy array wherever the layer computes.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.BatchNorm1d(2)
    >>> y = layer(np.zeros((1, 2), dtype="float32"))  # builds the layer
    >>> isinstance(layer.running_var, xpcnn.Buffer), layer.running_var.data.tolist()
    (True, [1.0, 1.0])
    """

    def __init__(
        self, shape: tuple[int, ...] | None, init: Initializer, *, on_host: bool = False
    ) -> None:
        super().__init__(shape, init)
        self.on_host = on_host

    def allocate(self, device: Device, dtype: str, rng: np.random.Generator) -> None:
        """Set the first values."""
        if self.on_host and self._data is None and self.shape is not None:
            self._data = np.asarray(self.init(self.shape, rng))
            self._is_placed = True
        super().allocate(device, dtype, rng)

    def move(self, device: Device, dtype: str) -> None:
        """Bring the values to another device or dtype."""
        if not self.on_host:
            super().move(device, dtype)

    def problem(self, values: np.ndarray) -> str | None:
        """Say why these cannot be the values of this array, or ``None`` if they can."""
        found = super().problem(values)
        if found is None and self.on_host and not np.isfinite(values.astype(np.float64)).all():
            return f"holds {values}, expected whole numbers"
        return found

    def load(self, values: Any) -> None:
        """Take values from an array of any library."""
        if self.on_host:
            self._data = np.array(_xp.to_numpy(values)).astype(np.int64)
            self._is_placed = True
        else:
            super().load(values)
