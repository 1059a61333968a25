"""``xpcnn bench`` from the outside, on the smallest network."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import pytest

from xpcnn.bench.configurations import CONFIGURATIONS, Configuration, choose
from xpcnn.bench.workloads import WORKLOADS
from xpcnn.cli import main

TINY = ["--kernels", "generic", "--batch-size", "2", "--threads", "1", "--no-torch-compile"]
has_onnxruntime = importlib.util.find_spec("onnxruntime") is not None
has_torch = importlib.util.find_spec("torch") is not None


@pytest.fixture
def without_torch(monkeypatch):
    """Make every library but this one look missing."""
    alone = property(lambda configuration: configuration.library == "xpcnn")
    monkeypatch.setattr(Configuration, "is_installed", alone)


def test_a_run_prints_and_writes(tmp_path, capsys):
    words = [
        "--workloads",
        "mlp",
        "--quick",
        "--rounds",
        "2",
        "--output",
        str(tmp_path / "a" / "b"),
    ]
    assert main(["bench", *TINY, *words]) == 0
    printed = capsys.readouterr().out
    assert "| mlp " in printed
    assert "1 threads for each library" in printed
    results = json.loads((tmp_path / "a" / "b.json").read_text())
    (entry,) = results["workloads"]
    assert entry["shape"] == [2, 784]
    assert len(entry["runs"]["xpcnn-generic"]["round_ms"]) == 2
    assert results["peak_gflops"] > 0
    assert ("torch" in entry["runs"]) == has_torch
    assert (entry["ratio"] is not None) == has_torch
    assert (tmp_path / "a" / "b.md").read_text().startswith("# xpcnn bench\n")


def test_without_pytorch_it_says_so(tmp_path, capsys, without_torch):
    words = ["--workloads", "mlp", "--quick", "--rounds", "1", "--output", str(tmp_path), "--jax"]
    assert main(["bench", *TINY, *words]) == 0
    printed = capsys.readouterr().out
    assert "PyTorch is not installed, so there is nothing to compare with" in printed
    assert "JAX is not installed" in printed
    assert "onnxruntime is not installed" in printed
    assert "ratio" not in printed.split("| mlp ")[0]
    (entry,) = json.loads((tmp_path / "bench.json").read_text())["workloads"]
    assert list(entry["runs"]) == ["xpcnn-generic"]
    assert entry["ratio"] is None


@pytest.mark.skipif(not has_torch, reason="PyTorch is not installed")
def test_check_compares_and_measures_nothing(capsys):
    assert main(["bench", *TINY, "--workloads", "mlp", "--check"]) == 0
    printed = capsys.readouterr().out
    assert "PyTorch: loss " in printed
    assert "the libraries agree in all 1 workloads" in printed
    assert " ms " not in printed


@pytest.mark.skipif(not has_onnxruntime, reason="onnxruntime is not installed")
def test_onnxruntime_predicts_beside_the_others(tmp_path, capsys):
    words = ["--workloads", "lenet5-predict", "--quick", "--rounds", "2"]
    path = tmp_path / "new" / "figures.json"
    assert main(["bench", *TINY, *words, "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "to ORT" in printed
    assert f"written: {path}" in printed
    assert [each.name for each in path.parent.iterdir()] == ["figures.json"]
    results = json.loads(path.read_text())
    (entry,) = results["workloads"]
    assert entry["onnxruntime_ratio"] == entry["ratios"]["onnxruntime"] > 0
    assert entry["differences"]["onnxruntime"]["y"] < 1e-5
    assert results["environment"]["avx512"] in (True, False, None)


def test_first_steps_are_measured_in_fresh_processes(tmp_path):
    words = ["--workloads", "first-step", "--quick", "--rounds", "2"]
    path = tmp_path / "figures.json"
    assert main(["bench", *TINY, *words, "--json", str(path)]) == 0
    (entry,) = json.loads(path.read_text())["workloads"]
    for run in entry["runs"].values():
        assert len(run["round_ms"]) == run["steps"] == 2
    assert entry["gflop"] is entry["floor_ratio"] is None
    assert set(entry["differences"]) == set(entry["runs"]) - {"xpcnn-generic"}


def test_there_is_no_column_for_what_takes_no_part(capsys):
    assert main(["bench", *TINY, "--workloads", "mlp", "--quick", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "| onnxruntime ms" not in printed
    assert "to ORT" not in printed.split("| mlp ")[0]


def test_an_unknown_workload_is_wrong_use(capsys):
    assert main(["bench", "--workloads", "simple,conv65"]) == 2
    assert "no workload 'conv65'" in capsys.readouterr().err


def test_what_is_run_for_which_workload():
    names = [each.name for each in choose("both", with_jax=True, torch_compile=True)[0]]
    assert names[:2] == ["xpcnn", "xpcnn-generic"]
    takes = {
        workload: [name for name, each in CONFIGURATIONS.items() if each.takes(WORKLOADS[workload])]
        for workload in ("simple", "first-step", "oned", "resnet18-predict")
    }
    torches = ["torch", "torch-channels-last"]
    ours = ["xpcnn", "xpcnn-generic", "xpcnn-torch"]
    runtimes = ["onnxruntime", "openvino"]
    assert takes["simple"] == [*ours, *torches, "torch-compile", "jax"]
    assert takes["first-step"] == [*ours, *torches, "jax"]
    assert takes["oned"] == [*ours, "torch", "torch-compile", "jax"]
    assert takes["resnet18-predict"] == [*ours, *torches, "torch-compile", *runtimes]
    assert choose("torch", with_jax=False, torch_compile=False)[0][0].device == "torch:cpu"


@pytest.mark.skipif(not has_torch, reason="PyTorch is not installed")
def test_torch_compile_needs_a_compiler(monkeypatch, tmp_path):
    compiler = tmp_path / "some-c++"
    monkeypatch.setenv("CXX", str(compiler))
    found, notes = choose("best", with_jax=False, torch_compile=True)
    assert "torch-compile" not in [each.name for each in found]
    assert notes == [f"torch.compile is left out: there is no C++ compiler called {compiler}"]
    compiler.touch(mode=0o755)
    found, notes = choose("best", with_jax=False, torch_compile=True)
    assert "torch-compile" in [each.name for each in found]
    assert notes == []
    found, notes = choose("best", with_jax=False, torch_compile=False)
    assert "torch-compile" not in [each.name for each in found]


@pytest.mark.skipif(not has_torch, reason="PyTorch is not installed")
def test_what_torch_compile_fails_of_is_a_line_in_the_report(monkeypatch, tmp_path, capsys):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\nexit 3\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "nothing compiled yet"))
    words = [word for word in TINY if word != "--no-torch-compile"]
    assert main(["bench", *words, "--workloads", "mlp", "--check"]) == 0
    printed = capsys.readouterr().out
    assert "- mlp without PyTorch compiled: " in printed
    assert "the libraries agree in all 1 workloads" in printed


def test_the_script_is_the_command(monkeypatch, capsys):
    script = Path(__file__).parents[2] / "benchmarks" / "compare.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert stop.value.code == 0
    assert "--workloads" in capsys.readouterr().out
