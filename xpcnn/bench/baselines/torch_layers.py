"""Layers and losses as PyTorch runs them, in the memory layout that it has by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xpcnn.bench import program
from xpcnn.bench.layers.cases import Case
from xpcnn.bench.layers.inputs import draw_all
from xpcnn.bench.program import Program


def make(case: Case, kind: str, threads: int) -> Program:
    """Make a case ready; the arguments are those of :func:`xpcnn.bench.layers.own.make`."""
    import torch

    torch.set_num_threads(threads)
    inputs = [torch.from_numpy(x) for x in draw_all(case.inputs)]
    if case.layer == "GaussianNLLLoss":  # here the target comes before the variance
        inputs = [inputs[0], inputs[2], inputs[1]]
    module = module_class(case.layer)(**case.arguments)
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    values = program.first_values(shapes)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(values[name]))
    if kind == "forward":
        return _forward(module, inputs)
    wanted = inputs
    if case.loss:
        wanted = [inputs[0], inputs[2]] if case.layer == "GaussianNLLLoss" else inputs
        wanted = wanted[: case.predictions]
    return _gradients(module, inputs, [x for x in wanted if x.is_floating_point()])


def _forward(module: Any, inputs: list[Any]) -> Program:
    import torch

    module.eval()

    def step() -> Any:
        with torch.inference_mode():
            return module(*inputs)

    return Program(step, lambda y: {"y": y})


def _gradients(module: Any, inputs: list[Any], wanted: list[Any]) -> Program:
    import torch

    for x in wanted:
        x.requires_grad_()
    shape = tuple(module(*inputs).shape)
    dy = torch.from_numpy(program.output_gradient(shape)) if shape else None
    parameters = list(module.parameters())

    def step() -> tuple[Any, Any]:
        y = module(*inputs)
        return y, torch.autograd.grad(y, [*wanted, *parameters], dy)

    def arrays(result: tuple[Any, Any]) -> Mapping[str, Any]:
        y, gradients = result
        found = {"y": y.detach(), "dx": list(gradients[: len(wanted)])}
        return found if shape == () else found | {"gradients": list(gradients[len(wanted) :])}

    return Program(step, arrays)


def module_class(name: str) -> Callable[..., Any]:
    """Return PyTorch's module of a name, or what does the same there.

    Raises
    ------
    AttributeError
        If there is neither.
    """
    from torch import nn

    others: dict[str, Callable[..., Any]] = {"StochasticDepth": _stochastic_depth}
    for rank in (1, 2, 3):
        for kind in ("Max", "Avg"):
            pool = getattr(nn, f"Adaptive{kind}Pool{rank}d")
            others[f"Global{kind}Pool{rank}d"] = _global_pool(pool)
        others[f"SeparableConv{rank}d"] = _separable(getattr(nn, f"Conv{rank}d"))
    return others[name] if name in others else getattr(nn, name)


def _global_pool(pool: Callable[..., Any]) -> Callable[[], Any]:
    from torch import nn

    return lambda: nn.Sequential(pool(1), nn.Flatten())


def _separable(conv: Callable[..., Any]) -> Callable[..., Any]:
    from torch import nn

    def make(in_channels: int, out_channels: int, kernel_size: Any, **options: Any) -> Any:
        depthwise = conv(
            in_channels, in_channels, kernel_size, groups=in_channels, bias=False, **options
        )
        return nn.Sequential(depthwise, conv(in_channels, out_channels, 1))

    return make


def _stochastic_depth(p: float) -> Any:
    """Make torchvision's layer that drops whole samples."""
    from torch import nn

    class StochasticDepth(nn.Module):
        def forward(self, x: Any) -> Any:
            if not self.training:
                return x
            kept = x.new_empty([len(x)] + [1] * (x.ndim - 1)).bernoulli_(1 - p)
            return x * kept.div_(1 - p)

    return StochasticDepth()
