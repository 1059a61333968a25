"""Warnings about networks and data that train without an error, and can hardly be meant."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import layers as L


class OwnLinear(L.Linear):
    """A layer of which nobody knows what it gives."""


def compiled(loss: Any, *last: Any) -> xpcnn.Model:
    model = xpcnn.Model([L.Linear(4, 8), L.ReLU(), L.Linear(8, 3), *last], device="cpu", seed=0)
    model.compile("sgd", loss)
    return model


def test_a_misfit_of_last_layer_and_loss() -> None:
    cases: list[tuple[Any, list[Any], str]] = [
        ("cross_entropy", [L.Softmax(1)], "ends in Softmax.*CrossEntropyLoss.*leave Softmax out"),
        ("cross_entropy", [L.Sigmoid()], "ends in Sigmoid.*CrossEntropyLoss"),
        ("cross_entropy", [L.LogSoftmax(1), L.Flatten()], "ends in LogSoftmax"),
        ("cross_entropy", [xpcnn.Sequential(L.Softmax(1), L.Dropout())], "ends in Softmax"),
        ("bce_with_logits", [L.Sigmoid()], "ends in Sigmoid.*BCEWithLogitsLoss"),
        ("nll", [], "ends in Linear.*NLLLoss.*add LogSoftmax; or use 'cross_entropy'"),
        ("nll", [L.Softmax(1)], "ends in Softmax.*NLLLoss.*put LogSoftmax in the place"),
        ("kl_div", [], "ends in Linear.*KLDivLoss.*add LogSoftmax"),
        ("bce", [], "ends in Linear.*BCELoss.*add Sigmoid, or use 'bce_with_logits'"),
        ("bce", [L.LogSigmoid()], "ends in LogSigmoid.*BCELoss.*put Sigmoid in the place"),
    ]
    for loss, last, message in cases:
        with pytest.warns(UserWarning, match=message) as caught:
            compiled(loss, *last)
        assert len(caught) == 1
        assert caught[0].filename == __file__  # the line of the program, not one of ours


def test_what_fits() -> None:
    for loss, last in [
        ("cross_entropy", []),
        ("cross_entropy", [L.ReLU()]),
        ("bce_with_logits", []),
        ("nll", [L.LogSoftmax(1)]),
        ("bce", [L.Sigmoid(), L.Flatten()]),
        ("bce", [L.Softmax(1)]),
        ("kl_div", [L.LogSoftmax(1)]),
        ("mse", [L.Softmax(1)]),
        ("mse", []),
        ("bce", [OwnLinear(3, 3)]),
        ("nll", [L.Tanh()]),
    ]:
        compiled(loss, *last)


def test_each_output_and_its_loss() -> None:
    graph = xpcnn.Graph(
        inputs=["x"],
        nodes=[
            ("a", L.Linear(4, 3), "x"),
            ("b", L.Linear(4, 1), "x"),
            ("chance", L.Sigmoid(), "b"),
            ("flat", L.Flatten(), "chance"),
        ],
        outputs=["a", "flat"],
    )
    model = xpcnn.Model(graph, device="cpu", seed=0)
    model.compile("sgd", {"a": "cross_entropy", "flat": "bce"})
    with pytest.warns(UserWarning, match="output 'flat' of the network ends in Sigmoid"):
        model.compile("sgd", {"a": "cross_entropy", "flat": "bce_with_logits"})
    nested = xpcnn.Model(
        xpcnn.Graph(["x"], [("inner", graph, ["x"], ["p", "q"])], ["p", "q"]), device="cpu"
    )
    with pytest.warns(UserWarning, match="output 'p' of the network ends in Linear"):
        nested.compile("sgd", {"p": "nll", "q": "bce"})


# -- Images ----------------------------------------------------------------------------------------

LABELS = np.arange(8) % 2


def image_model(*first: Any) -> xpcnn.Model:
    chain = [*first, L.Conv2d(1, 2, 3), L.Flatten(), L.Linear(None, 2)]
    model = xpcnn.Model(chain, device="cpu", seed=0)
    model.compile(xpcnn.optim.SGD(lr=1e-6), "cross_entropy")
    return model


def test_pixels_from_0_to_255(device: Any, rng: np.random.Generator) -> None:
    whole = rng.integers(0, 256, (8, 1, 6, 6)).astype("float32")
    for x in (whole, whole * np.float32(0.99)):
        with pytest.warns(UserWarning, match=r" to 25.*x / 255") as caught:
            image_model().fit(x, LABELS, epochs=3, batch_size=4, verbose=0)
        assert len(caught) == 1
        with pytest.warns(UserWarning, match="x / 255"):
            image_model().train_on_batch(x, LABELS)
    flat = xpcnn.Model([L.Linear(36, 2)], device=device, seed=0)
    flat.compile("sgd", "cross_entropy")
    with pytest.warns(UserWarning, match="x / 255"):
        flat.fit(whole.reshape(8, 36), LABELS, verbose=0)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_pixels_that_are_normalized_before_they_are_scaled(
    kind: str, rng: np.random.Generator
) -> None:
    x = rng.integers(0, 256, (8, 1, 6, 6)).astype(kind)
    with pytest.warns(
        UserWarning, match=r"Normalize .*std=\(0.2,\) leaves them large; put xpcnn.Re"
    ):
        image_model(L.RandomHorizontalFlip(), L.Normalize(0.5, 0.2)).fit(x, LABELS, verbose=0)
    image_model(L.Normalize(128, 64)).fit(x, LABELS, verbose=0)
    image_model(L.Rescale(1 / 255), L.Normalize(0.5, 0.2)).fit(x, LABELS, verbose=0)
    with pytest.warns(UserWarning, match="x / 255"):
        image_model(L.RandomHorizontalFlip()).fit(x.astype("float32"), LABELS, verbose=0)


def test_numbers_that_are_scaled_twice(rng: np.random.Generator) -> None:
    x = rng.random((8, 1, 6, 6)).astype("float32")
    with pytest.warns(
        UserWarning, match="Rescale .*multiplies them by 0.00392157, as if they were"
    ):
        image_model(L.Rescale(1 / 255)).fit(x, LABELS, verbose=0)
    image_model(L.Rescale(0.5)).fit(x, LABELS, verbose=0)
    image_model(L.Rescale(1 / 255)).fit(200 * x, LABELS, verbose=0)


def test_other_numbers_are_no_pixels(rng: np.random.Generator) -> None:
    whole = rng.integers(0, 256, (8, 1, 6, 6)).astype("float32")
    for x in (whole / 255, whole - 128, whole * 100):
        image_model().fit(x, LABELS, verbose=0)
    # What scales them itself may get them.
    image_model(L.BatchNorm2d(1)).fit(whole, LABELS, verbose=0)
    # A table of a few columns is no image.
    model = xpcnn.Model([L.Linear(4, 2)], device="cpu", seed=0)
    model.fit(
        whole.reshape(-1, 4)[:8], LABELS, optimizer=xpcnn.optim.SGD(lr=1e-6),
        loss="cross_entropy", verbose=0,
    )  # fmt: skip
    model = image_model()
    model.fit(whole / 255, LABELS, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(whole, LABELS)
        model.predict(whole)
