"""Taking over the arrays of a state dict: all of them, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn.interrupts import deferred
from xpcnn.window import as_flag


class _Unmatched(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class LoadedNames(_Unmatched):
    """What did not match where a state was loaded, by PyTorch's names.

    It unpacks as ``missing_keys, unexpected_keys``.

    Attributes
    ----------
    mismatched_keys : list of str
        What was left as it is, since the state has another shape for it.
    """

    mismatched_keys: list[str]

    def __new__(
        cls,
        missing_keys: list[str],
        unexpected_keys: list[str],
        mismatched_keys: Iterable[str] = (),
    ) -> LoadedNames:
        made = super().__new__(cls, missing_keys, unexpected_keys)
        made.mismatched_keys = list(mismatched_keys)
        return made

    def __repr__(self) -> str:
        return (
            f"LoadedNames(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys}, mismatched_keys={self.mismatched_keys})"
        )


def load_state(layer: Any, state: Any, strict: bool, skip_mismatch: bool) -> LoadedNames:
    """Load a state into a layer; see :meth:`xpcnn.layers.Layer.load_state_dict`."""
    who, own = layer.who, layer._tensors()
    strict = as_flag(strict, who, "strict")
    skip_mismatch = as_flag(skip_mismatch, who, "skip_mismatch")
    if not isinstance(state, Mapping):
        raise TypeError(
            f"{who}: a state maps names to arrays, as state_dict() returns it; got "
            f"{type(state).__name__}"
        )
    if skip_mismatch and strict:
        raise ValueError(
            f"{who}: skip_mismatch=True needs strict=False, since what is skipped is not loaded; "
            "give both, or leave skip_mismatch out"
        )
    given = {id(own[name]) for name in state if name in own}  # one of several names will do
    names = LoadedNames(
        [name for name, tensor in own.items() if id(tensor) not in given],
        [name for name in state if name not in own],
    )
    problems = []
    if strict:
        problems += [f"missing: {name}" for name in names.missing_keys]
        problems += [f"unexpected: {name}" for name in names.unexpected_keys]
    elif own and len(names.missing_keys) == len(own):
        raise ValueError(
            f"{who}: nothing would be loaded, since not one of the names {_some(state)} "
            f"is among those of this model, {_some(own)}{_prefix_hint(own, state)}"
        )
    read = {name: _xp.to_numpy(state[name]) for name in own if name in state}
    values = dict(read)
    first_names: dict[int, str] = {}
    for name, array in read.items():
        problem = own[name].problem(array)
        first = first_names.setdefault(id(own[name]), name)
        same = first == name or np.array_equal(
            array, read[first], equal_nan=array.dtype.kind == "f"
        )
        if not same:
            problems.append(
                f"unusable: {name} differs from {first}, with which it is one array here"
            )
        if problem is None:
            continue
        is_misshapen = problem.startswith("has shape")
        if is_misshapen and skip_mismatch:
            names.mismatched_keys.append(name)
            del values[name]
        else:
            problems.append(f"{'misshapen' if is_misshapen else 'unusable'}: {name} {problem}")
    if names.mismatched_keys and not values and not problems:
        raise ValueError(
            f"{who}: nothing would be loaded, since all that the state has for this model is of "
            f"another shape: {_some(names.mismatched_keys)}"
        )
    if problems:
        listing = "\n  ".join(problems)
        hint = _prefix_hint(own, state) if names.unexpected_keys else ""
        raise ValueError(f"{who}: the state does not fit this model{hint}:\n  {listing}")
    _take(layer, own, values)
    return names


def _take(layer: Any, own: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> None:
    """Put values in their places: all of them, or none."""
    inside = [inner for _, inner in layer.layers_within()]
    before = [(part, dict(vars(part))) for part in (*inside, *own.values())]
    with deferred():
        try:
            for name, array in values.items():
                own[name].load(array)
            for inner in inside:
                with inner._completing():
                    inner._after_load()
        except BaseException:
            for part, attributes in before:
                vars(part).clear()
                vars(part).update(attributes)
            raise


def _some(names: Iterable[str]) -> str:
    shown = [repr(name) for name in islice(names, 4)]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "") if shown else "(none)"


def _prefix_hint(own: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Say what is in front of the names of a state, if names of `own` stand behind it."""
    found: Counter[str] = Counter()
    for name in map(str, state):
        place = name.find(".")
        while place >= 0:
            if name[place + 1 :] in own and name not in own:
                found[name[: place + 1]] += 1
            place = name.find(".", place + 1)
    if not found:
        return ""
    prefix = found.most_common(1)[0][0]
    return (
        f"; {found[prefix]} of its names have {prefix!r} in front, as wrappers like DataParallel, "
        f"torch.compile or Lightning leave it; load {{name.removeprefix({prefix!r}): array for "
        "name, array in state.items()}"
    )
