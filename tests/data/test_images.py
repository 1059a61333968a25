"""Image files become arrays of one size, upright, in colour or grey."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from xpcnn import _registry
from xpcnn.data import ImageReader
from xpcnn.data.images import reader_from_config

Image = pytest.importorskip("PIL.Image")

GREY = np.random.default_rng(9).integers(0, 256, (6, 4), dtype=np.uint8)
COLOUR = np.random.default_rng(8).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def encoded(picture, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def test_colours_come_channels_first(tmp_path):
    picture = Image.fromarray(COLOUR)
    expected = np.stack([COLOUR[..., c] for c in range(3)])
    content = encoded(picture)
    (tmp_path / "a.png").write_bytes(content)
    reader = ImageReader()
    for source in (content, bytearray(content), io.BytesIO(content), picture, tmp_path / "a.png"):
        found = reader.read(source)
        assert found.dtype == np.uint8
        assert found.flags["C_CONTIGUOUS"]
        assert found.flags["WRITEABLE"]
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(reader.read(str(tmp_path / "a.png")), expected)
    with (tmp_path / "a.png").open("rb") as file:
        np.testing.assert_array_equal(reader.read(file), expected)
    np.testing.assert_array_equal(ImageReader(invert=True).read(picture), 255 - expected)


def test_grey_levels_are_those_of_the_usual_weights():
    """ITU-R 601: 0.299 red, 0.587 green, 0.114 blue."""
    found = ImageReader(mode="L").read(Image.fromarray(COLOUR))
    assert found.shape == (1, 6, 4)
    expected = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(found[0] - expected).max() <= 1


def test_a_grey_image_in_colour_has_three_same_channels():
    found = ImageReader().read(encoded(Image.fromarray(GREY)))
    np.testing.assert_array_equal(found, np.stack([GREY] * 3))


# -- sizes -------------------------------------------------------------------------------------


def thirds(height: int, width: int) -> np.ndarray:
    """An image whose left third is 30, the middle 120 and the right 240."""
    levels = np.full((height, width), 120, np.uint8)
    levels[:, : width // 3], levels[:, -(width // 3) :] = 30, 240
    return levels


def test_squash_keeps_everything():
    found = ImageReader((4, 9), mode="L").read(Image.fromarray(thirds(40, 180)))[0]
    assert found.shape == (4, 9)
    # the filter reaches over the edges of the thirds a little
    assert np.abs(found[:, [0, 4, 8]] - np.array([30.0, 120.0, 240.0])).max() <= 2


def test_crop_keeps_the_middle():
    found = ImageReader(4, mode="L", resize="crop").read(Image.fromarray(thirds(60, 600)))[0]
    assert np.array_equal(found, np.full((4, 4), 120))
    tall = ImageReader(4, mode="L", resize="crop").read(Image.fromarray(thirds(60, 600).T))[0]
    assert np.array_equal(tall, np.full((4, 4), 120))


@pytest.mark.parametrize(("invert", "paper"), [(False, 0), (True, 0)])
def test_pad_puts_paper_beside(invert, paper):
    """Black, or white that is black when it is inverted."""
    reader = ImageReader((9, 9), mode="L", resize="pad", invert=invert)
    found = reader.read(Image.fromarray(np.full((30, 90), 200, np.uint8)))[0]
    assert found[[0, 1, 2, 6, 7, 8]].tolist() == [[paper] * 9] * 6
    assert found[3:6].tolist() == [[55 if invert else 200] * 9] * 3


def test_pad_keeps_a_line_that_is_very_long():
    found = ImageReader(8, mode="L", resize="pad").read(Image.new("L", (900, 1), 255))
    assert found.max() == 255


def test_one_size_is_a_square_and_two_are_height_and_width():
    picture = Image.fromarray(COLOUR)
    assert ImageReader(5).read(picture).shape == (3, 5, 5)
    assert ImageReader((5, 7), mode="L").read(picture).shape == (1, 5, 7)


def test_large_photographs_are_reduced_while_they_are_unpacked():
    """By Pillow's "draft" of JPEG, with the same picture as result."""
    y, x = np.mgrid[0:1200, 0:1600]
    levels = (127 + 100 * np.sin(x / 90) * np.cos(y / 70)).astype(np.uint8)
    picture = Image.fromarray(levels)
    direct = np.asarray(picture.resize((80, 60), Image.Resampling.LANCZOS))
    found = ImageReader((60, 80), mode="L").read(encoded(picture, "JPEG", quality=95))[0]
    assert np.abs(found.astype(int) - direct).max() <= 4


# -- kinds of files ------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright(orientation):
    """As the tag of EXIF says it: how the rows and columns of the file lie in the scene."""
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].T,
        8: np.rot90(stored),
    }[orientation]
    picture, exif = Image.fromarray(stored), Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture, "PNG", exif=exif)
    np.testing.assert_array_equal(ImageReader(mode="L").read(content)[0], upright)
    sized = ImageReader(upright.shape, mode="L").read(content)[0]
    np.testing.assert_array_equal(sized, upright)


def test_damaged_notes_of_the_camera_do_not_stop_an_image():
    content = encoded(Image.new("L", (8, 8), 77), "JPEG", exif=b"Exif\0\0nonsense")
    assert (ImageReader(mode="L").read(content) == 77).all()


