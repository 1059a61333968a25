"""``xpcnn train``."""

from __future__ import annotations

import argparse
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._files import check_target
from xpcnn.cli import augment
from xpcnn.cli.common import (
    describe_device,
    load_model,
    network_input,
    say,
    score,
    score_in_words,
    with_network_input,
)
from xpcnn.cli.image_data import Parts, Samples, find_parts, holds_images, load_arrays, read
from xpcnn.cli.predict import reader_of
from xpcnn.data import ImageFolder, ImageReader
from xpcnn.errors import OutOfMemoryError
from xpcnn.kernels.threads import get_num_threads
from xpcnn.layers import Layer, Rescale
from xpcnn.networks import make
from xpcnn.optim import Adam, OneCycleLR
from xpcnn.training.callbacks import Callback, Logs
from xpcnn.training.model import Model


@dataclass(frozen=True)
class _Defaults:
    model: str = "simple"
    photo_model: str = "photo"
    data: str = "digits"
    epochs: int = 20
    batch_size: int = 100
    photo_batch_size: int = 32
    size: int = 64
    lr: float = 1e-3
    photo_lr: float = 3e-3
    seed: int = 0

    @property
    def file(self) -> Path:
        """Where the model goes if nothing else is said."""
        return Path(f"{self.model}-{self.data}.safetensors")


DEFAULTS = _Defaults()
_FOR_FILES = ("size", "resize", "labels", "test_size")
_OF_MODEL = ("model", "seed", "size", "resize")


@dataclass
class _Data:
    """What to train on and to test with."""

    training: Samples
    validation: Samples | None
    test: Samples


def run(args: argparse.Namespace) -> None:
    """Train a model, print its test accuracy, and save it."""
    photos = holds_images(args.data)
    _check_options(args, photos)
    target = _target(args, photos)
    _check_writable(target)  # now, and not after an hour of training
    found, model = _photos_and_model(args) if photos else _arrays_and_model(args)
    batch_size = args.batch_size or (DEFAULTS.photo_batch_size if photos else DEFAULTS.batch_size)
    epochs = (args.epochs or DEFAULTS.epochs) - model.epoch
    if epochs < 1:
        raise ValueError(
            f"{args.resume} is trained for {model.epoch} epochs already; "
            f"give more, such as --epochs {model.epoch + 10}"
        )
    data = _read(found, model) if isinstance(found, Parts) else found
    say(f"device: {describe_device(model.device)}")
    say(f"{len(data.training)} training images, batches of {batch_size}, {epochs} epochs")
    began = time.perf_counter()
    with _stop_between_steps() as stop:
        try:
            _fit(model, data, epochs, batch_size, args.augment or (), stop)
        except KeyboardInterrupt as interrupt:
            raise type(interrupt)(_save_interrupted(model, args.save)) from None
        seconds = time.perf_counter() - began
        _check_finite(model, data.training, batch_size)
        # before anything else can go wrong: printing and scoring can wait
        _save(model, target)
    say(f"trained in {seconds:.1f} s")
    say(f"saved to {target}")
    try:
        say(score_in_words(score(model, data.test), len(data.test)))
    except (MemoryError, OutOfMemoryError) as error:
        raise RuntimeError(
            f"the model is trained and saved to {target}, but there is not enough memory to score "
            f"it on the test images ({error or 'MemoryError'})"
        ) from error


def _fit(
    model: Model,
    data: _Data,
    epochs: int,
    batch_size: int,
    names: Sequence[str],
    stop: Callback,
) -> None:
    options = augment.fit_options(names)
    if data.validation is not None:
        given = data.validation.given
        options["validation_data"] = given if len(given) > 1 else given[0]
    if isinstance(data.training.x, ImageFolder):
        options["workers"] = get_num_threads()
    given = data.training.given
    model.fit(*given, epochs=epochs, batch_size=batch_size, callbacks=[stop], **options)


def _check_options(args: argparse.Namespace, photos: bool) -> None:
    """End with a message about an option that would have no effect."""
    given = [_option(name) for name in _OF_MODEL if getattr(args, name) is not None]
    given += [f"--augment {name}" for name in args.augment or () if name in augment.LAYERS]
    if args.resume is not None and given:
        args.usage_error(
            f"argument {given[0]}: not allowed with --resume, the file holds it already"
        )
    for name in () if photos else _FOR_FILES:
        if getattr(args, name) is not None:
            args.usage_error(
                f"argument {_option(name)}: only for a folder of image files, and --data is "
                f"{args.data}"
            )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _target(args: argparse.Namespace, photos: bool) -> Path:
    """Return the file to save to."""
    if args.save is not None:
        return Path(args.save)
    if args.resume is not None:
        return Path(args.resume)
    data = Path(args.data).resolve().name or "data"
    return Path(f"{_network(args, photos)}-{data}.safetensors")


