"""Networks drawn as SVG, and how models and layers show themselves in notebooks.

Nothing else is needed for it: no Graphviz and no matplotlib. ``xpcnn.plot.network`` is the same
function as :func:`xpcnn.drawing.network`.
"""

from xpcnn.drawing.drawing import Drawing as Drawing
from xpcnn.drawing.drawing import network as network

__all__ = ["Drawing", "network"]
