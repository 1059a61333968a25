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
from tests.compiled import needs_compiled_kernels
from xpcnn import kernels
from xpcnn.kernels import cpu
from xpcnn.kernels.cpu import jobs

needs_compiled_kernels()


def modules():
    for found in pkgutil.iter_modules(cpu.__path__):
        yield importlib.import_module(f"xpcnn.kernels.cpu.{found.name}")


def functions():
    """Yield all functions that become machine code, by their decorators; and what tables make."""
    for module in modules():
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.FunctionDef):
                names = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
                if names & {"Job", "inner"}:
                    yield f"{module.__name__}.{node.name}", node
    for job in jobs.ALL.values():
        source = textwrap.dedent(inspect.getsource(job.function))
        yield f"{job.function.__module__}.{job.function.__name__}", ast.parse(source)


def test_bodies_hold_nothing_that_raises():
    found = list(functions())
    assert len(found) > 150
    assert {"xpcnn.kernels.cpu.activations.silu_gradient"} <= {name for name, _ in found}
    for name, tree in found:
        raising = [n for n in ast.walk(tree) if isinstance(n, (ast.Raise, ast.Assert))]
        assert not raising, name


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
