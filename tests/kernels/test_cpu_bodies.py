"""What no kernel body may do: raise, since an exception in a job has nowhere to go."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import xpcnn

pytest.importorskip("numba", exc_type=ImportError)

from numba.core.dispatcher import Dispatcher

from xpcnn import kernels
from xpcnn.kernels import cpu
from xpcnn.kernels.cpu import jobs, kept, threads
from xpcnn.kernels.cpu.jobs import Floats


def modules():
    for found in pkgutil.iter_modules(cpu.__path__):
        yield importlib.import_module(f"xpcnn.kernels.cpu.{found.name}")


def made_by_tables(module):
    """List the jobs that a module makes of formulas."""
    table = getattr(module, "TABLE", {})
    return [(job.function.__name__, job) for row in table.values() for job in row[:2]]


def functions():
    """Yield all functions that become machine code."""
    for module in modules():
        for name, value in [*vars(module).items(), *made_by_tables(module)]:
            kind = value.function if isinstance(value, jobs.Job) else value
            function = getattr(kind, "py_func", kind)
            if isinstance(value, (jobs.Job, Dispatcher)) and function.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", function, value


def test_divisions_by_zero_do_not_raise():
    options = {n: v.targetoptions for n, _, v in functions() if isinstance(v, Dispatcher)}
    assert len(options) > 20
    for name, chosen in options.items():
        assert chosen.get("error_model") == "numpy", name


def test_bodies_hold_nothing_that_raises():
    found = list(functions())
    assert len(found) > 150
    assert {"xpcnn.kernels.cpu.activations.silu_gradient"} <= {name for name, _, _ in found}
    for name, function, _ in found:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        raising = [n for n in ast.walk(tree) if isinstance(n, (ast.Raise, ast.Assert))]
        assert not raising, name


def test_a_job_that_divides_by_zero_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "places", lambda: (tmp_path,))
    job = jobs.Job(divide)
    out = np.full(3, 7.0, np.float32)
    threads.launch(1, job, 1, np.array([1.0, 0.0, -1.0], np.float32), 0, 0.0, out)
    np.testing.assert_array_equal(out, [np.inf, np.nan, -np.inf])


def divide(job: int, x: Floats, whole: int, by: float, out: Floats) -> None:
    for i in range(3):
        out[i] = x[i] / by + (i // 3) * (1 if whole == 0 else i // whole)


@pytest.mark.parametrize("width", [3, 8, 11])
@pytest.mark.parametrize("optimizer", [xpcnn.optim.Adam, xpcnn.optim.AdamW])
def test_adam_without_epsilon(optimizer, width):
    """Weights whose gradient was always zero: 0 / 0, which is NaN here as in PyTorch."""
    values = []
    for kernel_set in ("generic", "cpu"):
        layer = xpcnn.Linear(1, width)
        layer.build((1, 1), rng=np.random.default_rng(0))
        layer.forward(np.zeros((1, 1), np.float32), training=True)
        layer.backward(np.ones((1, width), np.float32))
        with kernels.force(kernel_set), np.errstate(invalid="ignore"):
            optimizer(0.1, eps=0.0).step(layer.parameters())
        values.append((layer.weight.data, layer.bias.data))
    for weight, bias in values:
        assert np.isnan(weight).all()
        assert np.isfinite(bias).all()
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=1e-6)


PREDICT = """
import numpy, xpcnn
model = xpcnn.Model([{layers}], device="cpu", seed=0)
for i in range(6):
    x = numpy.random.default_rng(i).standard_normal((4, 2, 3), dtype="float32")
    numpy.testing.assert_array_equal(model.predict(x), {expected})
"""


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("xpcnn.Flatten()", "x.reshape(4, -1)"),
        ("xpcnn.Identity()", "x"),
        ("xpcnn.Flatten(), xpcnn.Identity()", "x.reshape(4, -1)"),
    ],
)
def test_networks_without_kernels_in_a_new_process(layers, expected):
    """Their launches, of which there are none, are repeated before anything was launched."""
    program = PREDICT.format(layers=layers, expected=expected)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
