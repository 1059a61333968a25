"""The progress bar in a notebook: text, which needs neither widgets nor a browser."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

import xpcnn


def fit() -> xpcnn.History:
    model = xpcnn.Model([xpcnn.Linear(2, 2)], device="cpu", seed=0)
    model.compile("sgd", "cross_entropy")
    return model.fit(np.ones((4, 2), "float32"), np.array([0, 1, 0, 1]), epochs=2, batch_size=2)


@pytest.fixture
def in_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # as if it were not installed


@pytest.mark.usefixtures("in_notebook")
def test_no_widgets_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = fit()
    assert len(history.epoch) == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert "epoch 1/2: 100%" in out
    assert "epoch 2/2: 100%" in out
    assert "loss 0." in out


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace()])
def test_a_program_that_has_imported_jupyter_is_no_notebook(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: object
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    fit()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("epoch 1/2: loss 0.")


@pytest.mark.usefixtures("in_notebook")
def test_a_bar_that_fails_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise ImportError("IProgress not found. Please update jupyter and ipywidgets.")

    monkeypatch.setattr("tqdm.tqdm", broken)
    assert len(fit().epoch) == 2


def test_widgets_are_never_imported() -> None:
    code = (
        "import sys, types\n"
        "shell = types.SimpleNamespace(kernel=1)\n"
        "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=lambda: shell)\n"
        "import numpy as np, xpcnn\n"
        "model = xpcnn.Model([xpcnn.Linear(2, 2)], device='cpu')\n"
        "model.compile('sgd', 'cross_entropy')\n"
        "model.fit(np.ones((4, 2), 'float32'), np.array([0, 1, 0, 1]))\n"
        "unwanted = ('tqdm.auto', 'tqdm.notebook', 'ipywidgets')\n"
        "print([name for name in unwanted if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(xpcnn.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
