"""Weights in the layouts of Keras' files, against a network with channels last in plain loops.

Keras is not needed: the files are written here as its versions write them (keras/src/saving/
saving_lib.py and legacy_h5_format.py of Keras 3, and their predecessors in Keras 2).
"""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

import xpcnn
from xpcnn._registry import snake_case
from xpcnn.errors import ModelFileError
from xpcnn.interop import load_weights

h5py = pytest.importorskip("h5py")

# -- A network as Keras computes it ----------------------------------------------------------------


def conv2d(x, kernel, bias=None):
    """(N, H, W, C) with a kernel (kH, kW, C, O), without padding."""
    kh, kw = kernel.shape[:2]
    n, h, w, _ = x.shape
    y = np.zeros((n, h - kh + 1, w - kw + 1, kernel.shape[3]))
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            y[:, i, j] = np.tensordot(x[:, i : i + kh, j : j + kw], kernel, 3)
    return y if bias is None else y + bias


def depthwise2d(x, kernel, bias=None):
    """A kernel (kH, kW, C, M): output c * M + m is filter m of channel c."""
    parts = [
        conv2d(x[..., c : c + 1], kernel[:, :, c : c + 1, m : m + 1])
        for c in range(kernel.shape[2])
        for m in range(kernel.shape[3])
    ]
    y = np.concatenate(parts, -1)
    return y if bias is None else y + bias


def transposed2d(x, kernel, bias):
    """A kernel (kH, kW, O, C), stride 2: every element paints the kernel."""
    n, h, w, _ = x.shape
    kh, kw, out, _ = kernel.shape
    y = np.zeros((n, 2 * (h - 1) + kh, 2 * (w - 1) + kw, out))
    for i in range(h):
        for j in range(w):
            y[:, 2 * i : 2 * i + kh, 2 * j : 2 * j + kw] += np.einsum(
                "nc,ijoc->nijo", x[:, i, j], kernel
            )
    return y + bias


def batch_norm(x, gamma, beta, mean, variance, eps=1e-3):
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


def keras_forward(x, w):
    x = np.maximum(conv2d(x, *w["conv2d"]), 0)
    x = batch_norm(x, *w["batch_normalization"])
    x = depthwise2d(x, *w["depthwise_conv2d"])
    depthwise, pointwise, bias = w["separable_conv2d"]
    x = conv2d(depthwise2d(x, depthwise), pointwise, bias)
    x = transposed2d(x, *w["conv2d_transpose"])
    x = conv2d(x, *w["conv2d_1"])
    x = x.reshape(len(x), -1)
    x = batch_norm(x, *w["batch_normalization_1"])
    x = np.maximum(x @ w["dense"][0] + w["dense"][1], 0)
    return x @ w["dense_1"][0] + w["dense_1"][1]


def draw_weights(rng):
    def batch_norm_of(n):
        return [rng.normal(size=n), rng.normal(size=n), rng.normal(size=n), rng.random(n) + 0.5]

    shapes = {
        "conv2d": [(3, 2, 2, 4), (4,)],
        "depthwise_conv2d": [(2, 2, 4, 2), (8,)],
        "separable_conv2d": [(2, 2, 8, 1), (1, 1, 8, 3), (3,)],
        "conv2d_transpose": [(3, 2, 2, 3), (2,)],
        "conv2d_1": [(2, 3, 2, 5)],
        "dense": [(5 * 4 * 6, 7), (7,)],
        "dense_1": [(7, 3), (3,)],
    }
    drawn = {name: [rng.normal(size=s) for s in group] for name, group in shapes.items()}
    drawn["batch_normalization"] = batch_norm_of(4)
    drawn["batch_normalization_1"] = batch_norm_of(5 * 4 * 6)
    return drawn


# Keras' layers in order, with those that have no weights
LAYERS = [
    ("InputLayer", "input_layer"),
    ("Conv2D", "conv2d"),
    ("ReLU", "re_lu"),
    ("BatchNormalization", "batch_normalization"),
    ("DepthwiseConv2D", "depthwise_conv2d"),
    ("SeparableConv2D", "separable_conv2d"),
    ("Conv2DTranspose", "conv2d_transpose"),
    ("Conv2D", "conv2d_1"),
    ("Flatten", "flatten"),
    ("BatchNormalization", "batch_normalization_1"),
    ("Dense", "dense"),
    ("Dropout", "dropout"),
    ("Dense", "dense_1"),
]
ROLES = {
    "Conv2D": ["kernel", "bias"],
    "DepthwiseConv2D": ["depthwise_kernel", "bias"],
    "SeparableConv2D": ["depthwise_kernel", "pointwise_kernel", "bias"],
    "Conv2DTranspose": ["kernel", "bias"],
    "Dense": ["kernel", "bias"],
    "BatchNormalization": ["gamma", "beta", "moving_mean", "moving_variance"],
}
SHAPE = (2, 2, 6, 7)


