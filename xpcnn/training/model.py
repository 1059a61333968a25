"""The model: a network with everything that is needed to train and use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xpcnn import _xp, losses, metrics, optim, rng
from xpcnn._xp import Array
from xpcnn.data.batches import batches
from xpcnn.device import Device, resolve
from xpcnn.errors import ModelFileError, choice_error
from xpcnn.kernels.precision import float32_products, products
from xpcnn.kernels.threads import release_blas
from xpcnn.layers.containers import Sequential, check_layers
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer, Shape
from xpcnn.layers.parameter import Parameter, Tensor
from xpcnn.training import border, saving
from xpcnn.training.callbacks import Callback
from xpcnn.training.choices import check_loss, choose_loss, choose_metrics, prepare_labels
from xpcnn.training.history import History
from xpcnn.training.loop import Fit
from xpcnn.training.memory import MemoryGuard
from xpcnn.training.plan import Plan
from xpcnn.training.samples import Samples, each, split_validation
from xpcnn.training.scaling import LossScale, half_of
from xpcnn.training.summary import summarize
from xpcnn.window import as_int

DTYPES = ("float16", "bfloat16", "float32", "float64")
Method = TypeVar("Method", bound=Callable[..., Any])


def _as_network(layers: Any) -> Sequential | Graph:
    """Return the network that a model is given, or the chain of the layers it is given."""
    if isinstance(layers, Graph):
        return layers
    if type(layers) is Sequential:
        return Sequential(*layers.layers)
    return Sequential([layers] if isinstance(layers, Layer) else list(layers))


def _on_its_device(method: Method) -> Method:
    """Make the model's device the current one, and its way to multiply, during a method."""

    @wraps(method)
    def run(self: Model, *args: Any, **options: Any) -> Any:
        with self.device.active():
            if float32_products.get() == self._products:  # as a rule, and setting takes longer
                return method(self, *args, **options)
            with products(self._products):
                return method(self, *args, **options)

    return run  # type: ignore[return-value]


