"""The model: a network with everything that is needed to train and use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn import _xp, losses, metrics, optim
from xpcnn._files import check_target
from xpcnn._xp import Array
from xpcnn.data.batches import batches
from xpcnn.device import Device, resolve
from xpcnn.errors import ModelFileError
from xpcnn.kernels.threads import release_blas
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.training import border, saving
from xpcnn.training.callbacks import Callback
from xpcnn.training.choices import (
    bind,
    check_loss,
    check_metrics,
    check_trainable,
    choose_loss,
    choose_metrics,
    prepare_labels,
)
from xpcnn.training.doubts import doubt_ends, doubt_inputs
from xpcnn.training.history import History
from xpcnn.training.loop import Fit
from xpcnn.training.memory import MemoryGuard
from xpcnn.training.network import PlacedNetwork, on_its_device
from xpcnn.training.samples import Samples, each, split_validation
from xpcnn.training.summary import Summary, summarize
from xpcnn.window import as_int


class Model(PlacedNetwork):
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
        super().__init__(layers, device=device, dtype=dtype, seed=seed, precision=precision)
        self.epoch = 0
        self.history = History()
        self.stop_training = False
        self.optimizer: optim.Optimizer | None = None
        self.loss: losses.Loss | None = None
        self.metrics: list[metrics.Metric] = []
        self._callbacks: Sequence[Callback] = ()  # of the last training, whose state is saved
        self._callback_states: list[dict[str, Any]] = []  # of a file, until a callback takes it

    def __repr__(self) -> str:
        network = self._network
        if isinstance(network, Graph):
            inside = repr(network)
        else:
            inside = "[" + "".join(f"\n    {layer!r}," for layer in network) + "\n]"
        settings = {"dtype": self.dtype, "precision": self.precision}
        shown = "".join(f", {k}={v!r}" for k, v in settings.items() if v != "float32")
        return f"Model({inside}, device={str(self.device)!r}{shown}, seed={self.seed})"

    def load_state_dict(self, state: Mapping[str, Any] | str | Path, strict: bool = True) -> None:
        """Take over parameters and buffers; see :meth:`xpcnn.layers.Layer.load_state_dict`.

        Besides a mapping it takes the path of a safetensors file that holds one.
        """
        if isinstance(state, (str, Path)):
            state = saving.weights_of(saving.read_tensors(state)[0])
        super().load_state_dict(state, strict)

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
        super().to(device, dtype, precision=precision)
        if self.optimizer is not None:
            self.optimizer.move(self.device, self.dtype)
        return self

    @on_its_device
    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run the network on NumPy arrays, lists or any other arrays; returns a device array."""
        given, whole = self._arrange(inputs, named, "Model"), isinstance(self._network, Graph)
        host = self._checked(given, "Model", finite=False, whole=whole)
        dtypes = self._network.input_dtypes(self.dtype)
        with MemoryGuard(self, "a prediction", *host[0].shape[:1] or (1,)):
            return self.forward(*map(self.device.asarray, host, dtypes))

    def _checked(self, given: Sequence[Any], who: str, **options: bool) -> tuple[Array, ...]:
        dtypes = self._network.input_dtypes(self.dtype)
        return border.as_inputs(given, self.inputs, self.device, dtypes, who, **options)

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
        loss : str, Loss, function, or (function, gradient)
            Such as ``"cross_entropy"`` or ``xpcnn.CrossEntropyLoss()``; what functions take and
            return is told by :class:`xpcnn.losses.FunctionLoss`. Where the network has several
            outputs, one for each, in order or by name; their sum is minimised.
        metrics : iterable of str, Metric or function
            Such as ``["accuracy"]``; of functions see
            :class:`xpcnn.metrics.FunctionMetric`. Where there are several outputs, a dict that has
            such a list for any of them.
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
        bind(self.metrics, self.loss)
        if loss is not None and self.loss is not None:
            doubt_ends(self._network, self.outputs, self.loss)

    @on_its_device
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
        validation_data: Sequence[Any] | None = None,
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
        validation_data : (x, y) or (x, y, sample_weight), optional
            Evaluated after every epoch.
        validation_split : float
            Share of the samples, taken from the end, to validate with instead.
        callbacks : sequence of Callback
        shuffle : bool
            Whether every epoch has an order of its own.
        class_weight : mapping of class to weight, or one for each class, optional
            Multiplies the loss of the samples of a class in training. It does not apply to
            validation, in whichever way that is given. Each sample must have one class: an
            integer label, a one-hot row, or a yes or no in a single column.
        sample_weight : array of shape (N,), optional
            Multiplies the loss of each sample. Weights stay with their samples: those that
            `validation_split` sets aside weigh their share of the validation loss.
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
        x, labels, weights = self._training_data(x, y, "fit", sample_weight)
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
                raise TypeError(
                    "fit: validation_data must be (x, y) or (x, y, sample_weight), got "
                    f"{type(validation_data).__name__}"
                    + (f" of {len(validation_data)}" if hasattr(validation_data, "__len__") else "")
                )
            given_x, given_y, *more = validation_data
            validation = self._samples(
                *self._training_data(given_x, given_y, "validation_data", *more)
            )
        elif validation_split:
            front, back = split_validation(x, labels, weights, validation_split)
            (x, labels, weights), validation = front, self._samples(*back)
        if class_weight is not None and self.loss is not None:
            shape = self._output_shapes([tuple(each.shape) for each in x])[0]
            dtype = border.host_dtype(self.dtype)
            weights = border.with_class_weights(
                weights, class_weight, labels, self.loss, shape, dtype
            )
        samples = self._samples(x, labels, weights)
        try:
            return Fit(self, samples, validation, batch_size, shuffle, capture).run(
                epochs, callbacks, verbose
            )
        finally:
            release_blas()

    @on_its_device
    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """Make one training step and return loss and metrics of this batch."""
        samples = self._samples(*self._training_data(x, y, "train_on_batch", sample_weight))
        fit = Fit(self, samples, None, len(samples), shuffle=False)
        return fit.one_step()

    @on_its_device
    def evaluate(
        self, x: Any, y: Any, *, batch_size: int = 256, sample_weight: Any = None
    ) -> dict[str, float]:
        """Return loss and metrics without training.

        Parameters
        ----------
        x, y
            As for :meth:`fit`.
        batch_size : int
            Does not show in the result.
        sample_weight : array of shape (N,), optional
            Multiplies the loss of each sample; metrics count each sample once.

        Examples
        --------
        ``model.evaluate(x_test, y_test)["accuracy"]``
        """
        samples = self._samples(*self._training_data(x, y, "evaluate", sample_weight))
        try:
            return Fit(self, samples, None, self.batch or batch_size, shuffle=False).evaluate(
                samples
            )
        finally:
            samples.close()
            release_blas()

    @on_its_device
    def predict(self, *x: Any, batch_size: int = 256, **named: Any) -> Any:
        """Return the network's outputs as a NumPy array, computed batch by batch.

        Where there are several inputs they come in order, by name, or all in one tuple or dict;
        where there are several outputs, a tuple of arrays is returned. A graph whose inputs differ
        in their first axis gets them whole, and one that works for one number of samples gets so
        many at a time, whatever `batch_size` says.
        """
        given, whole = self._arrange(x, named, "predict"), isinstance(self._network, Graph)
        inputs = self._checked(given, "predict", whole=whole)
        if len({tuple(x.shape[:1]) for x in inputs}) > 1 or inputs[0].shape[:1] in ((), (0,)):
            return each(self(*inputs), _xp.to_numpy)
        samples = self._samples(inputs, None, None)
        if self.batch is not None:
            batch_size = self.batch
            if len(samples) % batch_size:
                raise ValueError(
                    f"predict: the network works for {batch_size} samples at a time, as its file "
                    f"says, got {len(samples)}; give a multiple of {batch_size}"
                )
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
        self, x: Any, y: Any, who: str, sample_weight: Any = None
    ) -> tuple[tuple[Array, ...], Any, np.ndarray | None]:
        """Check data and labels against each other, the network and the loss."""
        if self.loss is None or self.optimizer is None:
            raise RuntimeError(
                f"{who}: the model has no {'loss' if self.loss is None else 'optimizer'} yet; call "
                "model.compile('adam', 'cross_entropy', ['accuracy']) or give them to fit"
            )
        inputs = self._checked(border.one_each(x, self.inputs, f"{who}: x", "input"), f"{who}: x")
        self._ready(inputs)
        if who in ("fit", "train_on_batch"):
            check_trainable(self.parameters(), who)
        check_loss(self.loss, self.outputs)
        count, dtype = int(inputs[0].shape[0]), border.host_dtype(self.dtype)
        shapes = self._output_shapes([tuple(each.shape) for each in inputs])
        labels = prepare_labels(self.loss, y, self.outputs, shapes, count, f"{who}: y", dtype)
        check_metrics(self.metrics, self.loss, labels, shapes)
        if who == "fit" or (who == "train_on_batch" and self.step == 0):
            doubt_inputs(self._network, inputs)
        return inputs, labels, border.as_weights(sample_weight, count, dtype)

    def _samples(
        self, inputs: tuple[Array, ...], labels: Any, weights: np.ndarray | None
    ) -> Samples:
        dtypes = self._network.input_dtypes(self.dtype)
        return Samples(inputs, labels, weights, self.device, dtypes, self.dtype)

    # -- Description and files -----------------------------------------------------------------

    def summary(self, input_shape: Any = None, *, batch_size: int = 1) -> Summary:
        """Print and return a table of layers, shapes, parameters, multiply-adds and memory.

        What is returned is a string, which a notebook does not show once more.

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
        return Summary(text)

    def save(self, path: str | Path) -> None:
        """Write weights, training state and architecture to one safetensors file.

        The file is replaced in one move: at any moment the old or the new one is there, whole,
        also where several threads or processes save to one path. A link is followed, the mode and
        the group of an old file are kept, and hard links keep the old content.

        Raises
        ------
        RuntimeError
            If the model was not built yet.
        ValueError, TypeError
            If its file could not be loaded again: a setting has been changed to what is none.
        OSError
            If there can be no file at the path, or the disk is full. What was there is unchanged.
        """
        if not self._network.is_built or self.input_shape is None:
            raise RuntimeError("the model is not built yet; train it or call model.build first")
        check_target(path)
        saving.write_file(path, *saving.describe(self))

    def _check_savable(self) -> None:
        """Raise if the model could not be saved, or its file not be loaded."""
        saving.check_savable(self)

    def _resume(self, callbacks: Sequence[Callback]) -> None:
        """Give callbacks the states that the model's file has for them."""
        self._callbacks = callbacks
        for callback in callbacks if self._callback_states else ():
            own = {"class": type(callback).__name__, "settings": callback.identity()}
            for number, entry in enumerate(self._callback_states):
                if own == {name: entry[name] for name in own}:
                    callback.load_state_dict(entry["state"])
                    del self._callback_states[number]
                    break

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | Device = "auto",
        custom_objects: Mapping[str, Any] | None = None,
        custom_layers: Mapping[str, type[Layer]] | None = None,
        compile: bool = True,
        precision: str | None = None,
    ) -> Model:
        """Read a model that :meth:`save` wrote; training can go on where it stopped.

        Parameters
        ----------
        path : str or Path
        device : str or Device
            May be another one than the model was saved from.
        custom_objects : mapping of str to class or function, optional
            Layers, losses, metrics, optimizers, schedules and functions of your own that the file
            names, as in ``{"FocalLoss": FocalLoss, "my_metric": my_metric}``.
        custom_layers : mapping of str to class, optional
            Another name for the same.
        compile : bool
            ``False`` leaves out loss, metrics, optimizer and the state of callbacks, so that
            those of your own need not be there; the model predicts, and :meth:`compile` makes it
            train anew.
        precision : str, optional
            Another one than the model was saved with, as for :class:`Model`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        PermissionError
            If the file may not be read.
        ModelFileError
            If the file is truncated, damaged, inconsistent, or not a model. Nothing in a file is
            ever executed.
        """
        custom = {**(custom_layers or {}), **(custom_objects or {})}
        for name, given in custom.items():
            if not isinstance(name, str) or not callable(given):
                raise TypeError(
                    "Model.load: custom_objects maps names to classes and functions, as in "
                    f"{{'FocalLoss': FocalLoss}}; got {name!r}: {given!r}"
                )
        tensors, description = saving.read_file(path)
        target = resolve(device)
        try:
            return saving.restore(cls, tensors, description, target, custom, precision, compile)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise ModelFileError(
                f"{str(path)!r} does not describe a consistent model: {error}"
            ) from error
        except RecursionError as error:
            raise ModelFileError(f"{str(path)!r} nests its layers too deeply") from error
