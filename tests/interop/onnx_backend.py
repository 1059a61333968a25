"""ONNX's own node tests, run through the importer: ``python -m tests.interop.onnx_backend``.

Prints, for every operator, how many cases pass and why the others do not.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn.device import Device, resolve
from xpcnn.interop import onnx as xonnx

ACTIVATIONS = """Celu Elu Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Shrink Sigmoid
    Softplus Softsign Swish Tanh ThresholdedRelu"""
OPERATORS = f"""Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool Col2Im
    BatchNormalization InstanceNormalization GroupNormalization LayerNormalization LRN {ACTIVATIONS}
    Gemm MatMul Flatten Reshape Transpose Concat Squeeze Unsqueeze Shape Gather Slice Split
    DepthToSpace SpaceToDepth Identity Constant Add Mul Sub Div Sum Clip ReduceMean Pad Resize
    Upsample Softmax LogSoftmax Hardmax Dropout NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss
    Adam Adagrad Momentum""".split()


class Result(NamedTuple):
    """What came of one case; the reason is empty if it passed."""

    operator: str
    name: str
    reason: str


def cases() -> list[Any]:
    """Return the cases that consist of one of the operators."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the expected values come with a division by 0
        found = load_model_tests(kind="node")
    single = [case for case in found if case.model and len(case.model.graph.node) == 1]
    return [case for case in single if case.model.graph.node[0].op_type in OPERATORS]


def run_case(case: Any, device: Device) -> str:
    """Return why a case fails on a device; nothing if it passes."""
    try:
        model = xonnx.load(case.model, device=device)
        for inputs, expected in case.data_sets:
            arrays = [_to_device(x, device) for x in inputs]
            outputs = model.forward(*arrays)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            problem = _compare(outputs, expected, case.rtol, case.atol)
            if problem:
                return problem
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _to_device(x: Any, device: Device) -> Any:
    """Bring an input to the device; xpcnn has numbers in bfloat16 as float32."""
    if not isinstance(x, (np.ndarray, np.generic)):
        raise TypeError(f"an input is no array but a {type(x).__name__}")
    x = np.asarray(x)
    return device.asarray(x.astype(np.float32) if x.dtype.name == "bfloat16" else x)


def _compare(outputs: tuple[Any, ...], expected: Any, rtol: float, atol: float) -> str:
    if len(outputs) != len(expected):
        return f"{len(outputs)} outputs in place of {len(expected)}"
    for own, right in zip(outputs, expected, strict=True):
        own, right = np.asarray(_xp.to_numpy(own)), np.asarray(right)
        is_bfloat16 = right.dtype.name == "bfloat16"
        if is_bfloat16:
            right = right.astype(np.float32)
        if own.shape != right.shape:
            return f"shape {own.shape} in place of {right.shape}"
        if own.dtype != right.dtype:
            return f"dtype {own.dtype} in place of {right.dtype}"
        # of bfloat16 the expected numbers have eight bits
        close = np.isclose(
            own, right, rtol=max(rtol, 2**-7) if is_bfloat16 else rtol, atol=atol, equal_nan=True
        )
        if not close.all():
            return f"{int((~close).sum())} of {close.size} numbers differ"
    return ""


def results(device: Device) -> Iterator[Result]:
    """Run all cases on a device."""
    for case in cases():
        reason = run_case(case, device)
        yield Result(case.model.graph.node[0].op_type, case.name, reason)


def table(found: list[Result]) -> str:
    """Lay out the results by operator."""
    passed = Counter(result.operator for result in found if not result.reason)
    total = Counter(result.operator for result in found)
    lines = [f"{'operator':<28}{'cases':>6}{'passed':>8}"]
    for operator in sorted(total):
        lines.append(f"{operator:<28}{total[operator]:>6}{passed[operator]:>8}")
        for result in found:
            if result.operator == operator and result.reason:
                reason = " ".join(result.reason.split())
                lines.append(f"    {result.name}: {reason}")
    lines.append(f"{'all':<28}{len(found):>6}{sum(passed.values()):>8}")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("devices", nargs="*", default=["cpu", "strict"])
    for name in parser.parse_args().devices:
        print(f"{name}\n{table(list(results(resolve(name))))}\n")


if __name__ == "__main__":
    main()
