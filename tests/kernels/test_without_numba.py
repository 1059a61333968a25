"""Without a Numba that works the generic kernels compute, and it is said why."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from xpcnn import kernels

CODE = """
import warnings
import numpy as np
import xpcnn

layer = xpcnn.Linear(3, 2)
x = np.ones((4, 3), "float32")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        y = layer.forward(x, training=True)
        layer.backward(np.ones_like(y))
np.testing.assert_allclose(y, x @ layer.weight.data.T + layer.bias.data, rtol=1e-6)
print(*(f"{w.category.__name__}: {w.message}" for w in caught), sep="\\n")
"""


def test_numba_that_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reason = kernels.dispatch._why_no_numba.__wrapped__()
    assert reason == 'Numba is not installed; pip install "xpcnn[fast]"'


def test_numba_that_cannot_be_imported(tmp_path):
    """As one that is older than NumPy; training goes on, and it is said once."""
    message = "Numba needs NumPy 2.3 or less. Got NumPy 2.9."
    (tmp_path / "numba.py").write_text(f"raise ImportError({message!r})")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"RuntimeWarning: there are no compiled kernels: Numba cannot be imported ({message}); "
        "install a version that fits your NumPy"
    ]
