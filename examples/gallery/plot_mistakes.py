"""
What a network got wrong
========================

The table of true and predicted classes says which digits are mixed up, and the images say why. The
mistakes of which the network was surest come first: some of them are mistakes of the one who wrote
the digit.
"""

# sphinx_gallery_thumbnail_number = 2

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(x_train, y_train), (x_test, y_test) = load_digits_subset()

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
model.compile(xpcnn.optim.Adam(lr=1e-3), xpcnn.CrossEntropyLoss())
model.fit(x_train, y_train, epochs=3, batch_size=50, verbose=0)

fig, ax = plt.subplots(figsize=(6, 5.2), layout="constrained")
xpcnn.plot.confusion_matrix(model, x_test, y_test, ax=ax)
plt.show()

# %%

fig = plt.figure(figsize=(7.5, 6), layout="constrained")
xpcnn.plot.mistakes(model, x_test, y_test, count=20, columns=5, ax=fig)
plt.show()
