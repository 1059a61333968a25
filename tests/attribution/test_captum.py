"""The same numbers as Captum's."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn.attribution import grad_cam, integrated_gradients, occlusion, saliency

attr = pytest.importorskip("captum.attr")


def network(of, ndim: int, ending=()):
    """Return layers for signals, images or volumes; of PyTorch's or of ours."""

    def layer(name, *args, **options):
        return getattr(of, f"{name}{ndim}d")(*args, **options)

    return [
        layer("Conv", 2, 4, 3, padding=1),
        of.ReLU(),
        layer("MaxPool", 2),
        layer("Conv", 4, 5, 2),
        layer("BatchNorm", 5),
        of.Tanh(),
        of.Dropout(0.5),
        layer("AdaptiveAvgPool", 2),
        of.Flatten(),
        of.Linear(5 * 2**ndim, 3),
        *ending,
    ]


def pair(ndim: int, ending: str | None = None):
    """Return one network as a model and as PyTorch's, and inputs for both."""
    end = [] if ending is None else [ending]
    torch.manual_seed(0)
    theirs = nn.Sequential(*network(nn, ndim, [getattr(nn, e)(dim=1) for e in end])).double()
    with torch.no_grad():
        theirs[4].running_mean.uniform_(-1, 1)
        theirs[4].running_var.uniform_(0.5, 2)
        theirs[4].weight.uniform_(0.5, 2)
    layers = network(xpcnn, ndim, [getattr(xpcnn, e)(dim=1) for e in end])
    ours = xpcnn.Model(layers, device="cpu", dtype="float64")
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    x = np.random.default_rng(ndim).normal(size=(3, 2, *(9, 8, 6)[:ndim]))
    return ours, theirs.eval(), x, torch.tensor(x, requires_grad=True)


def same(ours, theirs, tolerance=1e-9):
    np.testing.assert_allclose(
        ours, theirs.detach().numpy(), rtol=tolerance, atol=tolerance * abs(ours).max()
    )


NDIMS = [1, 2, 3]


@pytest.mark.parametrize("ndim", NDIMS)
def test_saliency(ndim):
    ours, theirs, x, x_there = pair(ndim)
    method = attr.Saliency(theirs)
    same(saliency(ours, x, 1), method.attribute(x_there, 1))
    same(saliency(ours, x, [2, 0, 1], absolute=False), method.attribute(x_there, [2, 0, 1], False))
    predicted = theirs(x_there).argmax(1)
    same(saliency(ours, x, batch_size=2), method.attribute(x_there, predicted))


@pytest.mark.parametrize("ndim", NDIMS)
@pytest.mark.parametrize("method", ["gausslegendre", "left", "middle", "right"])
def test_integrated_gradients(ndim, method):
    ours, theirs, x, x_there = pair(ndim)
    name = method if method == "gausslegendre" else f"riemann_{method}"
    their = attr.IntegratedGradients(theirs)
    baseline = np.random.default_rng(9).normal(size=x.shape[1:])
    found, delta = integrated_gradients(
        ours, x, [2, 0, 1], baseline=baseline, steps=7, method=method, batch_size=4,
        return_convergence_delta=True,
    )  # fmt: skip
    expected, their_delta = their.attribute(
        x_there, torch.tensor(baseline)[None], [2, 0, 1], n_steps=7, method=name,
        return_convergence_delta=True,
    )  # fmt: skip
    same(found, expected, 1e-6)  # the places on the way are of float32 there
    same(delta, their_delta, 1e-4)


def test_integrated_gradients_by_default():
    ours, theirs, x, x_there = pair(2)
    same(
        integrated_gradients(ours, x, 1),
        attr.IntegratedGradients(theirs).attribute(x_there, target=1),
        1e-6,
    )


@pytest.mark.parametrize("ndim", NDIMS)
@pytest.mark.parametrize("layer", [0, 3, 5])
def test_grad_cam(ndim, layer):
    ours, theirs, x, x_there = pair(ndim)
    method = attr.LayerGradCam(theirs, theirs[layer])
    for relu in (True, False):
        found = grad_cam(ours, x, 1, layer=str(layer), relu=relu, upsample=False)
        same(found, method.attribute(x_there, 1, relu_attributions=relu)[:, 0])
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[ndim]
    small = method.attribute(x_there, 1, relu_attributions=True)
    large = attr.LayerAttribution.interpolate(small, x.shape[2:], mode)
    same(grad_cam(ours, x, 1, layer=str(layer), batch_size=2), large[:, 0])


def test_grad_cam_takes_the_activation_of_the_last_convolution():
    ours, theirs, x, x_there = pair(2)
    expected = attr.LayerGradCam(theirs, theirs[5]).attribute(x_there, 0, relu_attributions=True)
    same(grad_cam(ours, x, 0, upsample=False), expected[:, 0])


