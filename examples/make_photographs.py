"""Make photographs of three kinds of cloth, to try what trains on folders of images.

    python examples/make_photographs.py photos --count 3000

writes photos/checks, photos/dots and photos/stripes: JPEG files of many sizes and proportions,
qualities and colours, some grey, and some that the camera held turned (EXIF). In each lies a piece
of cloth with the pattern of its class: in any colours, at any angle, large or small, sharp or
blurred, on a background of coloured patches and noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

CLASSES = ("checks", "dots", "stripes")
ORIENTATION = 0x0112
TURNS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""Values of EXIF's orientation, and how the camera then stores a scene."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=3000, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument(
        "--difficulty",
        type=float,
        default=0.5,
        help="from 0, large and clear, to 1, small and faint (default %(default)s)",
    )
    args = parser.parse_args()
    make_photographs(args.folder, args.count, args.seed, args.difficulty)
    print(f"{args.count} photographs in {args.folder}: {', '.join(CLASSES)}")


def make_photographs(folder: Path, count: int, seed: int = 0, difficulty: float = 0.5) -> None:
    """Write so many photographs, of each class the same number as far as it goes."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        name = CLASSES[number % len(CLASSES)]
        scene = photograph(name, rng, difficulty)
        exif = Image.Exif()
        if rng.random() < 0.15:
            exif[ORIENTATION] = orientation = int(rng.choice(list(TURNS)))
            scene = scene.transpose(TURNS[orientation])
        quality = int(rng.integers(40, 96))
        scene.save(folder / name / f"{number:05}.jpg", quality=quality, exif=exif)


def photograph(name: str, rng: np.random.Generator, difficulty: float = 0.5) -> Image.Image:
    """Draw the photograph of a piece of cloth."""
    width, height = (int(n) for n in rng.integers(90, 360, 2))
    width, height = max(width, height // 2), max(height, width // 2)
    scene = background(width, height, rng)
    # coordinates of the cloth: 0 in its middle, turned, 1 at its edge
    size = min(width, height) * rng.uniform(0.48 - 0.18 * difficulty, 0.5)
    x0, y0 = (rng.uniform(size, n - size) if n > 2 * size else n / 2 for n in (width, height))
    y, x = np.mgrid[0:height, 0:width]
    angle = rng.uniform(0, 2 * np.pi)
    u = ((x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)) / size
    v = ((y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)) / size
    if rng.random() < 0.5:
        inside = u**2 + v**2 < 1
    else:
        inside = np.maximum(np.abs(u), np.abs(v) / rng.uniform(0.7, 1)) < 0.8
    colours = two_colours(rng, difficulty)
    cloth = colours[pattern(name, u, v, rng).astype(int)]
    cover = inside[..., None] * rng.uniform(1 - 0.3 * difficulty, 1)
    scene = scene * (1 - cover) + cloth * cover
    light = 1 + rng.uniform(-0.3, 0.3) * (x / width - 0.5) + rng.uniform(-0.3, 0.3) * (y / height)
    scene = scene * light[..., None] * rng.uniform(0.7, 1.15)
    scene += rng.normal(0, 4 + 14 * difficulty * rng.random(), scene.shape)
    image = Image.fromarray(scene.clip(0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.004) * min(width, height)))
    return image.convert("L") if rng.random() < 0.12 else image


def pattern(name: str, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Say of each place of a cloth which of two colours it has."""
    period = rng.uniform(0.4, 0.75)
    u, v = u / period + rng.random(), v / period + rng.random()
    if name == "stripes":
        return u % 1 < rng.uniform(0.35, 0.65)
    if name == "checks":
        return (np.floor(2 * u) + np.floor(2 * v)) % 2 == 0
    # dots, every other row moved by half
    u = u + 0.5 * (np.floor(v) % 2)
    return (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < rng.uniform(0.28, 0.4) ** 2


def two_colours(rng: np.random.Generator, difficulty: float) -> np.ndarray:
    """Draw two colours that differ, in lightness too."""
    while True:
        colours = rng.uniform(20, 235, (2, 3))
        if abs(np.diff(colours.mean(axis=1))[0]) > 90 - 40 * difficulty:
            return colours


def background(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Draw soft patches of colour, and some hard-edged shapes."""
    patches = rng.integers(30, 225, (int(rng.integers(2, 7)), int(rng.integers(2, 7)), 3))
    soft = Image.fromarray(patches.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    scene = np.asarray(soft).astype(float)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = (int(n * rng.uniform(0.1, 0.5)) for n in (width, height))
        scene[y : y + h, x : x + w] = rng.uniform(0, 255, 3)
    return scene


if __name__ == "__main__":
    main()
