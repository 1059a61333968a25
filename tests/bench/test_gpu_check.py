"""The script for GPUs, on the CPU: that it finds errors, and outlives checks that break."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu_check
from benchmarks.gpu import checks, contact, operations, report
from benchmarks.gpu.checks import Check, Context, Outcome, SkipError
from xpcnn import _xp, kernels, ops
from xpcnn.device import resolve
from xpcnn.errors import CaptureError, DeviceError
from xpcnn.kernels.dispatch import OPS, OpPair
from xpcnn.training import graph_capture

SCRIPT = Path(gpu_check.__file__)


@pytest.fixture
def cpu():
    """The checks on NumPy, with the generic kernels."""
    with kernels.force("generic"):
        yield Context(resolve("cpu"))


def run(name, context):
    (check,) = gpu_check.choose([name], with_timing=True)
    return check.run(context)


def test_a_run_from_the_outside(tmp_path):
    words = ["--device", "cpu", "--output", str(tmp_path / "out"), "--only"]
    patterns = "conv/float64/groups,operation/float64/adam,network/float64/mlp,cudnn"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words, patterns],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 passed, 0 failed, 1 skipped" in done.stdout
    content = json.loads((tmp_path / "out" / "gpu-check.json").read_text())
    assert content["passed"]
    at_once = lines(tmp_path / "out" / "gpu-check.jsonl")
    assert sorted(line["name"] for line in at_once) == sorted(c["name"] for c in content["checks"])
    assert content["environment"]["versions"]["numpy"] == np.__version__
    found = {check["name"]: check for check in content["checks"]}
    assert list(found) == ["cudnn", "conv/float64/groups", "operation/float64/adam",
                           "network/float64/mlp"]  # fmt: skip
    errors = found["conv/float64/groups"]["errors"]
    assert set(errors) == {"y", "dx", "dw", "db"}
    table = (tmp_path / "out" / "gpu-check.md").read_text()
    assert "| conv/float64/groups | passed | " in table
    assert "| cudnn | skipped |  | for CuPy alone |" in table


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    def fail(device):
        raise DeviceError("no driver")

    monkeypatch.setattr(report, "resolve", fail)
    assert gpu_check.main([]) == 2
    assert "no driver" in capsys.readouterr().err


def test_names_can_be_listed(capsys):
    assert gpu_check.main(["--list", "--only", "conv/*/plain,timing/*"]) == 0
    names = capsys.readouterr().out.split()
    assert {f"conv/{mode}/plain" for mode in checks.MODES} < set(names)
    assert names[0] == "conv/float32/plain", "the most important first"
    assert "timing/network/tf32/resnet18-128" in names
    assert gpu_check.main(["--list", "--device", "cpu"]) == 0
    assert "timing/" not in capsys.readouterr().out


def test_an_unknown_name_is_an_error(capsys):
    with pytest.raises(SystemExit):
        gpu_check.main(["--device", "cpu", "--only", "nothing"])
    assert "there is no check 'nothing'" in capsys.readouterr().err


# -- The checks find what is wrong ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["line-groups", "asymmetric", "cube-groups", "one-pixel"])
def test_right_convolutions_pass(cpu, name):
    outcome = run(f"conv/float64/{name}", cpu)
    assert outcome.passed
    assert outcome.how == "generic"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_wrong_gradient_is_found(cpu, monkeypatch, part):
    def backward(xp, dy, *rest):
        gradients = list(ops.conv.backward(xp, dy, *rest))
        gradients[part] = gradients[part] * (1.0 + 1e-11)
        return tuple(gradients)

    pair = OpPair(ops.conv.forward, backward)
    right = OPS["conv"]
    monkeypatch.setattr(kernels.dispatch, "_candidates", lambda *_: (("generic", pair),))
    outcome = run("conv/float64/groups", cpu)
    assert OPS["conv"] is right
    assert not outcome.passed
    assert [name for name, e in outcome.errors.items() if e > 1e-12] == [("dx", "dw", "db")[part]]


def test_the_wrong_kernels_are_found(cpu, monkeypatch):
    monkeypatch.setattr(Context, "library", "cupy")
    outcome = run("conv/float64/groups", cpu)
    assert max(outcome.errors.values()) <= outcome.tolerance
    assert outcome.wrong == "expected 'im2col', but what ran was 'generic'"
    assert not outcome.passed


@pytest.mark.parametrize("op", operations.OPERATIONS)
def test_operations_are_compared(cpu, op):
    outcome = run(f"operation/float64/{op}", cpu)
    assert outcome.passed
    assert len(outcome.errors) >= 2


@pytest.mark.parametrize("name", ["dropout/elements", "dropout/channels"])
def test_other_masks_are_found(cpu, monkeypatch, name):
    assert run(name, cpu).passed
    real = ops.dropout.dropout_forward
    other = lambda xp, x, shape, p, key: real(xp, x, shape, p, key + 1)  # noqa: E731
    pair = OpPair(other, ops.dropout.dropout_backward)
    monkeypatch.setattr(kernels.dispatch, "_candidates", lambda *_: (("generic", pair),))
    assert "elements of y differ" in run(name, cpu).wrong


def test_nan_is_no_small_error():
    outcome = Outcome({"y": float("nan")}, 1.0)
    assert not outcome.passed
    assert report.worst_error({"errors": outcome.errors}) == float("inf")


def test_distance():
    assert checks.distance(np.array([3.0, 4.0 + 1e-3]), np.array([3.0, 4.0])) == pytest.approx(2e-4)
    assert checks.distance(np.zeros(3), np.ones(2)) == float("inf")


def test_other_bits_are_found():
    first, second = [np.zeros(2), np.ones(2)], [np.zeros(2), np.array([1.0, 1.0 + 1e-16])]
    assert checks.same_bits([first, second]) == []
    second[1][1] = np.nextafter(1.0, 2.0)
    assert checks.same_bits([first, first, second]) == [1]


def test_what_a_device_lacks_is_skipped(cpu):
    for name in ("conv/tf32/plain", "conv/bfloat16/plain", "conv/float16/plain", "autotune"):
        with pytest.raises(SkipError):
            run(name, cpu)


@pytest.fixture
def capturing(monkeypatch):
    """PyTorch on the CPU, as a device that captures steps."""
    pytest.importorskip("torch")
    module = importlib.import_module("tests.training.test_graph_capture")
    made = module.FakeCapture()
    monkeypatch.setattr(kernels, "open_capture", lambda xp, physical: made)
    monkeypatch.setattr(_xp, "on_host", lambda x: isinstance(x, np.ndarray))
    return Context(resolve("torch:cpu"))


def test_captured_steps_are_compared(capturing, monkeypatch):
    outcome = run("training/captured/mlp", capturing)
    assert outcome.passed, outcome
    assert set(outcome.errors) == {"losses", "weights and state"}
    assert run("training/captured-nan", capturing).passed
    # A step size that is not followed is found.
    usual = graph_capture._run
    monkeypatch.setattr(
        graph_capture, "_run", lambda model, inputs, numbers: usual(model, inputs, None)
    )
    outcome = run("training/captured/mlp", capturing)
    assert not outcome.passed
    assert outcome.errors["weights and state"] > 1e-4


def test_steps_that_are_not_captured_are_found(capturing, monkeypatch):
    def fail(model):
        raise CaptureError("no reason")

    monkeypatch.setattr(graph_capture, "_check", fail)
    outcome = run("training/captured/mlp", capturing)
    assert "not captured: no reason" in outcome.wrong
    assert "0 steps were repeated" in outcome.wrong


def test_labels_and_batches_are_compared(cpu):
    assert run("training/labels", cpu).passed
    assert run("training/prefetch/mlp", cpu).passed


# -- Checks that break ---------------------------------------------------------------------------


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def fail(context):
    raise RuntimeError("illegal address")


def test_a_worker_goes_on_after_a_failure(tmp_path):
    gpu_check.work("cpu", [Check("bad", fail), Check("good", lambda _: Outcome())], tmp_path / "it")
    found = [line["result"]["status"] for line in lines(tmp_path / "it") if "end" in line]
    assert found == ["failed", "passed"]


def test_a_worker_stops_after_a_check_that_breaks_the_device(tmp_path, monkeypatch):
    listed = [Check("good", lambda _: Outcome()), Check("bad", fail), Check("never", fail)]
    monkeypatch.setattr(gpu_check, "_still_works", lambda context: False)
    gpu_check.work("cpu", listed, tmp_path / "lines")
    found = lines(tmp_path / "lines")
    assert [line.get("begin", line.get("end")) for line in found] == ["good"] * 2 + ["bad"] * 2
    assert found[-1]["result"]["status"] == "failed"
    assert found[-1]["result"]["message"] == "RuntimeError: illegal address"


def test_a_device_is_asked_whether_it_still_works(cpu, monkeypatch):
    assert gpu_check._still_works(cpu)

    def broken(*_, **__):
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(np, "ones", broken)
    assert not gpu_check._still_works(cpu)


WORKER = """
import json, os, sys, time
names, path = sys.stdin.read().split(), sys.argv[-1]
for name in names:
    with open(path, "a") as file:
        file.write(json.dumps({"begin": name}) + "\\n")
    if name == "dies":
        os._exit(9)
    if name == "hangs":
        time.sleep(60)
    with open(path, "a") as file:
        file.write(json.dumps({"end": name, "result": {"status": "passed"}}) + "\\n")
