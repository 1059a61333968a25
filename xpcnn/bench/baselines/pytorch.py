"""The workloads as PyTorch runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from xpcnn.bench import program
from xpcnn.bench.program import Program
from xpcnn.bench.workloads import Workload


def torch_layers() -> SimpleNamespace:
    """Return PyTorch's layers, and those that it has under other names or not at all.

    ReLU works in place, as in the networks of torchvision: that is PyTorch at its best.
    """
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, body: Any, shortcut: Any = None) -> None:
            super().__init__()
            self.body = body
            self.shortcut = shortcut

        def forward(self, x: Any) -> Any:
            return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

    class Parallel(nn.Module):
        def __init__(self, branches: list[Any]) -> None:
            super().__init__()
            self.branches = nn.ModuleList(branches)

        def forward(self, x: Any) -> Any:
            return torch.cat([branch(x) for branch in self.branches], dim=1)

    names = (
        *("AvgPool2d", "BatchNorm2d", "Conv1d", "Conv2d", "Flatten", "Linear", "MaxPool1d"),
        *("MaxPool2d", "Sequential", "Tanh"),
    )
    return SimpleNamespace(
        **{name: getattr(nn, name) for name in names},
        ReLU=lambda: nn.ReLU(inplace=True),
        ReLU6=lambda: nn.ReLU6(inplace=True),
        GlobalAvgPool2d=lambda: nn.AdaptiveAvgPool2d(1),
        Residual=Residual,
        Parallel=Parallel,
    )


def torch_network(workload: Workload) -> Any:
    """Return the network with the same first values as in every other library."""
    import torch

    nn = torch_layers()
    network = nn.Sequential(*workload.build(nn))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            value = program.first_value(name, tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(value))
    return network


def make_torch(
    workload: Workload, threads: int, *, channels_last: bool = False, compiled: bool = False
) -> Program:
    """Make a workload ready in PyTorch.

    Parameters
    ----------
    workload : Workload
    threads : int
    channels_last : bool
        Whether images and filters have their channels next to each other in memory.
    compiled : bool
        Whether the network is handed to ``torch.compile``; the first step then takes long.
    """
    import torch

    torch.set_num_threads(threads)
    network, x = torch_network(workload), torch.from_numpy(program.images(workload.shape))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network, x = network.to(memory_format=layout), x.contiguous(memory_format=layout)
    run = torch.compile(network) if compiled else network  # network.compile() does nothing here
    if workload.kind == "train":
        return _torch_training(run, x)
    if workload.kind == "gradients":
        names = [name for name, _ in network.named_parameters()]
        return _torch_gradients(run, names, x, layout)
    network.eval()

    def step() -> Any:
        with torch.inference_mode():
            return run(x)

    return Program(step, lambda y: {"y": y})


def torch_training_step(network: Any, x: Any, y: Any) -> Callable[[], float]:
    """Return what makes a step of training with Adam, fused into one pass, and returns the loss."""
    import torch

    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    criterion = torch.nn.CrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = criterion(network(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def _torch_training(network: Any, x: Any) -> Program:
    import torch

    y = torch.from_numpy(program.labels(len(x)))
    step = torch_training_step(network, x, y)

    def arrays(loss: float) -> dict[str, Any]:
        return {"loss": loss, "gradients": [p.grad for p in network.parameters()]}

    return Program(step, arrays)


def _torch_gradients(network: Any, parameters: list[str], x: Any, layout: Any) -> Program:
    import torch

    x.requires_grad_()
    names = ["dx", *parameters]
    wanted = [x, *network.parameters()]
    dy = torch.from_numpy(program.output_gradient(tuple(network(x).shape)))
    dy = dy.contiguous(memory_format=layout)

    def step() -> tuple[Any, Iterable[Any]]:
        y = network(x)
        return y, torch.autograd.grad(y, wanted, dy)

    def arrays(result: tuple[Any, Iterable[Any]]) -> dict[str, Any]:
        y, gradients = result
        return {"y": y.detach()} | dict(zip(names, gradients, strict=True))

    return Program(step, arrays)
