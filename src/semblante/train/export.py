"""Export a run folder as the ONNX file that recognition uses, after comparing their outputs."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn

import semblante
from semblante.data import Dataset
from semblante.data.ferplus import NO_MAJORITY, FerPlus
from semblante.emotions import EMOTIONS, N_EMOTIONS
from semblante.errors import DataError, ModelError, OptionError
from semblante.files import write_atomically
from semblante.metrics import accuracy
from semblante.preprocess import FACE_SIZE, InputSpec, network_input
from semblante.recognise.classifier import (
    FACES_INPUT,
    FERPLUS_LOGITS,
    LOGITS,
    METADATA_KEY,
    Classifier,
)
from semblante.train.calibration import calibrated, fit_temperatures
from semblante.train.early_exit import add_early_exit
from semblante.train.merge import merged
from semblante.train.networks import count_parameters
from semblante.train.options import TrainOptions
from semblante.train.precision import PRECISIONS, halve, quantised
from semblante.train.recurrent import LiangHuNetwork, RecurrentNetwork, every_step
from semblante.train.run_folder import RunConfig
from semblante.train.user_code import short_name

OPSET: Final = 18
# The largest difference allowed between torch's and ONNX Runtime's outputs (logits), in fp32.
TOLERANCE: Final = 1e-4
MOST_LOST: Final = 0.003  # of accuracy, allowed in fp16 and int8
_BATCH: Final = 256
_QUANTISING_FACES: Final = 500


def export(
    run_dir: Path | str | Sequence[Path],
    out: Path | str,
    dataset: Dataset,
    precision: str = "fp32",
    votes: FerPlus | None = None,
    initial_share: float = 0.0,
) -> dict[str, Any]:
    """Write the best network of `run_dir` to `out` as ONNX and return the file's metadata
    (what `semblante models show` prints).

    `dataset` is the one the network was trained on. The outputs are divided by temperatures fitted
    on PublicTest, so that the probabilities are calibrated, see `calibration.py`. A network that
    can classify each step of its last layer gets early exit, see `early_exit.py`. A network that
    has also learnt FER+ gets a second output, `ferplus_logits` (n, 8), with temperatures fitted to
    FER+'s majority labels; this needs `votes`, of the dataset's rows. `precision` is one of
    `PRECISIONS`.

    Torch's network and the file are compared on all PublicTest faces. `ModelError` is raised, and
    `out` is left as it was, if in fp32 an output differs by more than `TOLERANCE` or the accuracy
    differs at all, or if in fp16 and int8 `lost_limit` or more correct answers are lost. Raises
    `OptionError` for another precision, missing votes, or runs that cannot be averaged, and
    `DataError` for votes of other rows.

    For several runs, and for `initial_share`, see `merge.merged`.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    runs = [Path(run_dir)] if isinstance(run_dir, (Path, str)) else list(run_dir)
    trained, origins = merged(runs, dataset, initial_share)
    _, config = origins[0]
    if votes is not None and config.votes_sha256 is not None:
        votes.check_rows_of(dataset)
        learnt_from = votes.where(dataset.is_in("Training"))
        if learnt_from.fingerprint() != config.votes_sha256:
            raise ModelError(f"{runs[0]} was trained with other FER+ votes than the ones given")
    public = dataset.split("PublicTest")
    temperatures = _fitted_temperatures(trained, dataset, votes)
    network = _Calibrated(trained, temperatures)
    outputs = _torch_logits(network, public)
    accuracies = [_accuracy(public, logits) for logits in outputs]
    steps = trained.steps if isinstance(trained, (RecurrentNetwork, LiangHuNetwork)) else ()
    about = {
        "network": short_name(config.options.network),
        "labels": list(EMOTIONS),
        "input": asdict(InputSpec()),
        "steps": list(steps),
        "parameters": count_parameters(network),
        "precision": precision,
        # (steps, emotions); `public_test_by_step` below has an accuracy for each step as well.
        "temperatures": temperatures[0],
        "ferplus_temperatures": temperatures[1] if len(temperatures) > 1 else [],
        "training": {
            **_origin(origins),
            "initial_share": initial_share,
            "public_test": {"n": len(public), "accuracy": accuracies[-1]},
            "public_test_by_step": accuracies,
        },
        "made_with": f"semblante {semblante.__version__}, torch {torch.__version__}",
    }

    def write_checked(beside: Path) -> None:
        model = onnx_model(network, [_step(t) for t in range(len(outputs))])
        if precision == "fp16":
            halve(model)
        if precision == "int8":
            model = _in_int8(model, dataset)
        steps, _, width = outputs.shape
        _add_outputs(model, steps, width)
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(about)})
        onnx.checker.check_model(model, full_check=True)
        beside.write_bytes(model.SerializeToString())
        _compare(beside, public, outputs, precision)

    write_atomically(Path(out), write_checked)
    return about