def _network(args: argparse.Namespace, photos: bool) -> str:
    return args.model or (DEFAULTS.photo_model if photos else DEFAULTS.model)


def _check_writable(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: there is no folder {folder}; make it")
    check_target(path)
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"cannot save to {path}: no right to write in {folder.resolve()}; use --save FILE"
        )


def _arrays_and_model(args: argparse.Namespace) -> tuple[_Data, Model]:
    training, test = load_arrays(args.data)
    if args.resume is None:
        classes = 1 + int(max(training.labels.max(), test.labels.max()))
        height, width = training.x.shape[2:]
        layers = [
            *augment.layers(args.augment or (), (height, width)),
            *make(_network(args, False), max(classes, 10)),
        ]
        model = _new_model(args, layers)
        model.compile(Adam(lr=args.lr or DEFAULTS.lr), "cross_entropy", ["accuracy"])
    else:
        model = _resumed(args)
    return _Data(training, None, test), model


def _photos_and_model(args: argparse.Namespace) -> tuple[Parts, Model]:
    folder = Path(args.data)
    if args.resume is not None:
        model = _resumed(args)
        reader = reader_of(model, args.resume)
        names = model.class_names
        parts = find_parts(folder, reader, args.labels, args.test_size, model.seed, names)
        _follow_cycle(model, args, len(parts.training))
        return parts, model
    reader = ImageReader(args.size or DEFAULTS.size, resize=args.resize)
    parts = find_parts(folder, reader, args.labels, args.test_size, args.seed or DEFAULTS.seed)
    names = parts.training.class_names
    if len(names) < 2:
        raise ValueError(f"{folder} has one class, {names[0]}; there is nothing to tell apart")
    assert reader.size is not None
    layers = [
        Rescale(1 / 255),
        *augment.layers(args.augment or (), reader.size),
        *make(_network(args, True), len(names)),
    ]
    model = _new_model(args, layers)
    model.class_names, model.image_input = names, reader
    try:
        model.build((None, reader.channels, *reader.size))
    except ValueError as error:
        raise ValueError(
            f"--size {'x'.join(map(str, reader.size))} does not suit the network "
            f"{_network(args, True)!r}: {error}"
        ) from error
    lr, steps = args.lr or DEFAULTS.photo_lr, _steps_to_go(model, args, len(parts.training))
    optimizer = Adam(lr, schedule=OneCycleLR(lr, total_steps=steps))
    model.compile(optimizer, "cross_entropy", ["accuracy"])
    return parts, model


def _steps_to_go(model: Model, args: argparse.Namespace, images: int) -> int:
    """Return how many steps the epochs take that are left."""
    epochs = (args.epochs or DEFAULTS.epochs) - model.epoch
    return max(epochs, 1) * math.ceil(images / (args.batch_size or DEFAULTS.photo_batch_size))


def _follow_cycle(model: Model, args: argparse.Namespace, images: int) -> None:
    """Let the learning rate of a training that goes on end with the last epoch there is now."""
    optimizer = model.optimizer
    assert optimizer is not None
    if isinstance(optimizer.schedule, OneCycleLR):
        steps = optimizer.iterations + _steps_to_go(model, args, images)
        lr = args.lr or optimizer.schedule.max_lr
        optimizer.schedule = OneCycleLR(lr, total_steps=steps)


def _read(parts: Parts, model: Model) -> _Data:
    """Read the images, and say what there is."""
    training = parts.training
    say(f"classes: {', '.join(training.class_names)}")
    if training.ignored:
        say(
            f"left out: {len(training.ignored)} files that are no images by their names, such as "
            f"{training.ignored[0]}"
        )
    count = len(training) + len(parts.test)
    say(f"reading {count + len(parts.validation or ())} images")
    return _Data(
        with_network_input(model, read(training)),
        None if parts.validation is None else with_network_input(model, read(parts.validation)),
        with_network_input(model, read(parts.test)),
    )


def _new_model(args: argparse.Namespace, layers: list[Layer]) -> Model:
    seed = DEFAULTS.seed if args.seed is None else args.seed
    return Model(layers, device=args.device, seed=seed, precision=args.precision or "float32")


def _resumed(args: argparse.Namespace) -> Model:
    model = load_model(args.resume, args.device, args.precision)
    if model.optimizer is None or model.loss is None:
        model.compile(Adam(lr=args.lr or DEFAULTS.lr), "cross_entropy", ["accuracy"])
    elif args.lr is not None:
        model.optimizer.lr = args.lr
    return model


def _check_finite(model: Model, training: Samples, batch_size: int) -> None:
    """Refuse a model that has learned nothing but NaN, or numbers too large to compute with.

    Raises
    ------
    ArithmeticError
    """
    first = training.part(0, batch_size)
    x = network_input(model, first.x)
    try:
        with np.errstate(all="ignore"):
            loss = model.evaluate(x, first.labels, batch_size=batch_size)["loss"]
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
