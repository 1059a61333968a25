"""Samples of a data set, read and put together."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np

from xpcnn import _xp, rng
from xpcnn.backends.generators import seeded
from xpcnn.errors import SampleError
from xpcnn.training.dataset import Order
from xpcnn.training.sources.streams import Raw, split_batch


class Reader:
    """Reads samples of a data set and puts them together; each worker process has its own.

    What a sample draws at random (flips, crops) from the generators of Python, NumPy and PyTorch
    follows from the seed, the epoch and the batch, so that it does not depend on who reads it.

    Parameters
    ----------
    data : data set
        Has a length, and gives sample i as ``data[i]``.
    inputs : sequence of str
        Names of those of the network.
    dtypes : sequence of str
        What lists of numbers become, for each input.
    takes_target : bool or None
        As for :func:`split_batch`.
    who : str
        Name for messages.
    order : Order
    """

    def __init__(
        self,
        data: Any,
        inputs: Sequence[str],
        dtypes: Sequence[str],
        takes_target: bool | None,
        who: str,
        order: Order,
    ) -> None:
        self.data, self.inputs = data, tuple(inputs)
        self.dtypes = dict(zip(inputs, dtypes, strict=True))
        self.takes_target, self.who, self.order = takes_target, who, order

    def read(self, epoch: int, batch: int, indices: np.ndarray) -> Raw:
        """Read the samples of a batch; its number counts from 0."""
        with self._seeded(epoch, batch):
            return self.stack([self.one(int(i)) for i in indices], indices)

    def first(self) -> Raw:
        """Read the first sample, to see what it is."""
        with self._seeded(0, 0):
            return self.one(0)

    def _seeded(self, epoch: int, batch: int) -> AbstractContextManager[None]:
        draws = rng.generator(self.order.seed, f"samples of epoch {epoch}", batch)
        return seeded(int(draws.integers(2**32)))

    def one(self, index: int) -> Raw:
        """Read one sample.

        Raises
        ------
        SampleError
            If the data set fails; the error that it raised is the cause.
        """
        try:
            given = self.data[index]
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            raise SampleError(
                f"{self.who}: sample {index} cannot be read, {type(error).__name__}: {error}",
                sample=index,
                text=text,
            ) from error
        who = f"{self.who}: sample"
        return split_batch(given, index, self.inputs, self.takes_target, who)

    def stack(self, samples: Sequence[Raw], indices: Sequence[int] | np.ndarray) -> Raw:
        """Make a batch of samples."""
        x, y, weights = zip(*samples, strict=True)
        for name, parts in (("y", y), ("sample_weight", weights)):
            lacking = [int(i) for i, part in zip(indices, parts, strict=True) if part is None]
            if lacking and len(lacking) < len(parts):
                raise ValueError(
                    f"{self.who}: sample {lacking[0]} has no {name}, and others of its batch have; "
                    "give all samples the same parts"
                )
        stack = partial(_stack, indices=indices)
        return Raw(
            stack(x, who=f"{self.who}: x", dtypes=self.dtypes),
            stack(y, who=f"{self.who}: y"),
            stack(weights, who=f"{self.who}: sample_weight"),
        )


def _stack(
    parts: Sequence[Any], indices: Any, who: str, dtypes: Mapping[Any, str] | None = None
) -> Any:
    """Put arrays, or tuples or dicts of them, together along a new first axis."""
    first = parts[0]
    if first is None:
        return None
    kinds = list(dtypes.values()) if dtypes else [None]
    if isinstance(first, (tuple, Mapping)):
        keys = range(len(first)) if isinstance(first, tuple) else list(first)
        known: Any = dtypes if isinstance(first, Mapping) else dict(enumerate(kinds))
        for index, part in zip(indices, parts, strict=True):
            if type(part) is not type(first) or len(part) != len(first):
                raise ValueError(f"{who} of sample {index} has other parts than that of others")
        inner = [
            _stack(
                [part[key] for part in parts],
                indices,
                f"{who}[{key!r}]",
                {key: known[key]} if known and known.get(key) else None,
            )
            for key in keys
        ]
        return tuple(inner) if isinstance(first, tuple) else dict(zip(keys, inner, strict=True))
    arrays = [_on_host(part, kinds[0]) for part in parts]
    for index, array in zip(indices, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"{who} of sample {int(index)} has shape {array.shape}, and that of sample "
                f"{int(indices[0])} {arrays[0].shape}; samples of a batch must be of one shape: "
                "bring them to one size where they are read"
            )
    return np.stack(arrays)


def _on_host(part: Any, dtype: str | None) -> np.ndarray:
    """Return an array of NumPy; lists of numbers take the dtype, as they do as a whole."""
    if _xp.is_array(part):
        return _xp.to_numpy(part)
    array = np.asarray(part)
    if dtype is not None and "float" in dtype and isinstance(part, (list, int, float)):
        return array.astype("float32" if dtype == "bfloat16" else dtype)
    return array
