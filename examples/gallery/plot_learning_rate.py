"""
Finding a learning rate
=======================

`find_lr` makes one training step with each of a hundred rates, from tiny to far too large, and then
puts the model back as it was. Where the loss falls steeply, the rate is good.
"""

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(images, labels), _ = load_digits_subset()

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
model.compile("adam", "cross_entropy", ["accuracy"])
search = model.find_lr(images, labels, batch_size=50)

xpcnn.plot.learning_rate(search)
plt.show()

# %%
# The rate it suggests can be given to the optimizer as it is.

print(f"suggested: {search.suggestion:.1e}")

# %%
# A schedule changes the rate in the course of training. Here are two that rise and fall, over ten
# epochs of a hundred steps.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
waves = xpcnn.optim.CosineAnnealingWarmRestarts(T_0=5)
xpcnn.plot.learning_rate(waves, epochs=10, base_lr=search.suggestion, ax=left)
cycle = xpcnn.optim.OneCycleLR(3 * search.suggestion, 1000)
xpcnn.plot.learning_rate(cycle, steps=1000, ax=right)
plt.show()
