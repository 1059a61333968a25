"""Batches whose samples are mixed with each other, and their labels too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import sqrt
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp, rng
from xpcnn._registry import Checked
from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.losses.classification import mask_of_classes
from xpcnn.losses.loss import Loss
from xpcnn.training.dataset import Batch, Source, Turn
from xpcnn.training.state import TrainingState
from xpcnn.window import as_int, as_number


class Mix(Checked):
    """Mixes each sample of a batch with the one before it, the first with the last.

    Parameters
    ----------
    alpha : float
        The share of a batch's own samples is drawn from a beta distribution with both parameters
        `alpha`: small ones leave most batches almost alone, 1 makes all shares as likely.

    Raises
    ------
    ValueError
        If `alpha` is not positive.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = as_number(alpha, type(self).__name__, "alpha")
        if self.alpha <= 0.0:
            raise ValueError(f"{type(self).__name__}: alpha must be positive, got {alpha!r}")

    def draw(self, generator: np.random.Generator, shapes: Sequence[Shape]) -> tuple[float, Any]:
        """Draw the share that samples keep, and what else :meth:`input` must know."""
        return float(generator.beta(self.alpha, self.alpha)), None

    def input(self, xp: ModuleType, x: Array, share: float, box: Any) -> Array:
        """Mix an input of the network."""
        raise NotImplementedError(f"{type(self).__name__} does not implement input")

    def check(self, loss: Loss, data: Batch, output_shapes: Sequence[Shape], who: str) -> None:
        """Raise unless samples and labels can be mixed.

        Parameters
        ----------
        data : Batch
            All samples that there are, or a batch; on the host.
        output_shapes : sequence of tuple of int
            Of the outputs of the network.
        """
        name = type(self).__name__
        if data.weights is not None:
            raise no_weights_error(who, self)
        for x in data.inputs:
            if not (_xp.is_floating(x) or _xp.dtype_name(x) == "uint8"):
                raise ValueError(
                    f"{who}: {name} mixes numbers, and an input has dtype {_xp.dtype_name(x)}, "
                    "whose mixtures mean nothing; leave out mix"
                )
            self._check_input(tuple(x.shape), who)
        labels = data.labels if isinstance(data.labels, tuple) else (data.labels,)
        for position, (own, shape) in enumerate(zip(labels, output_shapes, strict=False)):
            self._check_labels(loss.of_output(position), own, shape, who)

    def _check_input(self, shape: Shape, who: str) -> None:
        """Raise unless an input of a shape can be mixed."""

    def _check_labels(self, loss: Loss, labels: Any, shape: Shape, who: str) -> None:
        kind = type(loss).__name__
        if labels is None or not loss.takes_shares:
            raise ValueError(
                f"{who}: mix={self!r} makes shares of labels, such as 0.7 of one class and 0.3 of "
                f"another, which {kind} does not take; use CrossEntropyLoss or BCEWithLogitsLoss, "
                "or leave out mix"
            )
        ignored = loss.ignore_index
        if ignored is None or labels.ndim == len(shape):
            return
        if ignored >= 0 or bool((labels == ignored).any()):
            raise ValueError(
                f"{who}: mix={self!r} cannot mix labels that {kind} ignores, with "
                f"ignore_index={ignored}; leave out those samples, or mix"
            )

    def batch(
        self, data: Batch, output_shapes: Sequence[Shape], generator: np.random.Generator
    ) -> Batch:
        """Return a batch with mixed samples, and with shares of classes as labels."""
        xp, shapes = _xp.namespace(*data.inputs), [tuple(x.shape) for x in data.inputs]
        share, box = self.draw(generator, shapes)
        dtype = data.inputs[0].dtype

        def shares(labels: Array, shape: Shape) -> Array:
            if labels.ndim < len(shape):
                labels = mask_of_classes(xp, labels, shape[1])
            return _blend(xp, xp.astype(labels, dtype), share)

        inputs = tuple(self.input(xp, x, share, box) for x in data.inputs)
        if isinstance(data.labels, tuple):
            return Batch(inputs, tuple(map(shares, data.labels, output_shapes)), None)
        return Batch(inputs, shares(data.labels, output_shapes[0]), None)

    def __call__(
        self, x: Array, y: Array, *, classes: int | None = None, seed: int = 0, step: int = 0
    ) -> tuple[Array, Array]:
        """Mix a batch, in a training loop of your own.

        Parameters
        ----------
        x : array of shape (N, ...)
            Floats.
        y : array
            Labels of shape (N,), or targets of floats.
        classes : int, optional
            How many there are, where `y` holds labels.
        seed, step : int
            What is drawn follows from these two; count the steps.

        Returns
        -------
        (x, y)
            Arrays of the library of `x`; labels have become shares, of shape (N, classes).
        """
        who = type(self).__name__
        _xp.namespace(x, y, who=who)
        shape: Shape = tuple(y.shape)
        if not _xp.is_floating(y):
            if classes is None:
                raise ValueError(f"{who}: give classes=, how many there are, to mix labels")
            shape = (shape[0], as_int(classes, who, "classes", 2), *shape[1:])
        if not _xp.is_floating(x) or x.shape[:1] != y.shape[:1]:
            raise ValueError(
                f"{who}: expected floats x and as many targets y, got {_xp.describe(x)} and "
                f"{_xp.describe(y)}"
            )
        self._check_input(tuple(x.shape), who)
        seed, step = as_int(seed, who, "seed", 0), as_int(step, who, "step", 0)
        mixed = self.batch(Batch((x,), y, None), [shape], _generator(seed, 0, step))
        return mixed.inputs[0], mixed.labels


