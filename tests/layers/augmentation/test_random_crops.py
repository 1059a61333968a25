"""Mirrored images, and parts of images at random places."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.layers import by_hand
from tests.layers.augmentation.drawing import (
    MANY,
    assert_even,
    assert_mean,
    drawn,
    images,
    seeded,
)
from xpcnn import _xp

# -- Flips -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "axis"), [(xc.RandomHorizontalFlip, 3), (xc.RandomVerticalFlip, 2)]
)
def test_flips_by_hand(kind, axis, device):
    x = images((8, 3, 4, 5))
    flipped = seeded(kind()).draw(x.shape)
    assert 0 < flipped.sum() < 8
    y, dx = by_hand.run(seeded(kind()), x, device)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    for n in range(8):
        np.testing.assert_array_equal(y[n], np.flip(x[n], axis - 1) if flipped[n] else x[n])
        np.testing.assert_array_equal(dx[n], np.flip(dy[n], axis - 1) if flipped[n] else dy[n])


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("kind", [xc.RandomHorizontalFlip, xc.RandomVerticalFlip])
def test_how_often_images_are_mirrored(kind, p):
    assert_mean(drawn(kind(p), (1, 2, 2)), p, np.sqrt(p * (1 - p)))


# -- Crops -----------------------------------------------------------------------------------------

PADDED = {
    "constant": {"constant_values": 0.5},
    "edge": {},
    "reflect": {},
    "symmetric": {},
}

# at the top and bottom, left and right
SIDES = {
    None: (0, 0, 0, 0),
    2: (2, 2, 2, 2),
    (4,): (4, 4, 4, 4),
    (1, 3): (3, 3, 1, 1),
    (0, 1, 2, 3): (1, 3, 0, 2),
}


@pytest.mark.parametrize("mode", PADDED)
@pytest.mark.parametrize("padding", SIDES)
def test_crops_of_padded_images_by_hand(padding, mode, device):
    """As from the image that numpy.pad makes."""
    x = images((5, 2, 6, 7))
    layer = xc.RandomCrop((4, 5), padding, fill=0.5 * (mode == "constant"), padding_mode=mode)
    tops, lefts = seeded(layer).draw(x.shape)
    y, dx = by_hand.run(seeded(layer), x, device)
    top, bottom, left, right = SIDES[padding]
    pairs = ((0, 0), (top, bottom), (left, right))
    numbers = np.arange(x[0].size).reshape(x[0].shape)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    for n, (i, j) in enumerate(zip(tops, lefts, strict=True)):
        part = (slice(None), slice(i, i + 4), slice(j, j + 5))
        np.testing.assert_array_equal(y[n], np.pad(x[n], pairs, mode, **PADDED[mode])[part])
        # each pixel gets the gradients of all places that it came to
        which = np.pad(numbers, pairs, mode, **({"constant_values": -1} if PADDED[mode] else {}))
        expected = np.zeros(x[n].size + 1)
        np.add.at(expected, which[part].reshape(-1), dy[n].reshape(-1))
        np.testing.assert_array_equal(dx[n].reshape(-1), expected[:-1])


def test_fill_for_each_channel(device):
    layer = seeded(xc.RandomCrop(4, 4, fill=(1.0, 2.0, 3.0)))
    y = _xp.to_numpy(layer.forward(device.asarray(np.zeros((64, 3, 2, 2))), training=True))
    for channel in range(3):
        assert set(np.unique(y[:, channel])) == {0.0, channel + 1.0}


@pytest.mark.parametrize("padding", [None, 3])
def test_places_of_crops_are_even(padding):
    rows, columns = drawn(xc.RandomCrop((4, 5), padding), (1, 8, 7))
    more = 0 if padding is None else 6
    assert_even(rows, 5 + more)
    assert_even(columns, 3 + more)
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 3 / np.sqrt(MANY)


def test_padding_where_it_is_needed():
    """The shorter side gets on both ends what is missing; the other one is cropped."""
    layer = xc.RandomCrop((6, 3), pad_if_needed=True)
    rows, columns = drawn(layer, (1, 4, 8))
    assert_even(rows, 3)
    assert_even(columns, 6)
    y = seeded(layer).forward(np.ones((9, 1, 4, 8)), training=True)
    assert y.shape == (9, 1, 6, 3)
    np.testing.assert_array_equal(y.sum(axis=(1, 2, 3)), 12)  # all four rows are there


def test_without_training_the_middle_is_taken():
    x = images((2, 3, 6, 9))
    np.testing.assert_array_equal(xc.RandomCrop(4, 2)(x), x[:, :, 1:5, 2:6])
    np.testing.assert_array_equal(xc.RandomResizedCrop((2, 3))(x), xc.Resize((2, 3))(x))
    for layer in (xc.RandomHorizontalFlip(1), xc.RandomVerticalFlip(1)):
        np.testing.assert_array_equal(layer(x), x)


# -- Resized crops ---------------------------------------------------------------------------------


def test_area_and_proportions_of_resized_crops():
    """Of a large square where every rectangle fits, so that nothing is drawn again."""
    layer = xc.RandomResizedCrop(4, (0.1, 0.4), (0.5, 2.0))
    top, left, height, width = drawn(layer, (1, 1000, 1000))
    assert_mean(height * width / 1e6, 0.25, 0.3 / np.sqrt(12))
    assert_mean(np.log(width / height), 0.0, 2 * np.log(2) / np.sqrt(12))
    assert np.all((top >= 0) & (left >= 0) & (top + height <= 1000) & (left + width <= 1000))
    # of the places that a part of its size may have, each is as likely
    assert_mean(top / (1000 - height), 0.5, 1 / np.sqrt(12))
    assert_mean(left / (1000 - width), 0.5, 1 / np.sqrt(12))


def test_resized_crops_as_torchvision_draws_them():
    """Where many rectangles do not fit, the means are those of torchvision's draws."""
    torch = pytest.importorskip("torch")
    v2 = pytest.importorskip("torchvision.transforms.v2")
    torch.manual_seed(0)
    theirs = v2.RandomResizedCrop(4)
    image = torch.zeros(1, 30, 20)
    keys = ("top", "left", "height", "width")
    expected = np.array(
        [[p[key] for key in keys] for p in (theirs.make_params([image]) for _ in range(3000))]
    )
    ours = drawn(xc.RandomResizedCrop(4), (1, 30, 20))
    for found, wanted in zip(ours, expected.T, strict=True):
        error = np.hypot(found.std() / np.sqrt(MANY), wanted.std() / np.sqrt(3000))
        assert abs(found.mean() - wanted.mean()) <= 3.5 * error


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [((4.0, 5.0), (9, 0, 2, 10)), ((0.1, 0.2), (0, 3, 20, 4))],
)
def test_what_never_fits_is_the_largest_in_the_middle(ratio, expected):
    """10 wide and 20 high, and the whole of it wanted."""
    found = drawn(xc.RandomResizedCrop(4, (1, 1), ratio), (1, 20, 10))
    assert {tuple(part) for part in found.T.tolist()} == {expected}


