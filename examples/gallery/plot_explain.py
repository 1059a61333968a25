"""
A convolution, number by number
===============================

`xpcnn.explain` shows what an operation does with the numbers that it is given: the windows as rows
of a matrix, the product, and the way back, each formula beside its numbers.
"""

# sphinx_gallery_thumbnail_path = '_static/thumbnails/explain.png'

import numpy as np

import xpcnn
from xpcnn.scratch.conv1d import SimpleConv1d

conv = SimpleConv1d(W=np.array([3, 5, 7]), b=np.array([1]))
xpcnn.explain(conv, [1, 2, 3, 4], dy=[10, 20])

# %%
# The same in Japanese:

xpcnn.explain(conv, [1, 2, 3, 4], lang="ja")
