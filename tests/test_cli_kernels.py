"""The command that tells of kernels: xpcnn info --kernels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from xpcnn import kernels
from xpcnn.cli import main
from xpcnn.kernels.native import choice

ROOT = Path(xpcnn.__file__).parents[1]

NOTHING = "there is no library for this machine"
needs_kernels = pytest.mark.skipif(
    kernels.why_not_compiled(np) is not None, reason="there are no compiled kernels"
)


def run(command: str) -> int:
    return main(command.split())


@pytest.fixture
def no_kernels(monkeypatch):
    nothing = choice.Choice(None, None, NOTHING)
    monkeypatch.setattr(choice, "chosen", lambda: nothing)


# -- info ----------------------------------------------------------------------------------------


@needs_kernels
def test_kernels_of_a_network(capsys):
    assert run("info --kernels --network simple --batch 3 --device cpu") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("simple on cpu, float32, input (3, 1, 28, 28)\n")
    assert f"compiled kernels (cpu): {choice.chosen().why}, " in printed
    table = [line.split("  ") for line in printed.split("\n\n")[1].splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in table]
    assert rows[0] == ["layers", "output", "kernels"]
    first = ["Conv2d + ReLU + MaxPool2d", "(3, 30, 12, 12)", "conv_relu_max_pool: cpu"]
    assert rows[1] == first
    assert rows[2] == ["Flatten", "(3, 4320)", "in_order: cpu"]
    assert rows[-1] == ["Linear", "(3, 10)", "linear: cpu"]


def test_kernels_without_numba(no_kernels, capsys):
    assert run("info --kernels --batch 2 --device cpu") == 0
    printed = capsys.readouterr().out
    reason = NOTHING
    assert f"compiled kernels (cpu): no, {reason}\n" in printed
    assert "conv_relu_max_pool: generic\n" in printed
    assert f"    linear: not cpu: {reason}\n" in printed
    assert ": cpu" not in printed.replace("not cpu", "")


def test_kernels_as_json(no_kernels, capsys):
    assert run("info --kernels --network mlp --batch 2 --device cpu --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["input_shape"] == [2, 1, 28, 28]
    assert (told["model"], told["device"], told["dtype"]) == ("mlp", "cpu", "float32")
    assert told["steps"][0] == {"layers": ["Flatten"], "output_shape": [2, 784], "kernels": []}
    last = told["steps"][-1]
    assert (last["layers"], last["output_shape"]) == (["Linear"], [2, 10])
    assert [kernel["op"] for kernel in last["kernels"]] == ["linear"]
    assert last["kernels"][0]["set"] == "generic"
    assert list(last["kernels"][0]["declined"]) == ["cpu"]


@needs_kernels
def test_kernels_of_a_saved_model_with_a_layer_they_decline(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    layers = [xpcnn.MaxPool1d(300), xpcnn.Flatten(), xpcnn.Linear(out_features=3)]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.build((None, 2, 600))
    model.save("windows.safetensors")
    assert run("info --kernels --model windows.safetensors --batch 2 --device cpu") == 0
    printed = capsys.readouterr().out
    assert "input (2, 2, 600)" in printed
    assert "max_pool: generic\n    max_pool: not cpu: " in printed
    assert "linear: cpu" in printed


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("info --network simple", "--network goes with --kernels"),
        ("info --json", "--json goes with --kernels"),
        ("info --kernels --network simple --model x", "not allowed with argument --network"),
        ("info --kernels --batch 0", "expected a whole number of at least 1, got '0'"),
    ],
)
def test_wrong_use(command, message, capsys):
    assert run(command) == 2
    assert message in capsys.readouterr().err


def test_missing_model_file(capsys):
    assert run("info --kernels --model missing.safetensors") == 1
    assert "there is no model file 'missing.safetensors'" in capsys.readouterr().err