class MixUp(Mix):
    """Mixes whole samples: ``share * x + (1 - share) * neighbour`` (Zhang et al., 2018).

    For ``fit(mix=MixUp(0.2))``. Labels are mixed by the same share, and become shares of classes.

    Parameters
    ----------
    alpha : float
        The share of a batch's own samples is drawn from a beta distribution with both parameters
        `alpha`: small ones leave most batches almost alone, 1 makes all shares as likely.

    Raises
    ------
    ValueError
        If `alpha` is not positive.

    Notes
    -----
    One share is drawn for each batch, and each sample is mixed with the one before it, the first
    with the last, as by ``torchvision.transforms.v2.MixUp``. Validation is never mixed. Metrics of
    training take the class with the largest share for the right one. Mixing comes before all layers
    of the network, those for augmentation too.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x, y = np.array([[0.0], [1.0]]), np.array([0, 1])
    >>> mixed, shares = xpcnn.MixUp()(x, y, classes=2, seed=1)
    >>> bool(np.allclose(mixed[:, 0], shares[:, 1]))
    True
    """

    def input(self, xp: ModuleType, x: Array, share: float, box: Any) -> Array:
        """Mix an input of the network."""
        return _blend(xp, x, share)


class CutMix(Mix):
    """Puts a rectangle of the neighbour into each image (Yun et al., 2019).

    For ``fit(mix=CutMix())``. Labels become shares of classes, by the area that each image has.

    Parameters
    ----------
    alpha : float
        The share of a batch's own images is drawn from a beta distribution with both parameters
        `alpha`: small ones leave most batches almost alone, 1 makes all shares as likely.

    Raises
    ------
    ValueError
        If `alpha` is not positive.

    Notes
    -----
    One rectangle is drawn for each batch: its sides are ``sqrt(1 - share)`` of the image's, and its
    middle lies anywhere, so that a part may lie outside; labels count what lies inside. Each image
    gets it from the one before it, the first from the last, as by
    ``torchvision.transforms.v2.CutMix``. Validation is never mixed. Metrics of training take the
    class with the largest share for the right one. Mixing comes before all layers of the network,
    those for augmentation too.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x, y = np.zeros((2, 1, 8, 8)) + np.array([0.0, 1.0]).reshape(2, 1, 1, 1), np.array([0, 1])
    >>> mixed, shares = xpcnn.CutMix()(x, y, classes=2, seed=1)
    >>> bool(np.allclose(mixed.mean(axis=(1, 2, 3)), shares[:, 1]))
    True
    """

    def draw(self, generator: np.random.Generator, shapes: Sequence[Shape]) -> tuple[float, Any]:
        """Draw a rectangle, and return the share outside of it, and where it begins and ends."""
        drawn, _ = super().draw(generator, shapes)
        height, width = shapes[0][2:]
        reach = 0.5 * sqrt(1.0 - drawn)
        parts: list[tuple[int, int]] = []
        for n in (width, height):
            middle, half = int(generator.integers(0, n)), int(reach * n)
            parts.insert(0, (max(middle - half, 0), min(middle + half, n)))
        (top, bottom), (left, right) = parts
        return 1.0 - (bottom - top) * (right - left) / (height * width), parts

    def input(self, xp: ModuleType, x: Array, share: float, box: Any) -> Array:
        """Mix an input of the network."""
        (top, bottom), (left, right) = box
        inside = np.zeros((1, 1, *x.shape[2:]), dtype=bool)
        inside[:, :, top:bottom, left:right] = True
        inside = xp.asarray(inside, device=_xp.device_of(x))
        return xp.where(inside, xp.roll(x, 1, axis=0), x)

    def check(self, loss: Loss, data: Batch, output_shapes: Sequence[Shape], who: str) -> None:
        """Raise unless samples are images of one size, and labels those of whole images."""
        super().check(loss, data, output_shapes, who)
        sizes = {tuple(x.shape[2:]) for x in data.inputs}
        if len(sizes) > 1:
            raise ValueError(
                f"{who}: CutMix cuts one rectangle out of all inputs, which must have one size; "
                f"got {sorted(sizes)}; use MixUp, or leave out mix"
            )

    def _check_input(self, shape: Shape, who: str) -> None:
        if len(shape) != 4:
            raise ValueError(
                f"{who}: CutMix needs images (N, C, H, W), got an input of shape {shape}; use "
                "MixUp, or leave out mix"
            )

    def _check_labels(self, loss: Loss, labels: Any, shape: Shape, who: str) -> None:
        super()._check_labels(loss, labels, shape, who)
        if len(shape) > 2:
            raise ValueError(
                f"{who}: CutMix needs one label for each image, and the network gives an output of "
                f"shape {tuple(shape)}, for each pixel; use MixUp, or leave out mix"
            )


