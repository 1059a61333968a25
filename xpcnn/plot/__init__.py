"""Plots: learning curves, confusion matrices, filters, feature maps, samples and mistakes.

Each function takes what :meth:`~xpcnn.Model.fit`, :meth:`~xpcnn.Model.predict` and models give,
draws it with matplotlib (``pip install "xpcnn[plot]"``), and returns the Axes it has drawn in: one
where the picture has one panel, an array of them where it has several. ``ax=`` says where to draw:
in an Axes, whose place is divided among the panels where there are several, or in an empty figure
or subfigure. Without it there is a new figure. Nothing is shown before you show it, and no setting
of matplotlib's is changed. :func:`network` alone is no plot of matplotlib's: it draws SVG.
"""

from xpcnn.drawing import network
from xpcnn.plot.filter_grids import filters
from xpcnn.plot.image_grids import mistakes, samples
from xpcnn.plot.learning_curves import history
from xpcnn.plot.map_grids import feature_maps
from xpcnn.plot.matrix import confusion_matrix
from xpcnn.plot.overlay import attribution
from xpcnn.plot.rates import learning_rate
from xpcnn.plot.roc_curves import roc
from xpcnn.plot.weight_histograms import weights

__all__ = [
    "history", "learning_rate", "weights", "confusion_matrix", "roc", "samples", "mistakes",
    "filters", "feature_maps", "attribution", "network",
]  # fmt: skip
