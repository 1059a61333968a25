"""
From pixels to classes
======================

The same digit behind each layer of a trained network. The first maps still look like it; the last
ones are ten numbers, of which one is the largest. `Model.outputs_of` gives them as arrays.
"""

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(x_train, y_train), (x_test, y_test) = load_digits_subset()

layers = [
    xpcnn.Conv2d(1, 8, 5),
    xpcnn.ReLU(),
    xpcnn.MaxPool2d(2),
    xpcnn.Conv2d(8, 16, 5),
    xpcnn.ReLU(),
    xpcnn.MaxPool2d(2),
    xpcnn.Flatten(),
    xpcnn.Linear(out_features=10),
]
model = xpcnn.Model(layers, seed=0)
model.compile(xpcnn.optim.Adam(lr=2e-3), xpcnn.CrossEntropyLoss())
model.fit(x_train, y_train, epochs=3, batch_size=50, verbose=0)

fig = plt.figure(figsize=(7, 8), layout="constrained")
parts = fig.subfigures(4, 1, height_ratios=[1, 1.6, 1.4, 1.4])
xpcnn.plot.samples(x_test[:1], y_test[:1], ax=parts[0])
for part, name in zip(parts[1:], ["1", "5", "7"], strict=True):
    xpcnn.plot.feature_maps(model, x_test[:1], name, columns=8, ax=part)
plt.show()