class Model:
    """A network on a device, with training, evaluation, prediction and saving.

    Parameters
    ----------
    layers : iterable of Layer, or Graph
        Layers are run one after the other. A :class:`~xpcnn.Graph`, or a
        :class:`~xpcnn.Sequential`, is the network itself, so that its names for parameters are
        the model's.
    device : str or Device
        See :func:`xpcnn.device.resolve`; "auto" takes a GPU if one works, else the CPU.
    dtype : {"float32", "float64", "float16", "bfloat16"}
        Type of parameters, inputs and outputs.
    seed : int, optional
        Makes initial weights, shuffling and dropout repeatable.
    precision : {"float32", "tf32", "float16", "bfloat16"}
        How a float32 model computes. "float16" and "bfloat16" are mixed precision: activations
        and products are in that dtype, while weights, what the optimizer keeps, normalisation,
        losses, inputs and outputs stay in float32; with float16 the loss is scaled in training.
        "tf32" lets GPUs round the factors of products to eleven bits, and is float32 where there
        is no such thing, as on the CPU.

    Attributes
    ----------
    device : Device
    scaling : LossScale or None
        The scale of the loss, with precision "float16". A training loop of your own multiplies
        the gradient of the loss by ``scaling.scale``, and makes the step only if
        ``scaling.unscale(model.parameters())`` says so.
    history : History
        Of all epochs so far, over several calls of :meth:`fit` and over saving and loading.
    epoch, step : int
        Finished epochs and training steps.
    input_shape : tuple of int or None
        Shape the model was built for; the batch axis is ``None``. A tuple of shapes where the
        network has several inputs.
    stop_training : bool
        A callback sets it to end training after the epoch.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.random.default_rng(0).random((64, 1, 8, 8), dtype="float32")
    >>> y = (x.mean(axis=(1, 2, 3)) > 0.5).astype(int)
    >>> layers = [xpcnn.Conv2d(1, 4, 3), xpcnn.ReLU(), xpcnn.MaxPool2d(2), xpcnn.Flatten()]
    >>> model = xpcnn.Model([*layers, xpcnn.Linear(out_features=2)], device="cpu", seed=0)
    >>> model.compile(xpcnn.optim.Adam(), xpcnn.CrossEntropyLoss(), ["accuracy"])
    >>> history = model.fit(x, y, epochs=2, verbose=0)
    >>> model.predict(x).shape
    (64, 2)
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
        if dtype not in DTYPES:
            raise choice_error("Model", "dtype", dtype, DTYPES)
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"Model: seed must be an integer of at least 0, got {seed!r}")
        self.device = resolve(device)
        self.device.dtype(dtype)
        self.dtype = dtype
        self._half = half_of(precision, dtype, self.device, "Model")
        self._set_precision(precision)
        self.seed = rng.fresh_seed() if seed is None else int(seed)
        self.epoch = 0
        self.step = 0
        self.history = History()
        self.stop_training = False
        self.optimizer: optim.Optimizer | None = None
        self.loss: losses.Loss | None = None
        self.metrics: list[metrics.Metric] = []
        self._network = _as_network(layers)
        # Known once the model is built; until then the plan is None.
        self._plan: Plan | None = None
        self._random_layers: list[Any] = []
        self._parameters: dict[str, Parameter] = {}
        self._tensors: list[Tensor] = []
        self.input_shape: tuple[Any, ...] | None = None

    # -- The network ---------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers, in the order in which they are run."""
        network = self._network
        if isinstance(network, Graph):
            return [node.layer for node in network.in_order]
        return list(network.layers)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs; those of a chain of layers are called "x"."""
        return self._network.inputs if isinstance(self._network, Graph) else ("x",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs; those of a chain of layers are called "y"."""
        return self._network.outputs if isinstance(self._network, Graph) else ("y",)

    def add(self, layer: Layer) -> None:
        """Append a layer.

        Raises
        ------
        TypeError, ValueError
            If it is not a layer, or stands in the model already, or the network is a graph.
        """
        if isinstance(self._network, Graph):
            raise TypeError(
                "Model.add: the network is a Graph, which has no end to add to; make another Graph "
                "with the layer in it, or Model([graph, layer])"
            )
        self._network.layers = check_layers([*self._network.layers, layer], "Model.add")
        self._plan = None

    @_on_its_device
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
        if not self._network.children():
            raise RuntimeError("the model has no layers; give them to Model([...]) or add them")
        shapes = [
            border.as_shape(shape, "Model.build")
            for shape in border.one_each(input_shape, self.inputs, "Model.build", "input")
        ]
        for name, layer in self._network.layers_within():
            layer.name = name or None
            if hasattr(layer, "seed"):
                layer.seed = int(rng.generator(self.seed, f"layer {name}").integers(2**32))
        output_shape = self._network.build(
            *shapes,
            device=self.device,
            dtype=self.dtype,
            rng=rng.generator(self.seed, "weights"),
        )
        self._network.compute_in(self._half)
        without_batch = tuple((None, *shape[1:]) for shape in shapes)
        self.input_shape = without_batch[0] if len(shapes) == 1 else without_batch
        self._plan = Plan([self._network])
        inside = [layer for _, layer in self._network.layers_within()]
        self._random_layers = [layer for layer in inside if hasattr(layer, "step")]
        self._parameters = self._network.parameters()
        self._tensors = list(self._network._tensors().values())
        return output_shape

    @_on_its_device
    def forward(self, *inputs: Array, training: bool = False, **named: Array) -> Any:
        """Run the network on arrays of the model's device, and return one, or a tuple.

        Inputs come in order or by name. With ``training=True`` the model is ready for
        :meth:`backward`.
        """
        arrays = self._arrange(inputs, named, "Model.forward")
        for x, dtype in zip(arrays, self._network.input_dtypes(self.dtype), strict=True):
            xp = _xp.namespace(x, who="Model.forward")
            if xp is not self.device.xp or _xp.dtype_name(x) != dtype:
                raise TypeError(
                    f"Model.forward: expected {dtype} on device {self.device.name!r}, got "
                    f"{_xp.describe(x)}; call the model itself, model(x), or bring the array there "
                    f"with model.device.asarray(x, {dtype!r})"
                )
        plan, narrow = self._ready(arrays), self._narrow(arrays)
        if not training:
            alone = len(narrow) == len(self.outputs) == 1
            y = plan.infer(narrow[0]) if alone else plan.forward(*narrow, training=False)
            return self._widen(y)
        for layer in self._random_layers:
            layer.step = self.step
        return self._widen(plan.forward(*narrow, training=True))

    @_on_its_device
    def backward(self, *dys: Array, need_dx: bool = False) -> Any:
        """Run the network backward and add to the gradients of all parameters.

        Parameters
        ----------
        *dys : array
            One gradient for each output of the last training forward.
        need_dx : bool
            Whether to return the gradient of the network's input, or a tuple of those of all.
        """
        if self._plan is None:
            raise RuntimeError("Model.backward needs a forward(x, training=True) before it")
        if self._half is None:
            return self._plan.backward(*dys, need_dx=need_dx)
        with np.errstate(over="ignore", invalid="ignore"):  # a scaled loss may be too large
            return self._widen(self._plan.backward(*self._narrow(dys), need_dx=need_dx))

    @property
    def compute_dtype(self) -> str:
        """The dtype of activations: that of the parameters, but for mixed precision."""
        return self._half or self.dtype

    def _narrow(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """Bring arrays of floating-point numbers to the dtype that layers compute in."""
        half = self._half
        if half is None:
            return arrays
        return [self.device.asarray(x, half) if _xp.is_floating(x) else x for x in arrays]

    def _widen(self, found: Any) -> Any:
        """Bring an array, or a tuple of them, back to the model's dtype."""
        if self._half is None:
            return found
        return each(
            found, lambda x: self.device.asarray(x, self.dtype) if _xp.is_floating(x) else x
        )

    def _set_precision(self, precision: str) -> None:
        self.precision = precision
        self._products = "tf32" if precision == "tf32" else "float32"
        self.scaling = LossScale() if precision == "float16" else None

    @_on_its_device
    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run the network on NumPy arrays, lists or any other arrays; returns a device array."""
        host = self._checked(self._arrange(inputs, named, "Model"), "Model", finite=False)
        dtypes = self._network.input_dtypes(self.dtype)
        with MemoryGuard(self, "a prediction", len(host[0])):
            return self.forward(*map(self.device.asarray, host, dtypes))

    def _arrange(self, inputs: tuple[Any, ...], named: Mapping[str, Any], who: str) -> list[Any]:
        """Return the inputs in order: given one by one, by name, or together as one argument."""
        together = len(inputs) == 1 and not named
        if together and (isinstance(inputs[0], Mapping) or len(self.inputs) > 1):
            return border.one_each(inputs[0], self.inputs, who, "input")
        rest = self.inputs[len(inputs) :]
        if len(inputs) > len(self.inputs) or set(named) != set(rest):
            given = ", ".join([f"{len(inputs)} in order", *map(repr, named)])
            raise TypeError(f"{who}: expected the inputs {', '.join(self.inputs)}; got {given}")
        return [*inputs, *(named[name] for name in rest)]

    def _checked(self, given: Sequence[Any], who: str, *, finite: bool = True) -> tuple[Array, ...]:
        dtypes = self._network.input_dtypes(self.dtype)
        return border.as_inputs(given, self.inputs, self.device, dtypes, who, finite=finite)

    def parameters(self) -> dict[str, Parameter]:
        """Return all parameters by dotted name."""
        return self._network.parameters() if self._plan is None else dict(self._parameters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        parameters = self._parameters if self._plan is not None else self._network.parameters()
        for parameter in parameters.values():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays of all parameters and buffers by dotted name."""
        return self._network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take over parameters and buffers; see :meth:`xpcnn.layers.Layer.load_state_dict`."""
        self._network.load_state_dict(state, strict)

    def to(
        self,
        device: str | Device | None = None,
        dtype: str | None = None,
        *,
        precision: str | None = None,
    ) -> Model:
        """Move the model, its optimizer's state included, to another device, dtype or precision.

        What is left out stays as it is.

        Returns
        -------
        Model
            This model.
        """
        target = self.device if device is None else resolve(device)
        dtype = dtype or self.dtype
        if dtype not in DTYPES:
            raise choice_error("Model.to", "dtype", dtype, DTYPES)
        target.dtype(dtype)
        precision = precision or self.precision
        half = half_of(precision, dtype, target, "Model.to")
        for _, layer in self._network.layers_within():
            for _, tensor in layer._own_tensors():
                tensor.move(target, dtype)
        if self.optimizer is not None:
            self.optimizer.move(target, dtype)
        self.device, self.dtype = target, dtype
        if precision != self.precision:
            self._half = half
            self._set_precision(precision)
            self._network.compute_in(half)
            if self._plan is not None:  # steps keep what they made for the other precision
                self._plan = Plan([self._network])
        return self

    def _ready(self, inputs: Sequence[Array]) -> Plan:
        if self._plan is None:
            shapes = [tuple(x.shape) for x in inputs]
            self.build(shapes[0] if len(shapes) == 1 else shapes)
        assert self._plan is not None
        return self._plan

    # -- Training ------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | optim.Optimizer,
        loss: Any,
        metrics: Any = (),
        loss_weights: Any = None,
    ) -> None:
        """Choose how to train.

        Parameters
        ----------
        optimizer : str or Optimizer
            Such as ``"adam"`` or ``xpcnn.optim.Adam(lr=1e-3)``.
        loss : str or Loss
            Such as ``"cross_entropy"`` or ``xpcnn.CrossEntropyLoss()``. Where the network has
            several outputs, one for each, in order or by name; their sum is minimised.
        metrics : iterable of str or Metric
            Such as ``["accuracy"]``. Where there are several outputs, a dict that has such a list
            for any of them.
        loss_weights : sequence or mapping of float, optional
            What the loss of each output is multiplied by, where there are several.
        """
        self._configure(optimizer, loss, metrics, loss_weights)

    def _configure(self, optimizer: Any, loss: Any, chosen: Any, weights: Any = None) -> None:
        if optimizer is not None:
            self.optimizer = optim.get(optimizer)
        if loss is not None:
            self.loss = choose_loss(loss, self.outputs, weights)
        if chosen is not None:
            self.metrics = choose_metrics(chosen, self.outputs)

    @_on_its_device
    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        optimizer: str | optim.Optimizer | None = None,
        loss: str | losses.Loss | None = None,
        metrics: Iterable[Any] | None = None,
        validation_data: tuple[Any, Any] | None = None,
        validation_split: float = 0.0,
        callbacks: Sequence[Callback] = (),
        shuffle: bool = True,
        class_weight: Mapping[int, float] | Sequence[float] | None = None,
        sample_weight: Any = None,
        capture: bool = False,
        verbose: str | int = "auto",
    ) -> History:
        """Train.

        Parameters
        ----------
        x : array of shape (N, ...), any library, or nested lists
            Where the network has several inputs, one for each, as a tuple or a dict by name.
        y : array of shape (N,), (N, classes) or as the loss takes it
            Where there are several outputs, one for each, as a tuple or a dict by name.
        epochs : int
            How many more epochs to train.
        batch_size : int
            Samples per step.
        optimizer, loss, metrics
            As in :meth:`compile`; what is left out stays as it was.
        validation_data : (x, y), optional
            Evaluated after every epoch.
        validation_split : float
            Share of the samples, taken from the end, to validate with instead.
        callbacks : sequence of Callback
        shuffle : bool
            Whether every epoch has an order of its own.
        class_weight : mapping of class to weight, optional
        sample_weight : array of shape (N,), optional
        capture : bool
            Whether the device may write down a training step and repeat it without Python between
            its kernels, as CUDA does in graphs: faster where layers are small. It takes effect from
            the third batch of an epoch on. The numbers are the same to rounding; within an epoch,
            callbacks must leave the model as it is. Where a step cannot be captured, a warning is
            logged and training goes on without.
        verbose : {"auto", 0, 1}
            0 is silent; otherwise progress is shown.

        Returns
        -------
        History
            Of these epochs.

        Raises
        ------
        ValueError, TypeError
            If the data or labels do not fit; nothing has been trained then.
        NonFiniteError
            If the loss became NaN or infinite; the weights are the last good ones.
        OutOfMemoryError
            If memory ran out in a step; the model is as it was before that step.
        """
        self._configure(optimizer, loss, metrics)
        x, labels, weights = self._training_data(x, y, "fit", class_weight, sample_weight)
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise TypeError(
                    "fit: validation_data must be a pair (x, y), got "
                    f"{type(validation_data).__name__}"
                    + (f" of {len(validation_data)}" if hasattr(validation_data, "__len__") else "")
                )
            validation = self._samples(*self._training_data(*validation_data, "validation_data"))
        elif validation_split:
            front, back = split_validation(x, labels, weights, validation_split)
            (x, labels, weights), validation = front, self._samples(*back)
        samples = self._samples(x, labels, weights)
        try:
            return Fit(self, samples, validation, batch_size, shuffle, capture).run(
                epochs, callbacks, verbose
            )
        finally:
            release_blas()

    @_on_its_device
    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """Make one training step and return loss and metrics of this batch."""
        samples = self._samples(*self._training_data(x, y, "train_on_batch", None, sample_weight))
        fit = Fit(self, samples, None, len(samples), shuffle=False)
        return fit.one_step()

    @_on_its_device
    def evaluate(self, x: Any, y: Any, *, batch_size: int = 256) -> dict[str, float]:
        """Return loss and metrics without training.

        Examples
        --------
        ``model.evaluate(x_test, y_test)["accuracy"]``
        """
        samples = self._samples(*self._training_data(x, y, "evaluate"))
        try:
            return Fit(self, samples, None, batch_size, shuffle=False).evaluate(samples)
        finally:
            samples.close()
            release_blas()

    @_on_its_device
    def predict(self, *x: Any, batch_size: int = 256, **named: Any) -> Any:
        """Return the network's outputs as a NumPy array, computed batch by batch.

        Where there are several inputs they come in order, by name, or all in one tuple or dict;
        where there are several outputs, a tuple of arrays is returned.
        """
        given = self._arrange(x, named, "predict")
        samples = self._samples(self._checked(given, "predict"), None, None)
        order = batches(len(samples), batch_size, shuffle=False)
        try:
            with MemoryGuard(self, "a prediction", batch_size):
                found = [
                    each(self.forward(*load().inputs), _xp.to_numpy)
                    for _, load in samples.prefetched(order)
                ]
        finally:
            samples.close()
            release_blas()
        if len(found) == 1:
            return found[0]
        if isinstance(found[0], tuple):
            return tuple(map(np.concatenate, zip(*found, strict=True)))
        return np.concatenate(found)

    def _training_data(
        self, x: Any, y: Any, who: str, class_weight: Any = None, sample_weight: Any = None
    ) -> tuple[tuple[Array, ...], Any, np.ndarray | None]:
        """Check data and labels against each other, the network and the loss."""
        if self.loss is None or self.optimizer is None:
            raise RuntimeError(
                f"{who}: the model has no {'loss' if self.loss is None else 'optimizer'} yet; call "
                "model.compile('adam', 'cross_entropy', ['accuracy']) or give them to fit"
            )
        inputs = self._checked(border.one_each(x, self.inputs, f"{who}: x", "input"), f"{who}: x")
        self._ready(inputs)
        check_loss(self.loss, self.outputs)
        count, dtype = int(inputs[0].shape[0]), border.host_dtype(self.dtype)
        shapes = self._output_shapes([tuple(each.shape) for each in inputs])
        labels = prepare_labels(self.loss, y, self.outputs, shapes, count, f"{who}: y", dtype)
        return inputs, labels, border.as_weights(sample_weight, class_weight, labels, dtype)

    def _output_shapes(self, input_shapes: Sequence[Shape]) -> Sequence[Shape]:
        if isinstance(self._network, Graph):
            return self._network.output_shapes(*input_shapes)
        return [self._network.output_shape(input_shapes[0])]

    def _samples(
        self, inputs: tuple[Array, ...], labels: Any, weights: np.ndarray | None
    ) -> Samples:
        dtypes = self._network.input_dtypes(self.dtype)
        return Samples(inputs, labels, weights, self.device, dtypes, self.dtype)

    # -- Description and files -----------------------------------------------------------------

    def summary(self, input_shape: Any = None, *, batch_size: int = 1) -> str:
        """Print and return a table of layers, shapes, parameters, multiply-adds and memory.

        Parameters
        ----------
        input_shape : sequence of int, optional
            Batch axis included; needed while the model is not built.
        batch_size : int
            What shapes, multiply-adds and memory are given for.
        """
        if input_shape is None and self.input_shape is None:
            raise RuntimeError(
                "the model is not built yet; call model.summary((None, 1, 28, 28)) with the shape "
                "of your input"
            )
        if input_shape is not None and self._plan is None:
            self.build(input_shape)
        given = self.input_shape if input_shape is None else input_shape
        batch = as_int(batch_size, "Model.summary", "batch_size", 1)
        shapes = [
            (batch, *(n or 1 for n in shape[1:]))
            for shape in border.one_each(given, self.inputs, "Model.summary", "input")
        ]
        text = summarize(self._network, shapes, self.dtype, self.precision)
        print(text)
        return text

    def save(self, path: str | Path) -> None:
        """Write weights, training state and architecture to one safetensors file.

        The file is replaced in one move: at any moment the old or the new one is there, whole.

        Raises
        ------
        RuntimeError
            If the model was not built yet.
        """
        if not self._network.is_built or self.input_shape is None:
            raise RuntimeError("the model is not built yet; train it or call model.build first")
        saving.write_file(path, *saving.describe(self))

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | Device = "auto",
        custom_layers: Mapping[str, type[Layer]] | None = None,
        precision: str | None = None,
    ) -> Model:
        """Read a model that :meth:`save` wrote; training can go on where it stopped.

        Parameters
        ----------
        path : str or Path
        device : str or Device
            May be another one than the model was saved from.
        custom_layers : mapping of str to class, optional
            Layer classes of your own that the file names.
        precision : str, optional
            Another one than the model was saved with, as for :class:`Model`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ModelFileError
            If the file is truncated, damaged, inconsistent, or not a model. Nothing in a file is
            ever executed.
        """
        tensors, description = saving.read_file(path)
        target = resolve(device)
        try:
            return saving.restore(cls, tensors, description, target, custom_layers or {}, precision)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise ModelFileError(
                f"{str(path)!r} does not describe a consistent model: {error}"
            ) from error
        except RecursionError as error:
            raise ModelFileError(f"{str(path)!r} nests its layers too deeply") from error
