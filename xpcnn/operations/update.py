"""Optimizers as steps of a network, as the training operators of ONNX define them.

Inputs are the learning rate, the number of updates so far, and then for each tensor all values,
all gradients, all first states, ...; outputs the new values and states in the same order. There
is no gradient. To train, use :mod:`xpcnn.optim`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, ClassVar

from xpcnn import _xp
from xpcnn.errors import choice_error
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, NoGradient


class _Update(NoGradient):
    states: ClassVar[int]
    norm_coefficient: float

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the shapes of the tensors, for the values and for each state."""
        count = (len(input_shapes) - 2) // (2 + self.states)
        shapes = tuple(tuple(shape or ()) for shape in input_shapes[2 : 2 + count])
        return shapes * (1 + self.states)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        rate, step = (_xp.to_numpy(x).reshape(()).item() for x in inputs[:2])
        tensors = inputs[2:]
        kinds = 2 + self.states
        if not tensors or len(tensors) % kinds:
            raise ValueError(
                f"{self.who}: expected value, gradient and {self.states} states for each tensor, "
                f"got {len(tensors)} arrays"
            )
        count = len(tensors) // kinds
        new = []
        for i in range(count):
            x, g, *states = tensors[i::count]
            new.append(self._update(xp, rate, step, (x, self.norm_coefficient * x + g, *states)))
        return tuple(array for kind in zip(*new, strict=True) for array in kind), None

    def _update(self, xp: ModuleType, rate: float, step: int, tensors: Arrays) -> Arrays:
        """Return the new value and states, for a value, its gradient with penalty, and states."""
        raise NotImplementedError


class AdagradUpdate(_Update):
    """One step of Adagrad (Duchi et al., 2011); the state is the sum of squared gradients.

    Parameters
    ----------
    decay_factor : float
        The learning rate is divided by ``1 + updates * decay_factor``.
    epsilon : float
        Keeps the division finite.
    norm_coefficient : float
        L2 penalty.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import AdagradUpdate
    >>> rate, updates, x = np.array(0.5), np.array(0), np.array([1.0])
    >>> gradient, squares = np.array([3.0]), np.array([16.0])
    >>> x, squares = AdagradUpdate()(rate, updates, x, gradient, squares)
    >>> squares.tolist(), x.round(3).tolist()  # 16 + 3^2, and 1 - 0.5 * 3 / 5
    ([25.0], [0.7])
    """

    states = 1

    def __init__(
        self, decay_factor: float = 0.0, epsilon: float = 1e-6, norm_coefficient: float = 0.0
    ) -> None:
        self.decay_factor = float(decay_factor)
        self.epsilon = float(epsilon)
        self.norm_coefficient = float(norm_coefficient)

    def _update(self, xp: ModuleType, rate: float, step: int, tensors: Arrays) -> Arrays:
        x, g, squares = tensors
        squares = squares + g * g
        rate = rate / (1.0 + step * self.decay_factor)
        return x - rate * g / (xp.sqrt(squares) + self.epsilon), squares


class AdamUpdate(_Update):
    """One step of Adam (Kingma & Ba, 2015); states are the means of gradients and squares.

    Parameters
    ----------
    alpha, beta : float
        Shares of the two means that are kept.
    epsilon : float
        Keeps the division finite.
    norm_coefficient, norm_coefficient_post : float
        L2 penalty on the gradient, and on the result.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import AdamUpdate
    >>> rate, updates, x = np.array(0.25), np.array(0), np.array([1.0])
    >>> gradient, mean, squares = np.array([2.0]), np.array([2.0]), np.array([4.0])
    >>> x, mean, squares = AdamUpdate()(rate, updates, x, gradient, mean, squares)
    >>> [a.round(3).tolist() for a in (mean, squares, x)]  # means of equals, and 1 - 0.25 * 2 / 2
    [[2.0], [4.0], [0.75]]
    """

    states = 2

    def __init__(
        self,
        alpha: float = 0.9,
        beta: float = 0.999,
        epsilon: float = 1e-6,
        norm_coefficient: float = 0.0,
        norm_coefficient_post: float = 0.0,
    ) -> None:
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.epsilon = float(epsilon)
        self.norm_coefficient = float(norm_coefficient)
        self.norm_coefficient_post = float(norm_coefficient_post)

    def _update(self, xp: ModuleType, rate: float, step: int, tensors: Arrays) -> Arrays:
        x, g, mean, squares = tensors
        mean = self.alpha * mean + (1.0 - self.alpha) * g
        squares = self.beta * squares + (1.0 - self.beta) * g * g
        if step > 0:
            rate = rate * (1.0 - self.beta**step) ** 0.5 / (1.0 - self.alpha**step)
        x = x - rate * mean / (xp.sqrt(squares) + self.epsilon)
        return (1.0 - self.norm_coefficient_post) * x, mean, squares


class MomentumUpdate(_Update):
    """One step of gradient descent with momentum; the state is the velocity.

    Parameters
    ----------
    alpha : float
        Share of the velocity that is kept.
    beta : float
        Factor on the gradient, from the second update on.
    norm_coefficient : float
        L2 penalty.
    mode : {"standard", "nesterov"}

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import MomentumUpdate
    >>> rate, updates, x = np.array(0.5), np.array(1), np.array([1.0])
    >>> gradient, velocity = np.array([2.0]), np.array([4.0])
    >>> x, velocity = MomentumUpdate(alpha=0.5)(rate, updates, x, gradient, velocity)
    >>> velocity.tolist(), x.tolist()  # 0.5 * 4 + 2, and 1 - 0.5 * 4
    ([4.0], [-1.0])
    """

    states = 1

    def __init__(
        self,
        alpha: float = 0.9,
        beta: float = 1.0,
        norm_coefficient: float = 0.0,
        mode: str = "standard",
    ) -> None:
        if mode not in ("standard", "nesterov"):
            raise choice_error("MomentumUpdate", "mode", mode, ("standard", "nesterov"))
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.norm_coefficient = float(norm_coefficient)
        self.mode = mode

    def _update(self, xp: ModuleType, rate: float, step: int, tensors: Arrays) -> Arrays:
        x, g, velocity = tensors
        velocity = self.alpha * velocity + (self.beta if step > 0 else 1.0) * g
        direction = g + self.alpha * velocity if self.mode == "nesterov" else velocity
        return x - rate * direction, velocity