def network(separable=True, eps=1e-3):
    both = [xpcnn.SeparableConv2d(8, 3, 2)]
    if not separable:
        both = [xpcnn.Conv2d(8, 8, 2, groups=8, bias=False), xpcnn.Conv2d(8, 3, 1)]
    return xpcnn.Sequential(
        xpcnn.Sequential(xpcnn.Conv2d(2, 4, (3, 2)), xpcnn.ReLU(), xpcnn.BatchNorm2d(4, eps)),
        xpcnn.Conv2d(4, 8, 2, groups=4),
        *both,
        xpcnn.ConvTranspose2d(3, 2, (3, 2), 2),
        xpcnn.Conv2d(2, 5, (2, 3), bias=False),
        xpcnn.Flatten(),
        xpcnn.BatchNorm1d(120, eps),
        xpcnn.Dropout(0.3),
        xpcnn.Linear(120, 7),
        xpcnn.ReLU(),
        xpcnn.Linear(7, 3),
    )


# -- Files -----------------------------------------------------------------------------------------


def config(names=None):
    layers = []
    for kind, name in LAYERS:
        settings = {"name": (names or {}).get(name, name)}
        if kind == "BatchNormalization":
            settings |= {"epsilon": 0.001, "scale": True, "center": True}
        layers.append({"module": "keras.layers", "class_name": kind, "config": settings})
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}


def write_vars(file, weights, container="layers"):
    """As saving_lib does: a group "vars" for every layer, arrays by number."""
    for _, name in LAYERS[1:]:
        group = file.create_group(f"{container}/{name}/vars")
        for number, array in enumerate(weights.get(name, [])):
            group[str(number)] = array
    file.create_group("vars")
    file["optimizer/vars/0"] = np.zeros(3)


def write_keras3(path, weights, container="layers", description=None):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write_vars(file, weights, container)
    # the names of layers are the user's, and those of groups are not
    description = description or config({"conv2d": "first", "dense_1": "scores"})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.3.3"}))
        archive.writestr("config.json", json.dumps(description))
        archive.writestr("model.weights.h5", content.getvalue())


def write_keras2_new(path, weights):
    write_keras3(path, weights, "_layer_checkpoint_dependencies")


def write_weights_h5(path, weights):
    with h5py.File(path, "w") as file:
        write_vars(file, weights)


def write_legacy(group, weights, full_name):
    group.attrs["layer_names"] = [name.encode() for _, name in LAYERS[1:]]
    group.attrs["backend"] = b"tensorflow"
    for kind, name in LAYERS[1:]:
        inner = group.create_group(name)
        roles = ROLES.get(kind, [])[: len(weights.get(name, []))]
        names = [full_name(name, role) for role in roles]
        inner.attrs["weight_names"] = [n.encode() for n in names]
        for n, array in zip(names, weights.get(name, []), strict=True):
            inner[n] = array


def write_legacy_weights(path, weights):
    with h5py.File(path, "w") as file:
        write_legacy(file, weights, lambda name, role: f"{name}/{role}:0")


def write_legacy_model(path, weights):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config())
        file.attrs["keras_version"] = b"2.9.0"
        write_legacy(
            file.create_group("model_weights"), weights, lambda name, role: f"{name}/{role}:0"
        )


def write_keras3_legacy(path, weights):
    """Keras 3 writes the whole path of a variable, and calls depthwise kernels kernels."""

    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config())
        inside = file.create_group("model_weights")
        write_legacy(inside, weights, keras3_name)
        inside.create_group("top_level_model_weights").attrs["weight_names"] = []


def keras3_name(name, role):
    role = "kernel" if name.startswith("depthwise") and role != "bias" else role
    return f"sequential/{name}/{role}"


def write_keras3_legacy_weights(path, weights):
    """Nothing but the shape says that a kernel is a depthwise one."""
    with h5py.File(path, "w") as file:
        write_legacy(file, weights, keras3_name)


def write_legacy_pieces(path, weights):
    """Long lists of names are kept in pieces."""
    write_legacy_weights(path, weights)
    with h5py.File(path, "a") as file:
        names = list(file.attrs["layer_names"])
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:5], names[5:]


