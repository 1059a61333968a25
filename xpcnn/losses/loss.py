"""The base class of all losses: reduction, sample weights and their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._registry import Checked
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.errors import cast_hint, check_choice, dtype_error
from xpcnn.kernels.dispatch import Saved
from xpcnn.losses.running import LossPart
from xpcnn.window import as_number

Reads = Literal["logits", "probabilities", "log_probabilities", "values", "log_values", "distances"]
REDUCTIONS = ("mean", "sum", "none")
# What PyTorch keeps some divisors from falling below: 1e-12 rounded to float32.
EPSILON = 9.999999960041972e-13
Terms = tuple[Array, Array | int, Any]
"""The terms of a loss, what their sum is divided by for the mean, and notes for the gradient."""


class Loss(Checked):
    """Measures how far predictions lie from targets.

    A subclass implements :meth:`_terms` and :meth:`_gradient`, and may override
    :meth:`_operation`, :meth:`_factors`, :meth:`_check_fit`, :meth:`_check_values` and
    :meth:`prepare_target`.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
        What becomes of the terms: their mean, their sum, or no reduction.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> class FourthPower(xpcnn.Loss):
    ...     def _terms(self, xp, prediction, target):
    ...         difference = prediction - target
    ...         return difference**4, len(prediction), difference
    ...     def _gradient(self, xp, saved, scale):
    ...         return scale * 4 * saved**3
    >>> loss = FourthPower()
    >>> float(loss(np.array([3.0, 1.0]), np.array([1.0, 1.0])))  # (2^4 + 0) / 2
    8.0
    >>> loss.backward().tolist()  # 4 * 2^3 / 2
    [16.0, 0.0]
    """

    reductions: ClassVar[tuple[str, ...]] = REDUCTIONS

    predictions: int = 1
    """How many outputs of a network the loss takes."""

    takes_target: bool = True
    """Whether there are targets; a model is trained with ``fit(x, None)`` where there are none."""

    reads: Reads | None = None
    """What predictions are: scores of any size, probabilities, their logarithms, numbers such as
    prices, the logarithms of such, or distances and vectors between which they lie. ``None`` where
    that is not known. Metrics ask for it."""

    answers: Literal["classes", "columns", "lists"] | None = None
    """How metrics read several columns (axis 1): "classes", of which one is right, or "columns" of
    independent yes/no answers; "lists" if targets are lists of classes, which no metric reads.
    ``None`` where the targets alone can tell."""

    takes_shares: ClassVar[bool] = False
    """Whether targets may be mixtures of two samples': shares of classes, or numbers in between."""

    ignore_index: int | None = None
    """Label of places that do not count, where there is such a label."""

    higher_is_better: ClassVar[bool] = False

    _sample_axes: ClassVar[int | None] = None
    """Axes of a single prediction without a batch axis, where that can be told from a batch."""

    _has_kernel: ClassVar[bool] = False
    """Whether a kernel may take the place of :meth:`_terms`; not of that of a subclass."""

    _parts: tuple[Array, tuple[LossPart, ...]] | None = None
    _alone = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if "_operation" in own or "_by_kernel" in own:
            cls._has_kernel = True
        elif "_terms" in own or "_gradient" in own:
            cls._has_kernel = False

    def __init__(self, reduction: str = "mean") -> None:
        check_choice(type(self).__name__, "reduction", reduction, self.reductions)
        self.reduction = reduction
        self._saved: tuple[Array, Any, Array | float] | None = None

    # -- What a subclass implements ------------------------------------------------------------

    def _terms(self, xp: ModuleType, prediction: Array, target: Array) -> Terms:
        """Return the terms, what their sum is divided by for the mean, and notes for `_gradient`.

        The first axis of the terms is the batch.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement _terms")

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        """Return the derivative of ``sum(scale * terms)`` with respect to the prediction.

        `scale` is a number, or an array that broadcasts against the terms.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement _gradient")

    def _operation(self) -> tuple[Any, ...] | None:
        """Name what kernel sets may have of the loss in one go, and its settings, if anything."""
        return None

    def _factors(self, prediction: Array) -> Array | None:
        """Return by what the terms are to be multiplied, if there is anything."""
        return None

    def terms_shape(self, output_shape: Sequence[Any]) -> tuple[int, ...]:
        """Return the shape of the terms for predictions of a shape, as far as it is known.

        That is what weights are checked against before training: a class that says nothing takes
        one for each sample.
        """
        return tuple(output_shape[:1])

    def _check_fit(self, xp: ModuleType, prediction: Array, target: Array) -> None:
        """Raise if prediction and target do not belong together; see also :meth:`_check`."""

    def _check_values(self, target: np.ndarray) -> None:
        """Raise if prepared targets hold numbers that the loss has no use for."""

    # -- Running -------------------------------------------------------------------------------

    def forward(
        self, prediction: Array, target: Array, *, sample_weight: Array | None = None
    ) -> Array:
        """Compute the loss.

        Parameters
        ----------
        prediction : array (N, ...)
            Floats; not changed. Losses of single numbers also take one number, of shape (); those
            of classes and of vectors one sample without a batch axis, (C,).
        target : array
            On the same device; see the class for its shape.
        sample_weight : array (N,) or (N, d1, ...), optional
            Multiplies the terms of each sample, or single terms: it has as many of the axes of the
            terms, from the left, as are given. The mean still divides by the number of terms (or by
            the sum of the class weights of the targets), not by the sum of these.

        Returns
        -------
        array
            0-dimensional, or the terms themselves with ``reduction="none"``.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        TypeError
            If the prediction is not an array of floats, or the arrays are of different libraries.
        """
        alone = False
        if self._sample_axes is not None:
            first = prediction[0] if isinstance(prediction, (tuple, list)) else prediction
            alone = self._sample_axes == np.ndim(first)
        if alone:
            prediction, target = (_with_batch_axis(x) for x in (prediction, target))
        if alone != self._alone:
            self._alone = alone
        xp = self._check(prediction, target, sample_weight)
        self._check_fit(xp, prediction, target)
        factors = self._factors(prediction)
        whole = self.reduction != "none" and sample_weight is None and factors is None
        found = self._by_kernel(xp, prediction, target, whole) if self._has_kernel else None
        is_sum = whole and found is not None
        terms, count, notes = found or self._terms(xp, prediction, target)
        scale: Array | float = 1.0
        if sample_weight is not None:
            scale = spread_over(xp, sample_weight, terms, type(self).__name__)
            terms = terms * scale
        if factors is not None:
            scale, terms = scale * factors, terms * factors
        if self.reduction not in ("sum", "none"):
            if isinstance(count, int):
                scale = scale * (1.0 / max(count, 1))
            else:
                # Where every target is ignored the terms are zeros, and so shall the gradient be.
                least = float(xp.finfo(count.dtype).smallest_normal)
                scale = scale * (1.0 / xp.where(count == 0.0, least, count))
        self._saved = (terms, notes, scale)
        if self.reduction == "none":
            return xp.reshape(terms, ()) if self._alone else terms
        total = value = terms if is_sum else xp.sum(terms, dtype=terms.dtype)
        if self.reduction == "sum":
            self._parts = (value, (LossPart(total, None),))
            return value
        # NaN, as in PyTorch, where there is no term, or every target is ignored
        if isinstance(count, int):
            value = total / count if count else total * math.nan
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                value = total / count
        self._parts = (value, (LossPart(total, count),))
        return value

    def _by_kernel(
        self, xp: ModuleType, prediction: Any, target: Array, whole: bool
    ) -> Terms | None:
        """Return what :meth:`_terms` does, by a kernel that has the loss in one go, or nothing.

        Parameters
        ----------
        whole : bool
            Whether to return the sum of the terms in their place.
        """
        operation = self._operation()
        if operation is None:
            return None
        name, *settings = operation
        target = xp.astype(target, prediction.dtype, copy=False)
        found = F.run_if_any(name, prediction, target, *settings, whole=whole)
        return None if found is None else (found[0], math.prod(prediction.shape), found[1])

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run :meth:`forward`, that of a subclass too."""
        return self.forward(*inputs, **options)

    def parts(self, value: Array, samples: int) -> tuple[LossPart, ...]:
        """Return what the last batch adds to the loss of a data set.

        Parameters
        ----------
        value : array
            What :meth:`forward` returned. A class with a :meth:`forward` of its own that does not
            return what this class computed is taken to return the mean of a batch (with
            ``reduction="sum"`` its sum).
        samples : int
            Size of the batch.
        """
        if self._parts is not None and self._parts[0] is value:
            return self._parts[1]
        if self.reduction == "sum":
            return (LossPart(value, None),)
        return (LossPart(value * samples, samples),)

    def of_output(self, position: int) -> Loss:
        """Return the loss of one output of the network: this one, unless each has its own."""
        return self

    def backward(self, dy: Array | None = None) -> Array:
        """Compute the gradient with respect to the prediction of the last forward.

        Parameters
        ----------
        dy : array, optional
            Gradient with respect to the loss, of its shape; 1 (or ones) without it.

        Raises
        ------
        RuntimeError
            If there was no forward.
        """
        if self._saved is None:
            raise RuntimeError(f"{type(self).__name__}: backward needs a forward before it")
        terms, notes, scale = self._saved
        if dy is not None:
            none = self.reduction == "none" and not self._alone
            expected = tuple(terms.shape) if none else ()
            if tuple(dy.shape) != expected:
                raise ValueError(
                    f"{type(self).__name__}: backward expects a gradient of the loss's shape "
                    f"{expected}, got {tuple(dy.shape)}"
                )
            scale = dy * scale
        xp = _xp.namespace(terms)
        if isinstance(notes, Saved):
            gradient = notes.backward(xp, scale, notes.state)
        else:
            gradient = self._gradient(xp, notes, scale)
        return _without_batch_axis(gradient) if self._alone else gradient

    def _check(self, prediction: Array, target: Array, sample_weight: Array | None) -> ModuleType:
        who = type(self).__name__
        xp = _xp.namespace(prediction, target, sample_weight, who=who)
        if not _xp.is_floating(prediction):
            got = _xp.dtype_name(prediction)
            raise dtype_error(who, "float32 (or another float)", got, cast_hint("float32", got))
        for other in (target, sample_weight):
            if other is not None and not _xp.same_device(prediction, other):
                raise TypeError(
                    f"{who}: the prediction lies on {_xp.device_of(prediction)}, but there is "
                    f"{_xp.describe(other)}; move one of them"
                )
        if target is not None and tuple(target.shape[:1]) != tuple(prediction.shape[:1]):
            count = f"{prediction.shape[0]} predictions" if prediction.ndim else "one prediction"
            raise ValueError(f"{who}: {count}, but targets of shape {tuple(target.shape)}")
        if sample_weight is not None and not prediction.ndim:
            raise ValueError(f"{who}: sample_weight needs predictions with a batch axis, (N, ...)")
        if sample_weight is not None and sample_weight.shape[:1] != prediction.shape[:1]:
            raise _weights_error(who, tuple(sample_weight.shape), tuple(prediction.shape[:1]))
        return xp

    # -- Targets -------------------------------------------------------------------------------

    def prepare_target(
        self, output_shape: Sequence[int], target: np.ndarray, dtype: str
    ) -> np.ndarray:
        """Check targets on the host, once, and bring them to the dtype :meth:`forward` wants.

        Parameters
        ----------
        output_shape : sequence of int
            Shape of the network's output; its batch axis does not matter.
        target : numpy.ndarray
        dtype : str
            The network's dtype.

        Returns
        -------
        numpy.ndarray
            To be indexed by batch and moved to the device.

        Raises
        ------
        ValueError
            If shape or values do not fit; the message says how to change them.
        TypeError
            If the dtype does not fit.
        """
        who = type(self).__name__
        target = np.asarray(target)
        check_numeric(who, target)
        check_same_shape(who, tuple(output_shape), target.shape, target.dtype.kind in "iub")
        check_finite(who, target)
        target = target.astype(dtype, copy=False)
        self._check_values(target)
        return target

    def check_something_counts(self, target: Any) -> None:
        """Raise if nothing counts of all the targets there are, which were prepared.

        One batch of many may well be such: it adds nothing.
        """

    def _number(self, name: str, value: float, above: float = -math.inf) -> float:
        """Return a setting as a float if it is finite and above a limit."""
        value = as_number(value, type(self).__name__, name, finite=False)
        if not above < value < math.inf:
            limit = "" if above == -math.inf else f" above {above:g}"
            raise ValueError(
                f"{type(self).__name__}: {name} must be a finite number{limit}, got {value!r}"
            )
        return float(value)


class SameShapeLoss(Loss):
    """A loss that compares targets and predictions of one shape, element by element."""

    def terms_shape(self, output_shape: Sequence[Any]) -> tuple[int, ...]:
        """Return the shape of the predictions."""
        return tuple(output_shape)

    def _check_fit(self, xp: ModuleType, prediction: Array, target: Array) -> None:
        whole = "float" not in _xp.dtype_name(target)
        shape = tuple(prediction.shape)
        check_same_shape(type(self).__name__, shape, tuple(target.shape), whole)

    def _gradient(self, xp: ModuleType, saved: Any, scale: Array | float) -> Array:
        return scale * saved  # the notes of most are the slope


def fits_from_the_left(shape: tuple[int, ...], terms: tuple[int, ...]) -> bool:
    """Whether weights have one number for each sample, and fit further axes of the terms."""
    pairs = zip(shape, terms, strict=False)
    whole = 1 <= len(shape) <= len(terms) and shape[0] == terms[0]
    return whole and all(n in (1, m) for n, m in pairs)


def spread_over(xp: ModuleType, weights: Array, terms: Array, who: str) -> Array:
    """Give weights the axes that the terms have behind theirs."""
    shape = tuple(weights.shape)
    if not fits_from_the_left(shape, tuple(terms.shape)):
        raise _weights_error(who, shape, tuple(terms.shape))
    return xp.reshape(xp.astype(weights, terms.dtype), (*shape, *(1,) * (terms.ndim - len(shape))))


def _weights_error(who: str, shape: tuple[int, ...], terms: tuple[int, ...]) -> ValueError:
    more = f", or fit the terms, {terms}, axis by axis from the left" if len(terms) > 1 else ""
    return ValueError(
        f"{who}: sample_weight must have shape ({terms[0]},), one number for each sample{more}; "
        f"got {shape}"
    )


def _with_batch_axis(x: Any) -> Any:
    """Put a batch axis of one sample in front of an array, or of all in a tuple."""
    if isinstance(x, (tuple, list)):
        return tuple(map(_with_batch_axis, x))
    return None if x is None else _xp.namespace(x).expand_dims(x, axis=0)


def _without_batch_axis(x: Any) -> Any:
    return tuple(map(_without_batch_axis, x)) if isinstance(x, tuple) else x[0, ...]


def spread(xp: ModuleType, scale: Array | float) -> Array | float:
    """Give a scale of the terms (N, d1, ...) the class axis, at 1."""
    if isinstance(scale, float) or scale.ndim == 0:
        return scale
    return xp.expand_dims(scale, axis=1)


def as_numbers(who: str, argument: str, values: Any) -> np.ndarray:
    """Return a setting that holds numbers as an array of float64, or say which one was wrong."""
    problem = f"{who}: {argument} must hold numbers, got {values!r:.200}"
    try:
        found = np.asarray(_xp.to_numpy(values))
    except ValueError:  # lists of different lengths
        raise ValueError(problem) from None
    if found.dtype.kind not in "iuf":
        raise TypeError(problem)
    return found.astype(np.float64)


class ConstantArray:
    """Numbers kept on the host, with a copy on the device and in the dtype last asked for."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        self._copy: Array | None = None

    def like(self, x: Array) -> Array:
        """Return the numbers as an array of the library, device and dtype of `x`."""
        copy = self._copy
        if copy is None or type(copy) is not type(x) or copy.dtype != x.dtype:
            copy = None
        if copy is None or not _xp.same_device(copy, x):
            copy = Device.of(x).asarray(self.values, _xp.dtype_name(x))
            self._copy = copy
        return copy


