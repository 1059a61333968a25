"""Whole networks: what each layer makes of what the layers before it give."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn.drawing.structure import structure_of
from xpcnn.drawing.wording import class_name, main_arguments
from xpcnn.explaining.numbers import first_and_last, written
from xpcnn.explaining.parts import Numbers, Part, Section, Table, Text, array_tables
from xpcnn.explaining.running import WHO, copy_of, missing_axes
from xpcnn.explaining.words import Words
from xpcnn.layers.layer import Layer

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Stage:
    """A layer of a network, in float64, and what it takes and gives."""

    name: str
    layer: Any
    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class NetworkRun:
    """A network after its forward without training, layer by layer; `notes` are of the input."""

    who: str
    x: np.ndarray
    stages: list[Stage]
    notes: list[str]

    def find(self, name: Any) -> Stage:
        """Return the layer of a name."""
        found = {stage.name: stage for stage in self.stages}
        if not isinstance(name, str):
            raise TypeError(
                f"{WHO}: layer must be the name of a layer of the network, one of "
                f"{_listed(found)}; got {name!r:.100}"
            )
        if name not in found:
            raise ValueError(f"{WHO}: layer must be one of {_listed(found)}; got {name!r}")
        return found[name]


def network_of(operation: Any) -> Layer | None:
    """Return the network that is meant: that of a model, or a layer with layers inside."""
    model = getattr(sys.modules.get("xpcnn.training"), "Model", ())
    network = operation.network if isinstance(operation, model) else operation
    if not isinstance(network, Layer):
        return None
    return network if network is not operation or network.children() else None


def run_network(who: str, network: Layer, x: np.ndarray) -> NetworkRun:
    """Run a copy of a network, layer by layer."""
    plan = structure_of(network)
    if len(plan.inputs) != 1:
        names = ", ".join(name for name, _ in plan.inputs)
        raise ValueError(
            f"{WHO}: {who} has {len(plan.inputs)} inputs ({names}), and a network is explained "
            "for one; explain its layers by themselves"
        )
    first = next((box for box in plan.boxes if box.inputs[:1] == (plan.inputs[0][1],)), None)
    added, note = missing_axes(first.layers[0], x) if first else (0, "")
    x = x.reshape((1,) * added + x.shape)
    twin, had_values = copy_of(network, x.shape)
    plan = structure_of(twin)
    values: dict[Any, Any] = {plan.inputs[0][1]: x, None: None}
    stages = []
    for box in plan.boxes:
        (layer,) = box.layers
        taken = tuple(values[number] for number in box.inputs)
        given = layer.forward(*taken)
        given = given if isinstance(given, tuple) else (given,)
        values |= zip(box.outputs, given, strict=True)
        stages.append(Stage(box.name, layer, taken, tuple(map(np.asarray, given))))
    has_weights = bool(network.parameters()) or bool(twin.parameters())
    notes = [note] * bool(note) + ["network_new_weights"] * (has_weights and not had_values)
    return NetworkRun(who, x, stages, notes)


def explain_network(run: NetworkRun, say: Words, limit: int) -> list[Section]:
    """Show the way through a network: a table of all layers, then what each gives."""
    start: list[Part] = [Text(say("shape", name="x", shape=run.x.shape))]
    start += [Text(say(note)) for note in run.notes]
    start += _first_sample("x", run.x, say, limit)
    shown = first_and_last(len(run.stages), limit)
    sections = [Section(say("input"), start), _overview(run, shown, say)]
    for number in shown:
        if number is not None:
            sections.append(_stage(run.stages[number], say, limit))
    return sections


def _overview(run: NetworkRun, shown: list[int | None], say: Words) -> Section:
    columns = [say(f"network_{key}") for key in ("class", "shape", "least", "mean", "most")]
    rows, cells = [], []
    for number in shown:
        if number is None:
            rows.append("…")
            cells.append(["…"] * len(columns))
            continue
        stage = run.stages[number]
        y = stage.outputs[0]
        rows.append(stage.name)
        numbers = [written(float(f(y))) for f in (np.min, np.mean, np.max)]
        cells.append([class_name(stage.layer), str(tuple(y.shape)), *numbers])
    example = run.stages[0].name
    parts: list[Part] = [
        Text(say("network_text")),
        Table("", say("network_name"), columns, rows, cells),
        Text(say("network_more", call=f'xpcnn.explain(…, x, layer="{example}")')),
    ]
    return Section(say("network_heading"), parts)


def _stage(stage: Stage, say: Words, limit: int) -> Section:
    y = stage.outputs[0]
    kind = class_name(stage.layer)
    arguments = main_arguments(stage.layer)
    layer = f"{kind} ({arguments})" if arguments else kind
    text = say("network_stage", layer=layer, shape=tuple(y.shape))
    return Section(f"{stage.name}: {kind}", [Text(text), *_first_sample("y", y, say, limit)])


def _first_sample(name: str, values: np.ndarray, say: Words, limit: int) -> list[Part]:
    """Show what there is of the first sample, in short."""
    few = max(4, limit // 2)
    numbers = Numbers(name, values[:1], tuple(range(values.ndim)))
    parts = array_tables(numbers, few, say("tables_left_out"))
    if len(values) > 1:
        parts.append(Text(say("network_samples", count=len(values) - 1)))
    return parts


def _listed(names: Any, most: int = 30) -> str:
    shown = [repr(name) for name in names]
    more = f", ... ({len(shown)} in all)" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
