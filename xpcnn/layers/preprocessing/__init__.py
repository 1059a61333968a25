"""Layers that prepare images in front of a network, in training and in prediction alike."""

from xpcnn.layers.preprocessing.base import Preprocessing as Preprocessing
from xpcnn.layers.preprocessing.base import takes_bytes as takes_bytes
from xpcnn.layers.preprocessing.scale import Normalize as Normalize
from xpcnn.layers.preprocessing.scale import Rescale as Rescale
