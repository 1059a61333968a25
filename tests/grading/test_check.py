"""Arguments, reports and the ways a class is made and called."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.grading import test_mistakes_values, test_mistakes_windows
from tests.grading.courses import Affine, Conv, MaxPool, ReLU
from xpcnn import scratch
from xpcnn.grading import MISTAKES

# -- Arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("theirs", [None, 3, "Conv", np.zeros(3), np, object()])
def test_what_cannot_be_checked(theirs: Any) -> None:
    with pytest.raises(TypeError, match="check: theirs must be a class, an object with forward"):
        xpcnn.check(theirs, like="conv2d")


def test_like_is_unknown() -> None:
    with pytest.raises(ValueError, match="check: like must be one of 'conv1d', .*got 'conv4d'"):
        xpcnn.check(Conv, like="conv4d")
    with pytest.raises(TypeError, match="no check like <class 'int'>"):
        xpcnn.check(Conv, like=int)
    with pytest.raises(TypeError, match="there is no check like LSTM|no check like"):
        xpcnn.check(Conv, like=xpcnn.Embedding(3, 2))


def test_lang_is_unknown() -> None:
    with pytest.raises(ValueError, match="lang must be one of 'en', 'ja'; got 'de'"):
        xpcnn.check(Conv, like="conv2d", lang="de")


def test_make_is_wrong() -> None:
    with pytest.raises(TypeError, match="make must be a function .*got int"):
        xpcnn.check(Conv, like="conv2d", make=3)
    with pytest.raises(TypeError, match="make is for a class"):
        xpcnn.check(ReLU(), like="relu", make=ReLU)


def test_a_class_for_im2col() -> None:
    with pytest.raises(TypeError, match="theirs must be a function to be compared with im2col"):
        xpcnn.check(Conv, like="im2col")


# -- Making and calling ----------------------------------------------------------------------------


class Configured:
    """Takes its settings in a way that nobody can guess."""

    def __init__(self, weights_and_bias: Any, config: Any) -> None:
        self.inner = Conv(*weights_and_bias, config["stride"], config["pad"])

    def forward(self, x: Any) -> Any:
        return self.inner.forward(x)

    def backward(self, dout: Any) -> Any:
        dx = self.inner.backward(dout)
        self.dW, self.db = self.inner.dW, self.inner.db
        return dx


def test_what_is_not_understood_asks_for_make() -> None:
    report = xpcnn.check(Configured, like="conv2d")
    assert not report.passed
    assert report.mistakes == []
    assert "needs an argument 'weights_and_bias'" in report.text
    assert "make=lambda W, b, stride, pad:" in report.text


def test_make() -> None:
    report = xpcnn.check(
        Configured,
        like="conv2d",
        make=lambda W, b, stride, pad: Configured((W, b), {"stride": stride, "pad": pad}),
    )
    assert report.passed, report.text
    assert "stride 2" in [check.name for check in report.checks if check.state == "right"]


def test_a_setting_that_is_missing_is_not_tested() -> None:
    class NoStride(Conv):
        def __init__(self, W: Any, b: Any) -> None:
            super().__init__(W, b)

    report = xpcnn.check(NoStride, like=xpcnn.Conv2d)
    assert report.passed
    states = {check.name: check.state for check in report.checks}
    assert states["stride 2"] == states["padding 1"] == "not tested"


def test_a_setting_that_like_asks_for_is_a_must() -> None:
    class NoStride(Conv):
        def __init__(self, W: Any, b: Any) -> None:
            super().__init__(W, b)

    report = xpcnn.check(NoStride, like=xpcnn.Conv2d(2, 3, 3, stride=2))
    assert not report.passed
    assert "like= asks for stride, and no argument takes it" in report.text


def test_an_object_is_left_as_it_is() -> None:
    W = np.arange(12.0).reshape(1, 3, 2, 2)
    conv = Conv(W, np.zeros(1), stride=2)
    assert xpcnn.check(conv, like="conv2d").passed
    assert conv.W is W
    assert not hasattr(conv, "x")
    np.testing.assert_array_equal(W.ravel(), np.arange(12.0))


def test_an_object_of_a_pooling() -> None:
    report = xpcnn.check(MaxPool(2, 3, stride=1), like="max_pool2d")
    assert report.passed, report.text


@pytest.mark.parametrize(
    ("theirs", "like"),
    [
        (scratch.conv1d.SimpleConv1d, "conv1d"),
        (scratch.conv1d.MaxPooling1D, "max_pool1d"),
        (scratch.deep_conv_net.Convolution, "conv2d"),
        (scratch.deep_conv_net.MaxPooling, "max_pool2d"),
        (scratch.deep_conv_net.BatchNormalization, "batch_norm"),
        (scratch.deep_conv_net.BatchNormalization, xpcnn.BatchNorm2d),
        (scratch.deep_conv_net.Dropout, "dropout"),
        (scratch.deep_conv_net.Dropout(0.4), "dropout"),
        (scratch.deep_conv_net.SoftmaxWithLoss, xpcnn.CrossEntropyLoss),
        (scratch.deep_conv_net.MeanSquaredLoss, "mse"),
        (scratch.deep_conv_net.Adam, xpcnn.optim.Adam),
        (scratch.deep_conv_net.RMSProp, "rmsprop"),
        (scratch.deep_conv_net.Momentum(0.5), "momentum"),
        (scratch.deep_nn.FC, "linear"),
        (scratch.deep_nn.AdaGrad, "adagrad"),
        (scratch.deep_conv_net.im2col, "im2col"),
        (scratch.deep_conv_net.col2im, "col2im"),
    ],
)
def test_the_courses_classes_of_the_library(theirs: Any, like: Any) -> None:
    report = xpcnn.check(theirs, like=like)
    assert report.passed, report.text
    assert report.mistakes == []


def test_modules_of_pytorch_behind_numpy() -> None:
    torch = pytest.importorskip("torch")

    class Wrapped:
        def __init__(self, W: Any, b: Any, stride: int = 1, padding: int = 0) -> None:
            self.W, self.b, self.stride, self.padding = W, b, stride, padding

        def forward(self, x: Any) -> Any:
            self.held = [torch.tensor(a, requires_grad=True) for a in (x, self.W, self.b)]
            self.y = torch.nn.functional.conv2d(
                *self.held, stride=self.stride, padding=self.padding
            )
            return self.y

        def backward(self, dout: Any) -> Any:
            for array in self.held:
                array.grad = None
            self.y.backward(torch.tensor(dout))
            dx, self.dW, self.db = (array.grad for array in self.held)
            return dx

    report = xpcnn.check(Wrapped, like="conv2d")
    assert report.passed, report.text


# -- Reports ---------------------------------------------------------------------------------------


def broken() -> Any:
    class Broken(Affine):
        def backward(self, dout: Any) -> Any:
            self.dW = 2 * self.x.T @ dout
            return self.nothing

    return Broken


def test_an_exception_is_told_with_its_line() -> None:
    report = xpcnn.check(broken(), like="linear")
    assert not report.passed
    told = next(check.message for check in report.checks if check.name == "backward")
    assert "AttributeError: 'Broken' object has no attribute 'nothing'" in told
    assert "return self.nothing" in told


def test_even_exits_are_caught() -> None:
    def quits(x: Any) -> Any:
        raise SystemExit(3)

    assert "SystemExit: 3" in xpcnn.check(quits, like="relu").text


def test_the_number_that_is_wrong_is_given() -> None:
    """By hand: the negative number is the first that an identity gets wrong."""
    report = xpcnn.check(lambda x: x, like="relu")
    message = report.checks[0].message
    found = re.fullmatch(r"out\[(\d), (\d)\] is (-[\d.]+), expected 0", message)
    assert found, message


def test_a_report_is_true_if_all_is_right() -> None:
    assert xpcnn.check(ReLU, like="relu")
    assert not xpcnn.check(lambda x: -x, like="relu")


def test_random_numbers_go_on_as_before() -> None:
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    xpcnn.check(scratch.deep_conv_net.Dropout, like="dropout")
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_japanese() -> None:
    report = xpcnn.check(lambda x: np.minimum(x, 0), like="relu", lang="ja")
    assert "不合格" in report.text
    assert MISTAKES["mask_of_wrong_sign"].ja in report.text
    assert MISTAKES["mask_of_wrong_sign"].fix_ja in report.text
    assert "順伝播" in report.text


def test_html_has_everything_and_no_code_of_others() -> None:
    def named(x: Any) -> Any:
        raise ValueError("<script>alert(1)</script>")

    text = xpcnn.check(named, like="relu")._repr_html_()
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert text.count("<div") == text.count("</div>") == 1


def test_every_mistake_has_a_test() -> None:
    cases = [*test_mistakes_windows.CASES, *test_mistakes_values.CASES]
    noted = {"log_of_zero"}  # test_a_plain_log_is_noted_and_passes
    assert {case.values[2] for case in cases} | noted == set(MISTAKES)


def test_every_mistake_says_how_to_mend_it_in_both_languages() -> None:
    assert len(MISTAKES) >= 25
    for name, mistake in MISTAKES.items():
        assert re.fullmatch(r"[a-z0-9_]+", name)
        for text in (mistake.en, mistake.ja, mistake.fix, mistake.fix_ja):
            assert text.strip()
        assert re.search("[ぁ-んァ-ン一-龥]", mistake.ja), name
        assert re.search("[ぁ-んァ-ン一-龥]", mistake.fix_ja) or "=" in mistake.fix_ja, name


@pytest.mark.parametrize(
    ("like", "setting"),
    [
        (xpcnn.Conv2d(2, 4, 3, groups=2), "groups=2"),
        (xpcnn.Conv2d(2, 4, 3, dilation=2), "dilation=2"),
        (xpcnn.Conv2d(2, 4, 3, padding="same"), "padding='same'"),
        (xpcnn.Conv2d(2, 4, 3, bias=False), "bias=False"),
        (xpcnn.MaxPool2d(2, ceil_mode=True), "ceil_mode=True"),
        (xpcnn.CrossEntropyLoss(label_smoothing=0.1), "label_smoothing=0.1"),
        (xpcnn.CrossEntropyLoss(reduction="sum"), "reduction='sum'"),
        (xpcnn.optim.SGD(weight_decay=0.1), "weight_decay=0.1"),
    ],
)
def test_settings_of_like_that_are_not_checked(like: Any, setting: str) -> None:
    with pytest.raises(ValueError, match=re.escape(setting)):
        xpcnn.check(Conv, like=like)


def test_layers_of_the_library_are_not_for_check() -> None:
    for theirs in (xpcnn.Linear, xpcnn.Linear(3, 2)):
        with pytest.raises(TypeError, match="theirs is of xpcnn itself.*gradcheck"):
            xpcnn.check(theirs, like="linear")


class WithoutBias:
    def __init__(self, W: Any) -> None:
        self.W = W

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W

    def backward(self, dout: Any) -> Any:
        self.dW = self.x.T @ dout
        return dout @ self.W.T


def test_what_takes_no_bias_is_checked_without() -> None:
    report = xpcnn.check(WithoutBias, like="linear")
    assert report.passed, report.text
    assert "without b" in report.called
    assert "db" not in [check.name for check in report.checks]


def test_an_optimizer_with_momentum_asks_for_it() -> None:
    momentum = xpcnn.optim.SGD(lr=0.1, momentum=0.9)
    assert xpcnn.check(scratch.deep_conv_net.Momentum, like=momentum).passed
    report = xpcnn.check(scratch.deep_conv_net.SGD, like=momentum)
    assert report.mistakes == ["momentum_not_kept"]


def test_what_takes_a_bias_must_add_it() -> None:
    class Forgets(WithoutBias):
        def __init__(self, W: Any, b: Any) -> None:
            super().__init__(W)

    assert xpcnn.check(Forgets, like="linear").mistakes == ["bias_missing"]


def test_a_dropout_with_a_ratio_of_its_own() -> None:
    class Half:
        training = True

        def __init__(self) -> None:
            self.training = True

        def forward(self, x: Any) -> Any:
            if not self.training:
                return x
            self.mask = 2.0 * (np.random.rand(*x.shape) > 0.5)
            return x * self.mask

        def backward(self, dout: Any) -> Any:
            return dout * self.mask

    report = xpcnn.check(Half, like="dropout")
    assert report.passed, report.text


@pytest.mark.parametrize("value", [1j, None, "a"])
def test_what_returns_no_numbers(value: Any) -> None:
    returned = (lambda x: x * value) if value == 1j else (lambda x: value)
    report = xpcnn.check(returned, like="relu")
    assert not report.passed
    assert "instead of an array of numbers" in report.text
