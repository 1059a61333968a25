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

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

__all__ = ["conv1d", "deep_conv_net", "deep_nn", "simple_conv_net", "tanh_cnn"]


def __getattr__(name: str) -> _ModuleType:
    """Import the module of a course when it is asked for."""
    if name in __all__:
        return _import_module(f"xpcnn.scratch.{name}")
    message = f"module 'xpcnn.scratch' has no attribute {name!r}"
    if not name.startswith("_"):
        having = [m for m in __all__ if hasattr(_import_module(f"xpcnn.scratch.{m}"), name)]
        message += (
            f"; it is in {' and in '.join(having)}"
            if having
            else (f"; its modules are {', '.join(__all__)}")
        )
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
