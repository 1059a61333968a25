"""ONNX's own node tests of the operators that CNNs need: all pass, but for a list with reasons."""

from __future__ import annotations

import pytest

from tests.interop import onnx_backend
from xpcnn.device import resolve

pytest.importorskip("onnx")

RANDOM = "the mask that is expected comes from another random generator"
ALIGNED = "PyTorch and onnxruntime align the corners of the rounded length, we as they do"
NOT_AN_ARRAY = "a sequence or an optional value, which no network here takes"
EXCEPTIONS = {
    "test_training_dropout": RANDOM,
    "test_training_dropout_default": RANDOM,
    "test_training_dropout_default_mask": RANDOM,
    "test_training_dropout_mask": RANDOM,
    "test_identity_opt": NOT_AN_ARRAY,
    "test_identity_sequence": NOT_AN_ARRAY,
    "test_resize_downsample_scales_linear_align_corners": ALIGNED,
    "test_resize_downsample_scales_cubic_align_corners": ALIGNED,
    "test_constant": "it has no input, and a network here takes one at least",
}
NO_HALF = {"test_celu_float16": "array-api-strict has no float16"}


@pytest.mark.filterwarnings("ignore")  # those of the package onnx and of the overflows it tests
@pytest.mark.parametrize("name", ["cpu", "strict"])
def test_node_tests(name):
    if name == "strict":
        pytest.importorskip("array_api_strict")
    found = list(onnx_backend.results(resolve(name)))
    failed = {result.name: result.reason for result in found if result.reason}
    print(onnx_backend.table(found))
    assert len(found) >= 442
    assert len(found) - len(failed) >= 400
    assert set(failed) == {*EXCEPTIONS, *(NO_HALF if name == "strict" else ())}
