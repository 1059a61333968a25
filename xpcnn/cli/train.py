"""``xpcnn train``."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._files import check_target
from xpcnn.cli.common import describe_device, load_data, load_model, say, score
from xpcnn.data.datasets import Part
from xpcnn.errors import OutOfMemoryError
from xpcnn.networks import make
from xpcnn.optim import Adam
from xpcnn.training.callbacks import Callback, Logs
from xpcnn.training.model import Model


@dataclass(frozen=True)
class _Defaults:
    model: str = "simple"
    data: str = "digits"
    epochs: int = 20
    batch_size: int = 100
    lr: float = 1e-3
    seed: int = 0

    @property
    def file(self) -> Path:
        """Where the model goes if nothing else is said."""
        return Path(f"{self.model}-{self.data}.safetensors")


DEFAULTS = _Defaults()


def run(args: argparse.Namespace) -> None:
    """Train a model, print its test accuracy, and save it."""
    _check_options(args)
    target = _target(args)
    _check_writable(target)  # now, and not after an hour of training
    training, test = load_data(args.data)
    model = _make_model(args, training, test)
    epochs = (args.epochs or DEFAULTS.epochs) - model.epoch
    if epochs < 1:
        raise ValueError(
            f"{args.resume} is trained for {model.epoch} epochs already; "
            f"give more, such as --epochs {model.epoch + 10}"
        )
    say(f"device: {describe_device(model.device)}")
    say(f"{len(training[1])} training images, batches of {args.batch_size}, {epochs} epochs")
    began = time.perf_counter()
    with _stop_between_steps() as stop:
        try:
            x, y = training
            model.fit(x, y, epochs=epochs, batch_size=args.batch_size, callbacks=[stop])
        except KeyboardInterrupt as interrupt:
            raise type(interrupt)(_save_interrupted(model, args.save)) from None
        seconds = time.perf_counter() - began
        _check_finite(model, training, args.batch_size)
        # before anything else can go wrong: printing and scoring can wait
        _save(model, target)
    say(f"trained in {seconds:.1f} s")
    say(f"saved to {target}")
    try:
        say(score(model, test))
    except (MemoryError, OutOfMemoryError) as error:
        raise RuntimeError(
            f"the model is trained and saved to {target}, but there is not enough memory to score "
            f"it on the test images ({error or 'MemoryError'})"
        ) from error


def _check_options(args: argparse.Namespace) -> None:
    for option in ("model", "seed"):
        if args.resume is not None and getattr(args, option) is not None:
            args.usage_error(
                f"argument --{option}: not allowed with --resume, the file holds it already"
            )


def _target(args: argparse.Namespace) -> Path:
    """Return the file to save to."""
    if args.save is not None:
        return Path(args.save)
    if args.resume is not None:
        return Path(args.resume)
    data = Path(args.data).resolve().name or "data"
    return Path(f"{args.model or DEFAULTS.model}-{data}.safetensors")


def _check_writable(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: there is no folder {folder}; make it")
    check_target(path)
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"cannot save to {path}: no right to write in {folder.resolve()}; use --save FILE"
        )


def _make_model(args: argparse.Namespace, training: Part, test: Part) -> Model:
    if args.resume is None:
        classes = 1 + int(max(training[1].max(), test[1].max()))
        layers = make(args.model or DEFAULTS.model, max(classes, 10))
        seed = DEFAULTS.seed if args.seed is None else args.seed
        precision = args.precision or "float32"
        model = Model(layers, device=args.device, seed=seed, precision=precision)
    else:
        model = load_model(args.resume, args.device, args.precision)
        if model.optimizer is not None and model.loss is not None:
            if args.lr is not None:
                model.optimizer.lr = args.lr
            return model
    model.compile(Adam(lr=args.lr or DEFAULTS.lr), "cross_entropy", ["accuracy"])
    return model


def _check_finite(model: Model, training: Part, batch_size: int) -> None:
    """Refuse a model that has learned nothing but NaN, or numbers too large to compute with.

    Raises
    ------
    ArithmeticError
    """
    x, y = (part[:batch_size] for part in training)
    try:
        with np.errstate(all="ignore"):
            loss = model.evaluate(x, y, batch_size=batch_size)["loss"]
    except MemoryError:
        return  # the model is to be saved
    if not np.isfinite(loss):
        raise ArithmeticError(
            f"training has diverged: the loss on the first training images is {loss}; nothing was "
            f"saved. Try a smaller learning rate, such as --lr {DEFAULTS.lr:g}"
        )


def _save(model: Model, path: Path) -> None:
    """Save, to the folder for temporary files if need be.

    Raises
    ------
    OSError
        If the file is not at the path that was asked for; it says where it is.
    """
    try:
        model.save(path)
    except OSError as error:
        try:
            other = Path(tempfile.mkdtemp(prefix="xpcnn-")) / (path.name or "model.safetensors")
            model.save(other)
        except OSError:
            raise error from None
        raise OSError(f"{error}; the model was saved to {other} instead") from error


def _save_interrupted(model: Model, path: Path | None) -> str:
    """Save what was trained if the user had asked for a file, and say so."""
    done = f" after {model.epoch} epochs ({model.step} steps)"
    if path is None:
        return f"{done}; nothing was saved (give --save FILE to keep it)"
    if not model.step:
        return f"{done}; there was nothing to save yet"
    try:
        _save(model, path)
    except OSError as error:
        return f"{done}; {error}"
    return f"{done}; saved to {path}, go on with: xpcnn train --resume {path}"


class Terminated(KeyboardInterrupt):
    """The process was told to end, by SIGTERM: by the stop of a container, or a time limit."""


class _StopAtStep(Callback):
    """Raises the interrupt when a training step is complete, never in the middle of one."""

    def __init__(self) -> None:
        self.asked: type[KeyboardInterrupt] | None = None

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Pass a waiting interrupt on."""
        self.pass_on()

    def pass_on(self) -> None:
        """Raise the interrupt that waits, if one does."""
        if self.asked is not None:
            raise self.asked


@contextmanager
def _stop_between_steps() -> Iterator[_StopAtStep]:
    """Hold back the first Ctrl-C or SIGTERM until the current step, or saving, is complete.

    A second Ctrl-C acts at once.
    """
    callback = _StopAtStep()

    def handle(number: int, frame: Any) -> None:
        if number == signal.SIGINT and callback.asked is not None:
            raise KeyboardInterrupt
        callback.asked = KeyboardInterrupt if number == signal.SIGINT else Terminated

    before = {}
    # Only the main thread may handle signals; a job in the background is told to ignore some.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield callback
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    callback.pass_on()  # it came after the last step
