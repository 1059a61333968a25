"""With CuPy installed, mostly on a machine without an NVIDIA driver: nothing there may be a riddle.

Needs ``pip install "xpcnn[cuda13]"`` (or ``[cuda12]``); all of it is skipped without CuPy.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from xpcnn.backends.cuda_search import cuda_of_driver, cupy_packages
from xpcnn.data import write_idx
from xpcnn.device import resolve
from xpcnn.errors import OutOfMemoryError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None, reason="CuPy is not installed"
)
without_driver = pytest.mark.skipif(
    cuda_of_driver() is not None, reason="there is an NVIDIA driver here"
)
NO_DRIVER = (
    r"CuPy [\d.]+ is installed, but no NVIDIA driver is found; if there is an NVIDIA GPU, install "
    r"its driver"
)


def python(*arguments: object, libraries: Path | None = None, cwd: Path | None = None):
    """Run Python in a process of its own, where warnings are errors."""
    environment = os.environ | {"PYTHONPATH": str(Path(xpcnn.__file__).parents[1])}
    if libraries is not None:
        environment["LD_LIBRARY_PATH"] = str(libraries)
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_importing_the_package_does_not_import_cupy():
    done = python("-c", "import sys, xpcnn; print('cupy' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


@without_driver
def test_auto_is_the_cpu_and_says_why():
    device = resolve("auto")
    assert device.name == "cpu"
    assert_matches(f"no working GPU: {NO_DRIVER}", device.note)
    assert xpcnn.Model([xpcnn.ReLU()]).device.name == "cpu"


@without_driver
@pytest.mark.parametrize("spelling", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_is_one_clear_error(spelling):
    with pytest.raises(xpcnn.DeviceError) as error:
        resolve(spelling)
    message = f"device '{spelling}': {NO_DRIVER}; or use device='cpu'"
    assert_matches(message, str(error.value))
    done = python("-c", f"import xpcnn; xpcnn.Model(device='{spelling}')")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert "CUDARuntimeError" not in done.stderr


@without_driver
def test_info(tmp_path):
    done = python("-m", "xpcnn", "info", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    (name, version), *_ = cupy_packages().items()
    assert any(line.startswith(f"  cupy              {version} ({name})") for line in lines)
    assert "  NVIDIA driver     none found" in lines
    assert_matches(f"auto chooses: cpu .no working GPU: {NO_DRIVER}.", lines[-1])


@pytest.fixture
def images(tmp_path):
    """A folder with a small data set."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 20)):
        write_idx(
            tmp_path / f"{part}-images-idx3-ubyte.gz",
            rng.integers(0, 255, (count, 10, 10), dtype=np.uint8),
        )
        write_idx(
            tmp_path / f"{part}-labels-idx1-ubyte.gz",
            rng.integers(0, 2, count, dtype=np.uint8),
        )
    return tmp_path


@without_driver
def test_training_on_auto(images):
    done = python("-m", "xpcnn", "train", "--data", images, "--epochs", 1, cwd=images)
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert_matches(f"device: cpu .no working GPU: {NO_DRIVER}.", first)
    assert last.startswith("saved to ")


@without_driver
def test_training_on_cuda(images):
    done = python("-m", "xpcnn", "train", "--data", images, "--device", "cuda", cwd=images)
    assert (done.returncode, done.stdout) == (1, "")
    assert_matches(
        f"xpcnn train: error: device 'cuda': {NO_DRIVER}; or use device='cpu'",
        done.stderr.rstrip(),
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (12040, "the NVIDIA driver is for CUDA 12.4; update the driver, or run: pip uninstall -y"),
        (13020, "the NVIDIA driver, for CUDA 13.2, is there but shows no usable GPU (CUDARuntime"),
    ],
)
@without_driver
@pytest.mark.skipif("cupy-cuda13x" not in cupy_packages(), reason="needs CuPy for CUDA 13")
@pytest.mark.skipif(sys.platform != "linux", reason="the driver is called libcuda.so.1 on Linux")
def test_a_driver_that_does_not_fit(tmp_path, version, expected):
    """The driver's library is a stand-in that knows its version, and nothing else."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = tmp_path / "driver.c"
    source.write_text(
        f"int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}\n"
    )
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", source], check=True
    )
    done = python("-c", "import xpcnn; print(xpcnn.devices()['cuda'])", libraries=tmp_path)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert done.stdout.endswith("; or use device='cpu'\n")


def test_the_error_of_cupy_without_memory():
    """CuPy's own class, raised where an array would be allocated."""
    from cupy.cuda.memory import OutOfMemoryError as OfCupy

    class Greedy(xpcnn.ReLU):
        def forward(self, x, *, training=False):
            if len(x) > 2:
                raise OfCupy(4096, 1024, 2048)
            return super().forward(x, training=training)

    model = xpcnn.Model([xpcnn.Linear(3, 2), Greedy()], device="cpu", seed=0)
    model.compile("adam", "cross_entropy")
    x, y = np.ones((4, 3), "float32"), np.array([0, 1, 0, 1])
    model.build((None, 3))
    weights = np.array(model.state_dict()["0.weight"])
    with pytest.raises(OutOfMemoryError, match="in Greedy '1' .OutOfMemoryError: .*4,096 bytes"):
        model.train_on_batch(x, y)
    np.testing.assert_array_equal(model.state_dict()["0.weight"], weights)
    model.train_on_batch(x[:2], y[:2])


@pytest.mark.gpu
def test_out_of_memory_on_the_gpu(request):
    """The pool may hold little, so that a large batch fails; a small one works afterwards."""
    try:
        resolve("cuda")
    except xpcnn.DeviceError as error:
        if request.config.getoption("--require-gpu"):
            pytest.fail(f"--require-gpu was given, but: {error}")
        pytest.skip(str(error))
    import cupy

    x = np.random.default_rng(0).random((512, 3, 64, 64), dtype="float32")
    y = np.arange(512) % 2
    layers = [xpcnn.Conv2d(3, 32, 3), xpcnn.ReLU(), xpcnn.Flatten(), xpcnn.Linear(out_features=2)]
    model = xpcnn.Model(layers, device="cuda", seed=0)
    model.compile("adam", "cross_entropy")
    model.train_on_batch(x[:2], y[:2])
    before = {name: array.get() for name, array in model.state_dict().items()}
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + 2**27)
    try:
        with pytest.raises(OutOfMemoryError, match="batch_size=512, in .*CuPy's memory pool"):
            model.train_on_batch(x, y)
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array.get(), before[name])
        model.train_on_batch(x[:2], y[:2])
    finally:
        pool.set_limit(size=0)


def assert_matches(pattern: str, text: str) -> None:
    assert re.fullmatch(pattern, text), text