def _origin(origins: Sequence[tuple[int, RunConfig]]) -> dict[str, Any]:
    """The metadata about the runs whose weights are exported; `origins` is the second part of what
    `merged` returns."""
    _, config = origins[0]
    learnt = f"{Path(config.source.get('path', 'faces')).name}, Training split"
    if config.options.needs_votes:
        learnt += ", and FER+'s votes on it"
    return {
        "dataset": learnt,
        "dataset_sha256": config.dataset_sha256,
        "options": _without_folders(config.options),
        "weights_sha256": {Path(k).name: v for k, v in config.weights_sha256.items()},
        "own_sha256": {Path(k).name: v for k, v in config.own_sha256.items()},
        # The epoch that each run's weights are from, and the options in which it differs from
        # `options` above.
        "runs": [
            {"epoch": epoch, "seed": run.options.seed, **_changed(config.options, run.options)}
            for epoch, run in origins
        ],
    }


def _without_folders(options: TrainOptions) -> dict[str, Any]:
    """The options without the folders of this machine: an exported file may be given to anybody."""
    shown = asdict(options.with_places(lambda place: Path(place).name, short_name))
    return {**shown, "teachers": list(shown["teachers"])}  # JSON has no tuples


def _changed(ours: TrainOptions, theirs: TrainOptions) -> dict[str, Any]:
    """The options in which `theirs` differs from `ours`, with the values of `theirs`."""
    before = _without_folders(ours)
    return {k: v for k, v in _without_folders(theirs).items() if v != before[k]}


class _Calibrated(nn.Module):
    """A network with calibrated logits after each step of its last layer.

    Each step has temperatures of its own, so the probabilities are calibrated after any number of
    steps.
    """

    def __init__(
        self, network: nn.Module, temperatures: Sequence[Sequence[Sequence[float]]]
    ) -> None:
        """`temperatures`: (steps, 7) for the emotions and, if FER+ was learnt, (steps, 8) for
        FER+'s emotions."""
        super().__init__()
        self.network = network
        self.log_temperatures = [torch.tensor(by_step).log() for by_step in temperatures]

    def forward(self, faces: torch.Tensor) -> list[torch.Tensor]:
        logits_by_step = every_step(self.network, faces)
        return [self._calibrated(logits, t) for t, logits in enumerate(logits_by_step)]

    def _calibrated(self, logits: torch.Tensor, t: int) -> torch.Tensor:
        widths = [by_step.shape[1] for by_step in self.log_temperatures]
        heads = zip(torch.split(logits, widths, dim=1), self.log_temperatures, strict=True)
        return torch.cat([calibrated(head, by_step[t]) for head, by_step in heads], dim=1)


def _fitted_temperatures(
    network: nn.Module, dataset: Dataset, votes: FerPlus | None
) -> list[list[list[float]]]:
    """The temperatures that fit PublicTest best, in the form that `_Calibrated` expects."""
    public = dataset.split("PublicTest")
    logits_by_step = _torch_logits(lambda faces: every_step(network, faces), public)
    of_emotions = logits_by_step[:, :, :N_EMOTIONS]
    temperatures = [[fit_temperatures(public.labels, logits) for logits in of_emotions]]
    if logits_by_step.shape[2] > N_EMOTIONS:
        temperatures.append(
            _ferplus_temperatures(logits_by_step[:, :, N_EMOTIONS:], dataset, votes)
        )
    return temperatures


def _ferplus_temperatures(
    logits_by_step: npt.NDArray[np.float32], dataset: Dataset, votes: FerPlus | None
) -> list[list[float]]:
    """Temperatures (steps, 8) for FER+'s `logits_by_step` (steps, n, 8) of PublicTest, fitted on
    the faces for which FER+ has a majority."""
    if votes is None:
        raise OptionError("the network has learnt FER+'s votes: they are needed to calibrate it")
    votes.check_rows_of(dataset)
    labels = votes.where(dataset.is_in("PublicTest")).majority()
    clear = labels != NO_MAJORITY
    if not clear.any():
        raise DataError("not one face of PublicTest has a majority in FER+'s votes")
    return [fit_temperatures(labels[clear], logits[clear]) for logits in logits_by_step]


