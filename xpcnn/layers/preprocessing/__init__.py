"""Layers that prepare images in front of a network, in training and in prediction alike."""

from xpcnn.layers.preprocessing.base import Preprocessing as Preprocessing
from xpcnn.layers.preprocessing.base import takes_bytes as takes_bytes
from xpcnn.layers.preprocessing.gray import Grayscale as Grayscale
from xpcnn.layers.preprocessing.scale import Normalize as Normalize
from xpcnn.layers.preprocessing.scale import Rescale as Rescale
from xpcnn.layers.preprocessing.size import CenterCrop as CenterCrop
from xpcnn.layers.preprocessing.size import Resize as Resize
