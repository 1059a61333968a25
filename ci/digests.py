"""Tell whether a change of the code has changed a number, a message or a file.

    python ci/digests.py REVISION

Everything in the catalogues of the tests (layers, operations, losses, optimizers, published and
small networks, benchmark workloads, ONNX's own node tests) is run in a checkout of REVISION and in
the working tree, by the compiled kernels and by the generic ones. Outputs, gradients, statistics,
updated weights, error messages and the bytes of saved files are reduced to digests and compared.
What differs is named, and the exit code is 1. It takes some minutes.

    python ci/digests.py --write FILE

writes the digests of the package that is imported, as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ("compiled", "generic")


def digest(value: Any) -> str:
    """Reduce arrays and what holds them to a few letters: dtype, shape and every bit count."""
    state = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, Mapping):
            for key, item in part.items():
                add((str(key), item))
        elif isinstance(part, (list, tuple)):
            state.update(b"(%d" % len(part))
            for item in part:
                add(item)
        elif isinstance(part, (bytes, str, type(None))):
            state.update(repr(part).encode())
        else:
            array = np.asarray(part)
            state.update(f"{array.dtype}{array.shape}".encode())
            state.update(array.tobytes())

    add(value)
    return state.hexdigest()[:16]


class Notes(dict[str, str]):
    """Digests by name."""

    def take(self, name: str, run: Callable[[], Any]) -> None:
        """Note what a function returns, or the error that it raises."""
        assert name not in self, name
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                self[name] = digest(run())
        except Exception as error:
            self[name] = f"{type(error).__name__}: {error}"


def draws(name: str) -> np.random.Generator:
    """Return random numbers that follow from a name."""
    return np.random.default_rng([*name.encode()])


def channels_last(x: np.ndarray) -> np.ndarray:
    """Return the same numbers in another order of memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


# -- The catalogues --------------------------------------------------------------------------------


def run_layer(layer: Any, x: np.ndarray, rng: np.random.Generator) -> list[Any]:
    """Return all that comes of a layer: inference, and two steps of training."""
    layer.build(x.shape, dtype=str(x.dtype), rng=np.random.default_rng(3))
    found = [repr(layer), layer.output_shape(x.shape), layer.forward(x)]
    for need_dx in (True, False):
        y = layer.forward(x, training=True)
        dx = layer.backward(rng.normal(size=y.shape).astype(x.dtype), need_dx=need_dx)
        found += [y, dx, {name: p.grad for name, p in layer.parameters().items()}]
    return [*found, layer.state_dict()]


def refusal(case: Any, wrong: tuple[int, ...]) -> str:
    """Run a layer on an input that it refuses."""
    layer = case.make()
    layer.build(case.shape, rng=np.random.default_rng(3))
    layer.forward(np.ones(wrong, "float32"))
    return "accepted"


def layers(notes: Notes, prefix: str) -> None:
    """Run every layer, in two dtypes and orders of memory."""
    from tests.layers.cases import CASES

    for name, case in CASES.items():
        for dtype in ("float32", "float64"):
            x = draws(name).normal(size=case.shape).astype(dtype)
            for order, given in (("", x), (" channels last", channels_last(x))):
                if order == "" or x.ndim > 2:
                    title = f"{prefix} layer {name} {dtype}{order}"
                    notes.take(title, lambda c=case, g=given: run_layer(c.make(), g, draws("dy")))
        for kind in ("wrong_rank", "wrong_channels"):
            wrong = getattr(case, kind)
            if wrong is not None:
                title = f"{prefix} message {name} {kind}"
                notes.take(title, lambda c=case, shape=wrong: refusal(c, shape))


def run_operation(operation: Any, inputs: list[np.ndarray]) -> list[Any]:
    """Return all that comes of an operation."""
    ys = operation.forward(*inputs, training=True)
    listed = ys if isinstance(ys, tuple) else (ys,)
    rng = draws("dy")
    dys = [rng.normal(size=y.shape).astype(y.dtype) for y in listed]
    return [repr(operation), ys, operation.backward(*dys), operation.forward(*inputs)]


def operations(notes: Notes, prefix: str) -> None:
    """Run every operation, in two dtypes."""
    from tests.operations.cases import CASES

    for name, case in CASES.items():
        for dtype in ("float32", "float64"):
            inputs = [x.astype(dtype) if x.dtype.kind == "f" else x for x in case.inputs]
            title = f"{prefix} operation {name} {dtype}"
            notes.take(title, lambda c=case, given=inputs: run_operation(c.make(), given))


def losses(notes: Notes, prefix: str) -> None:
    """Run every loss that the tests work by hand, and cross-entropy at a usual size."""
    import xpcnn
    from tests.losses.test_conformance import BY_HAND

    def run(loss: Any, prediction: Any, target: Any, dtype: str) -> list[Any]:
        target = np.asarray(target)
        target = target.astype(dtype) if target.dtype.kind == "f" else target
        value = loss.forward(np.asarray(prediction, dtype), target)
        return [repr(loss), value, loss.backward(np.ones_like(value))]

    for number, (loss, prediction, target, *_) in enumerate(BY_HAND):
        for dtype in ("float32", "float64"):
            title = f"{prefix} loss {number} {type(loss).__name__} {dtype}"
            given = (loss, prediction, target, dtype)
            notes.take(title, lambda given=given: run(*given))
    rng = draws("cross-entropy")
    scores, labels = rng.normal(size=(100, 10)), rng.integers(0, 10, 100)
    for dtype in ("float32", "float64"):
        title = f"{prefix} loss CrossEntropyLoss of 100 {dtype}"
        notes.take(title, lambda d=dtype: run(xpcnn.CrossEntropyLoss(), scores, labels, d))


