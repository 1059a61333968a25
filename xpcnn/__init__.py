"""xpcnn: convolutional neural networks on any array library that follows the Array API standard."""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from xpcnn import (
    _starting,  # first, since the others take time
    data,
    functional,
    initializers,
    layers,
    losses,
    metrics,
    networks,
    operations,
    optim,
)
from xpcnn.device import Device, devices
from xpcnn.errors import (
    DeviceError,
    ModelFileError,
    NonFiniteError,
    OutOfMemoryError,
    UnsupportedModelError,
)
from xpcnn.gradcheck import gradcheck
from xpcnn.kernels.precision import (
    get_deterministic,
    get_precision,
    set_deterministic,
    set_precision,
)
from xpcnn.kernels.threads import get_num_threads, set_num_threads
from xpcnn.kernels.workspace import get_workspace_limit, set_workspace_limit
from xpcnn.layers import *
from xpcnn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    GaussianNLLLoss,
    HingeEmbeddingLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    Loss,
    MarginRankingLoss,
    MSELoss,
    MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss,
    MultiMarginLoss,
    NLLLoss,
    PoissonNLLLoss,
    SmoothL1Loss,
    SoftMarginLoss,
    TripletMarginLoss,
)
from xpcnn.training import (
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    Model,
    ModelCheckpoint,
    ProgressBar,
)

__version__ = "0.1.0.dev0"

__all__ = [
    "BCELoss",
    "CosineEmbeddingLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "KLDivLoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "BCEWithLogitsLoss",
    "CSVLogger",
    "Callback",
    "CrossEntropyLoss",
    "Device",
    "DeviceError",
    "EarlyStopping",
    "History",
    "HuberLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "Model",
    "ModelCheckpoint",
    "ModelFileError",
    "NLLLoss",
    "NonFiniteError",
    "OutOfMemoryError",
    "ProgressBar",
    "UnsupportedModelError",
    "data",
    "devices",
    "functional",
    "get_deterministic",
    "get_num_threads",
    "get_precision",
    "get_workspace_limit",
    "gradcheck",
    "initializers",
    "interop",
    "layers",
    "losses",
    "metrics",
    "networks",
    "operations",
    "optim",
    "scratch",
    "set_deterministic",
    "set_num_threads",
    "set_precision",
    "set_workspace_limit",
    "zoo",
    *vars(layers)["__all__"],
]


_LATER = ("interop", "scratch", "zoo")


def __getattr__(name: str) -> _ModuleType:
    """Import the parts that most programs do not use when they are asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'xpcnn' has no attribute {name!r}")
    return _import_module(f"xpcnn.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
