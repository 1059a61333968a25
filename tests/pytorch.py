"""Comparisons with PyTorch: the one place that knows how.

PyTorch is looked up by name when a test runs. A test module that imports `torch` and `nn` from here
can be collected, and its other tests run, where PyTorch is not installed; a test that uses them
there is skipped.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import xpcnn

# Layers that one test draws.
PER_TEST = 40


class WhenUsed:
    """A module that is imported when a test first asks it for something, or that test skips."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # pytest looks such names up while it collects
            raise AttributeError(attribute)
        return getattr(pytest.importorskip(self._name), attribute)


torch: Any = WhenUsed("torch")
nn: Any = WhenUsed("torch.nn")
nn_f: Any = WhenUsed("torch.nn.functional")


# -- Draws -----------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """One layer twice, and an input shape for it."""

    ours: xpcnn.Layer
    theirs: Callable[[Any], Any]
    shape: tuple[int, ...]


def pair_of(name):
    """Our class and PyTorch's of that name."""
    return getattr(xpcnn, name), getattr(nn, name)


def both(name: str, shape: tuple[int, ...], *arguments: Any, **options: Any) -> Pair:
    """Make the same layer twice."""
    ours, theirs = pair_of(name)
    return Pair(ours(*arguments, **options), theirs(*arguments, **options), shape)


def draw_rank(rng):
    return int(rng.choice([1, 2, 2, 3]))


def draw(rng, ndim, low, high):
    """One integer per dimension, or one for all."""
    values = tuple(int(v) for v in rng.integers(low, high + 1, size=ndim))
    return values if rng.random() < 0.7 else (values[0],) * ndim


def argument(rng, values):
    """Pass equal integers as one, now and then."""
    return values[0] if len(set(values)) == 1 and rng.random() < 0.5 else values


def draw_spatial(rng, kernel, dilation, ndim, extra):
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    return tuple(e + int(rng.integers(0, extra + 1 - ndim)) for e in extent)


def channels_and_spatial(rng, channels=None, low=1, high=6):
    channels = int(rng.integers(1, 5)) if channels is None else channels
    return (int(rng.integers(1, 4)), channels, *draw(rng, draw_rank(rng), low, high))


def maybe_bias(rng):
    """Draw an argument of normalising layers that only newer versions of PyTorch have."""
    known = "bias" in inspect.signature(nn.BatchNorm2d).parameters
    return {"bias": bool(rng.random() < 0.7)} if known else {}


# -- PyTorch's side --------------------------------------------------------------------------------


def torch_pad(x, sides, mode="constant", value=None):
    flat = [p for pair in reversed(sides) for p in pair]
    return nn.functional.pad(x, flat, mode, value)


def module_of(forward, **members):
    """Make a module that returns `forward(module, x)`.

    Its members are modules, shapes of parameters that start as zeros, or None.
    """

    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            for name, member in members.items():
                if isinstance(member, tuple):
                    member = nn.Parameter(torch.zeros(member))
                setattr(self, name, member)

        def forward(self, x):
            return forward(self, x)

    return Made()


def torch_state(module):
    return {
        name.rpartition(".")[2]: values.detach().numpy().copy()
        for name, values in module.state_dict().items()
    }


def randomize(rng, module):
    """Give every parameter and running statistic a value that shows."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            values = torch.from_numpy(rng.uniform(0.2, 1.5, size=tuple(tensor.shape)))
            tensor.data = values if tensor.ndim < 2 else values - 0.85


def possible(pair):
    """Whether PyTorch takes the draw, and no pooling window falls between the elements."""
    module = pair.theirs
    if isinstance(module, nn.Module):
        module.double()
    try:
        with torch.no_grad():
            y = module(torch.zeros(pair.shape, dtype=torch.float64))
    except RuntimeError:
        return False
    return y.numel() > 0 and bool(torch.isfinite(y).all())


# -- The comparison --------------------------------------------------------------------------------


def relative_error(actual, expected):
    """Largest difference over the largest expected number.

    Where those are all tiny what counts is the size of the numbers they were computed from, which
    is near one everywhere here.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-2)


def shuffled_memory(rng, x):
    """The same numbers, in half of the cases with the channels last in memory."""
    if x.ndim > 2 and rng.random() < 0.5:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    return x