WRITERS = {
    "model.keras": write_keras3,
    "tf2.keras": write_keras2_new,
    "model.weights.h5": write_weights_h5,
    "legacy_weights.h5": write_legacy_weights,
    "legacy_model.h5": write_legacy_model,
    "keras3_legacy.h5": write_keras3_legacy,
    "keras3_legacy_weights.h5": write_keras3_legacy_weights,
    "pieces.h5": write_legacy_pieces,
}


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("name", WRITERS)
def test_the_network_computes_what_keras_does(tmp_path, rng, name, separable):
    weights = draw_weights(rng)
    WRITERS[name](tmp_path / name, weights)
    model = xpcnn.Model(network(separable), device="cpu", dtype="float64")
    model.build(SHAPE)
    load_weights(model, tmp_path / name)
    x = rng.normal(size=SHAPE)
    expected = keras_forward(np.moveaxis(x, 1, -1), weights)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ndim", [1, 3])
def test_other_ranks(tmp_path, rng, ndim):
    """A kernel is turned whatever its rank: the sum over all taps of a constant image."""
    kernel = rng.normal(size=(*range(2, 2 + ndim), 2, 3))
    write = {f"conv{ndim}d": [kernel, rng.normal(size=3)]}
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        for name, arrays in write.items():
            for number, array in enumerate(arrays):
                file[f"layers/{name}/vars/{number}"] = array
    layer = getattr(xpcnn, f"Conv{ndim}d")(2, 3, tuple(range(2, 2 + ndim)))
    net = xpcnn.Sequential(layer)
    load_weights(net, tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(layer.weight.data[2, 1, 1, ...], kernel[1, ..., 1, 2])
    x = np.zeros((1, 2, *(6,) * ndim))
    x[(0, 1, *(3,) * ndim)] = 1.0
    taps = layer(x)[0, 2] - write[f"conv{ndim}d"][1][2]
    # output i sees tap 3 - i of the kernel there
    place = tuple(3 - 1 for _ in range(ndim))
    assert taps[place] == pytest.approx(kernel[(*(1,) * ndim, 1, 2)])


def test_other_layers(tmp_path, rng):
    arrays = {
        "embedding": [rng.normal(size=(5, 4))],
        "group_normalization": [rng.normal(size=4), rng.normal(size=4)],
        "p_re_lu": [rng.normal(size=(1, 1, 4))],
    }
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for name, group in arrays.items():
            for number, array in enumerate(group):
                file[f"layers/{name}/vars/{number}"] = array
    net = xpcnn.Sequential(xpcnn.Embedding(5, 4), xpcnn.GroupNorm(2, 4), xpcnn.PReLU(4))
    load_weights(net, tmp_path / "w.h5")
    state = net.state_dict()
    np.testing.assert_array_equal(state["0.weight"], arrays["embedding"][0])
    np.testing.assert_array_equal(state["1.weight"], arrays["group_normalization"][0])
    np.testing.assert_array_equal(state["1.bias"], arrays["group_normalization"][1])
    np.testing.assert_array_equal(state["2.weight"], arrays["p_re_lu"][0].ravel())


def test_batch_normalisation_without_scale(tmp_path, rng):
    mean, variance, beta = rng.normal(size=3), rng.random(3) + 0.5, rng.normal(size=3)
    description = {
        "class_name": "Sequential",
        "config": {
            "layers": [
                {
                    "class_name": "BatchNormalization",
                    "config": {"epsilon": 0.001, "scale": False, "center": True},
                }
            ]
        },
    }
    weights = {"batch_normalization": [beta, mean, variance]}
    write_keras3(tmp_path / "m.keras", weights, description=description)
    net = xpcnn.Sequential(xpcnn.BatchNorm1d(3, 1e-3))
    load_weights(net, tmp_path / "m.keras")
    x = rng.normal(size=(4, 3))
    np.testing.assert_allclose(net(x), batch_norm(x, 1, beta, mean, variance), rtol=1e-12)
    write_weights_h5(tmp_path / "w.h5", weights)
    with pytest.raises(ValueError, match="does not say which"):
        load_weights(net, tmp_path / "w.h5")


def test_a_network_inside_the_network(tmp_path, rng):
    inner = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Dense", "config": {}}]},
    }
    outer = {
        "class_name": "Sequential",
        "config": {"layers": [inner, {"class_name": "Dense", "config": {}}, inner]},
    }
    a, b, c = rng.normal(size=(2, 3)), rng.normal(size=(3, 3)), rng.normal(size=(3, 2))
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["layers/sequential/layers/dense/vars/0"] = a
        file["layers/dense/vars/0"] = b
        file["layers/sequential_1/layers/dense/vars/0"] = c
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(outer))
        archive.writestr("model.weights.h5", content.getvalue())
    net = xpcnn.Sequential(*(xpcnn.Linear(*m.shape, bias=False) for m in (a, b, c)))
    load_weights(net, tmp_path / "m.keras")
    np.testing.assert_allclose(net(np.eye(2)), a @ b @ c, rtol=1e-12)
    (tmp_path / "w.h5").write_bytes(content.getvalue())
    with pytest.raises(ModelFileError, match="a network inside the network"):
        load_weights(net, tmp_path / "w.h5")