"""


def watched(tmp_path, monkeypatch, names, **limits):
    """Make checks with a worker that only pretends; returns the results in the order of saying."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.setattr(gpu_check, "__file__", str(script))
    said = {}
    found = gpu_check.run_all("cpu", names, say=said.__setitem__, **limits)
    assert {name: result for name, result in found.items() if name in said} == said
    return found, list(said)


def test_the_rest_goes_on_in_another_process(tmp_path, monkeypatch):
    names = ["a", "dies", "b", "hangs", "c"]
    results, said = watched(tmp_path, monkeypatch, names, limit=3.0, seconds=600.0)
    assert said == names
    assert {name: result["status"] for name, result in results.items()} == {
        "a": "passed", "dies": "failed", "b": "passed", "hangs": "failed", "c": "passed",
    }  # fmt: skip
    assert results["dies"]["message"] == "the process ended with code 9"
    assert results["hangs"]["message"] == "took more than 3 s"
    assert report.line("dies", results["dies"]).startswith("FAILED  dies")


def test_when_the_time_is_over_what_is_known_has_been_said(tmp_path, monkeypatch):
    names = ["a", "hangs", "c"]
    results, said = watched(tmp_path, monkeypatch, names, limit=60.0, seconds=3.0)
    assert said == ["a"]
    assert [results[name]["status"] for name in names] == ["passed", "skipped", "skipped"]
    assert results["hangs"]["message"] == "the 3 s were over"


