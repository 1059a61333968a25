"""Steps of a :class:`xpcnn.Graph` that are no layers of their own: arithmetic, shapes, indexing."""

from xpcnn.operations.arithmetic import Add, Divide, Multiply, Subtract
from xpcnn.operations.batch import RepeatForBatch
from xpcnn.operations.joining import Concat
from xpcnn.operations.weights import Weights

__all__ = ["Add", "Concat", "Divide", "Multiply", "RepeatForBatch", "Subtract", "Weights"]