@pytest.mark.parametrize("form", ["{}/{}/{}:0", "sequential_1/sequential/{1}/{2}"])
@pytest.mark.parametrize("with_config", [True, False])
def test_a_network_inside_the_network_before_keras_3(tmp_path, rng, form, with_config):
    """One group has the weights of all its layers, first those that are trained."""
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))
    norm = [rng.normal(size=3), rng.normal(size=3), rng.normal(size=3), rng.random(3) + 0.5]
    inner = [("dense", "kernel", a)]
    inner += [("bn", role, v) for role, v in zip(("gamma", "beta"), norm, strict=False)]
    inner += [("dense_1", "kernel", b)]
    inner += [("bn", "moving_mean", norm[2]), ("bn", "moving_variance", norm[3])]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = ["sequential"]
        group = file.create_group("sequential")
        names = [form.format("model", layer, role) for layer, role, _ in inner]
        group.attrs["weight_names"] = names
        for name, (_, _, array) in zip(names, inner, strict=True):
            group[name] = array
        if with_config:
            layers = [
                {"class_name": kind, "config": {"name": name, "epsilon": 0.001}}
                for kind, name in (
                    ("Dense", "dense"),
                    ("BatchNormalization", "bn"),
                    ("Dense", "dense_1"),
                )
            ]
            whole = {
                "class_name": "Sequential",
                "config": {"name": "sequential", "layers": layers},
            }
            file.attrs["model_config"] = json.dumps(
                {"class_name": "Sequential", "config": {"layers": [whole]}}
            )
    net = xpcnn.Sequential(
        xpcnn.Linear(2, 3, bias=False), xpcnn.BatchNorm1d(3, 1e-3), xpcnn.Linear(3, 2, bias=False)
    )
    load_weights(net, tmp_path / "m.h5")
    x = rng.normal(size=(4, 2))
    np.testing.assert_allclose(net(x), batch_norm(x @ a, *norm) @ b, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Conv2D", "conv2d"),
        ("Conv2DTranspose", "conv2d_transpose"),
        ("SeparableConv2D", "separable_conv2d"),
        ("BatchNormalization", "batch_normalization"),
        ("PReLU", "p_re_lu"),
        ("ReLU", "re_lu"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("Dense", "dense"),
        ("InputLayer", "input_layer"),
    ],
)
def test_names_of_groups(name, expected):
    """As Keras' own names of layers are."""
    assert snake_case(name) == expected


# -- What does not fit -----------------------------------------------------------------------------


def refused(path, net, error, message):
    before = {k: np.array(v) for k, v in net.state_dict().items()} if net.is_built else None
    with pytest.raises(error, match=message):
        load_weights(net, path)
    if before is not None:
        for key, value in net.state_dict().items():
            np.testing.assert_array_equal(value, before[key])


def test_networks_that_do_not_fit(tmp_path, rng):
    weights = draw_weights(rng)
    path = tmp_path / "model.keras"
    write_keras3(path, weights)
    refused(path, network(), ValueError, "after a Flatten.*build the model first")
    refused(path, network(eps=1e-5), ValueError, "has eps=1e-05, but .* 0.001")
    longer = xpcnn.Sequential(xpcnn.Conv2d(2, 4, (3, 2)), xpcnn.Linear(4, 4))
    refused(path, longer, ValueError, "next layer in the file is a BatchNormalization")
    shorter = xpcnn.Sequential(xpcnn.Conv2d(2, 4, (3, 2)))
    refused(path, shorter, ValueError, "that the model lacks: batch_normalization, dep.*scores")
    no_bias = xpcnn.Sequential(xpcnn.Conv2d(2, 4, (3, 2), bias=False))
    refused(
        path, no_bias, ValueError, "expected 1 arrays, the layer 'first' .* do both have a bias"
    )
    graph = xpcnn.Graph("x", [("y", xpcnn.Linear(2, 2), "x")], "y")
    refused(path, graph, ValueError, "expected a chain of layers, got a Graph")
    other = xpcnn.Model(
        [*network().layers[:-4], xpcnn.Linear(out_features=7)], device="cpu", dtype="float64"
    )
    legacy = tmp_path / "w.h5"
    write_legacy_weights(legacy, {"conv2d": weights["conv2d"]})
    two = xpcnn.Sequential(xpcnn.Conv2d(2, 4, (3, 2)), xpcnn.Conv2d(4, 4, 1))
    refused(legacy, two, ValueError, "the file has no more layers")
    del other


