"""
What a network looks at
=======================

Which pixels speak for a class? Four functions of `xpcnn.attribution` answer, each in its own way.
"""

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(x_train, y_train), (x_test, y_test) = load_digits_subset()

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
model.compile(xpcnn.optim.Adam(lr=1e-3), xpcnn.CrossEntropyLoss())
model.fit(x_train, y_train, epochs=2, batch_size=50, verbose=0)

image, digit = x_test[:1], int(y_test[0])
heats = {
    "saliency": xpcnn.attribution.saliency(model, image, digit),
    "integrated gradients": xpcnn.attribution.integrated_gradients(model, image, digit),
    "Grad-CAM": xpcnn.attribution.grad_cam(model, image, digit),
    "occlusion": xpcnn.attribution.occlusion(model, image, digit, window=5),
}

fig, axes = plt.subplots(2, 2, figsize=(7.5, 6.5), layout="constrained")
for ax, (name, heat) in zip(axes.flat, heats.items(), strict=True):
    xpcnn.plot.attribution(image[0], heat[0], title=name, ax=ax)
fig.suptitle(f"What speaks for a {digit}")
plt.show()
