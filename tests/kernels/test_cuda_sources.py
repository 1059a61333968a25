"""The CUDA sources compile for every kind of GPU that is supported; no GPU is needed for that."""

import contextlib
import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xpcnn.kernels.cuda import source

FOLDER = Path(source.__file__).parent
FILES = sorted(path.name for path in FOLDER.glob("*.cu"))
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
VARIANTS = [(dtype, wide) for dtype in source.TYPES for wide in (False, True)]
MISSING = "needs NVRTC (pip install nvidia-cuda-nvrtc) or nvcc"


class Nvrtc:
    """NVIDIA's compiler as a library; it works without a driver."""

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))
        count = ctypes.c_int()
        self.check(self.library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        numbers = (ctypes.c_int * count.value)()
        self.check(self.library.nvrtcGetSupportedArchs(numbers))
        self.architectures = set(numbers)

    def check(self, result):
        assert result == 0, f"NVRTC error {result}"

    def compile(self, text, options, architecture):
        """Return whether the source compiles, and what the compiler says."""
        program = ctypes.c_void_p()
        arguments = (text.encode(), b"kernels.cu", 0, None, None)
        self.check(self.library.nvrtcCreateProgram(ctypes.byref(program), *arguments))
        given = [o.encode() for o in (*options, f"--gpu-architecture=sm_{architecture}")]
        array = (ctypes.c_char_p * len(given))(*given)
        result = self.library.nvrtcCompileProgram(program, len(given), array)
        size = ctypes.c_size_t()
        self.check(self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
        log = ctypes.create_string_buffer(size.value)
        self.check(self.library.nvrtcGetProgramLog(program, log))
        self.check(self.library.nvrtcDestroyProgram(ctypes.byref(program)))
        return result == 0, log.value.decode()


class Nvcc:
    """NVIDIA's compiler as a command."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder
        listed = self.run("--list-gpu-code").stdout
        self.architectures = {int(n) for n in re.findall(r"^sm_(\d+)$", listed, re.MULTILINE)}

    def run(self, *arguments):
        return subprocess.run([self.path, *arguments], capture_output=True, text=True, check=False)

    def compile(self, text, options, architecture):
        (self.folder / "kernels.cu").write_text(text)
        to = ["-cubin", "-o", self.folder / "kernels.cubin", self.folder / "kernels.cu"]
        done = self.run(*options, f"-arch=sm_{architecture}", *to)
        return done.returncode == 0, done.stdout + done.stderr


def find_nvrtc():
    """Return the library of the newest package of NVIDIA's that is installed, or ``None``."""
    found = importlib.util.find_spec("nvidia")
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    libraries = [
        path
        for folder in folders
        for path in Path(folder).glob("*/lib/libnvrtc.so.*")
        if re.fullmatch(r"libnvrtc\.so\.\d+", path.name)
    ]
    return max(libraries, key=lambda path: int(path.suffix[1:]), default=None)


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    """Return what compiles CUDA here."""
    library, command = find_nvrtc(), shutil.which("nvcc")
    if library is not None:
        return Nvrtc(library)
    if command is not None:
        return Nvcc(command, tmp_path_factory.mktemp("nvcc"))
    pytest.skip(MISSING)


@pytest.fixture(scope="module")
def quick(compiler):
    """Return the option that takes a fifth of the time, where the compiler has it."""
    option = "--Ofast-compile=max"
    return [option] if compiler.compile("", [option], 80)[0] else []


def all_files():
    """Return all sources as one, which compiles sooner than one after the other."""
    others = [(FOLDER / file).read_text(encoding="utf-8") for file in FILES[1:]]
    return source.text(FILES[0]) + "".join(others).replace('#include "common.cuh"\n', "")


def assert_compiles(compiler, text, dtype, wide, architecture, more=()):
    options = (*source.options(dtype, wide), "-std=c++17", *more)
    works, log = compiler.compile(text, options, architecture)
    assert works, f"{dtype}, sm_{architecture}:\n{log}"
    assert "warning" not in log, log


def test_files_are_there():
    names = {"columns", "dropout", "elementwise", "loss", "norm", "pool", "update"}
    assert set(FILES) >= {f"{name}.cu" for name in names}
    for file in FILES:
        assert "#include" not in source.text(file).partition("#else")[0]  # NVRTC has no headers


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(compiler, quick, architecture):
    if architecture not in compiler.architectures:
        pytest.skip(f"this compiler does not know sm_{architecture}")
    assert_compiles(compiler, all_files(), "float32", False, architecture, quick)


@pytest.mark.parametrize(("dtype", "wide"), VARIANTS)
def test_every_type(compiler, quick, dtype, wide):
    oldest = min(compiler.architectures & {*ARCHITECTURES})
    assert_compiles(compiler, all_files(), dtype, wide, oldest, quick)


@pytest.mark.parametrize("file", FILES)
def test_every_file_by_itself(compiler, file):
    newest = max(compiler.architectures & {*ARCHITECTURES})
    assert_compiles(compiler, source.text(file), "float32", False, newest)


def test_an_error_is_seen(compiler):
    text = source.text("pool.cu").replace("best = value;", "best = walue;")
    options = source.options("float32", False)
    works, log = compiler.compile(text, options, max(compiler.architectures & {*ARCHITECTURES}))
    assert not works
    assert "walue" in log


class OnDevice(np.ndarray):
    """An array that says it lies on GPU `number`; entering its device is noted."""

    number = 0
    entered = ()

    @property
    def device(self):
        @contextlib.contextmanager
        def device():
            OnDevice.entered = (*OnDevice.entered, self.number)
            yield

        found = device()
        found.id = self.number
        return found


def test_a_file_is_compiled_once_for_each_device_and_type(monkeypatch):
    modules, launches = [], []

    def raw_module(code, options):
        modules.append((code, options))
        kernel = lambda *arguments: launches.append(arguments)  # noqa: E731
        return SimpleNamespace(get_function=lambda name: kernel)

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(RawModule=raw_module))
    monkeypatch.setattr(OnDevice, "entered", ())
    source._module.cache_clear()
    source._function.cache_clear()
    x, other = np.zeros(3, np.float32).view(OnDevice), np.zeros(3, np.float32).view(OnDevice)
    other.number = 1
    for like in (x, x, other):
        source.launch("elementwise.cu", "add", like, 2, like, None, True, 0.5)
        source.launch("elementwise.cu", "gate", like, 2, like)
    source.launch("elementwise.cu", "add", x.astype(np.float64), 2, x)
    source._module.cache_clear()
    source._function.cache_clear()
    assert [options[0] for _, options in modules] == ["-DREAL=float"] * 2 + ["-DREAL=double"]
    assert all(code == source.text("elementwise.cu") for code, _ in modules)
    assert OnDevice.entered == (0, 0, 0, 0, 1, 1, 0)
    grid, block, arguments = launches[0]
    assert (grid, block) == ((2,), (source.THREADS,))
    assert arguments[0] is x
    assert [type(a) for a in arguments[1:]] == [type(None), np.int64, np.float32]
