"""
A network as a drawing
======================

`xpcnn.drawing.network` draws layers, and the shapes of what they pass on, as SVG. A model shows the
same drawing by itself when it is the last thing in a cell of a notebook.
"""

# sphinx_gallery_thumbnail_path = '_static/thumbnails/network.svg'

import xpcnn
from xpcnn import zoo

model = xpcnn.Model(xpcnn.networks.simple(), seed=0)
xpcnn.drawing.network(model, (None, 1, 28, 28))

# %%
# Branches that part and meet again, as in a U-Net, are drawn as such.

xpcnn.drawing.network(zoo.unet(classes=3, width=8, depth=2), (None, 1, 32, 32))