@pytest.mark.parametrize(
    ("format", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("TIFF", "CMYK", {}),
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("PNG", "LA", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("PPM", "RGB", {}),
    ],
)
def test_each_kind_of_file(format, mode, options):
    white = Image.new("RGB", (20, 20), "white").convert(mode)
    found = ImageReader(10).read(encoded(white, format, **options))
    assert found.shape == (3, 10, 10)
    assert (found >= 254).all()


def test_the_first_frame_of_a_film():
    frames = [Image.new("P", (5, 5), colour) for colour in (0, 1)]
    for frame in frames:
        frame.putpalette([10, 20, 30, 200, 210, 220])
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (ImageReader().read(content) == np.array([10, 20, 30])[:, None, None]).all()


@pytest.mark.parametrize(("invert", "expected"), [(False, 0), (True, 0)])
def test_transparent_is_paper(invert, expected):
    levels = np.stack([GREY, GREY, GREY, np.full_like(GREY, 255)], axis=-1)
    levels[0, :, 3] = 0
    found = ImageReader(mode="L", invert=invert).read(encoded(Image.fromarray(levels)))[0]
    assert (found[0] == expected).all()
    np.testing.assert_array_equal(found[1:], 255 - GREY[1:] if invert else GREY[1:])


def test_sixteen_bits_are_rounded():
    levels = np.array([[0, 128, 129, 257, 65535, 65406, 65407]], np.uint16)
    found = ImageReader(mode="L").read(encoded(Image.fromarray(levels)))
    assert found.tolist() == [[[0, 0, 1, 1, 255, 254, 255]]]


def test_floating_point_numbers_have_no_black_and_white():
    with pytest.raises(ValueError, match="floating-point numbers"):
        ImageReader().read(encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))


# -- what goes wrong -----------------------------------------------------------------------------


def test_damaged_files_are_named(tmp_path):
    photo = encoded(Image.effect_noise((200, 150), 60), "JPEG")
    for name, content, why in (
        ("cut.jpg", photo[:2000], "image file is truncated"),
        ("text.png", b"no image at all", "or of none of the formats JPEG, PNG"),
        ("none.png", b"", "it is empty"),
        ("sixty.png", encoded(Image.fromarray(COLOUR))[:60], "cannot read"),
        ("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "formats JPEG"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=why) as caught:
            ImageReader(64).read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        with (tmp_path / name).open("rb") as file, pytest.raises(ValueError, match=name):
            ImageReader(64).read(file)
    with pytest.raises(FileNotFoundError, match="missing.jpg"):
        ImageReader().read(tmp_path / "missing.jpg")
    with pytest.raises(IsADirectoryError):
        ImageReader().read(tmp_path)


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_no_cut_and_no_changed_byte_raises_anything_else(cut):
    content = encoded(Image.effect_noise((20, 20), 60), "JPEG")
    changed = bytearray(content)
    changed[cut % len(changed)] ^= 0xFF
    for damaged in (content[:cut], bytes(changed)):
        try:
            assert ImageReader(8).read(damaged).shape == (3, 8, 8)
        except ValueError as error:
            known = str(error).startswith("cannot read these ")
        else:
            known = True
        assert known


def test_a_small_file_of_many_pixels_is_not_unpacked():
    content = encoded(Image.new("1", (9_000, 9_000)))
    with pytest.raises(ValueError, match="9,000 x 9,000 pixels, and images of up to 50,000,000"):
        ImageReader(8).read(content)


def test_a_header_that_claims_more_than_pillow_would_read():
    content = b"P5 60000 60000 255\n" + bytes(100)
    with pytest.raises(ValueError, match="images of up to 50,000,000 pixels are read"):
        ImageReader(8).read(content)


def test_an_image_of_pillow_is_not_changed():
    file = Image.open(io.BytesIO(encoded(Image.effect_noise((200, 150), 60), "JPEG")))
    ImageReader(16).read(file)
    assert file.size == (200, 150)


@pytest.mark.parametrize("source", [None, 3, np.zeros((4, 4), np.uint8), io.StringIO("text")])
def test_other_sources(source):
    with pytest.raises(TypeError, match="expected a path, bytes, a file opened with mode 'rb'"):
        ImageReader().read(source)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"size": (1, 2, 3)}, "size must be one integer or 2"),
        ({"size": "64"}, "size must be an integer or 2 of them, got '64'"),
        ({"size": 10**5}, "size must be at most 50,000,000 pixels, got 100000"),
        ({"mode": "rgb"}, "mode must be one of 'RGB', 'L'; got 'rgb'"),
        ({"size": 4, "resize": "stretch"}, "resize must be one of 'squash', 'crop', 'pad'"),
        ({"resize": "crop"}, "resize='crop' has no effect without a size"),
        ({"invert": 1}, "invert must be True or False, got 1"),
        ({"sise": 1}, "there is no argument 'sise'"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ImageReader(**settings)


def test_settings_are_checked_when_they_are_set():
    reader = ImageReader((4, 5), resize="pad")
    with pytest.raises(ValueError, match="resize must be one of"):
        reader.resize = "stretch"
    with pytest.raises(ValueError, match="has no effect without a size"):
        reader.size = None
    with pytest.raises(AttributeError, match="ImageReader has no setting 'height'"):
        reader.height = 3
    assert repr(reader) == "ImageReader(size=(4, 5), resize='pad')"
    reader.size = 6
    assert reader.size == (6, 6)


def test_it_survives_its_description_and_pickling():
    for reader in (ImageReader(), ImageReader((4, 5), mode="L", resize="crop", invert=True)):
        description = _registry.to_config(reader)
        for again in (reader_from_config(description), pickle.loads(pickle.dumps(reader))):
            assert repr(again) == repr(reader)
            assert again.config() == reader.config()
    with pytest.raises(ValueError, match="image reader: unknown class 'Path'"):
        reader_from_config({"class": "Path", "config": {}})


def test_without_pillow(monkeypatch, tmp_path):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "xpcnn\[images\]"'):
        ImageReader(4).read(Path("a.png"))
