"""Things to do while a model trains."""

from xpcnn.training.callbacks import EMA as EMA
from xpcnn.training.callbacks import SWA as SWA
from xpcnn.training.callbacks import Callback as Callback
from xpcnn.training.callbacks import CSVLogger as CSVLogger
from xpcnn.training.callbacks import EarlyStopping as EarlyStopping
from xpcnn.training.callbacks import JSONLogger as JSONLogger
from xpcnn.training.callbacks import LambdaCallback as LambdaCallback
from xpcnn.training.callbacks import LoggingCallback as LoggingCallback
from xpcnn.training.callbacks import ModelCheckpoint as ModelCheckpoint
from xpcnn.training.callbacks import ProgressBar as ProgressBar
from xpcnn.training.callbacks import TensorBoard as TensorBoard
from xpcnn.training.callbacks import TerminateOnNaN as TerminateOnNaN
from xpcnn.training.callbacks import TimeLimit as TimeLimit
from xpcnn.training.callbacks import WeightHistory as WeightHistory
