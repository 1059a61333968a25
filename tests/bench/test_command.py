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

TINY = ["--kernels", "generic", "--batch-size", "2", "--threads", "1"]
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


def test_an_unknown_workload_is_wrong_use(capsys):
    assert main(["bench", "--workloads", "simple,conv65"]) == 2
    assert "no workload 'conv65'" in capsys.readouterr().err


def test_what_is_run_for_which_workload():
    names = [each.name for each in choose("both", with_jax=True, fused_adam=True)[0]]
    assert names[:2] == ["xpcnn", "xpcnn-generic"]
    takes = {
        workload: [name for name, each in CONFIGURATIONS.items() if each.takes(WORKLOADS[workload])]
        for workload in ("simple", "oned", "resnet18-predict")
    }
    torches = ["torch", "torch-channels-last"]
    ours = ["xpcnn", "xpcnn-generic", "xpcnn-torch"]
    assert takes["simple"] == [*ours, *torches, "torch-fused", "jax"]
    assert takes["oned"] == [*ours, "torch", "torch-fused", "jax"]
    assert takes["resnet18-predict"] == [*ours, *torches]
    assert choose("torch", with_jax=False, fused_adam=False)[0][0].device == "torch:cpu"


def test_the_script_is_the_command(monkeypatch, capsys):
    script = Path(__file__).parents[2] / "benchmarks" / "compare.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert stop.value.code == 0
    assert "--workloads" in capsys.readouterr().out
