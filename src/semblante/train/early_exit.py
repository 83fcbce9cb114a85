"""Early exit: an exported graph that takes further steps only for the faces that need them.

The exported network classifies the state of its last recurrent layer after every step t = 0 .. T.
In the graph made here some faces exit after a step, and only the others go on to the next:

    logits = those of step 0
    rows = faces that do not exit, none where `steps` is 0
    logits[rows] = those of step 1, computed for these faces only
        rows = the faces among them that do not exit, none where `steps` is 1
        ...

A face exits when its highest probability reaches `settled_at`. The inputs `steps` and `settled_at`
have defaults (all steps; a probability above 1, so never), with which the graph computes the whole
network. The tensors that are added are called `dial.*`, as in the files that ship: `said` are
logits, `taken` the steps taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from semblante.recognise.classifier import EXIT_THRESHOLD_INPUT, STEPS_INPUT, STEPS_OUTPUT

NEVER: Final = 2.0


def add_early_exit(
    model: ModelProto, every_step: Sequence[str], output: str, n_emotions: int
) -> None:
    """In place: `every_step`, names of the logits (n, k) after each step, become one `output`.

    The first `n_emotions` logits decide whether a face exits.
    """
    graph = model.graph
    nodes = _each_with_its_own_dequantising(graph.node)
    last = len(every_step) - 1
    of_step = _steps_of(nodes, [value.name for value in graph.input], every_step)
    del graph.node[:]
    del graph.output[:]
    del graph.value_info[:]  # shapes are inferred anew
    _add_inputs(graph, last)
    _add_constants(graph, last, n_emotions)
    graph.node.extend(node for node in nodes if of_step[node.output[0]] < 0)
    # A tensor with a row for each face -> the same tensor without the faces that have exited.
    current: dict[str, str] = {}
    for t, logits in enumerate(every_step):
        graph.node.extend(_reading(node, current) for node in nodes if of_step[node.output[0]] == t)
        graph.node.extend(_steps_taken(t, logits))
        if t == last:
            break
        graph.node.extend(_rows_that_go_on(t, logits))
        for name in _needed_after(t, nodes, of_step):
            cut = f"{name}.{t + 1}"
            graph.node.append(
                helper.make_node("Gather", [current.get(name, name), f"dial.rows_{t}"], [cut])
            )
            current[name] = cut
    graph.node.extend(_put_together(every_step, output))
    graph.output.extend(
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", None]),
            helper.make_tensor_value_info(STEPS_OUTPUT, TensorProto.INT64, ["n"]),
        ]
    )


def _each_with_its_own_dequantising(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """The nodes of an int8 graph in which every reader of a DequantizeLinear has one to itself.

    The DequantizeLinear then belongs to its reader's step, after the Gather that removes the faces
    that exit: ONNX Runtime computes a convolution in int8 only if it reads a DequantizeLinear
    directly.
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
    """For each tensor the first step whose logits need it; -1 if it is the same for all faces."""
    makers = {output: node for node in nodes for output in node.output}
    of_faces = set(inputs)
    for node in nodes:  # a graph's nodes are sorted topologically
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


def _add_inputs(graph: GraphProto, last: int) -> None:
    for name, kind, default in (
        (STEPS_INPUT, TensorProto.INT64, np.array(last, np.int64)),
        (EXIT_THRESHOLD_INPUT, TensorProto.FLOAT, np.array(NEVER, np.float32)),
    ):
        # An input that is an initializer as well has a default.
        graph.input.append(helper.make_tensor_value_info(name, kind, []))
        graph.initializer.append(numpy_helper.from_array(default, name))


def _add_constants(graph: GraphProto, last: int, n_emotions: int) -> None:
    constants: dict[str, int | list[int]] = {"0": [0], "1": [1], "emotions": [n_emotions]}
    constants |= {f"step_{t}": t for t in range(last + 1)}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), f"dial.{name}")
        for name, value in constants.items()
    )


def _needed_after(t: int, nodes: Sequence[NodeProto], of_step: dict[str, int]) -> list[str]:
    """Tensors with a row for each face, computed by step t, that a later step reads."""
    earlier = {name for name, step in of_step.items() if 0 <= step <= t}
    later = {name for node in nodes if of_step[node.output[0]] > t for name in node.input}
    return sorted(earlier & later)


def _reading(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """A copy of `node` whose inputs are renamed by `names`."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    return copy


def _steps_taken(t: int, logits: str) -> list[NodeProto]:
    """Nodes that compute `dial.taken_t`: t for each face that has not exited yet."""
    return [
        helper.make_node("Shape", [logits], [f"dial.count_{t}"], start=0, end=1),
        helper.make_node("Expand", [f"dial.step_{t}", f"dial.count_{t}"], [f"dial.taken_{t}"]),
    ]


def _rows_that_go_on(t: int, logits: str) -> list[NodeProto]:
    """Nodes that compute `dial.rows_t`: which of the faces of step t go on, by their indices."""

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
        return helper.make_node(kind, inputs, [f"dial.{output}_{t}"], **attributes)

    return [
        node("Slice", [logits, "dial.0", "dial.emotions", "dial.1"], "emotions"),
        node("Softmax", [f"dial.emotions_{t}"], "probabilities", axis=1),
        node("ReduceMax", [f"dial.probabilities_{t}", "dial.1"], "certainty", keepdims=0),
        node("Less", [f"dial.certainty_{t}", EXIT_THRESHOLD_INPUT], "unsettled"),
        node("Greater", [STEPS_INPUT, f"dial.step_{t}"], "asked"),
        node("And", [f"dial.unsettled_{t}", f"dial.asked_{t}"], "goes_on"),
        node("NonZero", [f"dial.goes_on_{t}"], "indices"),
        node("Squeeze", [f"dial.indices_{t}", "dial.0"], "rows"),
    ]


def _put_together(every_step: Sequence[str], output: str) -> list[NodeProto]:
    """Nodes that merge the logits of all steps, and the numbers of steps taken, from the last step
    to the first: later ones replace earlier ones."""
    last = len(every_step) - 1
    logits, steps_taken = every_step[last], f"dial.taken_{last}"
    nodes = []
    for t in reversed(range(last)):
        nodes.append(
            helper.make_node("Unsqueeze", [f"dial.rows_{t}", "dial.1"], [f"dial.places_{t}"])
        )
        nodes += [
            _replaced(every_step[t], t, logits, f"dial.said_from_{t}"),
            _replaced(f"dial.taken_{t}", t, steps_taken, f"dial.taken_from_{t}"),
        ]
        logits, steps_taken = f"dial.said_from_{t}", f"dial.taken_from_{t}"
    return [
        *nodes,
        helper.make_node("Identity", [logits], [output]),
        helper.make_node("Identity", [steps_taken], [STEPS_OUTPUT]),
    ]


def _replaced(before: str, t: int, later: str, after: str) -> NodeProto:
    """The node that computes `after`: `before`, with `later` in the rows that go on from step t."""
    return helper.make_node("ScatterND", [before, f"dial.places_{t}", later], [after])
