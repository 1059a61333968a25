"""The textbook: every operation in the Array API standard alone, for any array library."""

from xpcnn.kernels.dispatch import OPS as OPS
from xpcnn.ops import activation as activation
from xpcnn.ops import adaptive_pool as adaptive_pool
from xpcnn.ops import bilinear as bilinear
from xpcnn.ops import conv as conv
from xpcnn.ops import conv_pool as conv_pool
from xpcnn.ops import conv_transpose as conv_transpose
from xpcnn.ops import dropout as dropout
from xpcnn.ops import embedding as embedding
from xpcnn.ops import fused as fused
from xpcnn.ops import group_norm as group_norm
from xpcnn.ops import linear as linear
from xpcnn.ops import lp_pool as lp_pool
from xpcnn.ops import norm as norm
from xpcnn.ops import pad as pad
from xpcnn.ops import piecewise as piecewise
from xpcnn.ops import pool as pool
from xpcnn.ops import resize as resize
from xpcnn.ops import update as update
from xpcnn.ops import warp as warp
