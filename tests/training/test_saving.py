"""Model files: exact resumption, atomic writing, and files that nobody should trust."""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import xpcnn
from xpcnn import ModelFileError
from xpcnn._xp import to_numpy
from xpcnn.training import saving


def data():
    rng = np.random.default_rng(3)
    x = rng.random((48, 2, 8, 8), dtype="float32")
    return x, (x.sum(axis=(1, 2, 3)) > 64).astype(int)


def network(device="cpu", **schedule):
    body = xpcnn.Sequential(xpcnn.Conv2d(4, 4, 3, padding=1), xpcnn.BatchNorm2d(4))
    layers = [
        xpcnn.Conv2d(out_channels=4, kernel_size=3, padding=((1, 0), (0, 1))),
        xpcnn.ReLU(),
        xpcnn.Residual(body),
        xpcnn.Parallel([xpcnn.MaxPool2d(2), xpcnn.AvgPool2d(2)]),
        xpcnn.Dropout2d(0.2),
        xpcnn.Flatten(),
        xpcnn.Dropout(0.3),
        xpcnn.Linear(out_features=2),
    ]
    model = xpcnn.Model(layers, device=device, seed=11)
    optimizer = xpcnn.optim.Adam(lr=0.01, **schedule)
    model.compile(optimizer, xpcnn.CrossEntropyLoss(label_smoothing=0.1), ["accuracy"])
    return model


def states(model):
    return {name: to_numpy(a) for name, a in model.state_dict().items()}


@pytest.fixture
def saved(tmp_path):
    """Return a trained model and its file."""
    x, y = data()
    model = network()
    model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    path = tmp_path / "model.safetensors"
    model.save(path)
    return model, path


@pytest.mark.parametrize(
    "schedule",
    [
        {},
        {"schedule": xpcnn.optim.StepLR(1, 0.5)},
        {"schedule": xpcnn.optim.OneCycleLR(0.02, total_steps=20)},
        {"schedule": xpcnn.optim.ReduceLROnPlateau(patience=0, threshold=10.0)},
        {"schedule": xpcnn.optim.Warmup(4, after=xpcnn.optim.ReduceLROnPlateau(patience=0))},
    ],
    ids=["constant", "epochs", "steps", "plateau", "warmup"],
)
def test_resumed_run_is_bit_identical(schedule, tmp_path):
    x, y = data()
    through = network(**schedule)
    if through.optimizer.schedule is not None:
        through.optimizer.schedule.reset()
    expected = through.fit(x, y, epochs=4, batch_size=10, validation_split=0.25, verbose=0)
    final = states(through)

    stopped = network(**schedule)
    if stopped.optimizer.schedule is not None:
        stopped.optimizer.schedule.reset()
    stopped.fit(x, y, epochs=2, batch_size=10, validation_split=0.25, verbose=0)
    stopped.save(tmp_path / "half")
    resumed = xpcnn.Model.load(tmp_path / "half", device="cpu")
    resumed.fit(x, y, epochs=2, batch_size=10, validation_split=0.25, verbose=0)

    for name, array in states(resumed).items():
        np.testing.assert_array_equal(array, final[name], err_msg=name)
    assert resumed.history.history == expected.history
    assert (resumed.epoch, resumed.step) == (4, 4 * 4)


def test_loaded_model_predicts_the_same(saved, device):
    model, path = saved
    x, _ = data()
    loaded = xpcnn.Model.load(path, device=device)
    assert loaded.device.name == device.name
    np.testing.assert_allclose(loaded.predict(x), model.predict(x), rtol=1e-4, atol=1e-5)


def test_loaded_model_knows_everything(saved):
    model, path = saved
    loaded = xpcnn.Model.load(path, device="cpu")
    assert repr(loaded.layers) == repr(model.layers)
    assert loaded.history == model.history
    assert repr(loaded.optimizer) == repr(model.optimizer)
    assert repr(loaded.loss) == repr(model.loss)
    assert [m.name for m in loaded.metrics] == ["accuracy"]


def test_frozen_parameters_stay_frozen(saved):
    model, path = saved
    model.parameters()["0.weight"].requires_grad = False
    model.save(path)
    loaded = xpcnn.Model.load(path, device="cpu")
    assert [n for n, p in loaded.parameters().items() if not p.requires_grad] == ["0.weight"]


