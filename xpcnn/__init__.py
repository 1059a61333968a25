"""xpcnn: convolutional neural networks on any array library."""

from xpcnn import functional, initializers
from xpcnn.device import Device, devices
from xpcnn.errors import DeviceError, ModelFileError, NonFiniteError
from xpcnn.kernels.workspace import get_workspace_limit, set_workspace_limit
from xpcnn.layers import *  # noqa: F403

__version__ = "0.1.0.dev0"