@pytest.mark.parametrize("ndim", NDIMS)
def test_occlusion(ndim):
    ours, theirs, x, x_there = pair(ndim)
    method = attr.Occlusion(theirs)
    for window, stride in ((3, 2), (4, 3), (2, 2)):
        found = occlusion(ours, x, 1, window=window, stride=stride, baseline=0.5)
        shape, steps = (2, *[window] * ndim), (1, *[stride] * ndim)
        expected = method.attribute(x_there, shape, steps, baselines=0.5, target=1)
        same(found, expected, 1e-7)
    single = (1, *[5] * ndim)
    found = occlusion(ours, x, window=single, stride=(1, *[4] * ndim), batch_size=5)
    predicted = theirs(x_there).argmax(1)
    expected = method.attribute(x_there, single, (1, *[4] * ndim), target=predicted)
    same(found, expected, 1e-7)


@pytest.mark.parametrize("ending", ["Softmax", "LogSoftmax"])
def test_probabilities(ending):
    ours, theirs, x, x_there = pair(2, ending)
    scores = theirs[:-1]
    for probabilities, network in ((True, theirs), (False, scores)):
        options = {"probabilities": probabilities}
        same(saliency(ours, x, 1, **options), attr.Saliency(network).attribute(x_there, 1))
        expected = attr.IntegratedGradients(network).attribute(x_there, target=1)
        same(integrated_gradients(ours, x, 1, **options), expected, 1e-6)
        expected = attr.LayerGradCam(network, network[5]).attribute(x_there, 1)[:, 0]
        same(grad_cam(ours, x, 1, relu=False, upsample=False, **options), expected)
        expected = attr.Occlusion(network).attribute(x_there, (2, 4, 4), (1, 3, 3), target=1)
        same(occlusion(ours, x, 1, window=4, stride=3, **options), expected, 1e-7)


def test_places_of_a_segmentation():
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).double()
    layers = [xpcnn.Conv2d(1, 4, 3, padding=1), xpcnn.ReLU(), xpcnn.Conv2d(4, 2, 1)]
    ours = xpcnn.Model(layers, device="cpu", dtype="float64")
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(2, 1, 5, 6))
    x_there = torch.tensor(x, requires_grad=True)
    method = attr.Saliency(theirs)
    same(saliency(ours, x, (1, 2, 3)), method.attribute(x_there, (1, 2, 3)))
    places = [(1, 2, 3), (0, 4, 5)]
    same(saliency(ours, x, places), method.attribute(x_there, places))


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(4, 3)

        def forward(self, left, right):
            return self.c(torch.tanh(self.a(left) + self.b(right)))

    torch.manual_seed(0)
    theirs = Two().double()
    nodes = [
        ("a", xpcnn.Linear(3, 4), "left"),
        ("b", xpcnn.Linear(2, 4), "right"),
        ("sum", xpcnn.operations.Add(), ["a", "b"]),
        ("tanh", xpcnn.Tanh(), "sum"),
        ("c", xpcnn.Linear(4, 3), "tanh"),
    ]
    graph = xpcnn.Graph(["left", "right"], nodes, "c")
    ours = xpcnn.Model(graph, device="cpu", dtype="float64")
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    there = torch.tensor(left, requires_grad=True), torch.tensor(right, requires_grad=True)
    for ours_found, theirs_found in (
        (saliency(ours, (left, right), 1), attr.Saliency(theirs).attribute(there, 1)),
        (
            integrated_gradients(ours, (left, right), 1, baseline=(0.5, -1.0)),
            attr.IntegratedGradients(theirs).attribute(there, (0.5, -1.0), 1),
        ),
        (
            occlusion(ours, (left, right), 1, window={"left": 2, "right": 1}, baseline=(0.5, -1.0)),
            attr.Occlusion(theirs).attribute(there, ((2,), (1,)), None, (0.5, -1.0), 1),
        ),
    ):
        for one, other in zip(ours_found, theirs_found, strict=True):
            same(one, other, 1e-6)


def test_a_resnet():
    """The default layer of Grad-CAM is the end of the last residual block."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=4).eval()
    ours = xpcnn.Model(xpcnn.zoo.resnet18(classes=4), device="cpu")
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype("float32")
    x_there = torch.tensor(x, requires_grad=True)
    method = attr.LayerGradCam(theirs, theirs.layer4)
    expected = method.attribute(x_there, 1, relu_attributions=True)
    same(grad_cam(ours, x, 1, upsample=False), expected[:, 0], 1e-4)
    same(saliency(ours, x, 1), attr.Saliency(theirs).attribute(x_there, 1), 1e-3)