def check_numeric(who: str, target: np.ndarray) -> None:
    """Raise unless the targets are real numbers."""
    if target.dtype.kind not in "iubf":
        raise TypeError(
            f"{who}: targets must be numbers, got dtype {target.dtype}; turn class names into "
            "labels first, e.g. names, labels = numpy.unique(y, return_inverse=True)"
        )
    if target.ndim == 0 or 0 in target.shape:
        raise ValueError(f"{who}: got empty targets of shape {target.shape}")


def check_finite(who: str, target: np.ndarray) -> None:
    """Raise if there is a NaN or an infinity."""
    if target.dtype.kind == "f" and not np.isfinite(target).all():
        bad = np.argwhere(~np.isfinite(target))
        raise ValueError(
            f"{who}: the targets hold {len(bad)} NaN or infinite value(s), the first at index "
            f"{tuple(map(int, bad[0]))}; remove or replace them"
        )


def check_same_shape(
    who: str, output_shape: tuple[int, ...], shape: tuple[int, ...], whole: bool = False
) -> None:
    """Raise unless targets have the shape of the output, the batch axis aside."""
    if shape[1:] == output_shape[1:] and len(shape) == len(output_shape):
        return
    if not output_shape:
        raise ValueError(f"{who}: expected one number, of shape (), got targets of shape {shape}")
    expected = ", ".join(["N", *map(str, output_shape[1:])]) + (
        "," if len(output_shape) == 1 else ""
    )
    fix = "reshape them"
    if output_shape[1:2] == (1,) and shape[1:] == output_shape[2:] and len(shape) > 1:
        fix = "add the axis of the column with target[:, None]"
    if len(output_shape) == 2 and len(shape) == 1:
        classes = output_shape[1]
        if classes == 1:
            fix = "add the axis with target[:, None]"
        elif whole:
            fix = (
                f"turn the labels into one-hot rows with numpy.eye({classes})[target], or use "
                "CrossEntropyLoss, which takes labels"
            )
    raise ValueError(f"{who}: expected targets of shape ({expected}), got {shape}; {fix}")
