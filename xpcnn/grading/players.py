"""Runs a learner's class, object or function as one layer: made, forward, backward, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn._checked import copied
from xpcnn.grading.calling import UnrecognisedError, guarded
from xpcnn.grading.dialects import Layout, Stub, arguments, method, name_of, roles_of
from xpcnn.grading.functions import FunctionRun, PairRun, is_pair, pair_name
from xpcnn.grading.runs import ObjectRun, Run
from xpcnn.grading.trials import Trial


class Player:
    """A learner's layer, made anew for each trial.

    Parameters
    ----------
    theirs : class, object, function, or two functions
    make : callable or None
        Makes the object, by arguments of the names in ROLES.
    preferred : tuple of str
        Roles that the family of layers has.
    """

    def __init__(
        self, theirs: Any, make: Callable[..., Any] | None, preferred: tuple[str, ...]
    ) -> None:
        self.theirs, self.make, self.preferred = theirs, make, preferred
        self.is_pair = is_pair(theirs)
        self.name = pair_name(theirs) if self.is_pair else name_of(theirs)
        is_layer = method(theirs, "forward", "backward", "fwd") is not None
        self.is_class = isinstance(theirs, type)
        self.is_function = make is None and not self.is_class and not is_layer
        self.is_object = make is None and not self.is_class and not self.is_function

    def constructor(self) -> Callable[..., Any]:
        """Return what takes the settings: a class, or a function."""
        return self.make or (self.theirs[0] if self.is_pair else self.theirs)

    def made(self, trial: Trial, layout: Layout) -> Run:
        """Make the layer for a trial."""
        values = trial.values(layout)
        run = self._made(trial, layout, values)
        if not self.is_object:
            roles = set(roles_of(self.constructor(), self.preferred).values())
            if "param" in roles:
                run.settings, run.in_settings = values["param"], set(trial.asked) - roles
        return run

    def _made(self, trial: Trial, layout: Layout, values: dict[str, Any]) -> Run:
        if not layout.has_bias:
            if not self.is_object and "b" in roles_of(self.constructor(), self.preferred).values():
                raise UnrecognisedError("it takes a bias")
            values.pop("b", None)
        stub = Stub()
        values |= dict.fromkeys(("initializer", "optimizer", "activation"), stub)
        if self.is_pair:
            return PairRun(self.theirs, trial, layout, values, self.preferred)
        if self.is_function:
            return FunctionRun(self.theirs, trial, layout, values, self.preferred)
        if self.is_object:
            obj = copied(self.theirs)
        else:
            build = self.constructor()
            chosen = arguments(build, values, self.preferred, trial.asked, f"{self.name}(...)")
            obj = guarded(f"{self.name}(...)", build, **chosen)
            if not self.is_class and method(obj, "forward", "__call__", "fwd") is None:
                raise UnrecognisedError(
                    "make must return an object with forward(x) and backward(dout)"
                )
        run = ObjectRun(self.name, trial, layout, obj)
        run.set_parameters(values)
        return run
