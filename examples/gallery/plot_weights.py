"""
How weights spread while they are trained
=========================================

The callback `WeightHistory` keeps a histogram of each layer's weights for every epoch, and
`xpcnn.plot.weights` draws them one above the other. Weights that all drift to 0, or run away to
large numbers, are seen at a glance.
"""

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.callbacks import WeightHistory
from xpcnn.data import load_digits_subset

(x_train, y_train), _ = load_digits_subset()

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
model.compile(xpcnn.optim.Adam(lr=2e-3), xpcnn.CrossEntropyLoss())
spread = WeightHistory()
model.fit(x_train[:1500], y_train[:1500], epochs=5, callbacks=[spread], verbose=0)

xpcnn.plot.weights(spread)
plt.show()
