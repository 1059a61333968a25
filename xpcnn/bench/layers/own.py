"""Layers and losses as xpcnn runs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import xpcnn
from xpcnn import device as devices
from xpcnn.bench import program
from xpcnn.bench.layers.cases import Case
from xpcnn.bench.layers.inputs import draw_all
from xpcnn.bench.program import Program


def make(case: Case, kind: str, device: str = "cpu") -> Program:
    """Make a case ready, for the kernel set in force.

    Parameters
    ----------
    case : Case
    kind : "forward" or "gradients"
        Without training, or with, and with the gradients of inputs and parameters.
    device : str
    """
    place = devices.resolve(device)
    drawn = draw_all(case.inputs)
    if not case.rows:
        drawn = [program.channels_last(x) if x.ndim > 2 else x for x in drawn]
    inputs = [place.asarray(x) for x in drawn]
    if case.loss:
        return _loss(case, kind, inputs)
    layer = getattr(xpcnn.layers, case.layer)(**case.arguments)
    y = layer.forward(*inputs)  # which builds it
    shapes = {name: parameter.shape for name, parameter in layer.parameters().items()}
    layer.load_state_dict(program.first_values(shapes), strict=False)
    if kind == "forward":
        return Program(lambda: layer.forward(*inputs), lambda y: {"y": y})
    dy = program.output_gradient(tuple(y.shape))
    if dy.ndim > 2 and not case.rows:
        dy = program.channels_last(dy)
    return _gradients(layer, inputs, place.asarray(dy))


def _gradients(layer: Any, inputs: list[Any], dy: Any) -> Program:
    def step() -> tuple[Any, Any]:
        layer.zero_grad()
        y = layer.forward(*inputs, training=True)
        return y, layer.backward(dy)

    def arrays(result: tuple[Any, Any]) -> Mapping[str, Any]:
        y, dx = result
        of_inputs = [] if dx is None else list(dx) if isinstance(dx, tuple) else [dx]
        gradients = [parameter.grad for parameter in layer.parameters().values()]
        return {"y": y, "dx": of_inputs, "gradients": gradients}

    return Program(step, arrays)


def _loss(case: Case, kind: str, inputs: list[np.ndarray]) -> Program:
    loss = getattr(xpcnn.losses, case.layer)(**case.arguments)
    predictions, targets = inputs[: case.predictions], inputs[case.predictions :]
    prediction = predictions[0] if case.predictions == 1 else tuple(predictions)
    target = targets[0] if targets else None
    if kind == "forward":
        return Program(lambda: loss.forward(prediction, target), lambda y: {"y": y})

    def step() -> tuple[Any, Any]:
        return loss.forward(prediction, target), loss.backward()

    def arrays(result: tuple[Any, Any]) -> Mapping[str, Any]:
        y, dx = result
        return {"y": y, "dx": list(dx) if isinstance(dx, tuple) else [dx]}

    return Program(step, arrays)
