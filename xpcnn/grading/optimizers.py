"""Optimizers: four updates of two parameters, compared with the formulas and their mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from xpcnn._checked import copied
from xpcnn._xp import Array
from xpcnn.grading.calling import NotOfferedError, TheirError, UnrecognisedError, guarded, to_host
from xpcnn.grading.dialects import Layout, Signed, arguments, method, plain, signature
from xpcnn.grading.players import Player
from xpcnn.grading.report import Report
from xpcnn.grading.rules import RIGHT, SETTINGS, WRONG, Rule, settings_of, usual_settings
from xpcnn.grading.running import Family, Grading

LR = 0.1
STEPS = 4
CONFIGS = ("config", "cfg", "conf", "optimconfig")
"""Names of a dict that holds the settings and the state of one parameter."""


class Holder:
    """A layer with parameters and gradients, for optimizers that are given a layer."""

    def __init__(self, params: dict[str, Array]) -> None:
        self.W, self.b = params["W"], params["b"]
        self.dW: Any = None
        self.db: Any = None


class Parameter:
    """A parameter with its gradient, for optimizers that are made with a list of them."""

    def __init__(self, data: Array) -> None:
        self.data = data
        self.grad: Any = None


class OptimizerGrading(Grading):
    """Runs four updates.

    `wanted` are the settings that an object given as `like` asks for; `usual` those of its class.
    """

    def __init__(
        self, report: Report, theirs: Any, make: Any, kind: str,
        wanted: dict[str, float] | None = None, usual: dict[str, float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(report, Player(theirs, make, ("lr",)), Family())
        self.theirs, self.make, self.kind = theirs, make, kind
        self.wanted, self.usual = wanted or {}, usual or {}
        self.lr = self.wanted.get("lr", LR)
        report.subject = self.player.name
        generator = np.random.default_rng(7)
        shapes = {"W": (2, 3), "b": (3,)}
        self.start = {name: generator.normal(size=s).round(2) for name, s in shapes.items()}
        self.grads = [
            {name: (generator.uniform(0.5, 1.5, s) * generator.choice([-1, 1], s)).round(2)
             for name, s in shapes.items()}
            for _ in range(STEPS)
        ]  # fmt: skip
        self.parameters = {name: Parameter(a.copy()) for name, a in self.start.items()}
        self.config: dict[str, Any] = {}
        self.rates: set[str] = set()  # names that the learning rate was given as

    def run(self) -> None:
        """Check every update of both parameters."""
        try:
            optimizer = self._made()
            path = self._dicts_or_lists(optimizer)
        except NotOfferedError as error:
            self.add("call", "wrong", self.say("asked", what=error))
            return
        except (TheirError, UnrecognisedError) as error:
            why = str(error)
            if isinstance(error, UnrecognisedError):
                why = self.say("unknown", why=why, make="make=lambda lr: TheirClass(lr)")
            mistake = "steps_counted_from_zero" if "ZeroDivisionError" in why else None
            self.add("call", "wrong", why, mistake if self.kind in ("adam", "adamw") else None)
            return
        settings = self._settings(optimizer)
        for name in self.start:
            self._compare(name, [step[name] for step in path], settings)

    def _dicts_or_lists(self, optimizer: Any) -> list[dict[str, Array]]:
        """Give dicts, or the lists of arrays that some courses have."""
        fresh = copied(optimizer)
        try:
            return self._run(optimizer)
        except TheirError:
            try:
                return self._run(fresh, lists=True)
            except TheirError:
                pass
            raise

    def _made(self) -> Any:
        """Make the optimizer, or copy it, with the settings that are asked for."""
        if self.player.is_function and not hasattr(self.theirs, "update"):
            return self.theirs
        given: dict[str, Any] = {}
        if isinstance(self.theirs, type) or self.make is not None:
            build = self.make or self.theirs
            given = self._arguments(build)
            obj = guarded(f"{self.player.name}(...)", build, **given)
        else:
            obj = copied(self.theirs)
        taken = set(settings_of(given, self.rates))
        wanted = {"lr": self.lr, **self.wanted}
        for name, value in list(vars(obj).items()) if hasattr(obj, "__dict__") else ():
            for setting in set(settings_of({name: value}, self.rates)) & set(wanted) - taken:
                both = (wanted.get("beta1"), wanted.get("beta2"))
                setattr(obj, name, both if plain(name) == "betas" else wanted[setting])
                taken.add(setting)
        if self.kind in ("momentum", "nesterov"):
            taken.add("rho")  # without it, the numbers tell
        for setting, value in self.wanted.items():
            if setting not in {"lr", *taken} and value != self.usual.get(setting):
                raise NotOfferedError(f"{setting}={value:g}")
        return obj

    def _arguments(self, build: Any) -> dict[str, Any]:
        """Choose the arguments of a constructor: the rate, what is asked for, and what it needs."""
        parameters = signature(build)
        rate_is_alpha = not {"lr", "learningrate", "eta"} & set(map(plain, parameters))
        known: dict[str, Any] = {}
        for name, parameter in parameters.items():
            flat = plain(name)
            if flat in ("params", "parameters"):
                known[name] = list(self.parameters.values())
            elif flat == "betas" and "beta1" in self.wanted:
                known[name] = (self.wanted["beta1"], self.wanted["beta2"])
            elif flat == "alpha" and rate_is_alpha:
                continue
            for setting in (s for s, names in SETTINGS.items() if flat in names.split()):
                if setting != "lr" and setting in self.wanted:
                    known[name] = self.wanted[setting]
                elif setting != "lr" and parameter.default is parameter.empty:
                    known[name] = usual_settings(self.kind, decay=0.01)[setting]
        rest = {n: p for n, p in parameters.items() if n not in known}
        chosen = arguments(Signed(rest), {"lr": self.lr}, ("lr",), (), f"{self.player.name}(...)")
        self.rates = {plain(name) for name in chosen}
        return chosen | known

    def _run(self, optimizer: Any, *, lists: bool = False) -> list[dict[str, Array]]:
        """Return the parameters after each update."""
        update = optimizer
        if not self.player.is_function or hasattr(optimizer, "update"):
            update = method(optimizer, "update", "step", "apply", "apply_gradients", "__call__")
        if update is None:
            raise UnrecognisedError(f"{self.player.name} has no update(params, grads)")
        if any(plain(name) in CONFIGS for name in signature(update)):
            return self._configured(update)
        takes = [p for p in signature(update).values() if p.default is p.empty]
        if not takes and not signature(update):
            return self._stepped(update)
        params = {name: a.copy() for name, a in self.start.items()}
        holder = Holder(params) if len(takes) == 1 else None
        path = []
        for grads in self.grads:
            given = {name: g.copy() for name, g in grads.items()}
            if holder is not None:
                holder.dW, holder.db = given["W"], given["b"]
                guarded("update(layer)", update, holder)
                params = {"W": holder.W, "b": holder.b}
            else:
                result = self._update(update, params, given, lists=lists)
                if isinstance(result, dict) and set(result) == set(params):
                    params = result
            path.append({name: np.array(to_host(a)) for name, a in params.items()})
        return path

    def _stepped(self, update: Any) -> list[dict[str, Array]]:
        """Call step() of what was made with the parameters."""
        path = []
        for grads in self.grads:
            for name, parameter in self.parameters.items():
                parameter.grad = grads[name].copy()
            guarded("step()", update)
            path.append({n: np.array(to_host(p.data)) for n, p in self.parameters.items()})
        return path

    def _configured(self, update: Any) -> list[dict[str, Array]]:
        """Call a function (w, dw, config), which returns the next w and config."""
        config = {**self.wanted, "learning_rate": self.lr, "lr": self.lr}
        renamed = {"rho": ("momentum", "decay_rate"), "eps": ("epsilon",), "decay": ()}
        for setting, names in renamed.items():
            if setting in self.wanted:
                config |= dict.fromkeys(names, self.wanted[setting])
        configs: dict[str, Any] = {name: dict(config) for name in self.start}
        params, path = {name: a.copy() for name, a in self.start.items()}, []
        for grads in self.grads:
            for name, w in params.items():
                what = "update(w, dw, config)"
                result = guarded(what, update, w, grads[name].copy(), configs[name])
                if isinstance(result, tuple) and len(result) == 2:
                    params[name], configs[name] = result
                elif result is not None:
                    params[name] = result
            path.append({name: np.array(to_host(a)) for name, a in params.items()})
        self.config = configs["W"]
        return path

    def _update(self, update: Any, params: Any, grads: Any, *, lists: bool) -> Any:
        names = [n for n in signature(update) if plain(n) in SETTINGS["lr"].split()]
        extra = dict.fromkeys(names, self.lr)
        if not lists:
            return guarded("update(params, grads)", update, params, grads, **extra)
        arrays = list(params.values())
        guarded("update(params, grads)", update, arrays, list(grads.values()), **extra)
        return dict(zip(params, arrays, strict=True))

    def _settings(self, optimizer: Any) -> dict[str, float]:
        """Return what counts: what is asked for, before what they have, before what is usual."""
        attributes = vars(optimizer) if hasattr(optimizer, "__dict__") else {}
        found = settings_of(attributes, self.rates) | settings_of(self.config)
        if self.kind != "adamw":
            found.pop("decay", None)
        rate = 1.0 if self.kind == "adadelta" and "lr" not in found and not self.rates else self.lr
        return usual_settings(self.kind) | found | self.wanted | {"lr": rate}

    def _compare(self, name: str, path: list[Array], settings: dict[str, float]) -> None:
        grads = [step[name] for step in self.grads]
        if all(np.array_equal(p, self.start[name]) for p in path):
            self.add(name, "wrong", "", "parameters_not_updated")
            return
        settled = [settings]
        if self.kind in ("rmsprop", "adadelta") and "rho" not in self.wanted:
            settled += [settings | {"rho": rho} for rho in (0.9, 0.95, 0.99, 0.999)]
        for values in settled:
            for rule in RIGHT[self.kind]:
                if _near(path, self._path(name, rule, grads, values), self.start[name]):
                    self.right(name)
                    return
        right = self._path(name, RIGHT[self.kind][0], grads, settings)
        step = next(
            (i for i in range(STEPS) if not np.allclose(path[i], right[i], rtol=1e-3)), STEPS - 1
        )
        plain_layout = Layout("plain")
        message = self.difference(name, path[step], right[step], plain_layout, 1e-4)
        for mistake, wrong in self._mistakes():
            if _near(path, self._path(name, wrong, grads, settings), self.start[name]):
                self.add(name, "wrong", message, mistake)
                return
        infinite = not all(np.isfinite(p).all() for p in path)  # 1 - beta ** 0 is 0
        counted = infinite and self.kind in ("adam", "adamw")
        self.add(name, "wrong", message, "steps_counted_from_zero" if counted else None)

    def _mistakes(self) -> Iterator[tuple[str, Rule]]:
        for rule in RIGHT[self.kind]:
            yield "ascends", partial(_negative, rule)
        yield from WRONG[self.kind]

    def _path(
        self, name: str, rule: Rule, grads: list[Array], settings: dict[str, float]
    ) -> list[Array]:
        value, path = self.start[name], []
        with np.errstate(all="ignore"):
            for i in range(STEPS):
                decayed = settings["lr"] * settings["decay"] * value
                value = value - rule(grads[: i + 1], settings) - decayed
                path.append(value)
        return path


def _negative(rule: Rule, grads: list[Any], settings: dict[str, float]) -> Array:
    return -rule(grads, settings)


def _near(path: list[Array], right: list[Array], start: Array) -> bool:
    """Compare updates: epsilon differs from course to course."""
    size = max(np.abs(wanted - start).max() for wanted in right)
    for got, wanted in zip(path, right, strict=True):
        if got.shape != wanted.shape or not np.abs(got - wanted).max() <= 1e-3 * size:
            return False
    return True
