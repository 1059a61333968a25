"""Weights that Keras saved, for chains of layers.

Read are Keras 3's ``.keras`` and ``.weights.h5``, what TensorFlow's Keras 2 wrote under these
names, and the older ``.h5`` of both. Keras itself is not needed, h5py is.

Keras keeps channels last. Kernels are turned, and the weights behind a ``Flatten`` are put into the
order in which channels come first, so that the network takes images as (N, C, H, W).
"""

from xpcnn.interop.keras.load import load_keras_weights

__all__ = ["load_keras_weights"]
