"""Who may import whom, read from the source."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xpcnn
from ci import import_graph
from ci.import_graph import MODULES, imported_modules

PACKAGE = Path(xpcnn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Imports inside the package go to the left only. What stands together does not know each other.
LEVELS: list[set[str]] = [
    {"errors", "_starting", "interrupts", "_files", "_missing", "_showing", "_markup", "_columns"},
    {"_archives"},
    {"backends", "window", "rng", "_registry", "_patterns", "initializers"},
    {"_xp"},
    {"device"},
    {"kernels"},
    {"ops"},
    {"kernel sets"},
    {"functional"},
    {"layers", "losses", "optim", "metrics", "data"},
    {"_checked"},
    {"operations"},
    {"graph"},
    {"training"},
    {"gradcheck", "networks", "callbacks"},
    {"zoo", "interop"},
    {"scratch", "bench", "serving", "sklearn", "attribution", "drawing", "web"},
    {"plot", "explaining", "grading"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}

ARRAY_LIBRARIES = {"torch", "cupy", "jax", "jaxlib", "array_api_strict", "numba", "llvmlite"}
CORE = {"numpy", "array_api_compat", "array_api_extra", "safetensors", "tqdm", "threadpoolctl"}
OPTIONAL = ARRAY_LIBRARIES | {
    "sklearn",
    "matplotlib",
    "PIL",
    "pooch",
    "onnx",
    "onnxruntime",
    "openvino",
    "scipy",
    "h5py",
    "pandas",
    "starlette",
    "uvicorn",
    "prometheus_client",
    "tensorboardX",
}
# The benchmark runs other libraries' own networks, inside functions, in processes of their own:
# there is nothing of ours between it and them.
BASELINES = str(Path("bench", "baselines"))
# The door to PyTorch's own modules; the library is imported when a function is called.
TORCH_MODULES = str(Path("interop", "torch"))
# Estimators derive from classes of scikit-learn; the part is imported when it is asked for.
ESTIMATORS = "sklearn"
# Imported when they are asked for, since all of them needs an optional dependency.
LAZY = {
    str(Path(TORCH_MODULES, "composites.py")),
    str(Path("serving", "bodies.py")),
    str(Path("serving", "http.py")),
    str(Path("serving", "measures.py")),
}
UNSAFE = {"pickle", "cPickle", "dill", "marshal", "shelve", "joblib"}


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Yield the dotted names a file imports, but for those only a type checker sees."""
    waiting: list[ast.AST] = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "xpcnn":
                yield from (f"xpcnn.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""
        elif top_level_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        waiting.extend(ast.iter_child_nodes(node))


def part(path: Path) -> str:
    """Name the part of the package that a file belongs to: "layers" for layers/conv.py."""
    if is_vendor_kernel(path):
        return "kernel sets"  # the rest of kernels/ imports them when they are first used
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def knows_vendors(path: Path) -> bool:
    """Whether a file may import array libraries."""
    own = name(path)
    return (
        own.startswith((BASELINES, TORCH_MODULES))
        or part(path) == "backends"
        or is_vendor_kernel(path)
    )


def is_vendor_kernel(path: Path) -> bool:
    """Whether a file belongs to the kernels for one array library; imported when first used."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0] == "kernels" and (
        parts[1] in ("cpu", "cuda", "torch", "jax")
        or parts[1:] in [("native", each) for each in ("compiler", "instructions", "jit", "build")]
    )


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_one_way(path):
    own = part(path)
    assert own in LEVEL, f"{own} is new; give it a place in LEVELS"
    for imported in imports(path):
        if imported == "xpcnn" or not imported.startswith("xpcnn."):
            continue
        other = imported.split(".")[1]
        if other not in LEVEL:
            # a name that the package itself exports, or its version
            other = "__init__"
        assert other == own or LEVEL[other] < LEVEL[own], f"{own} must not import {imported}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_array_libraries_are_behind_two_doors(path):
    roots = {imported.split(".")[0] for imported in imports(path)}
    assert not roots & UNSAFE, "nothing is loaded through pickle"
    if knows_vendors(path):
        return
    assert not roots & ARRAY_LIBRARIES
    assert name(path) == "_xp.py" or not roots & {"array_api_compat", "array_api_extra"}
    names = {
        node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
    }
    assert not names & ARRAY_LIBRARIES


@pytest.mark.parametrize("path", FILES, ids=name)
def test_dependencies_are_declared_or_lazy(path):
    roots = {imported.split(".")[0] for imported in imports(path)}
    known = sys.stdlib_module_names | CORE | OPTIONAL | {"xpcnn"}
    assert roots <= known, f"undeclared: {roots - known}"
    if is_vendor_kernel(path) or name(path) in LAZY:
        return
    if part(path) == ESTIMATORS:
        return
    at_import = {imported.split(".")[0] for imported in imports(path, top_level_only=True)}
    assert not at_import & OPTIONAL, "optional dependencies are imported where they are used"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_outside_the_package_is_named(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(
                r"\.\./|(^|[\s\"'`(])/(home|root|tmp|work|mnt|Users)\b", node.value
            )


def circles(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """Return what is left of a graph when all that leads out of circles is taken away."""
    left = {name: set(others) for name, others in graph.items()}
    while True:
        reached = set().union(*left.values())
        keep = {name for name, others in left.items() if others & left.keys() and name in reached}
        if keep == left.keys():
            return sorted((name, *sorted(others)) for name, others in left.items())
        left = {name: left[name] & keep for name in keep}


def test_no_two_modules_import_each_other():
    graph = {module: imported_modules(path) for module, path in MODULES.items()}
    assert circles(graph) == [], "move what both need to a module that knows neither"


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [("b", "c"), ("c", "b")]


def test_the_picture_of_the_packages_is_current():
    drawn = import_graph.draw()
    assert import_graph.PICTURE.read_text(encoding="utf-8") == drawn, (
        "draw it again: python ci/import_graph.py"
    )


def private_names(path: Path) -> set[str]:
    """Return the private names that a file imports from other folders."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("xpcnn."):
            home = MODULES[str(node.module)].parent
            if home != path.parent:
                found |= {alias.name for alias in node.names if alias.name.startswith("_")}
    return found


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_private_names_of_other_folders(path):
    assert private_names(path) == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "training").glob("*.py")), ids=name)
