"""Pages and ONNX files that are written: what is in them, and what cannot be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from xpcnn.cli import main
from xpcnn.interop import onnx
from xpcnn.training.probabilities import class_probabilities
from xpcnn.web import export
from xpcnn.web.network import page_network
from xpcnn.web.page import FILES
from xpcnn.web.runtime import NPM_PACKAGE, RUNTIME, runtime_files

WASM = b"\0asm made for a test"
CONTENT = dict(zip(RUNTIME, (b"// one", b"// two", WASM), strict=True))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def runtime(tmp_path) -> Path:
    """A folder with what stands for onnxruntime-web."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return folder


def made(*layers: xpcnn.Layer, size=(1, 6, 5), loss: str | None = None) -> xpcnn.Model:
    model = xpcnn.Model(list(layers), device="cpu", seed=1)
    model.build((None, *size))
    if loss is not None:
        model.compile("adam", loss)
    return model


def classifier(columns: int = 3, loss: str | None = None) -> xpcnn.Model:
    conv = xpcnn.Conv2d(out_channels=2, kernel_size=3)
    return made(conv, xpcnn.ReLU(), xpcnn.Flatten(), xpcnn.Linear(out_features=columns), loss=loss)


def settings_in(folder: Path) -> dict:
    page = (folder / "index.html").read_text(encoding="utf-8")
    (text,) = re.findall(r'<script type="application/json" id="settings">(.*)</script>', page)
    return json.loads(text)


def archive(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in files.items():
            (member := tarfile.TarInfo(name)).size = len(content)
            file.addfile(member, BytesIO(content))
    return path


# -- The files -------------------------------------------------------------------------------------


def test_a_page_is_five_files(runtime):
    found = export(classifier(), "some/page", runtime=runtime)
    page = Path("some/page")
    assert found == tuple(page / name for name in FILES)
    assert found[0].name == "index.html"
    there = {p.relative_to(page).as_posix() for p in page.rglob("*") if p.is_file()}
    assert there == set(FILES)
    assert {name: (page / "ort" / name).read_bytes() for name in RUNTIME} == CONTENT
    html = found[0].read_text(encoding="utf-8")
    assert "{{" not in html
    assert not re.search(r"""(src|href)=["'](https?:)?/""", html)  # works in any folder
    for name in re.findall(r'import\("([^"]+)"\)', html):
        assert (page / name).exists()


def test_settings(runtime):
    model = classifier()
    model.class_names = ["</script><b>", "猫", "c"]
    export(model, "page", runtime=runtime)
    settings = settings_in(Path("page"))
    assert re.fullmatch(r"model\.onnx\?[0-9a-f]{8}", settings.pop("model"))
    assert settings == {
        "input": "x",
        "probabilities": "probabilities",
        "features": settings["features"],
        "layer": "0",
        "height": 6,
        "width": 5,
        "white": 1,
        "classes": ["</script><b>", "猫", "c"],
    }
    assert (Path("page") / "index.html").read_text(encoding="utf-8").count("</script>") == 2


def test_another_model_has_another_address(runtime):
    """A browser that keeps files must not go on with the old model."""
    addresses = set()
    for columns in (3, 4):
        export(classifier(columns), "page", runtime=runtime)
        addresses.add(settings_in(Path("page"))["model"])
    assert len(addresses) == 2


@pytest.mark.parametrize(
    ("first", "white"),
    [
        ([xpcnn.Rescale(1 / 255)], 255),
        ([xpcnn.Rescale(1 / 127.5, -1)], 255),
        ([xpcnn.Rescale(1 / 255), xpcnn.Normalize(0.1307, 0.3081)], 255),
        ([xpcnn.Normalize(33.3, 78.6)], 255),
        ([xpcnn.Normalize(0.1307, 0.3081)], 1),
        ([xpcnn.Rescale(2.0, -1.0)], 1),
    ],
)
def test_what_is_white(runtime, first, white):
    """Normalize alone says by its numbers whether it is for bytes or for 0 to 1."""
    model = made(*first, xpcnn.Flatten(), xpcnn.Linear(out_features=2))
    export(model, "page", runtime=runtime)
    assert settings_in(Path("page"))["white"] == white


def test_networks_that_scale_get_bytes(runtime):
    model = made(xpcnn.Rescale(1 / 255), xpcnn.Flatten(), xpcnn.Linear(out_features=2))
    export(model, "page", runtime=runtime)
    settings = settings_in(Path("page"))
    assert (settings["white"], settings["features"], settings["layer"]) == (255, None, None)


# -- The network -----------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("last", [None, "Softmax", "LogSoftmax", "Sigmoid"])
@pytest.mark.parametrize("loss", [None, "bce_with_logits"])
def test_outputs_are_probabilities_and_feature_maps(columns, last, loss):
    end = [] if last is None else [getattr(xpcnn, last)()]
    model = made(*classifier(columns).layers, *end, loss=loss if last is None else None)
    network = page_network(model, columns)
    assert network.layer == "0"
    x = np.random.default_rng(3).random((4, 1, 6, 5), dtype=np.float32)
    read = onnx.load(network.data, device="cpu")
    found = dict(zip(read.outputs, read.predict(x), strict=True))
    assert set(found) == {"y", network.probabilities, network.features}
    y = model.predict(x)
    np.testing.assert_allclose(found["y"], y, rtol=1e-5)
    expected = class_probabilities(model, y)
    assert expected.shape == (4, max(2, columns))
    np.testing.assert_allclose(found[network.probabilities], expected, atol=1e-6)
    np.testing.assert_allclose(found[network.features], model.layers[0](x), atol=1e-6)
    session = pytest.importorskip("onnxruntime").InferenceSession(network.data)
    outside = session.run([network.probabilities, network.features], {network.input: x})
    np.testing.assert_allclose(outside[0], expected, atol=1e-5)
    np.testing.assert_allclose(outside[1], model.layers[0](x), atol=1e-5)


def test_probabilities_by_hand():
    linear = xpcnn.Linear(2, 1)
    model = made(xpcnn.Flatten(), linear, size=(1, 1, 2))
    linear.weight.data[...] = [[1.0, 2.0]]
    linear.bias.data[...] = [-1.0]
    network = page_network(model, 1)
    read = onnx.load(network.data, device="cpu")
    x = np.array([[[[1.0, 0.5]]]], "float32")  # 1 + 1 - 1 = 1
    found = dict(zip(read.outputs, read.predict(x), strict=True))
    yes = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(found[network.probabilities], [[1 - yes, yes]], rtol=1e-6)
    assert network.features is None


def test_names_of_the_model_are_kept():
    graph = xpcnn.Graph(
        inputs="softmax",
        nodes=[
            ("flat", xpcnn.Flatten(), "softmax"),
            ("probabilities", xpcnn.Linear(out_features=3), "flat"),
        ],
        outputs="probabilities",
    )
    model = xpcnn.Model(graph, device="cpu")
    model.build((None, 1, 4, 4))
    network = page_network(model, 3)
    read = onnx.load(network.data, device="cpu")
    assert read.inputs == ("softmax",) == (network.input,)
    assert read.outputs == ("probabilities", "probabilities_")
    assert network.probabilities == "probabilities_"
    x = np.ones((1, 1, 4, 4), "float32")
    scores, probabilities = read.predict(x)
    np.testing.assert_allclose(scores, model.predict(x), rtol=1e-6)
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-6)


