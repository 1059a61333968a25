"""
Learning curves, and what a network got wrong
=============================================

`xpcnn.plot` draws what `fit` and `predict` return: the curves, the table of true and predicted
classes, and the images that were read wrong.
"""

import matplotlib.pyplot as plt

import xpcnn
from xpcnn.data import load_digits_subset

(x_train, y_train), (x_test, y_test) = load_digits_subset()

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
model.compile(xpcnn.optim.Adam(lr=1e-3), xpcnn.CrossEntropyLoss(), ["accuracy"])
history = model.fit(
    x_train, y_train, epochs=5, batch_size=100, validation_data=(x_test, y_test), verbose=0
)
xpcnn.plot.history(history)
plt.show()

# %%
# Each row is a true digit, each column what the network took it for.

scores = model.predict(x_test)
fig, ax = plt.subplots(figsize=(6, 5.5), layout="constrained")
xpcnn.plot.confusion_matrix(y_test, scores, ax=ax)
plt.show()

# %%
# The mistakes of which it was surest come first.

xpcnn.plot.mistakes(scores, x_test, y_test, from_logits=True, count=15)
plt.show()
