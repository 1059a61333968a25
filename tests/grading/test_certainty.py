"""A mistake that is named is the only one; "ok" means that all of it is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.grading.test_function_pairs import conv_back, conv_there


class Flips:
    """A convolution of given weights that flips the filter, in one dimension."""

    def __init__(self, W: Any, b: Any) -> None:
        self.W, self.b = W, b

    def forward(self, x: Any) -> Any:
        view = np.lib.stride_tricks.sliding_window_view(x, self.W.shape[2], 2)
        return np.einsum("nclk,fck->nfl", view, self.W[..., ::-1]) + self.b[:, None]


def test_overwriting_is_no_ok_anywhere() -> None:
    """Every size shares dx, which is known to be wrong: none of them is right."""
    report = xpcnn.check(
        (conv_there, lambda dout, cache: conv_back(dout, cache, "overwrites")), like="conv2d"
    )
    states = {check.name: check.state for check in report.checks}
    for name in ("stride 2", "padding 1", "stride 2, padding 1", "batch of 1"):
        assert states[name] == "not tested"
    told = {check.name: check.message for check in report.checks}
    assert told["stride 2"] == "the output is right; mend dx first"


def test_the_other_gradients_are_compared_though_dx_is_wrong() -> None:
    """dx is wrong everywhere, and dW only where the stride is 2."""

    def back(dout: Any, cache: Any) -> Any:
        dx, dw, db = conv_back(dout, cache)
        return dx + 1, dw * (1 if cache[3]["stride"] == 1 else 5), db

    report = xpcnn.check((conv_there, back), like="conv2d")
    wrong = {check.name: check.message for check in report.checks if check.state == "wrong"}
    assert set(wrong) == {"dx", "stride 2", "windows that do not fit", "stride 2, padding 1"}
    assert wrong["stride 2"].startswith("dW[0, 0, 0, 0] is")
    assert report.mistakes == []


@pytest.mark.parametrize(
    ("scale", "named"),
    [(3.0, ["times_batch_size"]), (1 / 3, ["averaged_over_batch"]), (6.0, []), (-2.0, [])],
)
def test_two_factors_at_once_get_no_name(scale: float, named: list[str]) -> None:
    """Multiplied by the batch of 3 there is a name; twice that as well there is none."""

    def back(dout: Any, cache: Any) -> Any:
        dx, dw, db = conv_back(dout, cache)
        return dx, dw * scale, db

    assert xpcnn.check((conv_there, back), like="conv2d").mistakes == named


def test_two_mistakes_in_one_array_get_no_name() -> None:
    def there(x: Any, w: Any, b: Any, conv_param: Any) -> Any:
        out, cache = conv_there(x, w[..., ::-1, ::-1], b, conv_param)
        return out - 2 * b[:, None, None], cache  # flipped, and the bias subtracted

    report = xpcnn.check((there, conv_back), like="conv2d")
    assert not report.passed
    assert report.mistakes == []


def test_two_mistakes_in_two_arrays_get_their_names() -> None:
    def back(dout: Any, cache: Any) -> Any:
        dx, dw, _ = conv_back(dout, cache, "overwrites")
        return dx, -dw, dout.sum(axis=(2, 3))

    report = xpcnn.check((conv_there, back), like="conv2d")
    wrong = {check.name: check.mistake for check in report.checks if check.state == "wrong"}
    assert wrong["dW"] == "wrong_sign"
    assert wrong["db"] == "batch_not_summed"
    assert wrong["dx"] == "col2im_overwrites"


def test_what_one_size_cannot_tell_apart_is_not_named() -> None:
    """With filters of 1 x 1 the transposed filter is the filter; of one tap it cannot be seen."""
    assert xpcnn.check(Flips, like=xpcnn.Conv1d(2, 3, 1)).passed
    assert xpcnn.check(Flips, like=xpcnn.Conv1d(2, 3, 4)).mistakes == ["filter_flipped"]


def test_a_position_that_is_missing_at_the_wrong_end_has_no_name() -> None:
    class DropsTheFirst(Flips):
        def forward(self, x: Any) -> Any:
            view = np.lib.stride_tricks.sliding_window_view(x, self.W.shape[2], 2)
            return (np.einsum("nclk,fck->nfl", view, self.W) + self.b[:, None])[..., 1:]

    report = xpcnn.check(DropsTheFirst, like="conv1d")
    assert not report.passed
    assert report.mistakes == []


def test_mistakes_that_cannot_be_told_apart_are_all_listed() -> None:
    """With 3 samples and 7 - 5 + 1 = 3 positions both averages divide by 3."""

    class Averages(Flips):
        def forward(self, x: Any) -> Any:
            self.view = np.lib.stride_tricks.sliding_window_view(x, self.W.shape[2], 2)
            return np.einsum("nclk,fck->nfl", self.view, self.W) + self.b[:, None]

        def backward(self, dout: Any) -> Any:
            self.dW = np.einsum("nfl,nclk->fck", dout, self.view) / dout.shape[2]
            self.db = dout.sum(axis=(0, 2))
            dx = np.zeros((len(dout), self.W.shape[1], dout.shape[2] + self.W.shape[2] - 1))
            for i, k in np.ndindex(dout.shape[2], self.W.shape[2]):
                dx[:, :, i + k] += dout[:, :, i] @ self.W[:, :, k]
            return dx

    report = xpcnn.check(Averages, like=xpcnn.Conv1d(2, 3, 5))
    told = {check.name: check.message for check in report.checks if check.state == "wrong"}
    assert list(told) == ["dW"]
    assert told["dW"].endswith(
        "this could be one of several mistakes: it is averaged over the positions instead of "
        "summed; it is averaged over the batch instead of summed"
    )
    assert report.mistakes == []
    assert xpcnn.check(Averages, like="conv1d").mistakes == ["averaged_over_positions"]
