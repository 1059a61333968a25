"""Pickles of arrays: of all protocols and old writers, and hostile ones."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

import xpcnn
from xpcnn.errors import ModelFileError
from xpcnn.interop import load_weights, read_pickle

DTYPES = ["?", "i1", "u1", "<i2", ">i2", "<u4", ">i8", "<f2", "<f4", ">f4", "<f8", ">f8", "<c16"]


def arrays_of(rng, dtype):
    values = rng.normal(size=(3, 4, 2)) * 50
    array = (values > 0) if dtype == "?" else values.astype(dtype)
    return {
        "W1": array,
        "fortran": np.asfortranarray(array),
        "turned": array.transpose(2, 0, 1),
        "part": array[::2, 1:, 0],
        "one": array[0, 0, 0],
        "empty": array[:0],
        "number": np.array(array[0, 0, 0]),
    }


def assert_same(read, written):
    assert list(read) == list(written)
    for name, array in written.items():
        assert read[name].dtype == array.dtype.newbyteorder("=")
        assert read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_all_protocols(rng, protocol, dtype):
    written = arrays_of(rng, dtype)
    read = read_pickle(pickle.dumps(written, protocol))
    assert_same(read, written)
    assert type(read["one"]) is type(written["one"])
    read["W1"][...] = 0  # an array of its own, that may be written to


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values(protocol):
    shared = [1, "again"]
    value = {
        "numbers": [0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**200, -(2**200), True],
        "floats": (0.5, -1e300, float("inf")),
        "text": ["", "läßt", "日本", "a\nb\\n", "x" * 300, "\udcff"],
        "bytes": [b"", b"\x00\xff\n", b"x" * 300],
        "nested": [[], [[]], {}, {"a": {1: None, None: 2, 0.5: False}}, (), (1,), (1, 2), (1,) * 4],
        "shared": [shared, shared],
        "ordered": OrderedDict(a=1, b=np.float32(2)),
        "many": list(range(2500)),
    }
    read = read_pickle(pickle.dumps(value, protocol))
    assert read == value
    assert read["shared"][0] is read["shared"][1]


def test_a_file_and_several_names_for_one_array(tmp_path, rng):
    array = rng.normal(size=(2, 3))
    with open(tmp_path / "params.pkl", "wb") as file:
        pickle.dump({"W1": array, "same": array}, file)
    read = read_pickle(tmp_path / "params.pkl")
    np.testing.assert_array_equal(read["W1"], array)
    assert read["same"] is read["W1"]
    with pytest.raises(FileNotFoundError):
        read_pickle(tmp_path / "absent.pkl")


# What Python 2 with NumPy 1 wrote for {'W1': array([[1., -2.]]), 'n': 3L} with protocol 0, and
# with protocol 2 (strings in place of bytes, numpy.core in place of numpy._core).
VALUES = struct.pack("<2d", 1.0, -2.0)
PYTHON2_TEXT = (
    b"(dp0\nS'W1'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\n"
    b"S'b'\np5\ntp6\nRp7\n(I1\n(I1\nI2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n"
    b"(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS'"
    + "".join(f"\\x{byte:02x}" for byte in VALUES).encode()
    + b"'\np15\ntp16\nbsS'n'\np17\nL3L\ns."
)
PYTHON2_BINARY = (
    b"\x80\x02}q\x00(U\x02W1q\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03"
    b"K\x00\x85U\x01b\x87Rq\x04(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x05U\x02f8K\x00K\x01\x87Rq\x06"
    b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10" + VALUES + b"tbU\x01nq\x07"
    b"\x8a\x01\x03u."
)


@pytest.mark.parametrize("data", [PYTHON2_TEXT, PYTHON2_BINARY])
def test_pickles_of_python_2(data):
    expected = pickle.loads(data, encoding="latin1")  # that these bytes are what they claim to be
    np.testing.assert_array_equal(expected["W1"], [[1.0, -2.0]])
    read = read_pickle(data)
    assert list(read) == ["W1", "n"]
    np.testing.assert_array_equal(read["W1"], [[1.0, -2.0]])
    assert read["n"] == 3


@pytest.mark.parametrize(
    "state",
    [
        b"(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
        b"(K\x01U\x01>NNK\x08K\x08tb",
        b"(U\x01>NNK\x08K\x08tb",
    ],
)
def test_older_states_of_dtypes(state):
    """Versions 3, 1 and 0; the first is as NumPy writes it today."""
    values = struct.pack(">2d", 1.0, -2.0)
    data = PYTHON2_BINARY.replace(VALUES, values)
    old = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    assert old in data
    read = read_pickle(data.replace(old, state))
    np.testing.assert_array_equal(read["W1"], [[1.0, -2.0]])


def test_a_backslash_that_escapes_nothing_stays():
    assert read_pickle(b"S'\\q'\n.") == "\\q"


# -- Hostile files ---------------------------------------------------------------------------------


class Call:
    """Pickled as a call of any function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "function", [os.system, eval, exec, __import__, open, getattr, io.BytesIO, np.load, np.zeros]
)
def test_nothing_is_called(tmp_path, protocol, function):
    target = tmp_path / "touched"
    trap = Call(function, f"open({str(target)!r}, 'w').close()")
    for value in (trap, {"W1": trap}, [np.zeros(2), {"a": (trap,)}]):
        with pytest.raises(ModelFileError, match=r"it asks for '.*nothing of it was executed"):
            read_pickle(pickle.dumps(value, protocol))
    assert not target.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"(S'touch x'\nios\nsystem\n.", "the pickle instruction INST"),
        (b"(cos\nsystem\nS'touch x'\no.", "asks for 'os.system'"),
        (b"(cnumpy\nndarray\no.", "the pickle instruction OBJ"),
        (b"cnumpy\nndarray\n)\x81.", "the pickle instruction NEWOBJ"),
        (b"cnumpy\nndarray\n)}\x92.", "the pickle instruction NEWOBJ_EX"),
        (b"Pkey\n.", "the pickle instruction PERSID"),
        (b"K\x01Q.", "the pickle instruction BINPERSID"),
        (b"\x82\x01.", "the pickle instruction EXT1"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"\xff.", "the pickle instruction b'.xff'"),
        (b"\x8c\x02os\x8c\x06system\x93.", "asks for 'os.system'"),
        (b"K\x01K\x02\x93.", "a name that is not a string"),
        (b"cnumpy\ndtype\n(S'O'\nI0\nI1\ntR.", "dtype 'O'; only numbers"),
        (b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.", "dtype 'V8'; only numbers"),
        (b"cnumpy\ndtype\n(S'f8,O'\nI0\nI1\ntR.", "dtype 'f8,O'; only numbers"),
        (b"cnumpy\nndarray\n.", "leaves an array without its values"),
        (b"(lcnumpy\nndarray\na.", "leaves an array without its values"),
        (b"cnumpy\nndarray\n)R.", "calls ndarray in an unknown way"),
        (b"K\x01)R.", "a call of something that is not a function"),
        (b"}(K\x01K\x02db.", "truncated, damaged or not a pickle|sets attributes"),
        (b"}}b.", "sets attributes of a dict"),
        (b"c_codecs\nencode\n(V0\nVrot13\ntR.", "encodes bytes as 'rot13'"),
        (b"", "truncated"),
        (b".", "truncated, damaged or not a pickle"),
        (b"K", "truncated"),
        (b"I1", "truncated"),
        (b"Iten\n.", "truncated, damaged or not a pickle"),
        (b"I" + b"9" * 100_000 + b"\n.", "truncated, damaged or not a pickle"),
        (b"S'a\n.", "a string without its quotes"),
        (b"X\xff\xff\xff\xffabc.", "truncated"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "truncated"),
        (b"T\xff\xff\xff\xffabc.", "truncated"),
        (b"\x8b\xff\xff\xff\xffabc.", "truncated"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "truncated"),
        (b"h\x05.", "truncated, damaged or not a pickle"),
        (b"Np-1\n.", "a negative place in the memo"),
        (b"q\x00.", "truncated, damaged or not a pickle"),
        (b"K\x01a.", "truncated, damaged or not a pickle"),
        (b"K\x01K\x02a.", "for a list finds a int"),
        (b"}(K\x01u.", "a key without its value"),
        (b"}]K\x01s.", "a list as the key of a dict"),
        (b"}(K\x01a.", "finds too few values|for a list"),
        (b"(t1.", "truncated, damaged or not a pickle"),
    ],
)
def test_hostile_and_damaged_pickles(data, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match=message):
        read_pickle(data)
    assert not list(tmp_path.iterdir())


