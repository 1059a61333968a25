"""Mistakes in activations, losses, normalisation, dropout and optimizers, each by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.grading.collecting import assert_named, collector
from tests.grading.courses import (
    AdaGrad,
    Adam,
    Affine,
    BatchNorm,
    Dropout,
    Momentum,
    Optimizer,
    ReLU,
    RMSProp,
    Sigmoid,
    Softmax,
    SoftmaxWithLoss,
    Tanh,
)

CASES, mistake = collector()


@pytest.mark.parametrize(("theirs", "like", "name"), CASES)
def test_it_is_named(theirs: Any, like: str, name: str) -> None:
    assert_named(theirs, like, name)


# -- Linear layers ---------------------------------------------------------------------------------


@mistake("gradient_transposed", "linear")
class GradientTransposedLinear(Affine):
    def backward(self, dout):
        dx = super().backward(dout)
        self.dW = dout.T @ self.x
        return dx


@mistake("bias_missing", "linear")
class BiasMissingLinear(Affine):
    def forward(self, x):
        return super().forward(x) - self.b


@mistake("batch_not_summed", "linear")
class BatchNotSummedLinear(Affine):
    def backward(self, dout):
        dx = super().backward(dout)
        self.db = dout
        return dx


@mistake("backward_forgets_shape", "linear")
class BackwardForgetsShapeLinear(Affine):
    def backward(self, dout):
        super().backward(dout)
        return dout @ self.W.T


@mistake("dout_ignored", "linear")
class DoutIgnoredLinear(Affine):
    def backward(self, dout):
        super().backward(dout)
        return super().backward(np.ones_like(dout)) + 0 * super().backward(dout)


# -- Activations -----------------------------------------------------------------------------------


@mistake("mask_of_wrong_sign", "relu")
class MaskOfWrongSignRelu(ReLU):
    def derivative(self):
        return self.x < 0


@mistake("mask_by_dout", "relu")
class MaskByDoutRelu(ReLU):
    def backward(self, dout):
        return dout * (dout > 0)


@mistake("absolute_value", "relu")
def magnitude(x):
    return abs(x)


@mistake("dout_ignored", "relu")
class DoutIgnoredRelu(ReLU):
    def backward(self, dout):
        return self.derivative().astype(float)


@mistake("dout_passed_through", "relu")
class DoutPassedThroughRelu(ReLU):
    def backward(self, dout):
        return dout.copy()


@mistake("forward_changes_x", "relu")
class ForwardChangesXRelu:
    def forward(self, x):
        self.mask = x <= 0
        x[self.mask] = 0
        return x

    def backward(self, dout):
        return dout * ~self.mask


@mistake("backward_changes_dout", "relu")
class BackwardChangesDoutRelu(ReLU):
    def backward(self, dout):
        dout[self.x <= 0] = 0
        return dout


@mistake("derivative_at_x_instead_of_y", "sigmoid")
class DerivativeAtXInsteadOfYSigmoid(Sigmoid):
    def derivative(self):
        return self.x * (1 - self.x)


@mistake("sigmoid_factor_missing", "sigmoid")
class SigmoidFactorMissingSigmoid(Sigmoid):
    def derivative(self):
        return 1 - self.y


@mistake("activation_applied_twice", "sigmoid")
class ActivationAppliedTwiceSigmoid(Sigmoid):
    def derivative(self):
        y = self.f(self.y)
        return y * (1 - y)


@mistake("wrong_sign", "sigmoid")
class WrongSignSigmoid(Sigmoid):
    def f(self, x):
        return 1 / (1 + np.exp(x))


@mistake("tanh_square_missing", "tanh")
class TanhSquareMissingTanh(Tanh):
    def derivative(self):
        return 1 - self.y


@mistake("derivative_at_x_instead_of_y", "tanh")
class DerivativeAtXInsteadOfYTanh(Tanh):
    def derivative(self):
        return 1 - self.x**2


@mistake("softmax_overflows", "softmax")
def naive_softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


@mistake("softmax_over_wrong_axis", "softmax")
def over_batch(x):
    e = np.exp(x - x.max(axis=0))
    return e / e.sum(axis=0)


@mistake("softmax_over_everything", "softmax")
def over_everything(x):
    e = np.exp(x - x.max())
    return e / np.sum(e)


@mistake("softmax_not_normalised", "softmax")
def exponentials(x):
    return np.exp(x)


@mistake("softmax_jacobian_diagonal", "softmax")
class SoftmaxJacobianDiagonalSoftmax(Softmax):
    def backward(self, dout):
        return dout * self.y * (1 - self.y)


# -- Losses ----------------------------------------------------------------------------------------


@mistake("gradient_not_divided_by_batch", "cross_entropy")
class GradientNotDividedByBatchCrossEntropy(SoftmaxWithLoss):
    def backward(self, dout=1):
        return self.y - self.t


@mistake("loss_not_divided_by_batch", "cross_entropy")
class LossNotDividedByBatchCrossEntropy(SoftmaxWithLoss):
    def loss(self, y, t):
        return -np.sum(t * np.log(y + 1e-7))


@mistake("divided_by_batch_twice", "cross_entropy")
class DividedByBatchTwiceCrossEntropy(SoftmaxWithLoss):
    def backward(self, dout=1):
        return (self.y - self.t) / len(self.t) ** 2


@mistake("target_not_subtracted", "cross_entropy")
class TargetNotSubtractedCrossEntropy(SoftmaxWithLoss):
    def backward(self, dout=1):
        return self.y / len(self.t)


@mistake("wrong_sign", "cross_entropy")
class WrongSignCrossEntropy(SoftmaxWithLoss):
    def backward(self, dout=1):
        return (self.t - self.y) / len(self.t)


@mistake("wrong_sign", "cross_entropy")
def positive(y, t):
    return np.sum(t * np.log(y + 1e-7)) / len(y)


@mistake("loss_also_divided_by_classes", "cross_entropy")
def mean_over_everything(y, t):
    return -np.mean(t * np.log(y + 1e-7))


def test_a_plain_log_is_noted_and_passes() -> None:
    def no_epsilon(y, t):
        return -np.log(y[np.arange(len(t)), t]).mean()

    class Shifted(SoftmaxWithLoss):
        def forward(self, x, t):
            self.t = t if t.ndim == 2 else np.eye(x.shape[1])[t]
            self.y = self.softmax(x)
            return -np.sum(np.log(self.y[self.t == 1])) / len(x)

    class OneHot(SoftmaxWithLoss):
        def loss(self, y, t):
            with np.errstate(all="ignore"):
                return -np.sum(t * np.log(y)) / len(t)  # NaN where a probability is 0

    for theirs in (no_epsilon, Shifted, OneHot):
        report = xpcnn.check(theirs, like="cross_entropy")
        assert report.passed, report.text
        assert report.mistakes == ["log_of_zero"]
        assert "log(y + 1e-7)" in report.text


@mistake("softmax_overflows", "cross_entropy")
class SoftmaxOverflowsCrossEntropy(SoftmaxWithLoss):
    def softmax(self, x):
        return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


@mistake("softmax_over_everything", "cross_entropy")
class SoftmaxOverEverythingCrossEntropy(SoftmaxWithLoss):
    def softmax(self, x):
        e = np.exp(x - x.max())
        return e / e.sum()


@mistake("changes_with_calls", "cross_entropy")
class ChangesWithCallsCrossEntropy(SoftmaxWithLoss):
    def backward(self, dout=1):
        dx = self.y
        dx -= self.t
        return dx / len(self.t)


@mistake("half_too_small", "mse")
class HalfTooSmallMse:
    def forward(self, y, t):
        self.d = y - t
        return np.mean(self.d**2)

    def backward(self):
        return self.d / self.d.size


@mistake("gradient_not_divided_by_batch", "mse")
class GradientNotDividedByBatchMse:
    def forward(self, y, t):
        self.d = y - t
        return 0.5 * np.sum(self.d**2) / len(t)

    def backward(self, dout=1):
        return self.d


@mistake("absolute_value", "mse")
def mean_absolute(y, t):
    return np.abs(y - t).mean()


@mistake("gradient_of_another_scale", "mse")
class GradientOfAnotherScaleMse:
    def forward(self, y, t):
        self.d = y - t
        return np.sum(self.d**2) / len(t)

    def backward(self, dout=1):
        return 3 * self.d


# -- Batch normalisation ---------------------------------------------------------------------------


@mistake("eps_missing", "batch_norm")
class EpsMissingBatchNorm(BatchNorm):
    eps = 0.0


@mistake("variance_divided_by_n_minus_1", "batch_norm")
class VarianceDividedByNMinus1BatchNorm(BatchNorm):
    def statistics(self, x):
        return x.mean(axis=0), x.var(axis=0, ddof=1)


@mistake("divided_by_variance", "batch_norm")
class DividedByVarianceBatchNorm(BatchNorm):
    def statistics(self, x):
        return x.mean(axis=0), x.var(axis=0) ** 2


@mistake("normalised_over_wrong_axis", "batch_norm")
class NormalisedOverWrongAxisBatchNorm(BatchNorm):
    def forward(self, x, train_flg=True):
        mu, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
        return self.gamma * (x - mu) / np.sqrt(var + self.eps) + self.beta


@mistake("gamma_missing", "batch_norm")
class GammaMissingBatchNorm(BatchNorm):
    def forward(self, x, train_flg=True):
        super().forward(x, train_flg)
        return self.hat + self.beta


@mistake("beta_missing", "batch_norm")
class BetaMissingBatchNorm(BatchNorm):
    def forward(self, x, train_flg=True):
        return super().forward(x, train_flg) - self.beta


@mistake("batch_statistics_ignored_in_backward", "batch_norm")
class BatchStatisticsIgnoredInBackwardBatchNorm(BatchNorm):
    def backward(self, dout):
        super().backward(dout)
        return dout * self.gamma / self.std


@mistake("variance_ignored_in_backward", "batch_norm")
class VarianceIgnoredInBackwardBatchNorm(BatchNorm):
    def backward(self, dout):
        super().backward(dout)
        d = dout * self.gamma / self.std
        return d - d.mean(axis=0)


@mistake("mean_ignored_in_backward", "batch_norm")
class MeanIgnoredInBackwardBatchNorm(BatchNorm):
    def backward(self, dout):
        super().backward(dout)
        d = dout * self.gamma / self.std
        return d - self.hat * (d * self.hat).mean(axis=0)


@mistake("gamma_gradient_from_x", "batch_norm")
class GammaGradientFromXBatchNorm(BatchNorm):
    def backward(self, dout):
        dx = super().backward(dout)
        self.dgamma = (dout * self.x).sum(axis=0)
        return dx


@mistake("batch_not_summed", "batch_norm")
class BatchNotSummedBatchNorm(BatchNorm):
    def backward(self, dout):
        dx = super().backward(dout)
        self.dgamma = dout * self.hat
        return dx


@mistake("running_statistics_move_in_inference", "batch_norm")
class RunningStatisticsMoveInInferenceBatchNorm(BatchNorm):
    def forward(self, x, train_flg=True):
        if not train_flg:
            self.follow(x.mean(axis=0), x.var(axis=0))
        return super().forward(x, train_flg)


@mistake("batch_statistics_in_inference", "batch_norm")
class BatchStatisticsInInferenceBatchNorm(BatchNorm):
    def forward(self, x, train_flg=True):
        return super().forward(x, True)

    def follow(self, mu, var):
        pass


@mistake("running_statistics_never_move", "batch_norm")
class RunningStatisticsNeverMoveBatchNorm(BatchNorm):
    def follow(self, mu, var):
        pass


@mistake("momentum_reversed", "batch_norm")
class MomentumReversedBatchNorm(BatchNorm):
    momentum = 0.1


# -- Dropout ---------------------------------------------------------------------------------------


@mistake("dropout_not_scaled", "dropout")
class DropoutNotScaledDropout(Dropout):
    def forward(self, x, train_flg=True):
        return super().forward(x, True) if train_flg else x


@mistake("dropout_scaled_twice", "dropout")
class DropoutScaledTwiceDropout(Dropout):
    def draw(self, shape):
        return super().draw(shape) / (1 - self.ratio)


@mistake("dropout_scaled_by_p", "dropout")
class DropoutScaledByPDropout(Dropout):
    def forward(self, x, train_flg=True):
        return super().forward(x, True) if train_flg else x * self.ratio


@mistake("dropout_keeps_what_it_should_drop", "dropout")
class DropoutKeepsWhatItShouldDropDropout(Dropout):
    def draw(self, shape):
        return np.random.rand(*shape) < self.ratio


@mistake("dropout_active_in_inference", "dropout")
class DropoutActiveInInferenceDropout(Dropout):
    def forward(self, x, train_flg=True):
        return super().forward(x, True)


@mistake("dropout_inactive", "dropout")
class DropoutInactiveDropout(Dropout):
    def forward(self, x, train_flg=True):
        self.mask = np.ones(x.shape)
        return x


@mistake("dropout_other_mask_in_backward", "dropout")
class DropoutOtherMaskInBackwardDropout(Dropout):
    def backward(self, dout):
        return dout * self.draw(dout.shape)


@mistake("dropout_backward_not_scaled", "dropout")
class DropoutBackwardNotScaledDropout(Dropout):
    def forward(self, x, train_flg=True):
        if not train_flg:
            return x
        return super().forward(x) / (1 - self.ratio)


@mistake("same_mask_every_time", "dropout")
class SameMaskEveryTimeDropout(Dropout):
    def draw(self, shape):
        return np.random.RandomState(0).rand(*shape) > self.ratio


@mistake("seeds_the_global_generator", "dropout")
class SeedsTheGlobalGeneratorDropout(Dropout):
    def draw(self, shape):
        np.random.seed(0)
        return super().draw(shape)


# -- Optimizers ------------------------------------------------------------------------------------


@mistake("ascends", "sgd")
class AscendsSgd(Optimizer):
    def step(self, key, g):
        return -self.lr * g


@mistake("parameters_not_updated", "sgd")
class ParametersNotUpdatedSgd(Optimizer):
    def update(self, params, grads):
        for key, p in params.items():
            p = p - self.lr * grads[key]


@mistake("learning_rate_missing", "sgd")
class LearningRateMissingSgd(Optimizer):
    def step(self, key, g):
        return g


@mistake("momentum_not_kept", "momentum")
class MomentumNotKeptMomentum(Momentum):
    def step(self, key, g):
        v = 0.9 * 0.0 - self.lr * g
        return -v


@mistake("momentum_sign", "momentum")
class MomentumSignMomentum(Momentum):
    def step(self, key, g):
        return -self.keep(key, -0.9, -self.lr * g)


@mistake("squares_not_accumulated", "adagrad")
class SquaresNotAccumulatedAdagrad(AdaGrad):
    def step(self, key, g):
        return self.lr * g / (np.sqrt(g * g) + 1e-7)


@mistake("root_missing", "adagrad")
class RootMissingAdagrad(AdaGrad):
    def step(self, key, g):
        return self.lr * g / (self.keep(key, 1.0, g * g) + 1e-7)


@mistake("new_gradient_not_weighted", "rmsprop")
class NewGradientNotWeightedRmsprop(RMSProp):
    def step(self, key, g):
        return self.lr * g / (np.sqrt(self.keep(key, 0.99, g * g)) + 1e-7)


@mistake("no_bias_correction", "adam")
class NoBiasCorrectionAdam(Adam):
    def step(self, key, g):
        m, v = self.keep("m" + key, 0.9, 0.1 * g), self.keep("v" + key, 0.999, 0.001 * g * g)
        return self.lr * m / (np.sqrt(v) + 1e-8)


@mistake("step_not_counted", "adam")
class StepNotCountedAdam(Adam):
    def step(self, key, g):
        self.t = 1
        return super().step(key, g)


@mistake("steps_counted_from_zero", "adam")
class StepsCountedFromZeroAdam(Adam):
    def update(self, params, grads):
        for key in params:
            params[key] -= self.step(key, grads[key])
        self.t += 1


@mistake("step_counted_per_parameter", "adam")
class StepCountedPerParameterAdam(Adam):
    def update(self, params, grads):
        for key in params:
            self.t += 1
            params[key] -= self.step(key, grads[key])
