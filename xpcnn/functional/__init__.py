"""Functions on plain arrays of any library: they check, choose a kernel, and run it.

The layers stand on the ``*_forward`` and ``*_backward`` functions; the others are for use as they
are.
"""

from typing import TYPE_CHECKING

from xpcnn._missing import missing_name as _missing_name
from xpcnn.functional.pairs import avg_pool_forward as avg_pool_forward
from xpcnn.functional.pairs import concat as concat
from xpcnn.functional.pairs import conv_backward as conv_backward
from xpcnn.functional.pairs import conv_block_backward as conv_block_backward
from xpcnn.functional.pairs import conv_block_forward as conv_block_forward
from xpcnn.functional.pairs import conv_forward as conv_forward
from xpcnn.functional.pairs import conv_transpose_backward as conv_transpose_backward
from xpcnn.functional.pairs import conv_transpose_forward as conv_transpose_forward
from xpcnn.functional.pairs import embedding_forward as embedding_forward
from xpcnn.functional.pairs import in_order as in_order
from xpcnn.functional.pairs import linear_forward as linear_forward
from xpcnn.functional.pairs import lp_pool_backward as lp_pool_backward
from xpcnn.functional.pairs import lp_pool_forward as lp_pool_forward
from xpcnn.functional.pairs import max_pool_forward as max_pool_forward
from xpcnn.functional.pairs import max_pool_indices_forward as max_pool_indices_forward
from xpcnn.functional.pairs import pool_backward as pool_backward
from xpcnn.functional.pairs import rearrange as rearrange
from xpcnn.functional.pairs import resize_forward as resize_forward
from xpcnn.functional.pairs import run as run
from xpcnn.functional.pairs import run_backward as run_backward
from xpcnn.functional.pairs import run_if_any as run_if_any
from xpcnn.functional.simple import log_softmax as log_softmax
from xpcnn.functional.simple import one_hot as one_hot
from xpcnn.functional.simple import relu as relu
from xpcnn.functional.simple import sigmoid as sigmoid
from xpcnn.functional.simple import silu as silu
from xpcnn.functional.simple import softmax as softmax
from xpcnn.functional.simple import tanh as tanh
from xpcnn.ops.adaptive_pool import adaptive_avg_pool as adaptive_avg_pool
from xpcnn.ops.adaptive_pool import adaptive_max_pool as adaptive_max_pool
from xpcnn.ops.adaptive_pool import adaptive_pool_backward as adaptive_pool_backward
from xpcnn.ops.adaptive_pool import adaptive_pool_forward as adaptive_pool_forward
from xpcnn.ops.adaptive_pool import adaptive_size as adaptive_size
from xpcnn.ops.adaptive_pool import as_output_size as as_output_size
from xpcnn.ops.columns import col2im as col2im
from xpcnn.ops.columns import im2col as im2col
from xpcnn.ops.conv import conv as conv
from xpcnn.ops.conv_transpose import conv_transpose as conv_transpose
from xpcnn.ops.conv_transpose import transposed_window as transposed_window
from xpcnn.ops.linear import linear as linear
from xpcnn.ops.lp_pool import as_norm_type as as_norm_type
from xpcnn.ops.lp_pool import lp_pool as lp_pool
from xpcnn.ops.pad import PADDING_MODES as PADDING_MODES
from xpcnn.ops.pad import pad as pad
from xpcnn.ops.pad import pad_pairs as pad_pairs
from xpcnn.ops.pool import avg_pool as avg_pool
from xpcnn.ops.pool import avg_pool_divisor as avg_pool_divisor
from xpcnn.ops.pool import max_pool as max_pool
from xpcnn.ops.pool import max_pool_indices as max_pool_indices
from xpcnn.ops.pool import pool_window as pool_window
from xpcnn.ops.taps import LARGE_IMAGE as LARGE_IMAGE
from xpcnn.ops.taps import UPSAMPLE_MODES as UPSAMPLE_MODES
from xpcnn.ops.taps import filter_taps as filter_taps
from xpcnn.ops.taps import nearest_taps as nearest_taps
from xpcnn.ops.taps import source_coordinates as source_coordinates
from xpcnn.ops.taps import upsample_taps as upsample_taps

if not TYPE_CHECKING:  # type checkers go by the imports: "as" makes a name public
    __all__ = [name for name, item in globals().items() if callable(item) and name[0] != "_"]
    __all__ += ["LARGE_IMAGE", "PADDING_MODES", "UPSAMPLE_MODES"]

    def __getattr__(name):
        """Say which function was probably meant, or where what is no function here is found."""
        raise _missing_name(
            "xpcnn.functional", name, {"xpcnn.functional": __all__},
            hint="what is not here is a layer or a loss, such as xpcnn.Dropout or "
            "xpcnn.CrossEntropyLoss",
        )  # fmt: skip
