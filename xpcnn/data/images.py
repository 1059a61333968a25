"""Image files, and what makes arrays of them."""

from __future__ import annotations

import importlib.util
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._files import read_whole
from xpcnn._registry import Checked, from_config
from xpcnn.errors import check_choice
from xpcnn.window import as_flag, as_ints

MOST_PIXELS = 50_000_000
"""Pixels of an image; unpacked they take a few bytes each, however small the file is."""

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".webp", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi",
    ".mpo",
)  # fmt: skip
"""How the names of image files end."""

_FORMATS = (
    "JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM",
    "QOI",
)  # fmt: skip
"""Pillow's names of what is read. It knows others, of which one starts a program (EPS)."""

_RESIZINGS = ("squash", "crop", "pad")
_MODES = {"RGB": 3, "L": 1}
_ORIENTATION = 0x0112  # the tag of EXIF that says how a camera was held


class ImageReader(Checked):
    """Makes arrays of image files: of one size, upright, in colour or grey.

    It reads JPEG, PNG, WebP, GIF (the first frame), BMP, TIFF, AVIF, JPEG 2000, PPM and QOI with
    8 or 16 bits, in any colours that Pillow knows (palettes, CMYK), turned as the camera says
    (EXIF). What is transparent becomes black. Needs Pillow: ``pip install "xpcnn[images]"``.

    Parameters
    ----------
    size : int or (height, width), optional
        Of the arrays; one number for squares. Without it every image keeps its own size.
    mode : {"RGB", "L"}
        Three channels of colour, or one of grey levels.
    resize : {"squash", "crop", "pad"}, optional
        How images of other proportions get that size: squashed (the default), cropped to the
        middle, or whole with black beside them.
    invert : bool
        Whether to swap light and dark, for dark ink on light paper. What is transparent, and the
        "pad", count as paper then: white before they are swapped.

    Attributes
    ----------
    channels : int
        3 or 1.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, or `resize` is given without a size.

    Examples
    --------
    >>> from xpcnn.data import ImageReader
    >>> reader = ImageReader(64, resize="crop")
    >>> reader
    ImageReader(size=(64, 64), resize='crop')
    >>> from PIL import Image
    >>> reader.read(Image.new("RGB", (300, 200))).shape
    (3, 64, 64)
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        *,
        mode: str = "RGB",
        resize: str | None = None,
        invert: bool = False,
    ) -> None:
        both = None if size is None else as_ints(size, 2, "ImageReader", "size")
        if both is not None and both[0] * both[1] > MOST_PIXELS:
            raise ValueError(
                f"ImageReader: size must be at most {MOST_PIXELS:,} pixels, got {size!r}"
            )
        check_choice("ImageReader", "mode", mode, list(_MODES))
        if resize is not None:
            check_choice("ImageReader", "resize", resize, _RESIZINGS)
        if resize is not None and size is None:
            raise ValueError(
                f"ImageReader: resize={resize!r} has no effect without a size; give size=64, say"
            )
        self.size: tuple[int, int] | None = None if both is None else (both[0], both[1])
        self.mode = mode
        self.resize = resize
        self.invert = as_flag(invert, "ImageReader", "invert")

    @property
    def channels(self) -> int:
        """Channels of the arrays: 3, or 1 for grey levels."""
        return _MODES[self.mode]

    def read(self, source: Any) -> np.ndarray:
        """Read an image.

        Parameters
        ----------
        source : path, bytes, file opened for reading bytes, or PIL.Image.Image

        Returns
        -------
        numpy.ndarray (channels, height, width)
            uint8, 0 (dark) to 255 (light).

        Raises
        ------
        ImportError
            If Pillow is not installed.
        OSError
            If there is no such file, or it may not be read.
        ValueError
            If it is no image, is damaged or cut off, or has more than 50 million pixels. The
            message names the file.
        TypeError
            If it is something else.
        """
        check_pillow("ImageReader.read")
        content, name = _content(source)
        try:
            return self._array(content)
        # Pillow's plug-ins fail in many ways on damaged files.
        except Exception as error:
            raise ValueError(f"cannot read {name} as an image: {_reason(error)}") from error

    def _array(self, content: Any) -> np.ndarray:
        """Make the array of bytes, or of an image of Pillow's."""
        from PIL import Image

        if isinstance(content, Image.Image):
            _check_pixels(content)
            return self._finished(content)
        if not content:
            raise ValueError("it is empty")
        Image.init()
        formats = [name for name in _FORMATS if name in Image.OPEN]
        # from memory, since reading a file makes room for as much as a damaged one asks for
        with Image.open(io.BytesIO(content), formats=formats) as file:
            _check_pixels(file)
            if self.size is not None:
                # JPEG files are unpacked at a half, a quarter or an eighth, which is much faster
                file.draft(None, (2 * max(self.size),) * 2)
            return self._finished(file)

    def _finished(self, picture: Any) -> np.ndarray:
        orientation = _orientation(picture)
        picture = self._plain(_eight_bits(picture))
        if orientation is not None:
            picture = picture.transpose(orientation)
        pixels = np.asarray(self._resized(picture))
        pixels = pixels[None] if self.channels == 1 else pixels.transpose(2, 0, 1)
        pixels = np.array(pixels, order="C")
        return 255 - pixels if self.invert else pixels

    def _plain(self, picture: Any) -> Any:
        """Bring an image of Pillow's to the mode, with paper where it is transparent."""
        from PIL import Image

        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            paper = Image.new("RGBA", picture.size, self._paper)
            picture = Image.alpha_composite(paper, picture)
        return picture.convert(self.mode)

    @property
    def _paper(self) -> str:
        return "white" if self.invert else "black"

    def _resized(self, picture: Any) -> Any:
        from PIL import Image, ImageOps

        if self.size is None:
            return picture
        height, width = self.size
        filter = Image.Resampling.LANCZOS
        if picture.size == (width, height):
            return picture
        if self.resize == "crop":
            return ImageOps.fit(picture, (width, height), filter)
        if self.resize != "pad":
            return picture.resize((width, height), filter)
        scale = min(width / picture.width, height / picture.height)
        inner = [max(1, round(n * scale)) for n in picture.size]
        paper = Image.new(self.mode, (width, height), self._paper)
        corner = (width - inner[0]) // 2, (height - inner[1]) // 2
        paper.paste(picture.resize(inner, filter), corner)
        return paper


