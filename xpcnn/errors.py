"""Error types, and the builders of the messages that several modules share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DeviceError(RuntimeError):
    """A device that does not exist, or does not work, was asked for."""


class ModelFileError(ValueError):
    """A model file cannot be read: truncated, foreign, inconsistent or hostile."""


class NonFiniteError(FloatingPointError):
    """Training met a NaN or an infinity and was stopped.

    Attributes
    ----------
    epoch, batch : int
        Where it happened, counted from 1.
    layer : str or None
        Name of the first layer whose output was not finite.
    """

    def __init__(self, message: str, *, epoch: int, batch: int, layer: str | None) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.batch = batch
        self.layer = layer


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


def choice_error(who: str, argument: str, value: Any, choices: Sequence[str]) -> ValueError:
    """Build the error for a value that is not one of the allowed names."""
    allowed = ", ".join(repr(choice) for choice in choices)
    return ValueError(f"{who}: {argument} must be one of {allowed}; got {value!r}")
