"""Training: the model, the step, the loop, callbacks and history."""

from typing import TYPE_CHECKING

from xpcnn.training.callbacks import Callback as Callback
from xpcnn.training.callbacks import CSVLogger as CSVLogger
from xpcnn.training.callbacks import EarlyStopping as EarlyStopping
from xpcnn.training.callbacks import ModelCheckpoint as ModelCheckpoint
from xpcnn.training.callbacks import ProgressBar as ProgressBar
from xpcnn.training.history import History as History
from xpcnn.training.mixing import CutMix as CutMix
from xpcnn.training.mixing import MixUp as MixUp
from xpcnn.training.model import Model as Model

if not TYPE_CHECKING:  # type checkers go by the imports: "as" makes a name public
    __all__ = [name for name, item in globals().items() if isinstance(item, type)]
