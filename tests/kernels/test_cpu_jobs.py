"""Loops over jobs whose body is compiled by itself."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", exc_type=ImportError)

from xpcnn.kernels.cpu import compiling, kept, threads
from xpcnn.kernels.cpu.jobs import Bytes, Floats, Ints, Job, addresses_of


@pytest.fixture(autouse=True, scope="module")
def machine_code_in_a_folder_of_its_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("kernels")
        patch.setattr(kept, "places", lambda: (folder,))
        yield folder


def plain(job: int, x: Floats, at: Ints, flags: Bytes, n: int, scale: float, out: Floats) -> None:
    for i in range(n):
        k = job * n + i
        out[k] = x[at[k]] * scale if flags[k] else np.float32(-1)


def test_every_job_is_done_once(machine_code_in_a_folder_of_its_own):
    job = Job(plain)
    rng = np.random.default_rng(0)
    for jobs, n in ((1, 1), (7, 3), (100, 40)):
        x = rng.random(jobs * n, dtype="float32")
        at = rng.permutation(jobs * n)
        flags = rng.integers(0, 2, jobs * n, dtype="uint8")
        expected = np.where(flags, x[at] * np.float32(0.3), np.float32(-1))
        for operations in (1, 10 * threads.WORTH_IT):
            out = np.zeros(jobs * n + 1, "float32")
            threads.launch(operations, job, jobs, x, at, flags, n, 0.3, out)
            np.testing.assert_array_equal(out[:-1], expected)
            assert out[-1] == 0
    job(0, x, at, flags, n, 0.3, out)
    assert list(machine_code_in_a_folder_of_its_own.glob("test_cpu_jobs-*/*.code"))


def test_machine_code_is_loaded_the_second_time():
    x, out = np.ones(2, "float32"), np.zeros(2, "float32")
    arguments = (2, x, np.arange(2), np.ones(2, "uint8"), 1, 2.0, out)
    Job(plain)(*arguments)
    count = compiling.report()[0]
    again = Job(plain)
    again(*arguments)
    assert compiling.report()[0] == count
    assert again._compiled.cache_hits == 1
    np.testing.assert_array_equal(out, [2, 2])


@pytest.mark.parametrize(
    ("position", "wrong"),
    [
        (0, np.ones(2)),
        (1, np.arange(2, dtype="int32")),
        (2, [1, 1]),
        (3, 1.0),
        (4, "half"),
    ],
)
def test_wrong_arguments_go_nowhere(position, wrong):
    arguments = [np.ones(2, "float32"), np.arange(2), np.ones(2, "uint8"), 1, 1.0]
    arguments[position] = wrong
    out = np.zeros(2, "float32")
    with pytest.raises(TypeError, match=f"plain: argument {position + 1} is to be "):
        Job(plain)(1, *arguments, out)
    with pytest.raises(TypeError):
        Job(plain)(1, *arguments)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 20])
def test_addresses_are_those_that_numpy_names(count):
    arrays = [np.empty(1 + i, "float32")[i:] for i in range(count)]
    found = addresses_of(arrays)
    assert found.tolist() == [a.__array_interface__["data"][0] for a in arrays]
