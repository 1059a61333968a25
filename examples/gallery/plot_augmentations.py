"""
What augmentation does to a digit
=================================

Layers that change training images at random stand in front of a network. In training mode each
call draws anew; in inference mode they let images through as they are.
"""

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(images, labels), _ = load_digits_subset()
digit = images[:1]

augmentations = {
    "rotation": xpcnn.RandomRotation(30),
    "affine": xpcnn.RandomAffine(10, translate=(0.1, 0.1), scale=(0.8, 1.2)),
    "crop": xpcnn.RandomCrop(28, padding=4),
    "erasing": xpcnn.RandomErasing(p=1.0),
    "blur": xpcnn.GaussianBlur(5),
    "noise": xpcnn.GaussianNoise(0.2),
}

fig, axes = plt.subplots(len(augmentations), 6, figsize=(7, 7.5), layout="constrained")
for row, (name, layer) in zip(axes, augmentations.items(), strict=True):
    row[0].imshow(digit[0, 0], cmap="gray_r", vmin=0, vmax=1)
    row[0].set_ylabel(name)
    for ax in row[1:]:
        changed = layer.forward(digit, training=True)
        ax.imshow(changed[0, 0], cmap="gray_r", vmin=0, vmax=1)
    for ax in row:
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_title("as it is")
fig.suptitle(f"A {labels[0]}, and five draws of each augmentation")
plt.show()
