"""Training that goes on in another process: callbacks go on with what they knew."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import xpcnn
from xpcnn import ModelFileError
from xpcnn.training import saving
from xpcnn.training.callbacks import Callback, EarlyStopping, ModelCheckpoint


class Script(Callback):
    """Puts made-up validation losses in the place of the real ones, for those that follow."""

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, epoch, logs):
        logs["val_loss"] = self.values[epoch - 1]
        self.model.history.history["val_loss"][-1] = self.values[epoch - 1]


def model_of():
    model = xpcnn.Model([xpcnn.Linear(4, 2)], device="cpu", seed=0)
    model.compile("sgd", "cross_entropy")
    return model


def fit(model, epochs, callbacks):
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 4), dtype="float32"), rng.integers(0, 2, 12)
    options = {"validation_data": (x, y), "batch_size": 5, "verbose": 0}
    return model.fit(x, y, epochs=epochs, callbacks=callbacks, **options)


def weights(model):
    return np.array(model.state_dict()["0.weight"])


def stopping_of(**options):
    return EarlyStopping(patience=3, **options)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("how", ["saved afterwards", "checkpoint before", "checkpoint behind"])
def test_early_stopping_goes_on_as_if_nothing_had_been(cut, restore, how, tmp_path):
    """The best epoch is the third, and the sixth is the third in a row that is no better."""
    values = [3.0, 2.0, 1.0, 1.5, 1.2, 1.1, 0.5]
    through, stopping = model_of(), stopping_of(restore_best_weights=restore)
    fit(through, 7, [Script(values), stopping])
    assert stopping.stopped_epoch == 6

    path = tmp_path / "at"
    first = model_of()
    checkpoint = ModelCheckpoint(path, save_best_only=False)
    lists = {
        "saved afterwards": [Script(values), stopping_of(restore_best_weights=restore)],
        "checkpoint before": [
            Script(values), checkpoint, stopping_of(restore_best_weights=restore)
        ],
        "checkpoint behind": [
            Script(values), stopping_of(restore_best_weights=restore), checkpoint
        ],
    }  # fmt: skip
    fit(first, cut, lists[how])
    if how == "saved afterwards":
        first.save(path)
    resumed = xpcnn.Model.load(path, device="cpu")
    again = stopping_of(restore_best_weights=restore)
    fit(resumed, 7 - cut, [Script(values), again])
    assert (again.best, again.stopped_epoch) == (stopping.best, 6)
    assert resumed.history.epoch == [1, 2, 3, 4, 5, 6]
    if how != "saved afterwards" or not restore or cut <= 3:  # else training went on from another
        np.testing.assert_array_equal(weights(resumed), weights(through))


def test_best_weights_of_another_epoch_are_in_the_file(tmp_path):
    path = tmp_path / "at"
    checkpoint = ModelCheckpoint(path, save_best_only=False)
    fit(model_of(), 2, [Script([1.0, 0.5]), stopping_of(restore_best_weights=True), checkpoint])
    assert not [name for name in load_file(path) if name.startswith("callback:")]
    fit(model_of(), 2, [Script([1.0, 2.0]), stopping_of(restore_best_weights=True), checkpoint])
    names = sorted(name for name in load_file(path) if name.startswith("callback:"))
    assert names == ["callback:0:weights/0.bias", "callback:0:weights/0.weight"]
    other = model_of()
    other.load_state_dict(path)  # they are no weights of the model
    np.testing.assert_array_equal(weights(other), load_file(path)["0.weight"])


@pytest.mark.parametrize("place", ["before", "behind"])
def test_checkpoint_does_not_overwrite_a_better_file(tmp_path, place):
    values = [3.0, 1.0, 2.0, 1.5, 0.9]
    best, last = tmp_path / "best", tmp_path / "last"

    def callbacks():
        two = [ModelCheckpoint(best), ModelCheckpoint(last, save_best_only=False)]
        return [Script(values), *(two if place == "before" else reversed(two))]

    for epoch, in_file in [(1, 1), (2, 2), (3, 2), (4, 2), (5, 5)]:
        model = model_of() if epoch == 1 else xpcnn.Model.load(last, device="cpu")
        assert model.epoch == epoch - 1
        fit(model, 1, callbacks())
        assert xpcnn.Model.load(best, device="cpu").epoch == in_file


def test_a_resume_from_the_best_file_itself(tmp_path):
    best = tmp_path / "best"
    fit(model_of(), 3, [Script([3.0, 1.0, 2.0]), ModelCheckpoint(best)])
    resumed = xpcnn.Model.load(best, device="cpu")
    assert resumed.epoch == 2
    fit(resumed, 2, [Script([0.0, 0.0, 1.5, 0.5]), ModelCheckpoint(best)])
    assert xpcnn.Model.load(best, device="cpu").epoch == 4


def test_state_belongs_to_monitor_and_path(tmp_path):
    fit(model_of(), 2, [Script([1.0, 2.0]), ModelCheckpoint(tmp_path / "a")])
    model = xpcnn.Model.load(tmp_path / "a", device="cpu")
    fit(model, 1, [Script([0, 5.0]), ModelCheckpoint(tmp_path / "b")])
    assert (tmp_path / "b").exists()
    loss = ModelCheckpoint(tmp_path / "a", monitor="loss")
    fit(xpcnn.Model.load(tmp_path / "a", device="cpu"), 1, [loss])
    assert xpcnn.Model.load(tmp_path / "a", device="cpu").epoch == 2


def test_a_state_that_nobody_took_is_kept(tmp_path):
    path = tmp_path / "m"
    fit(model_of(), 2, [Script([1.0, 2.0]), ModelCheckpoint(path)])
    model = xpcnn.Model.load(path, device="cpu")
    model.save(path)
    model = xpcnn.Model.load(path, device="cpu")
    fit(model, 1, [])
    model.save(tmp_path / "other")
    model = xpcnn.Model.load(tmp_path / "other", device="cpu")
    fit(model, 1, [Script([0, 0, 1.5]), ModelCheckpoint(path)])
    assert xpcnn.Model.load(path, device="cpu").epoch == 1


def test_training_again_in_one_process_starts_afresh():
    model, stopping = model_of(), EarlyStopping(patience=1)
    fit(model, 5, [Script([1.0, 2.0, 3.0]), stopping])
    assert model.epoch == 2
    fit(model, 5, [Script([0, 0, 3.0, 2.0, 2.5]), stopping])
    assert model.epoch == 5


def test_a_training_that_was_stopped_starts_its_patience_anew(tmp_path):
    model = model_of()
    fit(model, 9, [Script([1.0, 2.0, 2.0, 2.0]), stopping_of()])
    assert model.epoch == 4
    model.save(tmp_path / "m")
    model = xpcnn.Model.load(tmp_path / "m", device="cpu")
    stopping = stopping_of()
    fit(model, 9, [Script([2.0] * 9), stopping])
    assert (model.epoch, stopping.best) == (7, 1.0)


def test_early_stopping_starts_afresh_after_training_without_it(tmp_path):
    model = model_of()
    fit(model, 2, [Script([1.0, 2.0]), stopping_of()])
    fit(model, 3, [])
    model.save(tmp_path / "m")
    model = xpcnn.Model.load(tmp_path / "m", device="cpu")
    stopping = stopping_of()
    fit(model, 1, [Script([0] * 5 + [7.0]), stopping])
    assert stopping.best == 7.0


class Counting(Callback):
    """A callback of a user that keeps a number and an array."""

    def __init__(self, step=1):
        self.step = step
        self.count = 0
        self.array = np.zeros(2)

    def on_epoch_end(self, epoch, logs):
        self.count += self.step
        self.array = self.array + self.step

    def state_dict(self):
        return {"count": np.int64(self.count), "array": self.array}

    def load_state_dict(self, state):
        self.count, self.array = state["count"], state["array"]


def test_callbacks_of_users_have_states_too(tmp_path):
    model = model_of()
    fit(model, 3, [Counting(), Counting(2)])
    model.save(tmp_path / "m")
    model = xpcnn.Model.load(tmp_path / "m", device="cpu")
    second, first, other = Counting(2), Counting(), Counting(3)
    fit(model, 1, [second, first, other])
    assert (first.count, second.count, other.count) == (4, 8, 3)
    np.testing.assert_array_equal(second.array, [8, 8])


@pytest.mark.parametrize(
    "callbacks",
    [
        3,
        [3],
        [{"class": "EarlyStopping"}],
        [{"class": 1, "settings": {}, "state": {}}],
        [{"class": "EarlyStopping", "settings": [], "state": {}}],
    ],
    ids=str,
)
def test_states_that_are_none(tmp_path, callbacks):
    model = model_of()
    model.build((None, 4))
    model.save(tmp_path / "m")
    tensors, description = saving.read_file(tmp_path / "m")
    saving.write_file(tmp_path / "m", tensors, description | {"callbacks": callbacks})
    with pytest.raises(ModelFileError):
        xpcnn.Model.load(tmp_path / "m")


@pytest.mark.parametrize(
    "state",
    [{}, {"best": "a", "epoch": 1, "waited": 0}, {"best": 1.0, "epoch": None, "waited": 0},
     {"best": 1.0, "epoch": 1, "waited": -1}, {"best": 1.0, "epoch": 1, "waited": 1.5}],
    ids=str,
)  # fmt: skip
def test_a_state_that_does_not_fit_its_callback(tmp_path, state):
    model = model_of()
    fit(model, 1, [stopping_of()])
    model.save(tmp_path / "m")
    tensors, description = saving.read_file(tmp_path / "m")
    (entry,) = description["callbacks"]
    text = json.loads(json.dumps(entry | {"state": state}))
    saving.write_file(tmp_path / "m", tensors, description | {"callbacks": [text]})
    model = xpcnn.Model.load(tmp_path / "m", device="cpu")
    with pytest.raises(ValueError, match="EarlyStopping: the model's file has an invalid state"):
        fit(model, 1, [stopping_of()])


def test_files_of_earlier_versions_have_no_states(tmp_path):
    model = model_of()
    model.build((None, 4))
    model.save(tmp_path / "m")
    tensors, description = saving.read_file(tmp_path / "m")
    del description["callbacks"]
    saving.write_file(tmp_path / "m", tensors, description)
    fit(xpcnn.Model.load(tmp_path / "m", device="cpu"), 1, [stopping_of()])
