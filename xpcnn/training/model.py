"""The model: a network with everything that is needed to train and use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn import _xp, losses, optim
from xpcnn._files import check_target
from xpcnn._showing import html_of
from xpcnn._xp import Array
from xpcnn.device import Device, resolve
from xpcnn.errors import ModelFileError
from xpcnn.kernels.threads import release_blas
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.layers.loading import LoadedNames
from xpcnn.losses.running import RunningLoss
from xpcnn.training import data_adapter, saving
from xpcnn.training.callbacks import Callback
from xpcnn.training.compile_args import (
    bind,
    choose_loss,
    choose_metrics,
)
from xpcnn.training.dataset import Batch, Order, Source, map_arrays
from xpcnn.training.doubts import doubt_ends
from xpcnn.training.evaluation import counting, evaluate, figures, loss_figures
from xpcnn.training.history import History
from xpcnn.training.incoming import (
    Reading,
    open_inputs,
    open_source,
    open_training,
    open_validation,
)
from xpcnn.training.known_data import agree_on_names, take_over
from xpcnn.training.looking import LayerOutputs, find_layers, is_one_name
from xpcnn.training.loop import Trainer, stop
from xpcnn.training.lr_finder import RateSearch, rates, search
from xpcnn.training.memory import PROBED, MemoryUse, StepMemory
from xpcnn.training.mixing import Mix, MixedSource, as_mix
from xpcnn.training.oom import MemoryGuard
from xpcnn.training.preparing import Preparation
from xpcnn.training.recorded import CompiledPrediction, record_prediction
from xpcnn.training.rollback import all_or_nothing
from xpcnn.training.sources.arrays import Samples
from xpcnn.training.state import Snapshot, TrainingState
from xpcnn.training.step import Step, train_step
from xpcnn.training.summary import Summary, summarize
from xpcnn.training.wayback import loss_is_finite
from xpcnn.window import as_int


class Model(TrainingState):
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
    network : Sequential or Graph
        What the model runs; its layers are ``model.layers``.
    history : History
        Of all epochs so far, over several calls of :meth:`fit` and over saving and loading.
    epoch, step : int
        Finished epochs and training steps.
    input_shape : tuple of int or None
        Shape the model was built for; the batch axis is ``None``. A tuple of shapes where the
        network has several inputs.
    class_names : tuple of str or None
        The name of each class. It is saved in the model's file, as `image_input` is, and both are
        taken from a data set that :meth:`fit` is given and that has them, such as
        :class:`xpcnn.data.ImageFolder`.
    image_input : ImageReader or None
        What makes the model's input of image files.
    stop_training : bool
        A callback sets it to end training, after the batch or the epoch.

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

    def __repr__(self) -> str:
        network = self.network
        if isinstance(network, Graph):
            inside = repr(network)
        else:
            inside = "[" + "".join(f"\n    {layer!r}," for layer in network) + "\n]"
        settings = {"dtype": self.dtype, "precision": self.precision}
        shown = "".join(f", {k}={v!r}" for k, v in settings.items() if v != "float32")
        return f"Model({inside}, device={str(self.device)!r}{shown}, seed={self.seed})"

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows."""
        return html_of(self)

    def load_state_dict(
        self,
        state: Mapping[str, Any] | str | Path,
        strict: bool = True,
        *,
        skip_mismatch: bool = False,
    ) -> LoadedNames:
        """Take over parameters and buffers; see :meth:`xpcnn.layers.Layer.load_state_dict`.

        Besides a mapping it takes the path of a safetensors file that holds one.
        """
        if isinstance(state, (str, Path)):
            state = saving.weights_of(saving.read_tensors(state)[0])
        return super().load_state_dict(state, strict, skip_mismatch=skip_mismatch)

    def to(
        self,
        device: str | Device | None = None,
        dtype: str | None = None,
        *,
        precision: str | None = None,
    ) -> Model:
        """Move the model, its optimizer's state included, to another device, dtype or precision.

        What is left out stays as it is; if the move fails, everything does.

        Returns
        -------
        Model
            This model.
        """
        return super().to(device, dtype, precision=precision)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run the network on NumPy arrays, lists or any other arrays; returns a device array."""
        with self.on_device(), self.unbuilt_if_it_fails():
            given, whole = self._arrange(inputs, named, "Model"), isinstance(self.network, Graph)
            host = self.check_inputs(given, "Model", finite=False, whole=whole)
            dtypes = self.input_dtypes()
            with MemoryGuard(self, "a prediction", *host[0].shape[:1] or (1,)):
                return self.forward_batch(list(map(self.device.asarray, host, dtypes)))

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
        """Check all that is given, and only then set it."""
        with all_or_nothing(self):
            new = None if optimizer is None else optim.get(optimizer)
            if loss is not None:
                self.loss = choose_loss(loss, self.outputs, weights)
            elif weights is not None:
                raise ValueError("loss_weights needs losses to go with; give them too")
            if chosen is not None:
                self.metrics = choose_metrics(chosen, self.outputs)
            bind(self.metrics, self.loss)
            if new is not None:
                if self._has_program():
                    new.check_groups(self.parameters())
                self.optimizer = new
            if loss is not None and self.loss is not None:
                doubt_ends(self.network, self.outputs, self.loss)

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        optimizer: str | optim.Optimizer | None = None,
        loss: str | losses.Loss | None = None,
        metrics: Iterable[Any] | None = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        callbacks: Sequence[Callback] | None = None,
        shuffle: bool | None = None,
        drop_last: bool = False,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        workers: int = 0,
        class_weight: Mapping[int, float] | Sequence[float] | str | None = None,
        sample_weight: Any = None,
        mix: Mix | None = None,
        capture: bool = False,
        memory: int | str | None = None,
        accumulate: int = 1,
        validation_freq: int | Sequence[int] = 1,
        verbose: str | int = "auto",
    ) -> History:
        """Train.

        Parameters
        ----------
        x : array of shape (N, ...), any library, or nested lists; or batches
            Where the network has several inputs, one for each, as a tuple or a dict by name.
            Or, without `y`, batches ``(x, y)`` or ``(x, y, sample_weight)`` that are ready: a list
            of them, a generator, a torch DataLoader, or an object with ``__len__`` and
            ``__getitem__``. Or a data set with these two methods, of which ``x[i]`` is one sample,
            such as :class:`xpcnn.data.ImageFolder`; it is batched here.
        y : array of shape (N,), (N, classes) or as the loss takes it, optional
            Where there are several outputs, one for each, as a tuple or a dict by name.
        epochs : int
            How many more epochs to train.
        batch_size : int, optional
            Samples per step; 32 if left out. Not for batches that are ready.
        optimizer, loss, metrics
            As in :meth:`compile`; what is left out stays as it was.
        validation_data : (x, y) or (x, y, sample_weight), or batches, optional
            Evaluated after every epoch.
        validation_split : float
            Share of the samples, taken from the end, to validate with instead; of arrays alone.
        callbacks : sequence of Callback, optional
        shuffle : bool, optional
            Whether every epoch has an order of its own; they have if left out. Not for batches
            that are ready.
        drop_last : bool
            Whether to leave out the last batch of an epoch where it is smaller than the others.
        steps_per_epoch : int, optional
            How many batches make an epoch; all that there are if left out. Of arrays and data sets
            it is so many of each epoch's order. Of batches that come ready the next epoch begins
            where one has ended, and what can begin anew does so when it has ended. An iterator,
            such as a generator, comes once and does not say where it ends, so that it must be
            given.
        validation_steps : int, optional
            How many batches of `validation_data` to evaluate; all if left out.
        workers : int
            How many processes read the samples of a data set ahead; 0 for this one, when their turn
            comes. The numbers are the same.
        class_weight : mapping of class to weight, one for each class, or "balanced", optional
            Multiplies the loss of the samples of a class in training. It does not apply to
            validation, in whichever way that is given. Each sample must have one class: an
            integer label, a one-hot row, or a yes or no in a single column. "balanced" gives
            classes the same weight together, as in scikit-learn: N / (classes * samples of the
            class), counted in `y`, or in ``x.targets`` of a data set.
        sample_weight : array of shape (N,) or (N, d1, ...), optional
            Multiplies the loss of each sample; or of each place in a sample, such as the pixels of
            a map of labels, with as many of the axes of the loss's terms as are given. Where each
            output has a loss, a tuple or a dict may have weights for each, or for some. Weights
            stay with their samples: those that `validation_split` sets aside weigh their share of
            the validation loss. Means still divide by the number of terms.
        mix : MixUp or CutMix, optional
            How to mix the samples of each batch, and their labels, which become shares of classes.
            Not for validation, and not with weights of samples or classes.
        capture : bool
            Whether the device may write down a training step and repeat it without Python between
            its kernels, as CUDA does in graphs: faster where layers are small. It takes effect from
            the third batch of an epoch on. The numbers are the same to rounding; within an epoch,
            callbacks must leave the model as it is. Where a step cannot be captured, a warning is
            logged and training goes on without.
        memory : int or str, optional
            What the arrays of a training step may take together: bytes, or text such as "500MB"
            or "1.5GiB". Parameters, gradients, and all that the optimizer keeps count, as in
            :meth:`memory`; `x` and `y` do not. A step that would take more works in smaller
            chunks, and computes activations again that it has no room to keep: up to one forward
            more for each step. The second gives the same bits, the first the same to rounding. A
            callback that freezes other parameters, or puts other layers into the network, ends the
            limit.
        accumulate : int
            Batches for each update of the parameters, of which the last of an epoch may have
            fewer. The update is that of one batch so many times as large, for the memory of one;
            only batch normalisation sees small batches. Steps, schedules that count them,
            ``model.step`` and the batches of callbacks count updates.
        validation_freq : int or list of int
            After which epochs to validate: every so many, or those with these numbers, as
            ``model.epoch`` counts them. Others have NaN in the history, and what watches a figure
            of validation passes over them.
        verbose : {"auto", 0, 1}
            0 is silent; otherwise progress is shown.

        Returns
        -------
        History
            Of these epochs.

        Raises
        ------
        ValueError, TypeError
            If an argument, the data or the labels do not fit, or `memory` is too little for any
            step; the model is as before the call.
        NonFiniteError
            If the loss, the validation loss or a weight became NaN or infinite; the weights are
            the last good ones.
        OutOfMemoryError
            If memory ran out in a step; the model is as it was before that step.

        After any other error too, and after a Ctrl-C, the model is the one after the last whole
        step, of which all numbers belong together.
        """
        with self.on_device():
            with all_or_nothing(self):
                self._configure(optimizer, loss, metrics)
                split = None if _is_zero(validation_split) else validation_split
                if split is not None and validation_data is not None:
                    raise ValueError("fit: give validation_data or validation_split, not both")
                reading = Reading(
                    batch_size, shuffle, drop_last, steps_per_epoch, workers, "steps_per_epoch"
                )
                prepare = Preparation(
                    self, "fit", trains=True, class_weight=class_weight, mix=as_mix(mix)
                )
                training, validation = open_training(prepare, reading, x, y, sample_weight, split)
                if mix is not None:
                    training = MixedSource(training, mix, self)
                take_over(self, x)
                agree_on_names(self, validation_data, "fit: validation_data")
                if validation_data is not None:
                    reading = reading.of_validation(validation_steps, training.batch_size)
                    prepare = Preparation(self, "validation_data")
                    validation = open_validation(prepare, reading, validation_data)
                elif validation_steps is not None:
                    raise ValueError("fit: validation_steps needs validation_data to go with")
                fit = Trainer(
                    self,
                    training,
                    validation,
                    epochs=epochs,
                    callbacks=callbacks,
                    verbose=verbose,
                    capture=capture,
                    memory=memory,
                    accumulate=accumulate,
                    validation_freq=validation_freq,
                )
            try:
                return fit.run()
            finally:
                release_blas()

    def find_lr(
        self,
        x: Any,
        y: Any = None,
        *,
        start: float = 1e-7,
        end: float = 10.0,
        steps: int = 100,
        batch_size: int | None = None,
        drop_last: bool = False,
        class_weight: Any = None,
        sample_weight: Any = None,
    ) -> RateSearch:
        """Search for a learning rate: try larger and larger ones while the loss falls.

        One training step is made with each rate, and the search ends when the loss has become four
        times the least one, or is not finite (Smith, 2017, as fastai does it). The model,
        compiled as for :meth:`fit`, is then exactly as before: weights, statistics, optimizer,
        schedule and counters. Batches of an iterator are taken out of it.

        Parameters
        ----------
        x, y, batch_size, drop_last, class_weight, sample_weight
            As for :meth:`fit`.
        start, end : float
            The first and the last learning rate. The optimizer's own, and its schedule, have no
            part in it; those of groups keep their shares.
        steps : int
            How many rates to try at most, 2 at least; each is the same factor times the one before.

        Returns
        -------
        RateSearch
            With `lrs`, `losses` and a `suggestion`; ``print`` shows a table. What is suggested is
            the middle of the decade in which the loss falls most steeply; train with it, or with
            somewhat more or less. It is ``None`` where no fall stands out of the noise: try more
            `steps`, or larger batches.

        Raises
        ------
        ValueError, TypeError
            If an argument or the data do not fit.
        NonFiniteError
            If the loss of the first batch is not finite already.

        Examples
        --------
        >>> import numpy as np, xpcnn
        >>> x = np.random.default_rng(0).normal(size=(256, 3)).astype("float32")
        >>> y = (x.sum(axis=1) > 0).astype("int64")
        >>> model = xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu", seed=0)
        >>> model.compile("sgd", "cross_entropy")
        >>> found = model.find_lr(x, y)
        >>> 1e-3 < found.suggestion < 10
        True
        >>> model.step
        0
        """
        chosen = rates(start, end, steps)
        with self.on_device(), all_or_nothing(self):
            prepare = Preparation(self, "find_lr", trains=True, class_weight=class_weight)
            reading = Reading(
                batch_size, None, drop_last, len(chosen) if hasattr(x, "__next__") else None
            )
            source, _ = open_training(prepare, reading, x, y, sample_weight, None)
            try:
                return search(self, source, chosen)
            finally:
                source.close()
                release_blas()

    def train_step(self, x: Any, y: Any, *, sample_weight: Any = None) -> Array:
        """Make one step of a training loop of your own: forward, loss, backward, update.

        It is the step that :meth:`fit` makes. Each draws new masks for dropout, and moves
        schedules that count steps; :meth:`end_epoch` moves those that count epochs.

        Parameters
        ----------
        x, y
            One batch, as for :meth:`fit`.
        sample_weight : array of shape (N,) or (N, d1, ...), optional
            As for :meth:`fit`.

        Returns
        -------
        array of shape ()
            The loss, on the model's device; nothing waits for it there.

        Raises
        ------
        NonFiniteError
            If the loss, where it can be read without waiting, is NaN or infinite.
        ValueError, TypeError, OutOfMemoryError
            As for :meth:`fit`. After any error the model is as before the step.

        Examples
        --------
        >>> import numpy as np, xpcnn
        >>> from xpcnn.data import batches
        >>> x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
        >>> y = (x.sum(axis=1) > 0).astype("int64")
        >>> model = xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu", seed=0)
        >>> model.compile("adam", "cross_entropy")
        >>> for epoch in range(2):
        ...     for rows in batches(len(x), 32, seed=0, epoch=epoch):
        ...         loss = model.train_step(x[rows], y[rows])
        ...     model.end_epoch({"loss": float(loss)})
        >>> model.step, model.epoch, model.optimizer.iterations
        (4, 2, 4)
        """
        with self.on_device():
            step = train_step(self, *self._one_batch(x, y, sample_weight, "train_step"))
            self._check_outcome(step)
            return step.outcome.loss

    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """Make one training step and return loss and metrics of this batch.

        Raises
        ------
        NonFiniteError
            If loss or weights are NaN or infinite; the model is as before the step then.
        """
        with self.on_device():
            step = train_step(self, *self._one_batch(x, y, sample_weight, "train_on_batch"))
            self._check_outcome(step)
            try:
                running = RunningLoss()
                running.add(step.outcome.parts)
                logs = loss_figures(self, running)
                if running.first_not_finite is not None:
                    stop(self, None, self.epoch + 1, 1, "loss")
                if not self.is_moderate() and not (
                    Snapshot(self).is_finite() and loss_is_finite(self, step.batch)
                ):
                    stop(self, None, self.epoch + 1, 1, "weights")
                with counting(self) as counted:
                    for metric in counted:
                        metric.update(step.outcome.prediction, step.batch.labels)
                    return logs | figures(counted)
            except BaseException:
                step.before.restore()
                raise

    def _one_batch(
        self, x: Any, y: Any, sample_weight: Any, who: str
    ) -> tuple[int, Callable[[], Batch]]:
        """Return the size of a batch, and what brings it to the device."""
        with self.unbuilt_if_it_fails():
            data = Preparation(self, who, trains=True).batch(x, y, sample_weight)
            samples = self._samples(data)
        return data.size, partial(samples.batch, slice(None))

    def _check_outcome(self, step: Step) -> None:
        """Raise if the step was taken back, because its numbers are not finite."""
        if step.outcome.not_finite is not None:
            stop(self, None, self.epoch + 1, 1, step.outcome.not_finite, step.batch.inputs)

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int | None = None,
        sample_weight: Any = None,
        steps: int | None = None,
        workers: int = 0,
    ) -> dict[str, float]:
        """Return loss and metrics without training.

        Parameters
        ----------
        x, y
            As for :meth:`fit`.
        batch_size : int, optional
            Does not show in the result; 256 if left out.
        sample_weight : array of shape (N,) or (N, d1, ...), optional
            As for :meth:`fit`; metrics count each sample once.
        steps : int, optional
            How many batches to take; all if left out.
        workers : int
            As for :meth:`fit`.

        Examples
        --------
        ``model.evaluate(x_test, y_test)["accuracy"]``
        """
        with self.on_device(), self.unbuilt_if_it_fails():
            agree_on_names(self, x, "evaluate: x")
            reading = Reading(batch_size, steps=steps, workers=workers, usual_size=256)
            prepare = Preparation(self, "evaluate")
            source = open_source(prepare, reading, x, y, sample_weight)
            try:
                return evaluate(self, source)[0]
            finally:
                source.close()
                release_blas()

    def predict(
        self,
        *x: Any,
        batch_size: int | None = None,
        steps: int | None = None,
        workers: int = 0,
        **named: Any,
    ) -> Any:
        """Return the network's outputs as a NumPy array, computed batch by batch.

        Where there are several inputs they come in order, by name, or all in one tuple or dict;
        where there are several outputs, a tuple of arrays is returned. A graph whose inputs differ
        in their first axis gets them whole, and one that works for one number of samples gets so
        many at a time, whatever `batch_size` (256 if left out) says. Inputs may
        also come in batches or as a data set, as for :meth:`fit`, whose labels do not matter.
        `steps` says how many batches to take, and a data set is read by `workers`.
        """
        plain = not named and steps is None and workers == 0
        known = self._recorded(x, batch_size) if plain else None
        if known is not None:
            return known
        with self.on_device(), self.unbuilt_if_it_fails():
            reading = Reading(batch_size, steps=steps, workers=workers, usual_size=256)
            return self._in_batches(self._inputs(x, named, reading, "predict"), self.forward_batch)

    def outputs_of(
        self,
        names: str | Sequence[str],
        *x: Any,
        batch_size: int | None = None,
        steps: int | None = None,
        workers: int = 0,
        **named: Any,
    ) -> Any:
        """Return what layers inside the network give, as NumPy arrays, without training.

        The layers run one by one, also those that :meth:`predict` computes together, so that
        a convolution's output is its own even where ReLU and pooling follow.

        Parameters
        ----------
        names : str or sequence of str
            Dotted names as in :meth:`summary` and :meth:`state_dict`: "0" or "features.3" of a
            chain of layers, a node of a graph; a name of layers inside one another stands for
            what the outermost gives. Shell patterns such as ``"features.*"`` pick several.
        *x, **named
            Inputs as :meth:`predict` takes them.
        batch_size : int, optional
            Samples that run at a time; 256 if left out.
        steps, workers : int
            As for :meth:`predict`.

        Returns
        -------
        numpy.ndarray, or dict of str to numpy.ndarray
            The array of one name; a dict of names for a list or a pattern. Where a layer has
            several outputs, or runs several times for one input, it is a tuple of arrays. A layer
            that several nodes of a graph share has the name of each node, for its use there.

        Raises
        ------
        ValueError
            If there is no such layer; the message lists near names, and all.
        TypeError
            If a name is no text.

        Examples
        --------
        >>> import numpy as np, xpcnn
        >>> layers = [xpcnn.Conv2d(1, 4, 3), xpcnn.ReLU(), xpcnn.MaxPool2d(2)]
        >>> model = xpcnn.Model(layers, device="cpu", seed=0)
        >>> x = np.ones((2, 1, 8, 8), "float32")
        >>> model.outputs_of("0", x).shape
        (2, 4, 6, 6)
        >>> {name: y.shape for name, y in model.outputs_of(["1", "2"], x).items()}
        {'1': (2, 4, 6, 6), '2': (2, 4, 3, 3)}
        """
        who = "Model.outputs_of"
        looking = LayerOutputs(self, find_layers(self.network, names, who))
        with self.on_device(), self.unbuilt_if_it_fails():
            reading = Reading(batch_size, steps=steps, workers=workers, usual_size=256)
            source = self._inputs(x, named, reading, who)
            found = looking.by_name(self._in_batches(source, looking.run))
        return found[str(names)] if is_one_name(self.network, names) else found

    def _in_batches(
        self, source: Source | tuple[Array, ...], run: Callable[[Sequence[Array]], Any]
    ) -> Any:
        """Return what a function gives for the inputs on the device, on the host and together."""
        if not isinstance(source, Source):
            dtypes = self.input_dtypes()
            try:
                with MemoryGuard(self, "a prediction", *source[0].shape[:1] or (1,)):
                    y = run(list(map(self.device.asarray, source, dtypes)))
                    return map_arrays(y, _xp.to_numpy)
            finally:
                release_blas()
        found = []
        try:
            with MemoryGuard(self, "a prediction", source.batch_size):
                for turn in source.epoch(0):
                    y = run(turn.load().inputs)
                    found.append(map_arrays(y, _xp.to_numpy))
                    del turn  # or its batch would stay while the next one is read
        finally:
            source.close()
            release_blas()
        if len(found) == 1:
            return found[0]
        if isinstance(found[0], tuple):
            return tuple(map(np.concatenate, zip(*found, strict=True)))
        return np.concatenate(found)

    def _inputs(
        self, x: tuple[Any, ...], named: Mapping[str, Any], reading: Reading, who: str
    ) -> Source | tuple[Array, ...]:
        """Return what to predict, in batches; or arrays that the network gets whole."""
        reading.check(who)
        source = open_inputs(self, reading, x[0], who) if len(x) == 1 and not named else None
        if source is not None:
            return source
        given, whole = self._arrange(x, named, who), isinstance(self.network, Graph)
        inputs = self.check_inputs(given, who, whole=whole)
        if len({tuple(x.shape[:1]) for x in inputs}) > 1 or inputs[0].shape[:1] in ((), (0,)):
            return inputs
        reading.without_workers(who, "an array")
        count = int(inputs[0].shape[0])
        if self.batch is not None:
            reading.batch_size = self.batch
            if count % self.batch:
                raise ValueError(
                    f"{who}: the network works for {self.batch} samples at a time, as its "
                    f"file says, got {count}; give a multiple of {self.batch}"
                )
        order = reading.order(count, self.seed, who)
        if count <= order.batch_size:
            return inputs
        return self._samples(Batch(inputs, None, None), order)

    def compile_for(self, input_shape: Sequence[int]) -> CompiledPrediction:
        """Record the prediction for inputs of one shape ahead, so that the first is fast already.

        With compiled kernels, :meth:`predict` records what it launches when small inputs (up to
        4 MiB) of one shape come for the third time, and from then on repeats it without going
        through the layers. Here that is done at once, and for inputs of any size. The outputs are
        the same bits. A recording is dropped when a parameter, a setting of a layer or of the
        kernels has changed, as by training; then ask again, or let :meth:`predict` do it.

        Those of the last four shapes are kept, :meth:`predict`'s own included. Each holds the
        memory that one prediction works in, as long as the model or until other shapes come.

        Parameters
        ----------
        input_shape : sequence of int
            Batch axis included, as of the arrays that will come: at most `batch_size` of
            :meth:`predict` samples. Larger arrays are predicted in batches of that many, each of
            which is an input of its own.

        Returns
        -------
        CompiledPrediction
            True if the prediction was recorded. Its `memory` is what is held, in bytes, and its
            `reasons` say which layer stands in the way, and why.

        Raises
        ------
        ValueError
            If the network does not take inputs of that shape.

        Examples
        --------
        >>> import numpy as np, xpcnn
        >>> model = xpcnn.Model([xpcnn.Linear(20, 3), xpcnn.Softmax()], device="cpu", seed=0)
        >>> found = model.compile_for((1, 20))
        >>> model.predict(np.zeros((1, 20), np.float32)).shape
        (1, 3)
        """
        shape = tuple([as_int(n, "Model.compile_for", "input_shape", 1) for n in input_shape])
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            why = f"{len(self.inputs)} inputs and {len(self.outputs)} outputs, not one of each"
        elif not _xp.is_numpy(self.device.xp):
            why = f"the model is on {self.device.name}; compiled kernels take NumPy arrays"
        elif self.input_dtypes() != ("float32",) or self.compute_dtype != "float32":
            why = f"{self.input_dtypes()[0]} inputs, computed in {self.compute_dtype}"
        else:
            self.predict(np.zeros(shape, np.float32), batch_size=shape[0])  # checks, and builds
            with self.on_device():
                return record_prediction(self.program, shape)
        return CompiledPrediction(shape, 0, (why,))

    def _recorded(self, x: tuple[Any, ...], batch_size: Any) -> np.ndarray | None:
        """Return what is predicted for an array like the last ones, without looking at it again."""
        batch_size = 256 if batch_size is None else batch_size
        if len(x) != 1 or not self._has_program() or type(batch_size) is not int:
            return None
        if not isinstance(x[0], np.ndarray) or not 0 < len(x[0]) <= batch_size:
            return None
        return self.program.infer.again(x[0])

    def _samples(self, data: Batch, order: Order | None = None) -> Samples:
        return Samples(data, self.device, self.input_dtypes(), self.dtype, order)

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
        if input_shape is not None and self._program is None:
            self.build(input_shape)
        given = self.input_shape if input_shape is None else input_shape
        batch = as_int(batch_size, "Model.summary", "batch_size", 1)
        shapes = [
            (batch, *(n or 1 for n in shape[1:]))
            for shape in data_adapter.one_each(given, self.inputs, "Model.summary", "input")
        ]
        text = summarize(self.network, shapes, self.dtype, self.precision)
        print(text)
        return Summary(text)

    def memory(self, batch_size: int = 32) -> MemoryUse:
        """Say what a training step of :meth:`fit` takes, by what four samples leave in memory.

        They are run forward, so do not ask between a forward of your own and its backward.

        Parameters
        ----------
        batch_size : int

        Returns
        -------
        MemoryUse
            Bytes of activations for each step of the network, of parameters, gradients and
            optimizer, and the most at one time; ``print`` shows a table. The most is an upper
            bound rather than a mean: what is measured is 0.6 to 1 times that. Memory that compiled
            kernels keep to use it again is not in it, unless ``fit(memory=...)`` limits it.

        Raises
        ------
        RuntimeError
            If the model is not built, or has no optimizer.

        Examples
        --------
        >>> import xpcnn
        >>> model = xpcnn.Model([xpcnn.Linear(1000, 10)], device="cpu", seed=0)
        >>> model.build((None, 1000))
        (1, 10)
        >>> model.compile("sgd", "cross_entropy")
        >>> model.memory(batch_size=100).parameters
        40040
        """
        size = as_int(batch_size, "Model.memory", "batch_size", 1)
        if self.input_shape is None or self.optimizer is None:
            missing = "built" if self.input_shape is None else "compiled"
            raise RuntimeError(
                f"the model is not {missing} yet, which decides about memory; call model.build "
                "and model.compile first"
            )
        with self.on_device():
            count = self.batch or PROBED
            shapes = data_adapter.one_each(self.input_shape, self.inputs, "Model.memory", "input")
            inputs = [
                self.device.zeros((count, *(n or 1 for n in shape[1:])), dtype)
                for shape, dtype in zip(shapes, self.input_dtypes(), strict=True)
            ]
            return StepMemory(self, inputs).use(size)

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
        if not self.network.is_built or self.input_shape is None:
            raise RuntimeError("the model is not built yet; train it or call model.build first")
        check_target(path)
        saving.write_file(path, *saving.describe(self))

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


def _is_zero(split: Any) -> bool:
    return isinstance(split, (int, float)) and not isinstance(split, bool) and split == 0
