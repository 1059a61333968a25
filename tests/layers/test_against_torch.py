"""Randomly drawn layers against PyTorch in float64: outputs, all gradients, running statistics.

The draws follow from the number of the test alone, so a failure repeats itself; its message shows
the layer, the shape and the workspace limit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import xpcnn
from tests import reference

torch = pytest.importorskip("torch")
nn = torch.nn

PER_TEST = 40


class Pair(NamedTuple):
    """One layer twice, and an input shape for it."""

    ours: xpcnn.Layer
    theirs: Callable[[Any], Any]
    shape: tuple[int, ...]


def pair_of(name):
    """Our class and PyTorch's of that name."""
    return getattr(xpcnn, name), getattr(nn, name)


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


def draw_rank(rng):
    return int(rng.choice([1, 2, 2, 3]))


def draw(rng, ndim, low, high):
    """One integer per dimension, or one for all."""
    values = tuple(int(v) for v in rng.integers(low, high + 1, size=ndim))
    return values if rng.random() < 0.7 else (values[0],) * ndim


def argument(rng, values):
    """Pass equal integers as one, now and then."""
    return values[0] if len(set(values)) == 1 and rng.random() < 0.5 else values


def torch_pad(x, sides, mode="constant", value=None):
    flat = [p for pair in reversed(sides) for p in pair]
    return nn.functional.pad(x, flat, mode, value)


def draw_spatial(rng, kernel, dilation, ndim, extra):
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    return tuple(e + int(rng.integers(0, extra + 1 - ndim)) for e in extent)


# -- Convolution -----------------------------------------------------------------------------------


def conv(rng, modes=("zeros",)):
    ndim = draw_rank(rng)
    kernel, stride = draw(rng, ndim, 1, 4 if ndim < 3 else 3), draw(rng, ndim, 1, 3)
    dilation = draw(rng, ndim, 1, 3 if ndim == 1 else 2)
    groups = int(rng.choice([1, 1, 2, 3]))
    depthwise = rng.random() < 0.2
    per_in = 1 if depthwise else int(rng.integers(1, 4))
    if depthwise:
        groups = int(rng.integers(2, 5))
    widths = groups * per_in, groups * int(rng.integers(1, 4))
    spatial = draw_spatial(rng, kernel, dilation, ndim, 7)
    mode = str(rng.choice(modes))
    kind = str(rng.choice(["integers", "pairs", "same", "valid"]))
    largest = min(3, *(n - 1 for n in spatial)) if mode == "reflect" else min(3, *spatial)
    if kind == "same":
        sides = tuple(
            reference.same_sides(*a) for a in zip(spatial, kernel, stride, dilation, strict=True)
        )
        if mode != "zeros" and max(max(s) for s in sides) > largest:
            kind, sides = "valid", ((0, 0),) * ndim
        padding: Any = kind
    elif kind == "valid":
        padding, sides = "valid", ((0, 0),) * ndim
    elif kind == "pairs":
        padding = sides = tuple(draw(rng, 2, 0, largest) for _ in range(ndim))
    else:
        values = draw(rng, ndim, 0, largest)
        padding, sides = argument(rng, values), tuple((v, v) for v in values)
    bias = bool(rng.random() < 0.8)
    options = {
        "stride": argument(rng, stride),
        "dilation": argument(rng, dilation),
        "groups": groups,
        "bias": bias,
    }
    names = getattr(xpcnn, f"Conv{ndim}d"), getattr(nn, f"Conv{ndim}d")
    given = widths if rng.random() < 0.7 else (None, widths[1])
    ours = names[0](*given, argument(rng, kernel), padding=padding, padding_mode=mode, **options)
    native = kind in ("integers", "valid") or (kind == "same" and set(stride) == {1})
    if native:
        theirs = names[1](*widths, kernel, padding=padding, padding_mode=mode, **options)
    else:
        # PyTorch has neither sides of their own nor "same" with a stride: pad beforehand
        module = names[1](*widths, kernel, **options)
        how = "constant" if mode == "zeros" else mode
        theirs = nn.Sequential(_Call(lambda x: torch_pad(x, sides, how)), module)
    return Pair(ours, theirs, (int(rng.integers(1, 4)), widths[0], *spatial))


