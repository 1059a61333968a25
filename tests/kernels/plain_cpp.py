"""CUDA kernels compiled as plain C++ and called on NumPy arrays."""

import ctypes
import functools
import re
import shutil
import subprocess

import numpy as np
import pytest

from xpcnn.kernels.cuda import source

COMPILER = shutil.which("g++") or shutil.which("clang++")

ROOM = 64
"""Bytes of sentinel on either side of an array."""


class WindowStruct(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_longlong * 3)
        for name in ("size", "out", "kernel", "stride", "dilation", "before")
    ]


class PlainCpp:
    """Stands in for ``source.run``: compiles a file as C++ and calls its kernels."""

    def __init__(self, folder):
        self.folder = folder
        self.libraries = {}
        self.launched = []

    def library(self, file, dtype, wide):
        key = (file, dtype, wide)
        if dtype == "float16" and not has_float16():
            pytest.skip("the C++ compiler has no _Float16")
        if key not in self.libraries:
            stem = self.folder / f"{file.removesuffix('.cu')}-{dtype}-{wide}"
            stem.with_suffix(".cpp").write_text(source.text(file))
            built = subprocess.run(
                [COMPILER, "-shared", "-O1", "-fPIC", "-std=c++17"]
                + [*source.options(dtype, wide), "-o", stem.with_suffix(".so")]
                + [stem.with_suffix(".cpp")],
                capture_output=True,
                text=True,
                check=False,
            )
            assert built.returncode == 0, built.stderr
            self.libraries[key] = ctypes.CDLL(str(stem.with_suffix(".so")))
        return self.libraries[key]

    def __call__(self, like, file, kernel, dtype, wide, blocks, values):
        self.launched.append((file, kernel, dtype, wide))
        parameters = signature(file, kernel)
        assert len(values) == len(parameters), f"{kernel} takes {parameters}"
        for value, parameter in zip(values, parameters, strict=True):
            assert fits(value, parameter, like.dtype), f"{kernel}: {parameter} is {value!r}"
        library = self.library(file, dtype, wide)
        forwards = self.call(library, kernel, parameters, values, blocks, False)
        backwards = self.call(library, kernel, parameters, values, blocks, True)
        for a, b in zip(forwards, backwards, strict=True):
            assert a == b, f"{kernel}: the result depends on the order of the threads"

    def call(self, library, kernel, parameters, values, blocks, backwards):
        memories, given = [], []
        for value, parameter in zip(values, parameters, strict=True):
            if isinstance(value, np.ndarray) and value.dtype.names is None:
                memory = np.full(value.nbytes + 2 * ROOM, 0xFF, np.uint8)
                if parameter.startswith("const"):
                    ctypes.memmove(memory.ctypes.data + ROOM, value.ctypes.data, value.nbytes)
                memories.append((memory, value, parameter))
                given.append(ctypes.c_void_p(memory.ctypes.data + ROOM))
            else:
                given.append(as_argument(value))
        for block in reversed(range(blocks)) if backwards else range(blocks):
            library.set_block(block, blocks, int(backwards))
            getattr(library, kernel)(*given)
        for memory, value, parameter in memories:
            assert (memory[:ROOM] == 0xFF).all(), f"{kernel} writes before {parameter}"
            assert (memory[-ROOM:] == 0xFF).all(), f"{kernel} writes behind {parameter}"
            inside = memory.ctypes.data + ROOM
            if parameter.startswith("const"):
                same = ctypes.string_at(inside, value.nbytes)
                assert same == ctypes.string_at(value.ctypes.data, value.nbytes)
            else:
                ctypes.memmove(value.ctypes.data, inside, value.nbytes)
        return [m[ROOM:-ROOM].tobytes() for m, _, _ in memories]


@functools.cache
def has_float16():
    macros = [COMPILER, "-dM", "-E", "-x", "c++", "/dev/null"]
    shown = subprocess.run(macros, capture_output=True, text=True, check=True).stdout
    return "__FLT16_MANT_DIG__" in shown


@functools.cache
def signature(file, kernel):
    """Return the parameters of a kernel as they are written: "const REAL* x"."""
    found = re.search(rf"KERNEL {kernel}\(([^)]*)\)", source.text(file))
    return [" ".join(p.split()) for p in found[1].split(",")]


def fits(value, parameter, dtype):
    """Whether a value may be given for a parameter; CuPy does not look."""
    kind = parameter.removeprefix("const ").rsplit(" ", 1)[0]
    computed = source.computed(dtype.name)
    if kind.endswith("*"):
        held = {"REAL*": dtype, "MATH*": computed, "Int*": np.int64, "unsigned char*": np.uint8}
        return value is None or (dense(value) and value.dtype == np.dtype(held[kind]))
    if kind == "Window":
        return value.dtype == source._WINDOW and value.shape == ()
    return type(value) is {"Int": np.int64, "MATH": computed}[kind]


def dense(a):
    """Whether an array has no gaps."""
    steps = sorted((s, n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1)
    size = a.itemsize
    for step, n in steps:
        if step != size:
            return False
        size *= n
    return True


def as_argument(value):
    if value is None:
        return ctypes.c_void_p(None)
    if isinstance(value, np.ndarray):
        return WindowStruct.from_buffer_copy(value.tobytes())
    kinds = {np.int64: ctypes.c_longlong, np.float32: ctypes.c_float, np.float64: ctypes.c_double}
    return kinds[type(value)](value)
