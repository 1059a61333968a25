"""Arguments of ``fit``, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from xpcnn.training.callbacks import SWA, Callback, EarlyStopping, ProgressBar
from xpcnn.training.callbacks.averaging import Averaging
from xpcnn.window import as_int


def epochs_to_validate(
    validation_freq: Any, done: int, epochs: int, is_given: bool
) -> Container[int]:
    """Return the numbers of the epochs after which to validate.

    Raises
    ------
    ValueError, TypeError
        If `validation_freq` is neither a number nor numbers of epochs, or has no effect.
    """
    to_come = range(done + 1, done + epochs + 1)
    if isinstance(validation_freq, (list, tuple, set, frozenset, range)):
        chosen = {as_int(n, "fit", "validation_freq", 1) for n in validation_freq}
    elif hasattr(validation_freq, "__index__"):
        every = as_int(validation_freq, "fit", "validation_freq", 1)
        if every == 1:
            return to_come
        chosen = set(range(every, done + epochs + 1, every))
    else:
        raise TypeError(
            "fit: validation_freq must be a whole number, such as 5 for every fifth epoch, or a "
            f"list of numbers of epochs, got {validation_freq!r}"
        )
    if not is_given:
        raise ValueError(
            f"fit: validation_freq={validation_freq!r} needs something to validate with; give "
            "validation_data or validation_split"
        )
    if epochs and not chosen.intersection(to_come):
        raise ValueError(
            f"fit: validation_freq={validation_freq!r} leaves no epoch to validate after, since "
            f"those to come are {to_come[0]} to {to_come[-1]}; epochs are counted from 1 over the "
            "life of the model"
        )
    return chosen


def unique_names(names: list[str]) -> list[str]:
    """Return the names of the columns of the logs, unless two of them are the same."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"fit: two columns of the logs would be called {name!r}; give the metric, or the "
                "output of the network, of which one is another name"
            )
    return names


def all_callbacks(callbacks: Any, verbose: Any) -> list[Callback]:
    """Return the callbacks, with the one that shows progress in front if it is wanted."""
    if isinstance(verbose, float) or verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"fit: verbose must be 'auto', 0 or 1, got {verbose!r}")
    if callbacks is not None and not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"fit: callbacks must be a list, got {callbacks!r}; write [callback]")
    everyone = [*([ProgressBar()] if verbose else []), *(callbacks or ())]
    for callback in everyone:
        if not isinstance(callback, Callback):
            raise TypeError(
                f"fit: callbacks: not a callback: {callback!r}; make it with ClassName()"
            )
    _check_who_sets_weights(everyone)
    return everyone


def _check_who_sets_weights(callbacks: list[Callback]) -> None:
    """Raise if two callbacks would each put weights of their own into the model."""
    averaging = [callback for callback in callbacks if isinstance(callback, Averaging)]
    if len(averaging) > 1:
        raise ValueError(
            f"fit: {averaging[0]!r} and {averaging[1]!r} each put an average of their own into the "
            "model; use one of them"
        )
    for callback in callbacks:
        best = isinstance(callback, EarlyStopping) and callback.restore_best_weights
        if best and averaging and isinstance(averaging[0], SWA):
            raise ValueError(
                f"fit: {averaging[0]!r} ends training with a mean of weights, and {callback!r} "
                "with those of the best epoch; leave out restore_best_weights or SWA"
            )
