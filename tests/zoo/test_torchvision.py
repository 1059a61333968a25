"""The zoo against torchvision itself, where it is installed."""

from __future__ import annotations

import pytest

import xpcnn
from tests.pytorch import WhenUsed, torch
from tests.zoo.cases import CASES
from xpcnn import zoo

models = WhenUsed("torchvision.models")
NAMES = [
    name for name in CASES if name not in ("deep_conv_net", "lenet5", "simple_conv_net", "unet")
]


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_of_the_weights(name):
    with torch.device("meta"):
        theirs = getattr(models, name)().state_dict()
    ours = getattr(zoo, name)()._tensors()
    assert {key: tensor.shape for key, tensor in ours.items()} == {
        key: tuple(value.shape) for key, value in theirs.items()
    }
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "squeezenet1_1"])
def test_outputs(name):
    torch.manual_seed(0)
    theirs = getattr(models, name)().double().eval()
    ours = xpcnn.Model(getattr(zoo, name)(), device="cpu", dtype="float64")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(torch.from_numpy(ours(x.numpy())), theirs(x).detach())
