"""PyTorch's own samples of its modules, run through ours: ``python -m tests.torch_samples``.

PyTorch's tests list constructor arguments and inputs of every torch.nn module. Here each sample is
built in both libraries, with the same weights, once for training and once without; the output, the
gradients of inputs and parameters and the buffers afterwards are compared in float64. Prints, for
every module, how many samples agree and why the others do not.
"""

from __future__ import annotations

import argparse
import inspect
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import xpcnn
from xpcnn import _xp, losses
from xpcnn.device import Device, resolve

# What is not for this library, and why.
LEFT_OUT = {
    "recurrent": "GRU GRUCell LSTM LSTMCell RNN RNNCell",
    "attention": "MultiheadAttention Transformer TransformerDecoderLayer TransformerEncoder "
    "TransformerEncoderLayer",
    "vocabularies": "LinearCrossEntropyLoss",
    "its gradient includes that of a log-softmax: tests/losses/test_sequence.py": "CTCLoss",
    "widths may be left out of every layer": "LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d "
    "LazyConvTranspose2d LazyConvTranspose3d",
    "windows at random": "FractionalMaxPool2d FractionalMaxPool3d",
}
NOT_OURS = ("inplace", "device", "dtype")
RTOL, ATOL = 1e-8, 1e-10


class Result(NamedTuple):
    """What came of one sample; the reason is empty if both agree."""

    module: str
    name: str
    reason: str


class Sample(NamedTuple):
    """Arguments and inputs of a module."""

    module: str
    name: str
    theirs: Any
    arguments: dict[str, Any]
    inputs: tuple[Any, ...]


def samples() -> Iterator[Sample]:
    """Return the samples of all modules that a CNN library has."""
    import torch
    from torch.testing._internal.common_modules import module_db

    left_out = {name for names in LEFT_OUT.values() for name in names.split()}
    for info in module_db:
        cls = info.module_cls
        if cls.__name__ in left_out:
            continue
        for training in (True, False):
            torch.manual_seed(0)
            options = {"device": "cpu", "dtype": torch.float64, "requires_grad": True}
            found = info.module_inputs_func(info, **options, training=training)
            for number, sample in enumerate(found):
                bound = inspect.signature(cls).bind(
                    *sample.constructor_input.args, **sample.constructor_input.kwargs
                )
                theirs = cls(*bound.args, **bound.kwargs).to(torch.float64).train(training)
                mode = "training" if training else "not training"
                given = inspect.signature(theirs.forward).bind(
                    *sample.forward_input.args, **sample.forward_input.kwargs
                )
                name = f"{number} {sample.desc or ''} ({mode})".replace("  ", " ")
                yield Sample(cls.__name__, name, theirs, bound.arguments, given.args)


def run_sample(sample: Sample, device: Device) -> str:
    """Return why a sample fails on a device; nothing if both agree."""
    is_loss = sample.module.endswith("Loss")
    ours = getattr(losses if is_loss else xpcnn, sample.module, None)
    if ours is None:
        return "there is no such class"
    arguments = {
        name: value.numpy() if hasattr(value, "numpy") else value
        for name, value in _flat(sample.arguments).items()
        if name not in NOT_OURS
    }
    try:
        return (_compare_loss if is_loss else _compare_layer)(ours(**arguments), sample, device)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _flat(arguments: dict[str, Any]) -> dict[str, Any]:
    """Put what was caught by ``**kwargs`` beside the other arguments."""
    caught = arguments.get("kwargs", {})
    return {k: v for k, v in arguments.items() if k not in ("args", "kwargs")} | dict(caught)