def test_nobody_in_training_reaches_into_a_model(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            owner = ast.unparse(node.value)
            assert owner.split(".")[-1] not in ("model", "_model", "state", "_state"), (
                f"{path.name}:{node.lineno}: {owner}.{node.attr}"
            )


def run(code: str) -> str:
    """Run Python in a process of its own, where warnings are errors."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_no_optional_dependency():
    shown = run(f"import sys, xpcnn; print(sorted(set({sorted(OPTIONAL)!r}) & sys.modules.keys()))")
    assert shown == "[]"


def test_a_training_step_on_numpy_imports_no_other_array_library():
    code = (
        "import sys, numpy as np, xpcnn\n"
        "net = xpcnn.Sequential(xpcnn.Conv2d(1, 2, 3), xpcnn.BatchNorm2d(2), xpcnn.MaxPool2d(2))\n"
        "from xpcnn import kernels\n"
        "with kernels.force('generic'):\n"
        "    y = net.forward(np.ones((2, 1, 6, 6), 'float32'), training=True)\n"
        "    net.backward(y)\n"
        f"print(sorted(set({sorted(OPTIONAL - {'numba', 'llvmlite'})!r}) & sys.modules.keys()))"
    )
    assert run(code) == "[]"


def test_asking_for_numpy_imports_no_other_array_library():
    assert run("import sys, xpcnn; xpcnn.device.resolve('cpu'); print('torch' in sys.modules)") == (
        "False"
    )


@pytest.mark.parametrize("module", ["", "layers", "functional"])
def test_public_names_exist(module):
    if not module:
        pytest.importorskip("sklearn")  # xpcnn.sklearn is one of the names
    where = getattr(xpcnn, module) if module else xpcnn
    assert len(set(where.__all__)) == len(where.__all__)
    for public in where.__all__:
        assert getattr(where, public) is not None
        assert not public.startswith("_") or public == "__version__"


def test_public_functions_and_classes_are_documented():
    pytest.importorskip("sklearn")
    for where in (xpcnn, xpcnn.layers, xpcnn.functional):
        for public in where.__all__:
            thing = getattr(where, public)
            if callable(thing):
                assert thing.__doc__, f"{public} has no docstring"


def test_types_are_shipped():
    assert (PACKAGE / "py.typed").is_file()


def test_nothing_that_makes_the_host_wait_for_a_gpu():
    # The clip and sign of some namespaces assign through a mask: _xp has both without waiting.
    slow = {"clip", "sign"}
    for path in FILES:
        if path.name == "_xp.py" or "cpu" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                by_namespace = isinstance(owner, ast.Call) or (
                    isinstance(owner, ast.Name) and owner.id == "xp"
                )
                assert not (by_namespace and node.func.attr in slow), f"{path}:{node.lineno}"


# Here everything is about PyTorch itself.
NEED_PYTORCH = {
    "test_from_torch.py",
    "test_from_torch_functions.py",
    "test_keras_files.py",
    "test_onnx_from_torch.py",
}


def test_tests_are_collected_without_pytorch():
    """So that those by hand, and between other libraries, run where it is not installed."""
    tests = Path(__file__).parent
    found = set()
    for path in tests.rglob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            named = ast.unparse(node) if isinstance(node, (ast.Assign, ast.Expr)) else ""
            modules = {a.name for a in node.names} if isinstance(node, ast.Import) else set()
            if isinstance(node, ast.ImportFrom):
                modules = {str(node.module)}
            if "importorskip('torch')" in named or "torch" in {m.split(".")[0] for m in modules}:
                found.add(path.name)
    assert found == NEED_PYTORCH, "see tests/pytorch.py for how to look it up when a test runs"
