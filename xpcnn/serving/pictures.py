"""Image files in requests."""

from __future__ import annotations

import numpy as np

from xpcnn.data.images import ImageReader
from xpcnn.layers.preprocessing import takes_bytes
from xpcnn.serving.batching import Arrays
from xpcnn.serving.problems import Problem
from xpcnn.serving.served import Served

_MODES = {1: "L", 3: "RGB"}


class Pictures:
    """Makes samples of image files, for one model.

    They are read by ``model.image_input``, or else in grey or colour and in the size that the model
    takes. What it gets are numbers from 0 to 255 if it scales them itself, otherwise from 0 to 1.

    Attributes
    ----------
    reader : ImageReader or None
        ``None`` if the model takes no images.
    """

    def __init__(self, served: Served) -> None:
        shape, dtype = next(iter(served.inputs.values()))
        self._dtype, self._shape = dtype, shape
        self._scale = 1 if takes_bytes(served.model.network)[0] else 255
        self.reader = served.model.image_input
        self._why = f"the model takes samples of shape {shape}"
        if len(served.inputs) > 1:
            self.reader, self._why = None, f"the model has the inputs {', '.join(served.inputs)}"
        elif self.reader is None and len(shape) == 3 and shape[0] in _MODES and "float" in dtype:
            self.reader = ImageReader((shape[1], shape[2]), mode=_MODES[shape[0]])
        if self.reader is not None and self.reader.size is not None:
            self._shape = (self.reader.channels, *self.reader.size)  # the network takes it too

    def read(self, files: list[bytes]) -> Arrays:
        """Return an array with a sample for each file.

        Raises
        ------
        Problem
            If the model takes no images, or one cannot be read.
        """
        if self.reader is None:
            raise Problem(415, f"{self._why}, not images; send JSON")
        samples = np.empty((len(files), *self._shape), self._dtype)
        for number, file in enumerate(files):
            try:
                pixels = self.reader.read(file)
            except ValueError as error:
                which = "" if len(files) == 1 else f"image {number + 1} of {len(files)}: "
                raise Problem(422, f"{which}{error}") from None
            if pixels.shape != self._shape:
                raise Problem(
                    422, f"the image is of shape {pixels.shape}, and the model takes {self._shape}"
                )
            samples[number] = pixels
        samples /= self._scale
        return (samples,)