RESIZED = [
    {},
    {"antialias": False},
    {"interpolation": "nearest"},
    {"interpolation": "bicubic"},
    {"interpolation": "bicubic", "antialias": False},
]


@pytest.mark.parametrize("options", RESIZED, ids=str)
def test_resized_crops_are_crops_resized(options, device):
    """Each part, cut out, as Resize makes it."""
    x = images((6, 2, 13, 11))
    layer = xc.RandomResizedCrop((5, 7), (0.1, 0.9), **options)
    parts = seeded(layer).draw(x.shape)
    y, dx = by_hand.run(seeded(layer), x, device)
    for n, (top, left, height, width) in enumerate(parts.T):
        part = x[n : n + 1, :, top : top + height, left : left + width]
        expected = xc.Resize((5, 7), **options)(part)
        np.testing.assert_allclose(y[n : n + 1], expected, rtol=1e-12, atol=1e-12)
    dy = np.arange(1.0, 1 + y.size).reshape(y.shape)
    assert np.sum(dx * x) == pytest.approx(np.sum(dy * y), rel=1e-12)


@pytest.mark.parametrize("options", RESIZED, ids=str)
def test_as_torchvision_resizes_crops(options):
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchvision.transforms.v2.functional")
    modes = pytest.importorskip("torchvision.transforms").InterpolationMode
    x = images((8, 3, 20, 31), "float32")
    layer = xc.RandomResizedCrop((9, 12), **options)
    parts = seeded(layer).draw(x.shape)
    y = seeded(layer).forward(x, training=True)
    given = {**options, "interpolation": modes(options.get("interpolation", "bilinear"))}
    for n, part in enumerate(parts.T.tolist()):
        theirs = F.resized_crop(torch.from_numpy(x[n]), *part, [9, 12], **given).numpy()
        np.testing.assert_allclose(y[n], theirs, rtol=1e-5, atol=1e-5)


