"""Bodies of requests, and what makes arrays of samples of them.

They come from anybody: nothing is allocated because a body says so, and every way in which one can
be wrong is a :class:`~xpcnn.serving.problems.Problem` that says what was expected.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from xpcnn.layers.preprocessing import takes_bytes
from xpcnn.serving.batching import Arrays
from xpcnn.serving.problems import Problem
from xpcnn.serving.served import Served, Shape

_SLACK = 100
"""Commas and brackets that a body may have besides those between numbers."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Reader:
    """Makes arrays of bodies, for one model.

    Parameters
    ----------
    served : Served
    max_batch : int
        The most samples of a request.
    """

    def __init__(self, served: Served, max_batch: int) -> None:
        self._inputs = served.inputs
        self._takes_bytes = takes_bytes(served.model.network)[0]
        self._max_batch = max_batch
        shapes = [shape for shape, _ in served.inputs.values()]
        self._most_numbers = max_batch * sum(map(math.prod, shapes)) + _SLACK
        self._most_lists = max_batch * sum(map(_lists_within, shapes)) + _SLACK

    @property
    def expected(self) -> str:
        """What a request holds, in words."""
        if len(self._inputs) == 1:
            ((shape, _),) = self._inputs.values()
            return f"shape {_written(shape)}, with N up to {self._max_batch}"
        shapes = ", ".join(f"{n} {_written(shape)}" for n, (shape, _) in self._inputs.items())
        return f"the inputs {shapes}, with N up to {self._max_batch}"

    def json(self, body: bytes) -> Arrays:
        """Read ``{"instances": [...]}``, a list alone, or ``{"inputs": {name: [...]}}``."""
        self._check_count(body)
        try:
            given = json.loads(body, parse_constant=_refuse_constant)
        except RecursionError:
            raise Problem(
                400, f"the body nests lists too deeply; expected {self.expected}"
            ) from None
        except ValueError as error:  # that it is no UTF-8 is one too
            raise Problem(400, f"the body is not valid JSON: {error}") from None
        values = self._by_name(given)
        arrays = [
            self._from_lists(values[name], name, shape, dtype)
            for name, (shape, dtype) in self._inputs.items()
        ]
        return self._checked(arrays)

    def _check_count(self, body: bytes) -> None:
        """Refuse what would become more objects than a request can need, before it does."""
        lists = body.count(b"[") + body.count(b"{")
        if body.count(b",") > self._most_numbers or lists > self._most_lists:
            raise Problem(413, f"the body holds more than a request may; expected {self.expected}")

    def _by_name(self, given: Any) -> Mapping[str, Any]:
        names = list(self._inputs)
        if isinstance(given, list):
            given = {"instances": given}
        if not isinstance(given, dict) or set(given) not in ({"instances"}, {"inputs"}):
            keys = f"an object with {_listed(given)}" if isinstance(given, dict) else "no object"
            raise Problem(
                400,
                'expected a JSON object with one key, "instances" with samples or "inputs" with '
                f"an object of samples by name, got {keys}",
            )
        if "inputs" not in given:
            if len(names) > 1:
                raise Problem(
                    400, f'the model has the inputs {_listed(names)}; give {{"inputs": {{...}}}}'
                )
            return {names[0]: given["instances"]}
        values = given["inputs"]
        if not isinstance(values, dict) or set(values) != set(names):
            got = _listed(values) if isinstance(values, dict) else "no object"
            raise Problem(400, f"inputs: expected an object with {_listed(names)}, got {got}")
        return values

    def _from_lists(self, value: Any, name: str, shape: Shape, dtype: str) -> np.ndarray:
        """Make an array of nested lists, of one sample or of several."""
        if value == []:
            return np.empty((0, *shape), dtype)
        if _depth(value) == len(shape):
            value = [value]
        flat, wanted = [value], (None, *shape)
        for axis, length in enumerate(wanted):
            if set(map(type, flat)) != {list}:
                raise self._misshapen(name, shape, f"something else than lists at depth {axis + 1}")
            lengths = set(map(len, flat))
            if length is not None and lengths != {length}:
                other = max(lengths - {length})
                raise self._misshapen(
                    name, shape, f"a list of {other} for axis {axis}, which has {length}"
                )
            flat = list(chain.from_iterable(flat))
        kinds = set(map(type, flat)) - ({int} if "int" in dtype else {int, float})
        if kinds:
            names = {list: "more lists", type(None): "null", str: "text", dict: "an object"}
            names |= {bool: "true or false", float: "fractions"}
            found = names[kinds.pop()]
            numbers = "whole numbers" if "int" in dtype else "numbers"
            raise self._misshapen(name, shape, f"{found} in the place of {numbers}")
        try:
            with np.errstate(over="ignore"):
                return np.array(flat, dtype).reshape(-1, *shape)
        except OverflowError:
            raise Problem(422, f"{name}: a number is too large for {dtype}") from None

    def _misshapen(self, name: str, shape: Shape, got: str) -> Problem:
        what = "" if len(self._inputs) == 1 else f"{name}: "
        return Problem(
            422,
            f"{what}expected numbers of shape {_written(shape)}, or {shape} for a single sample; "
            f"got {got}",
        )

    def npy(self, body: bytes) -> Arrays:
        """Read an array as ``numpy.save`` writes it: one sample, or several."""
        if len(self._inputs) > 1:
            raise Problem(
                415, f"the model has the inputs {_listed(self._inputs)}, for which there is JSON"
            )
        ((shape, dtype),) = self._inputs.values()
        found, in_fortran_order, kind, offset = _npy_header(body)
        if found[-len(shape) or len(found) :] != shape or len(found) - len(shape) not in (0, 1):
            raise Problem(
                422,
                f"expected an array of shape {_written(shape)}, or {shape} for a single sample; "
                f"got {found}",
            )
        are_bytes = kind == np.uint8 and self._takes_bytes
        if kind.kind not in ("iu" if "int" in dtype else "f") and not are_bytes:
            raise Problem(422, f"expected an array of {dtype}, got {kind}; convert it first")
        count = math.prod(found)
        if len(body) - offset != count * kind.itemsize:
            raise Problem(400, f"the array of shape {found} is cut off, or has more behind it")
        flat = np.frombuffer(body, kind, count, offset)
        x = flat.reshape(found, order="F" if in_fortran_order else "C").reshape(-1, *shape)
        with np.errstate(over="ignore"):
            return self._checked([np.ascontiguousarray(x).astype(dtype, copy=False)])

    def _checked(self, arrays: list[np.ndarray]) -> Arrays:
        counts = {len(x) for x in arrays}
        if len(counts) > 1:
            each = dict(zip(self._inputs, map(len, arrays), strict=True))
            raise Problem(422, f"the inputs differ in the number of samples: {each}")
        if not counts - {0}:
            raise Problem(422, f"there are no samples; expected {self.expected}")
        if max(counts) > self._max_batch:
            raise Problem(
                413,
                f"got {max(counts)} samples, and a request may have {self._max_batch}; send them "
                "in several requests",
            )
        for name, x in zip(self._inputs, arrays, strict=True):
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                at = np.argwhere(~np.isfinite(x))[0].tolist()
                raise Problem(
                    422,
                    f"{name}: NaN, infinity or a number too large for {x.dtype} at index {at}; "
                    "remove or replace it",
                )
        return tuple(arrays)


def _npy_header(body: bytes) -> tuple[Shape, bool, np.dtype, int]:
    """Return shape, order, dtype and where the numbers begin; nothing is made of the body yet."""
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        shape, in_fortran_order, dtype = _HEADERS[version](file)
    except Exception as error:  # of Python's own parser too, which reads the header
        reason = f"version {error}" if isinstance(error, KeyError) else str(error)
        raise Problem(400, f"the body is no file of numpy.save: {reason[:200]}") from None
    return tuple(shape), in_fortran_order, dtype, file.tell()


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _depth(value: Any) -> int:
    """Return how many lists are around the first number."""
    depth = 0
    while isinstance(value, list):
        depth += 1
        if not value:
            break
        value = value[0]
    return depth


def _lists_within(shape: Shape) -> int:
    """Return how many lists one sample is written with."""
    return sum(math.prod(shape[:axis]) for axis in range(len(shape)))


def _written(shape: Shape) -> str:
    return f"({', '.join(map(str, ('N', *shape)))}{'' if shape else ','})"


def _listed(names: Any) -> str:
    return ", ".join(repr(name[:40]) for name in names) or "nothing in it"