def reader_from_config(description: Any) -> ImageReader:
    """Make the reader that :func:`xpcnn._registry.to_config` described.

    Raises
    ------
    ValueError
        If it describes none.
    """
    return from_config(description, {"ImageReader": ImageReader}, "image reader")


def check_pillow(who: str) -> None:
    """Raise an ImportError that says what to install, unless Pillow is there."""
    if importlib.util.find_spec("PIL") is None:
        raise ImportError(f'{who}: reading images needs Pillow; run: pip install "xpcnn[images]"')


def _content(source: Any) -> tuple[Any, str]:
    """Return the bytes of an image, or an image of Pillow's, and what to call it."""
    from PIL import Image

    if isinstance(source, (str, os.PathLike)):
        return read_whole(Path(source)), str(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), f"these {len(source):,} bytes"
    if isinstance(source, Image.Image):
        return source, "this image"
    content = source.read() if hasattr(source, "read") else None
    if not isinstance(content, bytes):
        raise TypeError(
            "ImageReader.read: expected a path, bytes, a file opened with mode 'rb' or an image of "
            f"Pillow's, got {type(source).__name__}"
        )
    return content, str(getattr(source, "name", "the file"))


def _check_pixels(picture: Any) -> None:
    if picture.width * picture.height > MOST_PIXELS:
        raise ValueError(
            f"it has {picture.width:,} x {picture.height:,} pixels, and images of up to "
            f"{MOST_PIXELS:,} are read; make it smaller first"
        )


def _reason(error: Exception) -> str:
    """Say why an image cannot be read."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        known = ", ".join(name for name in _FORMATS if name not in ("MPO", "DIB", "HEIF"))
        return f"it is none, or is damaged, or of none of the formats {known}"
    text = str(error) or type(error).__name__
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"images of up to {MOST_PIXELS:,} pixels are read; make it smaller first ({text})"
    return text if isinstance(error, (OSError, ValueError)) else f"it is damaged ({text})"


def _eight_bits(picture: Any) -> Any:
    """Bring grey levels of 16 bits to 8, which Pillow's convert() would cut off."""
    from PIL import Image

    if picture.mode == "F":
        raise ValueError(
            "its pixels are floating-point numbers, of which nobody says what is black and white; "
            "save it with 8 or 16 bits"
        )
    if not picture.mode.startswith("I"):
        return picture
    levels = np.array(picture, np.int32)
    levels.clip(0, 65535, out=levels)
    levels *= 255
    levels += 32767  # to round
    levels //= 65535
    return Image.fromarray(levels.astype(np.uint8))


def _orientation(picture: Any) -> Any:
    """Return how an image has to be turned to stand upright, or None."""
    from PIL import Image

    turn = Image.Transpose
    try:
        tag = picture.getexif().get(_ORIENTATION)
    except Exception:  # notes of the camera that are damaged do not stop the image
        return None
    return {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }.get(tag)
