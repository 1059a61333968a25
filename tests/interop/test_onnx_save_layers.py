"""Every layer as an ONNX file: our numbers in onnxruntime and when read again."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.interop.onnx_written import checked, close, filled, known, run
from tests.layers.cases import CASES, IMAGE, LINE, ROW, Case
from xpcnn.interop import onnx as xonnx

# Every form that an operator is written in: versions at which something changes.
OPSETS = known(11, 12, 13, 14, 15, 17, 18, 20, 21, 28)
REFUSED = {"BatchNorm2d-plain"}  # normalises by the batch it gets


def open_batch(shape):
    return (None, *shape[1:])


# Where ONNX, or a runtime, counts in another way than PyTorch, beside the cases of all layers.
MORE = {
    "ConvTranspose2d-cut": Case(
        lambda: xc.ConvTranspose2d(3, 2, 2, 1, padding=1, dilation=3, output_padding=2), IMAGE
    ),
    "ConvTranspose2d-less": Case(
        lambda: xc.ConvTranspose2d(3, 2, 2, 1, padding=2, dilation=3, output_padding=1), IMAGE
    ),
    "ConvTranspose2d-same": Case(lambda: xc.ConvTranspose2d(3, 2, 2, 3, padding="same"), IMAGE),
    "ConvTranspose1d-sides": Case(
        lambda: xc.ConvTranspose1d(3, 2, 4, 2, padding=((1, 2),), bias=False), LINE
    ),
    "Conv2d-circular": Case(
        lambda: xc.Conv2d(3, 2, (4, 3), 2, padding="same", padding_mode="circular"), IMAGE
    ),
    "AvgPool2d-ceil-include": Case(lambda: xc.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "AvgPool2d-ceil-override": Case(
        lambda: xc.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=5), IMAGE
    ),
    "AvgPool2d-same": Case(
        lambda: xc.AvgPool2d(2, 3, "same", count_include_pad=False), (2, 3, 7, 8)
    ),
    "AvgPool2d-dilated": Case(
        lambda: xc.AvgPool2d(2, 2, 1, dilation=2, count_include_pad=False), IMAGE
    ),
    "MaxPool2d-sides": Case(lambda: xc.MaxPool2d(3, 2, ((1, 0), (0, 1))), IMAGE),
    "LPPool2d-padded": Case(
        lambda: xc.LPPool2d(2, 3, 2, ceil_mode=True, padding=1, dilation=(1, 2)), IMAGE
    ),
    "LPPool1d-sum": Case(lambda: xc.LPPool1d(1, 2), LINE),
    "LPPool1d-largest": Case(lambda: xc.LPPool1d(float("inf"), 2), LINE),
    "LPPool1d-smallest": Case(lambda: xc.LPPool1d(-float("inf"), 2), LINE),
    "LocalResponseNorm-odd": Case(lambda: xc.LocalResponseNorm(3, 0.5, 0.6, 0.8), IMAGE),
    "LocalResponseNorm-line": Case(lambda: xc.LocalResponseNorm(5, 0.5), LINE),
    "Upsample-linear-still": Case(lambda: xc.Upsample(scale_factor=1.1, mode="linear"), LINE),
    "Upsample-bicubic-still": Case(
        lambda: xc.Upsample(scale_factor=1.1, mode="bicubic"), (2, 3, 6, 7)
    ),
    "Upsample-nearest-still": Case(lambda: xc.Upsample(scale_factor=1.1), IMAGE),
    "Upsample-bicubic-corners": Case(
        lambda: xc.Upsample((4, 11), mode="bicubic", align_corners=True), IMAGE
    ),
    "Upsample-nearest-large": Case(lambda: xc.Upsample(scale_factor=(1.3, 1.01)), (2, 3, 3, 125)),
    "Upsample-nearest-odd": Case(lambda: xc.Upsample(scale_factor=1.3), (2, 3, 23, 17)),
    "RMSNorm-none": Case(lambda: xc.RMSNorm((6, 7)), IMAGE),
    "Linear-deep": Case(lambda: xc.Linear(7, 3), IMAGE),
    "Flatten-samples": Case(lambda: xc.Sequential(xc.Unflatten(0, (-1, 1)), xc.Flatten(0, 1)), ROW),
    "CELU-below": Case(lambda: xc.CELU(-0.5), ROW),
    "Softplus-line": Case(lambda: xc.Softplus(3.0, 0.5), ROW),
    "Softplus-plain": Case(lambda: xc.Softplus(), ROW),
    "Threshold-zero": Case(lambda: xc.Threshold(0.2, 0.0), ROW),
    "Hardshrink-below": Case(lambda: xc.Hardshrink(-0.4), ROW),
    "Softmax-middle": Case(lambda: xc.Softmax(2), IMAGE),
    "LogSoftmax-front": Case(lambda: xc.LogSoftmax(1), IMAGE),
}
SAVED = {
    name: case for name, case in (CASES | MORE).items() if case.in_onnx and name not in REFUSED
}


@pytest.mark.parametrize("name", SAVED)
def test_onnxruntime_gives_our_numbers(name):
    model = filled([SAVED[name].make()], open_batch(SAVED[name].shape))
    x = np.random.default_rng(5).normal(size=SAVED[name].shape).astype("float32")
    expected = model.predict(x)
    for opset in OPSETS:
        data = xonnx.to_bytes(model, opset=opset)
        found = checked(data)
        assert found.opset_import[0].version == opset
        close(run(data, x)[0], expected, 1e-5)


@pytest.mark.parametrize("name", SAVED)
def test_the_file_can_be_read_again(name):
    model = filled([SAVED[name].make()], open_batch(SAVED[name].shape), "float64")
    x = np.random.default_rng(5).normal(size=SAVED[name].shape)
    expected = model.predict(x)
    for opset in OPSETS:
        again = xonnx.load(xonnx.to_bytes(model, opset=opset), device="cpu")
        close(again.predict(x), expected, 1e-10)
        close(again.predict(x[:1]), expected[:1], 1e-10)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_operators_take_the_dtypes(dtype):
    """onnxruntime may lack a kernel for a dtype, but may not find that an operator has no such."""
    ort = pytest.importorskip("onnxruntime")
    device, opsets = "cpu", known(11, 18, 28)
    if dtype == "bfloat16":
        pytest.importorskip("torch")
        device, opsets = "torch:cpu", known(22, 28)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    problems = []
    for name, case in SAVED.items():
        model = xc.Model([case.make()], device=device, dtype=dtype, seed=0)
        model.build(open_batch(case.shape))
        for opset in opsets:
            try:
                ort.InferenceSession(xonnx.to_bytes(model, opset=opset), options)
            except Exception as error:
                if "NOT_IMPLEMENTED" not in str(error):
                    problems.append((name, opset, str(error)))
    assert not problems


# -- Two inputs, inputs of integers ----------------------------------------------------------------


def test_bilinear():
    graph = xc.Graph(["a", "b"], [("y", xc.Bilinear(3, 4, 5), ["a", "b"])], "y")
    model = filled(graph, [(None, 2, 3), (None, 2, 4)])
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(6, 2, n)).astype("float32") for n in (3, 4)]
    for opset in (11, 18):
        data = xonnx.to_bytes(model, opset=opset)
        checked(data)
        close(run(data, *inputs)[0], model.predict(inputs), 1e-5)
        close(xonnx.load(data, device="cpu").predict(inputs), model.predict(inputs), 1e-6)


def test_embedding_takes_integers():
    model = filled([xc.Embedding(10, 4), xc.Linear(4, 3)], (None, 5))
    x = np.random.default_rng(0).integers(0, 10, size=(3, 5))
    data = xonnx.to_bytes(model)
    assert checked(data).graph.input[0].type.tensor_type.elem_type == 7  # int64
    close(run(data, x)[0], model.predict(x), 1e-5)
    close(xonnx.load(data, device="cpu").predict(x), model.predict(x), 1e-6)
