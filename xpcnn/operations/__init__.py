"""Steps of a :class:`xpcnn.Graph` that are no layers of their own: arithmetic, shapes, indexing.

Abs, Neg and Sqrt are ONNX's names of Absolute, Negative and SquareRoot.
"""

from typing import TYPE_CHECKING

from xpcnn.operations.arithmetic import Add as Add
from xpcnn.operations.arithmetic import Divide as Divide
from xpcnn.operations.arithmetic import Maximum as Maximum
from xpcnn.operations.arithmetic import Minimum as Minimum
from xpcnn.operations.arithmetic import Modulo as Modulo
from xpcnn.operations.arithmetic import Multiply as Multiply
from xpcnn.operations.arithmetic import Power as Power
from xpcnn.operations.arithmetic import Subtract as Subtract
from xpcnn.operations.batch import RepeatForBatch as RepeatForBatch
from xpcnn.operations.blocks import DepthToSpace as DepthToSpace
from xpcnn.operations.blocks import SpaceToDepth as SpaceToDepth
from xpcnn.operations.dropout import MaskedDropout as MaskedDropout
from xpcnn.operations.elementwise import Absolute as Absolute
from xpcnn.operations.elementwise import Affine as Affine
from xpcnn.operations.elementwise import Cast as Cast
from xpcnn.operations.elementwise import Ceil as Ceil
from xpcnn.operations.elementwise import Clip as Clip
from xpcnn.operations.elementwise import Cos as Cos
from xpcnn.operations.elementwise import Erf as Erf
from xpcnn.operations.elementwise import Exp as Exp
from xpcnn.operations.elementwise import Floor as Floor
from xpcnn.operations.elementwise import Log as Log
from xpcnn.operations.elementwise import Negative as Negative
from xpcnn.operations.elementwise import Reciprocal as Reciprocal
from xpcnn.operations.elementwise import Round as Round
from xpcnn.operations.elementwise import Shrink as Shrink
from xpcnn.operations.elementwise import Sign as Sign
from xpcnn.operations.elementwise import Sin as Sin
from xpcnn.operations.elementwise import SquareRoot as SquareRoot
from xpcnn.operations.indexing import Gather as Gather
from xpcnn.operations.indexing import Slice as Slice
from xpcnn.operations.indexing import Split as Split
from xpcnn.operations.joining import Concat as Concat
from xpcnn.operations.logic import And as And
from xpcnn.operations.logic import Equal as Equal
from xpcnn.operations.logic import Greater as Greater
from xpcnn.operations.logic import GreaterEqual as GreaterEqual
from xpcnn.operations.logic import IsNaN as IsNaN
from xpcnn.operations.logic import Less as Less
from xpcnn.operations.logic import LessEqual as LessEqual
from xpcnn.operations.logic import Not as Not
from xpcnn.operations.logic import Or as Or
from xpcnn.operations.logic import Where as Where
from xpcnn.operations.logic import Xor as Xor
from xpcnn.operations.loss import NegativeLogLikelihood as NegativeLogLikelihood
from xpcnn.operations.matmul import MatMul as MatMul
from xpcnn.operations.normalize import BatchNormalization as BatchNormalization
from xpcnn.operations.normalize import GroupStandardize as GroupStandardize
from xpcnn.operations.normalize import PerChannel as PerChannel
from xpcnn.operations.normalize import Standardize as Standardize
from xpcnn.operations.pad import Pad as Pad
from xpcnn.operations.reduce import ArgMax as ArgMax
from xpcnn.operations.reduce import ArgMin as ArgMin
from xpcnn.operations.reduce import Hardmax as Hardmax
from xpcnn.operations.reduce import ReduceL1 as ReduceL1
from xpcnn.operations.reduce import ReduceL2 as ReduceL2
from xpcnn.operations.reduce import ReduceLogSum as ReduceLogSum
from xpcnn.operations.reduce import ReduceLogSumExp as ReduceLogSumExp
from xpcnn.operations.reduce import ReduceMax as ReduceMax
from xpcnn.operations.reduce import ReduceMean as ReduceMean
from xpcnn.operations.reduce import ReduceMin as ReduceMin
from xpcnn.operations.reduce import ReduceProd as ReduceProd
from xpcnn.operations.reduce import ReduceSum as ReduceSum
from xpcnn.operations.reduce import ReduceSumSquare as ReduceSumSquare
from xpcnn.operations.resize import Resizing as Resizing
from xpcnn.operations.shape import Expand as Expand
from xpcnn.operations.shape import MergeDims as MergeDims
from xpcnn.operations.shape import Reshape as Reshape
from xpcnn.operations.shape import ShapeOf as ShapeOf
from xpcnn.operations.shape import Size as Size
from xpcnn.operations.shape import Squeeze as Squeeze
from xpcnn.operations.shape import Tile as Tile
from xpcnn.operations.shape import Transpose as Transpose
from xpcnn.operations.shape import Unsqueeze as Unsqueeze
from xpcnn.operations.sources import Constant as Constant
from xpcnn.operations.sources import Filled as Filled
from xpcnn.operations.sources import Range as Range
from xpcnn.operations.sources import Weight as Weight
from xpcnn.operations.update import AdagradUpdate as AdagradUpdate
from xpcnn.operations.update import AdamUpdate as AdamUpdate
from xpcnn.operations.update import MomentumUpdate as MomentumUpdate
from xpcnn.operations.weights import Weights as Weights
from xpcnn.operations.windows import AveragePooling as AveragePooling
from xpcnn.operations.windows import Col2Im as Col2Im
from xpcnn.operations.windows import Convolution as Convolution
from xpcnn.operations.windows import GlobalPooling as GlobalPooling
from xpcnn.operations.windows import MaxPooling as MaxPooling
from xpcnn.operations.windows import MaxPositions as MaxPositions
from xpcnn.operations.windows import TransposedConvolution as TransposedConvolution

Abs = Absolute
Neg = Negative
Sqrt = SquareRoot

if not TYPE_CHECKING:  # type checkers go by the imports: "as" makes a name public
    __all__ = [name for name, item in globals().items() if name == getattr(item, "__name__", "")]