def test_the_first_convolution_is_found_in_nested_networks():
    inner = xpcnn.Sequential(xpcnn.Identity(), xpcnn.Conv2d(1, 2, 3), xpcnn.Conv2d(2, 4, 3))
    blur = xpcnn.GaussianBlur(3)  # a convolution in the file, of which nothing is learned
    model = made(blur, inner, xpcnn.Flatten(), xpcnn.Linear(out_features=3))
    network = page_network(model, 3)
    assert network.layer == "1.1"


def test_the_model_is_as_before():
    model = classifier()
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    page_network(model, 3)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert model.outputs == ("y",)


# -- What a page cannot show -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (None, TypeError, "takes a Model, got NoneType"),
        (
            made(xpcnn.Flatten(), xpcnn.Linear(out_features=2), size=(3, 6, 6)),
            ValueError,
            "takes colour images of shape (N, 3, 6, 6); train one on grey images",
        ),
        (
            made(xpcnn.Flatten(), xpcnn.Linear(out_features=2), size=(1, 8)),
            ValueError,
            "the model takes input of shape (N, 1, 8)",
        ),
        (
            made(xpcnn.Conv2d(out_channels=2, kernel_size=3)),
            ValueError,
            "not one number for each class",
        ),
        (classifier(loss="mse"), ValueError, "its outputs are values, not probabilities"),
        (
            xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(out_features=2)], device="cpu"),
            RuntimeError,
            "not built yet; train it, or call model.build((None, 1, 28, 28))",
        ),
        (
            made(xpcnn.Flatten(), xpcnn.Linear(out_features=2)).to(dtype="float64"),
            ValueError,
            "the model is of float64; convert it by model.to(dtype='float32')",
        ),
    ],
)
def test_models_that_no_page_shows(runtime, model, error, message):
    with pytest.raises(error, match=re.escape(message)):
        export(model, "page", runtime=runtime)
    assert not Path("page").exists()


