"""The layers: one short file per family.

What the classes for one, two and three dimensions take is written at their base: for Conv2d at
``xpcnn.layers.conv.Conv``.
"""

from typing import TYPE_CHECKING

from xpcnn.layers.activation import CELU as CELU
from xpcnn.layers.activation import ELU as ELU
from xpcnn.layers.activation import GELU as GELU
from xpcnn.layers.activation import GLU as GLU
from xpcnn.layers.activation import SELU as SELU
from xpcnn.layers.activation import LeakyReLU as LeakyReLU
from xpcnn.layers.activation import LogSigmoid as LogSigmoid
from xpcnn.layers.activation import LogSoftmax as LogSoftmax
from xpcnn.layers.activation import Mish as Mish
from xpcnn.layers.activation import ReLU as ReLU
from xpcnn.layers.activation import Sigmoid as Sigmoid
from xpcnn.layers.activation import SiLU as SiLU
from xpcnn.layers.activation import Softmax as Softmax
from xpcnn.layers.activation import Softmax2d as Softmax2d
from xpcnn.layers.activation import Softmin as Softmin
from xpcnn.layers.activation import Softplus as Softplus
from xpcnn.layers.activation import Softsign as Softsign
from xpcnn.layers.activation import Tanh as Tanh
from xpcnn.layers.activation import Tanhshrink as Tanhshrink
from xpcnn.layers.adaptive_pool import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from xpcnn.layers.adaptive_pool import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from xpcnn.layers.adaptive_pool import AdaptiveAvgPool3d as AdaptiveAvgPool3d
from xpcnn.layers.adaptive_pool import AdaptiveMaxPool1d as AdaptiveMaxPool1d
from xpcnn.layers.adaptive_pool import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from xpcnn.layers.adaptive_pool import AdaptiveMaxPool3d as AdaptiveMaxPool3d
from xpcnn.layers.bilinear import Bilinear as Bilinear
from xpcnn.layers.containers import Parallel as Parallel
from xpcnn.layers.containers import Residual as Residual
from xpcnn.layers.containers import Sequential as Sequential
from xpcnn.layers.conv import Conv1d as Conv1d
from xpcnn.layers.conv import Conv2d as Conv2d
from xpcnn.layers.conv import Conv3d as Conv3d
from xpcnn.layers.conv_transpose import ConvTranspose1d as ConvTranspose1d
from xpcnn.layers.conv_transpose import ConvTranspose2d as ConvTranspose2d
from xpcnn.layers.conv_transpose import ConvTranspose3d as ConvTranspose3d
from xpcnn.layers.dropout import AlphaDropout as AlphaDropout
from xpcnn.layers.dropout import Dropout as Dropout
from xpcnn.layers.dropout import Dropout1d as Dropout1d
from xpcnn.layers.dropout import Dropout2d as Dropout2d
from xpcnn.layers.dropout import Dropout3d as Dropout3d
from xpcnn.layers.dropout import StochasticDepth as StochasticDepth
from xpcnn.layers.embedding import Embedding as Embedding
from xpcnn.layers.graph import Graph as Graph
from xpcnn.layers.group_norm import GroupNorm as GroupNorm
from xpcnn.layers.group_norm import LayerNorm as LayerNorm
from xpcnn.layers.group_norm import LocalResponseNorm as LocalResponseNorm
from xpcnn.layers.group_norm import RMSNorm as RMSNorm
from xpcnn.layers.instance_norm import InstanceNorm1d as InstanceNorm1d
from xpcnn.layers.instance_norm import InstanceNorm2d as InstanceNorm2d
from xpcnn.layers.instance_norm import InstanceNorm3d as InstanceNorm3d
from xpcnn.layers.layer import Layer as Layer
from xpcnn.layers.linear import Linear as Linear
from xpcnn.layers.norm import BatchNorm1d as BatchNorm1d
from xpcnn.layers.norm import BatchNorm2d as BatchNorm2d
from xpcnn.layers.norm import BatchNorm3d as BatchNorm3d
from xpcnn.layers.operation import Operation as Operation
from xpcnn.layers.padding import CircularPad1d as CircularPad1d
from xpcnn.layers.padding import CircularPad2d as CircularPad2d
from xpcnn.layers.padding import CircularPad3d as CircularPad3d
from xpcnn.layers.padding import ConstantPad1d as ConstantPad1d
from xpcnn.layers.padding import ConstantPad2d as ConstantPad2d
from xpcnn.layers.padding import ConstantPad3d as ConstantPad3d
from xpcnn.layers.padding import ReflectionPad1d as ReflectionPad1d
from xpcnn.layers.padding import ReflectionPad2d as ReflectionPad2d
from xpcnn.layers.padding import ReflectionPad3d as ReflectionPad3d
from xpcnn.layers.padding import ReplicationPad1d as ReplicationPad1d
from xpcnn.layers.padding import ReplicationPad2d as ReplicationPad2d
from xpcnn.layers.padding import ReplicationPad3d as ReplicationPad3d
from xpcnn.layers.padding import ZeroPad1d as ZeroPad1d
from xpcnn.layers.padding import ZeroPad2d as ZeroPad2d
from xpcnn.layers.padding import ZeroPad3d as ZeroPad3d
from xpcnn.layers.parameter import Buffer as Buffer
from xpcnn.layers.parameter import Parameter as Parameter
from xpcnn.layers.piecewise import Hardshrink as Hardshrink
from xpcnn.layers.piecewise import Hardsigmoid as Hardsigmoid
from xpcnn.layers.piecewise import Hardswish as Hardswish
from xpcnn.layers.piecewise import Hardtanh as Hardtanh
from xpcnn.layers.piecewise import PReLU as PReLU
from xpcnn.layers.piecewise import ReLU6 as ReLU6
from xpcnn.layers.piecewise import Softshrink as Softshrink
from xpcnn.layers.piecewise import Threshold as Threshold
from xpcnn.layers.pool import AvgPool1d as AvgPool1d
from xpcnn.layers.pool import AvgPool2d as AvgPool2d
from xpcnn.layers.pool import AvgPool3d as AvgPool3d
from xpcnn.layers.pool import GlobalAvgPool1d as GlobalAvgPool1d
from xpcnn.layers.pool import GlobalAvgPool2d as GlobalAvgPool2d
from xpcnn.layers.pool import GlobalAvgPool3d as GlobalAvgPool3d
from xpcnn.layers.pool import GlobalMaxPool1d as GlobalMaxPool1d
from xpcnn.layers.pool import GlobalMaxPool2d as GlobalMaxPool2d
from xpcnn.layers.pool import GlobalMaxPool3d as GlobalMaxPool3d
from xpcnn.layers.pool import LPPool1d as LPPool1d
from xpcnn.layers.pool import LPPool2d as LPPool2d
from xpcnn.layers.pool import LPPool3d as LPPool3d
from xpcnn.layers.pool import MaxPool1d as MaxPool1d
from xpcnn.layers.pool import MaxPool2d as MaxPool2d
from xpcnn.layers.pool import MaxPool3d as MaxPool3d
from xpcnn.layers.resize import Upsample as Upsample
from xpcnn.layers.resize import UpsamplingBilinear2d as UpsamplingBilinear2d
from xpcnn.layers.resize import UpsamplingNearest2d as UpsamplingNearest2d
from xpcnn.layers.separable import SeparableConv1d as SeparableConv1d
from xpcnn.layers.separable import SeparableConv2d as SeparableConv2d
from xpcnn.layers.shape import ChannelShuffle as ChannelShuffle
from xpcnn.layers.shape import Flatten as Flatten
from xpcnn.layers.shape import Identity as Identity
from xpcnn.layers.shape import PixelShuffle as PixelShuffle
from xpcnn.layers.shape import PixelUnshuffle as PixelUnshuffle
from xpcnn.layers.shape import Unflatten as Unflatten

if not TYPE_CHECKING:  # type checkers go by the imports: "as" makes a name public
    __all__ = [name for name, item in globals().items() if isinstance(item, type)]
