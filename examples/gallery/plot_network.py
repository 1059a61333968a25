"""
A network as a drawing
======================

A model shows itself as a drawing when it is the last thing in a cell of a notebook: its layers, and
the shapes of what they pass on. `xpcnn.drawing.network` gives the same drawing as SVG, for a file.
"""

# sphinx_gallery_thumbnail_path = '_static/thumbnails/network.svg'

import xpcnn
from xpcnn import zoo

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
model.build((None, 1, 28, 28))
model

# %%
# Branches that part and meet again, as in a U-Net, are drawn as such.

unet = xpcnn.Model(zoo.unet(classes=3, width=8, depth=2))
unet.build((None, 1, 32, 32))
unet