# -- Wrong use -------------------------------------------------------------------------------------

WRONG = {
    "p must be from 0 to 1, got 2": lambda: xc.RandomHorizontalFlip(2),
    "RandomVerticalFlip: p must be a number": lambda: xc.RandomVerticalFlip("x"),
    "RandomCrop: size must be at least 1": lambda: xc.RandomCrop(0),
    "RandomCrop: padding must be one number, two": lambda: xc.RandomCrop(3, (1, 2, 3)),
    "RandomCrop: padding must be at least 0": lambda: xc.RandomCrop(3, -1),
    "RandomCrop: padding must be an integer": lambda: xc.RandomCrop(3, 0.5),
    "pad_if_needed must be True or False": lambda: xc.RandomCrop(3, pad_if_needed=1),
    "RandomCrop: fill must be a number": lambda: xc.RandomCrop(3, fill="red"),
    "padding_mode must be .* got 'zeros'": lambda: xc.RandomCrop(3, padding_mode="zeros"),
    "fill is for padding_mode='constant'": lambda: xc.RandomCrop(3, 1, False, 1.0, "edge"),
    "scale must be a pair": lambda: xc.RandomResizedCrop(3, 0.5),
    "scale must be from 0 to 1": lambda: xc.RandomResizedCrop(3, (0.5, 2)),
    "scale must be .* the lower number first": lambda: xc.RandomResizedCrop(3, (0.5, 0.2)),
    "scale must not end at 0": lambda: xc.RandomResizedCrop(3, (0, 0)),
    "ratio must be positive": lambda: xc.RandomResizedCrop(3, ratio=(0, 1)),
    "interpolation must be": lambda: xc.RandomResizedCrop(3, interpolation="linear"),
    "antialias must be True or False": lambda: xc.RandomResizedCrop(3, antialias="yes"),
}


@pytest.mark.parametrize("message", WRONG)
def test_arguments_are_checked(message):
    with pytest.raises((TypeError, ValueError), match=message):
        WRONG[message]()


def test_images_that_do_not_fit_are_refused():
    by_hand.assert_refused(xc.RandomCrop(5), (1, 1, 4, 9), r"expected images of at least \(5, 5\)")
    layer = xc.RandomCrop(9, 4, padding_mode="reflect")
    by_hand.assert_refused(layer, (1, 1, 4, 9), "'reflect' can add at most 3 pixels to a side of 4")
    layer = xc.RandomCrop(9, 5, padding_mode="symmetric")
    by_hand.assert_refused(layer, (1, 1, 4, 9), "'symmetric' can add at most 4 pixels")
    layer = xc.RandomCrop(2, fill=(1.0, 2.0))
    by_hand.assert_refused(layer, (1, 3, 4, 9), "expected 2 channels, as fill has numbers, got 3")
