"""Things to do while a model trains."""

from xpcnn.training.callbacks import Callback as Callback
from xpcnn.training.callbacks import CSVLogger as CSVLogger
from xpcnn.training.callbacks import EarlyStopping as EarlyStopping
from xpcnn.training.callbacks import ModelCheckpoint as ModelCheckpoint
from xpcnn.training.callbacks import ProgressBar as ProgressBar
from xpcnn.training.callbacks import TerminateOnNaN as TerminateOnNaN
