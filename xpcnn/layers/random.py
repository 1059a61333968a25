"""What layers that draw random numbers have in common."""

from __future__ import annotations

import numpy as np

from xpcnn.device import Device
from xpcnn.layers.layer import Layer, Shape, runs_again, seed_from


class RandomLayer(Layer):
    """A layer that draws random numbers in training.

    Attributes
    ----------
    seed, step : int
        What is drawn follows from these two alone. A model sets `step` to its count of training
        steps; on its own the layer counts its training forwards.
    """

    steered = Layer.steered | {"seed", "step"}

    seed: int | None = None
    step: int = 0

    def _next_draw(self) -> tuple[int, int]:
        """Return the seed, and the number of the next training forward, and count it."""
        if self.seed is None:
            self.seed = seed_from(None)
        if not runs_again.get():
            self.step += 1
        return self.seed, self.step - 1

    def _allocate(
        self, input_shape: Shape, device: Device, dtype: str, rng: np.random.Generator
    ) -> None:
        if self.seed is None:
            self.seed = seed_from(rng)
