"""Training: the model, the plan it runs by, callbacks and history."""

from xpcnn.training.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ProgressBar,
)
from xpcnn.training.history import History
from xpcnn.training.model import Model

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "Model",
    "ModelCheckpoint",
    "ProgressBar",
]
