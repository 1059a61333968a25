"""Layers with any number of inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn.device import Device, resolve
from xpcnn.layers.inference import keeps_for_backward, within
from xpcnn.layers.layer import Layer, Shape, output_of, seed_from

Arrays = tuple[Any, ...]
"""Inputs, outputs or gradients of an operation; what is left out is ``None``."""
Needs = tuple[bool, ...]
"""For each input, whether its gradient is needed."""


class _Kept(NamedTuple):
    """What a training forward leaves for the backward pass."""

    outputs: list[Any]
    floats: tuple[bool, ...]
    saved: Any


class Operation(Layer):
    """A step that may take several arrays, and give several.

    A subclass implements

    - ``output_shapes(*input_shapes)``, one shape for each output,
    - ``_run(xp, inputs, training) -> (outputs, saved)``, with tuples of arrays,
    - ``_run_backward(xp, dys, saved, need) -> dxs``, one gradient, or ``None``, for each input;
      the last inputs may be left out, if they have none.

    An input that may be left out comes as ``None``, and so does the gradient of an output that
    nobody uses. Inputs may hold integers; they have no gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> class Difference(xpcnn.Operation):
    ...     def output_shapes(self, a, b):
    ...         return (tuple(a),)
    ...     def _run(self, xp, inputs, training):
    ...         return (inputs[0] - inputs[1],), None
    ...     def _run_backward(self, xp, dys, saved, need):
    ...         return dys[0], -dys[0]
    >>> operation = Difference()
    >>> operation.forward(np.array([5.0]), np.array([3.0]), training=True).tolist()
    [2.0]
    >>> [dx.tolist() for dx in operation.backward(np.array([1.0]))]
    [[1.0], [-1.0]]
    """

    _saved: _Kept | None = None

    # -- What a subclass implements ------------------------------------------------------------

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shapes of the outputs.

        Raises
        ------
        ValueError
            If the operation does not take such inputs.
        NotImplementedError
            If the shapes depend on what the inputs hold.
        """
        raise NotImplementedError(f"{self.who}: the shape of the output depends on the numbers")

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        raise NotImplementedError(f"{type(self).__name__} does not implement _run")

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        raise NotImplementedError(f"{type(self).__name__} does not implement _run_backward")

    # -- Running -------------------------------------------------------------------------------

    def forward(self, *inputs: Any, training: bool = False) -> Any:
        """Compute the outputs.

        Parameters
        ----------
        *inputs : array
        training : bool
            ``True`` keeps what :meth:`backward` needs; see :meth:`xpcnn.layers.Layer.forward`.

        Returns
        -------
        array, or tuple of arrays
            A tuple if there is not exactly one output.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        TypeError
            If the arrays are of different libraries, or of dtypes the operation does not take.
        """
        xp = self._check_inputs(inputs)
        if self._widens:
            wide = _cast(xp, inputs, self._own_dtype())
            outputs, saved = within(self._run, xp, wide, training)
            outputs = _cast(xp, outputs, Device.of(outputs[0]).dtype(self._input_dtype or ""))
        else:
            outputs, saved = within(self._run, xp, inputs, training)
        if keeps_for_backward(training):
            floats = tuple(x is not None and _xp.is_floating(x) for x in inputs)
            self._keep(_Kept([output_of(y) for y in outputs], floats, saved))
        found = outputs[0] if len(outputs) == 1 else outputs
        self._show(found, training, *inputs)
        return found

    def backward(self, *dys: Any, need_dx: bool | Sequence[bool] = True) -> Any:
        """Compute the gradients of the inputs, and add to the gradient of every parameter.

        Parameters
        ----------
        *dys : array or None
            One gradient for each output of the last training forward, or of the last one without
            training where none waits for its backward; ``None`` is as good as zeros.
        need_dx : bool, or one for each input
            Which gradients are needed; the others may be ``None``.

        Returns
        -------
        array, or tuple of arrays
            A tuple if there is not exactly one input; ``None`` for inputs of integers.

        Raises
        ------
        RuntimeError
            If there was no forward since the last backward.
        ValueError, TypeError
            If a gradient is not like its output.
        """
        if self._saved is None:
            return self._backward_of_inference(*dys, need_dx=need_dx)
        outputs, floats, saved = self._saved
        if len(dys) != len(outputs):
            raise ValueError(
                f"{self.who}: backward expects {len(outputs)} gradients, one for each output, got "
                f"{len(dys)}"
            )
        found = [
            self._check_gradient(dy, output)
            for dy, output in zip(dys, outputs, strict=True)
            if dy is not None
        ]
        asked = [need_dx] * len(floats) if isinstance(need_dx, bool) else need_dx
        need = tuple(bool(a) and b for a, b in zip(asked, floats, strict=True))
        self._saved = None
        if not found:
            raise ValueError(f"{self.who}: backward expects a gradient for one output at least")
        self._show_gradient(dys[0] if len(dys) == 1 else dys)
        xp = found[0]
        if self._widens:
            half = next(dy.dtype for dy in dys if dy is not None)
            dxs = self._run_backward(xp, _cast(xp, dys, self._own_dtype()), saved, need)
            dxs = _cast(xp, dxs, half)
        else:
            dxs = self._run_backward(xp, dys, saved, need)
        dxs = (*dxs, *(None,) * len(need))[: len(need)]
        return dxs[0] if len(dxs) == 1 else dxs

    def _check_inputs(self, inputs: Arrays) -> ModuleType:
        """Return the namespace of inputs and parameters; set up the parameters if need be."""
        given = [x for x in inputs if x is not None]
        if given and not self.is_built:
            shapes = [None if x is None else tuple(x.shape) for x in inputs]
            self.build_for(
                shapes,
                device=Device.of(given[0]),
                dtype=next(filter(_is_float, map(_xp.dtype_name, given)), "float32"),
            )
        own = [tensor.value for _, tensor in self._own_tensors()]
        xp = _xp.namespace(*given, *own, who=self.who)
        first = (given or own)[0]
        for x in (*given, *own):
            if not _xp.same_device(first, x):
                raise TypeError(
                    f"{self.who}: {_xp.describe(first)} meets {_xp.describe(x)}; move one of them"
                )
        return xp

    # -- Shapes --------------------------------------------------------------------------------

    def output_shape(self, *input_shapes: Sequence[int]) -> Shape:
        """Return the shape of the output of an operation that has one."""
        shapes = self.output_shapes(*map(tuple, input_shapes))
        if len(shapes) != 1:
            raise ValueError(
                f"{self.who}: has {len(shapes)} outputs, and one is needed where layers follow "
                "one another; use a Graph"
            )
        return shapes[0]

    def multiply_adds(self, *input_shapes: Any) -> int:
        """Return how many multiply-adds of matrix products a forward pass takes."""
        return 0

    def build(self, *input_shapes: Any, **options: Any) -> Any:
        """Allocate the parameters for inputs of these shapes; see :meth:`xpcnn.Layer.build`."""
        shapes = self.build_for(input_shapes, **options)
        return shapes[0] if len(shapes) == 1 else shapes

    def build_for(
        self,
        input_shapes: Sequence[Any],
        *,
        device: str | Device = "cpu",
        dtype: str = "float32",
        rng: np.random.Generator | None = None,
    ) -> tuple[Shape, ...]:
        """Allocate the parameters for inputs of these shapes, and return those of the outputs.

        Raises
        ------
        NotImplementedError
            If those depend on what the inputs hold; the parameters are allocated all the same.
        """
        shapes = [None if shape is None else tuple(shape) for shape in input_shapes]
        rng = rng if rng is not None else np.random.default_rng(seed_from(None))
        self._allocate((), resolve(device), dtype, rng)
        return self.output_shapes(*shapes)


class Steered(Operation):
    """The base of operations whose inputs behind the first only say what is to be done with it.

    A subclass implements `_new`, which returns the shape of the output.
    """

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the new shape, if it does not depend on what an input holds."""
        if len(input_shapes) > 1:
            return super().output_shapes(*input_shapes)
        return (self._new(tuple(input_shapes[0] or ()), ()),)

    def _new(self, shape: Shape, inputs: Arrays) -> Shape:
        raise NotImplementedError(f"{type(self).__name__} does not implement _new")


class SameShape(Operation):
    """The base of operations whose output has the shape of their first input."""

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the input's shape."""
        return (tuple(input_shapes[0] or ()),)


class NoGradient(Operation):
    """The base of operations of which no input has a gradient."""

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return ()


def _cast(xp: ModuleType, arrays: Arrays, dtype: Any) -> Arrays:
    """Bring those of some arrays that hold floating-point numbers to a dtype."""
    return tuple(
        x if x is None or not _xp.is_floating(x) else xp.astype(x, dtype, copy=False)
        for x in arrays
    )


def _is_float(dtype: str) -> bool:
    return "float" in dtype
