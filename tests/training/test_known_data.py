"""A model knows the names of its classes and how image files become its input."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn.data import ImageReader
from xpcnn.operations import Add
from xpcnn.training import saving


def model_of(classes: int = 3, size: int = 4, channels: int = 3) -> xpcnn.Model:
    layers = [xpcnn.Flatten(), xpcnn.Linear(out_features=classes)]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.build((None, channels, size, size))
    return model


def test_both_are_saved_and_loaded(tmp_path):
    model = model_of()
    model.class_names = ["cat", "dog", "été"]
    model.image_input = ImageReader(4, resize="crop", invert=True)
    model.save(tmp_path / "m")
    again = xpcnn.Model.load(tmp_path / "m", device="cpu")
    assert again.class_names == ("cat", "dog", "été")
    assert isinstance(again.image_input, ImageReader)
    assert again.image_input.config() == model.image_input.config()
    assert again.to(dtype="float64").class_names == again.class_names
    assert xpcnn.Model.load(tmp_path / "m", device="cpu", compile=False).class_names is not None


def test_files_without_them(tmp_path):
    model = model_of()
    model.save(tmp_path / "m")
    again = xpcnn.Model.load(tmp_path / "m", device="cpu")
    assert again.class_names is again.image_input is None
    tensors, description = saving.read_file(tmp_path / "m")
    del description["class_names"], description["image_input"]  # as they were written before
    saving.write_file(tmp_path / "old", tensors, description)
    old = xpcnn.Model.load(tmp_path / "old", device="cpu")
    assert old.class_names is old.image_input is None


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": ["a", "b"]},
        {"class_names": "abc"},
        {"class_names": [1, 2, 3]},
        {"class_names": {"a": 1}},
        {"image_input": {"class": "Linear", "config": {}}},
        {"image_input": {"class": "ImageReader", "config": {"size": [10**5, 10**5]}}},
        {"image_input": {"class": "ImageReader", "config": {"mode": "L"}}},
        {"image_input": "reader"},
    ],
)
def test_damaged_files(tmp_path, changes):
    model_of().save(tmp_path / "m")
    tensors, description = saving.read_file(tmp_path / "m")
    saving.write_file(tmp_path / "bad", tensors, {**description, **changes})
    with pytest.raises(xpcnn.ModelFileError):
        xpcnn.Model.load(tmp_path / "bad", device="cpu")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("abc", "must be a list of names"),
        (["a", "b", "a"], "'a' stands there twice"),
        (["a", "b", 3], "must be strings, got 3"),
        (["a", "b", ""], "a name is empty"),
        ([], "there is no name"),
        (["a", "b"], "there are 2 names (a, b) and 3 columns of output"),
        (4, "must be a list of names"),
    ],
)
def test_wrong_names(names, message):
    model = model_of()
    model.class_names = ["x", "y", "z"]
    with pytest.raises((TypeError, ValueError)) as caught:
        model.class_names = names
    assert message in str(caught.value)
    assert str(caught.value).startswith("model.class_names")
    assert model.class_names == ("x", "y", "z")
    model.class_names = None
    assert model.class_names is None


def test_a_column_has_the_names_of_no_and_yes():
    model = model_of(classes=1)
    model.class_names = ["cat", "dog"]
    model.class_names = ["dog"]
    with pytest.raises(ValueError, match="or two for the answers no and yes"):
        model.class_names = ["a", "b", "c"]


def test_names_that_do_not_fit_show_when_the_model_is_built():
    model = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(out_features=3)], device="cpu")
    model.class_names = ["a", "b"]
    with pytest.raises(ValueError, match=r"2 names \(a, b\) and 3 columns"):
        model.build((None, 4))
    assert model.input_shape is None
    model.class_names = ["a", "b", "c"]
    model.build((None, 4))
    model.add(xpcnn.Linear(out_features=2))
    with pytest.raises(ValueError, match="3 names"):
        model.predict(np.zeros((1, 4), "float32"))


def test_several_outputs_have_no_class_names():
    graph = xpcnn.Graph(
        inputs=["a", "b"],
        nodes=[("sum", Add(), ["a", "b"]), ("y", xpcnn.Linear(2, 2), "sum")],
        outputs=["sum", "y"],
    )
    model = xpcnn.Model(graph, device="cpu")
    model.build([(None, 2), (None, 2)])
    with pytest.raises(ValueError, match="names for one output, and the network has 2"):
        model.class_names = ["a", "b"]
    with pytest.raises(ValueError, match="the network takes"):
        model.image_input = ImageReader(4)
    assert model.output_shape() == ((1, 2), (1, 2))


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ("reader", "must be an ImageReader, such as ImageReader(64), got 'reader'"),
        (ImageReader(4, mode="L"), "makes arrays of shape (N, 1, 4, 4), and the network takes"),
        (ImageReader(5), "makes arrays of shape (N, 3, 5, 5); Linear '1': expected"),
    ],
)
def test_wrong_readers(reader, message):
    model = model_of()
    model.image_input = before = ImageReader(4)
    with pytest.raises((TypeError, ValueError)) as caught:
        model.image_input = reader
    assert message in str(caught.value)
    assert model.image_input is before
    model.image_input = None


def test_a_network_for_any_size_takes_readers_of_any_size():
    layers = [xpcnn.Conv2d(3, 2, 3), xpcnn.AdaptiveAvgPool2d(1), xpcnn.Flatten()]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.build((None, 3, 8, 8))
    for reader in (ImageReader(16), ImageReader((5, 9)), ImageReader()):
        model.image_input = reader
    with pytest.raises(ValueError, match=r"shape \(N, 3, 2, 2\)"):
        model.image_input = ImageReader(2)


def test_a_reader_changed_behind_the_model_is_not_saved(tmp_path):
    model = model_of()
    model.image_input = ImageReader(4)
    model.image_input.mode = "L"
    with pytest.raises(ValueError, match="could not be loaded again: model.image_input"):
        model.save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


# -- what data sets know -------------------------------------------------------------------------


class Photos(np.ndarray):
    """An array that knows its classes, as a data set does."""


def photos(names=("a", "b", "c"), reader=None) -> Photos:
    x = np.random.default_rng(0).random((6, 3, 4, 4), dtype="float32").view(Photos)
    x.class_names = names
    x.image_reader = reader
    return x


Y = np.array([0, 1, 2] * 2)


def trained(x=None, **settings) -> xpcnn.Model:
    model = model_of()
    model.compile("sgd", "cross_entropy")
    model.fit(photos() if x is None else x, Y, verbose=0, **settings)
    return model


def test_fit_takes_over_what_the_data_knows():
    reader = ImageReader(4)
    model = trained(photos(reader=reader))
    assert model.class_names == ("a", "b", "c")
    assert model.image_input is reader
    model.fit(photos(reader=ImageReader(4)), Y, verbose=0)
    model.fit(np.asarray(photos()), Y, verbose=0)
    assert model.class_names == ("a", "b", "c")


def test_another_order_of_classes_is_an_error():
    model = trained()
    before = {name: value.copy() for name, value in model.state_dict().items()}
    other = photos(("b", "a", "c"))
    with pytest.raises(ValueError, match="fit: x has the same classes in another order, b, a, c"):
        model.fit(other, Y, verbose=0)
    with pytest.raises(ValueError, match="evaluate: x has the same classes in another order"):
        model.evaluate(other, Y)
    with pytest.raises(ValueError, match="evaluate: x has other classes, a, b, d"):
        model.evaluate(photos(("a", "b", "d")), Y)
    with pytest.raises(ValueError, match="fit: validation_data has the same classes in another"):
        model.fit(photos(), Y, validation_data=(other, Y), verbose=0)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert model.epoch == 1
    assert model.evaluate(photos(), Y)["loss"] > 0


def test_another_reader_is_an_error():
    model = trained(photos(reader=ImageReader(4)))
    with pytest.raises(ValueError, match="set model.image_input = data.image_reader first"):
        model.fit(photos(reader=ImageReader(4, resize="crop")), Y, verbose=0)


def test_names_that_do_not_fit_are_not_taken_over():
    with pytest.warns(UserWarning, match="does not take over the names of the classes: there are"):
        model = trained(photos(("a", "b")))
    assert model.class_names is None


def test_a_fit_that_fails_takes_over_nothing():
    model = model_of()
    model.compile("sgd", "cross_entropy")
    with pytest.raises(ValueError, match="batch_size"):
        model.fit(photos(reader=ImageReader(4)), Y, batch_size=0)
    assert model.class_names is model.image_input is None
