"""The processes, and who runs when."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import xpcnn
from xpcnn.bench import turns
from xpcnn.bench.configurations import CONFIGURATIONS, Configuration
from xpcnn.bench.turns import FreshWorker, Worker, WorkerError, take_turns
from xpcnn.bench.workloads import WORKLOADS

MLP = WORKLOADS["mlp"].with_batch(2)
GENERIC = CONFIGURATIONS["xpcnn-generic"]


def test_every_round_begins_with_another_one(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0)
    order = []

    class Fake:
        def __init__(self, name):
            self.name = name

        def turn(self, seconds):
            order.append(self.name)
            return {"ms": len(order), "seconds": seconds}

    answers = take_turns([Fake("a"), Fake("b"), Fake("c")], 2, 0.5)
    assert order == ["a", "b", "c", "b", "c", "a"]
    assert [[answer["ms"] for answer in each] for each in answers] == [[1, 6], [2, 4], [3, 5]]
    assert answers[0][0]["seconds"] == 0.5


def test_a_worker_runs_when_asked():
    with Worker(GENERIC, MLP, 1) as worker:
        ready = worker.ready()
        assert ready["first_step_s"] > 0
        assert [set(each) for each in ready["digests"]] == [{"loss", "gradients"}] * 3
        losses = [each["loss"][0] for each in ready["digests"]]
        assert losses[2] < losses[1] < losses[0]
        answer = worker.turn(1e-6)
        assert answer["steps"] == 1
        assert answer["ms"] == answer["least_ms"] > 0
        assert worker.turn(0.2)["steps"] > 1
    assert worker.process.returncode == 0
    if answer["peak_mib"] is not None:
        assert 10 < answer["peak_mib"] < 250


def test_the_matrix_product_has_a_worker_too():
    with Worker(None, None, 1, warm_up=1) as worker:
        assert worker.ready()["digests"] == [{}]
        assert worker.turn(1e-6)["least_ms"] > 0


def test_a_fresh_worker_starts_a_process_each_time(monkeypatch):
    folders, started, told = [], [], []

    class Watched(Worker):
        def __init__(self, *arguments, environment, **rest):
            folders.append(Path(environment["NUMBA_CACHE_DIR"]))
            assert list(folders[-1].iterdir()) == []
            super().__init__(*arguments, environment=environment, **rest)
            started.append(self.process)

        def ready(self):
            told.append(super().ready())
            return told[-1]

    monkeypatch.setattr(turns, "Worker", Watched)
    workload = replace(MLP, fresh=True)
    with FreshWorker(GENERIC, workload, 1) as worker:
        ready = worker.ready()
        assert len(ready["digests"]) == 1
        before = time.time()
        answer = worker.turn(0.1)
        took = (time.time() - before) * 1e3
    assert answer["steps"] == 1
    assert answer["ms"] == answer["least_ms"]
    # the import is in it, and so takes longer than the step; the end of the process is not
    assert told[1]["first_step_s"] * 1e3 < answer["ms"] < took
    assert answer["peak_mib"] == told[1]["peak_mib"]
    assert len(set(folders)) == len({process.pid for process in started}) == 2
    assert not any(folder.exists() for folder in folders)
    assert [process.returncode for process in started] == [0, 0]


def test_a_fresh_workers_process_has_the_environment(tmp_path):
    (tmp_path / "torch.py").write_text("import os; raise ImportError(os.environ['SOME_NAME'])")
    environment = {"PYTHONPATH": str(tmp_path), "SOME_NAME": "some value"}
    with (
        Worker(CONFIGURATIONS["torch"], MLP, 1, environment=environment) as worker,
        pytest.raises(WorkerError, match="ImportError: some value"),
    ):
        worker.ready()


def test_what_a_process_dies_of_is_told(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('out of order')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        Worker(CONFIGURATIONS["torch"], MLP, 1) as worker,
        pytest.raises(WorkerError, match="ImportError: out of order"),
    ):
        worker.ready()


def test_a_process_that_says_nothing_is_noticed():
    unknown = Configuration("unknown", "Unknown", "xpcnn")
    with Worker(unknown, MLP, 1) as worker, pytest.raises(WorkerError, match="exit code 2"):
        worker.ready()


def test_a_baselines_process_holds_nothing_of_ours_but_the_benchmark():
    baselines = "from xpcnn.bench.baselines import jax, pytorch, runtimes, torch_layers"
    code = turns._LIGHT.replace("sys.exit(main())", baselines).strip()
    code += "\nprint(sorted(name for name in sys.modules if name.startswith('xpcnn.')))"
    code += "\nprint('array_api_compat' in sys.modules)"
    package = Path(xpcnn.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(package)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    loaded, compat = done.stdout.splitlines()
    assert all(name.startswith("'xpcnn.bench") for name in loaded.strip("[]").split(", "))
    assert compat == "False"


def test_a_network_that_cannot_be_compiled_is_told(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with (
        Worker(CONFIGURATIONS["torch-compile"], MLP, 1) as worker,
        pytest.raises(WorkerError, match="no-such-compiler"),
    ):
        worker.ready()


def test_all_libraries_get_the_same_threads_and_this_package(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment = turns._environment(3)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    assert [environment[name] for name in names] == ["3"] * 4
    assert environment["PYTHONPATH"] == str(Path(xpcnn.__file__).parents[1])
