"""Losses, metrics, optimizers, schedules and functions of a user: used, saved, loaded."""

import math

import numpy as np
import pytest

import xpcnn
from xpcnn import ModelFileError, losses, metrics, optim
from xpcnn._xp import to_numpy
from xpcnn.training.callbacks import ModelCheckpoint


def data():
    rng = np.random.default_rng(5)
    return rng.normal(size=(20, 3)).astype("float32"), rng.normal(size=(20, 2)).astype("float32")


def model_of(loss="mse", metrics=(), optimizer=None, device="cpu", layers=None):
    model = xpcnn.Model(layers or [xpcnn.Linear(3, 2)], device=device, seed=0)
    model.compile(optimizer or optim.SGD(0.1), loss, metrics)
    return model


def fit(model, epochs=2, **options):
    x, y = data()
    return model.fit(x, y, epochs=epochs, verbose=0, **({"batch_size": 8} | options))


def weights(model):
    return to_numpy(model.state_dict()["0.weight"])


class PowerLoss(losses.Loss):
    """The mean of a power of the distance."""

    def __init__(self, power=4, reduction="mean"):
        super().__init__(reduction)
        self.power = power

    def _terms(self, xp, prediction, target):
        difference = prediction - target
        return difference**self.power, math.prod(prediction.shape), difference

    def _gradient(self, xp, saved, scale):
        return scale * self.power * saved ** (self.power - 1)


class LargestError(metrics.Metric):
    name = "largest"
    higher_is_better = False

    def __init__(self, factor=1.0):
        self.factor = factor
        self.reset()

    def reset(self):
        self.largest = 0.0

    def update(self, prediction, target):
        self.largest = max(self.largest, float(abs(prediction - target).max()))

    def result(self):
        return self.factor * self.largest


class SignDescent(optim.Optimizer):
    """Moves by the sign of a running mean of the gradient."""

    _slots = ("mean",)

    def __init__(self, lr=0.01, keep=0.5, schedule=None):
        super().__init__(lr, schedule=schedule)
        self.keep = self._number("keep", keep, below=1.0)

    def _update(self, xp, p, g, slots, lr, step):
        slots["mean"] = self.keep * slots.get("mean", 0.0 * g) + g
        return p - lr * xp.sign(slots["mean"])


class Halving(optim.Schedule):
    def __init__(self, every=1):
        self.every = every

    def lr(self, base_lr, *, epoch, step):
        return base_lr * 0.5 ** (epoch // self.every)


class Scaled(xpcnn.Layer):
    def __init__(self, times=2.0):
        self.times = times

    def _forward(self, xp, x, training):
        return x * self.times, None

    def _backward(self, xp, dy, saved, need_dx):
        return dy * self.times


OWN = {cls.__name__: cls for cls in (PowerLoss, LargestError, SignDescent, Halving, Scaled)}


def own_model():
    return model_of(
        PowerLoss(2), [LargestError(2.0)], SignDescent(schedule=Halving(2)),
        layers=[xpcnn.Linear(3, 2), Scaled(1.5)],
    )  # fmt: skip


def test_classes_of_users_are_saved_and_loaded(tmp_path):
    through = own_model()
    fit(through, 4)
    stopped = own_model()
    fit(stopped, 2)
    stopped.save(tmp_path / "m")
    resumed = xpcnn.Model.load(tmp_path / "m", device="cpu", custom_objects=OWN)
    assert repr(resumed.optimizer) == repr(through.optimizer)
    assert (resumed.loss.power, resumed.metrics[0].factor) == (2, 2.0)
    fit(resumed, 2)
    np.testing.assert_array_equal(weights(resumed), weights(through))
    assert resumed.history == through.history


@pytest.mark.parametrize("missing", sorted(OWN))
def test_a_class_that_is_not_given_is_named(missing, tmp_path):
    model = own_model()
    fit(model, 1)
    model.save(tmp_path / "m")
    given = {name: cls for name, cls in OWN.items() if name != missing}
    with pytest.raises(ModelFileError, match=rf"custom_objects={{'{missing}': {missing}}}"):
        xpcnn.Model.load(tmp_path / "m", custom_objects=given)


def test_a_file_is_loaded_without_what_trained_it(tmp_path):
    model = own_model()
    fit(model, 2)
    model.save(tmp_path / "m")
    loaded = xpcnn.Model.load(
        tmp_path / "m", device="cpu", custom_objects={"Scaled": Scaled}, compile=False
    )
    x, y = data()
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert (loaded.loss, loaded.metrics, loaded.optimizer) == (None, [], None)
    assert (loaded.epoch, loaded.history) == (2, model.history)
    with pytest.raises(RuntimeError, match="compile"):
        loaded.fit(x, y)
    loaded.compile("adam", "mse")
    assert fit(loaded, 1).epoch == [3]


def test_custom_layers_is_another_name(tmp_path):
    model = own_model()
    fit(model, 1)
    model.save(tmp_path / "m")
    for options in ({"custom_layers": OWN}, {"custom_layers": {"Scaled": Scaled},
                                             "custom_objects": OWN}):  # fmt: skip
        assert xpcnn.Model.load(tmp_path / "m", device="cpu", **options).layers[1].times == 1.5


@pytest.mark.parametrize("given", [{"Scaled": "Scaled"}, {3: Scaled}, {"Scaled": None}])
def test_what_is_no_custom_object(given, tmp_path):
    with pytest.raises(TypeError, match="custom_objects maps names to classes and functions"):
        xpcnn.Model.load(tmp_path / "m", custom_objects=given)


def test_a_class_of_another_kind_is_refused(tmp_path):
    model = own_model()
    fit(model, 1)
    model.save(tmp_path / "m")
    for name, other in [("PowerLoss", Halving), ("LargestError", PowerLoss), ("Scaled", Halving)]:
        with pytest.raises(ModelFileError):
            xpcnn.Model.load(tmp_path / "m", custom_objects=OWN | {name: other})


def test_a_class_with_the_name_of_ours_is_not_mistaken_for_it(tmp_path):
    class MSELoss(losses.MSELoss):
        """Ours times a hundred."""

        def _function(self, xp, difference):
            return 100.0 * super()._function(xp, difference)

        def _gradient(self, xp, saved, scale):
            return 100.0 * super()._gradient(xp, saved, scale)

    model = model_of(MSELoss())
    fit(model, 1)
    model.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match="unknown class 'MSELoss'"):
        xpcnn.Model.load(tmp_path / "m")
    loaded = xpcnn.Model.load(tmp_path / "m", device="cpu", custom_objects={"MSELoss": MSELoss})
    assert type(loaded.loss) is MSELoss
    x, y = data()
    assert loaded.evaluate(x, y) == model.evaluate(x, y)