def train(network: Any, x: np.ndarray, optimizer: Any, steps: int = 2) -> list[Any]:
    """Return what comes of some training steps, of prediction, and of saving the model."""
    import xpcnn

    model = xpcnn.Model(network, device="cpu", dtype=str(x.dtype), seed=0)
    model.build(x.shape)
    classes = model.forward(x[:1]).shape[1]
    shape = model.forward(x[:1]).shape[2:]
    labels = draws("labels").integers(0, classes, (len(x), *shape))
    model.compile(optimizer, "cross_entropy", ["accuracy"])
    found: list[Any] = [model.train_on_batch(x, labels) for _ in range(steps)]
    found += [model.parameters()[name].grad for name in model.parameters()]
    found += [model.state_dict(), model.optimizer.state_dict(), model.predict(x[:2])]
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model.safetensors"))
        xpcnn.interop.onnx.save(model, Path(folder, "model.onnx"))
        found += [Path(folder, f"model.{end}").read_bytes() for end in ("safetensors", "onnx")]
    return found


def networks(notes: Notes, prefix: str) -> None:
    """Train the published networks, small ones of theirs, and those of the courses."""
    import xpcnn
    from tests.zoo.cases import CASES

    for name, case in CASES.items():
        x = draws(name).normal(size=case.shape).astype("float32")
        make = getattr(xpcnn.zoo, name)
        title = f"{prefix} zoo {name}"
        notes.take(title, lambda m=make, c=case, g=x: train(m(**c.small), g, "adam"))
    for name in xpcnn.networks.NETWORKS:
        x = draws(name).normal(size=(20, 1, 28, 28)).astype("float32")
        layers = xpcnn.networks.make(name)
        notes.take(f"{prefix} network {name}", lambda n=layers, g=x: train(n, g, "sgd"))


def optimizers(notes: Notes, prefix: str) -> None:
    """Train a small network with every optimizer."""
    import xpcnn
    from tests.test_optim import CASES

    x = draws("optimizers").normal(size=(20, 1, 12, 12)).astype("float32")
    for number, (name, settings) in enumerate(CASES):
        for clip in ({}, {"clip_norm": 0.5}, {"clip_value": 0.01}):
            optimizer = getattr(xpcnn.optim, name)
            title = f"{prefix} optimizer {number} {name} {clip}"
            given = settings | clip
            net = [xpcnn.Conv2d(1, 8, 3), xpcnn.ReLU(), xpcnn.Flatten(), xpcnn.Linear(800, 5)]
            notes.take(title, lambda o=optimizer, g=given, n=net: train(n, x, o(**g), 3))


def workloads(notes: Notes, prefix: str) -> None:
    """Run what is measured, at sizes that the compiled kernels are made for."""
    from xpcnn.bench import own
    from xpcnn.bench.workloads import WORKLOADS

    def run(workload: Any) -> Any:
        program = own.make(workload.with_batch(min(workload.shape[0], 16)))
        program.step()
        return program.arrays(program.step())

    for name, workload in WORKLOADS.items():
        notes.take(f"{prefix} workload {name}", lambda w=workload: run(w))


def onnx(notes: Notes, prefix: str) -> None:
    """Read and run ONNX's own node tests, and write what was read."""
    import xpcnn
    from tests.interop import onnx_backend

    def run(case: Any) -> list[Any]:
        model = xpcnn.interop.onnx.load(case.model, device="cpu")
        found: list[Any] = [repr(model.layers)]
        for inputs, _ in case.data_sets:
            found.append(model.forward(*map(np.asarray, inputs)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            try:
                xpcnn.interop.onnx.save(model, path)
            except Exception as error:
                return [*found, f"{type(error).__name__}: {error}"]
            return [*found, path.read_bytes()]

    for case in onnx_backend.cases():
        if case.name.startswith("test_training_dropout"):
            continue  # without a seed of its own
        notes.take(f"{prefix} onnx {case.name}", lambda c=case: run(c))


def collect() -> Notes:
    """Run all catalogues, by both kernel sets."""
    import xpcnn

    xpcnn.set_num_threads(1)
    notes = Notes()
    for which in KERNELS:
        with xpcnn.kernels.force("generic" if which == "generic" else None):
            for part in (layers, operations, losses, optimizers, networks, workloads, onnx):
                part(notes, which)
    return notes


# -- Comparing -------------------------------------------------------------------------------------


def collect_in(tree: Path, folder: Path) -> dict[str, str]:
    """Run this file in a process that imports the package and the catalogues of a tree."""
    path = folder / "digests.json"
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "XPCNN_QUIET": "1"}
    command = [sys.executable, __file__, "--write", str(path)]
    subprocess.run(command, check=True, env=environment, cwd=tree)
    found: dict[str, str] = json.loads(path.read_text())
    return found


def compare(revision: str) -> int:
    """Print what differs between a revision and the working tree, and return how much."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(tree), revision], check=True)
        try:
            before = collect_in(tree, Path(folder))
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
        after = collect_in(ROOT, Path(folder))
    changed = [name for name in before if before[name] != after.get(name)]
    for name in changed:
        print(f"{name}: {before[name]} -> {after.get(name, 'gone')}")
    print(f"{len(before)} digests of {revision}, {len(changed)} changed, {len(after)} now")
    return len(changed)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("revision", nargs="?", help="what to compare with")
    parser.add_argument("--write", type=Path, metavar="FILE", help="where to write digests")
    arguments = parser.parse_args()
    if arguments.write is not None:
        arguments.write.write_text(json.dumps(collect(), indent=1))
    elif arguments.revision is None:
        parser.error("give a revision, or --write FILE")
    elif compare(arguments.revision):
        sys.exit(1)


if __name__ == "__main__":
    main()
