"""Values that a network brings with it."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.device import Device
from xpcnn.initializers import zeros
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, NoGradient, Operation
from xpcnn.layers.parameter import Buffer, Initializer, Parameter, Tensor
from xpcnn.operations.dtypes import OfDtype
from xpcnn.operations.numbers import as_ints, chosen


class Held(Operation):
    """A node without inputs, which gives the array that it holds."""

    shape: Shape
    value: Tensor

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shape of the array."""
        return (self.shape,)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        return (self.value.value,), None


class Weight(Held):
    """A parameter, as a value that other operations take: a node without inputs.

    Parameters
    ----------
    shape : sequence of int
        It starts as zeros.

    Attributes
    ----------
    value : Parameter of that shape

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Weight
    >>> weight = Weight((2,))
    >>> weight.value.load(np.array([1.0, 2.0]))
    >>> weight.forward(training=True).tolist()
    [1.0, 2.0]
    >>> weight.backward(np.array([0.5, 0.25]))
    ()
    >>> weight.value.grad.tolist()
    [0.5, 0.25]
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = as_ints(shape) or ()
        self.value: Parameter = Parameter(self.shape, zeros())

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        self.value.accumulate(dys[0])
        return ()


class _Fixed(Buffer):
    """A buffer with a dtype of its own; one of floats may follow the model's."""

    def __init__(self, shape: Shape, init: Initializer, *, dtype: str, follows: bool) -> None:
        super().__init__(shape, init)
        self.dtype = dtype
        self.follows = follows

    def move(self, device: Device, dtype: str) -> None:
        super().move(device, dtype if self.follows else self.dtype)


class Constant(NoGradient, Held):
    """A fixed array, as a value that other operations take: a node without inputs.

    Parameters
    ----------
    shape : sequence of int
        It starts as zeros; see :meth:`of`.
    dtype : str
        Such as "int64".
    follows : bool
        Whether floating-point numbers take the dtype of the model.

    Attributes
    ----------
    value : Buffer of that shape

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Constant
    >>> Constant.of(np.array([1, 2]))().tolist()
    [1, 2]
    """

    def __init__(self, shape: Sequence[int], dtype: str = "float32", follows: bool = True) -> None:
        self.shape = as_ints(shape) or ()
        self.dtype = str(dtype)
        self.follows = bool(follows) and "float" in self.dtype
        self.value = _Fixed(self.shape, self._init, dtype=self.dtype, follows=self.follows)

    def _init(self, shape: Shape, rng: Any) -> np.ndarray:
        return np.zeros(shape, "float32" if self.dtype == "bfloat16" else self.dtype)

    @classmethod
    def of(cls, array: Any, *, follows: bool = True) -> Constant:
        """Make a constant that holds this array."""
        host = _xp.to_numpy(array)
        constant = cls(host.shape, host.dtype.name, follows)
        constant.value.load(host)
        return constant


class Filled(OfDtype, NoGradient):
    """An array of one number everywhere, of the shape that the input holds.

    Parameters
    ----------
    value : float or int or bool
    dtype : str
        Such as "float32".
    follows : bool
        Whether the dtype is that of the network, and changes with it.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Filled
    >>> Filled(7.0)(np.array([2, 3])).tolist()
    [[7.0, 7.0, 7.0], [7.0, 7.0, 7.0]]
    """

    def __init__(self, value: float = 0.0, dtype: str = "float32", follows: bool = False) -> None:
        self.value = value
        self.dtype = str(dtype)
        self.follows = bool(follows)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        shape = chosen(None, inputs, 0) or ()
        device = _xp.device_of(inputs[0])
        return (xp.full(shape, self.value, dtype=self._dtype(xp), device=device),), None


class Range(NoGradient):
    """Numbers from a first one up to before a last one, a step apart; three inputs hold these.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Range
    >>> Range()(np.array(1), np.array(8), np.array(3)).tolist()
    [1, 4, 7]
    """

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        start, stop, step = (_xp.to_numpy(x).reshape(()).item() for x in inputs)
        if step == 0:
            raise ValueError(f"{self.who}: the step must not be 0")
        like = inputs[0]
        return (xp.arange(start, stop, step, dtype=like.dtype, device=_xp.device_of(like)),), None