def test_every_cut_is_an_error(rng):
    for protocol in (0, 2, 5):
        data = pickle.dumps(arrays_of(rng, "<f4"), protocol)
        for end in range(len(data)):
            with pytest.raises(ModelFileError):
                read_pickle(data[:end])


def test_random_damage_ends_in_an_error_or_a_value(rng):
    """No other exception comes out, whatever the bytes say."""
    for protocol in (0, 2, 4, 5):
        data = pickle.dumps({"W1": rng.normal(size=(2, 3)), "n": [1, (2, "x")]}, protocol)
        for _ in range(1500):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), size=rng.integers(1, 4)):
                damaged[place] = rng.integers(0, 256)
            with contextlib.suppress(ModelFileError):
                read_pickle(bytes(damaged))


def shape_pickle(*shape, content=b"\x00" * 16):
    """A pickle of a float64 array that claims to be of some shape."""
    lengths = b"".join(b"L%dL\n" % n for n in shape)
    return PYTHON2_BINARY.replace(b"K\x01K\x02\x86", b"(" + lengths + b"t").replace(
        b"U\x10" + VALUES, b"C" + bytes([len(content)]) + content
    )


def test_a_shape_of_its_own():
    assert read_pickle(shape_pickle(2, 1))["W1"].shape == (2, 1)
    assert read_pickle(shape_pickle(0, 7, content=b""))["W1"].shape == (0, 7)


