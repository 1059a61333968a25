"""
A window slides over an image
=============================

`animate` shows a convolution, or pooling, one position after the other: what lies under the window
becomes a row of the im2col matrix, and one number of the output. Move the slider.
"""

# sphinx_gallery_thumbnail_path = '_static/thumbnails/animation.png'

import numpy as np

import xpcnn

image = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [0, 9, 9, 0], [9, 9, 0, 0]], "float32")

edges = xpcnn.Conv2d(1, 1, 2, bias=False)
edges.build((None, 1, 4, 4))
edges.load_state_dict({"weight": np.array([[[[-1, 1], [-1, 1]]]], "float32")})

xpcnn.explain(edges, image[None]).animate()

# %%
# Max pooling lets the largest number under the window pass:

xpcnn.explain(xpcnn.MaxPool2d(2), image[None]).animate()

# %%
# Backward, its gradient goes back to where that number came from. `save` writes the picture to a
# file, as HTML or as a GIF.

xpcnn.explain(xpcnn.MaxPool2d(2), image[None]).animate("backward")
