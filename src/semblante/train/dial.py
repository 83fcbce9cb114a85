"""Steps as a dial: an ONNX graph that goes on with its last recurrent layer only where it has to.

The exported network classifies the state of its last layer after every step t = 0 .. T. Here only
those faces go on to step t + 1 that are not settled yet:

    said = logits of step 0
    rows = faces that are not settled, none where steps is 0
    said[rows] = logits of step 1, computed of these only
        rows = of these, the faces that are not settled, none where steps is 1
        ...

A face is settled when the probability of its likeliest emotion is at least `settled_at`. Both
inputs have defaults (all steps; more than 1, so never), which give the whole network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from semblante.recognise.classifier import SETTLED_INPUT, STEPS_INPUT, STEPS_OUTPUT

NEVER: Final = 2.0


def add_dial(model: ModelProto, every_step: Sequence[str], said: str, n_emotions: int) -> None:
    """In place: `every_step`, names of the logits (n, k) after each step, become one output `said`.

    The first `n_emotions` logits tell whether a face is settled.
    """
    graph = model.graph
    nodes = _each_with_its_own_dequantising(graph.node)
    last = len(every_step) - 1
    of_step = _steps_of(nodes, [value.name for value in graph.input], every_step)
    del graph.node[:]
    del graph.output[:]
    del graph.value_info[:]  # shapes are inferred anew
    for name, kind, value in (
        (STEPS_INPUT, TensorProto.INT64, np.array(last, np.int64)),
        (SETTLED_INPUT, TensorProto.FLOAT, np.array(NEVER, np.float32)),
    ):
        # An input that is an initializer as well has a default.
        graph.input.append(helper.make_tensor_value_info(name, kind, []))
        graph.initializer.append(numpy_helper.from_array(value, name))
    for name, numbers in {"0": [0], "1": [1], "emotions": [n_emotions]}.items():
        graph.initializer.append(
            numpy_helper.from_array(np.array(numbers, np.int64), f"dial.{name}")
        )
    for t in range(last + 1):
        graph.initializer.append(numpy_helper.from_array(np.array(t, np.int64), f"dial.step_{t}"))

    graph.node.extend(node for node in nodes if of_step[node.output[0]] < 0)
    # `here`: how a tensor that holds something for each face is called after some have left.
    here: dict[str, str] = {}
    for t in range(last + 1):
        graph.node.extend(_reading(node, here) for node in nodes if of_step[node.output[0]] == t)
        logits = every_step[t]
        graph.node.extend(_taken(t, logits))
        if t < last:
            graph.node.extend(_rows_that_go_on(t, logits))
            earlier = {name for name, step in of_step.items() if 0 <= step <= t}
            later = {
                name for node in nodes if of_step[node.output[0]] > t for name in node.input
            }  # fmt: skip
            for name in sorted(earlier & later):
                cut = f"{name}.{t + 1}"
                graph.node.append(
                    helper.make_node("Gather", [here.get(name, name), f"dial.rows_{t}"], [cut])
                )
                here[name] = cut
    graph.node.extend(_put_together(every_step, said))
    graph.output.extend(
        [
            helper.make_tensor_value_info(said, TensorProto.FLOAT, ["n", None]),
            helper.make_tensor_value_info(STEPS_OUTPUT, TensorProto.INT64, ["n"]),
        ]
    )


def _each_with_its_own_dequantising(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """The nodes of an int8 graph in which every reader of a DequantizeLinear has one to itself.

    It belongs to its reader's step then, so that faces leave while they are eight bits: ONNX
    Runtime computes a convolution in int8 only where it reads a DequantizeLinear directly.
    """
    shared = {node.output[0]: node for node in nodes if node.op_type == "DequantizeLinear"}
    alone: list[NodeProto] = []
    for node in nodes:
        if node.op_type == "DequantizeLinear":
            continue
        copy = _reading(node, {})
        for place, name in enumerate(node.input):
            if name in shared:
                own = _reading(shared[name], {})
                own.name = own.output[0] = copy.input[place] = f"{name}.for.{node.name}.{place}"
                alone.append(own)
        alone.append(copy)
    return alone


def _steps_of(
    nodes: Sequence[NodeProto], inputs: Sequence[str], every_step: Sequence[str]
) -> dict[str, int]:
    """Of each tensor the first step whose logits need it; -1 where it is the same for all faces."""
    makers = {output: node for node in nodes for output in node.output}
    of_faces = set(inputs)
    for node in nodes:  # which come in an order in which they can be computed
        if of_faces & set(node.input):
            of_faces |= set(node.output)
    steps: dict[str, int] = {}
    for t, logits in enumerate(every_step):
        asked = [logits]
        while asked:
            name = asked.pop()
            if name in makers and name not in steps:
                node = makers[name]
                for output in node.output:
                    steps[output] = t if output in of_faces else -1
                asked.extend(node.input)
    return steps


def _reading(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """The same node, which reads what it reads by other names."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    return copy


def _taken(t: int, logits: str) -> list[NodeProto]:
    """`dial.taken_t`: t, for each face that is here."""
    return [
        helper.make_node("Shape", [logits], [f"dial.count_{t}"], start=0, end=1),
        helper.make_node("Expand", [f"dial.step_{t}", f"dial.count_{t}"], [f"dial.taken_{t}"]),
    ]


def _rows_that_go_on(t: int, logits: str) -> list[NodeProto]:
    """`dial.rows_t`: of the faces that are here, the numbers of those not settled at step t."""

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
        return helper.make_node(kind, inputs, [f"dial.{output}_{t}"], **attributes)

    return [
        node("Slice", [logits, "dial.0", "dial.emotions", "dial.1"], "emotions"),
        node("Softmax", [f"dial.emotions_{t}"], "probabilities", axis=1),
        node("ReduceMax", [f"dial.probabilities_{t}", "dial.1"], "certainty", keepdims=0),
        node("Less", [f"dial.certainty_{t}", SETTLED_INPUT], "unsettled"),
        node("Greater", [STEPS_INPUT, f"dial.step_{t}"], "asked"),
        node("And", [f"dial.unsettled_{t}", f"dial.asked_{t}"], "goes_on"),
        node("NonZero", [f"dial.goes_on_{t}"], "indices"),
        node("Squeeze", [f"dial.indices_{t}", "dial.0"], "rows"),
    ]


def _put_together(every_step: Sequence[str], said: str) -> list[NodeProto]:
    """From the last step to the first, what was said later takes the place of what was before."""
    last = len(every_step) - 1
    latest = {"said": every_step[last], "taken": f"dial.taken_{last}"}
    nodes = []
    for t in reversed(range(last)):
        nodes.append(
            helper.make_node("Unsqueeze", [f"dial.rows_{t}", "dial.1"], [f"dial.places_{t}"])
        )
        for what, before in (("said", every_step[t]), ("taken", f"dial.taken_{t}")):
            after = f"dial.{what}_from_{t}"
            nodes.append(
                helper.make_node("ScatterND", [before, f"dial.places_{t}", latest[what]], [after])
            )
            latest[what] = after
    return [
        *nodes,
        helper.make_node("Identity", [latest["said"]], [said]),
        helper.make_node("Identity", [latest["taken"]], [STEPS_OUTPUT]),
    ]
