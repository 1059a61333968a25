"""The course examples run, here on the digits inside the package and for as short as they can."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

import xpcnn

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DIGITS = Path(xpcnn.__file__).parent / "data" / "files"

ARGUMENTS = {
    "conv1d": [],
    "deep_conv_net": ["--rows", "200"],
    "tanh_cnn": [],
    "deep_nn": ["--network", "xavier-sigmoid"],
    "simple_conv_net": [],
}


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not installed")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_example_prints_reached_and_expected(name, monkeypatch, capsys) -> None:
    script = str(EXAMPLES / f"course_{name}.py")
    common = ["--epochs", "1", "--data", str(DIGITS), "--seed", "1"]
    monkeypatch.setattr(sys, "argv", [script, *common, *ARGUMENTS[name]])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(script, run_name="__main__")
    table = capsys.readouterr().out.rsplit("reached  expected", 1)[1]
    figures = re.findall(r"accuracy.*?   (0\.\d{4}|1\.0000)    (0\.\d+)", table)
    assert figures
    assert all(0.0 <= float(reached) <= 1.0 for reached, _ in figures)


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not installed")
def test_fine_tuning_freezes_all_but_the_new_head(monkeypatch, capsys) -> None:
    script = str(EXAMPLES / "fine_tune.py")
    monkeypatch.setattr(sys, "argv", [script, "--rows", "20", "--epochs", "1"])
    runpy.run_path(script, run_name="__main__")
    printed = capsys.readouterr().out
    assert "frozen: 62 arrays of parameters; trained: fc.weight, fc.bias" in printed
    assert len(re.findall(r"accuracy (0\.\d{4}|1\.0000)", printed)) == 2


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not installed")
def test_fine_tuning_takes_a_published_file(monkeypatch, capsys, tmp_path) -> None:
    from safetensors.numpy import save_file

    network = xpcnn.zoo.resnet18()
    network.build((1, 3, 32, 32))
    path = tmp_path / "resnet18.safetensors"
    save_file(network.state_dict(), path)
    script = str(EXAMPLES / "fine_tune.py")
    monkeypatch.setattr(
        sys, "argv", [script, "--weights", str(path), "--rows", "8", "--epochs", "1"]
    )
    runpy.run_path(script, run_name="__main__")
    assert "stand-in" not in capsys.readouterr().out
