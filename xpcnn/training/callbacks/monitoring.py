"""Callbacks that watch a quantity: stop when it no longer improves, keep the best model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from xpcnn._files import check_target
from xpcnn.errors import check_choice
from xpcnn.training.callbacks.base import Callback, Logs, as_path, say
from xpcnn.training.monitors import better_way, known_log, loss_names
from xpcnn.training.saving import check_savable
from xpcnn.window import as_flag, as_int, as_number


class _Monitor(Callback):
    """Watches one quantity and knows when it got better."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        who = type(self).__name__
        check_choice(who, "mode", mode, ("auto", "min", "max"))
        if not isinstance(monitor, str):
            raise TypeError(f"{who}: monitor must be a name in the logs, got {monitor!r}")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(as_number(min_delta, who, "min_delta"))
        self.best = math.nan
        self._seen: int | None = None
        self._told = False  # that the quantity is NaN

    def check(self, names: Sequence[str]) -> None:
        """Raise if there will be no such quantity, or nobody knows which way is better."""
        known_log(self.monitor, names, type(self).__name__)
        self._way()

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Note which epochs the callback will see."""
        self._seen, self._told = self.model.epoch, False

    def is_measured(self, logs: Mapping[str, float]) -> bool:
        """Whether an epoch has the quantity: not all epochs need be validated.

        With ``fit(validation_freq=...)`` the logs of the others lack what begins with "val_".
        """
        return self.monitor in logs or not self.monitor.startswith("val_")

    def improved(self, logs: Mapping[str, float]) -> bool:
        """Compare with the best so far, and remember the new value if it is better.

        NaN never is, which is said once, nor is the worst infinity.
        """
        who = type(self).__name__
        known_log(self.monitor, list(logs), who)
        value = logs[self.monitor]
        if math.isnan(value) and not self._told:
            self._told = True
            say(
                "%s: %r is NaN, which counts as no improvement; a metric is NaN where its samples "
                "do not define it, as an AUC where all are of one class",
                who,
                self.monitor,
            )
        sign = 1.0 if self._way() == "max" else -1.0
        if math.isnan(self.best):
            better = sign * value > -math.inf
        else:
            better = sign * (value - self.best) > self.min_delta
        if better:
            self.best = float(value)
        return better

    def _way(self) -> str:
        """Say whether less or more is better."""
        model = getattr(self, "model", None)
        metrics = () if model is None else model.metrics
        losses = ["loss"] if model is None else loss_names(model.loss, model.outputs)
        return better_way(metrics, self.monitor, self.mode, type(self).__name__, losses)

    def identity(self) -> dict[str, Any]:
        """Return what the best value is the best of."""
        names = ("monitor", "mode", "path")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, and of which epoch the last one was."""
        if self._seen is None:
            return {}
        return {"best": None if math.isnan(self.best) else self.best, "epoch": self._seen}

    def _load(self, state: Mapping[str, Any]) -> dict[str, float] | None:
        """Take over the best value.

        Returns
        -------
        dict or None
            The logs of an epoch of the model that the callback has not seen: a file may have been
            written in the middle of a list of callbacks. ``None`` if it has seen them all.
        """
        who, best, seen = type(self).__name__, state.get("best"), state.get("epoch")
        good = best is None or (isinstance(best, (int, float)) and not isinstance(best, bool))
        if not good or type(seen) is not int:
            raise ValueError(f"{who}: the model's file has an invalid state: {state!r:.200}")
        self.best = math.nan if best is None else float(best)
        self._seen = seen
        history = self.model.history
        column = history.history.get(self.monitor)
        if self.model.epoch != seen + 1 or not column or history.epoch[-1] != seen + 1:
            return None
        self._seen = self.model.epoch
        if self.monitor.startswith("val_") and math.isnan(history.history["val_loss"][-1]):
            return None  # it was not validated
        return {self.monitor: column[-1]}


