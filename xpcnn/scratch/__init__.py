"""The classes of from-scratch CNN courses, under their own names and on any array library.

One module for each notebook, because the notebooks give the same names to different things. A
learner deletes the class definitions of a cell and writes, say,
``from xpcnn.scratch.conv1d import *`` in their place; the rest of the cell runs as it stands.

==================  ================================================================
`conv1d`            one-dimensional convolutions, and ``Scratch1dCNNClassifier``
`deep_conv_net`     layers and optimizers in two dimensions, ``DeepConvNet``
`tanh_cnn`          one convolution with tanh, trained image by image
`deep_nn`           the fully connected ``ScratchDeepNeuralNetworkClassifier``
`simple_conv_net`   convolution, pooling and two affine layers: ``SimpleConvNet``
==================  ================================================================

Everything is thin over :mod:`xpcnn.functional`. Initial weights, shuffles and dropout masks come
from NumPy's global generator, as in the notebooks: ``np.random.seed(0)`` makes a run repeatable.
"""
