"""POST /predict: images."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest

import xpcnn
from tests.serving.clients import classifier, error_of, post, serve, softmax
from xpcnn.data import ImageReader
from xpcnn.data.images import MOST_PIXELS

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("python_multipart")

MODEL = classifier()
PIXELS = np.random.default_rng(1).integers(0, 256, (6, 5), dtype="uint8")
KINDS = {"image/png": "PNG", "image/bmp": "BMP", "image/tiff": "TIFF"}


def file_of(pixels: np.ndarray, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def send(body: bytes, kind: str = "image/png", model: xpcnn.Model = MODEL, **request):
    return post(model, content=body, headers={"content-type": kind}, **request)


def expected_for(pixels: np.ndarray) -> dict:
    p = softmax(MODEL.predict(np.float32(pixels)[None, None] / 255))[0]
    return {"class": p.argmax(), "probability": pytest.approx(p.max(), rel=1e-6)}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_classified(kind):
    answer = send(file_of(PIXELS, KINDS[kind]), kind)
    assert answer.json() == {"predictions": [expected_for(PIXELS)]}


def test_images_of_other_sizes_and_colours_are_brought_to_the_models():
    flat = np.full((40, 31, 3), 200, "uint8")  # one grey level stays what it is, however resized
    assert send(file_of(flat)).json() == {"predictions": [expected_for(np.full((6, 5), 200))]}


def test_files_of_a_form_are_samples_in_order():
    files = [("a", ("1.png", file_of(PIXELS))), ("a", ("2", file_of(255 - PIXELS, "BMP")))]
    answer = post(MODEL, files=files)
    expected = [expected_for(PIXELS), expected_for(255 - PIXELS)]
    assert answer.json() == {"predictions": expected}


def test_a_model_that_scales_gets_bytes():
    layers = [xpcnn.Rescale(1 / 255), xpcnn.Flatten(), xpcnn.Linear(30, 3)]
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.build((None, 1, 6, 5))
    (found,) = send(file_of(PIXELS), model=model).json()["predictions"]
    weight, bias = (np.asarray(p.data) for p in (layers[2].weight, layers[2].bias))
    expected = weight @ (PIXELS.ravel() / 255) + bias
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    file = io.BytesIO()
    np.save(file, PIXELS[None])
    for answer in (
        send(file.getvalue(), "application/x-npy", model=model),
        post(model, json=[PIXELS[None].tolist()]),
    ):
        np.testing.assert_allclose(answer.json()["predictions"], [expected], rtol=1e-4)


def test_colour_has_three_channels():
    model = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(12, 2)], device="cpu", seed=0)
    model.build((None, 3, 2, 2))
    colours = np.random.default_rng(2).integers(0, 256, (2, 2, 3), dtype="uint8")
    (found,) = send(file_of(colours), model=model).json()["predictions"]
    x = np.float32(colours.transpose(2, 0, 1))[None] / 255
    np.testing.assert_allclose(found, model.predict(x)[0], rtol=1e-5)


def test_the_model_knows_names_and_how_to_read():
    model = classifier()
    model.class_names = ["cat", "dog", "horse"]
    model.image_input = ImageReader((6, 5), mode="L", resize="crop", invert=True)
    wide = np.zeros((6, 50), "uint8")
    wide[:, 20:30] = PIXELS.repeat(2, axis=1)  # the rest is cut off
    cropped = ImageReader((6, 5), mode="L", resize="crop", invert=True).read(file_of(wide))
    np.testing.assert_array_equal(  # by hand: no resizing in the file that has the right size
        ImageReader((6, 5), mode="L", invert=True).read(file_of(PIXELS)), 255 - PIXELS[None]
    )
    p = softmax(model.predict(np.float32(cropped)[None] / 255))[0]
    (found,) = send(file_of(wide), model=model, path="/predict?top=3").json()["predictions"]
    assert found["name"] == ("cat", "dog", "horse")[p.argmax()]
    assert found["probability"] == pytest.approx(p.max(), rel=1e-6)
    for each in found["top"]:
        assert each["name"] == model.class_names[each["class"]]


def bomb() -> bytes:
    """Make a small file of a large image."""
    side = 1 + int(MOST_PIXELS**0.5)
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: b"\x89PNG\r\n\x1a\n" + b"x" * 50, "cannot read these 58 bytes"),
        (lambda: file_of(PIXELS)[:50], "cannot read these"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "of none of the formats"),
        (bomb, "images of up to 50,000,000 are read"),
    ],
    ids=["garbage", "cut off", "a program", "bomb"],
)
def test_what_is_no_image_is_refused(make, said):
    assert said in error_of(send(make()), 422)


def test_a_bad_image_among_good_ones():
    async def use(client):
        good, bad = file_of(PIXELS), file_of(PIXELS)[:40]
        head = {"content-type": "image/png"}
        posts = [client.post("/predict", content=c, headers=head) for c in (good, bad, good)]
        files = [("a", ("1", good)), ("a", ("2", bad))]
        return await asyncio.gather(*posts, client.post("/predict", files=files))

    one, two, three, form = serve(MODEL, use)
    assert one.json() == three.json() == {"predictions": [expected_for(PIXELS)]}
    error_of(two, 422)
    assert error_of(form, 422).startswith("image 2 of 2: cannot read")


def test_forms_that_make_no_sense():
    assert "files alone" in error_of(post(MODEL, files={"a": (None, "text")}), 400)
    few = [("a", ("1", file_of(PIXELS)))] * 3
    said = error_of(post(MODEL, files=few, limits={"max_batch": 2}), 400)
    assert "up to 2 files" in said
    for body in (b"--", b"--x\r\n\r\n", b"nonsense", b"--x\r\nContent-Disposition: form-data\r\n"):
        answer = send(body, "multipart/form-data; boundary=x")
        assert answer.status_code == 400, (body, answer.text)
    error_of(send(b"--x", "multipart/form-data"), 400)


def test_a_model_that_takes_no_images_says_what_it_takes():
    model = xpcnn.Model([xpcnn.Linear(4, 2)], device="cpu", seed=0)
    model.build((None, 4))
    assert "samples of shape (4,), not images; send JSON" in error_of(
        send(file_of(PIXELS), model=model), 415
    )
