"""What may be chosen for all kernels: how to multiply, and whether bits must repeat."""

from __future__ import annotations

import threading
from contextlib import nullcontext, suppress
from types import SimpleNamespace

import numpy as np
import pytest

import xpcnn
from xpcnn.kernels import precision
from xpcnn.kernels.precision import float32_products, products
from xpcnn.kernels.trace import Declined
from xpcnn.window import Window


class Spy(xpcnn.ReLU):
    """Notes how float32 numbers are multiplied while it runs."""

    seen: tuple[str, ...] = ()

    def _forward(self, xp, x, training):
        self.seen = (*self.seen, float32_products.get())
        return super()._forward(xp, x, training)

    def _backward(self, xp, dy, saved, need_dx):
        self.seen = (*self.seen, float32_products.get())
        return super()._backward(xp, dy, saved, need_dx)


def model(chosen):
    spy = Spy()
    made = xpcnn.Model([spy, xpcnn.Linear(4, 2)], device="cpu", seed=0, precision=chosen)
    made.compile("sgd", "mse")
    return made, spy


X, Y = np.ones((3, 4), np.float32), np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("chosen", "expected"), [("float32", "float32"), ("tf32", "tf32"), ("float16", "float32")]
)
def test_a_model_sets_it_around_what_it_does(chosen, expected):
    made, spy = model(chosen)
    made.fit(X, Y, verbose=0)
    made.train_on_batch(X, Y)
    made.evaluate(X, Y)
    made.predict(X)
    made(X)
    assert len(spy.seen) >= 6
    assert set(spy.seen) == {expected}
    assert float32_products.get() == "float32"


def test_on_the_cpu_tf32_is_float32():
    results = []
    for chosen in ("float32", "tf32"):
        made, _ = model(chosen)
        made.fit(X, Y, epochs=3, verbose=0)
        results.append(made.predict(X))
    np.testing.assert_array_equal(*results)


def test_models_do_not_disturb_one_another():
    outer, outer_spy = model("tf32")
    inner, inner_spy = model("float32")

    class Look(xpcnn.Callback):
        def on_batch_end(self, batch, logs):
            inner.predict(X)

    outer.fit(X, Y, epochs=2, callbacks=[Look()], verbose=0)
    assert set(outer_spy.seen) == {"tf32"}
    assert set(inner_spy.seen) == {"float32"}


def test_an_error_does_not_leave_it_set():
    made, _ = model("tf32")
    with pytest.raises(ValueError, match="features"):
        made.predict(np.ones((3, 5), np.float32))
    assert float32_products.get() == "float32"


def test_it_holds_in_one_thread():
    seen = []
    with products("tf32"):
        thread = threading.Thread(target=lambda: seen.append(float32_products.get()))
        thread.start()
        thread.join()
        assert float32_products.get() == "tf32"
    assert seen == ["float32"]


def test_no_such_choice():
    with pytest.raises(ValueError, match="'float32', 'tf32'; got 'float16'"), products("float16"):
        pass


@pytest.fixture
def undecided(monkeypatch):
    monkeypatch.setattr(precision, "_deterministic", False)


def test_deterministic_is_chosen_for_the_process(undecided):
    assert xpcnn.get_deterministic() is False
    xpcnn.set_deterministic(True)
    assert xpcnn.get_deterministic() is True
    xpcnn.set_deterministic(False)
    assert xpcnn.get_deterministic() is False
    with pytest.raises(TypeError, match="expected True or False, got 'no'"):
        xpcnn.set_deterministic("no")


# -- PyTorch's switches, which are there on the CPU too ------------------------------------------


def switches(torch):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):
        return cudnn.conv.fp32_precision, matmul.fp32_precision, cudnn.deterministic
    return cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic


@pytest.mark.parametrize("kind", ["float32", "tf32"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_torch_computes_as_chosen(undecided, kind, deterministic):
    torch = pytest.importorskip("torch")
    from xpcnn.kernels import torch as kernel_set

    before = switches(torch)
    xpcnn.set_deterministic(deterministic)
    inside = ()
    with suppress(KeyError), products(kind), kernel_set._gpu_switches():
        inside = switches(torch)
        raise KeyError  # an error in a kernel
    assert switches(torch) == before
    assert torch.backends.cudnn.allow_tf32 in (True, False)  # both ways to ask go on to work
    assert inside[:2] in [("tf32", "tf32"), (True, True)] or kind == "float32"
    assert inside[:2] in [("ieee", "ieee"), (False, False)] or kind == "tf32"
    assert inside[2] is deterministic


def test_torch_switches_are_for_gpus(monkeypatch):
    torch = pytest.importorskip("torch")
    from xpcnn.kernels import torch as kernel_set

    monkeypatch.setattr(kernel_set, "_gpu_switches", lambda: "switched")
    assert kernel_set._as_chosen(SimpleNamespace(is_cuda=True)) == "switched"
    assert kernel_set._as_chosen(torch.ones(1)) != "switched"


def test_torch_transposed_convolution_computes_as_chosen(monkeypatch):
    """Forward and backward, as convolution does: else float32 products would be those of TF32."""
    torch = pytest.importorskip("torch")
    from xpcnn.kernels import torch as kernel_set

    entered = []

    def noting(x):
        entered.append(tuple(x.shape))
        return nullcontext()

    monkeypatch.setattr(kernel_set, "_as_chosen", noting)
    window = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    x, w = torch.ones(1, 3, 4, 4), torch.ones(3, 5, 2, 2)
    y, saved = kernel_set.conv_transpose_forward(torch, x, w, None, window, (8, 8), 1)
    kernel_set.conv_transpose_backward(torch, y, saved, window, 1, True)
    assert entered == [x.shape, x.shape]


def test_torch_kernels_that_may_vary_decline(undecided):
    torch = pytest.importorskip("torch")
    from xpcnn.kernels import torch as kernel_set

    window = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    on_gpu = SimpleNamespace(is_cuda=True, ndim=4)
    xpcnn.set_deterministic(True)
    expected = Declined("results that may differ from run to run")
    assert kernel_set.max_pool_forward(torch, on_gpu, window) == expected
    assert kernel_set.avg_pool_forward(torch, on_gpu, window, 4.0) == expected
    x = torch.arange(16.0).reshape(1, 1, 4, 4)  # the CPU's bits always repeat
    assert kernel_set.max_pool_forward(torch, x, window)[0].flatten().tolist() == [5, 7, 13, 15]