# -- Functions as metrics --------------------------------------------------------------------------


def mean_distance(prediction, target):
    return abs(prediction - target).mean()


def distances(prediction, target):
    """One number for each sample."""
    return abs(prediction - target).mean(axis=1)


@pytest.mark.parametrize("function", [mean_distance, distances])
@pytest.mark.parametrize("batch_size", [1, 7, 20])
def test_a_metric_is_averaged_over_samples(function, batch_size):
    x, y = data()
    model = model_of(metrics=[function])
    found = model.evaluate(x, y, batch_size=batch_size)[function.__name__]
    expected = np.abs(model.predict(x).astype("float64") - y).mean()
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_metric_on_every_device(device):
    x, y = data()

    def squares(prediction, target):
        difference = prediction - target
        return (difference * difference)[:, 0]

    model = model_of(metrics=squares, device=device)
    expected = (model.predict(x).astype("float64")[:, 0] - y[:, 0]) ** 2
    found = model.evaluate(x, y, batch_size=8)["squares"]
    assert found == pytest.approx(expected.mean(), rel=1e-5)
    fit(model, 1)


def test_metrics_as_functions_are_saved_and_loaded(tmp_path):
    model = model_of(metrics=[mean_distance])
    fit(model, 1)
    model.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match="custom_objects={'mean_distance': mean_distance}"):
        xpcnn.Model.load(tmp_path / "m")
    loaded = xpcnn.Model.load(
        tmp_path / "m", device="cpu", custom_objects={"mean_distance": mean_distance}
    )
    x, y = data()
    assert loaded.evaluate(x, y) == model.evaluate(x, y)


def test_which_way_a_function_is_better():
    def score(prediction, target):
        return 1.0

    stopping = xpcnn.EarlyStopping("score")
    with pytest.raises(ValueError, match="cannot tell whether"):
        fit(model_of(metrics=[score]), callbacks=[stopping])
    score.higher_is_better = True
    fit(model_of(metrics=[score]), callbacks=[stopping])
    assert stopping.best == 1.0


