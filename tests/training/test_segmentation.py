"""A U-Net of made shapes: losses and metrics of segmentation, with pixels that do not count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import metrics, zoo
from xpcnn.device import Device


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw bright discs (1) and dark squares (2), with borders of 255, in images of 16 x 16."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 0.3, (count, 1, 16, 16)).astype("float32")
    y = np.zeros((count, 16, 16), "uint8")
    rows, columns = np.mgrid[:16, :16]
    for image, mask in zip(x[:, 0], y, strict=True):
        kind, size = int(rng.integers(1, 3)), int(rng.integers(3, 6))
        top, left = rng.integers(size, 16 - size, 2)
        near, far = abs(rows - top), abs(columns - left)
        inside = near**2 + far**2 < size**2 if kind == 1 else np.maximum(near, far) < size
        image[inside] += 1.5 if kind == 1 else -1.5
        mask[inside] = kind
        mask[inside ^ np.roll(inside, 1, axis=0)] = 255
    return x, y


X, Y = shapes(64, 0)
X_NEW, Y_NEW = shapes(20, 1)


def model_for(loss: Any, chosen: Any, classes: int = 3, device: str = "cpu") -> xpcnn.Model:
    network = zoo.unet(classes=classes, width=8, depth=2)
    model = xpcnn.Model(network, device=device, seed=0)
    model.compile(xpcnn.optim.Adam(1e-2), loss, chosen)
    return model


def iou(model: xpcnn.Model) -> float:
    """Count the pixels of each class, one class after the other."""
    seen = model.predict(X_NEW).argmax(axis=1)
    counted, found = Y_NEW != 255, []
    for c in range(3):
        both = (seen == c) & (c == Y_NEW) & counted
        either = ((seen == c) | (c == Y_NEW)) & counted
        found.append(both.sum() / either.sum())
    return float(np.mean(found))


@pytest.mark.parametrize(
    "loss",
    [xpcnn.DiceLoss(ignore_index=255), xpcnn.FocalLoss(ignore_index=255)],
    ids=lambda loss: type(loss).__name__,
)
def test_a_unet_learns_shapes(loss: xpcnn.Loss, tmp_path: Any) -> None:
    model = model_for(loss, ["mean_iou", "dice", "accuracy"])
    stop = xpcnn.EarlyStopping(monitor="val_mean_iou", patience=3, restore_best_weights=True)
    data = (X_NEW, Y_NEW)
    history = model.fit(
        X, Y, epochs=6, batch_size=8, validation_data=data, callbacks=[stop], verbose=0
    ).history
    logs = model.evaluate(X_NEW, Y_NEW, batch_size=7)
    assert logs["mean_iou"] == pytest.approx(iou(model))
    assert logs["mean_iou"] == pytest.approx(max(history["val_mean_iou"]))
    assert logs["mean_iou"] > 0.6
    model.save(tmp_path / "model.safetensors")
    again = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert again.evaluate(X_NEW, Y_NEW, batch_size=7) == logs
    assert again.evaluate(X_NEW, Y_NEW, batch_size=20) == pytest.approx(logs, rel=1e-5)


def test_masks_of_one_class_in_either_shape() -> None:
    masks = np.where(Y == 255, 255, Y > 0).astype("uint8")
    figures = []
    for y in (masks, masks[:, None], masks[:, None].astype("float32")):
        chosen = ["dice", "mean_iou", "auc", "binary_accuracy", "calibration_error"]
        model = model_for(xpcnn.DiceLoss(ignore_index=255), chosen, classes=1)
        model.fit(X, y, epochs=1, batch_size=16, verbose=0)
        figures.append(model.evaluate(X, y))
    assert figures[0] == figures[1] == figures[2]
    seen, counted = model.predict(X)[:, 0] > 0.0, masks != 255
    right = (seen == (masks == 1)) & counted
    assert figures[0]["binary_accuracy"] == pytest.approx(right.sum() / counted.sum())
    both = seen & (masks == 1)
    sizes = (seen & counted).sum() + (masks == 1).sum()
    assert figures[0]["dice"] == pytest.approx(2 * both.sum() / sizes)


def test_on_every_library(device: Device) -> None:
    model = model_for(xpcnn.DiceLoss(ignore_index=255), ["mean_iou"], device=device.name)
    before = model.evaluate(X_NEW[:4], Y_NEW[:4], batch_size=2)
    host = model_for(xpcnn.DiceLoss(ignore_index=255), ["mean_iou"])
    assert before == pytest.approx(host.evaluate(X_NEW[:4], Y_NEW[:4]), rel=1e-4)
    history = model.fit(X_NEW[:4], Y_NEW[:4], epochs=2, batch_size=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]


def test_odd_sizes_say_what_fits() -> None:
    model = model_for(xpcnn.DiceLoss(), [])
    with pytest.raises(ValueError, match=r"Concat 'up0.concat'.*multiples of 2 .* pad or resize"):
        model.predict(np.zeros((1, 1, 45, 45), "float32"))


def test_a_report_of_pixels() -> None:
    model = model_for(xpcnn.DiceLoss(ignore_index=255), [])
    model.fit(X, Y, epochs=1, verbose=0)
    seen = model.predict(X_NEW).argmax(axis=1)
    rows = metrics.classification_report(
        Y_NEW, seen, ignore_index=255, output_dict=True, zero_division=0, labels=[0, 1, 2]
    )
    assert rows["macro avg"]["support"] == (Y_NEW != 255).sum()
    f1 = metrics.f1_score(seen, Y_NEW, num_classes=3, average=None, ignore_index=255)
    np.testing.assert_allclose([rows[str(c)]["f1-score"] for c in range(3)], f1)
