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
from xpcnn.kernels.threads import release_blas
from xpcnn.layers.containers import Sequential, check_layers
from xpcnn.layers.layer import Layer, Shape
from xpcnn.layers.parameter import Parameter, Tensor
from xpcnn.training import border, saving
from xpcnn.training.callbacks import Callback
from xpcnn.training.history import History
from xpcnn.training.loop import Fit
from xpcnn.training.memory import MemoryGuard
from xpcnn.training.plan import Plan
from xpcnn.training.summary import summarize
from xpcnn.window import as_int

DTYPES = ("float16", "bfloat16", "float32", "float64")
Method = TypeVar("Method", bound=Callable[..., Any])


def _on_its_device(method: Method) -> Method:
    """Make the model's device the current one, where a library has that, during a method."""

    @wraps(method)
    def run(self: Model, *args: Any, **options: Any) -> Any:
        with self.device.active():
            return method(self, *args, **options)

    return run  # type: ignore[return-value]


class Model:
    """A network on a device, with training, evaluation, prediction and saving.

    Parameters
    ----------
    layers : iterable of Layer
        Run one after the other.
    device : str or Device
        See :func:`xpcnn.device.resolve`; "auto" takes a GPU if one works, else the CPU.
    dtype : {"float32", "float64", "float16", "bfloat16"}
        Type of parameters, inputs and outputs.
    seed : int, optional
        Makes initial weights, shuffling and dropout repeatable.

    Attributes
    ----------
    device : Device
    history : History
        Of all epochs so far, over several calls of :meth:`fit` and over saving and loading.
    epoch, step : int
        Finished epochs and training steps.
    input_shape : tuple of int or None
        Shape the model was built for; the batch axis is ``None``.
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
    ) -> None:
        if dtype not in DTYPES:
            raise choice_error("Model", "dtype", dtype, DTYPES)
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"Model: seed must be an integer of at least 0, got {seed!r}")
        self.device = resolve(device)
        self.device.dtype(dtype)
        self.dtype = dtype
        self.seed = rng.fresh_seed() if seed is None else int(seed)
        self.epoch = 0
        self.step = 0
        self.history = History()
        self.stop_training = False
        self.optimizer: optim.Optimizer | None = None
        self.loss: losses.Loss | None = None
        self.metrics: list[metrics.Metric] = []
        self._network = Sequential([layers] if isinstance(layers, Layer) else list(layers))
        # Known once the model is built; until then the plan is None.
        self._plan: Plan | None = None
        self._random_layers: list[Any] = []
        self._parameters: dict[str, Parameter] = {}
        self._tensors: list[Tensor] = []
        self.input_shape: tuple[int | None, ...] | None = None

    # -- The network ---------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers, in order."""
        return list(self._network.layers)

    def add(self, layer: Layer) -> None:
        """Append a layer.

        Raises
        ------
        TypeError, ValueError
            If it is not a layer, or stands in the model already.
        """
        self._network.layers = check_layers([*self._network.layers, layer], "Model.add")
        self._plan = None

    @_on_its_device
    def build(self, input_shape: Sequence[int | None]) -> Shape:
        """Infer open widths and allocate the parameters.

        Parameters
        ----------
        input_shape : sequence of int
            Batch axis included, which may be ``None``: ``(None, 1, 28, 28)``.

        Returns
        -------
        tuple of int
            Shape of the output (for a batch of one where the batch axis was ``None``).
        """
        if not self._network.layers:
            raise RuntimeError("the model has no layers; give them to Model([...]) or add them")
        if isinstance(input_shape, str) or not hasattr(input_shape, "__iter__"):
            raise TypeError(
                "Model.build: input_shape must be a tuple with the batch axis in front, such as "
                f"(None, 1, 28, 28), got {input_shape!r}"
            )
        shape = tuple(
            1 if n is None else as_int(n, "Model.build", "input_shape", 1) for n in input_shape
        )
        for name, layer in self._network.layers_within():
            layer.name = name or None
            if hasattr(layer, "seed"):
                layer.seed = int(rng.generator(self.seed, f"layer {name}").integers(2**32))
        output_shape = self._network.build(
            shape,
            device=self.device,
            dtype=self.dtype,
            rng=rng.generator(self.seed, "weights"),
        )
        self.input_shape = (None, *shape[1:])
        self._plan = Plan(self._network.layers)
        inside = [layer for _, layer in self._network.layers_within()]
        self._random_layers = [layer for layer in inside if hasattr(layer, "step")]
        self._parameters = self._network.parameters()
        self._tensors = list(self._network._tensors().values())
        return output_shape

    @_on_its_device
    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Run the network on an array of the model's device, and return one.

        With ``training=True`` the model is ready for :meth:`backward`.
        """
        xp = _xp.namespace(x, who="Model.forward")
        if xp is not self.device.xp or _xp.dtype_name(x) != self.dtype:
            raise TypeError(
                f"Model.forward: expected {self.dtype} on device {self.device.name!r}, got "
                f"{_xp.describe(x)}; call the model itself, model(x), or bring the array there "
                "with model.device.asarray(x, model.dtype)"
            )
        plan = self._ready(x)
        if not training:
            return plan.infer(x)
        for layer in self._random_layers:
            layer.step = self.step
        return plan.forward(x, training=True)

    @_on_its_device
    def backward(self, dy: Array, *, need_dx: bool = False) -> Array | None:
        """Run the network backward and add to the gradients of all parameters.

        Parameters
        ----------
        dy : array
            Gradient with respect to the output of the last training forward.
        need_dx : bool
            Whether to return the gradient of the network's input.
        """
        if self._plan is None:
            raise RuntimeError("Model.backward needs a forward(x, training=True) before it")
        return self._plan.backward(dy, need_dx=need_dx)

    @_on_its_device
    def __call__(self, x: Any) -> Array:
        """Run the network on NumPy arrays, lists or any other arrays; returns a device array."""
        host = border.as_features(x, self.device, self.dtype, "Model", finite=False)
        with MemoryGuard(self, "a prediction", len(host)):
            return self.forward(self.device.asarray(host, self.dtype))

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

    def to(self, device: str | Device | None = None, dtype: str | None = None) -> Model:
        """Move the model, its optimizer's state included, to another device or dtype.

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
        for _, layer in self._network.layers_within():
            for _, tensor in layer._own_tensors():
                tensor.move(target, dtype)
        if self.optimizer is not None:
            self.optimizer.move(target, dtype)
        self.device, self.dtype = target, dtype
        return self

    def _ready(self, x: Array) -> Plan:
        if self._plan is None:
            self.build(tuple(x.shape))
        assert self._plan is not None
        return self._plan

    # -- Training ------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | optim.Optimizer,
        loss: str | losses.Loss,
        metrics: Iterable[Any] = (),
    ) -> None:
        """Choose how to train.

        Parameters
        ----------
        optimizer : str or Optimizer
            Such as ``"adam"`` or ``xpcnn.optim.Adam(lr=1e-3)``.
        loss : str or Loss
            Such as ``"cross_entropy"`` or ``xpcnn.CrossEntropyLoss()``.
        metrics : iterable of str or Metric
            Such as ``["accuracy"]``.
        """
        self._configure(optimizer, loss, metrics)

    def _configure(self, optimizer: Any, loss: Any, chosen: Any) -> None:
        if optimizer is not None:
            self.optimizer = optim.get(optimizer)
        if loss is not None:
            self.loss = losses.get(loss)
        if chosen is not None:
            chosen = [chosen] if isinstance(chosen, str) else chosen
            self.metrics = [metrics.get(metric) for metric in chosen]

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
        verbose: str | int = "auto",
    ) -> History:
        """Train.

        Parameters
        ----------
        x : array of shape (N, ...), any library, or nested lists
        y : array of shape (N,), (N, classes) or as the loss takes it
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
            front, back = border.split_validation(x, (labels, weights), validation_split)
            (x, labels, weights), validation = front, self._samples(*back)
        samples = self._samples(x, labels, weights)
        try:
            return Fit(self, samples, validation, batch_size, shuffle).run(
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
            release_blas()

    @_on_its_device
    def predict(self, x: Any, *, batch_size: int = 256) -> np.ndarray:
        """Return the network's outputs for `x` as a NumPy array, computed batch by batch."""
        features = border.as_features(x, self.device, self.dtype, "predict")
        samples = self._samples(features, None, None)
        order = batches(len(samples), batch_size, shuffle=False)
        try:
            with MemoryGuard(self, "a prediction", batch_size):
                outputs = [_xp.to_numpy(self.forward(samples.batch(part)[0])) for part in order]
        finally:
            release_blas()
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _training_data(
        self, x: Any, y: Any, who: str, class_weight: Any = None, sample_weight: Any = None
    ) -> tuple[Array, np.ndarray, np.ndarray | None]:
        """Check data and labels against each other, the network and the loss."""
        if self.loss is None or self.optimizer is None:
            raise RuntimeError(
                f"{who}: the model has no {'loss' if self.loss is None else 'optimizer'} yet; call "
                "model.compile('adam', 'cross_entropy', ['accuracy']) or give them to fit"
            )
        x = border.as_features(x, self.device, self.dtype, f"{who}: x")
        labels = border.as_labels(y, x.shape[0], f"{who}: y")
        self._ready(x)
        output_shape = self._network.output_shape(tuple(x.shape))
        dtype = border.host_dtype(self.dtype)
        labels = self.loss.prepare_target(output_shape, labels, dtype)
        weights = border.as_weights(sample_weight, class_weight, labels, dtype)
        return x, labels, weights

    def _samples(
        self, x: Array, labels: np.ndarray | None, weights: np.ndarray | None
    ) -> border.Samples:
        return border.Samples(x, labels, weights, self.device, self.dtype)

    # -- Description and files -----------------------------------------------------------------

    def summary(
        self, input_shape: Sequence[int | None] | None = None, *, batch_size: int = 1
    ) -> str:
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
        sample = [n or 1 for n in (input_shape or self.input_shape or ())[1:]]
        shape = (as_int(batch_size, "Model.summary", "batch_size", 1), *sample)
        text = summarize(self._network.layers, shape, self.dtype)
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
    ) -> Model:
        """Read a model that :meth:`save` wrote; training can go on where it stopped.

        Parameters
        ----------
        path : str or Path
        device : str or Device
            May be another one than the model was saved from.
        custom_layers : mapping of str to class, optional
            Layer classes of your own that the file names.

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
            return saving.restore(cls, tensors, description, target, custom_layers or {})
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise ModelFileError(
                f"{str(path)!r} does not describe a consistent model: {error}"
            ) from error
        except RecursionError as error:
            raise ModelFileError(f"{str(path)!r} nests its layers too deeply") from error
