"""Resize in ONNX files: places and rounding as PyTorch's exporters and onnxruntime have them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from tests.interop.onnx_models import model, node, value
from xpcnn.interop import onnx

MODES = ("nearest", "linear", "cubic")
PLACES = (
    "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric",
    "tf_crop_and_resize",
)  # fmt: skip
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
FACTORS = (0.3, 0.5, 0.6, 0.7, 0.9, 1.1, 1.2, 1.5, 2.0, 2.5, 3.0)


def resized(x: list[float], scale: float, opset: int = 19, op: str = "Resize", **options: Any):
    """Resize a row by a factor."""
    names = "x - scales" if opset > 10 else "x scales"
    row = np.asarray([[x]], np.float32)
    described = model(
        [node(op, names, "y", **options)],
        [value("x", row.shape)],
        "y",
        {"scales": np.asarray([1, 1, scale], np.float32)},
        opset=opset,
    )
    return onnx.load(described.serialize(), device="cpu").predict(row)[0, 0]


def test_aligned_corners_are_those_of_the_rounded_length():
    # three elements become four (4.5 rounded down): 0, 2/3, 4/3, 2, and the corners stay
    options = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    np.testing.assert_allclose(resized([0, 30, 60], 1.5, **options), [0, 20, 40, 60], rtol=1e-6)
    assert resized([5, 30, 60], 0.5, **options).tolist() == [5]


def test_places_are_rounded_in_single_precision():
    # 3 / 0.6 is 5 in float32, and below 5 in float64
    options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    assert resized(list(range(8)), 0.6, **options).tolist() == [0, 1, 3, 5]
    # and so is the new length: 10 * 0.7 is 7
    assert len(resized(list(range(10)), 0.7, **options)) == 7


def test_what_keeps_its_length_is_copied():
    options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    assert resized([1, 5, 2], 1.2, **options).tolist() == [1, 5, 2]


def test_version_10_rounds_up_where_an_axis_gets_shorter():
    # places 0, 1.67, 3.33
    assert resized(list(range(6)), 0.6, opset=10, mode="nearest").tolist() == [0, 2, 4]
    # places 0, 0.4, 0.8, 1.2, 1.6
    assert resized([0, 1], 2.5, opset=10, mode="nearest").tolist() == [0, 0, 0, 1, 1]


def draw(rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    """Draw a model with one Resize, and an input."""
    mode, places = rng.choice(MODES), rng.choice(PLACES)
    ndim = 2 if mode == "cubic" else int(rng.integers(1, 3))
    shape = (2, 3, *rng.integers(1, 12, ndim).tolist())
    axes = list(range(2, ndim + 2))
    options: dict[str, Any] = {"mode": str(mode), "coordinate_transformation_mode": str(places)}
    if mode == "nearest":
        options["nearest_mode"] = str(rng.choice(ROUNDINGS))
    elif rng.random() < 0.3:
        options["antialias"] = 1
    if mode == "cubic":
        options["cubic_coeff_a"] = float(rng.choice([-0.75, -0.5]))
        options["exclude_outside"] = int(rng.random() < 0.3)
    by_size, front = rng.random() < 0.4, [1.0, 1.0]
    policy = rng.choice(["stretch", "not_larger", "not_smaller"])
    if by_size and policy != "stretch":
        options["keep_aspect_ratio_policy"] = str(policy)
    if "keep_aspect_ratio_policy" in options or rng.random() < 0.3:
        options["axes"], front = axes, []
    arrays, region = {}, "-"
    if places == "tf_crop_and_resize":
        region, options["extrapolation_value"] = "region", 7.5
        start, end = rng.choice([0, 0.1, 0.25, -0.2], ndim), rng.choice([1, 0.8, 0.75, 1.2], ndim)
        arrays["region"] = np.asarray([*(0 * n for n in front), *start, *front, *end], np.float32)
    if by_size:
        sizes = rng.integers(1, 16, ndim).tolist()
        arrays["sizes"] = np.asarray([*(shape[:2] if front else []), *sizes], np.int64)
        names = f"x {region} - sizes"
    else:
        scales = rng.choice([*FACTORS, rng.uniform(0.3, 3)], ndim).tolist()
        arrays["scales"] = np.asarray([*front, *scales], np.float32)
        names = f"x {region} scales"
    outputs = [value("y", [None] * len(shape))]
    described = model(
        [node("Resize", names, "y", **options)], [value("x", shape)], outputs, arrays, opset=19
    )
    return described.serialize(), rng.random(shape, dtype=np.float32)


def by_onnxruntime(data: bytes, x: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("seed", range(4))
def test_random_resizes_are_those_of_onnxruntime(seed):
    rng = np.random.default_rng(seed)
    compared = 0
    while compared < 100:
        data, x = draw(rng)
        expected = by_onnxruntime(data, x)
        # a cut-out of the same size is a copy of all there, which cannot be meant
        cut = b"tf_crop_and_resize" in data
        if not expected.size or (cut and any(np.equal(x.shape, expected.shape)[2:])):
            continue
        found = onnx.load(data, device="cpu").predict(x)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
        compared += 1


CALLS = {
    "bilinear aligned": {"scale_factor": 1.5, "mode": "bilinear", "align_corners": True},
    "bicubic aligned": {"scale_factor": 1.5, "mode": "bicubic", "align_corners": True},
    "bilinear": {"scale_factor": (0.7, 1.7), "mode": "bilinear"},
    "bicubic": {"scale_factor": (0.7, 1.7), "mode": "bicubic"},
    "nearest": {"scale_factor": 0.6, "mode": "nearest"},
    "nearest larger": {"scale_factor": (2.3, 1.9), "mode": "nearest"},
    "recomputed": {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True},
    "same length": {"scale_factor": 1.1, "mode": "bilinear"},
    "size": {"size": (8, 3), "mode": "bilinear", "align_corners": True},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_interpolation_written_by_the_exporters_of_pytorch(name, new):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    if new:
        pytest.importorskip("onnxscript")

    class Resized(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.interpolate(x, **CALLS[name])

    x = torch.rand(1, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    written = io.BytesIO()
    if new:
        torch.onnx.export(Resized(), (x,), written, dynamo=True, verbose=False)
    else:
        torch.onnx.export(Resized(), (x,), written, dynamo=False)
    found = onnx.load(written.getvalue(), device="cpu").predict(x.numpy())
    np.testing.assert_allclose(found, Resized()(x).numpy(), rtol=0, atol=2e-6)


def test_symmetric_places_are_written_for_versions_that_do_not_know_them():
    options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}
    arrays = {"scales": np.asarray([1, 1, 1.3, 0.7], np.float32)}
    described = model(
        [node("Resize", "x - scales", "y", **options)],
        [value("x", ["n", 2, 5, 7])],
        "y",
        arrays,
        opset=19,
    )
    loaded = onnx.load(described.serialize(), device="cpu")
    x = np.random.default_rng(0).random((3, 2, 5, 7), dtype=np.float32)
    expected = by_onnxruntime(described.serialize(), x)
    np.testing.assert_allclose(loaded.predict(x), expected, rtol=0, atol=2e-6)
    for opset in (13, 18):
        written = onnx.to_bytes(loaded, opset=opset, input_shape=(None, 2, 5, 7))
        np.testing.assert_allclose(by_onnxruntime(written, x), expected, rtol=0, atol=2e-6)