class EarlyStopping(_Monitor):
    """Stop training when a quantity no longer improves.

    NaN is no improvement, and a warning says so once. The state goes into the model's file: where
    training goes on with a model that was loaded, an EarlyStopping of the same monitor and mode
    goes on counting, unless the model had already been stopped.

    Parameters
    ----------
    monitor : str
        Name in the logs, such as ``"val_loss"``.
    patience : int
        Number of epochs in a row without improvement after which training stops (at least 1).
    min_delta : float
        Smallest change that counts as an improvement.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better. With "auto" losses fall, and a metric says it itself
        (:attr:`xpcnn.metrics.Metric.higher_is_better`); where nobody knows, `mode` must be given.
    restore_best_weights : bool
        Whether to end with the weights of the best epoch.

    Attributes
    ----------
    best : float
        The best value so far; NaN if there is none.
    stopped_epoch : int or None
        The epoch after which training was stopped.

    Raises
    ------
    ValueError, TypeError
        If a setting is none; and before anything is trained, if there will be no such name.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((4, 1), dtype="float32")
    >>> stopping = xpcnn.EarlyStopping("loss", patience=2, min_delta=100.0)  # never reached
    >>> history = model.fit(x, x, epochs=50, callbacks=[stopping], verbose=0)
    >>> len(history.epoch), stopping.stopped_epoch
    (3, 3)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = as_int(patience, "EarlyStopping", "patience", 0)
        self.restore_best_weights = as_flag(
            restore_best_weights, "EarlyStopping", "restore_best_weights"
        )
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._best_state: dict[str, Any] = {}

    def on_train_begin(self, epochs: int, batches: int | None) -> None:
        """Start afresh."""
        super().on_train_begin(epochs, batches)
        self.best, self._waited, self.stopped_epoch, self._best_state = math.nan, 0, None, {}

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Count the epochs without improvement."""
        if self.is_measured(logs):
            self._observe(logs)
        self._seen = epoch
        if self.is_measured(logs) and self._waited >= max(self.patience, 1):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _observe(self, logs: Mapping[str, float]) -> None:
        if self.improved(logs):
            self._waited = 0
            if self.restore_best_weights:
                self._best_state = self.model.network.state_for_reading()
        else:
            self._waited += 1

    def on_train_end(self) -> None:
        """Go back to the best weights."""
        if self._best_state:
            self.model.load_state_dict(self._best_state)
            self._best_state = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, the epochs without improvement, and the best weights.

        The weights are left out where they are the model's own.
        """
        state = super().state_dict()
        if state:
            state["waited"] = 0 if self.stopped_epoch is not None else self._waited
            own = self.model.network._tensors()
            if any(own[name].value is not array for name, array in self._best_state.items()):
                state |= {f"weights/{name}": array for name, array in self._best_state.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting, unless the model was trained without this callback meanwhile."""
        waited = state.get("waited")
        if type(waited) is not int or waited < 0:
            raise ValueError(
                f"EarlyStopping: the model's file has an invalid state: {state!r:.200}"
            )
        missed = self._load(state)
        if self._seen != self.model.epoch:
            self.best, self._seen = math.nan, self.model.epoch
            return
        self._waited = waited
        if self.restore_best_weights and not math.isnan(self.best):
            prefix = "weights/"
            weights = {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}
            self._best_state = weights or self.model.network.state_for_reading()
        if missed is not None:
            self._observe(missed)
        if self._waited >= max(self.patience, 1):
            self._waited = 0


class ModelCheckpoint(_Monitor):
    """Save the model after every epoch, or only when it is the best so far.

    What the best value was goes into the model's file: where training goes on with a model that
    was loaded, a ModelCheckpoint of the same path, monitor and mode writes only what is better.
    Put it behind other callbacks whose state the file shall hold.

    Parameters
    ----------
    path : str or Path
        File to write. Fields of Python's formats are filled in: ``{epoch}`` and all names in the
        logs, as in ``"model-{epoch:02d}-{val_loss:.2f}.st"``. Braces of a name are written twice.
        Folders that have fields in their names are made.
    monitor : str
        Name in the logs.
    save_best_only : bool
    mode : {"auto", "min", "max"}
        As for :class:`EarlyStopping`.

    Raises
    ------
    ValueError, TypeError, OSError
        If a setting is none; and before anything is trained, if there will be no such name, no
        such field, or no file can be written at the path.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np, xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((4, 1), dtype="float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saving = xpcnn.ModelCheckpoint(Path(folder) / "model-{epoch:02d}.st", monitor="loss")
    ...     history = model.fit(x, x, epochs=2, callbacks=[saving], verbose=0)
    ...     print(sorted(path.name for path in Path(folder).iterdir()))
    ['model-01.st', 'model-02.st']
    """

    def __init__(
        self,
        path: str | Path,
        monitor: str = "val_loss",
        save_best_only: bool = True,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode)
        self.path = as_path("ModelCheckpoint", path)
        self.save_best_only = as_flag(save_best_only, "ModelCheckpoint", "save_best_only")
        self._columns: Sequence[str] = ()

    def check(self, names: Sequence[str]) -> None:
        """Raise if there will be no such quantity or field, or no such folder."""
        if self.save_best_only:
            super().check(names)
        self._check_fields(names)
        self._columns = tuple(names)
        example = self._filled(1, dict.fromkeys(names, 0.5))
        folder = str(Path(self.path).parent)
        if folder.format_map(_Same()) == folder:
            check_target(example)
        check_savable(self.model)

    def _check_fields(self, names: Sequence[str]) -> None:
        try:
            fields = [field for _, field, _, _ in Formatter().parse(self.path) if field is not None]
        except ValueError as error:
            raise ValueError(
                f"ModelCheckpoint: path {self.path!r} is no format ({error}); write the braces of "
                "a name twice, as in '{{name}}'"
            ) from None
        known = ["epoch", *names]
        unknown = [field for field in fields if field not in known]
        if unknown:
            raise ValueError(
                f"ModelCheckpoint: path {self.path!r} has the field {{{unknown[0]}}}, and there "
                f"are only {', '.join(known)}; write the braces of a name twice, as in '{{{{x}}}}'"
            )

    def _filled(self, epoch: int, logs: Mapping[str, float]) -> str:
        try:
            missing = dict.fromkeys(self._columns, math.nan)  # of an epoch without validation
            return self.path.format_map({**missing, **logs, "epoch": epoch})
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(
                f"ModelCheckpoint: path {self.path!r} cannot be filled in: {error}"
            ) from None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save."""
        before = self.best, self._seen
        self._seen = epoch
        if self.save_best_only and not (self.is_measured(logs) and self.improved(logs)):
            return
        try:
            path = Path(self._filled(epoch, logs))
            if str(path) != self.path:
                path.parent.mkdir(parents=True, exist_ok=True)
            self.model.save(path)
        except BaseException:
            self.best, self._seen = before  # what was not written is not the best there is
            raise

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, where it matters."""
        return super().state_dict() if self.save_best_only else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on comparing with the best."""
        missed = self._load(state)
        if missed is not None:
            self.improved(missed)


class _Same(dict[str, str]):
    """Fills in each field by something that is no name."""

    def __missing__(self, key: str) -> str:
        return "\0"
