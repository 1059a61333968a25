"""
Segmentation of shapes with a U-Net
===================================

Which pixels belong to a disk, which to a rectangle? A small U-Net learns it from noisy pictures
that are made on the spot, and gives every pixel one of three classes.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpcnn
from xpcnn import zoo

SIZE = 32
NAMES = ["background", "disk", "rectangle"]


def make_picture(rng):
    """Return a noisy picture (1, 32, 32) with a disk and a rectangle, and its classes (32, 32)."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    classes = np.zeros((SIZE, SIZE), dtype="int64")
    row, column = rng.integers(6, SIZE - 6, 2)
    classes[(rows - row) ** 2 + (columns - column) ** 2 < rng.integers(4, 8) ** 2] = 1
    top, left = rng.integers(0, SIZE - 8, 2)
    height, width = rng.integers(6, 14, 2)
    classes[top : top + height, left : left + width] = 2
    ink = np.array([0.0, 0.8, 0.8])[classes] * rng.uniform(0.6, 1.0)
    return (ink + rng.normal(0, 0.2, ink.shape)).astype("float32")[None], classes


rng = np.random.default_rng(0)
pictures, classes = map(np.stack, zip(*(make_picture(rng) for _ in range(320)), strict=True))

# %%
# Cross-entropy and the metrics take a class for each pixel as they stand. Mean IoU is the share of
# pixels two areas have in common, averaged over the classes.

model = xpcnn.Model(zoo.unet(classes=3, width=8, depth=2), seed=0)
model.compile(xpcnn.optim.Adam(lr=5e-3), xpcnn.CrossEntropyLoss(), ["accuracy", "mean_iou"])
model.fit(pictures[:256], classes[:256], epochs=16, batch_size=16, verbose=0)
results = model.evaluate(pictures[256:], classes[256:])
print({name: round(float(value), 3) for name, value in results.items()})

# %%
# On pictures that it never saw:

found = model.predict(pictures[256:]).argmax(axis=1)

fig, axes = plt.subplots(3, 5, figsize=(7.5, 5), layout="constrained")
for column, ax in zip(range(256, 261), axes.T, strict=True):
    ax[0].imshow(pictures[column, 0], cmap="gray")
    for row, shown in ((1, classes[column]), (2, found[column - 256])):
        ax[row].imshow(shown, cmap="cividis", vmin=0, vmax=2)
for ax, name in zip(axes[:, 0], ["picture", "true classes", "what the U-Net says"], strict=True):
    ax.set_ylabel(name)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
fig.suptitle("Dark: background; grey: disk; yellow: rectangle")
plt.show()
