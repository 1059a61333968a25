"""Things to do while a model trains."""

from xpcnn.training.callbacks.averaging import EMA as EMA
from xpcnn.training.callbacks.averaging import SWA as SWA
from xpcnn.training.callbacks.base import Callback as Callback
from xpcnn.training.callbacks.base import Logs as Logs
from xpcnn.training.callbacks.base import each_ends as each_ends
from xpcnn.training.callbacks.files import CSVLogger as CSVLogger
from xpcnn.training.callbacks.files import JSONLogger as JSONLogger
from xpcnn.training.callbacks.files import LoggingCallback as LoggingCallback
from xpcnn.training.callbacks.functions import LambdaCallback as LambdaCallback
from xpcnn.training.callbacks.monitoring import EarlyStopping as EarlyStopping
from xpcnn.training.callbacks.monitoring import ModelCheckpoint as ModelCheckpoint
from xpcnn.training.callbacks.progress import ProgressBar as ProgressBar
from xpcnn.training.callbacks.stopping import TerminateOnNaN as TerminateOnNaN
from xpcnn.training.callbacks.stopping import TimeLimit as TimeLimit
from xpcnn.training.callbacks.tensorboard import TensorBoard as TensorBoard
from xpcnn.training.callbacks.weights import WeightHistory as WeightHistory
