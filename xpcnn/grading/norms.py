"""Batch normalisation and dropout, which do different things in training and inference."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn import layers
from xpcnn._xp import Array
from xpcnn.grading.calling import TheirError, UnrecognisedError
from xpcnn.grading.dialects import Layout, roles_of
from xpcnn.grading.running import Family, Grading, Hypotheses, close
from xpcnn.grading.runs import Run
from xpcnn.grading.trials import Trial, drawn
from xpcnn.layers.layer import Layer


class BatchNormFamily(Family):
    """Batch normalisation of (N, D), and of (N, C, H, W) where `like` asks for it."""

    preferred = ("gamma", "beta", "in")
    make_example = "make=lambda gamma, beta: TheirClass(gamma, beta)"

    def __init__(self, rank: int) -> None:
        self.rank = rank
        images = (Layout("first"), Layout("last"))
        self.layouts = (Layout("rows"),) if rank == 0 else images

    def layer(self, trial: Trial) -> Layer:
        n = trial.x.shape[1]
        made = {0: layers.BatchNorm1d, 1: layers.BatchNorm1d, 2: layers.BatchNorm2d}[self.rank]
        return made(n, eps=1e-7)

    def trials(self, layout: Layout) -> list[Trial]:
        return [self._trial("forward", 6, 4), self._trial("one feature", 5, 1)]

    def _trial(self, name: str, n: int, features: int) -> Trial:
        generator = np.random.default_rng(4)
        shape = (n, features, *(4, 5)[: self.rank])
        x = 20 * drawn(generator, shape) + 7
        params = {
            "gamma": np.abs(drawn(generator, (features,))) + 0.5,
            "beta": drawn(generator, (features,)),
        }
        trial = Trial(
            name, x, drawn(generator, shape), params, {"in": features, "eps": 1e-7}, tolerance=1e-5
        )  # epsilon differs from course to course
        return self.solved(trial)

    def _wide(self, a: Array) -> Array:
        return a.reshape(-1, *(1,) * self.rank)

    def hypotheses(self, trial: Trial, quantity: str) -> Hypotheses:
        x, dout = trial.x, trial.dout
        axes = (0, *range(2, x.ndim))
        gamma, beta = self._wide(trial.params["gamma"]), self._wide(trial.params["beta"])
        centred = x - x.mean(axes, keepdims=True)
        var = x.var(axes, keepdims=True)
        hat = centred / np.sqrt(var)
        if quantity == "y":
            std = x.std(axes, ddof=1, keepdims=True)
            yield "variance_divided_by_n_minus_1", lambda: gamma * centred / std + beta
            yield "divided_by_variance", lambda: gamma * centred / var + beta
            own = x - x.mean(1, keepdims=True)
            yield (
                "normalised_over_wrong_axis",
                lambda: gamma * own / np.sqrt(x.var(1, keepdims=True)) + beta,
            )
            yield "gamma_missing", lambda: hat + beta
            yield "beta_missing", lambda: gamma * hat
        elif quantity == "dx":
            d = gamma * dout / np.sqrt(var)
            mean = d.mean(axes, keepdims=True)
            slope = hat * (d * hat).mean(axes, keepdims=True)
            yield "batch_statistics_ignored_in_backward", lambda: d
            yield "variance_ignored_in_backward", lambda: d - mean
            yield "mean_ignored_in_backward", lambda: d - slope
            yield "gamma_missing", lambda: (d - mean - slope) / gamma
        else:
            factor = {"dgamma": hat, "dbeta": np.ones_like(x)}[quantity]
            yield "batch_not_summed", lambda: dout * factor
            yield "averaged_over_batch", lambda: (dout * factor).mean(axes)
            yield "only_last_sample", lambda: (dout * factor)[-1].sum(tuple(range(1, x.ndim - 1)))
            if self.rank:
                yield "positions_not_summed", lambda: (dout * factor).sum(0)
            if quantity == "dgamma":
                yield "gamma_gradient_from_x", lambda: (dout * x).sum(axes)
                yield "gamma_gradient_from_x", lambda: (dout * centred).sum(axes)

    def finish(self, grading: Grading, layout: Layout) -> None:
        trial = self.trials(layout)[0]
        try:
            self._inference(grading, trial, layout)
            self._constant(grading, trial, layout)
        except (TheirError, UnrecognisedError) as error:
            grading.add("inference", "wrong", str(error))

    def _constant(self, grading: Grading, trial: Trial, layout: Layout) -> None:
        x = np.full_like(trial.x, 3.0)
        y = grading.player.made(trial, layout).forward(layout.theirs("x", x))
        if np.isfinite(y).all():
            grading.right("constant feature")
        else:
            grading.add("constant feature", "wrong", "", "eps_missing")

    def _inference(self, grading: Grading, trial: Trial, layout: Layout) -> None:
        """Read the running statistics off what inference computes: y = slope * x + offset."""
        run = grading.player.made(trial, layout)
        if not run.tells_modes():
            grading.add("inference", "not tested", grading.say("no flag"))
            return

        def statistics() -> tuple[Array, Array]:
            zero = self._infer(run, layout, np.zeros_like(trial.x))
            one = self._infer(run, layout, np.ones_like(trial.x))
            first = (0, slice(None), *(0,) * self.rank)
            slope = (one - zero)[first]
            gamma, beta = trial.params["gamma"], trial.params["beta"]
            with np.errstate(all="ignore"):  # by the batch, all is beta: the slope is 0
                return (beta - zero[first]) / slope, (gamma / slope) ** 2

        run.forward(layout.theirs("x", trial.x))
        mean1, var1 = statistics()
        mean_again, var_again = statistics()
        if not np.isfinite(mean1).all():
            grading.add("inference", "wrong", "", "batch_statistics_in_inference")
            return
        if not close(mean_again, mean1, 1e-5) or not close(var_again, var1, 1e-5):
            grading.add("inference", "wrong", "", "running_statistics_move_in_inference")
            return
        grading.right("inference")
        other = trial.x[::-1] * 1.5 + 11
        run.forward(layout.theirs("x", other))
        mean2, _ = statistics()
        target = other.mean((0, *range(2, other.ndim)))
        share = (mean2 - mean1) / (target - mean1)  # of the new batch in the running mean
        if np.allclose(share, 0, atol=1e-6):
            grading.add("running statistics", "wrong", "", "running_statistics_never_move")
        elif np.allclose(share, 1, atol=1e-6) or share.mean() > 0.5:
            grading.add("running statistics", "wrong", "", "momentum_reversed")
        else:
            grading.right("running statistics")

    def _infer(self, run: Run, layout: Layout, x: Array) -> Array:
        return run.forward(layout.theirs("x", x), training=False)


class DropoutFamily(Family):
    """Dropout, scaled in training or in inference; checked by what it does to ones."""

    preferred = ("ratio", "keep")
    make_example = "make=lambda ratio: TheirClass(ratio)"
    layouts = (Layout("plain"),)
    ratio = 0.3

    def __init__(self, held: float | None) -> None:
        self.ratio = self.ratio if held is None else held

    def layer(self, trial: Trial) -> Layer:
        return layers.Identity()

    def trials(self, layout: Layout) -> list[Trial]:
        x = np.ones((200, 100))
        settings = {"ratio": self.ratio, "keep": 1 - self.ratio}
        return [self.solved(Trial("training", x, x + 1.0, {}, settings))]


class DropoutGrading(Grading):
    """The plan for dropout, which has no numbers that are right."""

    def run(self) -> None:
        """Check what dropout does."""
        layout = Layout("plain")
        trial = self.family.trials(layout)[0]
        try:
            run = self.player.made(trial, layout)
            self._train_and_infer(run, trial)
        except (TheirError, UnrecognisedError) as error:
            why = str(error)
            if isinstance(error, UnrecognisedError):
                why = self.say("unknown", why=why, make=self.family.make_example)
            self.add("call", "wrong", why)

    def _train_and_infer(self, run: Any, trial: Trial) -> None:
        p = trial.settings["ratio"]
        roles = set(roles_of(self.player.constructor(), self.family.preferred).values())
        if self.player.is_class and not roles & {"ratio", "keep"}:  # it has one of its own
            p = round(float(np.mean(run.forward(trial.x.copy(), training=True) == 0)), 1)
        x = trial.x.copy()
        np.random.seed(1)
        y = run.forward(x, training=True)
        dropped = float(np.mean(y == 0))
        scale = float(y.max(initial=0.0))
        if not np.array_equal(x, trial.x):
            self.add("x unchanged", "wrong", "", "forward_changes_x")
        if dropped == 0:
            self.add("training", "wrong", "", "dropout_inactive")
            return
        if run.settings is not None and "p" in run.settings.read and abs(dropped - 1 + p) < 0.03:
            p = 1 - p  # "p" is what is kept in some courses
        if abs(dropped - p) > 0.03:
            message = self.say("share", got=dropped, right=p)
            reversed_ = abs(dropped - (1 - p)) < 0.03
            mistake = "dropout_keeps_what_it_should_drop" if reversed_ else None
            self.add("training", "wrong", message, mistake)
            return
        self._scales(run, trial, p, scale)
        if run.has_backward:
            self._backward(run, trial)
        self._seeds(run, trial, y)

    def _scales(self, run: Any, trial: Trial, p: float, scale: float) -> None:
        if not run.tells_modes():
            self.add("inference", "not tested", self.say("no flag"))
            return
        z = run.forward(trial.x.copy(), training=False)
        if np.mean(z == 0) > p / 2:
            self.add("inference", "wrong", "", "dropout_active_in_inference")
            return
        in_inference = float(z.mean())
        pair = (round(scale, 4), round(in_inference, 4))
        known = {
            (round(1 / (1 - p), 4), 1.0): "inverted",
            (1.0, round(1 - p, 4)): "classic",
        }
        wrong = {
            (1.0, 1.0): "dropout_not_scaled",
            (round(1 / (1 - p), 4), round(1 - p, 4)): "dropout_scaled_twice",
            (round(1 / p, 4), 1.0): "dropout_scaled_by_p",
            (1.0, round(p, 4)): "dropout_scaled_by_p",
        }
        if pair in known:
            self.right("training")
            self.right("inference")
            self.add("inference", "note", self.say(known[pair]))
        else:
            right = f"{1 / (1 - p):.4g} / 1, 1 / {1 - p:.4g}"
            message = self.say(
                "number", what="scale", got=f"{pair[0]:g} / {pair[1]:g}", right=right
            )
            self.add("inference", "wrong", message, wrong.get(pair))

    def _backward(self, run: Any, trial: Trial) -> None:
        x = trial.x.copy()
        y = run.forward(x, training=True)
        dout = trial.dout.copy()
        dx = run.backward(dout).get("dx")
        if dx is None:
            self.add("dx", "not tested", self.say("missing", what="dx"))
        elif dx.shape != y.shape:
            self.add("dx", "wrong", self.say("shape", what="dx", got=dx.shape, right=y.shape))
        elif close(dx, trial.dout * y, 1e-5):
            self.right("dx")
        elif np.array_equal(dx != 0, y != 0):
            self.add("dx", "wrong", "", "dropout_backward_not_scaled")
        elif close(dx, trial.dout, 1e-5):
            self.add("dx", "wrong", "", "dout_passed_through")
        else:
            self.add("dx", "wrong", "", "dropout_other_mask_in_backward")
        if not np.array_equal(dout, trial.dout):
            self.add("dout unchanged", "wrong", "", "backward_changes_dout")

    def _seeds(self, run: Any, trial: Trial, y: Array) -> None:
        """Two forwards must draw two masks, and leave the global generator its own seed."""
        np.random.seed(2)
        again = run.forward(trial.x.copy(), training=True)
        after_2 = np.random.random()
        np.random.seed(3)
        run.forward(trial.x.copy(), training=True)
        if after_2 == np.random.random():
            self.add("random numbers", "wrong", "", "seeds_the_global_generator")
        elif np.array_equal(again, y):
            self.add("random numbers", "wrong", "", "same_mask_every_time")
        else:
            self.right("random numbers")
