"""ONNX's messages and arrays, read and written: against the onnx package, and hostile files."""

from __future__ import annotations

import os

import numpy as np
import pytest

from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx import proto, tensors, wire

NAMES = ["float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool", "float16",
         "float64", "uint32", "uint64", "complex64", "complex128"]  # fmt: skip


def numbers(name):
    rng = np.random.default_rng(3)
    if name == "bool":
        return rng.random((2, 3)) < 0.5
    if np.dtype(name).kind in "iu":
        limits = np.iinfo(name)
        ends = np.array([[limits.min, limits.max, 0]], dtype=name)
        return np.concatenate([ends, rng.integers(0, 100, size=(1, 3)).astype(name)])
    if np.dtype(name).kind == "c":
        return (rng.normal(size=(2, 3)) + 1j * rng.normal(size=(2, 3))).astype(name)
    return np.array([[0.5, -np.inf, np.nan], [1e-3, -0.0, 2.0]], dtype=name)


def by_hand(*fields):
    """Write fields (number, wire type, bytes) as the standard says, without our writer."""
    return b"".join(bytes([number << 3 | kind]) + value for number, kind, value in fields)


def with_length(data):
    assert len(data) < 128
    return bytes([len(data)]) + data


# -- The wire format -------------------------------------------------------------------------------


def test_a_message_by_hand():
    data = by_hand(
        (1, 0, b"\x02"),  # dims, one by one
        (1, 2, b"\x02\x03\x01"),  # and packed
        (2, 0, b"\x01"),
        (4, 2, b"\x04" + np.float32(1.5).tobytes()),
        (4, 5, np.float32(-2.0).tobytes()),
        (5, 2, b"\x0b\x07" + b"\xff" * 9 + b"\x01"),  # 7 and -1
        (8, 2, with_length("ä".encode())),
        (9, 2, with_length(b"raw")),
        (12, 2, with_length(b"doc")),
    )
    tensor = proto.TensorProto.parse(data)
    assert tensor.dims == [2, 3, 1]
    assert tensor.data_type == 1
    assert tensor.float_data.tolist() == [1.5, -2.0]
    assert tensor.int32_data.tolist() == [7, -1]
    assert tensor.name == "ä"
    assert bytes(tensor.raw_data) == b"raw"
    assert tensor.doc_string == "doc"
    assert proto.TensorProto.parse(tensor.serialize()).serialize() == tensor.serialize()


def test_unknown_fields_are_passed_over():
    strange = wire.varint(1000 << 3 | 2) + with_length(b"later") + wire.varint(999 << 3) + b"\x05"
    assert proto.NodeProto.parse(strange + by_hand((4, 2, with_length(b"Relu")))).op_type == "Relu"


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63 - 1, -1, -(2**63)])
def test_whole_numbers_survive(value):
    again = proto.TensorProto.parse(proto.TensorProto(dims=[value]).serialize())
    assert again.dims == [value]
    packed = proto.TensorProto(int64_data=np.array([value, 5, value]))
    assert proto.TensorProto.parse(packed.serialize()).int64_data.tolist() == [value, 5, value]


