"""The command xpcnn: what it prints, saves and returns."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from xpcnn import networks
from xpcnn.cli import main
from xpcnn.cli.train import _stop_between_steps
from xpcnn.data import load_mnist, write_idx

ROOT = Path(__file__).parents[1]

needs_pillow = pytest.mark.skipif(
    importlib.util.find_spec("PIL") is None, reason="Pillow is not installed"
)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A folder with a small data set: bright rows are class 1, bright columns class 0."""
    folder = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(1)
    for part, count in (("train", 60), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 2
        pixels = rng.integers(0, 60, (count, 12, 10), dtype=np.uint8)
        for image, label, at in zip(pixels, labels, rng.integers(2, 8, count), strict=True):
            if label:
                image[at] = 255
            else:
                image[:, at] = 255
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", pixels)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*argv: object) -> int:
    return main([str(word) for word in argv])


def train(images: Path, *more: object) -> int:
    return run(
        "train", "--data", images, "--device", "cpu", "--batch-size", 20, "--epochs", 1, *more
    )


# -- train ---------------------------------------------------------------------------------------


def test_default_training_reaches_the_course_figure(tmp_path):
    """The main job, as a user runs it: a new process, no options."""
    done = subprocess.run(
        [sys.executable, "-m", "xpcnn", "train"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"^test accuracy (\d\.\d+) \((\d+) of 1000 images\)", done.stdout, re.M)
    assert accuracy is not None, done.stdout
    assert float(accuracy[1]) >= 0.955
    assert int(accuracy[2]) == round(float(accuracy[1]) * 1000)
    assert "saved to simple-digits.safetensors" in done.stdout
    assert "epoch 1/" in done.stderr  # progress
    (x, y) = xpcnn.data.load_digits_subset()[1]
    model = xpcnn.Model.load(tmp_path / "simple-digits.safetensors", device="cpu")
    assert np.mean(model.predict(x).argmax(axis=1) == y) == pytest.approx(float(accuracy[1]))


def environment() -> dict[str, str]:
    """One thread, since other tests run on the other cores."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.parametrize("name", list(networks.NETWORKS))
def test_train_each_network(images, tmp_path, capsys, name):
    assert train(images, "--model", name, "--save", "model.safetensors", "--seed", 3) == 0
    out = capsys.readouterr().out
    assert "device: cpu\n" in out
    assert "saved to model.safetensors" in out
    assert re.search(r"test accuracy [01]\.\d{4} \(\d+ of 20 images\), loss \d", out)
    model = xpcnn.Model.load("model.safetensors", device="cpu")
    assert [type(layer) for layer in model.layers] == [type(a) for a in networks.make(name)]
    assert (model.epoch, model.step, model.seed) == (1, 3, 3)


def test_train_learns_the_stripes(images, capsys):
    assert train(images, "--epochs", 30, "--lr", 0.003) == 0
    assert "test accuracy 1.0000 (20 of 20 images)" in capsys.readouterr().out


def test_default_file_is_named_after_model_and_data(images, tmp_path, capsys):
    assert train(images) == 0
    name = f"simple-{images.name}.safetensors"
    assert f"saved to {name}" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_same_seed_gives_the_same_weights(images):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert train(images, "--seed", seed, "--save", name) == 0
    a, b, c = (xpcnn.Model.load(name, device="cpu").state_dict() for name in "abc")
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
    assert not np.array_equal(a["0.weight"], c["0.weight"])


def test_resume_continues_exactly(images, capsys):
    assert train(images, "--model", "deep", "--epochs", 4, "--save", "whole") == 0
    assert train(images, "--model", "deep", "--epochs", 2, "--save", "half") == 0
    assert train(images, "--resume", "half", "--epochs", 4) == 0  # saves to the same file
    assert "20, 2 epochs\n" in capsys.readouterr().out
    whole = xpcnn.Model.load("whole", device="cpu").state_dict()
    half = xpcnn.Model.load("half", device="cpu").state_dict()
    for key, value in whole.items():
        np.testing.assert_array_equal(half[key], value)


def test_resume_with_another_learning_rate(images):
    assert train(images, "--save", "a") == 0
    assert train(images, "--resume", "a", "--epochs", 2, "--lr", 0.5, "--save", "b") == 0
    assert xpcnn.Model.load("a", device="cpu").optimizer.lr == 0.001
    assert xpcnn.Model.load("b", device="cpu").optimizer.lr == 0.5


def test_precision_is_kept_with_the_model(images, capsys):
    assert train(images, "--model", "mlp", "--precision", "float16", "--save", "a") == 0
    assert xpcnn.Model.load("a", device="cpu").precision == "float16"
    assert train(images, "--resume", "a", "--epochs", 2, "--save", "b") == 0
    assert xpcnn.Model.load("b", device="cpu").precision == "float16"
    words = ("--resume", "a", "--epochs", 2, "--precision", "float32", "--save", "c")
    assert train(images, *words) == 0
    assert xpcnn.Model.load("c", device="cpu").precision == "float32"
    assert train(images, "--precision", "bfloat16") == 1
    assert "has no dtype 'bfloat16'; or use precision='float32'" in capsys.readouterr().err


def test_evaluate_in_another_precision(images, capsys):
    assert train(images, "--model", "mlp", "--precision", "float16", "--save", "a") == 0
    words = ("evaluate", "--model", "a", "--data", images, "--device", "cpu")
    lines = []
    for more in ((), ("--precision", "float32")):
        capsys.readouterr()
        assert run(*words, *more) == 0
        lines.append(capsys.readouterr().out)
    x, y = load_mnist(images)[1]
    for line, chosen in zip(lines, ("float16", "float32"), strict=True):
        model = xpcnn.Model.load("a", device="cpu", precision=chosen)
        assert f"loss {model.evaluate(x, y)['loss']:.4f}" in line


def test_nothing_left_to_train(images, capsys):
    assert train(images, "--save", "a") == 0
    assert train(images, "--resume", "a") == 1
    assert "a is trained for 1 epochs already; give more" in capsys.readouterr().err


# -- interrupts ----------------------------------------------------------------------------------


def interrupt_after_two_steps(monkeypatch) -> None:
    def fit(model, x, y, *, callbacks, **settings):
        for _ in range(2):
            model.train_on_batch(x[:20], y[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(xpcnn.Model, "fit", fit)


def test_interrupt_with_save(images, monkeypatch, capsys):
    interrupt_after_two_steps(monkeypatch)
    assert train(images, "--save", "part") == 130
    err = capsys.readouterr().err
    assert "interrupted after 0 epochs (2 steps); saved to part" in err
    assert "xpcnn train --resume part" in err
    assert xpcnn.Model.load("part", device="cpu").step == 2


def test_interrupt_without_save(images, tmp_path, monkeypatch, capsys):
    interrupt_after_two_steps(monkeypatch)
    assert train(images) == 130
    assert "nothing was saved (give --save FILE to keep it)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_interrupt_before_the_first_step(images, tmp_path, monkeypatch, capsys):
    def fit(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(xpcnn.Model, "fit", fit)
    assert train(images, "--save", "part") == 130
    assert "nothing to save yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_interrupt_outside_training(monkeypatch, capsys):
    def load(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(xpcnn.Model, "load", load)
    Path("model").touch()
    assert run("evaluate", "--model", "model") == 130
    assert capsys.readouterr().err == "xpcnn evaluate: interrupted\n"


def test_first_interrupt_waits_for_the_step_and_the_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(KeyboardInterrupt))  # it is not forgotten at the end
        callback = stack.enter_context(_stop_between_steps())
        callback.on_batch_end(1, {})
        signal.raise_signal(signal.SIGINT)  # does not interrupt here ...
        with pytest.raises(KeyboardInterrupt):
            callback.on_batch_end(2, {})  # ... but here
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_interrupted_process_saves(images, tmp_path):
    words = ["train", "--data", str(images), "--device", "cpu", "--epochs", "100000"]
    # A shell that started the tests in the background may have told them to ignore the signal.
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from xpcnn.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words, "--save", "part.safetensors"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            lines = iter(process.stderr.readline, "")
            assert any(line.startswith("epoch 1/100000") for line in lines)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "saved to part.safetensors" in err
    assert "Traceback" not in err
    model = xpcnn.Model.load(tmp_path / "part.safetensors", device="cpu")
    assert f"interrupted after {model.epoch} epochs ({model.step} steps)" in err
    assert model.epoch >= 1


def test_a_second_interrupt_while_saving_is_quiet(images, monkeypatch, capsys):
    def interrupted(*args, **settings):
        raise KeyboardInterrupt

    interrupt_after_two_steps(monkeypatch)
    monkeypatch.setattr(xpcnn.Model, "save", interrupted)
    assert train(images, "--save", "part") == 130


def process_of(words: list[str], folder: Path, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "xpcnn", *words],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_a_process_that_is_told_to_end_saves(images, tmp_path):
    words = ["train", "--data", str(images), "--device", "cpu", "--epochs", "100000"]
    words += ["--save", "part.safetensors"]
    with process_of(words, tmp_path, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        try:
            lines = iter(process.stderr.readline, "")
            assert any(line.startswith("epoch 1/100000") for line in lines)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 143
    assert "terminated after" in err
    assert "saved to part.safetensors" in err
    assert "Traceback" not in err
    assert xpcnn.Model.load(tmp_path / "part.safetensors", device="cpu").epoch >= 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize("delay", [0.1, 0.2, 0.3, 0.5, 0.8])
def test_an_interrupt_while_the_command_starts_is_quiet(delay, tmp_path):
    program = (
        "import os, signal, sys, threading, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.argv = ['xpcnn', 'info']\n"
        "def interrupt():\n"
        f"    time.sleep({delay})\n"
        "    for _ in range(3):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(0.01)\n"
        "threading.Thread(target=interrupt, daemon=True).start()\n"
        "from xpcnn import _starting\n"
        "from xpcnn.cli import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 130)


def test_importing_the_package_elsewhere_leaves_the_handler_alone():
    program = (
        "import signal; before = signal.getsignal(signal.SIGINT); import xpcnn; "
        "assert signal.getsignal(signal.SIGINT) is before"
    )
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True)


# -- what goes wrong at the end ------------------------------------------------------------------


def test_the_model_is_saved_before_it_is_scored(images, tmp_path, monkeypatch, capsys):
    def fails(model, test):
        assert (tmp_path / "model").exists()
        raise MemoryError

    monkeypatch.setattr("xpcnn.cli.train.score", fails)
    assert train(images, "--save", "model") == 1
    assert "trained and saved to model" in capsys.readouterr().err
    assert xpcnn.Model.load("model", device="cpu").epoch == 1


@pytest.mark.skipif(sys.platform == "win32", reason="the shell of POSIX")
@pytest.mark.parametrize("lines", [0, 1, 2])
def test_the_model_is_saved_although_nobody_reads_the_output(images, tmp_path, lines):
    words = ["train", "--data", str(images), "--device", "cpu", "--epochs", "1", "--save", "model"]
    with process_of(words, tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "Error" not in err
    assert xpcnn.Model.load(tmp_path / "model", device="cpu").epoch == 1


def test_a_full_disk_at_the_end_does_not_lose_the_model(images, monkeypatch, capsys, tmp_path):
    save = xpcnn.Model.save

    def full(model, path):
        if Path(path) == Path("model"):
            raise OSError(28, "cannot save to 'model': the disk is full")
        save(model, path)

    monkeypatch.setattr(xpcnn.Model, "save", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert train(images, "--save", "model") == 1
    err = capsys.readouterr().err
    assert "the disk is full" in err
    where = re.search(r"saved to (\S+) instead", err)
    assert where is not None
    assert Path(where[1]).parent.parent == tmp_path
    assert xpcnn.Model.load(where[1], device="cpu").epoch == 1


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_model_that_has_diverged_is_an_error(images, tmp_path, capsys, epochs):
    words = ["--lr", "1e30", "--epochs", epochs, "--save", "model", "--batch-size", 60]
    assert train(images, *words) == 1
    err = capsys.readouterr().err
    assert "xpcnn train: error:" in err
    assert "learning rate" in err
    assert not (tmp_path / "model").exists()


# -- evaluate ------------------------------------------------------------------------------------


def test_evaluate_agrees_with_train_and_with_a_count(images, capsys):
    assert train(images, "--epochs", 5, "--save", "model") == 0
    trained = re.search("test accuracy .*", capsys.readouterr().out)
    assert run("evaluate", "--model", "model", "--data", images, "--device", "cpu") == 0
    line, *report = capsys.readouterr().out.splitlines()
    assert trained is not None
    assert line == trained[0]
    x, y = load_mnist(images)[1]
    outputs = xpcnn.Model.load("model", device="cpu").predict(x)
    right = sum(int(row.argmax()) == label for row, label in zip(outputs, y, strict=True))
    assert f"({right} of 20 images)" in line
    accuracy = next(words for row in report if (words := row.split())[:1] == ["accuracy"])
    assert accuracy == ["accuracy", f"{right / 20:.4f}", "20"]


def test_evaluate_on_each_device(images, device, capsys):
    assert train(images, "--model", "mlp", "--save", "model") == 0
    trained = re.search("test accuracy .*,", capsys.readouterr().out)
    assert run("evaluate", "--model", "model", "--data", images, "--device", device.name) == 0
    assert trained is not None
    assert trained[0] in capsys.readouterr().out


def test_evaluate_a_model_saved_without_a_loss(images, capsys):
    model = xpcnn.Model(networks.make("mlp"), device="cpu", seed=0)
    model.build((None, 1, 12, 10))
    model.save("bare")
    assert run("evaluate", "--model", "bare", "--data", images, "--device", "cpu") == 0
    assert "test accuracy" in capsys.readouterr().out


# -- predict -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    """An untrained network for images of 6 x 4 whose outputs depend on every pixel."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    layers = [xpcnn.Flatten(), xpcnn.Linear(24, 3)]
    model = xpcnn.Model(layers, device="cpu", seed=7)
    model.build((None, 1, 6, 4))
    model.load_state_dict({"1.weight": WEIGHTS, "1.bias": BIAS})
    model.save(path)
    return path


WEIGHTS = np.random.default_rng(3).normal(size=(3, 24)).astype("float32")
BIAS = np.array([0.1, -0.2, 0.3], "float32")


def expected(pixels: np.ndarray) -> str:
    """Work out class and probability in plain Python from grey levels 0..1, in reading order."""
    scores = [
        sum(float(w) * float(p) for w, p in zip(row, pixels.ravel(), strict=True)) + float(b)
        for row, b in zip(WEIGHTS, BIAS, strict=True)
    ]
    powers = [math.exp(score) for score in scores]
    best = powers.index(max(powers))
    return f"class {best}, probability {powers[best] / sum(powers):.4f}"


GREY = np.random.default_rng(9).integers(0, 256, (6, 4), dtype=np.uint8)


def predict(model_file: Path, *words: object) -> int:
    return run("predict", "--device", "cpu", "--model", model_file, *words)


@needs_pillow
def test_predict_grey_images(model_file, capsys):
    from PIL import Image

    Image.fromarray(GREY).save("a.png")
    Image.fromarray(255 - GREY).save("b.png")
    assert predict(model_file, "a.png", "b.png") == 0
    assert capsys.readouterr().out == (
        f"a.png: {expected(GREY / 255)}\nb.png: {expected(1 - GREY / 255)}\n"
    )


@needs_pillow
def test_predict_inverted(model_file, capsys):
    from PIL import Image

    Image.fromarray(GREY).save("a.png")
    assert predict(model_file, "--invert", "a.png") == 0
    assert capsys.readouterr().out == f"a.png: {expected(1 - GREY / 255)}\n"


@needs_pillow
@pytest.mark.parametrize(("flags", "paper"), [((), 0.0), (("--invert",), 1.0)])
def test_predict_transparent_counts_as_paper(model_file, capsys, flags, paper):
    from PIL import Image

    levels = np.stack([GREY, GREY, GREY, np.full_like(GREY, 255)], axis=-1)
    levels[0, :, 3] = 0
    Image.fromarray(levels).save("a.png")
    grey = GREY / 255
    grey[0] = paper
    assert predict(model_file, "a.png", *flags) == 0
    assert expected(1 - grey if flags else grey) in capsys.readouterr().out


@needs_pillow
def test_predict_sixteen_bits(model_file, capsys):
    from PIL import Image

    Image.fromarray(GREY.astype(np.uint16) * 257).save("a.png")
    assert predict(model_file, "a.png") == 0
    assert expected(GREY / 255) in capsys.readouterr().out


@needs_pillow
def test_predict_resizes(model_file, capsys):
    from PIL import Image

    Image.fromarray(np.full((60, 33), 102, np.uint8)).save("a.png")
    assert predict(model_file, "a.png") == 0
    assert expected(np.full((6, 4), 0.4)) in capsys.readouterr().out


@needs_pillow
def test_predict_colour(capsys):
    from PIL import Image

    model = xpcnn.Model([xpcnn.Flatten(), xpcnn.Softmax(dim=1)], device="cpu")
    model.build((None, 3, 1, 1))
    model.save("model")
    Image.fromarray(np.array([[[51, 255, 0]]], np.uint8)).save("a.png")
    assert run("predict", "--device", "cpu", "--model", "model", "a.png") == 0
    p = math.e / (math.e + math.exp(0.2) + 1)
    assert capsys.readouterr().out == f"a.png: class 1, probability {p:.4f}\n"


@needs_pillow
def test_predict_with_log_probabilities(capsys):
    from PIL import Image

    model = xpcnn.Model([xpcnn.Flatten(), xpcnn.LogSoftmax(dim=1)], device="cpu")
    model.build((None, 1, 1, 2))
    model.save("model")
    Image.fromarray(np.array([[0, 255]], np.uint8)).save("a.png")
    assert run("predict", "--device", "cpu", "--model", "model", "a.png") == 0
    assert f"class 1, probability {math.e / (math.e + 1):.4f}" in capsys.readouterr().out


@needs_pillow
def test_predict_refuses_what_is_no_image_of_a_fitting_size(model_file, capsys, tmp_path):
    from PIL import Image

    Image.new("1", (9_000, 9_000)).save("large.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    names = ["large.png", "empty.png", "folder.png", "missing.png"]
    assert run("predict", "--model", model_file, "--device", "cpu", *names) == 1
    err = capsys.readouterr().err
    assert "9,000 x 9,000 pixels" in err
    assert "is a folder" in err
    assert "4 of 4 images could not be read" in err


@needs_pillow
def test_predict_goes_on_after_a_bad_image(model_file, capsys):
    from PIL import Image

    Image.fromarray(GREY).save("good.png")
    Path("bad.png").write_bytes(Path("good.png").read_bytes()[:40])
    Path("text.png").write_text("not an image")
    assert predict(model_file, "bad.png", "text.png", "missing.png", "good.png") == 1
    out, err = capsys.readouterr()
    assert out == f"good.png: {expected(GREY / 255)}\n"
    assert [f"cannot read {n}.png" in err for n in ("bad", "text", "missing")] == [True] * 3
    assert "3 of 4 images could not be read" in err


@needs_pillow
def test_predict_needs_a_model_of_images(capsys):
    model = xpcnn.Model([xpcnn.Linear(5, 2)], device="cpu")
    model.build((None, 5))
    model.save("model")
    assert run("predict", "--device", "cpu", "--model", "model", "a.png") == 1
    assert "takes input of shape ('N', 5), not grey or colour images" in capsys.readouterr().err


def test_predict_without_pillow(model_file, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert predict(model_file, "a.png") == 1
    assert 'pip install "xpcnn[images]"' in capsys.readouterr().err


# -- info, and errors ----------------------------------------------------------------------------


def test_info_tells_of_every_device(capsys):
    assert run("info") == 0
    out = capsys.readouterr().out
    assert f"xpcnn {xpcnn.__version__}" in out
    assert f"numpy             {np.__version__}" in out
    for name, state in xpcnn.devices().items():
        assert re.search(rf"^  {name} +{re.escape(state)}$", out, re.M)
    assert re.search(r"^auto chooses: (cpu \(no working GPU|cuda)", out, re.M)


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"xpcnn {xpcnn.__version__}\n"


@pytest.mark.parametrize("command", [(), ("train",), ("evaluate",), ("predict",), ("info",)])
def test_help(command, capsys):
    assert run(*command, "--help") == 0
    assert "usage: xpcnn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "COMMAND"),
        ("fly", "invalid choice"),
        ("train --epochs 0", "whole number of at least 1, got '0'"),
        ("train --epochs many", "whole number of at least 1, got 'many'"),
        ("train --batch-size -5", "whole number of at least 1, got '-5'"),
        ("train --lr 0", "a number above 0, got '0'"),
        ("train --lr nan", "a number above 0, got 'nan'"),
        ("train --lr fast", "a number above 0, got 'fast'"),
        ("train --seed -1", "whole number of at least 0"),
        ("train --model resnet", "invalid choice: 'resnet'"),
        ("train --data nowhere", "neither 'digits' nor 'mnist' nor an existing folder"),
        ("train --resume a --model deep", "--model: not allowed with --resume"),
        ("train --resume a --seed 0", "--seed: not allowed with --resume"),
        ("predict", "IMAGE"),
        ("info --loud", "unrecognized arguments"),
    ],
)
def test_wrong_use(words, message, capsys):
    assert run(*words.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --device gpu", "unknown device 'gpu'"),
        ("train --save nowhere/model", "there is no folder nowhere"),
        ("train --save folder", "it is a folder"),
        ("train --data folder", "train-images-idx3-ubyte"),
        ("train --resume missing", "no model file 'missing'"),
        ("train --resume broken", "broken"),
        ("evaluate", "no model file 'simple-digits.safetensors'; train one first: xpcnn train"),
        ("evaluate --model broken", "cannot be read as a safetensors file"),
    ],
)
def test_failures(words, message, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").write_bytes(b"nonsense")
    assert run(*words.split()) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"xpcnn {words.split()[0]}: error: ")
    assert message in err
    assert out == ""


def test_folder_that_cannot_be_written(monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert run("train") == 1
    assert "no right to write" in capsys.readouterr().err


def test_labels_the_model_does_not_know(images, tmp_path, capsys):
    model = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(out_features=1)], device="cpu")
    model.build((None, 1, 12, 10))
    model.save("model")
    assert run("evaluate", "--model", "model", "--data", images, "--device", "cpu") == 1
    assert "xpcnn evaluate: error: " in capsys.readouterr().err


def test_images_of_another_size(images, model_file, capsys):
    assert run("evaluate", "--model", model_file, "--data", images, "--device", "cpu") == 1
    assert "120" in capsys.readouterr().err


def test_reader_that_goes_away():
    """What happens in ``xpcnn info | head -1``."""
    code = (
        "import os, sys; os.close(sys.stdout.fileno()); r, w = os.pipe(); os.close(r); "
        "from xpcnn.cli import main; sys.exit(main(['--help']) or main(['info']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
