"""
Learning curves
===============

Trained on few images for long, a network learns them by heart: the loss on images that it never
saw rises again, while that of the training images falls to nothing. `xpcnn.plot.history` draws
both, and marks the epoch at which to stop.
"""

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(x_train, y_train), (x_test, y_test) = load_digits_subset()


def train(*front):
    """Train on 300 images, with layers in front of the network."""
    model = xpcnn.Model([*front, *xpcnn.networks.simple()], seed=0)
    model.compile(xpcnn.optim.Adam(lr=2e-3), xpcnn.CrossEntropyLoss(), ["accuracy"])
    few = x_train[:300], y_train[:300]
    test = x_test[:300], y_test[:300]
    return model.fit(*few, epochs=20, batch_size=25, validation_data=test, verbose=0)


xpcnn.plot.history(train())
plt.show()

# %%
# Augmentation makes other images of the few in every epoch. There is more to learn, nothing to
# learn by heart, and the loss does not rise.

xpcnn.plot.history(train(xpcnn.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1))))
plt.show()