def test_a_failure_is_in_report_and_exit_code(tmp_path, monkeypatch, capsys):
    answers = {"cudnn": {"status": "failed", "errors": {"y": float("nan")}, "tolerance": 1e-5}}
    monkeypatch.setattr(gpu_check, "run_all", lambda *_: answers)
    words = ["--device", "cpu", "--only", "cudnn", "--output", str(tmp_path)]
    assert gpu_check.main(words) == 1
    assert "0 passed, 1 failed, 0 skipped" in capsys.readouterr().out
    assert not json.loads((tmp_path / "gpu-check.json").read_text())["passed"]
    assert "| cudnn | **failed** | inf, 1e-05 |" in (tmp_path / "gpu-check.md").read_text()


def test_times_have_a_table_of_their_own():
    timed = {"status": "passed", "figures": {"xpcnn ms": 1.0, "ratio": 0.5}, "how": "alone"}
    where = report.describe("cpu")
    table = report.markdown(where, {"timing/x": timed, "cudnn": {"status": "skipped"}})
    assert "| timing | ratio | xpcnn ms |  |" in table
    assert "| timing/x | 0.500 | 1.000 | alone |" in table
    assert "| cudnn | skipped |  |  |" in table


def test_every_pattern_of_the_order_and_of_the_script_fits_a_check():
    found = gpu_check.choose(["*"], with_timing=True)
    script = (SCRIPT.parent / "gpu" / "contact.sh").read_text()
    patterns = re.findall(r"(?<=[,'])[a-z_-]+(?:/\*)?(?=[,'\"])", script)
    assert len(patterns) > 15
    for pattern in [*contact.ORDER, *patterns]:
        assert any(fnmatchcase(check.name, pattern) for check in found), pattern
