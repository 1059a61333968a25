"""States of optimizers, as files hold them: what belongs to which parameter, and what fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn import _xp

COUNTS = ("iterations", "epochs")


def sort_state(
    state: Mapping[str, Any],
    slots: Sequence[str],
    parameters: Mapping[str, Any] | None,
    who: str,
) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Return the number of updates, and the arrays, of each parameter in a state.

    Parameters
    ----------
    state : mapping of str to array
        As :meth:`Optimizer.state_dict` returns it.
    slots : sequence of str
        Names of the arrays that the optimizer keeps for each parameter.
    parameters : mapping of str to Parameter, optional
        If given, names and shapes must fit these.
    who : str
        Name of the optimizer for messages.

    Raises
    ------
    ValueError
        Listing every entry that does not fit.
    """
    problems: list[str] = []
    steps: dict[str, int] = {}
    arrays: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        name, _, slot = key.rpartition("/")
        if key in COUNTS or (name and slot == "step"):
            problems += _count_problem(key, value)
            if slot == "step":
                steps[name] = 0 if problems else int(value)
        elif not name or slot not in slots:
            problems.append(f"unexpected: {key}")
        else:
            arrays.setdefault(name, {})[slot] = value
            problems += _fit_problem(key, name, value, parameters)
    problems += [f"missing: {name}/step" for name in arrays if name not in steps]
    if problems:
        listing = "\n  ".join(problems)
        raise ValueError(f"{who}: the state does not fit:\n  {listing}")
    return steps, arrays


def _count_problem(key: str, value: Any) -> list[str]:
    array = _xp.to_numpy(value)
    if array.shape != () or array.dtype.kind not in "iu" or array < 0:
        return [f"{key}: expected one whole number, got shape {array.shape} of {array.dtype}"]
    return []


def _fit_problem(
    key: str, name: str, value: Any, parameters: Mapping[str, Any] | None
) -> list[str]:
    if parameters is None:
        return []
    if name not in parameters:
        return [f"unexpected: {key} (there is no parameter {name})"]
    expected, got = tuple(parameters[name].value.shape), tuple(np.shape(value))
    if expected != got:
        return [f"misshapen: {key} has shape {got}, expected {expected}"]
    return []
