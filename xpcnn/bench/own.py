"""The workloads as xpcnn runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xpcnn
from xpcnn.bench import program
from xpcnn.bench.program import Program
from xpcnn.bench.workloads import Workload
from xpcnn.device import Device


def network(
    workload: Workload, device: str | Device, dtype: str, precision: str = "float32"
) -> xpcnn.Model:
    """Return the network with the same first values as in every other library."""
    layers = workload.build(xpcnn.layers)
    names = xpcnn.Sequential(layers).parameters()
    network = layers if workload.zoo is None else workload.zoo(xpcnn.zoo)
    model = xpcnn.Model(network, device=device, dtype=dtype, seed=0, precision=precision)
    model.build(workload.shape)
    for name, (own, parameter) in zip(names, model.parameters().items(), strict=True):
        # One by one, as the other libraries do: all values at once would be the peak of memory.
        model.load_state_dict({own: program.first_value(name, parameter.shape or ())}, strict=False)
    return model


def make(workload: Workload, device: str = "cpu") -> Program:
    """Make a workload ready, for the kernel set in force."""
    model = network(workload, device, "float32")
    x = program.images(workload.shape)
    if workload.kind == "train":
        return _training(model, x, program.labels(len(x)))
    if workload.kind == "predict":
        return Program(lambda: model(x), lambda y: {"y": y})
    if x.ndim > 2:  # a layer by itself: its input lies in memory as a layer before it leaves it
        x = program.channels_last(x)
    x = model.device.asarray(x)
    if workload.kind == "forward":
        return Program(lambda: model.forward(x), lambda y: {"y": y})
    dy = program.channels_last(program.output_gradient(model.build(workload.shape)))
    return _gradients(model, x, model.device.asarray(dy))


def write_onnx(workload: Workload, path: Path) -> None:
    """Write the network, for just the input of the workload, for those that read ONNX files."""
    from xpcnn.interop import onnx  # not with this file: measured processes have no use for it

    onnx.save(network(workload, "cpu", "float32"), path, input_shape=workload.shape)


def _training(model: xpcnn.Model, x: Any, y: Any) -> Program:
    model.compile(xpcnn.optim.Adam(), xpcnn.CrossEntropyLoss())

    def arrays(logs: dict[str, float]) -> dict[str, Any]:
        return {"loss": logs["loss"], "gradients": list(_gradients_of(model).values())}

    return Program(lambda: model.train_on_batch(x, y), arrays)


def _gradients(model: xpcnn.Model, x: Any, dy: Any) -> Program:
    def step() -> tuple[Any, Any]:
        model.zero_grad()
        y = model.forward(x, training=True)
        return y, model.backward(dy, need_dx=True)

    def arrays(result: tuple[Any, Any]) -> dict[str, Any]:
        y, dx = result
        return {"y": y, "dx": dx} | _gradients_of(model)

    return Program(step, arrays)


def _gradients_of(model: xpcnn.Model) -> dict[str, Any]:
    return {name: parameter.grad for name, parameter in model.parameters().items()}