def test_two_inputs(runtime):
    graph = xpcnn.Graph(
        inputs=["a", "b"],
        nodes=[
            ("sum", xpcnn.operations.Add(), ["a", "b"]),
            ("flat", xpcnn.Flatten(), "sum"),
            ("scores", xpcnn.Linear(out_features=2), "flat"),
        ],
        outputs="scores",
    )
    model = xpcnn.Model(graph, device="cpu")
    model.build([(None, 1, 4, 4), (None, 1, 4, 4)])
    with pytest.raises(ValueError, match="the model has 2 inputs, a, b"):
        export(model, "page", runtime=runtime)


@pytest.mark.parametrize(
    ("folder", "error", "message"),
    [
        (3, TypeError, "folder must be the path of a folder, got 3"),
        ("", TypeError, "folder must be the path of a folder, got ''"),
        ("file", NotADirectoryError, "it is a file; give a folder"),
    ],
)
def test_folders_that_are_none(runtime, folder, error, message):
    Path("file").write_text("kept")
    with pytest.raises(error, match=message):
        export(classifier(), folder, runtime=runtime)
    assert Path("file").read_text() == "kept"


def test_nothing_is_written_if_one_file_cannot_be(runtime):
    Path("page/index.html").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        export(classifier(), "page", runtime=runtime)
    assert not Path("page/model.onnx").exists()


# -- onnxruntime-web -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inside", [".", "dist", "package/dist", "node_modules/onnxruntime-web/dist"]
)
def test_folders_with_the_runtime(tmp_path, runtime, inside):
    target = tmp_path / "there" / inside
    shutil.copytree(runtime, target)
    assert runtime_files(tmp_path / "there") == CONTENT
    assert runtime_files(str(tmp_path / "there")) == CONTENT


def test_an_earlier_page_has_the_runtime(runtime):
    export(classifier(), "page", runtime=runtime)
    assert runtime_files("page") == CONTENT
    export(classifier(4), "page", runtime="page")  # and may be its own
    assert runtime_files("page/ort") == CONTENT


def test_an_archive_as_npm_packs_it(tmp_path):
    files = {f"package/dist/{name}": content for name, content in CONTENT.items()}
    others = {f"package/lib/{name}": b"something else" for name in CONTENT}
    path = archive({"package/package.json": b"{}"} | files | others, tmp_path / "x.tgz")
    assert runtime_files(path) == CONTENT


