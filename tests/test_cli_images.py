"""The command xpcnn on folders of image files."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from xpcnn.cli import augment, image_data, main
from xpcnn.cli import train as train_command
from xpcnn.data import ImageFolder, ImageReader, train_test_split

Image = pytest.importorskip("PIL.Image")
SIZE = 16


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words: object) -> int:
    return main([str(word) for word in words])


def draw(path: Path, kind: str, rng: np.random.Generator) -> None:
    """Save a bright line on a dark ground that lies or stands, in some colour."""
    levels = rng.integers(0, 80, (24, 30, 3), dtype=np.uint8)
    at = int(rng.integers(6, 18))
    colour = rng.integers(180, 256, 3)
    if kind == "flat":
        levels[at : at + 4] = colour
    else:
        levels[:, at : at + 4] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)


def photos_in(root: Path, count: int, names=("flat", "tall"), seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = names[number % len(names)]
        draw(root / kind / f"{number:03}.png", kind, rng)
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return photos_in(tmp_path_factory.mktemp("data") / "photos", 60)


@pytest.fixture(scope="module")
def model_file(photos, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "photo.safetensors"
    assert train(photos, "--epochs", 10, "--lr", 0.003, "--save", path) == 0
    return path


def train(photos: Path, *more: object) -> int:
    words = ("train", "--data", photos, "--device", "cpu", "--size", SIZE, "--epochs", 1)
    return run(*words, "--batch-size", 12, *more)


def resume(photos: Path, *more: object) -> int:
    return run("train", "--data", photos, "--device", "cpu", "--batch-size", 12, *more)


# -- train ---------------------------------------------------------------------------------------


def test_train_learns_a_folder_of_classes(photos, capsys):
    assert train(photos, "--epochs", 10, "--lr", 0.003) == 0
    out = capsys.readouterr().out
    assert "classes: flat, tall\nreading 60 images\n" in out
    assert "48 training images, batches of 12, 10 epochs\n" in out
    assert "saved to photo-photos.safetensors" in out
    found = re.search(r"test accuracy (\d\.\d+) \((\d+) of 12 images\)", out)
    assert found is not None
    assert float(found[1]) >= 0.9


def test_the_model_holds_names_reader_and_scaling(model_file, photos):
    model = xpcnn.Model.load(model_file, device="cpu")
    assert model.class_names == ("flat", "tall")
    assert model.image_input.config() == ImageReader(SIZE).config()
    assert isinstance(model.layers[0], xpcnn.Rescale)
    assert model.epoch == 10
    _, test = train_test_split(ImageFolder(photos, SIZE))
    x, y = test.load()
    assert np.mean(model.predict(x.astype("float32")).argmax(axis=1) == y) >= 0.9


def test_settings_of_the_images(photos):
    words = (
        "--size",
        "20x24",
        "--resize",
        "crop",
        "--test-size",
        "0.4",
        "--save",
        "m",
        "--seed",
        5,
    )
    assert train(photos, *words) == 0
    model = xpcnn.Model.load("m", device="cpu")
    assert model.image_input.config() == ImageReader((20, 24), resize="crop").config()
    assert model.input_shape == (None, 3, 20, 24)
    assert (model.step, model.seed) == (3, 5)  # 36 of 60 images in batches of 12


@pytest.mark.parametrize("tests", [["test"], ["val"], ["test", "val"], ["validation"]])
def test_folders_to_train_and_to_test_with(tmp_path, tests, capsys):
    photos_in(tmp_path / "p" / "train", 20)
    for at, name in enumerate(tests):
        photos_in(tmp_path / "p" / name, 6 + 2 * at, seed=1 + at)
    assert train(tmp_path / "p", "--save", "m") == 0
    captured = capsys.readouterr()
    assert "20 training images" in captured.out
    assert "of 6 images)" in captured.out
    assert ("val_loss" in captured.err) == (len(tests) == 2)
    assert train(tmp_path / "p", "--test-size", 0.5) == 1
    assert "--test-size has no effect" in capsys.readouterr().err


def test_a_class_that_is_only_tested_is_an_error(tmp_path, capsys):
    photos_in(tmp_path / "p" / "train", 20)
    photos_in(tmp_path / "p" / "test", 6, ("flat", "round"))
    assert train(tmp_path / "p") == 1
    err = capsys.readouterr().err
    assert "flat, round, and round is not among the expected flat, tall" in err


@pytest.mark.parametrize("words", [(), ("--labels", "labels.csv")])
def test_a_table_of_labels(tmp_path, words, capsys):
    photos_in(tmp_path / "p" / "all", 20)
    files = sorted((tmp_path / "p").rglob("*.png"))
    lines = [f"{f.relative_to(tmp_path / 'p').as_posix()};{f.parent.name} line" for f in files]
    (tmp_path / "p" / "labels.csv").write_text("\n".join(["file;label", *lines]))
    assert train(tmp_path / "p", *words) == 0
    assert "classes: flat line, tall line\n" in capsys.readouterr().out


def test_a_training_that_was_interrupted_goes_on_exactly(photos, monkeypatch, capsys):
    """With the same split of the images, learning rates and draws."""
    words = ("--epochs", 4, "--seed", 3)
    assert train(photos, *words, "--save", "whole") == 0
    fit = xpcnn.Model.fit

    def interrupted(model, *data, epochs, **settings):
        fit(model, *data, epochs=2, **settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(xpcnn.Model, "fit", interrupted)
        assert train(photos, *words, "--save", "part") == 130
    assert resume(photos, "--resume", "part", "--epochs", 4) == 0
    whole, part = (xpcnn.Model.load(name, device="cpu").state_dict() for name in ("whole", "part"))
    for key, value in whole.items():
        np.testing.assert_array_equal(part[key], value)
    assert "test accuracy" in capsys.readouterr().out


def test_more_epochs_move_the_end_of_the_cycle(photos):
    """4 steps an epoch: the rate is near its end after as many as there are now."""
    assert train(photos, "--epochs", 2, "--save", "m") == 0
    cycle = xpcnn.Model.load("m", device="cpu").optimizer.schedule
    assert (cycle.max_lr, cycle.total_steps) == (0.003, 8)
    assert resume(photos, "--resume", "m", "--epochs", 5, "--lr", 0.002) == 0
    model = xpcnn.Model.load("m", device="cpu")
    cycle, rates = model.optimizer.schedule, model.history.history["lr"]
    assert (cycle.max_lr, cycle.total_steps) == (0.002, 20)
    assert rates[-1] < 0.002 / 10 < rates[-2]


def test_ignored_files_are_told(tmp_path, capsys):
    photos_in(tmp_path / "p", 20)
    (tmp_path / "p" / "flat" / "notes.txt").write_text("not an image")
    assert train(tmp_path / "p") == 0
    out = capsys.readouterr().out
    assert "left out: 1 files that are no images by their names, such as" in out
    assert "notes.txt" in out


def test_what_cannot_be_trained_on(tmp_path, capsys):
    photos_in(tmp_path / "p", 20)
    (tmp_path / "p" / "flat" / "broken.jpg").write_bytes(b"nonsense")
    assert train(tmp_path / "p") == 1
    err = capsys.readouterr().err
    assert "images cannot be read; remove or replace them" in err
    assert "broken.jpg" in err
    photos_in(tmp_path / "one", 5, ("flat",))
    assert train(tmp_path / "one") == 1
    assert "has one class, flat; there is nothing to tell apart" in capsys.readouterr().err
    photos_in(tmp_path / "few", 3)
    assert train(tmp_path / "few") == 1
    assert "the class 'tall' in few has one image" in capsys.readouterr().err.replace(
        str(tmp_path) + "/", ""
    )
    assert list(tmp_path.glob("*.safetensors")) == []


@pytest.mark.parametrize("kept", [1000, 10**6])
def test_images_to_watch_in_training(tmp_path, kept, monkeypatch, capsys):
    monkeypatch.setattr(image_data, "KEPT", kept)
    for at, name in enumerate(("train", "test", "val")):
        photos_in(tmp_path / "p" / name, 12, seed=at)
    assert train(tmp_path / "p") == 0
    assert "val_loss" in capsys.readouterr().err


def test_images_that_are_too_many_for_memory_are_read_in_every_epoch(photos, monkeypatch, capsys):
    """With the same numbers: they come in the same order."""
    assert train(photos, "--save", "whole", "--epochs", 2) == 0
    whole = capsys.readouterr()
    monkeypatch.setattr(image_data, "KEPT", 1000)
    monkeypatch.setattr(train_command, "get_num_threads", lambda: 2)
    assert train(photos, "--save", "parts", "--epochs", 2) == 0
    parts = capsys.readouterr()
    assert parts.out.splitlines()[-1] == whole.out.splitlines()[-1]
    states = [xpcnn.Model.load(name, device="cpu").state_dict() for name in ("whole", "parts")]
    for key, value in states[0].items():
        np.testing.assert_array_equal(states[1][key], value)
    assert evaluate("whole", photos) == 0
    assert "12 of the 60 images" in capsys.readouterr().err


def test_images_too_small_for_the_network(photos, capsys):
    assert train(photos, "--size", "4x9", "--model", "simple") == 1
    err = capsys.readouterr().err
    assert "--size 4x9 does not suit the network 'simple': Conv2d '1': the kernel" in err


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (17, 31)])
def test_the_network_for_photographs_takes_images_of_any_size(size):
    model = xpcnn.Model(xpcnn.networks.photo(classes=3), device="cpu", seed=0)
    assert model.predict(np.zeros((2, 3, *size), dtype="float32")).shape == (2, 3)


def test_few_images_of_each_class_are_split_all_the_same(tmp_path, capsys):
    photos_in(tmp_path / "p", 6, ("flat", "tall"))
    assert train(tmp_path / "p") == 0
    out = capsys.readouterr().out
    assert "4 training images" in out
    assert "of 2 images)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --size 0", "expected a number such as 64 or 48x64, got '0'"),
        ("train --size 1x2x3", "expected a number such as 64"),
        ("train --size big", "expected a number such as 64"),
        ("train --size 64", "--size: only for a folder of image files, and --data is digits"),
        ("train --labels a.csv", "--labels: only for a folder of image files"),
        ("train --test-size 0.2", "--test-size: only for a folder of image files"),
        ("train --test-size 1", "a share between 0 and 1, got '1'"),
        ("train --test-size 0", "a number above 0, got '0'"),
        ("train --resize stretch", "invalid choice: 'stretch'"),
        ("train --augment flop", "unknown augmentation 'flop'; choose of"),
        ("train --resume m --augment flip", "--augment flip: not allowed with --resume"),
        ("train --resume m --size 8", "--size: not allowed with --resume"),
        ("train --augment mixup,cutmix", "choose one of mixup and cutmix"),
        ("train --augment flip,", "unknown augmentation ''"),
        ("train --augment flip,flip", "'flip' stands there twice"),
        ("evaluate --all", "--all: only for a folder of image files, and --data is digits"),
        ("evaluate --labels a.csv", "--labels: only for a folder of image files"),
        ("evaluate --test-size 0.1", "--test-size: only for a folder of image files"),
        ("predict a.png --top 0", "whole number of at least 1, got '0'"),
        ("predict a.png --top 2 --json", "--top: --json has the probabilities of all classes"),
    ],
)
def test_wrong_use(words, message, capsys):
    assert run(*words.split()) == 2
    assert message in capsys.readouterr().err


# -- augmentation --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", augment.NAMES)
def test_each_augmentation_trains_and_is_left_out_of_predictions(photos, name, model_file):
    assert train(photos, "--augment", name, "--save", "m") == 0
    model = xpcnn.Model.load("m", device="cpu")
    assert predict("m", photos / "flat" / "000.png") == 0
    x = ImageFolder(photos, SIZE).load()[0][:4].astype("float32")
    np.testing.assert_array_equal(model.predict(x), model.predict(x))
    added = len(model.layers) - len(xpcnn.Model.load(model_file, device="cpu").layers)
    assert added == (name in augment.LAYERS)


def test_augmentations_of_digits(capsys):
    words = ("--epochs", 1, "--device", "cpu", "--model", "mlp", "--batch-size", 500)
    assert run("train", "--augment", "noise,color,crop", *words, "--save", "m") == 0
    model = xpcnn.Model.load("m", device="cpu")
    kinds = [xpcnn.RandomCrop, xpcnn.ColorJitter, xpcnn.GaussianNoise, xpcnn.Flatten]
    assert [type(layer) for layer in model.layers[:4]] == kinds
    assert model.layers[0].size == (28, 28)


def test_mixtures_are_no_layers_and_may_be_given_again(photos, capsys):
    assert train(photos, "--augment", "mixup", "--save", "m") == 0
    assert resume(photos, "--resume", "m", "--epochs", 2, "--augment", "cutmix") == 0
    assert xpcnn.Model.load("m", device="cpu").epoch == 2


# -- evaluate ------------------------------------------------------------------------------------


def evaluate(model_file: Path, data: Path, *words: object) -> int:
    return run("evaluate", "--device", "cpu", "--model", model_file, "--data", data, *words)


def test_evaluate_prints_a_report_of_the_images_that_were_not_trained_on(
    model_file, photos, capsys
):
    metrics = pytest.importorskip("sklearn.metrics")
    assert evaluate(model_file, photos) == 0
    captured = capsys.readouterr()
    assert "12 of the 60 images in" in captured.err
    assert "--all measures all" in captured.err
    _, test = train_test_split(ImageFolder(photos, SIZE))
    x, y = test.load()
    model = xpcnn.Model.load(model_file, device="cpu")
    guessed = model.predict(x.astype("float32")).argmax(axis=1)
    line, _, report = captured.out.split("\n", 2)
    loss = model.evaluate(x.astype("float32"), y)["loss"]
    right = int((guessed == y).sum())
    assert line == f"test accuracy {right / 12:.4f} ({right} of 12 images), loss {loss:.4f}"
    expected = metrics.classification_report(y, guessed, target_names=["flat", "tall"], digits=4)
    assert report.strip() == expected.strip()


def test_evaluate_prints_json(model_file, photos, capsys):
    metrics = pytest.importorskip("sklearn.metrics")
    assert evaluate(model_file, photos, "--all", "--json") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    x, y = ImageFolder(photos, SIZE).load()
    model = xpcnn.Model.load(model_file, device="cpu")
    guessed = model.predict(x.astype("float32")).argmax(axis=1)
    assert found["images"] == 60
    assert found["accuracy"] == pytest.approx((guessed == y).mean())
    assert found["loss"] == pytest.approx(model.evaluate(x.astype("float32"), y)["loss"])
    assert found["report"] == metrics.classification_report(
        y, guessed, target_names=["flat", "tall"], output_dict=True
    )


def test_classes_are_compared_by_their_names(model_file, tmp_path, capsys):
    photos_in(tmp_path / "some", 6, ("tall",))
    assert evaluate(model_file, tmp_path / "some", "--all", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == 1.0
    assert found["report"]["tall"]["support"] == 6
    assert "flat" not in found["report"]
    photos_in(tmp_path / "other", 6, ("tall", "round"))
    assert evaluate(model_file, tmp_path / "other", "--all") == 1
    err = capsys.readouterr().err
    assert "are round, tall, and round is not among the expected flat, tall" in err


def test_evaluate_the_folder_of_tests(model_file, tmp_path, capsys):
    photos_in(tmp_path / "p" / "train", 4)
    photos_in(tmp_path / "p" / "val", 10, seed=5)
    assert evaluate(model_file, tmp_path / "p") == 0
    captured = capsys.readouterr()
    assert "of 10 images)" in captured.out
    assert captured.err == ""
    assert evaluate(model_file, tmp_path / "p", "--all") == 1
    assert "has a folder 'val' to test with" in capsys.readouterr().err


def test_evaluate_a_table_of_labels(model_file, tmp_path, capsys):
    photos_in(tmp_path / "p" / "all", 8)
    files = sorted((tmp_path / "p").rglob("*.png"))
    lines = [f"{f.relative_to(tmp_path / 'p').as_posix()},{f.parent.name}" for f in files]
    (tmp_path / "p" / "a.csv").write_text("\n".join(lines))
    (tmp_path / "p" / "b.csv").write_text("")
    assert evaluate(model_file, tmp_path / "p", "--labels", "a.csv", "--test-size", 0.5) == 0
    assert "of 4 images)" in capsys.readouterr().out
    assert evaluate(model_file, tmp_path / "p") == 1
    assert "are all, and all is not among the expected flat, tall" in capsys.readouterr().err


def test_evaluate_a_model_with_a_single_column(photos, capsys):
    pool = [xpcnn.AdaptiveAvgPool2d(1), xpcnn.Flatten(), xpcnn.Linear(3, 1)]
    small_model("m", *pool, names=("flat", "tall"), loss="bce_with_logits", reader=ImageReader(2))
    assert evaluate("m", photos, "--all", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    x, y = ImageFolder(photos, 2).load()
    scores = xpcnn.Model.load("m", device="cpu").predict(x.astype("float32"))[:, 0]
    assert found["accuracy"] == pytest.approx(np.mean((scores > 0) == y))
    losses = np.log1p(np.exp(-np.where(y == 1, scores, -scores).astype(float)))
    assert found["loss"] == pytest.approx(losses.mean(), abs=1e-6)


def test_evaluate_a_model_of_several_answers(photos, capsys):
    small_model("m", xpcnn.Flatten(), names=list("abcdefghijkl"), loss="bce_with_logits")
    model = xpcnn.Model.load("m", device="cpu")
    model.class_names = ["flat", "tall", *"abcdefghij"]
    model.save("m")
    assert evaluate("m", photos, "--all") == 1
    assert "12 answers of their own (its loss is BCEWithLogitsLoss)" in capsys.readouterr().err


# -- predict -------------------------------------------------------------------------------------


def predict(model_file: Path, *words: object) -> int:
    return run("predict", "--device", "cpu", "--model", model_file, *words)


def expected(model_file: Path, path: Path) -> np.ndarray:
    """Work out the probabilities of an image by the layers alone."""
    model = xpcnn.Model.load(model_file, device="cpu")
    picture = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    x = np.asarray(picture, np.float32).transpose(2, 0, 1)[None]
    scores = model.predict(np.ascontiguousarray(x))[0].astype(float)
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def test_predict_prints_a_table(model_file, photos, capsys):
    files = [photos / "flat" / "000.png", photos / "tall" / "001.png"]
    assert predict(model_file, *files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "class", "probability"]
    assert len(lines) == 3
    for line, file, name in zip(lines[1:], files, ("flat", "tall"), strict=True):
        assert line.split() == [str(file), name, f"{expected(model_file, file).max():.4f}"]
    assert len({line.index("tall" if "tall/" in line else "flat") for line in lines[1:]}) == 1


def test_predict_the_most_probable_classes(model_file, photos, capsys):
    file = photos / "tall" / "001.png"
    assert predict(model_file, file, "--top", 5) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    p = expected(model_file, file)
    assert first.split() == [str(file), "tall", f"{p[1]:.4f}"]
    assert second.split() == ["flat", f"{p[0]:.4f}"]


def test_predict_prints_json(model_file, photos, capsys):
    good = photos / "tall" / "001.png"
    Path("bad.png").write_text("no image")
    assert predict(model_file, good, "bad.png", "missing.png", "--json") == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    p = expected(model_file, good)
    assert found[0] == {
        "file": str(good),
        "class": 1,
        "name": "tall",
        "probability": pytest.approx(p[1], abs=1e-6),
        "probabilities": {
            "flat": pytest.approx(p[0], abs=1e-6),
            "tall": pytest.approx(p[1], abs=1e-6),
        },
    }
    assert set(found[1]) == set(found[2]) == {"file", "error"}
    assert "cannot read bad.png as an image" in found[1]["error"]
    assert "No such file" in found[2]["error"]
    assert "2 of 3 images could not be read" in captured.err


def test_predict_goes_on_after_a_bad_image(model_file, photos, capsys):
    Path("bad.png").write_text("no image")
    assert predict(model_file, "bad.png", photos / "flat" / "000.png") == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "cannot read bad.png" in captured.err
    assert predict(model_file, "bad.png") == 1
    assert capsys.readouterr().out == ""
    assert predict(model_file, "bad.png", "--json") == 1
    assert [set(one) for one in json.loads(capsys.readouterr().out)] == [{"file", "error"}]


def test_invert_is_for_models_without_a_reader(model_file, photos, capsys):
    assert predict(model_file, "--invert", photos / "flat" / "000.png") == 1
    assert "--invert has no effect: the model in" in capsys.readouterr().err


def small_model(path: str, *layers, names=None, reader=None, loss=None, channels=3):
    model = xpcnn.Model([xpcnn.Rescale(1 / 255), *layers], device="cpu", seed=1)
    model.build((None, channels, 2, 2))
    if loss is not None:
        model.compile("sgd", loss)
    model.class_names, model.image_input = names, reader
    model.save(path)
    return model


@pytest.mark.parametrize(
    ("names", "shown"),
    [(("no", "yes"), ["no", "yes"]), (("dog",), ["not dog", "dog"]), (None, ["0", "1"])],
)
def test_a_single_column_is_the_answer_yes(names, shown, capsys):
    pool = [xpcnn.AdaptiveAvgPool2d(1), xpcnn.Flatten(), xpcnn.Linear(3, 1)]
    small_model("m", *pool, names=names, loss="bce_with_logits")
    Image.new("RGB", (5, 5), (255, 0, 51)).save("a.png")
    assert predict("m", "a.png", "--json") == 0
    found = json.loads(capsys.readouterr().out)[0]
    model = xpcnn.Model.load("m", device="cpu")
    weight, bias = (np.asarray(v, float) for v in model.state_dict().values())
    yes = 1 / (1 + np.exp(-(weight[0] @ [1.0, 0.0, 0.2] + bias[0])))
    assert list(found["probabilities"]) == shown
    assert found["probabilities"][shown[1]] == pytest.approx(yes, abs=1e-6)
    assert found["probabilities"][shown[0]] == pytest.approx(1 - yes, abs=1e-6)
    assert found["class"] == int(yes > 0.5)


def test_a_reader_without_a_size_takes_images_as_they_are(capsys):
    pool = [xpcnn.AdaptiveAvgPool2d(1), xpcnn.Flatten(), xpcnn.Softmax(dim=1)]
    small_model("m", *pool, names=["r", "g", "b"], reader=ImageReader())
    sizes = [(4, 4), (9, 5), (4, 4), (7, 2)]
    for at, size in enumerate(sizes):
        Image.new("RGB", size, [(255, 0, 0), (0, 255, 0)][at % 2]).save(f"{at}.png")
    assert predict("m", *(f"{at}.png" for at in range(4)), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found] == ["r", "g", "r", "g"]
    assert [one["file"] for one in found] == [f"{at}.png" for at in range(4)]


def test_a_model_of_numbers_has_no_classes(capsys):
    small_model("m", xpcnn.Flatten(), xpcnn.Linear(12, 2), loss="mse")
    Image.new("RGB", (2, 2)).save("a.png")
    assert predict("m", "a.png") == 1
    assert "its outputs are values, not probabilities" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="names of other bytes exist on Linux")
def test_names_that_are_no_text(model_file, photos, capsys):
    import os
    import shutil

    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(photos / "flat" / "000.png", name)
    assert predict(model_file, name) == 0
    assert "caf\ufffd.png" in capsys.readouterr().out
    assert predict(model_file, name, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["file"] == name