def conv_padding_modes(rng):
    return conv(rng, ("reflect", "replicate", "circular"))


class _Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


# -- Pooling ---------------------------------------------------------------------------------------


def max_pool(rng):
    ndim = draw_rank(rng)
    kernel, dilation = draw(rng, ndim, 1, 4 if ndim < 3 else 3), draw(rng, ndim, 1, 2)
    stride = None if rng.random() < 0.4 else draw(rng, ndim, 1, 3)
    spatial = draw_spatial(rng, kernel, dilation, ndim, 8)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)), *spatial)
    ours, theirs = getattr(xpcnn, f"MaxPool{ndim}d"), getattr(nn, f"MaxPool{ndim}d")
    kind = str(rng.choice(["integers", "integers", "pairs", "same"]))
    if kind == "integers":
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        ceil_mode = bool(rng.random() < 0.5)
        arguments = (kernel, stride, argument(rng, padding), dilation)
        return Pair(
            ours(*arguments, ceil_mode=ceil_mode), theirs(*arguments, ceil_mode=ceil_mode), shape
        )
    if kind == "same":
        stride = stride or kernel
        sides = tuple(
            reference.same_sides(*a) for a in zip(spatial, kernel, stride, dilation, strict=True)
        )
        padding = "same"
    else:
        padding = sides = tuple(draw(rng, 2, 0, k // 2) for k in kernel)
    inner = theirs(kernel, stride, 0, dilation)
    return Pair(
        ours(kernel, stride, padding, dilation),
        lambda x: inner(torch_pad(x, sides, "constant", -np.inf)),
        shape,
    )


def avg_pool(rng):
    ndim = draw_rank(rng)
    kernel = draw(rng, ndim, 1, 4 if ndim < 3 else 3)
    stride = None if rng.random() < 0.4 else draw(rng, ndim, 1, 3)
    spatial = draw_spatial(rng, kernel, (1,) * ndim, ndim, 8)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)), *spatial)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    divisor = None if rng.random() < 0.6 else int(rng.integers(1, 7))
    arguments = {
        "padding": padding,
        "ceil_mode": bool(rng.random() < 0.5),
        "count_include_pad": bool(rng.random() < 0.5),
    }
    ours = getattr(xpcnn, f"AvgPool{ndim}d")(kernel, stride, divisor_override=divisor, **arguments)
    if ndim > 1:
        theirs = getattr(nn, f"AvgPool{ndim}d")
        return Pair(ours, theirs(kernel, stride, divisor_override=divisor, **arguments), shape)
    # AvgPool1d has no divisor_override, so one dimension is taken as two
    arguments["padding"] = (0, *padding)
    flat = nn.AvgPool2d(
        (1, *kernel), (1, *(stride or kernel)), divisor_override=divisor, **arguments
    )
    return Pair(ours, lambda x: flat(x[:, :, None])[:, :, 0], shape)


def avg_pool_beyond_torch(rng):
    """Sides of their own, "same" and dilation: a depthwise convolution with ones."""
    ndim = draw_rank(rng)
    kernel, dilation = draw(rng, ndim, 1, 3), draw(rng, ndim, 1, 2)
    stride = draw(rng, ndim, 1, 3)
    # long enough that no window sees padding alone
    spatial = tuple(n + 2 for n in draw_spatial(rng, kernel, dilation, ndim, 6))
    if rng.random() < 0.5:
        padding: Any = "same"
        sides = tuple(
            reference.same_sides(*a) for a in zip(spatial, kernel, stride, dilation, strict=True)
        )
    else:
        padding = sides = tuple(draw(rng, 2, 0, k // 2) for k in kernel)
    include = bool(rng.random() < 0.5)
    channels = int(rng.integers(1, 4))
    run = getattr(nn.functional, f"conv{ndim}d")
    ones = torch.ones((channels, 1, *kernel), dtype=torch.float64)

    def theirs(x):
        def sums(values):
            return run(torch_pad(values, sides), ones, None, stride, 0, dilation, channels)

        return sums(x) / (np.prod(kernel) if include else sums(torch.ones_like(x)))

    ours = getattr(xpcnn, f"AvgPool{ndim}d")(
        kernel, stride, padding, count_include_pad=include, dilation=dilation
    )
    return Pair(ours, theirs, (2, channels, *spatial))


def global_pool(rng):
    ndim, kind = draw_rank(rng), str(rng.choice(["Avg", "Max"]))
    keepdims = bool(rng.random() < 0.5)
    theirs = getattr(nn, f"Adaptive{kind}Pool{ndim}d")(1)
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 5)), *draw(rng, ndim, 1, 5))
    return Pair(
        getattr(xpcnn, f"Global{kind}Pool{ndim}d")(keepdims),
        theirs if keepdims else lambda x: theirs(x).flatten(1),
        shape,
    )


