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

fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.semilogx(search.lrs, search.losses, label="loss of each step")
ax.axvline(search.suggestion, color="tab:red", linestyle="--", label="suggested rate")
ax.set(xlabel="learning rate", ylabel="cross-entropy", title="The loss while the rate grows")
ax.set_ylim(0, 2 * search.losses[0])
ax.legend()
plt.show()

# %%
# The rate it suggests can be given to the optimizer as it is.

print(f"suggested: {search.suggestion:.1e}")