def _blend(xp: ModuleType, x: Array, share: float) -> Array:
    """Mix each sample with the one before it."""
    return x * share + xp.roll(x, 1, axis=0) * (1.0 - share)


def _generator(seed: int, epoch: int, batch: int) -> np.random.Generator:
    return rng.generator(seed, f"mix in epoch {epoch}", batch)


class MixedSource(Source):
    """Batches of another source, mixed as they come to the device.

    What is drawn follows from the seed of the model, the epoch, and the number of the batch.
    """

    def __init__(self, source: Source, mix: Mix, model: TrainingState) -> None:
        self._source, self._mix, self._model = source, mix, model
        self.batches, self.batch_size = source.batches, source.batch_size
        self.last_size, self.can_repeat = source.last_size, source.can_repeat

    def epoch(self, number: int, *, ahead: bool = True) -> Iterator[Turn]:
        """Yield the batches of an epoch, counted from 0."""
        for batch, turn in enumerate(self._source.epoch(number, ahead=ahead)):
            load = partial(self._mixed, turn.load, number, batch)
            again = partial(self._mixed, turn.again, number, batch)
            yield Turn(turn.size, load, again)

    def _mixed(self, load: Callable[[], Batch], epoch: int, number: int) -> Batch:
        model, data = self._model, load()
        shapes = model.output_shapes_for([tuple(x.shape) for x in data.inputs])
        return self._mix.batch(data, shapes, _generator(model.seed, epoch, number))

    def some(self, count: int) -> tuple[Array, ...]:
        """Return the inputs of a few samples."""
        return self._source.some(count)

    def close(self) -> None:
        """End what brings batches ahead of their use, if there is something."""
        self._source.close()


def no_weights_error(who: str, mix: Mix) -> ValueError:
    """Say that mixed samples cannot have weights."""
    return ValueError(
        f"{who}: mix={mix!r} mixes samples, which then have no weight of their own; leave out mix, "
        "or sample_weight and class_weight"
    )


def as_mix(mix: Any) -> Mix | None:
    """Return how to mix, if it is known."""
    if mix is not None and not isinstance(mix, Mix):
        raise TypeError(f"fit: mix must be MixUp(...) or CutMix(...), got {mix!r}")
    return mix
