"""
Filters
=======

The first layer of a trained network has 30 small patterns, its filters: red is where it looks for
ink, and blue where it looks for paper.
"""

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(x_train, y_train), _ = load_digits_subset()

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
model.compile(xpcnn.optim.Adam(lr=1e-3), xpcnn.CrossEntropyLoss())
model.fit(x_train, y_train, epochs=3, batch_size=50, verbose=0)

xpcnn.plot.filters(model)
plt.show()
