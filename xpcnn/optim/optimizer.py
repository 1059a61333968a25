"""The base class of all optimizers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, Protocol, TypedDict

import numpy as np

from xpcnn import _xp, kernels
from xpcnn._registry import Checked
from xpcnn._xp import Array
from xpcnn.device import Device, resolve
from xpcnn.errors import CaptureError
from xpcnn.interrupts import deferred
from xpcnn.optim.groups import Groups
from xpcnn.optim.schedules import Schedule
from xpcnn.optim.states import sort_state


class Trainable(Protocol):
    """What an optimizer needs of a parameter."""

    grad: Array | None
    requires_grad: bool

    @property
    def value(self) -> Array:
        """The array, for reading."""

    def renew(self, value: Array) -> None:
        """Take a new array."""


class Common(TypedDict, total=False):
    """What every optimizer takes besides settings of its own; see :class:`Optimizer`."""

    clip_norm: float | None
    clip_value: float | None
    schedule: Schedule | None
    groups: Mapping[str, Mapping[str, Any]] | None


class Task(NamedTuple):
    """One parameter in an update: its value, gradient, slots, and the number of the update."""

    name: str
    p: Array
    g: Array
    slots: dict[str, Array]
    step: int


class Optimizer(Checked):
    """Changes parameters against their gradients.

    A subclass implements :meth:`_update` and lists in `_slots` the names of the arrays it keeps
    for each parameter. The equations are PyTorch's.

    Parameters
    ----------
    lr : float
        Learning rate, before the schedule.
    weight_decay : float
        Adds ``weight_decay * parameter`` to the gradient (after clipping).
    clip_norm : float, optional
        Scales all gradients together so that their common Euclidean norm is at most this, as
        PyTorch's ``clip_grad_norm_``.
    clip_value : float, optional
        Limits every element of the gradients to [-clip_value, clip_value]; comes before
        `clip_norm` if both are given.
    schedule : Schedule, optional
        Changes the learning rate during training.
    groups : mapping of str to mapping, optional
        Settings for parameters whose names match a shell pattern, such as
        ``{"classifier.*": dict(lr=1e-2), "*.bias": dict(weight_decay=0)}``; the name of a layer
        picks all in it. Any setting that is a number, or several, may differ, but not `clip_norm`
        and `clip_value`, which take all gradients together. Where several patterns pick a
        parameter, a later one goes before an earlier one, setting by setting. The schedule works
        on the learning rate of each group; of one that has no use for it, such as OneCycleLR, a
        group gets the share ``group's lr / optimizer's lr``. Setting `lr` later leaves that of a
        group as it is.

    Attributes
    ----------
    iterations : int
        Updates done so far.
    epochs : int
        Epochs done so far, for schedules that count them; see :meth:`end_epoch`.

    Notes
    -----
    An optimizer belongs to the model that it is first given to, with all it has learnt of it.
    Another model refuses it, until :meth:`reset` makes it a new one. The same holds for a
    schedule that watches a value, and its optimizer.

    Raises
    ------
    ValueError
        If a setting is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> class SignSGD(xpcnn.optim.Optimizer):  # steps of one size
    ...     def _update(self, xp, p, g, slots, lr, step):
    ...         return p - lr * xp.sign(g)
    >>> p = xpcnn.Parameter((2,), xpcnn.initializers.ones())
    >>> p.data, p.grad = np.array([1.0, 1.0]), np.array([0.01, -200.0])
    >>> SignSGD(lr=0.25).step({"p": p})
    >>> p.data.tolist()
    [0.75, 1.25]
    """

    spellings: ClassVar[Mapping[str, str]] = {"learning_rate": "lr", "decay": "weight_decay"}
    _slots: ClassVar[tuple[str, ...]] = ()
    _decoupled_decay: ClassVar[bool] = False
    epochs: int = 0
    _owner: object = None  # what stands for the model
    _token: object = None  # what stands for this optimizer, with its schedule

    def __init__(
        self,
        lr: float,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: Schedule | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.lr = self._number("lr", lr)
        self.weight_decay = self._number("weight_decay", weight_decay)
        self.clip_norm = None if clip_norm is None else self._positive("clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else self._positive("clip_value", clip_value)
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError(
                f"{type(self).__name__}: schedule must be a Schedule such as StepLR(30), got "
                f"{schedule!r}"
            )
        self.schedule = schedule
        named = Groups({} if groups is None else groups, type(self).__name__)
        self.groups = named or None
        self.iterations = 0
        self.epochs = 0
        self._state: dict[str, dict[str, Array]] = {}
        self._steps: dict[str, int] = {}
        self._sorted_by: tuple[Any, ...] = ()
        self._kinds: list[tuple[Optimizer, list[str]]] = []

    # -- Groups of parameters ------------------------------------------------------------------

    def _complete(self) -> None:
        if self.groups is None:
            return
        try:
            allowed = self._numeric()
        except AttributeError as error:
            raise TypeError(
                f"{type(self).__name__}: for groups, keep the arguments of the constructor as "
                f"attributes of the same names, or override arguments(): {error}"
            ) from None
        checked: dict[str, dict[str, Any]] = {}
        for pattern, settings in self.groups.items():
            where = f"{type(self).__name__}: groups[{pattern!r}]"
            for name in settings:
                if name not in allowed:
                    meant = self.spellings.get(name)
                    hint = f" (here it is {meant!r})" if meant else ""
                    raise ValueError(
                        f"{where}: {name!r} is no setting that may differ between parameters"
                        f"{hint}; those are {', '.join(allowed)}"
                    )
            try:
                kind = self._with(settings)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{where}: {error}") from None
            checked[pattern] = {name: getattr(kind, name) for name in settings}
            if self.lr == 0.0 and "lr" in settings and self.schedule and self.schedule.sets_lr:
                raise ValueError(
                    f"{where}: {type(self.schedule).__name__} sets the learning rate, of which "
                    "the group's lr over the optimizer's is the share; the latter must not be 0"
                )
        self.groups = Groups(checked, type(self).__name__)

    def _numeric(self) -> list[str]:
        """Name the settings that are numbers, or several."""
        found = []
        for name, value in self.arguments().items():
            values = value if isinstance(value, tuple) and value else (value,)
            numbers = all(type(v) in (int, float) for v in values)
            if numbers and name not in ("clip_norm", "clip_value"):
                found.append(name)
        return found

    def _with(self, settings: Mapping[str, Any]) -> Optimizer:
        """Make an optimizer like this one with other settings, for parameters of a group."""
        arguments = self.arguments()
        whole = {name: None for name in Common.__annotations__ if name in arguments}
        return type(self).from_arguments({**arguments, **whole, **settings})

    def check_groups(self, parameters: Mapping[str, Trainable]) -> None:
        """Raise a ValueError if a pattern of `groups` picks none of the parameters."""
        if self.groups is not None:
            self.groups.check(parameters, type(self).__name__)

    def _by_settings(
        self, parameters: Mapping[str, Trainable]
    ) -> list[tuple[Optimizer, list[str]]]:
        """Sort the names of the parameters that are trained by their settings.

        Each comes with an optimizer that has these.
        """
        names = [name for name, parameter in parameters.items() if parameter.requires_grad]
        if self.groups is None:
            return [(self, names)]
        own = [getattr(self, name) for name in self._numeric()]
        sorted_by = (tuple(parameters), tuple(names), self.groups, own)
        if self._sorted_by != sorted_by:
            self.check_groups(parameters)
            kinds: dict[str, tuple[Optimizer, list[str]]] = {}
            for name in names:
                settings = self.groups.settings_of(name)
                key = repr(sorted(settings.items()))
                if key not in kinds:
                    kinds[key] = self._with(settings), []
                kinds[key][1].append(name)
            self._kinds, self._sorted_by = list(kinds.values()), sorted_by
        return self._kinds

    def _update_by_groups(
        self,
        parameters: Mapping[str, Trainable],
        tasks: list[Task],
        epoch: int | None,
        numbers: Array | None,
    ) -> list[Array]:
        """Return the new values of several parameters, each updated by its own settings."""
        values: dict[str, Array] = {}
        for kind, names in self._by_settings(parameters):
            lr, own = self._scheduled(kind.lr, epoch), set(names)
            if numbers is None:
                part = None
            else:
                count = len(kind._numbers(lr, 1) or ())
                part, numbers = numbers[:count], numbers[count:]
            mine = [task for task in tasks if task.name in own]
            if mine:
                new = kind._update_all(mine, lr, part)
                values |= zip((task.name for task in mine), new, strict=True)
        return [values[task.name] for task in tasks]

    # -- What a subclass implements ------------------------------------------------------------

    def _update(
        self, xp: ModuleType, p: Array, g: Array, slots: dict[str, Array], lr: float, step: int
    ) -> Array:
        """Return the new value of a parameter.

        Parameters
        ----------
        xp : module
            Namespace of the arrays.
        p, g : array
            The parameter and its gradient; they must not be changed.
        slots : dict of str to array
            What the last call left for this parameter: empty at first. Entries are replaced, the
            arrays in them are not changed.
        lr : float
            Learning rate of this update.
        step : int
            Number of this update of this parameter, from 1.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement _update")

    def _update_all(self, tasks: list[Task], lr: float, numbers: Array = None) -> list[Array]:
        """Return the new values of several parameters: one by one, unless there is a better way.

        Parameters
        ----------
        tasks : list of Task
            One at least.
        lr : float
        numbers : array, optional
            Those of :meth:`_numbers` on the device, to be taken in place of the host's.
        """
        values = []
        for task in tasks:
            xp, g = _xp.namespace(task.p), task.g
            if self.weight_decay and not self._decoupled_decay:
                g = g + self.weight_decay * task.p
            values.append(self._update(xp, task.p, g, task.slots, lr, task.step))
        return values

    def _numbers(self, lr: float, step: int) -> tuple[float, ...] | None:
        """Return all that an update takes from the host and is another number each time.

        The :meth:`_update_all` of an optimizer that can say so takes them from the device.
        """
        return None

    # -- Running -------------------------------------------------------------------------------

    def current_lr(self, epoch: int | None = None) -> float:
        """Return the learning rate that the next update will use.

        Parameters
        ----------
        epoch : int, optional
            Number of the epoch, from 0; as many as there were if left out.
        """
        return self._scheduled(self.lr, epoch)

    def _scheduled(self, base: float, epoch: int | None) -> float:
        """Return the learning rate that the schedule makes of a base."""
        schedule = self.schedule
        if schedule is None:
            return base
        epoch = self.epochs if epoch is None else epoch
        if schedule.sets_lr and base != self.lr:
            share = base / self.lr
            return share * schedule.lr(self.lr, epoch=epoch, step=self.iterations)
        return schedule.lr(base, epoch=epoch, step=self.iterations)

    def step(
        self,
        parameters: Mapping[str, Trainable],
        *,
        epoch: int | None = None,
        numbers: Array | None = None,
    ) -> None:
        """Update every parameter that has a gradient and is not frozen.

        If anything fails or is interrupted, nothing has changed.

        Parameters
        ----------
        parameters : mapping of str to Parameter
            As ``layer.parameters()`` returns them; what an optimizer remembers goes by name.
        epoch : int, optional
            Number of the epoch, from 0, for schedules that count epochs; as many as
            :meth:`end_epoch` has counted if left out.
        numbers : array, optional
            Those of :meth:`next_numbers` on the device, for an update that is captured: what it
            took from the host would be the same in every repetition.
        """
        lr = self.current_lr(epoch)
        active = {
            name: parameter
            for name, parameter in parameters.items()
            if parameter.grad is not None and parameter.requires_grad
        }
        gradients = self._clip({name: parameter.grad for name, parameter in active.items()})
        tasks = []
        for name, parameter in active.items():
            p, g, slots = parameter.value, gradients[name], dict(self._state.get(name, ()))
            if g.shape != p.shape:
                raise ValueError(
                    f"{type(self).__name__}: the gradient of {name} has shape {tuple(g.shape)}, "
                    f"expected that of the parameter, {tuple(p.shape)}"
                )
            for array in slots.values():
                if array.shape != p.shape:
                    raise ValueError(
                        f"{type(self).__name__}: optimizer state for {name} has the wrong shape, "
                        f"expected {tuple(p.shape)}; it belongs to another model, call reset() to "
                        "forget it"
                    )
            tasks.append(Task(name, p, g, slots, self._steps.get(name, 0) + 1))
        if self.groups is not None:
            values = self._update_by_groups(parameters, tasks, epoch, numbers)
        else:
            values = self._update_all(tasks, lr, numbers) if tasks else []
        self._commit(
            [(active[task.name], task, value) for task, value in zip(tasks, values, strict=True)]
        )

    def _commit(self, updates: list[tuple[Trainable, Task, Array]]) -> None:
        """Put new values in their places: all of them, or none."""
        before = self.snapshot()
        with deferred():
            try:
                for parameter, task, value in updates:
                    parameter.renew(value)
                    self._state[task.name] = task.slots
                    self._steps[task.name] = task.step
                self.iterations += 1
            except BaseException:
                for parameter, task, _ in updates:
                    if parameter.value is not task.p:
                        parameter.renew(task.p)
                        getattr(parameter, "data", None)  # who has asked for it may still write
                self.restore(before)
                raise

    def next_numbers(
        self, parameters: Mapping[str, Trainable], *, epoch: int | None = None
    ) -> tuple[float, ...]:
        """Return the numbers that the next update of all parameters takes from the host.

        Raises
        ------
        CaptureError
            If they cannot be told apart from the rest of the update.
        """
        found: list[float] = []
        for kind, names in self._by_settings(parameters):
            steps = {self._steps.get(name, 0) + 1 for name in names}
            if len(steps) > 1:
                raise CaptureError("the parameters have had different numbers of updates")
            numbers = kind._numbers(self._scheduled(kind.lr, epoch), max(steps, default=1))
            if numbers is None:
                raise CaptureError(f"{type(self).__name__} with these settings cannot be captured")
            found += numbers
        return tuple(found)

    def count_step(self, names: Iterable[str]) -> None:
        """Count an update of some parameters that was made without :meth:`step`."""
        self._steps |= {name: self._steps.get(name, 0) + 1 for name in names}
        self.iterations += 1

    def end_epoch(self, logs: Mapping[str, float] | None = None, *, validated: bool = True) -> None:
        """Count an epoch, and let the schedule see what it watches.

        Parameters
        ----------
        logs : mapping of str to float, optional
            What an epoch has come to. Where there is no ``"val_loss"``, ``"loss"`` stands in.
        validated : bool
            ``False`` where only some epochs are validated, and not this one: a schedule that
            watches a figure of validation sees nothing.

        Raises
        ------
        ValueError
            If it lacks the value that the schedule watches. Nothing has been counted then.
        """
        schedule = self.schedule
        waits = not validated and schedule is not None and str(schedule.monitor).startswith("val_")
        if schedule is not None and schedule.monitor is not None and not waits:
            logs, name = logs or {}, schedule.monitor
            if name == "val_loss" and name not in logs:
                name = "loss"
            if name not in logs:
                raise ValueError(
                    f"{type(schedule).__name__} watches {schedule.monitor!r}: give its value of "
                    f"this epoch, as in end_epoch({{{schedule.monitor!r}: 0.5}})"
                )
            schedule.observe(logs[name])
        self.epochs += 1

    def _clip(self, gradients: dict[str, Array]) -> dict[str, Array]:
        if self.clip_value is not None:
            gradients = {
                name: _xp.clip(g, -self.clip_value, self.clip_value)
                for name, g in gradients.items()
            }
        if self.clip_norm is not None and gradients:
            scale = _norm_scale(list(gradients.values()), self.clip_norm)
            gradients = {name: g * scale for name, g in gradients.items()}
        return gradients

    def count_slots(self) -> int:
        """Return how many arrays it keeps for each parameter, each as large as that one."""
        kinds = [self, *(self._with(settings) for settings in (self.groups or {}).values())]
        one, counts = np.ones(1, np.float32), []
        for kind in kinds:
            slots: dict[str, Array] = {}
            kind._update_all([Task("", one, one, slots, 1)], kind.lr)
            counts.append(len(slots))
        return max(counts)

    # -- State ---------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON has them."""
        found = super().config()
        if self.groups is not None:
            found["groups"] = self.groups.as_lists()
        return found

    def state_dict(self) -> dict[str, Array]:
        """Return what training needs to resume.

        Returns
        -------
        dict of str to array
            ``"<parameter>/<slot>"`` for every array kept, ``"<parameter>/step"`` (host, int64) for
            the updates of each parameter, ``"iterations"`` and, if there were any, ``"epochs"``
            (host, int64). The schedule keeps its own state.
        """
        state: dict[str, Array] = {"iterations": np.asarray(self.iterations, dtype=np.int64)}
        if self.epochs:
            state["epochs"] = np.asarray(self.epochs, dtype=np.int64)
        for name, step in self._steps.items():
            state[f"{name}/step"] = np.asarray(step, dtype=np.int64)
            state |= {f"{name}/{slot}": array for slot, array in self._state[name].items()}
        return state

    def load_state_dict(
        self,
        state: Mapping[str, Any],
        device: str | Device = "cpu",
        *,
        parameters: Mapping[str, Trainable] | None = None,
    ) -> None:
        """Resume from a state that :meth:`state_dict` returned.

        Parameters
        ----------
        state : mapping of str to array
        device : str or Device
            Where the parameters lie.
        parameters : mapping of str to Parameter, optional
            If given, names and shapes must fit these, and dtypes are theirs.

        Raises
        ------
        ValueError
            Listing every entry that does not fit. Nothing has been changed then.
        """
        steps, arrays = sort_state(state, self._slots, parameters, type(self).__name__)
        device = resolve(device)
        dtypes = {name: _xp.dtype_name(p.value) for name, p in (parameters or {}).items()}
        slots = {
            name: {
                slot: device.asarray(array, dtypes.get(name))
                for slot, array in arrays.get(name, {}).items()
            }
            for name in steps
        }
        iterations = int(state.get("iterations", max(steps.values(), default=0)))
        self.restore((slots, steps, iterations, int(state.get("epochs", 0))))

    def check_state(
        self, state: Mapping[str, Any], parameters: Mapping[str, Trainable] | None = None
    ) -> None:
        """Raise what :meth:`load_state_dict` would, and change nothing."""
        sort_state(state, self._slots, parameters, type(self).__name__)

    def snapshot(self) -> Any:
        """Return the state as it is, without a copy; good for :meth:`restore` only."""
        return dict(self._state), dict(self._steps), self.iterations, self.epochs

    def restore(self, state: Any) -> None:
        """Go back to a state that :meth:`snapshot` returned."""
        with deferred():
            slots, steps, self.iterations, self.epochs = state
            self._state, self._steps = dict(slots), dict(steps)

    def move(self, device: str | Device, dtype: str | None = None) -> None:
        """Bring the arrays kept to another device or dtype, together with their parameters."""
        device = resolve(device)
        self._state = {
            name: {slot: device.asarray(array, dtype) for slot, array in slots.items()}
            for name, slots in self._state.items()
        }

    def forget(self, names: Iterable[str]) -> None:
        """Forget what was learned of some parameters, in whose place there are others now."""
        with deferred():
            for name in names:
                self._state.pop(name, None)
                self._steps.pop(name, None)

    def reset(self) -> None:
        """Forget all that was learned: slots, counters, the schedule's state, and the model."""
        with deferred():
            self.restore(({}, {}, 0, 0))
            self.release()
            if self.schedule is not None:
                self.schedule.reset()

    def claim(self, owner: object) -> None:
        """Belong to a model from now on.

        Parameters
        ----------
        owner : object
            What stands for the model.

        Raises
        ------
        ValueError
            If it belongs to another one, or its schedule to another optimizer.
        """
        who = type(self).__name__
        if self._owner not in (None, owner):
            raise ValueError(
                f"this {who} belongs to another model, with all it has learnt of that one; make a "
                "new optimizer for each model, or call reset() on it first"
            )
        schedule = self.schedule
        if schedule is not None and schedule.state_dict():
            if schedule._owner not in (None, self._token):
                raise ValueError(
                    f"this {type(schedule).__name__} belongs to another optimizer, with all it has "
                    "seen; make a new one for each optimizer, or call reset() on it first"
                )
            self._token = schedule._owner = self._token or object()
        self._owner = owner

    def release(self) -> None:
        """Belong to no model any more."""
        self._owner = None

    # -- Checks of settings --------------------------------------------------------------------

    def _number(self, name: str, value: Any, *, below: float = math.inf) -> float:
        """Return `value` as a float if it lies in [0, below)."""
        good = isinstance(value, (int, float, np.integer, np.floating))
        if isinstance(value, bool) or not good:
            raise TypeError(f"{type(self).__name__}: {name} must be a number, got {value!r}")
        if not 0.0 <= value < below:
            limit = "finite" if below == math.inf else f"below {below:g}"
            raise ValueError(
                f"{type(self).__name__}: {name} must be at least 0 and {limit}, got {value!r}"
            )
        return float(value)

    def _positive(self, name: str, value: Any) -> float:
        if self._number(name, value) == 0.0:
            raise ValueError(
                f"{type(self).__name__}: {name} must be above 0, got {value!r}; leave it out for "
                "no limit"
            )
        return float(value)

    def _betas(self, betas: Any) -> tuple[float, float]:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(
                f"{type(self).__name__}: betas must be two numbers such as (0.9, 0.999), got "
                f"{betas!r}"
            )
        first, second = (self._number(f"betas[{i}]", b, below=1.0) for i, b in enumerate(betas))
        return first, second


def update_together(
    op: str, tasks: list[Task], slots: Sequence[str], *settings: Any, numbers: Array | None
) -> list[Array]:
    """Update all parameters by one operation, and keep the slots that it returns."""
    old = [[task.slots.get(slot) for task in tasks] for slot in slots]
    parameters, gradients = [task.p for task in tasks], [task.g for task in tasks]
    xp = _xp.namespace(*parameters)
    result = kernels.run(xp, op, parameters, gradients, *old, *settings, numbers=numbers)
    assert result is not None, f"the generic kernels have {op}"
    values, *new = result[0]
    for slot, arrays in zip(slots, new, strict=True):
        for task, array in zip(tasks, arrays, strict=True):
            if array is not None:
                task.slots[slot] = array
    return list(values)


def _norm_scale(gradients: list[Array], limit: float) -> Array:
    """Return min(1, limit / norm) as an array, so that nothing waits for the device."""
    total: Array = 0.0
    for g in gradients:
        xp = _xp.namespace(g)
        total = xp.sum(g * g, dtype=g.dtype) + total
    xp = _xp.namespace(gradients[0])
    return xp.minimum(limit / (xp.sqrt(total) + 1e-6), 1.0)
