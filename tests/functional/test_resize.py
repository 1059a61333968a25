"""Tables for resizing: by hand, against ONNX's reference, and their transposes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn.ops.resize import Taps, transpose
from xpcnn.ops.taps import FILTERS, ROUNDINGS, TRANSFORMS


def matrix(taps: Taps, n: int) -> np.ndarray:
    """Write a table as the matrix it stands for."""
    out, k = taps.indices.shape
    dense = np.zeros((out, n))
    for i, j in itertools.product(range(out), range(k)):
        dense[i, taps.indices[i, j]] += 1.0 if taps.weights is None else taps.weights[i, j]
    return dense


def test_coordinates_by_hand():
    for transform, expected in (
        ("half_pixel", [-0.25, 0.25, 0.75, 1.25]),
        ("pytorch_half_pixel", [-0.25, 0.25, 0.75, 1.25]),
        ("half_pixel_symmetric", [-0.25, 0.25, 0.75, 1.25]),
        ("asymmetric", [0, 0.5, 1, 1.5]),
        ("align_corners", [0, 1 / 3, 2 / 3, 1]),
        ("tf_crop_and_resize", [0, 1 / 3, 2 / 3, 1]),
    ):
        np.testing.assert_allclose(F.source_coordinates(4, 2, 2.0, transform), expected)
    # one position: the middle, but for the ways that start at the first element
    for transform, expected in (
        ("half_pixel", [1.5]),
        ("pytorch_half_pixel", [0]),
        ("asymmetric", [0]),
        ("align_corners", [0]),
        ("tf_crop_and_resize", [1.5]),
    ):
        np.testing.assert_allclose(F.source_coordinates(1, 4, 0.25, transform), expected)
    # 1.5 * 3 was rounded down to 4: still as far from one end as from the other
    found = F.source_coordinates(4, 3, 1.5, "half_pixel_symmetric")
    np.testing.assert_allclose(found + found[::-1], [2, 2, 2, 2])
    # the middle half of the axis
    found = F.source_coordinates(3, 5, 0.6, "tf_crop_and_resize", (0.25, 0.75))
    np.testing.assert_allclose(found, [1, 2, 3])


def test_rounding_by_hand():
    coordinates = np.array([-0.5, 0.5, 1.2, 1.5, 2.7])
    for rounding, expected in (
        ("round_prefer_floor", [0, 0, 1, 1, 2]),
        ("round_prefer_ceil", [0, 1, 1, 2, 2]),
        ("floor", [0, 0, 1, 1, 2]),
        ("ceil", [0, 1, 2, 2, 2]),
    ):
        taps = F.nearest_taps(coordinates, 3, rounding)
        np.testing.assert_array_equal(taps.indices[:, 0], expected)
        assert taps.weights is None


def test_filters_by_hand():
    found = matrix(F.filter_taps(np.array([-0.25, 0.25, 2.0]), 3), 3)
    np.testing.assert_allclose(found, [[1, 0, 0], [0.75, 0.25, 0], [0, 0, 1]])
    found = matrix(F.filter_taps(np.array([-0.25]), 3, exclude_outside=True), 3)
    np.testing.assert_allclose(found, [[1, 0, 0]])
    # twice as wide: distances 0.5, 0.5, 1.5, 1.5 of 2 give 3/4, 3/4, 1/4, 1/4
    found = matrix(F.filter_taps(np.array([1.5]), 4, stretch=2.0), 4)
    np.testing.assert_allclose(found, [[0.125, 0.375, 0.375, 0.125]])
    # in the middle, with a = -1/2, the cubic convolution is (-1, 9, 9, -1) / 16
    found = matrix(F.filter_taps(np.array([1.5]), 4, "cubic", a=-0.5), 4)
    np.testing.assert_allclose(found, [[-1 / 16, 9 / 16, 9 / 16, -1 / 16]])


def test_transposed_tables(rng):
    for _ in range(100):
        n, out, k = (int(v) for v in rng.integers(1, 8, size=3))
        indices = rng.integers(0, n, size=(out, k))
        weights = None if k == 1 and rng.random() < 0.5 else rng.normal(size=(out, k))
        taps = Taps(indices, weights)
        back, counts = transpose(taps, n)
        np.testing.assert_array_equal(counts, np.bincount(indices.ravel(), minlength=n))
        valid = np.arange(back.indices.shape[1]) < counts[:, None]
        ones = np.ones(back.indices.shape) if back.weights is None else back.weights
        found = matrix(Taps(back.indices, np.where(valid, ones, 0.0)), out)
        np.testing.assert_allclose(found, matrix(taps, n).T, rtol=1e-14, atol=1e-14)


def test_resizing_is_multiplication_by_the_matrix(device, rng):
    x, dy = rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 3, 9))
    taps = F.filter_taps(np.linspace(-1, 5, 3), 5, "cubic"), F.filter_taps(np.linspace(0, 3, 9), 4)
    along1, along2 = matrix(taps[0], 5), matrix(taps[1], 4)
    given = device.asarray(x.copy())
    y, saved = F.resize_forward(given, ((1, taps[0]), (2, taps[1])))
    expected = np.einsum("ai,bj,nij->nab", along1, along2, x)
    np.testing.assert_allclose(_xp.to_numpy(y), expected, rtol=1e-12, atol=1e-12)
    dx = F.run_backward(device.asarray(dy), saved)
    expected = np.einsum("ai,bj,nab->nij", along1, along2, dy)
    np.testing.assert_allclose(_xp.to_numpy(dx), expected, rtol=1e-12, atol=1e-12)
    assert _xp.namespace(dx) is device.xp
    assert _xp.device_of(dx) == device.physical
    np.testing.assert_array_equal(_xp.to_numpy(given), x)


def test_an_infinite_gradient_stays_where_it_belongs():
    for coordinates, expected in (([1, 3], [0, np.inf, 0, 2]), ([1, 1, 3], [0, np.inf, 0, 2])):
        taps = F.nearest_taps(np.array(coordinates, dtype="float64"), 4)
        _, saved = F.resize_forward(np.ones((1, 4)), ((1, taps),))
        dx = F.run_backward(np.array([[np.inf, *[2.0] * (len(coordinates) - 1)]]), saved)
        np.testing.assert_array_equal(dx, [expected])


def test_before_the_first_middle_the_second_element_counts_nothing():
    """But infinity times nothing is NaN, as in PyTorch."""
    taps = F.upsample_taps(2, 4, None, "linear", False, "float64")
    np.testing.assert_array_equal(taps.indices[0], [0, 1])
    np.testing.assert_array_equal(taps.weights[0], [1, 0])


def onnx_resize(onnx, x, out, **attributes):
    """Resize the last axis by the reference implementation of ONNX."""
    node = onnx.helper.make_node("Resize", ["x", "roi", "", "sizes"], ["y"], **attributes)
    tensor = onnx.helper.make_tensor_value_info
    double, integer = onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64
    inputs = [tensor("x", double, None), tensor("roi", double, None), tensor("sizes", integer, [1])]
    graph = onnx.helper.make_graph([node], "resize", inputs, [tensor("y", double, None)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    from onnx.reference import ReferenceEvaluator

    feed = {"x": x, "roi": np.array([0.0, 1.0]), "sizes": np.array([out])}
    return ReferenceEvaluator(model).run(None, feed)[0]


def test_as_onnx_has_it(rng):
    onnx = pytest.importorskip("onnx")
    for n, out in ((4, 7), (5, 3), (3, 8), (7, 2), (2, 5), (6, 1)):
        x = rng.normal(size=n)
        for transform in TRANSFORMS:
            if out == 1 and transform == "pytorch_half_pixel":
                continue  # the standard says 0, which its reference has not
            coordinates = F.source_coordinates(out, n, out / n, transform)
            common = {"coordinate_transformation_mode": transform, "axes": [0]}
            cases = [
                (F.nearest_taps(coordinates, n, r), {"mode": "nearest", "nearest_mode": r})
                for r in ROUNDINGS
            ]
            for kind, exclude in itertools.product(FILTERS, (0, 1)):
                # exclude_outside and the coefficient are for the cubic filter there
                how = {"exclude_outside": exclude, "cubic_coeff_a": -0.5 - exclude / 4}
                how = how if kind == "cubic" else {}
                taps = F.filter_taps(
                    coordinates,
                    n,
                    kind,
                    a=how.get("cubic_coeff_a", 0.0),
                    exclude_outside=bool(how.get("exclude_outside")),
                )
                cases.append((taps, {"mode": kind, **how}))
                if out < n and transform == "half_pixel":
                    wide = F.filter_taps(
                        coordinates, n, kind, stretch=n / out, exclude_outside=True
                    )
                    cases.append((wide, {"mode": kind, "antialias": 1, "exclude_outside": 1}))
            for taps, attributes in cases:
                expected = onnx_resize(onnx, x, out, **common, **attributes)
                y, _ = F.resize_forward(x, ((0, taps),))
                note = f"{n} to {out}, {transform}, {attributes}"
                np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6, err_msg=note)


def test_refused():
    with pytest.raises(ValueError, match="transform must be one of 'half_pixel', .*got 'middle'"):
        F.source_coordinates(2, 4, 0.5, "middle")
    with pytest.raises(ValueError, match="rounding must be one of .*; got 'round'"):
        F.nearest_taps(np.zeros(1), 1, "round")
    with pytest.raises(ValueError, match="kind must be one of 'linear', 'cubic'; got 'lanczos'"):
        F.filter_taps(np.zeros(1), 1, "lanczos")
    taps = F.nearest_taps(np.array([4.0]), 5)
    for axis, shape in ((0, (4,)), (1, (5,)), (-1, (5,))):
        with pytest.raises(ValueError, match=f"the table for axis {axis} does not fit an input"):
            F.resize_forward(np.ones(shape), ((axis, taps),))
