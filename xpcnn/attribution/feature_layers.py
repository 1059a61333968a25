"""Which layer of a network has its last feature maps."""

from __future__ import annotations

from typing import Any

from xpcnn.graph.flat import Flat, Link
from xpcnn.layers import activation, piecewise
from xpcnn.layers.conv import Conv
from xpcnn.layers.conv_transpose import ConvTranspose
from xpcnn.layers.group_norm import GroupNorm
from xpcnn.layers.norm import ChannelNorm
from xpcnn.layers.separable import SeparableConv
from xpcnn.operations import Add, Concat

CONVOLUTIONS = (Conv, ConvTranspose, SeparableConv)
FOLLOWING = (ChannelNorm, GroupNorm, Add, Concat, activation.Activation, piecewise.PReLU)


def last_feature_layer(network: Any) -> str | None:
    """Return the name of what ends the last block of a convolution; ``None`` without any.

    Behind the convolution normalisation, activations, and the sum or concatenation with other
    branches belong to it. A convolution that ends in the output of the network is passed over, if
    there is another one: its maps are the answer.
    """
    names = {id(layer): name for name, layer in network.layers_within() if name}
    flat = Flat([network])
    blocks = [_block(link, flat) for link in flat.links if _convolves(link.layer)]
    inner = [block for block in blocks if not set(block[-1].outputs) & set(flat.outputs)]
    for block in reversed(inner or blocks):
        for link in reversed(block):
            # the sum at the end of a residual block stands for the block
            name = names.get(id(getattr(link.layer, "block", link.layer)))
            if name is not None:
                return name
    inside = [name for name, layer in network.layers_within() if isinstance(layer, CONVOLUTIONS)]
    return inside[-1] if inside else None


def _convolves(layer: Any) -> bool:
    """Whether a layer is a convolution, or holds one that cannot be looked at by itself."""
    return any(isinstance(inner, CONVOLUTIONS) for _, inner in layer.layers_within())


def _block(link: Link, flat: Flat) -> list[Link]:
    """Return a convolution and what belongs to it."""
    found = [link]
    while True:
        behind = flat.behind(found[-1])
        if behind is None or not isinstance(behind.layer, FOLLOWING):
            return found
        found.append(behind)
