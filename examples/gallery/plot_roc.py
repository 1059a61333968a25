"""
ROC curves
==========

How surely is each digit told from all others? The curve shows which share of a digit's images is
found, for any share of others that are taken for it by mistake. The area below it is 1 if the two
never mix.
"""

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(x_train, y_train), (x_test, y_test) = load_digits_subset()

# %%
# After one epoch on a tenth of the images there is something left to see:

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
model.compile(xpcnn.optim.Adam(lr=1e-3), xpcnn.CrossEntropyLoss())
model.fit(x_train[:500], y_train[:500], epochs=1, batch_size=50, verbose=0)

fig, ax = plt.subplots(figsize=(6, 5), layout="constrained")
xpcnn.plot.roc(model, x_test, y_test, ax=ax)
plt.show()
