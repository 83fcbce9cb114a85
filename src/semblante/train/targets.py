"""The target of each face of Training: its label, or the labels that are likely given FER+'s votes.

FER2013's labels are noisy: for 35 % of Training's faces, more than half of the ten people who
labelled them again (FER+) chose emotions other than the label. In training more is known of a face
than at recognition: the ten votes. Targets computed from them have less noise than the labels, and
learning from them is like learning from more data (privileged information: Lopez-Paz et al., ICLR
2016; why less variance helps: Menon et al., ICML 2021, section 3). The mean of the likely labels
over all faces is that of the labels, since the regression's bias is not penalised. For a single
face they may be off, since the votes do not contain everything that the picture shows: less
variance at the price of some bias.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from semblante.data import Dataset
from semblante.data.ferplus import FerPlus
from semblante.emotions import N_EMOTIONS
from semblante.errors import DataError
from semblante.train.batches import Faces
from semblante.train.checkpoint import load_tensors, save_tensors
from semblante.train.device import to_device
from semblante.train.distributed import Processes
from semblante.train.initial import start_from
from semblante.train.measure import probabilities_of
from semblante.train.networks import build_network
from semblante.train.objective import smoothed
from semblante.train.options import TrainOptions
from semblante.train.reporter import Reporter
from semblante.train.run_folder import ESTIMATES, TARGETS

_PENALTY: Final = 1e-4  # on the squared weights; there are some 250 of them for 28,709 faces
_FLOOR: Final = 1e-4  # added to an estimate before its logarithm


def likely_labels(labels: Tensor, votes: Tensor, estimates: Tensor | None = None) -> Tensor:
    """P(label | votes, estimates) for each face, (n, 7), by multinomial logistic regression.

    `labels`: those of Training, (n,), to which the regression is fitted; `votes`: FER+'s counts,
    (n, 10); `estimates`: a network's probabilities (n, 7), if there are any.
    """
    shares = votes.float() / votes.sum(dim=1, keepdim=True).clamp(min=1)
    known = [shares, shares.sqrt(), (votes > 0).float()]
    if estimates is not None:
        known.append((estimates + _FLOOR).log())
    features = torch.cat(known, dim=1)
    weights = torch.zeros(features.shape[1], N_EMOTIONS, requires_grad=True)
    bias = torch.zeros(N_EMOTIONS, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def error() -> Tensor:
        optimiser.zero_grad()
        loss = (
            F.cross_entropy(features @ weights + bias, labels) + _PENALTY * weights.square().sum()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(error)  # type: ignore[no-untyped-call]
    return torch.softmax(features @ weights + bias, dim=1).detach()


def targets_of(
    faces: Faces, votes: FerPlus | None, options: TrainOptions, estimates: Tensor | None = None
) -> Tensor:
    """A target (see `objective.py`) for each of Training's `faces`, (n, 7), or (n, 15) if FER+'s
    votes are learnt too.

    `votes`: of the same faces, needed if the recipe uses them; `estimates`: as in `likely_labels`.
    """
    labels = faces.labels.cpu()
    targets = smoothed(labels, options.label_smoothing)
    if not options.needs_votes:
        return targets
    assert votes is not None
    if options.relabel_weight > 0:
        likely = likely_labels(labels, torch.from_numpy(votes.votes), estimates)
        targets = (1 - options.relabel_weight) * targets + options.relabel_weight * likely
    if options.ferplus_weight > 0:
        targets = torch.cat([targets, torch.from_numpy(votes.distributions()).float()], dim=1)
    return targets


def _initial_estimates(faces: Faces, options: TrainOptions, bf16: bool) -> Tensor:
    """The initial weights' probabilities (n, 7), the mean over a face and its mirror image."""
    network = to_device(build_network(options.network), faces.images.device, bf16)
    start_from(network, options.initial, faces)
    return probabilities_of(network, faces, bf16, mirrored=True).cpu()


def load_or_compute_targets(
    run_dir: Path,
    faces: Faces,
    votes: FerPlus | None,
    options: TrainOptions,
    processes: Processes,
    bf16: bool,
    reporter: Reporter,
    *,
    estimates: Tensor | None = None,
    resume: bool,
) -> Tensor:
    """The targets by `targets_of`. If the initial network's probabilities are a feature of the
    regression, which takes long, the targets are saved in the run folder, and with `resume` loaded
    from there."""
    if estimates is not None or not (options.relabel_weight and options.initial):
        return targets_of(faces, votes, options, estimates)
    path = run_dir / TARGETS
    if resume and path.exists():
        return load_tensors(path)[0]["targets"]
    reporter.estimating()
    targets = targets_of(faces, votes, options, _initial_estimates(faces, options, bf16))
    processes.barrier()  # or a slower process would find the file and not compute
    if processes.first:
        save_tensors(path, {"targets": targets}, {})
    return targets


def write_estimates(folder: Path, training: Dataset, estimates: npt.NDArray[np.float32]) -> None:
    """Save the probabilities (n, 7) of the faces of `training` in a folder."""
    tensors = {"estimates": torch.from_numpy(estimates)}
    save_tensors(folder / ESTIMATES, tensors, {"dataset_sha256": training.fingerprint()})


def read_estimates(folder: Path, training: Dataset) -> Tensor:
    """The probabilities that `write_estimates` saved; raises `DataError` if they are of other faces
    than `training`, `ModelError` if the file is missing or damaged."""
    tensors, about = load_tensors(folder / ESTIMATES)
    if about.get("dataset_sha256") != training.fingerprint():
        raise DataError(
            f"{folder}: expected estimates of these {len(training):,} faces of Training, found "
            "those of others"
        )
    return tensors["estimates"]
