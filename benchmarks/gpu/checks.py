"""What a check is, and the device and settings that it runs with."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import xpcnn
from xpcnn import _xp
from xpcnn.device import Device
from xpcnn.errors import DeviceError
from xpcnn.kernels.precision import products

MODES = ("float64", "float32", "tf32", "float16", "bfloat16")

TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 2e-2}
"""Largest distance from the float64 reference, relative in the Euclidean norm, of one operation."""


class SkipError(Exception):
    """A check that cannot be made here; the message says why."""


@dataclass
class Outcome:
    """What a check found.

    Attributes
    ----------
    errors : dict of str to float
        Relative distances, by the name of the array.
    tolerance : float
        None of them may be larger, nor NaN.
    how : str
        Which kernels ran.
    wrong : str
        What was wrong besides; nothing if empty.
    figures : dict of str to float
        What was measured.
    """

    errors: dict[str, float] = field(default_factory=dict)
    tolerance: float = 0.0
    how: str = ""
    wrong: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether everything is as it should be."""
        return not self.wrong and all(e <= self.tolerance for e in self.errors.values())


@dataclass(frozen=True)
class Check:
    """A name such as "conv/float32/plain", and what to do."""

    name: str
    run: Callable[[Context], Outcome]


@dataclass(frozen=True)
class Context:
    """Where the checks run."""

    device: Device

    @property
    def library(self) -> str:
        """Name of the array library."""
        return _xp.library(self.device.xp)

    @property
    def is_gpu(self) -> bool:
        """Whether the arrays lie on an NVIDIA GPU."""
        return "cuda" in self.device.name

    def need_cupy(self) -> Any:
        """Return CuPy, or skip the check."""
        if self.library != "cupy":
            raise SkipError("for CuPy alone")
        return importlib.import_module("cupy")

    def array(self, values: np.ndarray, dtype: str) -> Any:
        """Bring float64 numbers to the device, rounded to a dtype."""
        if dtype == "float16" and self.library == "numpy":
            raise SkipError("NumPy adds float16 in float16")
        if dtype == "bfloat16" and self.library == "cupy":
            try:
                kind = importlib.import_module("ml_dtypes").bfloat16
            except ImportError:
                raise SkipError("CuPy has bfloat16 where ml_dtypes is installed") from None
            return self.device.asarray(values.astype(kind))
        try:
            return self.device.asarray(values, dtype=dtype)
        except (DeviceError, TypeError) as error:
            raise SkipError(f"no {dtype} here: {error}") from None

    @contextmanager
    def settings(self, mode: str = "float32", deterministic: bool = False) -> Iterator[None]:
        """Let products of float32 be of tf32, and kernels give the same bits every time."""
        if mode == "tf32" and not self.is_gpu:
            raise SkipError("tf32 is for GPUs")
        before = xpcnn.get_deterministic()
        xpcnn.set_deterministic(deterministic)
        try:
            with products("tf32" if mode == "tf32" else "float32"):
                yield
        finally:
            xpcnn.set_deterministic(before)


@contextmanager
def torch_settings(tf32: bool, deterministic: bool = False) -> Iterator[None]:
    """Set the same for PyTorch's own networks."""
    import torch

    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32, convolution.deterministic
    matmul.allow_tf32 = convolution.allow_tf32 = tf32
    convolution.deterministic = deterministic
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32, convolution.deterministic = before


def dtype_of(mode: str) -> str:
    """Return the dtype of the arrays: tf32 is a way to multiply float32."""
    return "float32" if mode == "tf32" else mode


def host(x: Any) -> np.ndarray:
    """Return an array of the device as float64 on the host."""
    return _xp.to_numpy(x).astype(np.float64)


def distance(actual: Any, expected: np.ndarray) -> float:
    """Return the distance relative to the norm of what is expected; infinite for other shapes."""
    found = host(actual)
    if found.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(found - expected) / (np.linalg.norm(expected) or 1.0))


def same_bits(runs: Sequence[Sequence[Any]]) -> list[int]:
    """Return the positions of the arrays that are not the same in all runs."""
    first = [_xp.to_numpy(x).tobytes() for x in runs[0]]
    return [
        position
        for position, bits in enumerate(first)
        if any(_xp.to_numpy(run[position]).tobytes() != bits for run in runs[1:])
    ]
