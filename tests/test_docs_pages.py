"""What the pages of documentation show runs as it stands, and their links lead somewhere."""

from __future__ import annotations

import json
import math
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import xpcnn
from tests.pages import PAGES, ROOT, Page
from xpcnn import callbacks, cli, zoo
from xpcnn.data import load_digits_subset

# -- All pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_somewhere(path):
    page = Page(path)
    for target in page.links():
        assert target.exists(), target
    for file in re.findall(r"python (\S+\.py)", page.text):
        assert (ROOT / file).exists(), file


@pytest.mark.parametrize("path", PAGES)
def test_every_block_says_what_it_is(path):
    page = Page(path)
    assert page.text.count("```") == 2 * len(page.blocks)
    if path != "CONTRIBUTING.md":  # has commands without a language
        assert {language for language, _ in page.blocks} <= {"python", "bash"}


@pytest.mark.parametrize("path", [path for path in PAGES if Page(path).of("python")])
def test_what_a_page_shows_is_run_somewhere(path):
    files = (ROOT / "tests").rglob("test_*.py")
    tests = "".join(file.read_text(encoding="utf-8") for file in files)
    assert path in tests, "a test of its subject must run it"


def test_course_networks():
    page = Page("docs/course-networks.md")
    page.run(skip="# a sum would be right")
    (mistake,) = [text for text in page.of("python") if "# a sum would be right" in text]
    with pytest.raises(ValueError, match="the gradient of W is wrong: .* it is 0.25 times"):
        exec(mistake, {})


def test_onnx(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (images, labels), _ = load_digits_subset()
    given = {"images": images[:64], "labels": labels[:64]}
    given["model"] = xpcnn.Model(xpcnn.networks.simple(), device="cpu", seed=0)
    given["model"].build((None, *images.shape[1:]))
    names = Page("docs/onnx.md").run(("onnxruntime",), given)
    expected = given["model"].predict(images[:64])
    assert "scores" not in names or np.allclose(names["scores"], expected, atol=1e-4)
    assert len(names["model"].history.epoch) == 1


def test_zoo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    published = xpcnn.Model(zoo.resnet18(), device="cpu", seed=0)
    published.build((None, 3, 32, 32))
    save_file(published.state_dict(), "resnet18.safetensors")
    model = Page("docs/zoo.md").run(skip="import torch|^net")["model"]
    model.build((None, 3, 32, 32))
    state = model.state_dict()
    assert np.array_equal(state["conv1.weight"], published.state_dict()["conv1.weight"])
    assert state["fc.weight"].shape == (10, 512)


def test_gpu():
    page = Page("docs/gpu.md")
    for text in page.of("python"):  # it takes a GPU to run them
        compile(text, page.path, "exec")


# -- Single pages; those of a subject are tested where the subject is ------------------------------


def test_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = Page("docs/data.md").run()
    assert names["history"].history["accuracy"][-1] > 0.1


def test_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = Page("docs/training.md").run()
    printed = capsys.readouterr().out
    assert "suggested lr: " in printed
    assert "\n10\n" in printed
    column = names["history"].history["val_loss"]
    assert [math.isnan(value) for value in column] == [True, False, True, False]
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["epoch"] == 9
    assert "epoch 9" in printed


def test_training_lists_every_callback():
    page = Page("docs/training.md")
    for name, item in vars(callbacks).items():
        if isinstance(item, type) and name != "Callback":
            assert f"`{name}`" in page.text


def test_transfer(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = Page("docs/transfer.md").run()
    assert "['classifier.1.weight', 'classifier.1.bias']" in capsys.readouterr().out
    assert len(names["history"].epoch) == 1


def test_plots(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    Page("docs/plots.md").run()
    assert (tmp_path / "training.png").stat().st_size > 10_000


def test_own_loops(capsys):
    page = Page("docs/own-loops.md")
    page.run()
    assert capsys.readouterr().out.splitlines() == page.promised() != []


@pytest.fixture
def photographs(tmp_path, monkeypatch) -> Path:
    """A folder of photographs, which docs/images.md tells to make first; here in small."""
    pytest.importorskip("PIL")
    monkeypatch.chdir(tmp_path)
    example = runpy.run_path(str(ROOT / "examples" / "make_photographs.py"))
    example["make_photographs"](tmp_path / "photos", 30)
    return tmp_path


def test_images(photographs):
    Page("docs/images.md").run()


def test_commands_of_images(photographs):
    ran = 0
    for line in Page("docs/images.md").commands():
        words = shlex.split(line)
        if words[0] == "xpcnn":
            assert cli.main([*words[1:], *(["--epochs", "1"] * (words[1] == "train"))]) == 0
            ran += 1
    assert ran