HOSTILE = {
    "cut within a tag": b"\x88",
    "cut within a number": b"\x08\x80",
    "cut within a length": b"\x0a\xff",
    "length beyond the end": b"\x4a\x05abc",
    "a length of 2^63": b"\x4a" + b"\xff" * 8 + b"\x7f" + b"a",
    "a length of 2^64 - 1": b"\x4a" + b"\xff" * 9 + b"\x01" + b"a",
    "a number of eleven bytes": b"\x08" + b"\x80" * 10 + b"\x01",
    "a number of 65 bits": b"\x08" + b"\xff" * 9 + b"\x02",
    "field number 0": b"\x00\x01",
    "a group": b"\x0b\x0c",
    "wire type 7": b"\x0f\x01",
    "text in place of a number": b"\x12\x01a",
    "a number in place of text": b"\x40\x01",
    "a fixed number in place of text": b"\x45\x01\x02\x03\x04",
    "text that is not UTF-8": b"\x42\x02\xff\xfe",
    "floats of three bytes": b"\x22\x03abc",
    "packed numbers without an end": b"\x2a\x02\x80\x80",
    "a packed number of eleven bytes": b"\x2a\x0b" + b"\x80" * 10 + b"\x01",
    "a packed number of 65 bits": b"\x2a\x0a" + b"\xff" * 9 + b"\x02",
    "a packed int64 of 65 bits": b"\x3a\x0a" + b"\xff" * 9 + b"\x02",
    "an int32 of 33 bits": b"\x2a\x05" + b"\xff" * 4 + b"\x1f",
    "a dtype of 33 bits": b"\x10" + b"\xff" * 4 + b"\x1f",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_messages_are_refused(name):
    with pytest.raises(ModelFileError, match="TensorProto"):
        proto.TensorProto.parse(HOSTILE[name])


def test_every_cut_of_a_model_is_refused_or_a_smaller_one():
    """Nothing but ModelFileError comes of a model that ends too early, or has a wrong byte."""
    tensor = tensors.from_numpy(np.arange(6.0).reshape(2, 3), "w")
    node = proto.NodeProto(input=["x", "w"], output=["y"], op_type="MatMul")
    whole = proto.ModelProto(graph=proto.GraphProto(node=[node], initializer=[tensor])).serialize()
    refused = 0
    for end in range(len(whole)):
        try:
            proto.ModelProto.parse(whole[:end])
        except ModelFileError:
            refused += 1
    assert refused > 0.9 * len(whole)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        try:
            model = proto.ModelProto.parse(damaged)
            for array in model.graph.initializer if model.graph else []:
                tensors.to_numpy(array)
        except ModelFileError:
            pass


@pytest.mark.parametrize("depth", [20, 300, 5000])
def test_deep_nesting(depth):
    data = b""
    for _ in range(depth):  # a graph in an attribute of a node of a graph ...
        attribute = b"\x32" + wire.varint(len(data)) + data
        node = b"\x2a" + wire.varint(len(attribute)) + attribute
        data = b"\x0a" + wire.varint(len(node)) + node
    if depth == 20:
        assert proto.GraphProto.parse(data).serialize() == data
        return
    with pytest.raises(ModelFileError, match="nested more than 100 deep"):
        proto.GraphProto.parse(data)


def test_all_of_onnx_models_survive():
    """What is read and written again is, byte by byte, what the onnx package wrote."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(
                    "Op", ["x", "", "w"], ["y"], name="n", domain="d", f=1.5, i=-3, s="text",
                    t=onnx.numpy_helper.from_array(np.arange(3), "t"),
                    floats=[1.0, 2.0], ints=[1, -2], strings=["a", "b"],
                    g=helper.make_graph([], "inner", [], []),
                ),
            ],
            "graph",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, None])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [])],
            [onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("d", 1)],
        producer_name="test",
    )  # fmt: skip
    data = model.SerializeToString(deterministic=True)
    assert proto.ModelProto.parse(data).serialize() == data


# -- Arrays ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_arrays_survive(name):
    array = numbers(name)
    for value in (array, array[0, 0], array[:0]):
        tensor = tensors.from_numpy(value, "w")
        again = tensors.to_numpy(proto.TensorProto.parse(tensor.serialize()))
        assert again.dtype == value.dtype
        np.testing.assert_array_equal(again, value)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("name", [*NAMES, "bfloat16"])
def test_arrays_of_the_onnx_package(name, raw):
    onnx = pytest.importorskip("onnx")
    array = numbers("float32" if name == "bfloat16" else name)
    number = {"float32": "FLOAT", "float64": "DOUBLE"}.get(name, name.upper())
    kind = getattr(onnx.TensorProto, number)
    if name == "bfloat16":
        import ml_dtypes

        values = array.astype(ml_dtypes.bfloat16)
        array = values.astype(np.float32)
    else:
        values = array
    data = values.tobytes() if raw else values.reshape(-1).tolist()
    theirs = onnx.helper.make_tensor("w", kind, array.shape, data, raw=raw)
    ours = tensors.to_numpy(proto.TensorProto.parse(theirs.SerializeToString()))
    assert ours.dtype == array.dtype
    np.testing.assert_array_equal(ours, array)
    if name != "bfloat16":
        back = onnx.TensorProto()
        back.ParseFromString(tensors.from_numpy(array, "w").serialize())
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(back), array)


def tensor(**fields):
    return proto.TensorProto(**{"name": "w", "dims": [2], "data_type": 1} | fields)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (tensor(raw_data=b"1234567"), "7 bytes"),
        (tensor(dims=[2**40, 2**40], raw_data=b"12345678"), "8 bytes"),
        (tensor(dims=[-1], raw_data=b""), "negative"),
        (tensor(dims=[2**62], float_data=np.zeros(2, np.float32)), "holds 2 values"),
        (tensor(), "holds 0 values"),
        (tensor(data_type=3, int32_data=np.array([1, 200])), "-128 to 127"),
        (tensor(data_type=10, int32_data=np.array([1, 70000])), "0 to 65535"),
        (tensor(data_type=8, string_data=[b"a", b"b"]), "string"),
        (tensor(data_type=17, raw_data=b"12"), "float8e4m3fn"),
        (tensor(data_type=0), "number 0"),
        (tensor(data_type=None), "number None"),
        (tensor(data_type=99), "number 99"),
        (tensor(data_location=1), "load the model by its path"),
    ],
)
def test_inconsistent_arrays_are_refused(bad, message):
    with pytest.raises(ModelFileError, match=f"'w'.*{message}"):
        tensors.to_numpy(bad)


# -- Arrays in other files -------------------------------------------------------------------------


def external(**notes):
    entries = [proto.StringStringEntryProto(key, str(value)) for key, value in notes.items()]
    return tensor(data_location=1, external_data=entries)


@pytest.fixture
def folder(tmp_path):
    """A folder with data, and a secret beside it."""
    inside = tmp_path / "model"
    (inside / "sub").mkdir(parents=True)
    (inside / "w.bin").write_bytes(b"pad!" + np.array([1.5, -2.0], "<f4").tobytes())
    (inside / "sub" / "w.bin").write_bytes(np.array([3.0, 4.0], "<f4").tobytes())
    (tmp_path / "secret").write_bytes(b"12345678")
    os.symlink(tmp_path / "secret", inside / "link")
    os.symlink(tmp_path, inside / "up")
    os.symlink(inside / "sub" / "w.bin", inside / "within")
    return inside


def test_arrays_in_other_files(folder):
    array = tensors.to_numpy(external(location="w.bin", offset=4, length=8), folder)
    assert array.tolist() == [1.5, -2.0]
    assert tensors.to_numpy(external(location="w.bin", offset=4), folder).tolist() == [1.5, -2.0]
    assert tensors.to_numpy(external(location="sub/w.bin"), folder).tolist() == [3.0, 4.0]
    assert tensors.to_numpy(external(location="within"), folder).tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    "location",
    ["../secret", "sub/../../secret", "/etc/hostname", "..", "", "C:\\secret", "\\\\host\\secret",
     "..\\secret", "link", "up/secret", "nothing", "sub", "w.bin\0"],
)  # fmt: skip
def test_locations_outside_are_refused(folder, location):
    with pytest.raises(ModelFileError, match="'w'"):
        tensors.to_numpy(external(location=location), folder)


@pytest.mark.parametrize(
    "notes",
    [{"offset": 8}, {"offset": 2**62}, {"offset": -4}, {"offset": "4 "}, {"offset": "1" * 5000},
     {"length": 4}, {"length": 2**62}, {"length": "x"}, {"offset": "٤"}],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(folder, notes):
    with pytest.raises(ModelFileError, match="'w'"):
        tensors.to_numpy(external(location="w.bin", **notes), folder)
