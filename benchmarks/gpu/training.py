"""Training by ``fit``: batches fetched ahead, labels on the device, and captured steps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import xpcnn
from benchmarks.gpu import networks
from benchmarks.gpu.behaviour import delay
from benchmarks.gpu.checks import Check, Context, Outcome, SkipError, distance, host, same_bits
from xpcnn import kernels
from xpcnn.bench import program
from xpcnn.bench.workloads import WORKLOADS
from xpcnn.training import graph_capture
from xpcnn.training.callbacks import Callback
from xpcnn.training.sources import arrays

NETWORKS = {"simple": 20, "deep": 20, "oned": 50, "mlp": 20, "resnet18": 4}
"""Networks, and the batch sizes that they are trained with here."""

BATCHES = 6
"""Full batches of an epoch; a smaller one comes last."""


def _fit(
    context: Context, name: str, epochs: int = 2, dtype: str = "float32", **options: Any
) -> xpcnn.Model:
    """Train one of the benchmark's networks for a little."""
    size = NETWORKS[name]
    count = size * BATCHES + size // 2
    shape = WORKLOADS[name].with_batch(count).shape
    model = networks.make(WORKLOADS[name].with_batch(size), context.device, dtype)
    x, y = program.images(shape).astype(dtype), program.labels(count)
    model.fit(x, y, epochs=epochs, batch_size=size, metrics=["accuracy"], verbose=0, **options)
    return model


def _arrays(model: xpcnn.Model) -> list[Any]:
    assert model.optimizer is not None
    return [*model.state_dict().values(), *model.optimizer.state_dict().values()]


# -- Labels --------------------------------------------------------------------------------------


def _check_labels(context: Context) -> Outcome:
    """Cross-entropy of labels that lie on the device; some of them do not count."""
    rng = np.random.default_rng(0)
    scores, labels = 3 * rng.standard_normal((50, 10)), rng.integers(0, 10, 50)
    labels[::7] = -100
    found = {}
    for reduction in ("mean", "sum"):
        loss = xpcnn.CrossEntropyLoss(reduction=reduction)
        x = context.array(scores, "float32")
        with kernels.trace() as decisions:
            value = loss(x, context.device.asarray(labels))
        gradient = loss.backward()
        expected = loss(host(x), labels)
        found[reduction] = distance(value, np.asarray(expected))
        found[f"gradient of the {reduction}"] = distance(gradient, loss.backward())
    own = next((d.kernel_set for d in decisions if d.op == "cross_entropy"), None)
    wrong = ""
    if context.library == "cupy" and own != "cuda":
        wrong = f"the kernel was not asked: {decisions}"
    return Outcome(found, 1e-5, how=own or "", wrong=wrong)


# -- Batches fetched ahead -----------------------------------------------------------------------


@contextmanager
def nothing_fetched_ahead() -> Iterator[None]:
    """Bring each batch to the device when its turn comes."""
    before = arrays.open_transfer
    arrays.open_transfer = lambda xp, physical, sources: None
    try:
        yield
    finally:
        arrays.open_transfer = before


def _check_prefetch(name: str) -> Any:
    def run(context: Context) -> Outcome:
        """Give the same bits as batches that are brought when their turn comes."""
        with context.settings("float32", deterministic=True):
            found = [_arrays(_fit(context, name, epochs=4)) for _ in range(3)]
            with nothing_fetched_ahead():
                expected = _arrays(_fit(context, name, epochs=4))
        differing = len(same_bits([expected, *found]))
        wrong = [f"{differing} arrays have other bits"] if differing else []
        left = [t.name for t in threading.enumerate() if t.name.startswith("xpcnn-prefetch")]
        wrong += [f"threads are left: {left}"] if left else []
        return Outcome(wrong="; ".join(wrong))

    return run


def _check_step_without_waiting(context: Context) -> Outcome:
    """The host is two steps ahead of a GPU that is kept busy.

    It cannot be much further ahead, as there are two sets of pinned memory for what is copied.
    """
    cupy = context.need_cupy()
    wait = delay(cupy)
    ahead = []

    class Delay(Callback):
        def on_batch_end(self, batch: int, logs: Any) -> None:
            if self.model.epoch == 1 and batch == 1:  # kernels are compiled and plans made
                cupy.cuda.Device().synchronize()
                wait((1,), (1,), (2_000_000_000,))  # about a second
            if self.model.epoch == 1 and batch == 3:
                ahead.append(not cupy.cuda.get_current_stream().done)

    _fit(context, "simple", callbacks=[Delay()])
    return Outcome(wrong="" if ahead == [True] else "the host waited for the GPU in a step")


