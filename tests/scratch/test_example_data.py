"""What the course examples run on, and what they say when something is wrong."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not installed")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that runs a script where there is no MNIST and no way to get it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("XPCNN_DATA", str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "pooch", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "_course", raising=False)
    course = __import__("_course")
    monkeypatch.setattr(course, "FULL_MNIST", tmp_path / "nowhere")

    def run(name: str, *arguments: str) -> None:
        script = str(EXAMPLES / f"course_{name}.py")
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(script, run_name="__main__")

    yield run
    monkeypatch.delitem(sys.modules, "_course", raising=False)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("simple_conv_net", []), ("deep_conv_net", ["--rows", "100"])],
)
def test_without_mnist_the_digits_are_taken_and_a_line_says_so(
    example, name, arguments, capsys
) -> None:
    example(name, "--epochs", "1", *arguments)
    first, second, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Running on the digits in the package, a part of MNIST, because ")
    assert "pooch" in first
    assert 'pip install "xpcnn[data]"' in first
    assert second.startswith("digits: 5000 training and 1000 test images; device cpu")
    assert last.startswith("after ")


def test_digits_can_be_asked_for(example, capsys) -> None:
    example("simple_conv_net", "--epochs", "1", "--data", "digits")
    assert capsys.readouterr().out.startswith("digits: 5000 training and 1000 test images")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "/nowhere"], "error: load_mnist: train-images.*/nowhere is no folder"),
        (["--device", "cuba", "--data", "digits"], "error: .*cuba"),
        (["--dtype", "int3", "--data", "digits"], "error: .*int3"),
        (["--rows", "99", "--data", "digits"], "error: --rows must be at least 100.*got 99"),
    ],
)
def test_what_is_wrong_is_a_line(example, arguments, message) -> None:
    with pytest.raises(SystemExit, match=message) as caught:
        example("deep_conv_net", *arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["--epochs", "--rows"])
def test_numbers_are_positive(example, option, capsys) -> None:
    with pytest.raises(SystemExit):
        example("deep_conv_net", option, "0")
    assert f"argument {option}: must be at least 1, got 0" in capsys.readouterr().err