def _compare_layer(layer: Any, sample: Sample, device: Device) -> str:
    theirs = sample.theirs
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    if state:
        layer.load_state_dict(state)
    if layer.takes_integers:  # otherwise the input says
        layer.build(tuple(sample.inputs[0].shape), device=device, dtype="float64")
    inputs = [_clone(x) for x in sample.inputs]
    expected = theirs(*inputs)
    arrays = [_array(x, device) for x in sample.inputs]
    y = layer.forward(*arrays, training=theirs.training)
    reason = _differ("the output", y, expected)
    if not theirs.training:  # the gradient belongs to a training forward, here as there
        return reason or _buffers_differ(layer, theirs)
    dy = _gradient_like(expected)
    expected.backward(dy)
    gradients = layer.backward(_array(dy, device))
    pairs = gradients if isinstance(gradients, tuple) else (gradients,)
    for number, (x, dx) in enumerate(zip(inputs, pairs, strict=True)):
        if x.grad is not None:
            reason = reason or _differ(f"the gradient of input {number}", dx, x.grad)
    for name, parameter in theirs.named_parameters():
        own = layer.parameters()[name].grad
        reason = reason or _differ(f"the gradient of {name}", own, parameter.grad)
    return reason or _buffers_differ(layer, theirs)


def _buffers_differ(layer: Any, theirs: Any) -> str:
    for name, buffer in theirs.named_buffers():
        reason = _differ(name, layer.buffers()[name].data, buffer)
        if reason:
            return reason
    return ""


def _compare_loss(loss: Any, sample: Sample, device: Device) -> str:
    inputs = [_clone(x) for x in sample.inputs]
    expected = sample.theirs(*inputs)
    # predictions first, then the target; the second prediction of one loss comes after it
    order = [0, 2, 1] if sample.module == "GaussianNLLLoss" else list(range(len(inputs)))
    arrays = [_array(sample.inputs[i], device) for i in order]
    *predictions, target = arrays
    prediction = predictions[0] if len(predictions) == 1 else tuple(predictions)
    value = loss.forward(prediction, target)
    reason = _differ("the loss", value, expected)
    dy = _gradient_like(expected)
    expected.backward(dy)
    gradients = loss.backward(_array(dy, device))
    pairs = gradients if isinstance(gradients, tuple) else (gradients,)
    for i, dx in zip(order, pairs, strict=False):
        if inputs[i].grad is not None:
            reason = reason or _differ(f"the gradient of input {i}", dx, inputs[i].grad)
    return reason


def _clone(x: Any) -> Any:
    return x.detach().clone().requires_grad_(x.requires_grad)


def _array(x: Any, device: Device) -> Any:
    return device.asarray(x.detach().numpy())


def _gradient_like(y: Any) -> Any:
    import torch

    return torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))


def _differ(what: str, own: Any, right: Any) -> str:
    """Say how two arrays differ; nothing if they do not."""
    if own is None:
        return f"{what} is missing"
    own, right = np.asarray(_xp.to_numpy(own)), right.detach().numpy()
    if own.shape != right.shape:
        return f"{what} has the shape {own.shape} in place of {right.shape}"
    close = np.isclose(own, right, rtol=RTOL, atol=ATOL, equal_nan=True)
    return "" if close.all() else f"{what}: {int((~close).sum())} of {close.size} numbers differ"


def results(device: Device) -> Iterator[Result]:
    """Run all samples on a device."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of arguments that it is about to change
        for sample in samples():
            yield Result(sample.module, sample.name, run_sample(sample, device))


def table(found: list[Result]) -> str:
    """Lay out the results by module."""
    agreed = Counter(result.module for result in found if not result.reason)
    total = Counter(result.module for result in found)
    lines = [f"{'module':<28}{'samples':>8}{'agreed':>8}"]
    for module in sorted(total):
        lines.append(f"{module:<28}{total[module]:>8}{agreed[module]:>8}")
        for result in found:
            if result.module == module and result.reason:
                lines.append(f"    {result.name}: {' '.join(result.reason.split()):.200}")
    share = sum(agreed.values()) / max(len(found), 1)
    lines.append(f"{'all':<28}{len(found):>8}{sum(agreed.values()):>8}   {share:.1%}")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("devices", nargs="*", default=["cpu"])
    for name in parser.parse_args().devices:
        print(f"{name}\n{table(list(results(resolve(name))))}\n")


if __name__ == "__main__":
    main()
