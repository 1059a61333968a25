"""What tests of PyTorch's modules share: comparing one with the model that is made of it."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


def relative(actual, expected):
    expected = expected.detach().numpy()
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-3)


def randomised(module):
    """In float64, with random statistics, and no dropout, whose masks nobody can compare."""
    torch.manual_seed(7)
    module = module.double()
    with torch.no_grad():
        for part in module.modules():
            if hasattr(part, "running_var"):
                for tensor in (part.running_mean, part.running_var, part.weight, part.bias):
                    if tensor is not None:
                        tensor.uniform_(0.5, 1.5)
            if isinstance(part, nn.Dropout):
                part.p = 0.0
    return module


def compare(model, module, *shapes, limit=1e-8):
    """Compare outputs without and with training, all gradients, and the state afterwards."""
    rng = np.random.default_rng(11)
    inputs = [rng.normal(size=shape) for shape in shapes]
    module.eval()
    with torch.no_grad():
        expected = module(*map(torch.tensor, inputs))
    for found, wanted in zip(several(model(*inputs)), several(expected), strict=True):
        assert relative(found, wanted) < limit
    module.train()
    module.zero_grad()
    model.zero_grad()
    asked = [torch.tensor(x, requires_grad=True) for x in inputs]
    # a copy first: a module that works in place must not write into a leaf
    expected = several(module(*(x * 1.0 for x in asked)))
    found = several(model.forward(*inputs, training=True))
    weights = [rng.normal(size=tuple(y.shape)) for y in expected]
    for y, wanted in zip(found, expected, strict=True):
        assert relative(y, wanted) < limit
    sum((y * torch.tensor(w)).sum() for y, w in zip(expected, weights, strict=True)).backward()
    for dx, x in zip(several(model.backward(*weights, need_dx=True)), asked, strict=True):
        assert relative(dx, x.grad) < limit
    ours = model.parameters()
    for name, parameter in module.named_parameters():
        if name in ours and parameter.grad is not None:
            assert relative(ours[name].grad, parameter.grad) < limit, name
    state = model.state_dict()
    for name, value in module.state_dict().items():
        if name in state:
            assert relative(np.asarray(state[name]), value) < limit, name


def several(outputs):
    return [*outputs] if isinstance(outputs, (tuple, list)) else [outputs]


class Traced(nn.Module):
    """A module of a function and of parts."""

    def __init__(self, function, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, x):
        return self.function(self, x)
