"""Random layers in models: what they draw, when, and what becomes of them elsewhere."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import xpcnn as xc
from tests.layers.augmentation.drawing import images, seeded
from xpcnn import _xp
from xpcnn.interop import onnx as xonnx

LAYERS = {
    "flip": lambda: xc.RandomHorizontalFlip(),
    "turn": lambda: xc.RandomVerticalFlip(),
    "crop": lambda: xc.RandomCrop(8, 2),
    "resized": lambda: xc.RandomResizedCrop(8),
    "rotation": lambda: xc.RandomRotation(30, "bilinear"),
    "affine": lambda: xc.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), 5),
    "colors": lambda: xc.ColorJitter(0.3, 0.3, 0.3, 0.1),
    "noise": lambda: xc.GaussianNoise(),
    "blur": lambda: xc.GaussianBlur(3),
    "erasing": lambda: xc.RandomErasing(1.0, value="random"),
}


def network():
    return [
        xc.Rescale(1 / 255),
        *(make() for make in LAYERS.values()),
        xc.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.25]),
        xc.Conv2d(3, 4, 3),
        xc.BatchNorm2d(4),
        xc.ReLU(),
        xc.GlobalAvgPool2d(),
        xc.Linear(4, 3),
    ]


def data(n=12):
    x = (255 * images((n, 3, 9, 8))).astype("float32")
    return x, np.random.default_rng(1).integers(0, 3, n)


def trained(device="cpu", layers=None, epochs=1, dtype="float32", **options):
    model = xc.Model(network() if layers is None else layers, device=device, seed=4, dtype=dtype)
    x, y = data()
    model.fit(
        x.astype(dtype), y, optimizer=xc.optim.SGD(0.1), loss="cross_entropy", epochs=epochs,
        batch_size=4, verbose=0, **options,
    )  # fmt: skip
    return model


def same(first, second):
    for name, array in first.state_dict().items():
        np.testing.assert_array_equal(_xp.to_numpy(second.state_dict()[name]), array)


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_drawn_follows_from_seed_and_step(name):
    x = images((6, 3, 9, 8))
    first = seeded(LAYERS[name](), 3, 5).forward(x, training=True)
    np.testing.assert_array_equal(seeded(LAYERS[name](), 3, 5).forward(x, training=True), first)
    for seed, step in ((3, 6), (4, 5)):
        other = seeded(LAYERS[name](), seed, step).forward(x, training=True)
        assert not np.array_equal(other, first)
    layer = seeded(LAYERS[name](), 3, 5)
    layer.forward(x)  # without training nothing is counted
    assert layer.step == 5
    layer.forward(x, training=True)
    assert layer.step == 6


@pytest.mark.parametrize("name", LAYERS)
def test_all_libraries_see_the_same(name, device):
    x = images((6, 3, 9, 8), "float32")
    expected = seeded(LAYERS[name](), 3).forward(x, training=True)
    found = seeded(LAYERS[name](), 3).forward(device.asarray(x), training=True)
    np.testing.assert_allclose(_xp.to_numpy(found), expected, atol=2e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_images_of_a_batch_draw_for_themselves(name):
    x = np.repeat(images((1, 3, 9, 8)), 16, axis=0)
    y = seeded(LAYERS[name](), 2).forward(x, training=True)
    assert len({image.tobytes() for image in y}) > 1


@pytest.mark.parametrize("name", LAYERS)
def test_an_image_without_a_batch_axis(name):
    x = images((1, 3, 9, 8))
    expected = seeded(LAYERS[name](), 3).forward(x, training=True)
    if name == "noise":  # of any rank, so that three axes are a batch of signals
        return
    found = seeded(LAYERS[name](), 3).forward(x[0], training=True)
    np.testing.assert_array_equal(found, expected[0])


def test_training_is_the_same_on_all_libraries(device):
    expected = trained(dtype="float64").state_dict()
    for name, array in trained(device.name, dtype="float64").state_dict().items():
        np.testing.assert_allclose(_xp.to_numpy(array), expected[name], rtol=1e-6, atol=1e-8)


def test_resumed_training_draws_what_it_would_have_drawn(tmp_path):
    whole, half = trained(epochs=3), trained(epochs=1)
    half.save(tmp_path / "half.safetensors")
    again = xc.Model.load(tmp_path / "half.safetensors", device="cpu")
    assert repr(again.layers) == repr(whole.layers)
    again.fit(*data(), epochs=2, batch_size=4, verbose=0)
    same(whole, again)


def test_steps_that_run_again_draw_the_same():
    """With less memory than a step takes, which then drops and computes again what it kept."""
    # a convolution in front, so that a gradient goes through all of them
    layers = [xc.Rescale(1 / 255), xc.Conv2d(3, 3, 1), *network()]
    layers = [layer for layer in layers if not isinstance(layer, xc.ColorJitter)]
    before = xc.Model(layers, device="cpu", seed=4)
    other = xc.Model(copy.deepcopy(layers), device="cpu", seed=4)
    x, y = data()
    for model in (before, other):
        model.compile(xc.optim.SGD(0.1), "cross_entropy")
        model.build(x.shape)
    other.run_again([(0, 9)])
    for model in (before, other):
        for _ in range(3):
            model.train_step(x, y)
    same(before, other)


def test_nothing_is_drawn_in_predictions():
    model = trained()
    x, _ = data()
    first = model.predict(x)
    np.testing.assert_array_equal(model.predict(x), first)
    plain = [
        layer
        for layer in model.layers
        if not isinstance(layer, xc.layers.augmentation.Augmentation)
    ]
    found = xc.CenterCrop(8)(x)
    for layer in plain:
        found = layer.forward(found)
    np.testing.assert_allclose(found, first, rtol=1e-5, atol=1e-6)


def test_copies_and_pickles():
    model = trained()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        x, y = data()
        again.fit(x, y, batch_size=4, verbose=0)
        other = copy.deepcopy(model)
        other.fit(x, y, batch_size=4, verbose=0)
        same(other, again)


def test_files_for_others_have_what_is_done_without_training():
    ort = pytest.importorskip("onnxruntime")
    model = trained()
    x, _ = data()
    file = xonnx.to_bytes(model)
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(found, model.predict(x), rtol=1e-4, atol=1e-5)
    kinds = [node.op_type for node in pytest.importorskip("onnx").load_from_string(file).graph.node]
    assert kinds.count("Conv") == 1
    assert "RandomNormal" not in kinds


def test_a_torch_module_has_what_is_done_without_training():
    torch = pytest.importorskip("torch")
    model = trained()
    x, _ = data()
    module = xc.interop.to_torch(model).eval()
    with torch.no_grad():
        found = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, model.predict(x), rtol=1e-4, atol=1e-5)


def test_it_is_summed_up(capsys):
    trained().summary()
    printed = capsys.readouterr().out
    assert "RandomHorizontalFlip" in printed
    assert "Normalize" in printed


def test_a_small_prediction_is_recorded():
    """Preprocessing has compiled kernels, and what is random does nothing."""
    layers = [
        xc.Resize((16, 16)), xc.CenterCrop(12), xc.Rescale(1 / 255), xc.RandomHorizontalFlip(),
        xc.Grayscale(3), xc.Normalize(0.5, 0.2), xc.Conv2d(3, 8, 3), xc.ReLU(),
        xc.Flatten(), xc.Linear(out_features=4),
    ]  # fmt: skip
    model = xc.Model(layers, device="cpu", seed=0)
    model.build((None, 3, 20, 24))
    if xc.kernels.why_not_compiled(np) is not None:
        pytest.skip("no compiled kernels")
    assert model.compile_for((1, 3, 20, 24))
    x = (255 * images((1, 3, 20, 24))).astype("float32")
    with xc.kernels.force("generic"):
        expected = model.predict(x)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-5)


def test_steps_with_them_are_not_captured():
    from xpcnn.errors import CaptureError
    from xpcnn.training.graph_capture import _check

    with pytest.raises(CaptureError, match="RandomHorizontalFlip .*draws random numbers"):
        _check(trained())


def test_settings_can_be_changed_and_are_checked():
    layer = xc.RandomCrop(4, 2)
    layer.size = 6
    assert layer.size == (6, 6)
    with pytest.raises(ValueError, match="padding_mode must be"):
        layer.padding_mode = "zeros"
    with pytest.raises(AttributeError, match="RandomCrop has no setting 'pad'"):
        layer.pad = 3


# -- What can hardly be meant ----------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: xc.ColorJitter(0.1), xc.GaussianNoise])
def test_cutting_bytes_off_at_1_is_doubted(make):
    layers = network()
    layers.insert(0, make())
    with pytest.warns(UserWarning, match=r"'0' cuts numbers off at max_value=1, .* max_value=255"):
        trained(layers=layers)


def test_numbers_that_may_be_so_large_are_not_doubted():
    layers = network()
    layers.insert(0, xc.ColorJitter(0.1, max_value=255))
    layers.insert(0, xc.GaussianNoise(clip=False))
    trained(layers=layers)
