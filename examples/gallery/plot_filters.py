"""
Filters, and what they respond to
=================================

The first layer of a trained network has 30 small patterns, its filters. Sliding over an image, each
of them makes a map of where it was found.
"""

# sphinx_gallery_thumbnail_number = 2

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(x_train, y_train), _ = load_digits_subset()

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
model.compile(xpcnn.optim.Adam(lr=1e-3), xpcnn.CrossEntropyLoss())
model.fit(x_train, y_train, epochs=3, batch_size=50, verbose=0)

xpcnn.plot.filters(model)
plt.show()

# %%
# The maps of one digit, behind the first convolution:

xpcnn.plot.feature_maps(model, x_train[:1], 0)
plt.show()
