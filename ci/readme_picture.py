"""Draw the pictures that README opens with, for light and for dark pages.

    pip install -e ".[plot]"
    python ci/readme_picture.py

It runs README's first command, and draws its learning curve and the filters of its first layer,
beside what benchmarks/results/compare.json says of PyTorch. SIZES was measured: see there.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt

import xpcnn
from xpcnn import cli
from xpcnn.data import load_digits_subset

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "compare.json"
PICTURES = {
    "light": ROOT / "docs/_static/readme.png",
    "dark": ROOT / "docs/_static/readme-dark.png",
}

SIZES = {"xpcnn": 91, "PyTorch": 943}
"""MiB on disk with all they need, NumPy among it, in an empty virtual environment of Python 3.11.

`pip install .`, or `pip install torch` from the index of builds for CPUs (2.13.0), and `numpy`;
then `du -sm` of what is in site-packages but for pip and setuptools. Version 2.4.6 of NumPy takes
73 MiB of both.
"""
WORKLOADS = {
    "simple": "first command",
    "deep": "six convolutions",
    "vgg": "VGG, 32 × 32",
    "resnet18": "ResNet-18, 32 × 32",
    "mobilenetv2": "MobileNet V2, 64 × 64",
    "mlp": "no convolution",
}
"""Trained networks that are shown, also where PyTorch is faster."""

THEMES = {
    "light": {"page": "#ffffff", "text": "#1f2328", "quiet": "#59636e", "grid": "#d8dee4",
              "ours": "#0969da", "theirs": "#9a6700"},
    "dark": {"page": "#0d1117", "text": "#f0f6fc", "quiet": "#9198a1", "grid": "#30363d",
             "ours": "#58a6ff", "theirs": "#e3b341"},
}  # fmt: skip


def first_command() -> xpcnn.Model:
    """Return the model that `xpcnn train` saves."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        if cli.main(["train", "--device", "cpu"]):
            raise SystemExit("the first command failed")
        return xpcnn.Model.load("simple-digits.safetensors", device="cpu")


def settings(theme: dict[str, str]) -> dict[str, Any]:
    """Return matplotlib's settings for a theme."""
    return {
        "figure.facecolor": theme["page"],
        "savefig.facecolor": theme["page"],
        "axes.facecolor": theme["page"],
        "axes.edgecolor": theme["grid"],
        "axes.labelcolor": theme["quiet"],
        "axes.titlecolor": theme["text"],
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": theme["grid"],
        "text.color": theme["text"],
        "xtick.color": theme["quiet"],
        "ytick.color": theme["quiet"],
        "legend.frameon": False,
        "font.size": 10,
    }


def draw_curve(ax: Any, model: xpcnn.Model, theme: dict[str, str]) -> None:
    """Draw the accuracy of each epoch, and that of images which the network has never seen."""
    accuracy = [100 * each for each in model.history.history["accuracy"]]
    epochs = range(1, len(accuracy) + 1)
    tested = 100 * model.evaluate(*load_digits_subset()[1])["accuracy"]
    ax.plot(epochs, accuracy, color=theme["ours"], label="5,000 images, while training")
    label = f"1,000 new images, at the end: {tested:.1f} %"
    ax.plot(epochs[-1], tested, "D", color=theme["theirs"], label=label)
    ax.set(title="What the first command learns", xlabel="epoch", ylabel="accuracy (%)")
    ax.set_xticks([1, 5, 10, 15, 20])
    ax.grid(axis="y")
    ax.legend(loc="lower right")


def draw_filters(ax: Any, model: xpcnn.Model) -> None:
    """Draw the filters of the first layer side by side, on one scale."""
    filters = model.state_dict()["0.weight"][:, 0]
    spaced = np.pad(filters, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    size = spaced.shape[-1]
    side_by_side = spaced.reshape(5, 6, size, size).swapaxes(1, 2).reshape(5 * size, 6 * size)
    limit = abs(filters).max()
    shown = ax.imshow(side_by_side[:-1, :-1], cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(title="Its 30 filters of 5 × 5")
    ax.set_axis_off()
    bar = ax.figure.colorbar(shown, ax=ax, label="weight", ticks=[-0.4, 0, 0.4])
    bar.outline.set_visible(False)


def draw_sizes(ax: Any, theme: dict[str, str]) -> None:
    """Draw what an installation takes."""
    colors = [theme["ours"], theme["theirs"]]
    bars = ax.barh(list(SIZES), list(SIZES.values()), color=colors, height=0.55)
    ax.bar_label(bars, [f"{size} MiB" for size in SIZES.values()], padding=4)
    ax.set(
        title="Installed, with all they need", xlabel="MiB on disk, NumPy included", xlim=(0, 1200)
    )
    ax.invert_yaxis()


def draw_speeds(ax: Any, results: dict[str, Any], theme: dict[str, str]) -> None:
    """Draw how many times as fast a step of training is as in PyTorch."""
    ratios = {each["name"]: each["ratio"] for each in results["workloads"]}
    shown = {label: ratios[name] for name, label in WORKLOADS.items()}
    colors = [theme["ours" if ratio >= 1 else "theirs"] for ratio in shown.values()]
    ax.barh(list(shown), list(shown.values()), color=colors, height=0.65)
    for place, ratio in enumerate(shown.values()):
        ax.text(max(ratio, 1) + 0.08, place, f"{ratio:.1f} ×", va="center")
    ax.axvline(1, color=theme["text"], linewidth=1, linestyle=":")
    where = results["environment"]
    torch = where["versions"]["torch"].partition("+")[0]
    ax.set(
        title="Speed of training",
        xlabel=f"times as fast as PyTorch {torch}\n{results['threads']} cores of an {where['cpu']}",
        xlim=(0, 6.2),
    )
    ax.invert_yaxis()


def draw(model: xpcnn.Model, results: dict[str, Any], name: str) -> None:
    """Draw one of the pictures."""
    theme = THEMES[name]
    with plt.rc_context(settings(theme)):
        figure = plt.figure(figsize=(9, 5.8), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
        top, bottom = figure.subfigures(2, 1, hspace=0.05)
        curve, filters = top.subplots(1, 2, width_ratios=[1.2, 1])
        draw_curve(curve, model, theme)
        draw_filters(filters, model)
        sizes, speeds = bottom.subplots(1, 2, width_ratios=[1, 1.1])
        draw_sizes(sizes, theme)
        draw_speeds(speeds, results, theme)
        figure.savefig(PICTURES[name], dpi=160, metadata={"Software": None})
        plt.close(figure)


def main() -> None:
    """Draw both."""
    os.environ.setdefault("XPCNN_QUIET", "1")
    model = first_command()
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name in PICTURES:
        draw(model, results, name)


if __name__ == "__main__":
    main()
