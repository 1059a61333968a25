"""A network on a device: a model without its training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self

import numpy as np

from xpcnn import _xp, rng
from xpcnn._registry import Closed, Named
from xpcnn._xp import Array
from xpcnn.device import Device, resolve
from xpcnn.errors import choice_error, no_forward_error
from xpcnn.graph import Program, made_of
from xpcnn.interrupts import deferred
from xpcnn.kernels.precision import float32_products
from xpcnn.kernels.repeatable import identical
from xpcnn.layers.containers import Sequential, check_layers
from xpcnn.layers.freezing import set_frozen
from xpcnn.layers.graph import Graph, by_position
from xpcnn.layers.inference import LastInputs, keeps_for_backward, watch
from xpcnn.layers.layer import FREEZE, Layer, Shape, whole_batches
from xpcnn.layers.loading import LoadedNames
from xpcnn.layers.parameter import Buffer, Parameter, Tensor, changes
from xpcnn.training import data_adapter
from xpcnn.training.dataset import map_arrays
from xpcnn.training.rollback import all_or_nothing
from xpcnn.training.scaling import LossScale, half_of

DTYPES = ("float16", "bfloat16", "float32", "float64")


def _as_network(layers: Any) -> Sequential | Graph:
    """Return the network that a model is given, or the chain of the layers it is given."""
    if isinstance(layers, Graph):
        return layers
    if type(layers) is Sequential:
        return Sequential(*layers.layers)
    return Sequential([layers] if isinstance(layers, Layer) else list(layers))


class _OnDevice(AbstractContextManager[None]):
    """See :meth:`PlacedNetwork.on_device`; a generator would take longer than a small network."""

    def __init__(self, device: Device, products: str) -> None:
        self._device, self._products = device, products

    def __enter__(self) -> None:
        self._active = self._device.active()
        self._active.__enter__()
        self._whole = whole_batches.set(True)
        self._before = float32_products.set(self._products)

    def __exit__(self, *error: Any) -> None:
        float32_products.reset(self._before)
        whole_batches.reset(self._whole)
        self._active.__exit__(*error)


class PlacedNetwork(Closed, Named):
    """A network on a device; the base of :class:`xpcnn.Model`, which describes the arguments."""

    spellings: ClassVar[Mapping[str, str]] = {
        "trainable": FREEZE,
        "requires_grad": FREEZE,
        "training": "say forward(x, training=True), or train by fit",
        "learning_rate": "set model.optimizer.lr",
        "lr": "set model.optimizer.lr",
    }
    largest_difference: float | None
    """Set where a model was made of another library's."""
    read_only: ClassVar[Mapping[str, str]] = {
        "network": "make another model",
        "layers": "add a layer by model.add(layer), or make another model",
        "inputs": "make another model",
        "outputs": "make another model",
        "device": "move the model by model.to(device)",
        "dtype": "convert the model by model.to(dtype=...)",
        "compute_dtype": "choose another by model.to(precision=...)",
        "precision": "choose another by model.to(precision=...)",
        "input_shape": "build the model by model.build(input_shape)",
    }

    def __init__(
        self,
        layers: Iterable[Layer] = (),
        *,
        device: str | Device = "auto",
        dtype: str = "float32",
        seed: int | None = None,
        precision: str = "float32",
    ) -> None:
        if dtype not in DTYPES:
            raise choice_error("Model", "dtype", dtype, DTYPES)
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"Model: seed must be an integer of at least 0, got {seed!r}")
        self.device = resolve(device)
        self.device.dtype(dtype)
        self.dtype = dtype
        self._half = half_of(precision, dtype, self.device, "Model")
        self.precision = precision
        self._set_precision(precision)
        self.seed = rng.fresh_seed() if seed is None else int(seed)
        self.step = 0
        self.forwards = 0
        self.network: Sequential | Graph = _as_network(layers)
        # Known once the model is built; until then the program is None.
        self._program: Program | None = None
        self._random_layers: list[Any] = []
        self._parameters: dict[str, Parameter] = {}
        self._tensors: list[Tensor] = []
        self._buffers: list[Tensor] = []
        self._made_of: list[Any] = []  # what the program was made of
        self._seen: LastInputs | None = None  # what the last forward without training was given
        self._shapes: tuple[Any, tuple[Shape, ...]] = None, ()  # of the inputs, and outputs then
        self._taken: tuple[str, tuple[str, ...]] = ("", ())  # a dtype, and those of the inputs then
        self._changes = -1
        self.input_shape: tuple[Any, ...] | None = None

    @property
    def program(self) -> Program:
        """What runs the network, once it is built."""
        if not self._has_program() or self._program is None:
            raise RuntimeError("the model is not built yet; build it, or run it on an input, first")
        return self._program

    @property
    def segments(self) -> Sequence[tuple[int, int]]:
        """Which steps run again for the backward; see :meth:`xpcnn.graph.Program.run_again`."""
        return () if self._program is None else self._program.segments

    def run_again(self, segments: Sequence[tuple[int, int]]) -> None:
        """Choose which steps run again, as long as the network stays as it is."""
        if self._has_program() and self._program is not None:
            self._program.run_again(segments)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in the order in which they are run."""
        network = self.network
        if isinstance(network, Graph):
            return tuple(node.layer for node in network.in_order)
        return network.layers

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs; those of a chain of layers are called "x"."""
        return self.network.inputs if isinstance(self.network, Graph) else ("x",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs; those of a chain of layers are called "y"."""
        return self.network.outputs if isinstance(self.network, Graph) else ("y",)

    @property
    def batch(self) -> int | None:
        """The one number of samples that the network works for; ``None`` if any number will do."""
        return self.network.batch if isinstance(self.network, Graph) else None

    def add(self, layer: Layer) -> None:
        """Append a layer.

        Raises
        ------
        TypeError, ValueError
            If it is not a layer, or stands in the model already, or the network is a graph.
        """
        if isinstance(self.network, Graph):
            raise TypeError(
                "Model.add: the network is a Graph, which has no end to add to; make another Graph "
                "with the layer in it, or Model([graph, layer])"
            )
        self.network.layers = check_layers([*self.network.layers, layer], "Model.add")
        self._program = None

    def on_device(self) -> AbstractContextManager[None]:
        """Make the device the current one, and the model's way to multiply, in a ``with``."""
        return _OnDevice(self.device, self._products)

    def unbuilt_if_it_fails(self) -> AbstractContextManager[None]:
        """Leave a model that is not built yet so, if what stands in a ``with`` fails."""
        return all_or_nothing(self) if self._program is None else nullcontext()

    def build(self, input_shape: Any) -> Any:
        """Infer open widths and allocate the parameters.

        Parameters
        ----------
        input_shape : sequence of int
            Batch axis included, which may be ``None``: ``(None, 1, 28, 28)``. Where the network
            has several inputs, one shape for each, in order or by name.

        Returns
        -------
        tuple of int
            Shape of the output (for a batch of one where the batch axis was ``None``); a tuple of
            shapes if there are several.
        """
        with self.on_device(), self.unbuilt_if_it_fails():
            if not self.network.children():
                raise RuntimeError("the model has no layers; give them to Model([...]) or add them")
            return self._set_up(self._whole_shapes(input_shape))

    def _whole_shapes(self, input_shape: Any) -> list[Shape]:
        """Return the shape of each input, with 1 for a number of samples that is open."""
        return [
            data_adapter.as_shape(shape, "Model.build")
            for shape in data_adapter.one_each(input_shape, self.inputs, "Model.build", "input")
        ]

    def _set_up(self, shapes: Sequence[Shape], weights: str = "weights", **inputs: Any) -> Any:
        """Build the network for inputs of these shapes, perhaps by running inputs through.

        New weights are drawn for the purpose `weights`.
        """
        for name, layer in self.network.layers_within():
            layer.name = name or None
            if hasattr(layer, "seed"):
                layer.seed = int(rng.generator(self.seed, f"layer {name}").integers(2**32))
        output_shape = self.network.build(
            *shapes,
            device=self.device,
            dtype=self.dtype,
            rng=rng.generator(self.seed, weights),
            **inputs,
        )
        open_widths = [name for name, t in self.network._tensors().items() if not t.is_built]
        if open_widths:
            raise RuntimeError(
                f"Model: the shape of {open_widths[0]!r} is still open; a layer of your own that "
                "has layers inside gives their widths, or builds them in a build method of its own"
            )
        self.network.compute_in(self._half)
        without_batch = tuple((None, *shape[1:]) for shape in shapes)
        input_shape = without_batch[0] if len(shapes) == 1 else without_batch
        vars(self).update(input_shape=input_shape)
        self._program, self._taken = Program(self.network), ("", ())
        self._shapes = None, ()
        inside = [layer for _, layer in self.network.layers_within()]
        self._random_layers = [layer for layer in inside if hasattr(layer, "step")]
        self._parameters = self.network.parameters()
        self._tensors = [*self._parameters.values(), *self.network.buffers().values()]
        self._buffers = [t for t in self._tensors if isinstance(t, Buffer)]
        self._made_of, self._changes = made_of(self.network), changes()
        return output_shape

    def input_dtypes(self) -> tuple[str, ...]:
        """Return the dtype of every input."""
        if self._has_program() and self._taken[0] == self.dtype:
            return self._taken[1]
        self._taken = self.dtype, self.network.input_dtypes(self.dtype)
        return self._taken[1]

    def _has_program(self) -> bool:
        """Whether there is a program of the network as it is; one of another network is dropped."""
        if self._program is not None and self._changes != changes():
            self._changes, now = changes(), made_of(self.network)
            if not identical(now, self._made_of):
                self._program = None
        return self._program is not None

    def forward(self, *inputs: Array, training: bool = False, **named: Array) -> Any:
        """Run the network on arrays of the model's device, and return one, or a tuple.

        Inputs come in order or by name. With ``training=True`` the model is ready for
        :meth:`backward`, and each call draws new masks for dropout. If it fails, running
        statistics are as before. Without it the inputs alone are kept, until the next forward;
        should a backward come, the network runs forward once more, so do not change them before.
        """
        with self.on_device(), self.unbuilt_if_it_fails():
            arrays = self._arrange(inputs, named, "Model.forward")
            for x, dtype in zip(arrays, self.input_dtypes(), strict=True):
                xp = _xp.namespace(x, who="Model.forward")
                if xp is not self.device.xp or _xp.dtype_name(x) != dtype:
                    raise TypeError(
                        f"Model.forward: expected {dtype} on device {self.device.name!r}, got "
                        f"{_xp.describe(x)}; call the model itself, model(x), or bring the array "
                        f"there with model.device.asarray(x, {dtype!r})"
                    )
            if not training:
                if keeps_for_backward(training):
                    return self.forward_apart(arrays)
                found = self.forward_batch(arrays)
                self._seen = LastInputs(arrays)
                return found
            self.ready_for(arrays)
            with deferred():
                before = [(buffer, buffer.value) for buffer in self._buffers]
                count = self.forwards
                try:
                    return self.forward_batch(arrays, training=True)
                except BaseException:
                    with deferred():
                        self.forwards = count
                        for buffer, array in before:
                            if buffer.value is not array:
                                buffer.data = array
                    raise

    def forward_batch(self, inputs: Sequence[Array], *, training: bool = False) -> Any:
        """Run the network on arrays that were checked and are on the device.

        If it fails in training, running statistics are no longer those from before.
        """
        program, arrays = self.program_for(inputs, training=training), self.narrow(inputs)
        if training:
            self._seen = None
        if not training and len(arrays) == len(self.outputs) == 1:
            return self.widen(program.infer(arrays[0]))
        return self.widen(program.forward(*arrays, training=training))

    def forward_apart(self, inputs: Sequence[Array]) -> Any:
        """Run the network without training on arrays on the device, layer by layer.

        The outputs are those of :meth:`forward_batch` but for rounding. Neighbours do not become
        one step, so that each layer's output is there to be seen.
        """
        self.program_for(inputs)
        return self.widen(self.network.forward(*self.narrow(inputs)))

    def backward(self, *dys: Array, need_dx: bool = False) -> Any:
        """Run the network backward and add to the gradients of all parameters.

        Parameters
        ----------
        *dys : array
            One gradient for each output of the last training forward, or, where none waits for
            its backward, of the last forward without training.
        need_dx : bool
            Whether to return the gradient of the network's input, or a tuple of those of all.

        Raises
        ------
        RuntimeError
            If there was no forward since the last backward.
        """
        if self._program is None:
            raise no_forward_error("Model")
        with self.on_device(), self.overflow_allowed():
            given, waits = self.narrow(dys), self.network.awaits_backward
            if self._program.awaits_backward or not (waits or self._seen):
                return self.widen(self._program.backward(*given, need_dx=need_dx))
            return self.widen(self._backward_of_inference(given, need_dx))

    def _backward_of_inference(self, dys: Sequence[Array], need_dx: bool) -> Any:
        """Run backward behind a forward without training; one that kept nothing runs once more."""
        network: Any = self.network
        if not network.awaits_backward:
            with watch(keeps=True):
                self.forward_apart(self._seen or ())
        try:
            found = network.backward(*dys, need_dx=need_dx)
            self._seen = None
        finally:
            network.forget()
        return found

    @property
    def compute_dtype(self) -> str:
        """The dtype of activations: that of the parameters, but for mixed precision."""
        return self._half or self.dtype

    def narrow(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """Bring arrays of floating-point numbers to the dtype that layers compute in."""
        half = self._half
        if half is None:
            return arrays
        return [self.device.asarray(x, half) if _xp.is_floating(x) else x for x in arrays]

    def widen(self, found: Any) -> Any:
        """Bring an array, or a tuple of them, back to the model's dtype."""
        if self._half is None:
            return found
        return map_arrays(
            found, lambda x: self.device.asarray(x, self.dtype) if _xp.is_floating(x) else x
        )

    def overflow_allowed(self) -> AbstractContextManager[Any]:
        """Let half precision overflow in a ``with``: a scaled loss may be too large."""
        return nullcontext() if self._half is None else np.errstate(over="ignore", invalid="ignore")

    def _set_precision(self, precision: str) -> None:
        vars(self).update(precision=precision)
        self._products = "tf32" if precision == "tf32" else "float32"
        self.scaling = LossScale() if precision == "float16" else None

    def _arrange(self, inputs: tuple[Any, ...], named: Mapping[str, Any], who: str) -> list[Any]:
        """Return the inputs in order: given one by one, by name, or together as one argument."""
        together = len(inputs) == 1 and not named
        if together and len(self.inputs) == 1 and not isinstance(inputs[0], Mapping):
            return [inputs[0]]
        if together and (isinstance(inputs[0], Mapping) or len(self.inputs) > 1):
            return data_adapter.one_each(inputs[0], self.inputs, who, "input")
        found = by_position(self.inputs, inputs, named)
        if found is None:
            given = ", ".join([f"{len(inputs)} in order", *map(repr, named)])
            raise TypeError(f"{who}: expected the inputs {', '.join(self.inputs)}; got {given}")
        return list(found)

    def parameters(self) -> dict[str, Parameter]:
        """Return all parameters by dotted name."""
        return dict(self._parameters) if self._has_program() else self.network.parameters()

    def freeze(self, *patterns: str) -> list[str]:
        """Stop training some parameters; see :meth:`xpcnn.layers.Layer.freeze`.

        Training runs the layers in front of the first parameter that is trained as prediction
        does, and backward stops behind them.
        """
        return set_frozen(self.network, patterns, True, "Model.freeze")

    def unfreeze(self, *patterns: str) -> list[str]:
        """Train parameters again that were frozen; see :meth:`xpcnn.layers.Layer.freeze`."""
        return set_frozen(self.network, patterns, False, "Model.unfreeze")

    def zero_grad(self) -> None:
        """Forget all gradients."""
        parameters = self._parameters if self._has_program() else self.network.parameters()
        for parameter in parameters.values():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays of all parameters and buffers by dotted name."""
        return self.network.state_dict()

    def load_state_dict(
        self, state: Mapping[str, Any], strict: bool = True, *, skip_mismatch: bool = False
    ) -> LoadedNames:
        """Take over parameters and buffers; see :meth:`xpcnn.layers.Layer.load_state_dict`."""
        return self.network.load_state_dict(state, strict, skip_mismatch=skip_mismatch)

    def to(
        self,
        device: str | Device | None = None,
        dtype: str | None = None,
        *,
        precision: str | None = None,
    ) -> Self:
        """Move the network to another device, dtype or precision; if it fails, all stays."""
        with all_or_nothing(self):
            self._move(device, dtype, precision)
        return self

    def _move(self, device: Any, dtype: str | None, precision: str | None) -> None:
        target = self.device if device is None else resolve(device)
        dtype = dtype or self.dtype
        if dtype not in DTYPES:
            raise choice_error("Model.to", "dtype", dtype, DTYPES)
        target.dtype(dtype)
        precision = precision or self.precision
        half = half_of(precision, dtype, target, "Model.to")
        for _, layer in self.network.layers_within():
            for _, tensor in layer._own_tensors():
                tensor.move(target, dtype)
            layer.follow(dtype)
        vars(self).update(device=target, dtype=dtype)
        if precision != self.precision:
            self._half = half
            self._set_precision(precision)
            self.network.compute_in(half)
            if self._program is not None:  # steps keep what they made for the other precision
                self._program = Program(self.network)

    def program_for(self, inputs: Sequence[Array], *, training: bool = False) -> Program:
        """Return what runs the network on inputs like these; for training, that is counted.

        What a training run draws at random follows from the number of those before.
        """
        if self.batch is not None and inputs[0].shape[:1] != (self.batch,):
            raise ValueError(
                f"Model.forward: the network works for {self.batch} samples at a time, as its file "
                f"says, got {inputs[0].shape[0]}; give batch_size={self.batch}, and samples whose "
                f"number is a multiple of {self.batch}"
            )
        program = self.ready_for(inputs)
        if training:
            for layer in self._random_layers:
                layer.step = self.forwards
            self.forwards += 1
        return program

    def check_inputs(self, given: Sequence[Any], who: str, **options: Any) -> tuple[Array, ...]:
        """Check inputs that were given; see :func:`xpcnn.training.data_adapter.as_inputs`."""
        dtypes, names = self.input_dtypes(), self.inputs
        return data_adapter.as_inputs(
            given, names, self.device, dtypes, who, network=self.network, **options
        )

    def ready_for(self, inputs: Sequence[Array]) -> Program:
        """Return what runs the network; it is built if it is not yet."""
        if not self._has_program():
            shapes = [tuple(x.shape) for x in inputs]
            if isinstance(self.network, Graph):
                self._set_up(shapes, inputs=inputs)
            else:
                self.build(shapes[0])
        assert self._program is not None
        return self._program

    @property
    def is_built(self) -> bool:
        """Whether the network, as it is now, has been built."""
        return self._has_program()

    def output_shape(self, input_shape: Any = None) -> Any:
        """Return the shape of the output, or of each of several, without running the network.

        Parameters
        ----------
        input_shape : sequence of int, optional
            As for :meth:`build`; without it, the shape that the model was built for, and one
            sample.

        Raises
        ------
        RuntimeError
            If the model is not built.
        ValueError
            If the network takes no such input.
        """
        if not self._has_program() or self.input_shape is None:
            raise RuntimeError("the model is not built yet; call model.build with a shape first")
        given = self.input_shape if input_shape is None else input_shape
        who = "Model.output_shape"
        each = data_adapter.one_each(given, self.inputs, who, "input")
        if input_shape is None and self.batch is not None:
            each = [(self.batch, *shape[1:]) for shape in each]
        shapes = self.output_shapes_for([data_adapter.as_shape(shape, who) for shape in each])
        return shapes[0] if len(self.outputs) == 1 else tuple(shapes)

    def output_shapes_for(self, input_shapes: Sequence[Shape]) -> Sequence[Shape]:
        """Return the shapes of all outputs for inputs of such shapes."""
        key = changes(), tuple(input_shapes)
        if self._shapes[0] != key:
            if isinstance(self.network, Graph):
                found = self.network.output_shapes(*input_shapes)
            else:
                found = (self.network.output_shape(input_shapes[0]),)
            self._shapes = key, found
        return self._shapes[1]
