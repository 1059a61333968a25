"""Which layer of a network has its last feature maps."""

from __future__ import annotations

from typing import Any

from xpcnn.graph.flat import Flat
from xpcnn.layers import activation, piecewise
from xpcnn.layers.conv import Conv
from xpcnn.layers.conv_transpose import ConvTranspose
from xpcnn.layers.group_norm import GroupNorm
from xpcnn.layers.norm import ChannelNorm
from xpcnn.layers.separable import SeparableConv
from xpcnn.operations import Add

CONVOLUTIONS = (Conv, ConvTranspose, SeparableConv)
FOLLOWING = (ChannelNorm, GroupNorm, Add, activation.Activation, piecewise.PReLU)


def last_feature_layer(network: Any) -> str | None:
    """Return the name of what ends the last block of a convolution; ``None`` without any.

    Behind the convolution normalisation, the sum of a residual block and activations belong to it.
    """
    names = {id(layer): name for name, layer in network.layers_within() if name}
    flat = Flat([network])
    links = [link for link in flat.links if isinstance(link.layer, CONVOLUTIONS)]
    if not links:  # inside a layer that is not looked into
        inside = [n for n, layer in network.layers_within() if isinstance(layer, CONVOLUTIONS)]
        return inside[-1] if inside else None
    link: Any = links[-1]
    found = None
    while link is not None and isinstance(link.layer, (*CONVOLUTIONS, *FOLLOWING)):
        found = names.get(id(link.layer), found)  # the sum of a residual block has no name
        link = flat.behind(link)
    return found