def check(rng, pair):
    """Compare three training steps and one evaluation."""
    ours, theirs, shape = pair
    module = theirs if isinstance(theirs, nn.Module) else nn.Identity()
    module.double().train()
    randomize(rng, module)
    if rng.random() < 0.5:
        ours.build(shape, dtype="float64")
        ours.load_state_dict(torch_state(module))
    else:
        ours.load_state_dict(torch_state(module))
    steps = 3 if module.state_dict().get("num_batches_tracked") is not None else 1
    for _ in range(steps):
        x = shuffled_memory(rng, rng.normal(0.3, 1.5, size=shape))
        input_theirs = torch.from_numpy(np.ascontiguousarray(x)).requires_grad_()
        expected = theirs(input_theirs)
        y = ours.forward(x, training=True)
        assert ours.output_shape(shape) == y.shape
        assert relative_error(y, expected.detach()) < 1e-10, "forward"
        dy = rng.normal(size=y.shape)
        ours.zero_grad()
        module.zero_grad()
        dx = ours.backward(shuffled_memory(rng, dy))
        expected.backward(torch.from_numpy(dy))
        assert relative_error(dx, input_theirs.grad) < 1e-10, "dx"
        gradients = {n.rpartition(".")[2]: p.grad for n, p in module.named_parameters()}
        assert gradients.keys() == ours.parameters().keys()
        for name, parameter in ours.parameters().items():
            assert relative_error(parameter.grad, gradients[name]) < 1e-10, name
        for name, values in torch_state(module).items():
            assert relative_error(ours.state_dict()[name], values) < 1e-10, name
    module.eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(np.ascontiguousarray(x)))
    assert relative_error(ours.forward(x), expected) < 1e-10, "evaluation"


def gradients(layer, x, dy):
    """Return y and dx of ours."""
    y = layer.forward(x, training=True)
    return y, layer.backward(np.broadcast_to(np.asarray(dy, float), y.shape))


def torch_gradients(layer, x, dy):
    """Return y and dx of PyTorch's."""
    x = torch.from_numpy(x.copy()).requires_grad_()
    y = layer(x)
    y.backward(torch.from_numpy(np.broadcast_to(np.asarray(dy, float), y.shape).copy()))
    return y.detach().numpy(), x.grad.numpy()


def compare_draws(family, number):
    """Compare the layers that a family draws.

    The draws follow from the family and the number alone, so a failure repeats itself; its message
    shows the layer, the shape and the workspace limit.
    """
    rng = np.random.default_rng([number, *family.__name__.encode()])
    torch.manual_seed(number)
    before = xpcnn.get_workspace_limit()
    drawn = 0
    while drawn < PER_TEST:
        pair = family(rng)
        if not possible(pair):
            continue
        drawn += 1
        # with a small limit the batch goes through the kernels in pieces
        limit = before if rng.random() < 0.6 else int(rng.integers(1, 20_000))
        try:
            xpcnn.set_workspace_limit(limit)
            check(rng, pair)
        except Exception as error:
            error.add_note(f"{pair.ours} on shape {pair.shape}, workspace limit {limit}")
            raise
        finally:
            xpcnn.set_workspace_limit(before)
    assert xpcnn.get_workspace_limit() == before


def drawn(families):
    """Run a test of `family` and `number` for each family as often as it says."""
    tests = [(family, i) for family, count in families.items() for i in range(count)]
    ids = [f"{family.__name__}-{i}" for family, i in tests]
    return pytest.mark.parametrize(("family", "number"), tests, ids=ids)


# -- Losses ----------------------------------------------------------------------------------------


def compare_loss(ours, theirs, x, target):
    """Compare value, gradient, and the gradient for a random weighting of the loss."""
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs(tensor, torch.tensor(target))
    before = x.copy()
    value = ours(x, target)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-13, atol=1e-14)
    dy = np.random.default_rng(1).normal(size=np.shape(value))
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(
        ours.backward(np.asarray(dy)), tensor.grad.numpy(), rtol=1e-11, atol=1e-15
    )
    np.testing.assert_array_equal(x, before)


def check_loss(rng, ours, theirs, inputs, target):
    """Compare a loss, and the gradients of all inputs for a random gradient of the loss.

    PyTorch gets sample weights as a factor on its terms.
    """
    weighted = rng.random() < 0.4
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    target_theirs = torch.tensor(target)
    before = [x.copy() for x in inputs]
    prediction = inputs[0] if len(inputs) == 1 else tuple(inputs)
    weights = rng.uniform(0.0, 2.0, size=len(target)) if weighted else None
    value = ours(prediction, target, sample_weight=weights)
    expected = theirs(tensors, target_theirs)
    if weights is not None:
        factor = torch.tensor(weights).reshape(-1, *(1,) * (expected.ndim - 1))
        expected = expected * factor
    count = {"none": None, "sum": 1, "batchmean": len(target)}.get(ours.reduction, expected.numel())
    if count is not None:
        expected = expected.sum() / count
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    dy = rng.normal(size=np.shape(value))
    expected.backward(torch.tensor(dy))
    got = ours.backward(np.asarray(dy))
    for one, tensor in zip((got,) if len(inputs) == 1 else got, tensors, strict=True):
        assert one.shape == tuple(tensor.shape)
        np.testing.assert_allclose(one, tensor.grad.numpy(), rtol=1e-11, atol=1e-12)
    for x, old in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, old)