def test_our_own_functions_are_metrics_over_all_samples():
    """The mean of the F1 scores of batches is not the F1 score."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)).astype("float32"), rng.integers(0, 2, 30)
    model = model_of("cross_entropy", [metrics.f1_score])
    assert isinstance(model.metrics[0], metrics.F1Score)
    found = [model.evaluate(x, y, batch_size=size)["f1_score"] for size in (4, 30)]
    assert found[0] == found[1]


@pytest.mark.parametrize("value", [np.ones(3), np.ones((20, 2)), np.ones((1, 1))])
def test_a_metric_that_gives_no_number(value):
    model = model_of(metrics=[lambda prediction, target: value])
    with pytest.raises(ValueError, match="metric 'lambda': the function must return one number"):
        model.evaluate(*data())


@pytest.mark.parametrize(
    "metric", [metrics.F1Score(average=None), metrics.ConfusionMatrix(), metrics.Recall(None)]
)
def test_a_metric_that_gives_an_array_is_refused_at_once(metric):
    model = model_of()
    with pytest.raises(ValueError, match="gives an array"):
        model.compile("adam", "mse", [metric])
    with pytest.raises(ValueError, match="gives an array"):
        fit(model, metrics=[metric])
    assert model.step == 0


# -- Functions as losses ---------------------------------------------------------------------------


def quartic(prediction, target):
    return ((prediction - target) ** 4).mean()


def quartic_gradient(prediction, target):
    return 4.0 * (prediction - target) ** 3 / math.prod(prediction.shape)


def quartics(prediction, target):
    return ((prediction - target) ** 4).mean(axis=1)


def quartics_gradient(prediction, target):
    return 4.0 * (prediction - target) ** 3 / prediction.shape[1]


EACH = [quartic, (quartic, quartic_gradient), quartics, (quartics, quartics_gradient)]


@pytest.mark.parametrize("loss", EACH, ids=["mean", "mean pair", "each", "each pair"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_of_a_function(loss, dtype):
    rng = np.random.default_rng(1)
    prediction, target = rng.normal(size=(4, 3)).astype(dtype), rng.normal(size=(4, 3))
    made = losses.get(loss)
    value = made(prediction, target.astype(dtype))
    difference = prediction.astype("float64") - target.astype(dtype)
    assert float(value) == pytest.approx((difference**4).mean(), rel=1e-5)
    gradient = made.backward()
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, 4 * difference**3 / 12, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", EACH, ids=["mean", "mean pair", "each", "each pair"])
def test_training_with_a_function_is_training_with_the_class(loss):
    by_class = model_of(PowerLoss(4))
    by_function = model_of(loss)
    expected, found = fit(by_class), fit(by_function)
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=1e-4)
    np.testing.assert_allclose(weights(by_function), weights(by_class), rtol=1e-4, atol=1e-6)
    x, y = data()
    sizes = [by_function.evaluate(x, y, batch_size=size)["loss"] for size in (3, 20)]
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-6)


def test_a_function_on_every_device(device):
    def squares(prediction, target):
        difference = prediction - target
        return (difference * difference)[:, 0]

    by_class = model_of("mse", layers=[xpcnn.Linear(3, 1)], device=device)
    by_function = model_of(squares, layers=[xpcnn.Linear(3, 1)], device=device)
    x, y = data()
    for model in (by_class, by_function):
        model.fit(x, y[:, :1], epochs=1, batch_size=8, verbose=0)
    np.testing.assert_allclose(weights(by_function), weights(by_class), rtol=1e-3, atol=1e-4)


def test_weights_of_samples():
    x, y = data()
    w = np.linspace(0.0, 2.0, 20)
    by_class, by_function = model_of(PowerLoss(4)), model_of((quartics, quartics_gradient))
    for model in (by_class, by_function):
        model.fit(x, y, epochs=2, sample_weight=w, verbose=0)
    np.testing.assert_allclose(weights(by_function), weights(by_class), rtol=1e-5, atol=1e-7)
    model = model_of(quartic)
    with pytest.raises(ValueError, match="samples cannot be weighted; return one for each sample"):
        model.fit(x, y, sample_weight=w, verbose=0)
    assert model.step == 0


def test_a_wrong_gradient_is_found_at_the_first_step():
    def wrong(prediction, target):
        return 3.0 * quartic_gradient(prediction, target)

    model = model_of((quartic, wrong))
    model.build((None, 3))
    before = weights(model).copy()
    with pytest.raises(ValueError, match="loss 'quartic': the gradient does not match the func"):
        fit(model)
    np.testing.assert_array_equal(weights(model), before)


def test_what_a_function_may_not_return():
    for loss, message in [
        (lambda p, t: p - t, "must return one number, or one for each of the 8 samples"),
        ((quartic, lambda p, t: 0.0), r"gradient must have the shape \(8, 2\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit(model_of(loss))
    for loss, message in [
        (lambda p, t: (0.0, p), r"one for each of the 8 samples, not the gradient.*a tuple"),
        (lambda p, t: [0.0] * 8, "it returned a list"),
        (lambda p, t: None, "it returned None"),
    ]:
        with pytest.raises(TypeError, match=message):
            fit(model_of(loss))
    with pytest.raises(TypeError, match="loss must be a Loss or one of"):
        model_of(3)
    made = losses.get(quartic)
    made(np.ones((50, 100)), np.zeros((50, 100)))
    with pytest.raises(ValueError, match=r"5000 numbers.*give the gradient too"):
        made.backward()


def test_one_function_for_each_of_several_outputs():
    nodes = [("a", xpcnn.Linear(3, 2), "x"), ("b", xpcnn.Linear(3, 2), "x")]
    model = xpcnn.Model(xpcnn.Graph("x", nodes, ["a", "b"]), device="cpu", seed=0)
    features, target = data()
    for loss in ((quartic, quartics), {"a": (quartic, quartic_gradient), "b": "mse"}):
        model.compile("sgd", loss, {"a": mean_distance, "b": [mean_distance, distances]})
        logs = model.train_on_batch(features, (target, target))
        assert {"loss", "a_mean_distance", "b_distances"} <= set(logs)


def test_losses_as_functions_are_saved_and_loaded(tmp_path):
    through, stopped = (model_of((quartic, quartic_gradient)) for _ in range(2))
    fit(through, 3)
    fit(stopped, 1)
    stopped.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match="unknown function 'quartic'"):
        xpcnn.Model.load(tmp_path / "m")
    custom = {"quartic": quartic, "quartic_gradient": quartic_gradient}
    resumed = xpcnn.Model.load(tmp_path / "m", device="cpu", custom_objects=custom)
    fit(resumed, 2)
    np.testing.assert_array_equal(weights(resumed), weights(through))


# -- What cannot be loaded again is not saved ------------------------------------------------------


class Forgetful(losses.MSELoss):
    """Does not keep its argument."""

    def __init__(self, margin=1.0):
        super().__init__()
        self._kept = margin


def spoil(model, what):
    if what == "schedule":
        model.optimizer.schedule.milestones.append("x")
    elif what == "loss":
        model.loss.losses = None
    elif what == "layer":
        vars(model.layers[0])["out_features"] = -2  # around the check of what is set
    elif what == "layer of NumPy":
        model.layers[0].bias = None
        model.layers[0].in_features = object()
    elif what == "epoch":
        model._epoch = "many"
    elif what == "step":
        model.step = -1
    elif what == "history":
        model.history.history["loss"] = ["low"]
    elif what == "forgetful":
        model.compile("sgd", Forgetful())
    elif what == "two of a name":

        def other():
            def quartic(prediction, target):
                return 0.0

            return quartic

        model.compile("sgd", quartic, [other()])
    elif what == "slots":
        model.optimizer._state["surprise"] = {"momentum_buffer": np.ones(3)}
        model.optimizer._steps["surprise"] = 1
    else:
        vars(model.optimizer)[what] = {"lr": -1.0, "momentum": "much", "dampening": math.nan}[what]


@pytest.mark.parametrize(
    "what",
    ["schedule", "layer", "epoch", "step", "history", "forgetful", "two of a name", "slots", "lr",
     "momentum", "dampening"],
)  # fmt: skip
def test_a_model_that_could_not_be_loaded_is_not_saved(what, tmp_path):
    model = model_of(optimizer=optim.SGD(0.1, 0.9, schedule=optim.MultiStepLR([2])))
    fit(model, 1)
    path = tmp_path / "m"
    model.save(path)
    before = path.read_bytes()
    spoil(model, what)
    with pytest.raises((ValueError, TypeError)):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_checkpoint_that_could_not_be_loaded_is_refused_before_training(tmp_path):
    model = model_of(Forgetful())
    with pytest.raises(ValueError, match="cannot be saved.*keep the arguments"):
        fit(model, callbacks=[ModelCheckpoint(tmp_path / "m", monitor="loss")])
    assert model.step == 0


def test_numbers_of_numpy_are_saved(tmp_path):
    model = model_of(optimizer=optim.SGD(np.float32(0.1), schedule=optim.StepLR(np.int64(2))))
    fit(model, 1)
    model.epoch, model.step = np.int64(1), np.int32(3)
    model.optimizer.lr = np.float32(0.1)
    vars(model.layers[0])["out_features"] = np.int64(2)
    model.save(tmp_path / "m")
    loaded = xpcnn.Model.load(tmp_path / "m", device="cpu")
    assert loaded.optimizer.lr == float(np.float32(0.1))
    assert type(loaded.epoch) is int
