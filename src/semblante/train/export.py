"""From a run folder to the ONNX file that recognition uses, compared with each other first."""

from __future__ import annotations

import json
import logging
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
from semblante.errors import ModelError
from semblante.files import write_atomically
from semblante.metrics import accuracy
from semblante.preprocess import InputSpec, network_input
from semblante.recognise.classifier import METADATA_KEY, Classifier
from semblante.train.checkpoint import read_config
from semblante.train.networks import count_parameters
from semblante.train.objective import N_EMOTIONS
from semblante.train.state import load_best

OPSET: Final = 18
# Largest difference between torch's and ONNX Runtime's outputs (logits) that is let through.
TOLERANCE: Final = 1e-4
_BATCH: Final = 256


def export(run_dir: Path, out: Path, dataset: Dataset) -> dict[str, Any]:
    """Write the best network of `run_dir` to `out` as ONNX; returns what the file says of itself.

    `dataset` is the one the network was trained on. Both forms see all its PublicTest
    faces; `ModelError` is raised, and no file left, when an output differs by more than
    `TOLERANCE` or the accuracy differs at all.
    """
    trained, record = load_best(run_dir)
    network = _Emotions(trained)
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
    outputs = _torch_logits(network, public)
    public_accuracy = accuracy(public.labels, outputs.argmax(axis=1))
    about = {
        "network": record["network"],
        "labels": list(EMOTIONS),
        "input": asdict(InputSpec()),
        "steps": list(getattr(trained, "steps", ())),
        "parameters": count_parameters(network),
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
        _write_onnx(network, beside, about)
        _compare(beside, public, outputs)

    write_atomically(out, write_checked)
    return about


class _Emotions(nn.Module):
    """A network without the second head that learns FER+."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(faces)
        return logits[:, :N_EMOTIONS]


def _torch_logits(network: nn.Module, faces: Dataset) -> np.ndarray[Any, np.dtype[np.float32]]:
    with torch.no_grad():
        parts = [
            network(torch.from_numpy(network_input(faces.images[start : start + _BATCH]))).numpy()
            for start in range(0, len(faces), _BATCH)
        ]
    return np.concatenate(parts)


def _write_onnx(network: nn.Module, path: Path, about: dict[str, Any]) -> None:
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
    model = program.model_proto
    # The exporter notes for each node which line of which file it came from: paths of the
    # machine it ran on, and half a megabyte.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(about), "license": "MIT"})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _compare(path: Path, faces: Dataset, expected: np.ndarray[Any, Any]) -> None:
    found = Classifier(path).logits(faces.images)
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"not exported: an output of the ONNX file differs from torch's by {difference:.2g}, "
            f"more than {TOLERANCE:g}"
        )
    ours = accuracy(faces.labels, found.argmax(axis=1))
    theirs = accuracy(faces.labels, expected.argmax(axis=1))
    if ours != theirs:
        raise ModelError(
            f"not exported: accuracy on {len(faces)} faces is {ours:.4f} in ONNX Runtime and "
            f"{theirs:.4f} in torch"
        )