# -- The rest --------------------------------------------------------------------------------------


def maybe_bias(rng):
    """Draw an argument of normalising layers that only newer versions of PyTorch have."""
    known = "bias" in inspect.signature(nn.BatchNorm2d).parameters
    return {"bias": bool(rng.random() < 0.7)} if known else {}


def batch_norm(rng):
    ndim = int(rng.integers(0, 4))
    channels = int(rng.integers(1, 5))
    options = {
        "eps": float(rng.choice([1e-5, 1e-3, 0.1])),
        "momentum": [0.1, 0.5, None][rng.integers(3)],
        "affine": bool(rng.random() < 0.7),
        "track_running_stats": bool(rng.random() < 0.7),
        **maybe_bias(rng),
    }
    name = f"BatchNorm{max(ndim, 1)}d"
    given = channels if rng.random() < 0.7 else None
    shape = (int(rng.integers(3, 6)), channels, *(draw(rng, ndim, 1, 4) if ndim else ()))
    return Pair(
        getattr(xpcnn, name)(given, **options), getattr(nn, name)(channels, **options), shape
    )


def linear(rng):
    widths, bias = draw(rng, 2, 1, 7), bool(rng.random() < 0.7)
    given = widths if rng.random() < 0.7 else (None, widths[1])
    shape = (*draw(rng, int(rng.integers(1, 4)), 1, 4), widths[0])
    return Pair(xpcnn.Linear(*given, bias=bias), nn.Linear(*widths, bias=bias), shape)


def activation(rng):
    ndim = int(rng.integers(2, 6))
    shape = draw(rng, ndim, 1, 4)
    a, dim = float(rng.uniform(0.1, 2.0)), int(rng.integers(-ndim, ndim))
    table: list[tuple[str, dict[str, Any]]] = [
        ("ReLU", {}),
        ("LeakyReLU", {"negative_slope": a}),
        ("LeakyReLU", {}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("Softmax", {"dim": dim}),
        ("LogSoftmax", {"dim": dim}),
        ("ELU", {"alpha": a}),
        ("GELU", {}),
        ("GELU", {"approximate": "tanh"}),
        ("SiLU", {}),
        ("Softplus", {"beta": a, "threshold": float(rng.uniform(0.5, 20))}),
        ("Flatten", {"start_dim": int(rng.integers(0, ndim)), "end_dim": -1}),
    ]
    name, options = table[rng.integers(len(table))]
    return Pair(getattr(xpcnn, name)(**options), getattr(nn, name)(**options), shape)


# -- The comparison --------------------------------------------------------------------------------


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


FAMILIES = {
    conv: 8,
    conv_padding_modes: 3,
    max_pool: 4,
    avg_pool: 3,
    avg_pool_beyond_torch: 1,
    global_pool: 1,
    batch_norm: 2,
    linear: 1,
    activation: 2,
}
TESTS = [(family, i) for family, count in FAMILIES.items() for i in range(count)]


def test_there_are_at_least_500_draws():
    assert len(TESTS) * PER_TEST >= 500


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
    """Compare the layers that a family draws."""
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


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("family", "number"), TESTS, ids=[f"{f.__name__}-{i}" for f, i in TESTS])
def test_agrees_with_torch(family, number):
    compare_draws(family, number)
