"""Models for tests of written ONNX files, and what other programs make of such files."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from xpcnn.training import Model


def filled(network, shape, dtype="float32"):
    """Return a model with random parameters and statistics that are no longer the first ones."""
    model = Model(network, device="cpu", dtype=dtype, seed=0)
    model.build(shape)
    rng = np.random.default_rng(3)
    for name, tensor in model.network._tensors().items():
        if isinstance(tensor.value, np.ndarray) and tensor.value.dtype.kind == "f":
            values = rng.normal(size=tensor.value.shape)
            values = np.abs(values) + 0.5 if name.endswith("running_var") else values
            tensor.renew(values.astype(dtype))
    return model


def checked(data):
    """Let the onnx package check a file, and return its model."""
    onnx = pytest.importorskip("onnx")
    found = onnx.load_from_string(data)
    onnx.checker.check_model(found, full_check=True)
    return found


def run(data, *inputs):
    """Return the outputs that onnxruntime computes."""
    ort = pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        return session.run(None, dict(zip(names, inputs, strict=True)))


def close(own, expected, relative):
    """Compare with the largest number as the measure: sums of rounding errors know no zero."""
    own, expected = np.asarray(own), np.asarray(expected)
    assert own.shape == expected.shape
    assert own.dtype == expected.dtype
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-30)
    np.testing.assert_allclose(own, expected, rtol=relative, atol=relative * float(scale))


def known(*versions):
    """Return those versions of ONNX's operators that the installed package knows."""
    try:
        import onnx
    except ImportError:
        return versions
    return tuple(v for v in versions if v <= onnx.defs.onnx_opset_version())