def test_weights_are_readable_by_other_programs(saved):
    model, path = saved
    tensors = load_file(path)
    np.testing.assert_array_equal(tensors["0.weight"], model.state_dict()["0.weight"])


def test_unbuilt_model_cannot_be_saved(tmp_path):
    with pytest.raises(RuntimeError, match="not built"):
        network().save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


class Doubling(xpcnn.Layer):
    """A layer of the user's own."""

    def __init__(self, times=2.0):
        self.times = times

    def _forward(self, xp, x, training):
        return x * self.times, None

    def _backward(self, xp, dy, saved, need_dx):
        return dy * self.times


def test_custom_layers_must_be_named(tmp_path):
    model = xpcnn.Model([Doubling(3.0), xpcnn.Linear(2, 2)], device="cpu", seed=0)
    model.build((1, 2))
    model.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match="custom_layers"):
        xpcnn.Model.load(tmp_path / "m")
    loaded = xpcnn.Model.load(tmp_path / "m", device="cpu", custom_layers={"Doubling": Doubling})
    assert loaded.layers[0].times == 3.0


# -- Atomic writing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [(".", IsADirectoryError, "it is a folder"), ("nix/m", FileNotFoundError, "no folder '.*nix'")],
)
def test_saving_where_no_file_can_be(saved, tmp_path, path, error, message):
    with pytest.raises(error, match=f"cannot save to .*{message}"):
        saved[0].save(tmp_path / path)


def test_failed_save_leaves_the_old_file(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
@pytest.mark.parametrize("moment", ["in mid-write", "before the move"])
def test_killed_save_leaves_the_old_file_whole(tmp_path, moment):
    """The second save of a process is killed at its worst moment; the first must still be there."""
    program = textwrap.dedent(
        """
        import os, signal, sys
        import xpcnn

        model = xpcnn.Model([xpcnn.Linear(40, 50)], device="cpu", seed=0)
        model.build((1, 40))
        model.save(sys.argv[1])
        plain_open = os.fdopen

        def die(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)

        class Dying:
            def __init__(self, file):
                self.file = file

            def __enter__(self):
                return self

            def __exit__(self, *arguments):
                pass

            def write(self, content):
                self.file.write(content[: len(content) // 2])
                self.file.flush()
                die()

        def open_dying(handle, mode):
            file = plain_open(handle, mode)
            return Dying(file) if "w" in mode else file

        if sys.argv[2] == "in mid-write":
            os.fdopen = open_dying
        else:
            os.replace = die
        model.epoch = 7
        model.save(sys.argv[1])
        """
    )
    path = tmp_path / "model"
    done = subprocess.run([sys.executable, "-c", program, str(path), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    kept = xpcnn.Model.load(path, device="cpu")
    assert kept.epoch == 0
    assert len(list(tmp_path.iterdir())) == 2
    kept.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


# -- Files that cannot be trusted ------------------------------------------------------------------


def rewrite(path, **changes):
    """Replace parts of the description inside a model file."""
    tensors, description = saving.read_file(path)
    saving.write_file(path, tensors, description | changes)


def bad_layer(**config):
    return [{"class": "Linear", "config": {"in_features": 4, "out_features": 2} | config}]


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 99},
        {"layers": "none"},
        {"layers": [{"class": "os.system", "config": {}}]},
        {"layers": [{"class": ["Linear"], "config": {}}]},
        {"layers": [{"class": "Layer", "config": {}}]},
        {"layers": bad_layer(out_features=10**12)},
        {"layers": bad_layer(out_features="2")},
        {"layers": bad_layer(surprise=1)},
        {"layers": []},
        {"dtype": "complex128"},
        {"seed": -1},
        {"seed": "x"},
        {"input_shape": [10**9]},
        {"input_shape": ["a", "b"]},
        {"input_shape": None},
        {"history": {"surprise": 1}},
        {"history": {"epoch": 3, "history": {}}},
        {"history": {"epoch": [1], "history": []}},
        {"history": {"epoch": [1], "history": {"loss": [1.0, 2.0]}}},
        {"history": {"epoch": [1], "history": {"loss": ["low"]}}},
        {"epoch": -1},
        {"step": 1.5},
        {"loss": {"class": "eval", "config": {}}},
        {"optimizer": {"class": "Adam", "config": {"lr": -1}}},
        {"metrics": [{"class": "Model", "config": {}}]},
        {"epoch": "many"},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_inconsistent_description(saved, changes):
    _, path = saved
    rewrite(path, **changes)
    with pytest.raises(ModelFileError, match="model.safetensors"):
        xpcnn.Model.load(path, device="cpu")


def test_deeply_nested_layers(saved):
    _, path = saved
    tensors, description = saving.read_file(path)
    nested = '{"class":"Sequential","config":{"layers":[' * 5000 + "]}}" * 5000
    text = json.dumps(description | {"layers": ["NESTED"]}).replace('"NESTED"', nested)
    save_file(tensors, path, metadata={saving.FORMAT: text})
    with pytest.raises(ModelFileError):
        xpcnn.Model.load(path, device="cpu")


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_truncated_file(saved, kept):
    _, path = saved
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match="truncated, damaged"):
        xpcnn.Model.load(path, device="cpu")


def test_missing_tensor_is_named(saved):
    _, path = saved
    tensors, description = saving.read_file(path)
    del tensors["7.bias"]
    saving.write_file(path, tensors, description)
    with pytest.raises(ModelFileError, match=r"missing: 7\.bias"):
        xpcnn.Model.load(path, device="cpu")


def test_header_that_promises_too_much(tmp_path):
    path = tmp_path / "huge"
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    with pytest.raises(ModelFileError):
        xpcnn.Model.load(path)
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(ModelFileError):
        xpcnn.Model.load(path)


def test_pickle_is_not_opened(tmp_path):
    marker = tmp_path / "executed"

    class Trap:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    path = tmp_path / "trap"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelFileError):
        xpcnn.Model.load(path)
    assert not marker.exists()


