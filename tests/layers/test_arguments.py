"""What the constructors refuse, and what a layer infers from its input."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc

REFUSED = [
    (lambda: xc.Conv2d(), TypeError, r"Conv2d needs out_channels and kernel_size; write Conv2d\("),
    (lambda: xc.Conv2d(3, 4), TypeError, "Conv2d needs out_channels and kernel_size"),
    (lambda: xc.Conv2d(0, 4, 3), ValueError, "Conv2d: in_channels must be at least 1, got 0"),
    (lambda: xc.Conv2d(3, 4.0, 3), TypeError, "Conv2d: out_channels must be an integer, got 4.0"),
    (lambda: xc.Conv2d(3, 4, (3, 3, 3)), ValueError, "kernel_size must be one integer or 2"),
    (lambda: xc.Conv1d(3, 4, 3, stride=0), ValueError, "Conv1d: stride must be at least 1"),
    (lambda: xc.Conv1d(3, 4, 3, padding="full"), ValueError, "padding must be 'same', 'valid'"),
    (lambda: xc.Conv1d(3, 4, 3, padding=-1), ValueError, "padding must be at least 0, got -1"),
    (lambda: xc.Conv3d(4, 6, 3, groups=4), ValueError, "out_channels=6 must be divisible by gro"),
    (lambda: xc.Conv3d(3, 4, 3, groups=2), ValueError, "in_channels=3 must be divisible by gro"),
    (
        lambda: xc.Conv2d(3, 4, 3, padding_mode="constant"),
        ValueError,
        "padding_mode must be one of 'zeros', 'reflect', 'replicate', 'circular'; got 'constant'",
    ),
    (lambda: xc.ConvTranspose2d(3, 4), TypeError, r"ConvTranspose2d needs out_channels and kern"),
    (
        lambda: xc.ConvTranspose2d(3, 4, 3, output_padding=-1),
        ValueError,
        "ConvTranspose2d: output_padding must be at least 0",
    ),
    (
        lambda: xc.ConvTranspose1d(3, 4, 3, padding_mode="reflect"),
        ValueError,
        "ConvTranspose1d: padding_mode must be one of 'zeros'; got 'reflect'",
    ),
    (lambda: xc.ConvTranspose3d(4, 6, 3, groups=4), ValueError, "out_channels=6 must be divis"),
    (
        lambda: xc.SeparableConv2d(3, 4, 3, depth_multiplier=0),
        ValueError,
        "SeparableConv2d: depth_multiplier must be at least 1",
    ),
    (
        lambda: xc.AdaptiveAvgPool2d((2, 3, 4)),
        ValueError,
        r"AdaptiveAvgPool2d: output_size must be one integer or 2.*got \(2, 3, 4\)",
    ),
    (lambda: xc.AdaptiveAvgPool1d(0), ValueError, "AdaptiveAvgPool1d: output_size must be at le"),
    (lambda: xc.AdaptiveMaxPool3d("3"), TypeError, "AdaptiveMaxPool3d: output_size must be int"),
    (lambda: xc.AdaptiveMaxPool2d(2, True), ValueError, "return_indices is not supported"),
    (lambda: xc.LPPool2d(0, 2), ValueError, "LPPool2d: norm_type must be a number other than z"),
    (lambda: xc.LPPool2d(float("nan"), 2), ValueError, "norm_type must be a number other than"),
    (lambda: xc.Linear(3), TypeError, r"Linear needs out_features; write Linear\(784, 10\)"),
    (lambda: xc.Linear(3, 0), ValueError, "Linear: out_features must be at least 1"),
    (lambda: xc.MaxPool2d(0), ValueError, "MaxPool2d: kernel_size must be at least 1"),
    (lambda: xc.MaxPool2d(2, return_indices=True), ValueError, "return_indices is not supported"),
    (lambda: xc.AvgPool2d(2, divisor_override=0), ValueError, "divisor_override must be at least"),
    (lambda: xc.AvgPool1d("2"), TypeError, "AvgPool1d: kernel_size must be an integer"),
    (lambda: xc.BatchNorm2d(-1), ValueError, "BatchNorm2d: num_features must be at least 1"),
    (lambda: xc.GELU("erf"), ValueError, "approximate must be one of 'none', 'tanh'; got 'erf'"),
    (lambda: xc.Softplus(beta=0), ValueError, "Softplus: beta must not be zero"),
]


@pytest.mark.parametrize(("make", "error", "match"), REFUSED, ids=[r[2][:30] for r in REFUSED])
def test_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


NOT_FITTING = [
    (lambda: xc.Conv2d(1, 1, 5), (1, 1, 4, 9), "Conv2d: the kernel covers .5, 5.*padded input is"),
    (lambda: xc.Conv1d(1, 1, 3, dilation=4), (1, 1, 8), "Conv1d: the kernel covers .9,"),
    (lambda: xc.Conv2d(1, 1, 5, padding=((1, 0), (2, 2))), (1, 1, 3, 3), "padded input is only"),
    (
        lambda: xc.ConvTranspose2d(1, 1, 3, padding=((1, 1), (2, 2))),
        (1, 1, 1, 2),
        r"ConvTranspose2d.*: an input of size \(1, 2\) gives \(3, 4\), of which padding.*use less",
    ),
    (
        lambda: xc.ConvTranspose1d(1, 1, 3, stride=2, dilation=3, output_padding=3),
        (1, 1, 4),
        "ConvTranspose1d.*: output_padding must be smaller than the stride or the dilation, got",
    ),
    (
        lambda: xc.ConvTranspose1d(1, 1, 3, 2, "same", 1),
        (1, 1, 4),
        "ConvTranspose1d.*: padding='same' fixes the output size",
    ),
    (lambda: xc.SeparableConv1d(1, 1, 5), (1, 1, 4), "SeparableConv1d.*: the kernel covers"),
    (lambda: xc.LPPool2d(2, 3), (1, 1, 2, 5), "LPPool2d.*: the kernel covers"),
    (lambda: xc.MaxPool2d(3), (1, 1, 2, 5), "MaxPool2d: the kernel covers"),
    (lambda: xc.AvgPool3d(2), (1, 1, 3, 1, 3), "AvgPool3d: the kernel covers"),
    (lambda: xc.MaxPool1d(2, padding=2), (1, 1, 9), "MaxPool1d: padding may be at most half"),
    (
        lambda: xc.Conv1d(1, 1, 3, padding=3, padding_mode="reflect"),
        (1, 1, 3),
        "padding_mode 'reflect' can add at most 2 elements to an axis of length 3",
    ),
    (
        lambda: xc.Conv1d(1, 1, 3, padding=4, padding_mode="circular"),
        (1, 1, 3),
        "Conv1d: padding_mode 'circular' can add at most 3",
    ),
]


@pytest.mark.parametrize(("make", "shape", "match"), NOT_FITTING)
def test_input_too_small(make, shape, match):
    layer = make()
    with pytest.raises(ValueError, match=match):
        layer(np.ones(shape, "float32"))
    layer = make()
    layer.name = "first"
    with pytest.raises(ValueError, match=f"{type(layer).__name__} 'first'"):
        layer(np.ones(shape, "float32"))


@pytest.mark.parametrize(("make", "shape", "match"), NOT_FITTING)
def test_output_shape_says_so_too(make, shape, match):
    with pytest.raises(ValueError, match=match):
        make().output_shape(shape)


def test_hints():
    with pytest.raises(ValueError, match="channels seem to be last, move them with numpy.moveaxis"):
        xc.Conv2d(3, 4, 3)(np.ones((2, 8, 8, 3), "float32"))
    with pytest.raises(ValueError, match=r"add a batch axis for a single sample \(x\[None\]\)"):
        xc.Model([xc.Conv2d(3, 4, 3)], device="cpu").build((3, 8, 8))
    with pytest.raises(ValueError, match="put a Flatten layer in front"):
        xc.Linear(12, 4)(np.ones((2, 3, 4), "float32"))
    with pytest.raises(TypeError, match=r"images.astype\('float32'\) / 255"):
        xc.Conv2d(3, 4, 3)(np.ones((1, 3, 8, 8), "uint8"))
    with pytest.raises(ValueError, match="more than one value per channel.*larger batch"):
        xc.BatchNorm1d(3).forward(np.ones((1, 3), "float32"), training=True)


def test_widths_are_inferred_once():
    conv = xc.Conv2d(out_channels=4, kernel_size=3, groups=2)
    assert conv.in_channels is None
    assert not conv.is_built
    with pytest.raises(RuntimeError, match="no values yet; build the layer"):
        _ = conv.weight.data
    conv(np.ones((1, 6, 5, 5), "float32"))
    assert (conv.in_channels, conv.weight.shape) == (6, (4, 3, 3, 3))
    with pytest.raises(ValueError, match="expected 6 input channels"):
        conv(np.ones((1, 4, 5, 5), "float32"))
    odd = xc.Conv2d(out_channels=4, kernel_size=3, groups=2)
    with pytest.raises(ValueError, match="in_channels=3 must be divisible by groups=2"):
        odd(np.ones((1, 3, 5, 5), "float32"))
    with pytest.raises(ValueError, match="the kernel covers"):
        odd(np.ones((1, 4, 2, 2), "float32"))
    # what was refused has decided nothing
    assert odd(np.ones((1, 2, 5, 5), "float32")).shape == (1, 4, 3, 3)


def test_builds_itself_in_the_inputs_dtype(device):
    for dtype in ("float32", "float64"):
        layer = xc.Conv1d(1, 1, 3)
        y = layer(device.asarray(np.ones((1, 1, 4), dtype)))
        assert layer.weight.data.dtype == y.dtype == device.dtype(dtype)


def test_parameters_refuse_what_does_not_fit():
    layer = xc.Linear(2, 3)
    layer.build((1, 2))
    with pytest.raises(ValueError, match=r"expected an array of shape \(3, 2\), got \(2, 3\)"):
        layer.weight.data = np.ones((2, 3), "float32")
    with pytest.raises(TypeError, match="expected dtype float32, got float64"):
        layer.weight.data = np.ones((3, 2))


def test_initial_values_are_pytorchs_in_size():
    conv = xc.Conv2d(16, 64, 3)
    conv.build((1, 16, 8, 8), rng=np.random.default_rng(0))
    bound = 1 / np.sqrt(16 * 9)
    for values in (conv.weight.data, conv.bias.data):
        assert np.abs(values).max() <= bound * (1 + 1e-6)
    # a uniform distribution on +-bound: within five standard deviations of its variance
    n = conv.weight.data.size
    variance = conv.weight.data.astype("float64").var()
    assert abs(variance / (bound**2 / 3) - 1) < 5 * np.sqrt(0.8 / n)
    norm = xc.BatchNorm2d(3)
    norm.build((2, 3, 4, 4))
    np.testing.assert_array_equal(norm.weight.data, np.ones(3))
    np.testing.assert_array_equal(norm.running_var.data, np.ones(3))
    np.testing.assert_array_equal(norm.running_mean.data, np.zeros(3))


@pytest.mark.parametrize(
    ("layer", "weight", "message"),
    [
        (xc.Conv2d(out_channels=4, kernel_size=3), (7, 2, 3, 3), r"expected \(4, any, 3, 3\)"),
        (xc.Conv2d(out_channels=4, kernel_size=3), (4, 2, 5, 5), r"expected \(4, any, 3, 3\)"),
        (xc.Conv2d(out_channels=4, kernel_size=3), (4,), r"expected \(4, any, 3, 3\)"),
        (xc.Linear(out_features=4), (4,), r"expected \(4, any\)"),
        (xc.BatchNorm1d(track_running_stats=False), (), r"expected \(any,\)"),
    ],
)
def test_state_of_a_layer_with_an_open_width_must_fit_the_rest(layer, weight, message):
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict({"weight": np.zeros(weight), "bias": np.zeros(4)})
    assert not layer.is_built


@pytest.mark.parametrize("values", [["a"] * 4, np.ones(4) * 1j, np.full(4, None)])
def test_state_must_hold_real_numbers(values):
    layer = xc.Linear(3, 4)
    with pytest.raises(ValueError, match="unusable: bias has dtype .*, expected real numbers"):
        layer.load_state_dict({"weight": np.zeros((4, 3)), "bias": values})
    with pytest.raises(TypeError, match="a state maps names to arrays.*got list"):
        layer.load_state_dict([values])


def test_bfloat16_of_pytorch_is_taken():
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.Linear(3, 2).bfloat16(), xc.Linear(3, 2)
    ours.load_state_dict(theirs.state_dict())
    assert ours.weight.data.tolist() == theirs.weight.tolist()
    model = xc.Model([ours], device="torch:cpu", dtype="bfloat16")
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.bfloat16)
    assert model.predict(x).tolist() == model.forward(x).tolist()


def test_a_layer_without_a_constructor_of_its_own():
    class Double(xc.layers.Layer):
        pass

    assert repr(Double()) == "Double()"
    assert Double().config() == {}
