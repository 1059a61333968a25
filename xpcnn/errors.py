"""Error types, and the builders of the messages that several modules share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DeviceError(RuntimeError):
    """The requested device does not exist or does not work.

    Examples
    --------
    >>> import xpcnn
    >>> try:
    ...     xpcnn.Model([xpcnn.Linear(2, 1)], device="abacus")
    ... except xpcnn.DeviceError as error:
    ...     print(str(error).split(";")[0])
    unknown device 'abacus'
    """


class ModelFileError(ValueError):
    """A model file cannot be read: truncated, foreign, inconsistent or hostile.

    Examples
    --------
    >>> import xpcnn
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "notes.xpcnn"
    ...     _ = path.write_text("not a model")
    ...     try:
    ...         xpcnn.Model.load(path)
    ...     except xpcnn.ModelFileError:
    ...         print("that is no model")
    that is no model
    """


class UnsupportedModelError(ModelFileError):
    """A network cannot be converted, from another format or to one.

    Attributes
    ----------
    nodes : list of (str, str, str)
        Name, operator (or kind of layer) and reason of each node that cannot be.

    Examples
    --------
    >>> import xpcnn
    >>> class Negative(xpcnn.layers.Layer):  # ONNX files know no classes of one's own
    ...     def output_shape(self, input_shape):
    ...         return tuple(input_shape)
    ...     def _forward(self, xp, x, training):
    ...         return -x, None
    >>> model = xpcnn.Model([xpcnn.Linear(2, 2), Negative()], device="cpu")
    >>> _ = model.build((None, 2))
    >>> try:
    ...     xpcnn.interop.onnx.to_bytes(model)
    ... except xpcnn.UnsupportedModelError as error:
    ...     print([(name, kind) for name, kind, reason in error.nodes])
    [('1', 'Negative')]
    """

    def __init__(self, message: str, nodes: list[tuple[str, str, str]]) -> None:
        super().__init__(message)
        self.nodes = nodes


class NonFiniteError(FloatingPointError):
    """Training met a NaN or an infinity and was stopped.

    Attributes
    ----------
    epoch, batch : int
        Where it happened, counted from 1.
    layer : str or None
        Name of the first layer whose output was not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu")
    >>> x, y = np.full((1, 2), 10.0, dtype="float32"), np.zeros((1, 1), dtype="float32")
    >>> try:
    ...     model.fit(x, y, epochs=100, optimizer=xpcnn.optim.SGD(1e6), loss="mse", verbose=0)
    ... except xpcnn.NonFiniteError as error:
    ...     print(error.batch, error.epoch < 100)
    1 True
    """

    def __init__(self, message: str, *, epoch: int, batch: int, layer: str | None) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.batch = batch
        self.layer = layer


class CaptureError(RuntimeError):
    """A training step cannot be captured; the message says why, half a sentence."""


class SampleError(RuntimeError):
    """A sample of a data set could not be read.

    Attributes
    ----------
    sample : int or None
        Its number; ``None`` if nobody knows which it was.
    text : str
        The traceback of what was raised, also where that was in another process.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> class Rows:  # two samples, of which one is broken
    ...     def __len__(self):
    ...         return 2
    ...     def __getitem__(self, i):
    ...         if i == 1:
    ...             raise OSError("the disk is gone")
    ...         return np.zeros(2, dtype="float32"), np.zeros(1, dtype="float32")
    >>> model = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu")
    >>> model.compile("sgd", "mse")
    >>> try:
    ...     model.fit(Rows(), verbose=0)
    ... except xpcnn.SampleError as error:
    ...     print(error.sample)
    1
    """

    def __init__(self, message: str, *, sample: int | None, text: str = "") -> None:
        super().__init__(message)
        self.sample = sample
        self.text = text


class OutOfMemoryError(RuntimeError, MemoryError):
    """Memory ran out in a training step or a prediction.

    Parameters, buffers and optimizer are those before the step; a smaller batch may be tried.

    Attributes
    ----------
    layer : str or None
        What was running: a layer, several that run as one, a loss or an optimizer.
    batch_size : int
        Samples that were worked on.

    Examples
    --------
    >>> import xpcnn
    >>> def fit(batch_size):  # stands for model.fit, where 64 samples fit into memory
    ...     if batch_size > 64:
    ...         raise xpcnn.OutOfMemoryError("out of memory", layer="conv1", batch_size=batch_size)
    >>> size = 200
    >>> while True:
    ...     try:
    ...         fit(size)
    ...         break
    ...     except xpcnn.OutOfMemoryError as error:
    ...         size = error.batch_size // 2
    >>> size
    50
    """

    def __init__(self, message: str, *, layer: str | None, batch_size: int) -> None:
        super().__init__(message)
        self.layer = layer
        self.batch_size = batch_size


_OUT_OF_MEMORY = (
    "out of memory",  # CUDA, Apple's GPUs, JAX
    "can't allocate memory",  # PyTorch on the CPU
    "not enough memory",  # PyTorch on the CPU of Windows
    "alloc_failed",  # cuBLAS and cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, of whichever library, means that memory ran out."""
    # CuPy's class is a MemoryError, PyTorch's a RuntimeError of this name.
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _OUT_OF_MEMORY)