def test_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file"):
        xpcnn.Model.load(tmp_path / "absent")
    with pytest.raises(ModelFileError):
        xpcnn.Model.load(tmp_path)
    save_file({"a": np.zeros(2, dtype="float32")}, tmp_path / "weights")
    with pytest.raises(ModelFileError, match="load_state_dict"):
        xpcnn.Model.load(tmp_path / "weights")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX systems")
def test_only_files_are_loaded(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="it is a pipe|is a pipe, not a file"):
        xpcnn.Model.load(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="is a device, not a file"):
        xpcnn.Model.load("/dev/zero")


def test_a_file_that_may_not_be_read_is_said_so(saved, monkeypatch):
    plain = os.open

    def refuse(path, *arguments):
        if str(path).endswith("model.safetensors"):
            raise PermissionError(13, "Permission denied")
        return plain(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match="no permission to read .*model.safetensors"):
        xpcnn.Model.load(saved[1])
    with pytest.raises(PermissionError, match="no permission to read .*model.safetensors"):
        saved[0].load_state_dict(saved[1])


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX systems")
def test_mode_and_link_are_kept(saved, tmp_path):
    model, path = saved
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    model.epoch = 9
    model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert xpcnn.Model.load(path, device="cpu").epoch == 9


@pytest.mark.parametrize("entry", ["[],", '{"a":0},'])
def test_header_full_of_small_objects(tmp_path, entry):
    """A few bytes of JSON each that would be objects of a hundred bytes in memory."""
    text = "[" + entry * (40_000_000 // len(entry)) + "0]"
    path = tmp_path / "bomb"
    save_file({}, path, metadata={saving.FORMAT: text})
    del text
    with pytest.raises(ModelFileError, match="describes objects of about"):
        xpcnn.Model.load(path)


def test_file_of_very_many_layers(saved):
    """It is refused before they are made, and as it cannot be loaded, it is not written."""
    _, path = saved
    tensors, description = saving.read_file(path)
    layers = [{"class": "ReLU", "config": {}}] * 60_000
    before = path.read_bytes()
    with pytest.raises(ValueError, match="describes objects of about"):
        saving.write_file(path, tensors, description | {"layers": layers})
    assert path.read_bytes() == before
    text = json.dumps(description | {"layers": layers})
    save_file(tensors, path, metadata={saving.FORMAT: text})
    with pytest.raises(ModelFileError, match="describes objects of about"):
        xpcnn.Model.load(path)
