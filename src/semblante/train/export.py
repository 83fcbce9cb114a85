"""From a run folder to the ONNX file that recognition uses, compared with each other first."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import nn

import semblante
from semblante.data import Dataset
from semblante.emotions import EMOTIONS
from semblante.errors import ModelError, OptionError
from semblante.files import write_atomically
from semblante.metrics import accuracy, best_temperature
from semblante.preprocess import InputSpec, network_input
from semblante.recognise.classifier import METADATA_KEY, Classifier
from semblante.train.checkpoint import read_config
from semblante.train.networks import count_parameters
from semblante.train.objective import N_EMOTIONS
from semblante.train.precision import PRECISIONS, halve, quantise
from semblante.train.state import load_best

OPSET: Final = 18
# Largest difference between torch's and ONNX Runtime's outputs (logits) that is let through.
TOLERANCE: Final = 1e-4
MOST_LOST: Final = 0.003  # of accuracy, in forms that are not exact
_BATCH: Final = 256
_CALIBRATION_FACES: Final = 500


def export(run_dir: Path, out: Path, dataset: Dataset, precision: str = "fp32") -> dict[str, Any]:
    """Write the best network of `run_dir` to `out` as ONNX; returns what the file says of itself.

    `dataset` is the one the network was trained on. Its outputs are divided by the temperature that
    suits PublicTest best, so that probabilities mean what they say. Both forms see all PublicTest
    faces; `ModelError` is raised, and no file left, when in fp32 an output differs by more than
    `TOLERANCE` or the accuracy differs at all, and in the smaller forms of `precision.py` when
    the accuracy falls by `MOST_LOST` or more. `precision` is one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    trained, record = load_best(run_dir)
    config = read_config(run_dir)
    if config["dataset_sha256"] != dataset.fingerprint():
        raise ModelError(
            f"{run_dir} was trained on another dataset than the one given to compare with"
        )
    if config["options"].get("network") != record["network"]:
        raise ModelError(
            f"{run_dir}: the run is of {config['options'].get('network')!r}, "
            f"but best.safetensors holds a {record['network']!r}"
        )
    public = dataset.split("PublicTest")
    temperature = best_temperature(public.labels, _torch_logits(_Emotions(trained), public))
    network = _Emotions(trained, temperature)
    outputs = _torch_logits(network, public)
    public_accuracy = accuracy(public.labels, outputs.argmax(axis=1))
    about = {
        "network": record["network"],
        "labels": list(EMOTIONS),
        "input": asdict(InputSpec()),
        "steps": list(getattr(trained, "steps", ())),
        "parameters": count_parameters(network),
        "precision": precision,
        "temperature": temperature,
        "training": {
            "dataset": "FER2013, Training split",
            "dataset_sha256": config["dataset_sha256"],
            "options": config["options"],
            "best_epoch": int(record["epoch"]),
            "public_test": {"n": len(public), "accuracy": public_accuracy},
        },
        "licence": "MIT",
        "made_with": f"semblante {semblante.__version__}, torch {torch.__version__}",
    }

    def write_checked(beside: Path) -> None:
        model = _onnx_model(network)
        if precision == "fp16":
            halve(model)
        if precision == "int8":
            _quantised(model, dataset)
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(about), "license": "MIT"})
        onnx.checker.check_model(model, full_check=True)
        beside.write_bytes(model.SerializeToString())
        _compare(beside, public, outputs, exact=precision == "fp32")

    write_atomically(out, write_checked)
    return about


class _Emotions(nn.Module):
    """A network without the second head that learns FER+, its outputs over a temperature."""

    def __init__(self, network: nn.Module, temperature: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(faces)
        return logits[:, :N_EMOTIONS] / self.temperature


def _torch_logits(network: nn.Module, faces: Dataset) -> np.ndarray[Any, np.dtype[np.float32]]:
    with torch.no_grad():
        parts = [
            network(torch.from_numpy(network_input(faces.images[start : start + _BATCH]))).numpy()
            for start in range(0, len(faces), _BATCH)
        ]
    return np.concatenate(parts)


def _onnx_model(network: nn.Module) -> onnx.ModelProto:
    size = InputSpec().size
    # Two faces: an example batch of one would be taken for a fixed size.
    example = torch.zeros(2, 1, size, size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about its own inner parts
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["faces"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ModelError("torch exported nothing")
    model: onnx.ModelProto = program.model_proto
    # The exporter notes for each node which line of which file it came from: paths of the
    # machine it ran on, and half a megabyte.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    return model


def _quantised(model: onnx.ModelProto, dataset: Dataset) -> None:
    """In place, calibrated on some of Training's faces, always the same."""
    training = dataset.split("Training")
    rows = np.random.default_rng(2013).permutation(len(training))[:_CALIBRATION_FACES]
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, whole)
        quantise(whole, small, training.images[rows])
        model.CopyFrom(onnx.load(small))


def _compare(path: Path, faces: Dataset, expected: np.ndarray[Any, Any], *, exact: bool) -> None:
    found = Classifier(path).logits(faces.images)
    difference = float(np.abs(found - expected).max())
    if exact and not difference <= TOLERANCE:
        raise ModelError(
            f"not exported: an output of the ONNX file differs from torch's by {difference:.2g}, "
            f"more than {TOLERANCE:g}"
        )
    ours = accuracy(faces.labels, found.argmax(axis=1))
    theirs = accuracy(faces.labels, expected.argmax(axis=1))
    if (exact and ours != theirs) or ours <= theirs - MOST_LOST:
        raise ModelError(
            f"not exported: accuracy on {len(faces)} faces is {ours:.4f} in ONNX Runtime and "
            f"{theirs:.4f} in torch"
        )