def test_links_in_archives_lead_nowhere(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(WASM)
    path = tmp_path / "x.tgz"
    with tarfile.open(path, "w:gz") as file:
        for name in RUNTIME:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, str(secret)
            file.addfile(member)
    with pytest.raises(FileNotFoundError, match="does not hold ort.wasm.min.mjs"):
        runtime_files(path)


def test_runtimes_that_are_none(tmp_path, runtime):
    with pytest.raises(TypeError, match="runtime must be the path of a folder or .tgz file, got 3"):
        runtime_files(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="no folder or file 'nowhere' with onnxruntime-web"):
        runtime_files("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=re.escape(f"npm gives as {NPM_PACKAGE}")):
        runtime_files("empty")
    (tmp_path / "text.tgz").write_text("no archive")
    with pytest.raises(ValueError, match="text.tgz is no archive as npm packs it"):
        runtime_files("text.tgz")
    whole = archive({f"package/dist/{n}": c * 99 for n, c in CONTENT.items()}, tmp_path / "x.tgz")
    whole.write_bytes(whole.read_bytes()[:60])
    with pytest.raises(ValueError, match="x.tgz is no archive as npm packs it, or it is damaged"):
        runtime_files("x.tgz")
    (runtime / RUNTIME[2]).write_bytes(b"<html>")
    with pytest.raises(ValueError, match="is damaged: it is no WebAssembly"):
        runtime_files(runtime)
    (runtime / RUNTIME[2]).unlink()
    with pytest.raises(FileNotFoundError, match=f"does not hold {RUNTIME[2]} of"):
        runtime_files(runtime)


# -- npm -------------------------------------------------------------------------------------------


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Put a program called npm, made for the test, in front of all others."""
    if not Path("/bin/sh").exists():
        pytest.skip("the program is a script for /bin/sh")

    def make(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    return make


def test_npm_fetches_the_pinned_package(tmp_path, npm):
    files = {f"package/dist/{name}": content for name, content in CONTENT.items()}
    path = archive(files, tmp_path / "made.tgz")
    npm(f'echo "$@" > {tmp_path}/words; cp {path} onnxruntime-web.tgz')
    before = set(tmp_path.iterdir())
    assert runtime_files() == CONTENT
    assert set(tmp_path.iterdir()) - before == {tmp_path / "words"}  # it works elsewhere
    words = (tmp_path / "words").read_text().split()
    assert words[:2] == ["pack", NPM_PACKAGE]
    assert "--ignore-scripts" in words
    assert re.fullmatch(r"onnxruntime-web@\d+\.\d+\.\d+", NPM_PACKAGE)


def test_npm_without_a_network(npm):
    npm("echo 'npm error network is unreachable' >&2; exit 1")
    with pytest.raises(RuntimeError) as raised:
        runtime_files()
    text = str(raised.value)
    assert f"npm could not fetch {NPM_PACKAGE}: npm error network is unreachable" in text
    assert f'run "npm pack {NPM_PACKAGE}"' in text
    assert "--runtime" in text


def test_npm_that_does_nothing(npm):
    npm("exit 0")
    with pytest.raises(RuntimeError, match="has written no archive"):
        runtime_files()


def test_no_npm(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="is not installed; it comes with Node.js"):
        runtime_files()


def test_npm_that_never_ends(monkeypatch, npm):
    def run(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    npm("exit 0")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RuntimeError, match="nothing came in 600 seconds"):
        runtime_files()


# -- The command -----------------------------------------------------------------------------------


@pytest.fixture
def saved() -> str:
    classifier().save("model.safetensors")
    return "model.safetensors"


def run(*words: object) -> int:
    return main(["export", *map(str, words)])


def test_command_writes_onnx(saved, capsys):
    assert run("--model", saved, "model.onnx") == 0
    assert capsys.readouterr().out == "saved to model.onnx\n"
    model, x = xpcnn.Model.load(saved, device="cpu"), np.ones((2, 1, 6, 5), "float32")
    read = onnx.load("model.onnx", device="cpu")
    np.testing.assert_allclose(read.predict(x), model.predict(x), rtol=1e-6)
    assert read.outputs == ("y",)
    assert run("--model", saved, "old.onnx", "--opset", 11) == 0
    assert Path("old.onnx").read_bytes() != Path("model.onnx").read_bytes()


def test_command_writes_a_page(saved, runtime, capsys):
    assert run("--model", saved, "--web", "my page", "--runtime", runtime) == 0
    out = capsys.readouterr().out
    for name in FILES:
        path = Path("my page") / name
        assert path.is_file()
        assert f"{path.stat().st_size:,} bytes  {path}\n" in out
    assert 'python -m http.server --bind 127.0.0.1 --directory "my page"\n' in out


def test_command_converts_to_float32(runtime, capsys):
    model = classifier().to(dtype="float64")
    model.save("double.safetensors")
    assert run("--model", "double.safetensors", "--web", "page", "--runtime", runtime) == 0
    assert "the weights become float32, which browsers compute in" in capsys.readouterr().out
    assert onnx.load("page/model.onnx", device="cpu").dtype == "float32"
    assert xpcnn.Model.load("double.safetensors", device="cpu").dtype == "float64"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give the ONNX file to write, or --web FOLDER for a page"),
        (["a.onnx", "--web", "page"], "--web: is in the place of a.onnx; give one of the two"),
        (["a.onnx", "--runtime", "."], "argument --runtime: has an effect with --web only"),
        (["--web", "page", "--opset", "13"], "argument --opset: has no effect with --web"),
        (["a.onnx", "--opset", "x"], "expected a whole number of at least 1, got 'x'"),
    ],
)
def test_wrong_use(saved, capsys, words, message):
    assert run("--model", saved, *words) == 2
    assert message in capsys.readouterr().err
    assert not Path("page").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "none.safetensors", "a.onnx"], "there is no model file 'none.safetensors'"),
        (
            ["--model", "model.safetensors", "a.onnx", "--opset", "99"],
            "opset must be from 11 to 28",
        ),
        (["--model", "model.safetensors", "no/a.onnx"], "there is no folder"),
        (["--model", "model.safetensors", "--web", "p", "--runtime", "n"], "no folder or file 'n'"),
    ],
)
def test_what_cannot_be_done(saved, capsys, words, message):
    assert run(*words) == 1
    err = capsys.readouterr().err
    assert err.startswith("xpcnn export: error: ")
    assert message in err