def one_line(error: BaseException) -> str:
    """Put the error at the bottom of a chain in one line: libraries wrap some in banners."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    text = lines[0].strip() if lines else ""
    if len(text) > 200:
        text = f"{text[:200]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def rank_error(who: str, ndim: int, layout: str, shape: Sequence[int]) -> ValueError:
    """Build the error for an array of the wrong number of dimensions."""
    if len(shape) == ndim - 1:
        fix = "add a batch axis for a single sample (x[None]), or the missing channel axis"
    else:
        fix = "reshape it to that layout"
    return ValueError(
        f"{who}: expected {ndim} dimensions laid out as {layout}, "
        f"got {len(shape)} with shape {tuple(shape)}; {fix}"
    )


def dtype_error(who: str, expected: str, got: str, fix: str) -> TypeError:
    """Build the error for an array of the wrong dtype."""
    return TypeError(f"{who}: expected dtype {expected}, got {got}; {fix}")


def cast_hint(expected: str, got: str) -> str:
    """Say how to turn an array of dtype `got` into one of dtype `expected`."""
    if got.startswith(("int", "uint", "bool")):
        return f"convert and scale it first, e.g. images.astype('{expected}') / 255"
    if "float" not in got:
        return f"give real numbers of dtype {expected}"
    return f"convert it with x.astype('{expected}'), or build the model with dtype='{got}'"


def no_forward_error(who: str) -> RuntimeError:
    """Build the error for a backward pass without the forward pass that belongs to it."""
    return RuntimeError(
        f"{who}: backward needs a forward(x, training=True) before it, or forward(x) for the "
        "gradient of what it does without training, and each forward serves one backward"
    )


def check_choice(who: str, argument: str, value: Any, choices: Sequence[str | None]) -> None:
    """Raise unless a value is one of the allowed names, or ``None`` where that is one."""
    if not isinstance(value, (str, type(None))) or value not in choices:
        raise choice_error(who, argument, value, choices)


LANGUAGES = ("en", "ja")
"""Languages of what is written for learners: English and Japanese."""


def check_language(who: str, lang: Any) -> None:
    """Raise unless there are texts in a language."""
    check_choice(who, "lang", lang, LANGUAGES)


def choice_error(who: str, argument: str, value: Any, choices: Sequence[str | None]) -> ValueError:
    """Build the error for a value that is not one of the allowed names."""
    allowed = ", ".join(repr(choice) for choice in choices)
    return ValueError(f"{who}: {argument} must be one of {allowed}; got {value!r}")
