"""``xpcnn train``."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcnn.cli.common import describe_device, load_data, load_model, score
from xpcnn.data.datasets import Part
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
    print(f"device: {describe_device(model.device)}")
    print(
        f"{len(training[1])} training images, batches of {args.batch_size}, {epochs} epochs",
        flush=True,
    )
    began = time.perf_counter()
    try:
        _fit(model, training, epochs, args.batch_size)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_save_interrupted(model, args.save)) from None
    print(f"trained in {time.perf_counter() - began:.1f} s")
    print(score(model, test))
    model.save(target)
    print(f"saved to {target}")


def _check_options(args: argparse.Namespace) -> None:
    if args.resume is None:
        return
    for option in ("model", "seed"):
        if getattr(args, option) is not None:
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
    if path.is_dir():
        raise IsADirectoryError(f"cannot save to {path}: it is a folder; add a file name")
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"cannot save to {path}: no right to write in {folder.resolve()}; use --save FILE"
        )


def _make_model(args: argparse.Namespace, training: Part, test: Part) -> Model:
    if args.resume is not None:
        model = load_model(args.resume, args.device, args.precision)
        if model.optimizer is None or model.loss is None:
            model.compile(Adam(lr=args.lr or DEFAULTS.lr), "cross_entropy", ["accuracy"])
        elif args.lr is not None:
            model.optimizer.lr = args.lr
        return model
    classes = 1 + int(max(training[1].max(), test[1].max()))
    layers = make(args.model or DEFAULTS.model, max(classes, 10))
    seed = DEFAULTS.seed if args.seed is None else args.seed
    precision = args.precision or "float32"
    model = Model(layers, device=args.device, seed=seed, precision=precision)
    model.compile(Adam(lr=args.lr or DEFAULTS.lr), "cross_entropy", ["accuracy"])
    return model


def _fit(model: Model, training: Part, epochs: int, batch_size: int) -> None:
    x, y = training
    with _interrupt_between_steps() as callback:
        model.fit(x, y, epochs=epochs, batch_size=batch_size, callbacks=[callback])


def _save_interrupted(model: Model, path: Path | None) -> str:
    """Save what was trained if the user had asked for a file, and say so."""
    done = f" after {model.epoch} epochs ({model.step} steps)"
    if path is None:
        return f"{done}; nothing was saved (give --save FILE to keep it)"
    if not model.step:
        return f"{done}; there was nothing to save yet"
    model.save(path)
    return f"{done}; saved to {path}, go on with: xpcnn train --resume {path}"


class _StopAtStep(Callback):
    """Raises the interrupt when a training step is complete, never in the middle of one."""

    def __init__(self) -> None:
        self.asked = False

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Pass a waiting interrupt on."""
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def _interrupt_between_steps() -> Iterator[_StopAtStep]:
    """Hold back the first Ctrl-C until the current step is complete; a second acts at once."""
    callback = _StopAtStep()
    # Only the main thread may handle signals; a job in the background is told to ignore this one.
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield callback
        return

    def handle(number: int, frame: Any) -> None:
        if callback.asked:
            raise KeyboardInterrupt
        callback.asked = True

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield callback
    finally:
        signal.signal(signal.SIGINT, before)
    if callback.asked:  # it came after the last step
        raise KeyboardInterrupt