def test_a_model_for_images_of_another_size_is_refused(tmp_path, rng):
    kernel = rng.normal(size=(12, 2))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers/dense/vars/0"] = kernel
    for size in ((3, 2, 2), (2, 3, 3)):
        model = xpcnn.Model(
            [xpcnn.Flatten(), xpcnn.Linear(out_features=2, bias=False)],
            device="cpu",
            dtype="float64",
        )
        model.build((None, *size))
        if size == (3, 2, 2):
            load_weights(model, tmp_path / "w.h5")
            x = rng.normal(size=(1, 3, 2, 2))
            expected = np.moveaxis(x, 1, -1).reshape(1, -1) @ kernel
            np.testing.assert_allclose(model.predict(x), expected)
        else:
            refused_model = pytest.raises(ValueError, match="built for images of another size")
            with refused_model:
                load_weights(model, tmp_path / "w.h5")


# -- Hostile and damaged files ---------------------------------------------------------------------


def test_damaged_files(tmp_path, rng):
    weights = draw_weights(rng)
    for name, write in WRITERS.items():
        write(tmp_path / name, weights)
        whole = (tmp_path / name).read_bytes()
        for end in (len(whole) // 3, len(whole) - 100):
            (tmp_path / name).write_bytes(whole[:end])
            with pytest.raises(ModelFileError):
                load_weights(network(), tmp_path / name)


def dense_file(path):
    return h5py.File(path, "w")


@pytest.mark.parametrize("kind", ["soft", "external", "data", "virtual", "huge", "text", "missing"])
def test_hostile_hdf5(tmp_path, kind):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones((3, 2))
    np.ones((3, 2)).tofile(tmp_path / "secret.bin")
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        if kind == "soft":
            group["0"] = h5py.SoftLink("/layers")
        elif kind == "external":
            group["0"] = h5py.ExternalLink(str(secret), "x")
        elif kind == "data":
            group.create_dataset(
                "0", (3, 2), "f8", external=[(str(tmp_path / "secret.bin"), 0, 48)]
            )
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3, 2), "f8")
            layout[:] = h5py.VirtualSource(str(secret), "x", (3, 2))
            group.create_virtual_dataset("0", layout)
        elif kind == "huge":
            group.create_dataset("0", (2**31, 2**9), "f8", chunks=(1024, 512))
        elif kind == "text":
            group["0"] = np.array([b"abc"])
        else:
            group["1"] = np.ones((3, 2))
    net = xpcnn.Sequential(xpcnn.Linear(3, 2, bias=False))
    message = {
        "soft": "is a link to another place or file",
        "external": "is a link to another place or file",
        "data": "is kept in another file",
        "virtual": "is kept in another file",
        "huge": "claims 8796093022208 bytes",
        "text": "holds no numbers",
        "missing": "is missing",
    }[kind]
    with pytest.raises(ModelFileError, match=message):
        load_weights(net, path)


def test_hostile_archives(tmp_path, rng):
    weights = draw_weights(rng)
    path = tmp_path / "m.keras"

    def archive(**members):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members.items():
                file.writestr(name.replace("_json", ".json"), content)
            if "weights" not in members:
                content = io.BytesIO()
                with h5py.File(content, "w") as h5:
                    write_vars(h5, weights)
                file.writestr("model.weights.h5", content.getvalue())

    for description, message in (
        ("{", "cannot be read"),
        ("[]", "class 'list'"),
        (json.dumps({"class_name": "Functional", "config": {}}), "class 'Functional'"),
        (json.dumps({"class_name": "Sequential", "config": {}}), "cannot be read"),
        ("[" * 100_000, "damaged file|cannot be read"),
    ):
        archive(config_json=description)
        with pytest.raises(ModelFileError, match=message):
            load_weights(network(), path)
    archive(config_json=" " * 200_000_000)
    with pytest.raises(ModelFileError, match="would unpack"):
        load_weights(network(), path)