# -- Captured steps ------------------------------------------------------------------------------


@contextmanager
def watched(said: list[str], repeated: list[int]) -> Iterator[None]:
    """Note the reasons why steps are not captured, and the steps that are repeated."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    usual, listener = graph_capture._Repeat.__call__, Listener()

    def repeat(self: Any, *arguments: Any) -> Any:
        repeated.append(1)
        return usual(self, *arguments)

    graph_capture._Repeat.__call__ = repeat  # type: ignore[method-assign]
    graph_capture.logger.addHandler(listener)
    try:
        yield
    finally:
        graph_capture.logger.removeHandler(listener)
        graph_capture._Repeat.__call__ = usual  # type: ignore[method-assign]


def need_captures(context: Context) -> None:
    """Skip the check where steps cannot be captured."""
    if kernels.open_capture(context.device.xp, context.device.physical) is None:
        raise SkipError("this device captures nothing")


TOLERANCE = {"losses": 2e-2, "weights": 10.0}
"""Of the distance of the losses, and of the captured run's weights from those of float64, as a
multiple of the usual run's: Adam turns the rounding of a gradient near zero into a step of another
direction, so that two runs in float32 are as far from each other as from the truth. (2.3 to 5.4
times were seen: a captured step has Adam's corrections as float32 numbers.)"""


def _check_captured(name: str) -> Any:
    def run(context: Context) -> Outcome:
        """Train the same network with captured steps, without, and in float64."""
        need_captures(context)
        said: list[str] = []
        repeated: list[int] = []
        with context.settings("float32", deterministic=True):
            with watched(said, repeated):
                found = _fit(context, name, capture=True)
            expected = _fit(context, name)
            exact = _fit(context, name, dtype="float64")
        if len(repeated) != 2 * (BATCHES - 1):
            said.append(f"{len(repeated)} steps were repeated")
        ours, theirs, truth = (
            np.concatenate([host(a).ravel() for a in _arrays(m)]) for m in (found, expected, exact)
        )
        losses = [np.array(m.history.history["loss"]) for m in (found, expected)]
        figures = {"captured": distance(ours, truth), "usual": distance(theirs, truth)}
        errors = {
            "losses": distance(*losses) / TOLERANCE["losses"],
            "weights and state": figures["captured"] / figures["usual"] / TOLERANCE["weights"],
        }
        counters = [(m.step, m.epoch, m.optimizer.iterations) for m in (found, expected)]  # type: ignore[union-attr]
        if counters[0] != counters[1]:
            said.append(f"the counters are {counters[0]} in place of {counters[1]}")
        return Outcome(errors, 1.0, figures=figures, wrong="; ".join(said))

    return run


def _check_captured_same_bits(context: Context) -> Outcome:
    """Two captured runs give the same bits."""
    need_captures(context)
    with context.settings("float32", deterministic=True):
        runs = [_arrays(_fit(context, "deep", capture=True)) for _ in range(2)]
    differing = len(same_bits(runs))
    return Outcome(wrong=f"{differing} arrays have other bits" if differing else "")


def _check_captured_nan(context: Context) -> Outcome:
    """After a loss that is NaN, the weights are those from before the epoch."""
    need_captures(context)
    before = []

    class Spoil(Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            if epoch == 2:
                before.extend(host(a).copy() for a in _arrays(self.model))
                self.model.optimizer.lr = 1e30

    spoil = Spoil()
    try:
        _fit(context, "simple", capture=True, callbacks=[spoil])
    except xpcnn.NonFiniteError:
        differing = len(same_bits([before, [host(a) for a in _arrays(spoil.model)]]))
        return Outcome(wrong=f"{differing} arrays are not those from before" if differing else "")
    return Outcome(wrong="nothing was noticed")


def checks() -> list[Check]:
    """List the checks of training."""
    return [
        Check("training/labels", _check_labels),
        *(Check(f"training/prefetch/{name}", _check_prefetch(name)) for name in NETWORKS),
        Check("training/no-waiting", _check_step_without_waiting),
        *(Check(f"training/captured/{name}", _check_captured(name)) for name in NETWORKS),
        Check("training/captured-same-bits", _check_captured_same_bits),
        Check("training/captured-nan", _check_captured_nan),
    ]
