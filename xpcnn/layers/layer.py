"""The base class of all layers."""

from __future__ import annotations

import inspect
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps
from types import FunctionType, ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from xpcnn import _xp, rng
from xpcnn._registry import Checked, same
from xpcnn._showing import html_of
from xpcnn._xp import Array
from xpcnn.device import Device, resolve
from xpcnn.errors import cast_hint, dtype_error, no_forward_error
from xpcnn.layers.freezing import set_frozen
from xpcnn.layers.inference import (
    LastInputs,
    is_within,
    keeps_for_backward,
    watch,
    watching,
    within,
)
from xpcnn.layers.loading import LoadedNames, load_state
from xpcnn.layers.parameter import Buffer, Parameter, Tensor, note_change
from xpcnn.ops.checks import (
    check_float,
    check_float_dtype,
    check_integer_dtype,
    check_integers,
)

Shape = tuple[int, ...]


class _Output(NamedTuple):
    """What a training forward gave, as far as the gradient must be like it."""

    shape: Shape
    xp: ModuleType
    dtype: Any
    device: Any


FREEZE = 'to freeze parameters: x.freeze(), or x.freeze("features.*") for those of some names'
_CONTAINERS = (list, tuple, dict)


def _found_in(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers and arrays in a list, tuple or dict, and in those inside it."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, (Layer, Tensor)):
            yield f"{name}.{key}", item
        elif isinstance(item, _CONTAINERS):
            yield from _found_in(f"{name}.{key}", item)


def _replaced(name: str, value: Any, wanted: str, layer: Layer) -> Any:
    """Return a layer, or a list, tuple or dict, with the layer of one name replaced."""
    if name == wanted:
        return layer
    if isinstance(value, dict):
        return {k: _replaced(f"{name}.{k}", item, wanted, layer) for k, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_replaced(f"{name}.{k}", item, wanted, layer) for k, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    return value


def _once(named: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    seen: set[int] = set()
    for name, tensor in named.items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def _shapes(layer: Layer) -> list[Any]:
    """Describe the arrays that a layer owns."""
    return [(name, tensor.shape, tensor.pattern) for name, tensor in layer._own_tensors()]


def _article(value: Any) -> str:
    kind = type(value).__name__
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def check_inferred(who: str, shape: Shape) -> None:
    """Raise where channels, which are counted from this input, seem to be the last axis.

    That is so with 1, 3 or 4 elements in it, if the axes in front of it are alike and longer. Of
    signals, where one axis says less, it is a warning.
    """
    spatial, last = shape[1:-1], shape[-1]
    if last not in (1, 3, 4) or len(set(spatial)) != 1 or shape[1] <= 4:
        return
    message = (
        f"{who}: the {shape[1]} elements of axis 1 would be taken for channels, but the channels "
        f"of an input of shape {shape} seem to be last; move them with numpy.moveaxis(x, -1, 1), "
        "or say how many channels there are"
    )
    if len(spatial) > 1:
        raise ValueError(message)
    if shape[1] >= 64:
        warnings.warn(message, UserWarning, stacklevel=2)


def output_of(y: Array) -> _Output:
    """Note what the gradient of an output must be like."""
    return _Output(tuple(y.shape), _xp.namespace(y), y.dtype, _xp.device_of(y))


whole_batches: ContextVar[bool] = ContextVar("xpcnn_whole_batches", default=False)
"""Whether a model runs, which takes batches only: there a missing axis is a mistake."""


runs_again: ContextVar[bool] = ContextVar("xpcnn_runs_again", default=False)
"""Whether a training forward is the last one once more, since its backward needs what was dropped.

A layer that counts its forwards, draws random numbers or gathers statistics must not do so again:
it takes the numbers of the last one, and leaves what it gathers as it is."""


class _Alone(NamedTuple):
    """What the forward of a sample without a batch axis has left."""

    saved: Any


class _Nothing(NamedTuple):
    """What the forward of a batch of no samples has left: the shape of the input."""

    shape: Shape


def _with_samples(method: Callable[..., Any], with_batch: bool) -> Callable[..., Any]:
    """Make a method of shapes take that of a sample without a batch axis too."""

    @wraps(method)
    def run(self: Layer, *shapes: Any) -> Any:
        if len(shapes) != 1 or len(shapes[0]) != self.sample_ndim or whole_batches.get():
            return method(self, *shapes)
        found = method(self, (1, *shapes[0]))
        return found[1:] if with_batch else found

    return run


class Layer(Checked):
    """A step of a network that knows its forward and its backward computation.

    A subclass stores its constructor arguments under their own names, declares its
    :class:`Parameter` and :class:`Buffer` attributes, and implements

    - ``output_shape(input_shape)``,
    - ``_forward(xp, x, training) -> (y, saved)``,
    - ``_backward(xp, dy, saved, need_dx) -> dx``, which also calls ``Parameter.accumulate``,
    - ``_infer(input_shape)``, if some arguments may be left out and follow from the input.

    What a class has in common with all its objects may stand behind its bases, as in
    ``class Conv2d(Conv, ndim=2)``; a function there does not take the object.

    All shapes include the batch axis. Layers of which PyTorch's take a sample without that axis
    have a `sample_ndim`; the axis is added before `_forward` and taken away behind it. Batches of
    no samples do not come to `_forward` either.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> class Double(xpcnn.Layer):
    ...     def output_shape(self, input_shape):
    ...         return tuple(input_shape)
    ...     def _forward(self, xp, x, training):
    ...         return 2 * x, None
    ...     def _backward(self, xp, dy, saved, need_dx):
    ...         return 2 * dy
    >>> layer = Double()
    >>> layer.forward(np.array([1.0, 3.0]), training=True).tolist()
    [2.0, 6.0]
    >>> layer.backward(np.array([1.0, 5.0])).tolist()
    [2.0, 10.0]
    """

    sample_ndim: int | None = None
    """Number of axes of a sample without a batch axis, where the layer takes such an input."""

    def __init_subclass__(cls, **attributes: Any) -> None:
        for name, value in attributes.items():
            noted = any(name in vars(base).get("__annotations__", ()) for base in cls.__mro__)
            if not noted and not hasattr(cls, name):
                raise TypeError(f"{cls.__name__}: its base classes have no attribute {name!r}")
            setattr(cls, name, staticmethod(value) if isinstance(value, FunctionType) else value)
        super().__init_subclass__()
        if isinstance(vars(cls).get("ndim"), int) and "sample_ndim" not in vars(cls):
            cls.sample_ndim = vars(cls)["ndim"] + 1
        for name, with_batch in (("output_shape", True), ("multiply_adds", False)):
            if name in vars(cls):
                setattr(cls, name, _with_samples(vars(cls)[name], with_batch))

    spellings: ClassVar[Mapping[str, str]] = {
        "trainable": FREEZE,
        "requires_grad": FREEZE,
        "frozen": FREEZE,
        "training": "say forward(x, training=True), or train by fit",
        "eval": "say forward(x, training=False), or predict",
    }
    steered: ClassVar[frozenset[str]] = frozenset({"name"})
    """Attributes that a model sets while it runs: what was made of a layer stays good."""

    name: str | None = None
    computes_with_operands: ClassVar[bool] = False
    """Whether the layer can take inputs of half precision while its parameters are float32, since
    it hands ``Parameter.operand`` to its operations, or since these take both. One that says no
    computes in float32 in mixed precision."""

    takes_integers: bool = False
    """Whether the input holds indices, rather than numbers to compute with."""
    _saved: Any = None
    """What the last training forward left for the backward pass."""
    _seen: LastInputs | None = None
    """What the last forward without training was given, if none in training came behind it."""
    _input_dtype: str | None = None  # in mixed precision, where it is not that of the parameters
    _widens: bool = False

    # -- Settings ------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        sharing = vars(self).get("_sharing")
        if sharing is None or name[0] == "_" or name in self.steered:
            self._set(name, value)
        else:
            sharing.check(self.who, name, value)
            before = dict(vars(self))
            self._set(name, value)
            sharing.follow(self, before)

    def _set(self, name: str, value: Any) -> None:
        if name[0] != "_" and "_is_made" in vars(self):
            self._check_attribute(name, value)
            if name not in self.steered:
                note_change()
            if isinstance(value, Tensor) or isinstance(vars(self).get(name), Tensor):
                object.__setattr__(self, name, value)
                return
        elif isinstance(value, (set, frozenset, deque)):
            self._check_attribute(name, value)
        super().__setattr__(name, value)

    def _check_attribute(self, name: str, value: Any) -> None:
        old = vars(self).get(name)
        if isinstance(old, Tensor) and value is not None and not isinstance(value, Tensor):
            kind = type(old).__name__
            raise AttributeError(
                f"{self.who}: {name} is a {kind}, which {_article(value)} cannot replace; write "
                f"layer.{name}.data = array to change its values"
            )
        if isinstance(value, (set, frozenset, deque)) and any(
            isinstance(item, (Layer, Tensor)) for item in value
        ):
            raise AttributeError(
                f"{self.who}: {name} is a {type(value).__name__} of layers or parameters, in which "
                "they have no names; use a list or a dict"
            )

    def _changes(self, name: str, value: Any) -> dict[str, Any]:
        arguments = self.arguments()
        if hasattr(value, "dtype") and vars(self).get(name, 0) is None:
            raise AttributeError(
                f"{self.who}: there is no {name}, so that it has no values to set; make a new "
                f"{type(self).__name__} with {name}=True"
            )
        before, after = (
            type(self).from_arguments(given) for given in (arguments, {**arguments, name: value})
        )
        if _shapes(before) != _shapes(after):
            raise AttributeError(
                f"{self.who}: {name} decides which parameters there are, and of what shape; make "
                f"a new {type(self).__name__} with {name}={value!r}"
            )
        return {
            key: new
            for key, new in vars(after).items()
            if not isinstance(new, Tensor) and not same(vars(before).get(key), new)
        }

    # -- What a subclass implements ------------------------------------------------------------

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the shape of the output for an input of shape `input_shape`.

        Raises
        ------
        ValueError
            If the layer does not take such an input.
        """
        return tuple(input_shape)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        raise NotImplementedError(f"{type(self).__name__} does not implement _forward")

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        raise NotImplementedError(f"{type(self).__name__} does not implement _backward")

    def _infer(self, input_shape: Shape) -> None:
        """Fill in the arguments that were left out, from the shape of the input."""

    def input_dtypes(self, dtype: str) -> tuple[str, ...]:
        """Return the dtype of each input, where the network computes in `dtype`."""
        return ("int64" if self.takes_integers else dtype,)

    # -- Running -------------------------------------------------------------------------------

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Compute the output.

        Parameters
        ----------
        x : array
            It is not changed.
        training : bool
            ``True`` keeps what :meth:`backward` needs, and makes dropout and batch normalisation
            behave as in training. ``False`` keeps `x` alone, until the next forward: should a
            backward come, the forward runs once more, so do not change `x` before.

        Raises
        ------
        ValueError
            If the shape of `x` does not fit the layer.
        TypeError
            If `x` is not an array of floats, or of another library, device or dtype than the
            parameters.
        """
        ndim = getattr(x, "ndim", None)
        if ndim is not None:
            if ndim == self.sample_ndim and not whole_batches.get():
                return self._forward_alone(x, training)
            if ndim and x.shape[0] == 0 and not whole_batches.get():
                return self._forward_nothing(x, training)
        xp = self._check_input(x)
        y, saved = within(self._forward_wide if self._widens else self._forward, xp, x, training)
        if keeps_for_backward(training):
            self._keep((output_of(y), saved))
        self._show(y, training, x)
        return y

    def _keep(self, saved: Any) -> None:
        """Keep what the backward of this forward needs."""
        self._saved = saved
        if self._seen is not None:
            self._seen = None

    def _show(self, outputs: Any, training: bool, *inputs: Any) -> None:
        """Show the outputs to whoever watches; note the inputs if nothing was kept."""
        wanted = watching.get()
        if wanted is not None:
            wanted.saw(self, outputs)
        elif not (training or is_within() or whole_batches.get()):  # models do so themselves
            vars(self)["_seen"] = LastInputs(inputs)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run :meth:`forward`, that of a subclass too."""
        return self.forward(*inputs, **options)

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        """Compute the gradient of the input, and add to the gradient of every parameter.

        Parameters
        ----------
        dy : array
            Gradient with respect to the output of the last training forward, or, where none waits
            for its backward, of the last forward without training; it is not changed.
        need_dx : bool
            ``False`` allows the layer to skip the gradient of its input and return ``None``.

        Raises
        ------
        RuntimeError
            If there was no forward since the last backward.
        ValueError, TypeError
            If the shape, or the library, device or dtype of `dy` is not that of the output.
        """
        if self._saved is None:
            return self._backward_of_inference(dy, need_dx=need_dx)
        output, saved = self._saved
        xp = self._check_gradient(dy, output)
        self._saved = None
        self._show_gradient(dy)
        alone = isinstance(saved, _Alone)
        if alone:
            dy, saved = xp.expand_dims(dy, axis=0), saved.saved
        if isinstance(saved, _Nothing):
            dx = self._backward_nothing(xp, dy, saved.shape, need_dx)
        else:
            run = self._backward_wide if self._widens else self._backward
            dx = run(xp, dy, saved, need_dx)
        return dx if dx is None or not alone else xp.squeeze(dx, axis=0)

    @property
    def awaits_backward(self) -> bool:
        """Whether there was a forward that has kept what its backward needs."""
        return self._saved is not None

    def _show_gradient(self, dys: Any) -> None:
        """Show the gradient of the output to whoever watches."""
        wanted = watching.get()
        if wanted is not None:
            wanted.saw(self, dys, backward=True)

    def _backward_of_inference(self, *dys: Any, need_dx: Any) -> Any:
        """Run the last forward, which was without training, again, and then backward."""
        seen = self._seen
        if not seen:
            raise no_forward_error(self.who)
        try:
            with watch(keeps=True):
                self.forward(*seen)
            found = self.backward(*dys, need_dx=need_dx)
            seen = None
        finally:
            self.forget()
            self._seen = seen  # after an error for another try, with the right gradient
        return found

    def forget(self) -> None:
        """Drop what is kept for a backward, in the layers inside too: it will not come."""
        for _, layer in self.layers_within():
            layer._saved = layer._seen = None

    def _forward_alone(self, x: Array, training: bool) -> Array:
        """Run the forward for a sample without a batch axis."""
        xp = _xp.namespace(x, who=self.who)
        y = xp.squeeze(self.forward(xp.expand_dims(x, axis=0), training=training), axis=0)
        if keeps_for_backward(training):
            self._saved = (output_of(y), _Alone(self._saved[1]))
        elif self._seen is not None and not is_within():
            self._seen = LastInputs((x,))
        return y

    def _forward_nothing(self, x: Array, training: bool) -> Array:
        """Return the output for a batch of no samples, which is empty too."""
        xp = _xp.namespace(x, who=self.who)
        shape = tuple(x.shape)
        self._check_dtype_of(x)
        output_shape = (
            self.output_shape(shape)
            if self.is_built
            else self.build(
                shape,
                device=Device.of(x),
                dtype="float32" if self.takes_integers else _xp.dtype_name(x),
            )
        )
        own = self._computing_tensors()
        for tensor in own:
            self._check_match(x, tensor.value)
        like = own[0].value if own and self.takes_integers else x
        y = xp.zeros(output_shape, dtype=like.dtype, device=_xp.device_of(x))
        if keeps_for_backward(training):
            self._keep((output_of(y), _Nothing(shape)))
        self._show(y, training, x)
        return y

    def _backward_nothing(
        self, xp: ModuleType, dy: Array, shape: Shape, need_dx: bool
    ) -> Array | None:
        """Add gradients of zero, as there was no sample to have others."""
        for parameter in self.parameters().values():
            parameter.accumulate(xp.zeros_like(parameter.value))
        if not need_dx or self.takes_integers:
            return None
        return xp.zeros(shape, dtype=dy.dtype, device=_xp.device_of(dy))

    def _check_dtype_of(self, x: Array) -> None:
        """Raise unless an empty array is of a dtype that the layer takes, with samples to be."""
        if 0 in x.shape[1:]:
            check_float(x, self.who)
        elif self.takes_integers:
            check_integer_dtype(x, self.who)
        else:
            check_float_dtype(x, self.who)

    def follow(self, dtype: str) -> None:
        """Take note that the network has this dtype now.

        For layers that name a dtype and mean that of the network; the parameters are moved.
        """

    def compute_in(self, dtype: str | None) -> None:
        """Let this layer and those inside it take inputs of another dtype than their parameters'.

        Parameters
        ----------
        dtype : str or None
            Such as "bfloat16"; ``None`` is the dtype of the parameters again.
        """
        own = self._computing_tensors()
        for name in ("_input_dtype", "_widens"):
            vars(self).pop(name, None)  # what the class says holds again
        if dtype is not None and own:
            self._input_dtype, self._widens = dtype, not self.computes_with_operands
        inside = None if self._widens else dtype
        for tensor in own:
            if isinstance(tensor, Parameter):
                tensor.compute_in(inside)
        for child in self.children().values():
            child.compute_in(inside)

    def _forward_wide(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        """Run the forward in the dtype of the parameters."""
        wide = xp.astype(x, self._own_dtype())
        y, saved = self._forward(xp, wide, training)
        return xp.astype(y, x.dtype), saved

    def _backward_wide(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        dx = self._backward(xp, xp.astype(dy, self._own_dtype()), saved, need_dx)
        return None if dx is None else xp.astype(dx, dy.dtype)

    def halves(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Return the two computations without the checks around them.

        They are ``forward(xp, x, training) -> (y, saved)`` and
        ``backward(xp, dy, saved, need_dx) -> dx``.
        """
        if self._widens:
            return self._forward_wide, self._backward_wide
        return self._forward, self._backward

    def _own_dtype(self) -> Any:
        """Return the dtype of the parameters and buffers that take part in computing."""
        return self._computing_tensors()[0].value.dtype

    def build(
        self,
        input_shape: Sequence[int],
        *,
        device: str | Device = "cpu",
        dtype: str = "float32",
        rng: np.random.Generator | None = None,
    ) -> Shape:
        """Infer what was left open and allocate the parameters, once.

        Those of layers inside are allocated too, where their shape does not depend on an input.

        Parameters
        ----------
        input_shape : sequence of int
            Shape of the input, batch axis included.
        device : str or Device
        dtype : str
        rng : numpy.random.Generator, optional
            Source of the first values.

        Returns
        -------
        tuple of int
            Shape of the output.
        """
        device = resolve(device)
        rng = rng if rng is not None else np.random.default_rng(seed_from(None))
        input_shape = tuple(input_shape)
        if len(input_shape) == self.sample_ndim and not whole_batches.get():
            options: dict[str, Any] = {"device": device, "dtype": dtype, "rng": rng}
            return self.build((1, *input_shape), **options)[1:]
        # first the checks: an input that is refused must not decide about the widths
        output_shape = self.output_shape(input_shape)
        with self._completing():
            self._infer(input_shape)
        self._allocate(input_shape, device, dtype, rng)
        for child in self.children().values():
            for _, layer in child.layers_within():
                if all(tensor.shape is not None for _, tensor in layer._own_tensors()):
                    layer._allocate((), device, dtype, rng)
        return output_shape

    def _allocate(
        self, input_shape: Shape, device: Device, dtype: str, rng: np.random.Generator
    ) -> None:
        for _, tensor in self._own_tensors():
            tensor.allocate(device, dtype, rng)
            tensor.move(device, dtype)
        self.follow(dtype)

    @property
    def is_built(self) -> bool:
        """Whether all parameters and buffers have their values."""
        own = all(tensor.is_built for _, tensor in self._own_tensors())
        return own and all(child.is_built for child in self.children().values())

    @property
    def who(self) -> str:
        """Name for messages: the class, and the name in the model if there is one."""
        return f"{type(self).__name__} {self.name!r}" if self.name else type(self).__name__

    def _fits(self, x: Array) -> bool:
        """Whether x is plainly right: a NumPy array like those of this layer, which are there."""
        if x.dtype.kind != "f" or x.size == 0 or self._input_dtype is not None:
            return False
        for value in vars(self).values():
            if isinstance(value, Tensor):
                if value.on_host:
                    continue
                own: Any = value.value if value.is_built else None
                if type(own) is not type(x) or own.dtype != x.dtype:
                    return False
            elif isinstance(value, Layer) or (
                isinstance(value, _CONTAINERS) and next(_found_in("", value), None)
            ):
                return False
        return True

    def _check_input(self, x: Array) -> ModuleType:
        if type(x) is np.ndarray and not self.takes_integers and self._fits(x):
            return _xp.namespace(x)
        xp = _xp.namespace(x, who=self.who)
        if self.takes_integers:
            check_integers(x, self.who)
        else:
            check_float(x, self.who)
        if not self.is_built:
            dtype = "float32" if self.takes_integers else _xp.dtype_name(x)
            self.build(tuple(x.shape), device=Device.of(x), dtype=dtype)
        for tensor in self._computing_tensors():
            self._check_match(x, tensor.value)
        return xp

    def _check_gradient(self, dy: Array, output: _Output) -> ModuleType:
        xp = _xp.namespace(dy, who=f"{self.who} backward")
        if tuple(dy.shape) != output.shape:
            raise ValueError(
                f"{self.who}: backward expects a gradient of the output's shape {output.shape}, "
                f"got {tuple(dy.shape)}"
            )
        same = xp is output.xp and dy.dtype == output.dtype
        if not same or _xp.device_of(dy) != output.device:
            dtype = str(output.dtype).rsplit(".", 1)[-1]
            raise TypeError(
                f"{self.who}: backward expects a gradient like the output, a "
                f"{_xp.library(output.xp)} array of dtype {dtype} on device {output.device}, got "
                f"{_xp.describe(dy)}; convert it, e.g. with "
                f"xpcnn.device.resolve(...).asarray(dy, '{dtype}')"
            )
        return xp

    def _check_match(self, x: Array, own: Array) -> None:
        if type(x) is not type(own):
            _xp.namespace(x, own, who=self.who)
        expected = self._input_dtype
        if expected is None and x.dtype != own.dtype:
            expected = _xp.dtype_name(own)
        if expected is not None and _xp.dtype_name(x) != expected and not self.takes_integers:
            got = _xp.dtype_name(x)
            raise dtype_error(self.who, expected, got, cast_hint(expected, got))
        if not _xp.same_device(x, own):
            raise TypeError(
                f"{self.who}: the input is {_xp.describe(x)}, but the parameters lie on "
                f"{_xp.device_of(own)}; move one of them"
            )

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows."""
        return html_of(self)

    # -- Parameters and state ------------------------------------------------------------------

    def children(self) -> dict[str, Layer]:
        """Return the layers inside this one, by name."""
        inside = [(name, found) for name, found in self._owned() if isinstance(found, Layer)]
        found = dict(inside)
        if len(found) < len(inside):
            raise ValueError(
                f"{self.who}: two layers have one name, among {[name for name, _ in inside]}; give "
                "the keys of a dict as strings that differ"
            )
        return found

    def replace_child(self, name: str, layer: Layer) -> None:
        """Put another layer in the place of one that :meth:`children` names.

        Raises
        ------
        ValueError
            If the constructor makes that layer itself: a file of the model would have the old one.
        """
        attribute = name.partition(".")[0]
        if attribute not in inspect.signature(type(self)).parameters:
            raise ValueError(
                f"{self.who}: its constructor makes {name!r}, and is not given another layer; "
                f"replace this {type(self).__name__} as a whole"
            )
        setattr(self, attribute, _replaced(attribute, vars(self)[attribute], name, layer))

    def _owned(self) -> Iterator[tuple[str, Any]]:
        """Yield the layers and arrays of this layer, also those in lists, tuples and dicts."""
        for name, value in vars(self).items():
            if isinstance(value, (Layer, Tensor)):
                yield name, value
            elif isinstance(value, _CONTAINERS) and name != "_saved":
                yield from _found_in(name, value)

    def layers_within(self) -> Iterator[tuple[str, Layer]]:
        """Yield this layer and all layers inside it, with dotted names; its own name is empty."""
        yield "", self
        for name, child in self.children().items():
            for inner, layer in child.layers_within():
                yield f"{name}.{inner}" if inner else name, layer

    def _own_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self._owned():
            if isinstance(value, Tensor):
                yield name, value

    def _computing_tensors(self) -> list[Tensor]:
        """List the arrays of this layer that take part in computing."""
        return [tensor for _, tensor in self._own_tensors() if not tensor.on_host]

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{prefix}.{name}" if prefix else name: tensor
            for prefix, layer in self.layers_within()
            for name, tensor in layer._own_tensors()
        }

    def parameters(self) -> dict[str, Parameter]:
        """Return all parameters by dotted name, in a fixed order; one with two names once."""
        return {n: t for n, t in _once(self._tensors()) if isinstance(t, Parameter)}

    def buffers(self) -> dict[str, Buffer]:
        """Return all buffers by dotted name, in a fixed order."""
        return {n: t for n, t in _once(self._tensors()) if isinstance(t, Buffer)}

    def freeze(self, *patterns: str) -> list[str]:
        """Stop training some parameters.

        A batch or instance normalisation of which all parameters are frozen, or that has none and
        is picked itself, works in training as it does in inference: by its running statistics,
        which stay as they are.

        Parameters
        ----------
        *patterns : str
            Dotted names of layers and parameters, or shell patterns on them, such as
            ``"features.*"``; a layer stands for all within. Without any, everything is frozen.

        Returns
        -------
        list of str
            Names of what was not frozen before.

        Raises
        ------
        ValueError
            If a pattern picks nothing; the message has names that are near. Nothing has been
            changed then.

        Examples
        --------
        >>> import xpcnn
        >>> net = xpcnn.Sequential(xpcnn.Linear(4, 8), xpcnn.ReLU(), xpcnn.Linear(8, 2))
        >>> net.freeze("0")
        ['0.weight', '0.bias']
        >>> net.unfreeze("*.bias")
        ['0.bias']
        """
        return set_frozen(self, patterns, True, f"{self.who}: freeze")

    def unfreeze(self, *patterns: str) -> list[str]:
        """Train parameters again that were frozen; see :meth:`freeze`."""
        return set_frozen(self, patterns, False, f"{self.who}: unfreeze")

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters().values():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays of all parameters and buffers by dotted name, as PyTorch names them."""
        return {name: tensor.data for name, tensor in self._tensors().items()}

    def state_for_reading(self) -> dict[str, Array]:
        """Return the arrays of :meth:`state_dict`, for reading only: kernels keep what they can."""
        return {name: tensor.value for name, tensor in self._tensors().items()}

    def load_state_dict(
        self, state: Mapping[str, Any], strict: bool = True, *, skip_mismatch: bool = False
    ) -> LoadedNames:
        """Take over parameters and buffers from arrays of any library.

        Parameters
        ----------
        state : mapping of str to array
            Names and layouts as :meth:`state_dict` (and PyTorch) has them.
        strict : bool
            ``False`` ignores missing and unexpected names.
        skip_mismatch : bool
            ``True``, with ``strict=False``, leaves parameters and buffers as they are whose shapes
            do not fit, such as those of a head with another number of classes.

        Returns
        -------
        LoadedNames
            With `missing_keys` and `unexpected_keys`, which are empty if `strict`, and
            `mismatched_keys`, which were left as they are. It unpacks as the first two.

        Raises
        ------
        ValueError
            Listing every missing, unexpected and misshapen entry, or saying that not one name
            fits. Nothing has been changed then.
        TypeError
            If `state` is not a mapping.

        Examples
        --------
        >>> import numpy as np
        >>> import xpcnn
        >>> layer = xpcnn.Linear(3, 2)
        >>> state = {"weight": np.ones((2, 3)), "bias": np.zeros(5)}
        >>> layer.load_state_dict(state, strict=False, skip_mismatch=True).mismatched_keys
        ['bias']
        """
        return load_state(self, state, strict, skip_mismatch)

    def _after_load(self) -> None:
        """Adapt what depends on the shapes of loaded parameters (widths that were left open)."""

    # -- Description ---------------------------------------------------------------------------

    def multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Return how many multiply-adds a forward pass takes for this input shape.

        Only matrix products are counted, as is usual.
        """
        return 0


class WeightedLayer(Layer):
    """A layer with a weight and a bias, either of which may be absent.

    What its forward keeps is called with the gradient of the output, and returns those of the
    input, the weight and the bias.
    """

    weight: Any
    bias: Parameter | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments, of which `bias` says whether there is one."""
        found = super().arguments()
        if "bias" in found:
            found["bias"] = self.bias is not None
        return found

    def operands(self) -> tuple[Array | None, Array | None]:
        """Return weight and bias as arrays to compute with."""
        weight = None if self.weight is None else self.weight.operand
        return weight, None if self.bias is None else self.bias.operand

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        dx, *gradients = saved(dy, need_dx)
        self.accumulate(*gradients)
        return dx

    def accumulate(self, dw: Array | None, db: Array | None = None) -> None:
        """Add to the gradients of weight and bias, as far as there are such parameters."""
        if self.weight is not None:
            self.weight.accumulate(dw)
        if self.bias is not None:
            self.bias.accumulate(db)


def seed_from(generator: np.random.Generator | None) -> int:
    """Draw a seed for a layer that needs random numbers while it runs."""
    return int(generator.integers(2**32)) if generator is not None else rng.fresh_seed()
