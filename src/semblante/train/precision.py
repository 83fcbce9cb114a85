"""Smaller and faster forms of an exported network: weights in half precision, or int8."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from semblante.recognise.classifier import FACES_INPUT, import_onnxruntime
from semblante.train.objective import N_WITH_FERPLUS

PRECISIONS: Final = ("fp32", "fp16", "int8")
HALVED: Final = ".fp16"  # ends the name of a tensor that is stored in half precision
# Halving tensors with fewer numbers than this is not worth a Cast node.
_WORTHWHILE: Final = 256
_QUANTISING_BATCH: Final = 50


def halve(model: onnx.ModelProto) -> None:
    """Store the weights as float16, in place; they become float32 again when the model is loaded.

    The file is half as large and as fast as before: processors compute in float32.
    """
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _WORTHWHILE:
            continue
        small = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}{HALVED}")
        graph.initializer.remove(tensor)
        graph.initializer.append(small)
        casts.append(
            onnx.helper.make_node("Cast", [small.name], [tensor.name], to=onnx.TensorProto.FLOAT)
        )
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def quantised(model: onnx.ModelProto, inputs: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """The model in int8: static quantisation (QDQ) with ONNX Runtime's own tool.

    Weights get a scale for each output channel. Activations get one for each tensor, calibrated on
    `inputs` (n, 1, height, width) of Training; 500 are enough. The first convolution, the last
    layer and the temperatures stay in fp32: they are a hundredth of the work, and errors of the
    first convolution would reach all other layers.
    """
    import_onnxruntime()
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Faces(CalibrationDataReader):  # type: ignore[misc]
        """Batches of faces under the name of the network's input."""

        def __init__(self) -> None:
            # The tool needs batches of one size: the last few faces are left out.
            each = min(_QUANTISING_BATCH, len(inputs))
            self.batches: Iterator[npt.NDArray[np.float32]] = iter(
                np.split(inputs[: len(inputs) // each * each], len(inputs) // each)
            )

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {FACES_INPUT: batch}

    # The tool logs and prints advice to do what is done here already.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            whole, prepared, small = (
                str(Path(folder) / f"{name}.onnx") for name in ("whole", "prepared", "small")
            )
            onnx.save(model, whole)
            quant_pre_process(whole, prepared, skip_symbolic_shape=True)
            model = onnx.load(prepared)
            _norms_as_convolutions(model.graph)
            onnx.save(model, prepared)
            quantize_static(
                prepared,
                small,
                Faces(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                nodes_to_exclude=_nodes_in_fp32(model.graph),
                # Clip one activation in a hundred thousand, so that the others get finer steps.
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": 99.999},
                # Weights of seven bits: processors without VNNI add two 8-bit products in 16 bits,
                # which could overflow, so their results would differ from those with VNNI.
                reduce_range=True,
            )
            return onnx.load(small)
    finally:
        root.setLevel(level)


def _norms_as_convolutions(graph: onnx.GraphProto) -> None:
    """In place: each batch normalisation becomes a depthwise 1x1 convolution.

    ONNX Runtime has no int8 batch normalisation: maps would be converted to fp32 before it and back
    after it. The norm of a recurrent layer cannot be folded into the convolution before it, since a
    ReLU lies between, nor into the one after it, whose weights other steps share.
    """
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for place, node in enumerate(list(graph.node)):
        if node.op_type != "BatchNormalization":
            continue
        maps, *others = node.input
        weight, bias, mean, variance = (tensors[name].astype(np.float64) for name in others)
        (epsilon,) = (a.f for a in node.attribute if a.name == "epsilon")
        scale = weight / np.sqrt(variance + epsilon)
        kernel = scale.astype(np.float32)[:, None, None, None]
        offset = (bias - mean * scale).astype(np.float32)
        names = [f"{node.name}.kernel", f"{node.name}.offset"]
        graph.initializer.extend(map(numpy_helper.from_array, (kernel, offset), names))
        convolution = onnx.helper.make_node(
            "Conv", [maps, *names], node.output, name=node.name, group=len(scale)
        )
        graph.node.remove(node)
        graph.node.insert(place, convolution)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _nodes_in_fp32(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that stay in fp32: the first convolution and all before it, the classifier
    and all after it."""
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    names: list[str] = []
    seen = {FACES_INPUT}  # the faces, and tensors computed from them before the first convolution
    classified: set[str] = set()  # outputs of the classifier, and tensors computed from them
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        first = bool(seen & set(node.input))
        if first and node.op_type != "Conv":
            seen.update(node.output)
        # A Gemm with more outputs is a hidden layer, which may hold most of the weights.
        dense = node.op_type == "Gemm" and min(shapes[node.input[1]]) <= N_WITH_FERPLUS
        classifies = dense or (node.op_type == "Conv" and outputs >= set(node.output))
        last = classifies or bool(classified & set(node.input))
        if last:
            classified.update(node.output)
        if first or last:
            names.append(node.name)
    return names