def _torch_logits(
    network: Callable[[torch.Tensor], list[torch.Tensor]], faces: Dataset
) -> npt.NDArray[np.float32]:
    """The network's logits for `faces`, (steps, n, outputs)."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(faces), _BATCH):
            inputs = torch.from_numpy(network_input(faces.images[start : start + _BATCH]))
            parts.append(torch.stack(network(inputs)).numpy())
    return np.concatenate(parts, axis=1)


def lost_limit(n: int, changed: int) -> float:
    """The number of lost answers from which on fp16 or int8 is refused, for n faces of which
    `changed` became right or wrong.

    `MOST_LOST` of n; for few faces, where chance alone may explain as many, 1 more than two
    standard deviations of the difference (McNemar's test), at most 10.
    """
    return max(MOST_LOST * n, min(2 * math.sqrt(changed), 9.0) + 1)


def _accuracy(faces: Dataset, logits: npt.NDArray[np.float32]) -> float:
    return accuracy(faces.labels, logits[:, :N_EMOTIONS].argmax(axis=1))


def _step(t: int) -> str:
    return f"step_{t}"


def onnx_model(
    network: nn.Module, outputs: Sequence[str], any_size: bool = False
) -> onnx.ModelProto:
    """The network as an ONNX model, whose outputs are called `outputs`.

    Its input is any number of faces, float32 (n, 1, 48, 48), or of pictures of `any_size`.
    """
    dynamic = torch.export.Dim.DYNAMIC
    shape = {0: dynamic, 2: dynamic, 3: dynamic} if any_size else {0: torch.export.Dim("n")}
    # Two faces: torch would take a batch of one for a fixed size.
    example = torch.zeros(2, 1, FACE_SIZE, FACE_SIZE)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about its own internals
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[FACES_INPUT],
            output_names=list(outputs),
            dynamic_shapes=(shape,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ModelError("torch exported nothing")
    model: onnx.ModelProto = program.model_proto
    # The exporter stores for each node the source line it came from: half a megabyte, with paths of
    # this machine.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    return model


def _add_outputs(model: onnx.ModelProto, steps: int, width: int) -> None:
    """Add, in place, the outputs `logits` and, if FER+ was learnt, `ferplus_logits`; for several
    `steps` also early exit.

    `width`: the number of logits after each step.
    """
    graph = model.graph
    logits = _step(0) if steps == 1 else "said"
    if steps > 1:
        add_early_exit(model, [_step(t) for t in range(steps)], logits, N_EMOTIONS)
    widths = {LOGITS: N_EMOTIONS}
    if width > N_EMOTIONS:
        widths[FERPLUS_LOGITS] = width - N_EMOTIONS
    sizes = numpy_helper.from_array(np.array(list(widths.values()), np.int64), "widths")
    graph.initializer.append(sizes)
    graph.node.append(onnx.helper.make_node("Split", [logits, sizes.name], list(widths), axis=1))
    others = [output for output in graph.output if output.name != logits]
    del graph.output[:]
    graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", columns])
        for name, columns in widths.items()
    )
    graph.output.extend(others)


def _in_int8(model: onnx.ModelProto, dataset: Dataset) -> onnx.ModelProto:
    """The model in int8, calibrated on some of Training's faces, the same ones in every call."""
    training = dataset.split("Training")
    rows = np.random.default_rng(2013).permutation(len(training))[:_QUANTISING_FACES]
    return quantised(model, network_input(training.images[rows]))


def _compare(path: Path, faces: Dataset, expected: npt.NDArray[np.float32], precision: str) -> None:
    """Raise `ModelError` if the file at `path` differs too much from `expected`, torch's logits
    (steps, n, outputs) for `faces`."""
    step_choices = range(len(expected)) if len(expected) > 1 else [None]
    # All steps in every precision: in each the file must be able to classify the faces.
    found = [Classifier(path, steps=steps).all_logits(faces.images) for steps in step_choices]
    if precision == "fp32":
        _compare_outputs(found, expected)
    _compare_accuracy(faces, found[-1], expected[-1], precision)  # of the answer with all steps


def _compare_outputs(
    found: Sequence[npt.NDArray[np.float32]], expected: npt.NDArray[np.float32]
) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        difference = float(np.abs(ours - theirs).max())
        if not difference <= TOLERANCE:  # also where it is NaN
            raise ModelError(
                f"not exported: an output of the ONNX file differs from torch's by "
                f"{difference:.2g}, more than {TOLERANCE:g}"
            )


def _compare_accuracy(
    faces: Dataset,
    ours: npt.NDArray[np.float32],
    theirs: npt.NDArray[np.float32],
    precision: str,
) -> None:
    """`ours`: the file's logits (n, outputs); `theirs`: torch's."""
    right, wanted = (
        logits[:, :N_EMOTIONS].argmax(axis=1) == faces.labels for logits in (ours, theirs)
    )
    lost, won = int((wanted & ~right).sum()), int((right & ~wanted).sum())
    exact = precision == "fp32"
    if (exact and lost != won) or lost - won >= lost_limit(len(faces), lost + won):
        raise ModelError(
            f"not exported: accuracy on {len(faces)} faces is {right.mean():.4f} in ONNX Runtime "
            f"and {wanted.mean():.4f} in torch"
            + ("; try --precision fp16" if precision == "int8" else "")
        )
