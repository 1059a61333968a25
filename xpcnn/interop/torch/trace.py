"""Any module that torch.fx can trace, as a graph."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from xpcnn.errors import one_line
from xpcnn.interop.network import leading_to
from xpcnn.interop.torch import functions, modules
from xpcnn.interop.torch.problems import Problems, UnsupportedError
from xpcnn.interop.torch.values import Value, array
from xpcnn.layers import Graph, Layer
from xpcnn.operations.weights import Weights

# What gives the same memory again, perhaps.
VIEWS = (
    "Flatten", "Unflatten", "Identity", "flatten", "unflatten", "view", "reshape", "permute",
    "transpose", "squeeze", "unsqueeze", "chunk", "split", "unbind", "expand", "contiguous",
    "getitem",
)  # fmt: skip
# Operators that write into their first argument, as in x += y.
IN_PLACE = ("iadd", "isub", "imul", "itruediv", "ipow")


def to_graph(module: Any, example: Sequence[Any] | None, who: str) -> Graph:
    """Make a graph of a module.

    Parameters
    ----------
    module : torch.nn.Module
    example : sequence of torch.Tensor, optional
        Inputs to learn the shapes of all values from.

    Raises
    ------
    ValueError
        Listing everything that cannot be converted.
    """
    problems = Problems()
    _check_sharing(module, problems)
    try:
        evaluating, traced = _trace(module)
    except Exception as error:
        raise ValueError(
            f"{who}: torch.fx cannot trace this {type(module).__name__}, perhaps as its path "
            f"depends on the numbers it gets ({one_line(error)}); convert its parts, or write it "
            "as a Graph"
        ) from error
    _check_modes(evaluating, traced, problems)
    shapes = {} if example is None else _shapes(traced, example)
    batch = None if not example else example[0].shape[0]
    maker = Maker(module, traced, shapes, batch, problems)
    graph = maker.run()
    problems.check(who)
    assert graph is not None
    return graph


def _check_sharing(module: Any, problems: Problems) -> None:
    """Note parameters that two modules have; one module at several places is another thing."""
    seen: dict[int, str] = {}
    for path, part in module.named_modules():
        for own, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{path}.{own}" if path else own
            owner = seen.setdefault(id(parameter), name)
            if owner != name:
                problems.add(name, f"is the same parameter as {owner}, and each layer has its own")


def _trace(module: Any) -> tuple[Any, Any]:
    """Trace a module as it is without training, and with it."""
    import torch
    from torch import fx

    class Proxy(fx.Proxy):
        """Also notes that ``x += y`` writes into x, which torch.fx takes for ``x = x + y``."""

    def noting(function: Any) -> Any:
        return lambda x, other: x.tracer.create_proxy("call_function", function, (x, other), {})

    for name in IN_PLACE:
        setattr(Proxy, f"__{name}__", noting(getattr(operator, name)))

    class Tracer(fx.Tracer):
        """Keeps every module whole that has a layer, or that torch.nn brings with it."""

        def proxy(self, node: Any) -> Any:
            return Proxy(node, self)

        def is_leaf_module(self, module: Any, name: str) -> bool:
            own = type(module).__module__.startswith("torch.nn")
            if modules.is_known(module) or modules.is_transform(module):
                return True
            return own and not isinstance(module, torch.nn.Sequential)

    def trace(training: bool) -> Any:
        module.train(training)
        tracer = Tracer()
        graph = tracer.trace(module, concrete_args=_defaults(module))
        return fx.GraphModule(tracer.root, graph)

    with modules.keeping_modes(module):
        return trace(False), trace(True)


def _check_modes(evaluating: Any, training: Any, problems: Problems) -> None:
    """A model has one path, and what is random in it is so in training only."""
    if _path(evaluating) != _path(training):
        problems.add("the module", "it takes another path in training than in inference")
    for node in evaluating.graph.nodes:
        name = _function_name(node.target)
        if node.op == "call_function" and functions.always_drops(name, node):
            problems.add(_where(node), "drops even without training")


def _defaults(module: Any) -> dict[str, Any]:
    """Return the arguments of forward that may be left out; they are left out here."""
    import inspect

    parameters = inspect.signature(module.forward).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _path(traced: Any) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in traced.graph.nodes]


def _shapes(traced: Any, example: Sequence[Any]) -> dict[Any, Any]:
    """Run the example through, without training, and note the shape of every value."""
    import torch
    from torch import fx

    found: dict[Any, Any] = {}

    class Noting(fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            result = super().run_node(node)
            found[node] = _shape_of(result)
            return result

    try:
        with modules.keeping_modes(traced), torch.no_grad():
            traced.eval()
            Noting(traced).run(*(x.clone() for x in example))
    except Exception as error:
        raise ValueError(
            f"from_torch: the module itself cannot be run on the example: {one_line(error)}"
        ) from error
    return found


def _shape_of(result: Any) -> Any:
    """Return the shape of an array, or those of the arrays in a tuple."""
    if isinstance(result, (tuple, list)):
        return tuple(_shape_of(part) for part in result)
    return tuple(result.shape) if hasattr(result, "shape") else None


class Memory:
    """Which nodes stand for one array, and which for parts of the same memory."""

    def __init__(self) -> None:
        self.arrays: dict[Any, Any] = {}
        self.storages: dict[Any, Any] = {}

    def note_same(self, node: Any, other: Any) -> None:
        """Two nodes are the same array."""
        self.arrays[node] = self.arrays.get(other, other)
        self.note_view(node, other)

    def note_view(self, node: Any, other: Any) -> None:
        """A node is a view of another one."""
        self.storages[node] = self.storages.get(other, other)

    def same(self, node: Any) -> list[Any]:
        """Return all nodes that are the same array."""
        root = self.arrays.get(node, node)
        return [root, *(n for n, r in self.arrays.items() if r is root)]

    def overlapping(self, node: Any) -> list[Any]:
        """Return the nodes that are other views of the same memory."""
        root = self.storages.get(node, node)
        every = [root, *(n for n, r in self.storages.items() if r is root)]
        return [n for n in every if n not in self.same(node)]


class Maker:
    """Walks over what torch.fx recorded and collects the nodes of a :class:`xpcnn.Graph`."""

    def __init__(
        self, root: Any, traced: Any, shapes: dict[Any, Any], batch: int | None, problems: Problems
    ) -> None:
        self.root = root
        self.traced = traced
        self.batch = batch
        self.shapes = shapes
        self.problems = problems
        self.inputs: list[str] = []
        self.nodes: list[tuple[str, Layer, tuple[str, ...], tuple[str, ...]]] = []
        self.values: dict[Any, Any] = {}
        self.memory = Memory()
        self.outputs: list[str] = []
        self.names: set[str] = set()
        self.reserved = {name for name, _ in root.named_modules()}
        self.used_modules: dict[str, Layer] = {}
        self.first_names = {id(part): name for name, part in root.named_modules()}
        self.own_arrays: dict[str, dict[str, Any]] = {}
        self.node: Any = None
        self.overwrites = False  # whether the call at hand writes into its first argument

    def run(self) -> Graph | None:
        """Convert node after node; return the graph if there was no problem."""
        for node in self.traced.graph.nodes:
            self.node = node
            try:
                self.values[node] = self._convert(node)
            except (TypeError, ValueError, IndexError) as error:
                known = isinstance(error, UnsupportedError)
                why = error if known else f"{node.format_node()}: {error}"
                self.problems.add(_where(node), why)
                self.values[node] = Value("", self.shapes.get(node))
        for path in self.own_arrays:
            if path in self.used_modules:
                self.problems.add(path, "is a layer, and its weights are used beside it")
        if self.problems.found:
            return None
        nodes = [self._weights(n[0]) if n[0] in self.own_arrays else n for n in self.nodes]
        return Graph(self.inputs, leading_to(self.outputs, nodes), self.outputs)

    # -- What the handlers use -----------------------------------------------------------------

    def put(self, layer: Layer, *inputs: Any, name: str | None = None) -> Value:
        """Add a node with one output, and return the value it gives."""
        names = tuple(array(x).name for x in inputs)
        name = self.new_name(self.node.name) if name is None else self.module_name(name)
        self.nodes.append((name, layer, names, (name,)))
        return Value(name, None)

    def put_several(self, layer: Layer, x: Value, count: int) -> tuple[Value, ...]:
        """Add a node with several outputs."""
        name = self.new_name(self.node.name)
        outputs = tuple(f"{name}.{number}" for number in range(count))
        self.nodes.append((name, layer, (x.name,), outputs))
        return tuple(Value(output, None) for output in outputs)

    def new_name(self, wanted: str) -> str:
        """Return a name that nothing has yet, and take it."""
        name, number = wanted, 1
        while name in self.names or name in self.reserved:
            number += 1
            name = f"{wanted}__{number}"
        self.names.add(name)
        return name

    @property
    def first_input(self) -> Value:
        """The input whose first axis is taken for that of the batch."""
        return Value(self.inputs[0], None)

    def module_name(self, path: str) -> str:
        """Return the name of the node of a module: its own, which the weights have in front."""
        if path in self.names:  # used before
            return self.new_name(path)
        self.names.add(path)
        return path

    # -- The kinds of nodes --------------------------------------------------------------------

    def _convert(self, node: Any) -> Any:
        if node.op == "placeholder":
            return self._placeholder(node)
        if node.op == "output":
            return self._output(self._resolve(node.args[0]))
        if node.op == "get_attr":
            return self._attribute(node.target)
        arguments = self._resolve(node.args)
        options = dict(self._resolve(node.kwargs))
        if node.op == "call_module":
            return self._module(node, arguments, options)
        name = node.target if node.op == "call_method" else _function_name(node.target)
        return self._function(name, node, arguments, options)

    def _placeholder(self, node: Any) -> Any:
        if node.args:  # an argument with a default, which is what was traced
            return node.args[0]
        if node.target.startswith("*"):
            raise UnsupportedError("forward takes any number of arguments")
        self.inputs.append(self.new_name(node.name))
        return Value(self.inputs[-1], self.shapes.get(node))

    def _module(self, node: Any, arguments: Any, options: Any) -> Value:
        module = self.root.get_submodule(node.target)
        layer = self.used_modules.get(node.target)
        if layer is None or not module.state_dict():  # those without weights share nothing
            layer = modules.to_layer(module)
        if options or len(arguments) != 1:
            raise UnsupportedError("a layer takes one array")
        self.used_modules[node.target] = layer
        value = self._shaped(self.put(layer, arguments[0], name=node.target))
        if type(module).__name__ in VIEWS:
            self.memory.note_view(node, node.args[0])
        if getattr(module, "inplace", False):
            self._overwrite(node, value)
        return value

    def _function(self, name: str, node: Any, arguments: Any, options: Any) -> Any:
        plain = name if name.startswith("_") else name.rstrip("_")
        handler = functions.find(plain)
        if handler is None:
            raise UnsupportedError(f"there is no equivalent of the function {name}")
        self.overwrites = plain != name or name in IN_PLACE
        value = self._shaped(handler(self, *arguments, **options))
        if plain in VIEWS:
            self.memory.note_view(node, node.args[0])
        if self.overwrites:
            self._overwrite(node, value)
        return value

    def _shaped(self, given: Any) -> Any:
        """Add the shapes that the example has at this node."""
        shape = self.shapes.get(self.node)
        if isinstance(given, Value):
            return Value(given.name, shape)
        if isinstance(given, tuple) and given and all(isinstance(v, Value) for v in given):
            shapes = shape or (None,) * len(given)
            return tuple(Value(v.name, s) for v, s in zip(given, shapes, strict=True))
        return given

    def _overwrite(self, node: Any, value: Value) -> None:
        """From here on all names of the array that a node writes into stand for the new one."""
        target = node.args[0]
        if isinstance(target, type(node)) and isinstance(value, Value):
            self.memory.note_same(node, target)
            for other in self.memory.same(target):
                self.values[other] = value
            for view in self.memory.overlapping(target):
                if any(user > node for user in view.users):
                    raise UnsupportedError(
                        f"writes into memory that {view.name} shares, which is used afterwards"
                    )

    def _attribute(self, target: str) -> Value:
        """Give a parameter or buffer that a module uses by itself."""
        path, _, name = target.rpartition(".")
        owner = self.root.get_submodule(path)
        path = self.first_names[id(owner)]
        target = f"{path}.{name}" if path else name
        tensor = getattr(owner, name)
        if not tensor.is_floating_point():
            raise UnsupportedError(f"the buffer {target} holds {tensor.dtype}")
        output = f"{target}.value"
        if output not in self.names:
            self.names.add(output)
            if path not in self.own_arrays:
                # its place among the nodes; what it holds is known in the end
                self.nodes.append((path, Weights([]), (), ()))
            own = self.own_arrays.setdefault(path, {})
            own[name] = tensor
        return Value(output, tuple(tensor.shape))

    def _output(self, given: Any) -> None:
        given = list(given.values()) if isinstance(given, dict) else given
        several = given if isinstance(given, (tuple, list)) else [given]
        if not all(isinstance(value, Value) for value in several):
            raise UnsupportedError("the output is neither an array nor a tuple or dict of arrays")
        self.outputs = [value.name for value in several]

    def _resolve(self, argument: Any) -> Any:
        """Put values in the place of the nodes that give them."""
        from torch import fx

        return fx.map_arg(argument, lambda node: self.values[node]) if argument else argument

    def _weights(self, path: str) -> Any:
        """Return the node for the arrays that a module has of its own."""
        arrays = self.own_arrays[path]
        buffers = dict(self.root.get_submodule(path).named_buffers())
        layer = Weights(
            [(name, tuple(tensor.shape)) for name, tensor in arrays.items()],
            [name for name in arrays if name in buffers],
        )
        front = f"{path}." if path else ""
        return path, layer, (), tuple(f"{front}{name}.value" for name in arrays)


def _function_name(target: Any) -> str:
    return str(getattr(target, "__name__", target))


def _where(node: Any) -> str:
    if node.op == "call_module":
        return f"module {node.target}"
    return f"{node.op} {_function_name(node.target)}, in {node.name}"