@pytest.mark.parametrize(
    "data",
    [
        shape_pickle(2**40),
        shape_pickle(3),
        shape_pickle(1, 1),
        shape_pickle(-1, -2),
        shape_pickle(-2),
        shape_pickle(2**64 + 2),
        shape_pickle(*[2**32] * 2, 2),
        shape_pickle(0, 2**70, content=b""),
        shape_pickle(0, *[2**31] * 3, content=b""),
        shape_pickle(*[1] * 33, 2),
    ],
)
def test_sizes_that_do_not_fit(data):
    with pytest.raises(ModelFileError, match="it has an array"):
        read_pickle(data)


def peak_of(data):
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError) as caught:
            read_pickle(data)
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_one_string_does_not_become_many_arrays():
    size = 1_000_000
    array = PYTHON2_BINARY[len(b"\x80\x02}q\x00(U\x02W1q\x01") :].partition(b"\x89U\x10")[0]
    # the bytes go to place 99 of the memo, and are used for a thousand arrays
    bomb = b"\x80\x02B" + struct.pack("<I", size * 8) + b"x" * size * 8 + b"q\x630]("
    array = array.replace(b"K\x01K\x02\x86", b"J" + struct.pack("<i", size) + b"\x85")
    bomb += (array + b"\x89h\x63tb") * 1000 + b"e."
    message, peak = peak_of(bomb)
    assert "larger than the file" in message
    assert peak < 5 * len(bomb)


def test_nested_references_are_read_in_no_time():
    """A list of ten references to a list of ten references, and so on: 10^40 entries."""
    data = b"]q\x00"
    for level in range(1, 40):
        data += b"](" + b"h" + bytes([level - 1])
        data = data + (b"h" + bytes([level - 1])) * 9 + b"eq" + bytes([level])
    value = read_pickle(data + b".")
    assert len(value) == 10
    assert value[0] is value[9]
    keyed = b")q\x00"
    for level in range(1, 40):
        keyed += b"h" + bytes([level - 1]) + b"2\x86q" + bytes([level])
    with pytest.raises(ModelFileError, match="a tuple as the key of a dict"):
        read_pickle(keyed + b"q\xff0}h\xffNs.")


@pytest.mark.parametrize(("start", "step"), [(b")", b"\x85"), (b"]" * 200_000 + b"]", b"a")])
def test_deep_nesting(start, step):
    message, _ = peak_of(start + step * 200_000 + b".")
    assert "more than 100 levels deep" in message
    message, _ = peak_of(b"(" * 1_000_000)
    assert "truncated" in message


def test_a_list_inside_itself_ends():
    value = read_pickle(b"]q\x00h\x00a.")
    assert value[0] is value


def test_what_torch_save_wrote_is_named(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ModelFileError, match="damaged zip archive"):
        read_pickle(tmp_path / "weights.pth")


# -- Into models -----------------------------------------------------------------------------------


def course_network():
    return xpcnn.Sequential(
        xpcnn.Conv2d(1, 3, 3),
        xpcnn.ReLU(),
        xpcnn.Flatten(),
        xpcnn.Linear(12, 5),
        xpcnn.BatchNorm1d(5),
        xpcnn.Linear(5, 2),
    )


def test_the_courses_dict_goes_into_a_network(tmp_path, rng):
    params = {
        "W1": rng.normal(size=(3, 1, 3, 3)),
        "b1": rng.normal(size=3),
        "W2": rng.normal(size=(12, 5)),
        "b2": rng.normal(size=5),
        "W3": rng.normal(size=(5, 2)),
        "b3": rng.normal(size=2),
        "gamma1": rng.normal(size=5),
        "beta1": rng.normal(size=5),
    }
    (tmp_path / "params.pkl").write_bytes(pickle.dumps(params))
    net = course_network()
    net.build((1, 1, 4, 4), dtype="float64")
    load_weights(net, tmp_path / "params.pkl")
    x = rng.normal(size=(2, 1, 4, 4))
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0], (3, 3), axis=(1, 2))
    h = np.einsum("nijkl,okl->noij", windows, params["W1"][:, 0])
    h = np.maximum(h + params["b1"][:, None, None], 0).reshape(2, 12)
    h = h @ params["W2"] + params["b2"]
    h = h / np.sqrt(1 + 1e-5) * params["gamma1"] + params["beta1"]
    np.testing.assert_allclose(net(x), h @ params["W3"] + params["b3"], rtol=1e-12)
    params["W9"] = params["W1"]
    (tmp_path / "params.pkl").write_bytes(pickle.dumps(params))
    with pytest.raises(ValueError, match="unexpected: W9"):
        load_weights(net, tmp_path / "params.pkl")


def test_what_is_no_dict_of_arrays_is_refused(tmp_path):
    path = tmp_path / "params.pkl"
    for value, message in (
        ([np.zeros(2)], "expected a dict of arrays by name, got a list"),
        ({"W1": "zero"}, "the entry 'W1' is not an array of numbers"),
        ({1: np.zeros(2)}, "the entry 1 is not an array of numbers"),
        ({"W1": [np.zeros(2)]}, "the entry 'W1' is not an array of numbers"),
    ):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(ModelFileError, match=message):
            load_weights(course_network(), path)
