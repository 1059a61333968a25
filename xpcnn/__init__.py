"""xpcnn: convolutional neural networks on any array library that follows the Array API standard."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from xpcnn import _starting  # first, since the others take time

# isort: split
import numpy as _numpy  # here: from deep inside our own imports it takes 30 ms longer

# isort: split
from xpcnn import callbacks as callbacks
from xpcnn import data as data
from xpcnn import functional as functional
from xpcnn import initializers as initializers
from xpcnn import layers as layers
from xpcnn import losses as losses
from xpcnn import metrics as metrics
from xpcnn import networks as networks
from xpcnn import operations as operations
from xpcnn import optim as optim
from xpcnn._missing import missing_name as _missing_name
from xpcnn.device import Device as Device
from xpcnn.device import devices as devices
from xpcnn.errors import DeviceError as DeviceError
from xpcnn.errors import ModelFileError as ModelFileError
from xpcnn.errors import NonFiniteError as NonFiniteError
from xpcnn.errors import OutOfMemoryError as OutOfMemoryError
from xpcnn.errors import SampleError as SampleError
from xpcnn.errors import UnsupportedModelError as UnsupportedModelError
from xpcnn.gradcheck import gradcheck as gradcheck
from xpcnn.kernels.precision import get_deterministic as get_deterministic
from xpcnn.kernels.precision import get_precision as get_precision
from xpcnn.kernels.precision import set_deterministic as set_deterministic
from xpcnn.kernels.precision import set_precision as set_precision
from xpcnn.kernels.threads import get_num_threads as get_num_threads
from xpcnn.kernels.threads import set_num_threads as set_num_threads
from xpcnn.kernels.workspace import get_workspace_limit as get_workspace_limit
from xpcnn.kernels.workspace import set_workspace_limit as set_workspace_limit
from xpcnn.layers import *
from xpcnn.losses import BCELoss as BCELoss
from xpcnn.losses import BCEWithLogitsLoss as BCEWithLogitsLoss
from xpcnn.losses import CosineEmbeddingLoss as CosineEmbeddingLoss
from xpcnn.losses import CrossEntropyLoss as CrossEntropyLoss
from xpcnn.losses import CTCLoss as CTCLoss
from xpcnn.losses import DiceLoss as DiceLoss
from xpcnn.losses import FocalLoss as FocalLoss
from xpcnn.losses import GaussianNLLLoss as GaussianNLLLoss
from xpcnn.losses import HingeEmbeddingLoss as HingeEmbeddingLoss
from xpcnn.losses import HuberLoss as HuberLoss
from xpcnn.losses import JaccardLoss as JaccardLoss
from xpcnn.losses import KLDivLoss as KLDivLoss
from xpcnn.losses import L1Loss as L1Loss
from xpcnn.losses import Loss as Loss
from xpcnn.losses import MarginRankingLoss as MarginRankingLoss
from xpcnn.losses import MSELoss as MSELoss
from xpcnn.losses import MultiLabelMarginLoss as MultiLabelMarginLoss
from xpcnn.losses import MultiLabelSoftMarginLoss as MultiLabelSoftMarginLoss
from xpcnn.losses import MultiMarginLoss as MultiMarginLoss
from xpcnn.losses import NLLLoss as NLLLoss
from xpcnn.losses import PoissonNLLLoss as PoissonNLLLoss
from xpcnn.losses import SmoothL1Loss as SmoothL1Loss
from xpcnn.losses import SoftMarginLoss as SoftMarginLoss
from xpcnn.losses import TripletMarginLoss as TripletMarginLoss
from xpcnn.losses import TverskyLoss as TverskyLoss
from xpcnn.training import Callback as Callback
from xpcnn.training import CSVLogger as CSVLogger
from xpcnn.training import CutMix as CutMix
from xpcnn.training import EarlyStopping as EarlyStopping
from xpcnn.training import History as History
from xpcnn.training import MixUp as MixUp
from xpcnn.training import Model as Model
from xpcnn.training import ModelCheckpoint as ModelCheckpoint
from xpcnn.training import ProgressBar as ProgressBar

__version__ = "0.1.0.dev0"

_PARTS = (
    "callbacks", "data", "functional", "initializers", "layers", "losses", "metrics", "networks",
    "operations", "optim",
)  # fmt: skip
_LATER = (
    "attribution", "drawing", "grading", "interop", "plot", "scratch", "serving", "sklearn", "web",
    "zoo",
)  # fmt: skip
_FUNCTIONS_LATER = {"check": "xpcnn.grading", "explain": "xpcnn.explaining"}
"""Functions, and the modules that have them."""
_MEANT = {
    "Affine": "Linear", "BatchNormalization": "BatchNorm2d", "Convolution": "Conv2d",
    "Dense": "Linear", "SoftmaxWithLoss": "CrossEntropyLoss",
}  # fmt: skip
"""Names that Keras and courses have, and ours."""

if _TYPE_CHECKING:  # imported when they are asked for
    from xpcnn import attribution as attribution
    from xpcnn import drawing as drawing
    from xpcnn import grading as grading
    from xpcnn import plot as plot
    from xpcnn import web as web
    from xpcnn.explaining import explain as explain
    from xpcnn.grading import check as check

if not _TYPE_CHECKING:  # type checkers go by the imports: "as" makes a name public
    __all__ = [name for name, item in globals().items() if callable(item) and name[0] != "_"]
    __all__ += [*_PARTS, *_LATER, *_FUNCTIONS_LATER]


def __getattr__(name: str) -> _Any:
    """Import the parts that most programs do not use when they are asked for."""
    if name in _LATER:
        return _import_module(f"xpcnn.{name}")
    if name in _FUNCTIONS_LATER:
        return getattr(_import_module(_FUNCTIONS_LATER[name]), name)
    places = {"xpcnn": [*globals(), *_LATER, *_FUNCTIONS_LATER]}
    places |= {f"xpcnn.{part}": dir(globals()[part]) for part in _PARTS}
    places = {place: [n for n in names if n[0] != "_"] for place, names in places.items()}
    raise _missing_name("xpcnn", name, places, meant=_MEANT)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_FUNCTIONS_LATER})
