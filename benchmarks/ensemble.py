"""Trains an ensemble of different networks, and students that learn from it, in minutes on a GPU.

    python benchmarks/ensemble.py pack --data fer2013.csv --out PACK
    python benchmarks/ensemble.py train --pack PACK --work WORK --seconds 1600
    python benchmarks/ensemble.py measure --pack PACK --work WORK

`pack` writes what has to be copied to the GPU's machine: faces as PNG files, their labels and
FER+'s votes, 55 MB.

`train` has three stages; the networks of each are trained side by side (`graphs.py`). First, copies
of the shipped network are trained further, each without one of four folds of Training, and then
estimate that fold's labels, which they forget meanwhile (as with `semblante train --cross-fit`).
Second, teachers of different architectures are trained from scratch. Third, the teachers' outputs
are computed once for many views of each face, and students are trained from scratch on these views
and outputs: first on strongly augmented ("wide") views, then on slightly augmented ("near") ones.
Teachers and students train for as many epochs as fit into their share of the seconds. A stage whose
networks all exist is skipped; an interrupted stage begins anew.

`measure` writes accuracy and loss on a split to results/ensemble.json, or to
results/ensemble-SPLIT.json if the split is not PublicTest: of each network, of the teachers' mean
and of the students' mean. Each network is a run folder; `semblante export WORK/students/NAME` makes
a model of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from graphs import CUDA, DEVICE, STARTED, Rows, Trainee, rolled, seconds_per_epoch, side_by_side
from machine import describe
from torch import Tensor, nn
from torch.nn import functional as F

from semblante.cli.reading import Source
from semblante.data import SPLITS, Dataset, load_dataset
from semblante.data.ferplus import FerPlus, load_ferplus
from semblante.data.folds import fold_numbers
from semblante.emotions import N_EMOTIONS
from semblante.files import write_json
from semblante.preprocess import standardise
from semblante.train.batches import (
    Faces,
    augment,
    degrade,
    erase,
    jitter,
    occlude,
    random_affine,
    warp,
)
from semblante.train.checkpoint import save_tensors
from semblante.train.device import to_device
from semblante.train.initial import start_from
from semblante.train.measure import logits_of
from semblante.train.networks import build_network, count_multiply_adds, count_parameters
from semblante.train.objective import N_WITH_FERPLUS, distillation
from semblante.train.options import TrainOptions
from semblante.train.presets import options_from
from semblante.train.run_folder import RunConfig, begin_run, read_json
from semblante.train.targets import targets_of
from semblante.train.trained import load_best

RESULTS = Path(__file__).parent / "results"
TEACHERS: Final = ("resnet", "se-resnet", "rcnn-wide", "wide-resnet")
STUDENTS: Final = ("rcnn-medium", "rcnn-medium", "rcnn-medium", "rcnn-small-223")
FOLDS: Final = 4
FOLD_NETWORK: Final = "rcnn-medium"  # a shipped model, whose weights training starts from
_COLUMNS: Final = 64  # faces in a row of a packed picture
_TEMPERATURE: Final = 2.0  # of the teachers' probabilities of the emotions
_LARGE_BATCH: Final = 2048  # for inference, without gradients


# -- what is copied to the GPU's machine ---------------------------------------------------------


def pack(arguments: argparse.Namespace) -> None:
    dataset = load_dataset(arguments.data, cache=True)
    votes = load_ferplus(arguments.data.with_name("fer2013new.csv"))
    training = dataset.split("Training")
    of_training = votes.where(dataset.splits == SPLITS.index("Training"))
    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "votes.npy", of_training.votes.astype(np.uint8))
    np.save(folder / "folds.npy", fold_numbers(training, FOLDS, seed=0).astype(np.uint8))
    about = {
        "dataset_sha256": dataset.fingerprint(),
        "votes_sha256": of_training.fingerprint(),
        "source": Source(arguments.data).to_dict(),
    }
    write_json(folder / "about.json", about)
    for name in arguments.splits:
        _write_split(folder, name, dataset.split(name))


def _write_split(folder: Path, name: str, faces: Dataset) -> None:
    """Write faces as one picture, 64 in a row, and their labels."""
    rows = -(-len(faces) // _COLUMNS)
    sheet = np.zeros((rows * _COLUMNS, 48, 48), np.uint8)
    sheet[: len(faces)] = faces.images
    picture = sheet.reshape(rows, _COLUMNS, 48, 48).transpose(0, 2, 1, 3)
    cv2.imwrite(
        str(folder / f"{name}.png"),
        picture.reshape(rows * 48, _COLUMNS * 48),
        [cv2.IMWRITE_PNG_COMPRESSION, 9],
    )
    np.save(folder / f"{name}.npy", faces.labels.astype(np.uint8))


def packed(folder: Path, name: str) -> Faces:
    """A split that `pack` wrote, on the device."""
    labels = np.load(folder / f"{name}.npy").astype(np.int64)
    picture = cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SystemExit(f"{folder / name}.png cannot be read: pack it first")
    columns = np.asarray(picture, np.uint8).reshape(-1, 48, _COLUMNS, 48).transpose(0, 2, 1, 3)
    faces = columns.reshape(-1, 48, 48)
    splits = np.full(len(labels), SPLITS.index(name), np.uint8)
    return Faces(Dataset(faces[: len(labels)], labels, splits), DEVICE)


def packed_votes(folder: Path) -> FerPlus:
    """FER+'s votes for the faces of Training."""
    votes = np.load(folder / "votes.npy").astype(np.int64)
    return FerPlus(votes, np.ones(len(votes), bool), np.zeros(len(votes), np.uint8))


# -- the stages ---------------------------------------------------------------------------------


def train(arguments: argparse.Namespace) -> None:
    training, public = packed(arguments.pack, "Training"), packed(arguments.pack, "PublicTest")
    teachers = [arguments.work / "teachers" / name for name in arguments.teachers]
    students = [
        arguments.work / "students" / f"{name}-{arguments.students[: number + 1].count(name)}"
        for number, name in enumerate(arguments.students)
    ]
    if not all(is_done(folder) for folder in teachers):
        training.targets = likely_targets(arguments, training, public)
        train_teachers(arguments, teachers, training, public)
    if not all(is_done(folder) for folder in students):
        training.targets = likely_targets(arguments, training, public)
        train_students(arguments, students, teachers, training, public)


def likely_targets(arguments: argparse.Namespace, training: Faces, public: Faces) -> Tensor:
    """A target for each face of Training, (n, 15), see `targets_of`, computed from the estimates of
    networks that were not trained on it."""
    place = arguments.work / "estimates.npy"
    if not place.exists():
        arguments.work.mkdir(parents=True, exist_ok=True)
        np.save(place, fit_folds(arguments, training, public))
    options = teacher_options(arguments, "resnet", seed=0)
    votes, estimates = packed_votes(arguments.pack), torch.tensor(np.load(place))
    return targets_of(training, votes, options, estimates).to(DEVICE)


def fit_folds(
    arguments: argparse.Namespace, training: Faces, public: Faces
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Probabilities (n, 7) for each face by the network that was trained without its fold, the mean
    over the face and its mirror image."""
    folds = np.load(arguments.pack / "folds.npy")
    changes = {
        "network": FOLD_NETWORK,
        "batch_size": 256,
        "learning_rate": 0.02,
        "epochs": arguments.fold_epochs,
        "all_steps_weight": 0.0,
        "relabel_weight": arguments.relabel_weight,
    }
    recipe = options_from("cross-fit", changes)
    training.targets = targets_of(training, packed_votes(arguments.pack), recipe).to(DEVICE)
    learners = []
    for fold in range(FOLDS):
        options = replace(recipe, seed=fold)
        network = build_network(FOLD_NETWORK, N_WITH_FERPLUS).to(DEVICE)
        start_from(network, FOLD_NETWORK, training)
        n = int((folds != fold).sum())
        learners.append(Trainee(f"fold-{fold}", options, network, target_error(training), n))
    outside = {learner.name: np.flatnonzero(folds != k) for k, learner in enumerate(learners)}

    def rows_of(learner: Trainee, epoch: int) -> Rows:
        return learner.random.permutation(outside[learner.name])

    side_by_side(learners, rows_of, public, every=arguments.every)
    estimates = np.zeros((len(training), N_EMOTIONS), np.float32)
    for fold, learner in enumerate(learners):
        said = probabilities(learner.average, training).mean(dim=0).cpu().numpy()
        estimates[folds == fold] = said[folds == fold]
    right = (estimates.argmax(axis=1) == training.labels.cpu().numpy()).mean()
    print(f"right of the faces that they were to forget: {right:.4f}", flush=True)
    return estimates


def target_error(training: Faces) -> Callable[[Trainee, Tensor, Tensor], Tensor]:
    """A function that gives the error on augmented, mixed faces against `training.targets`."""

    def error_of(trainee: Trainee, rows: Tensor, share: Tensor) -> Tensor:
        faces = standardise(training.images[rows].float())
        faces = augment(faces, trainee.options, trainee.side)
        faces, targets = rolled(faces, share), rolled(training.targets[rows], share)

        def one(logits: Tensor) -> Tensor:
            emotions = F.cross_entropy(logits[:, :N_EMOTIONS], targets[:, :N_EMOTIONS])
            votes = F.cross_entropy(logits[:, N_EMOTIONS:], targets[:, N_EMOTIONS:])
            return emotions + trainee.options.ferplus_weight * votes

        return trainee.error(faces, one)

    return error_of


def teacher_options(arguments: argparse.Namespace, network: str, seed: int) -> TrainOptions:
    changes: dict[str, Any] = {
        "network": network,
        "seed": seed,
        "relabel_weight": arguments.relabel_weight,
        "estimates": "estimates.npy",
    }
    if network.startswith(("vgg", "course")):  # they take faces of 48 pixels only
        changes["small_until"] = 0.0
    return options_from("wide", changes)


def train_teachers(
    arguments: argparse.Namespace, folders: Sequence[Path], training: Faces, public: Faces
) -> None:
    left = arguments.teacher_share * (arguments.seconds - (time.monotonic() - STARTED))
    until = time.monotonic() + left
    trainees = []
    for number, folder in enumerate(folders):
        torch.manual_seed(arguments.seed + number)
        options = teacher_options(arguments, folder.name, arguments.seed + number)
        network = build_network(folder.name, N_WITH_FERPLUS)
        trainees.append(
            Trainee(folder.name, options, network, target_error(training), len(training))
        )
    # Training begins with small faces; an epoch of whole faces took 1.8 times as long.
    small_until = max(trainee.options.small_until for trainee in trainees)
    factor = 1.8 - 0.8 * small_until if small_until else 1.0
    fit_epochs(trainees, until, factor)

    def rows_of(trainee: Trainee, epoch: int) -> Rows:
        return trainee.random.permutation(len(training))

    side_by_side(trainees, rows_of, public, every=arguments.every)
    for folder, trainee in zip(folders, trainees, strict=True):
        save(arguments.pack, folder, trainee)


def fit_epochs(trainees: Sequence[Trainee], until: float, factor: float = 1.0) -> None:
    """Set the number of epochs so that training ends before `until`, if an epoch takes `factor`
    times as long as one takes now."""
    seconds = factor * seconds_per_epoch(trainees)
    epochs = max(1, int(0.95 * (until - time.monotonic()) / seconds))
    print(f"{seconds:.2f} s an epoch, side by side: {epochs} epochs", flush=True)
    for trainee in trainees:
        trainee.options = replace(trainee.options, epochs=epochs)


class Views:
    """Augmented views of all faces, their targets, and the teachers' mean outputs for them. Each
    tensor has views * n rows: first all faces in the first view, then all in the second, ..."""

    def __init__(
        self, faces: Faces, teachers: Sequence[nn.Module], recipes: Sequence[TrainOptions]
    ) -> None:
        self.n, n_views = len(faces), len(recipes)
        self.faces = torch.zeros(n_views * self.n, 1, 48, 48, dtype=torch.float16, device=DEVICE)
        self.targets = torch.zeros(
            n_views * self.n, N_WITH_FERPLUS, dtype=torch.float16, device=DEVICE
        )
        self.taught = torch.zeros_like(self.targets)
        random = np.random.default_rng(0)
        for view, options in enumerate(recipes):
            order = torch.randperm(self.n, device=DEVICE)
            for first in range(0, self.n, _LARGE_BATCH):
                rows = order[first : first + _LARGE_BATCH]
                inputs = standardise(faces.images[rows].float())
                inputs = warp(inputs, random_affine(len(rows), options, DEVICE))
                shares = random.beta(options.mixup_alpha, options.mixup_alpha, len(rows))
                shares[random.random(len(rows)) >= options.mixup_probability] = 1
                share = torch.tensor(shares.astype(np.float32), device=DEVICE)[:, None]
                inputs = rolled(inputs, share[:, :, None, None])
                places = view * self.n + rows
                self.faces[places] = inputs.half()
                self.targets[places] = rolled(faces.targets[rows], share).half()
                self.taught[places] = said_by(teachers, inputs).half()


@torch.no_grad()
def said_by(teachers: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """The mean of the teachers' probabilities, (n, 15): of the emotions, at a raised temperature,
    and of FER+'s classes."""
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    both = []
    for teacher in teachers:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=CUDA):
            logits = teacher(inputs).float()
        emotions, votes = logits[:, :N_EMOTIONS] / _TEMPERATURE, logits[:, N_EMOTIONS:]
        both.append(torch.cat([emotions.softmax(dim=1), votes.softmax(dim=1)], dim=1))
    return torch.stack(both).mean(dim=0)


def student_options(
    arguments: argparse.Namespace, network: str, seed: int, teachers: Sequence[str]
) -> TrainOptions:
    changes = {
        "network": network,
        "seed": seed,
        "batch_size": 256,
        "learning_rate": 0.03,
        "warmup_epochs": 1.0,
        "relabel_weight": arguments.relabel_weight,
        "estimates": "estimates.npy",
        "teachers": teachers,
        "distill_weight": 0.8,
        "temperature": _TEMPERATURE,
        "cover_probability": 0.2,
    }
    return options_from("finish", changes)


def train_students(
    arguments: argparse.Namespace,
    folders: Sequence[Path],
    teacher_folders: Sequence[Path],
    training: Faces,
    public: Faces,
) -> None:
    until = STARTED + arguments.seconds
    teachers = [to_device(load(folder), DEVICE, bf16=CUDA) for folder in teacher_folders]
    torch.manual_seed(arguments.seed)
    n_wide, n_near = arguments.views
    wide = options_from(
        "standard",
        {"rotation": 10.0, "scale": 0.15, "shift": 0.1, "mixup_probability": 0.4},
    )
    views = Views(training, teachers, [wide] * n_wide + [options_from("finish", {})] * n_near)
    print(f"views: {time.monotonic() - STARTED:.0f} s", flush=True)
    del teachers

    def error_of(trainee: Trainee, rows: Tensor, share: Tensor) -> Tensor:
        options = trainee.options
        faces = jitter(degrade(views.faces[rows].float(), options.degrade_probability), options)
        faces = occlude(erase(faces, options.erase_probability), options.cover_probability)
        taught, targets = views.taught[rows].float(), views.targets[rows].float()
        votes = (targets[:, N_EMOTIONS:] + taught[:, N_EMOTIONS:]) / 2

        def one(logits: Tensor) -> Tensor:
            emotions = logits[:, :N_EMOTIONS]
            plain = F.cross_entropy(emotions, targets[:, :N_EMOTIONS])
            soft = distillation(emotions, taught[:, :N_EMOTIONS], options.temperature)
            error = (1 - options.distill_weight) * plain + options.distill_weight * soft
            return error + options.ferplus_weight * F.cross_entropy(logits[:, N_EMOTIONS:], votes)

        return trainee.error(faces, one)

    trainees = []
    for number, folder in enumerate(folders):
        names = [teacher.name for teacher in teacher_folders]
        seed = arguments.seed + number
        options = student_options(arguments, arguments.students[number], seed, names)
        torch.manual_seed(options.seed)
        network = build_network(options.network, N_WITH_FERPLUS)
        trainees.append(Trainee(folder.name, options, network, error_of, views.n))
    fit_epochs(trainees, until)

    def rows_of(trainee: Trainee, epoch: int) -> Rows:
        """Every face once, each in a random view; the last epochs use slightly augmented ones."""
        last = epoch >= (1 - arguments.near_share) * trainee.options.epochs
        first, end = (n_wide, n_wide + n_near) if last else (0, n_wide)
        chosen = trainee.random.integers(first, end, views.n)
        return trainee.random.permutation(chosen * views.n + np.arange(views.n))

    side_by_side(trainees, rows_of, public, every=arguments.every)
    for folder, trainee in zip(folders, trainees, strict=True):
        save(arguments.pack, folder, trainee)


# -- what is kept, and how good it is -----------------------------------------------------------


def is_done(folder: Path) -> bool:
    return (folder / "best.safetensors").exists()


def save(pack_folder: Path, folder: Path, trainee: Trainee) -> None:
    """Write a run folder with the averaged weights after the last epoch, in fp16."""
    about = read_json(pack_folder / "about.json")
    config = RunConfig(trainee.options, **about, bf16=CUDA)
    begin_run(folder, config, trainee.network, DEVICE)
    write_json(folder / "log.json", {"history": trainee.history})
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in trainee.average.state_dict().items()
    }
    network = {"network": trainee.options.network, "outputs": N_WITH_FERPLUS}
    save_tensors(folder / "best.safetensors", weights, {**network, **trainee.history[-1]})


def load(folder: Path) -> nn.Module:
    return load_best(folder)[0].to(DEVICE).requires_grad_(False)


def probabilities(network: nn.Module, faces: Faces) -> Tensor:
    """Probabilities (2, n, 7): of the faces as they are, and of their mirror images."""
    views = [logits_of(network, view, bf16=CUDA) for view in (faces, faces.mirrored())]
    return torch.stack(views)[:, :, :N_EMOTIONS].softmax(dim=2)


def measure(arguments: argparse.Namespace) -> None:
    faces = packed(arguments.pack, arguments.split)
    found: dict[str, Any] = {
        "machine": describe("torch", "numpy"),
        "gpu": torch.cuda.get_device_name() if CUDA else None,
        "split": arguments.split,
        "n": len(faces),
    }
    for kind in ("teachers", "students"):
        found[kind], said = {}, []
        for folder in sorted(filter(is_done, (arguments.work / kind).glob("*/"))):
            network = load(folder)
            said.append(probabilities(network, faces))
            name = read_json(folder / "config.json")["options"]["network"]
            looks = [
                record
                for record in read_json(folder / "log.json")["history"]
                if "public_accuracy" in record
            ]
            found[kind][folder.name] = {
                **accuracies(said[-1], faces.labels),
                "network": name,
                "parameters": count_parameters(network),
                "multiply_adds": count_multiply_adds(build_network(name)),
                "seconds_to_70": next(
                    (look["seconds"] for look in looks if look["public_accuracy"] >= 0.7), None
                ),
                "history": looks,
            }
        if not said:
            continue
        found[f"{kind}_together"] = accuracies(torch.stack(said).mean(dim=0), faces.labels)
        for name, values in [*found[kind].items(), (kind, found[f"{kind}_together"])]:
            print(f"{arguments.split} {name}: {values['one_view']}, {values['mirrored_too']}")
    suffix = "" if arguments.split == "PublicTest" else f"-{arguments.split}"
    write_json(arguments.out / f"ensemble{suffix}.json", found)


def accuracies(views: Tensor, labels: Tensor) -> dict[str, dict[str, float]]:
    """The accuracy (0..1) and the loss of probabilities (2, n, 7), for the first view alone and for
    the mean of both."""
    return {
        name: {
            "right": round(float((said.argmax(dim=1) == labels).float().mean()), 4),
            "loss": round(float(F.nll_loss(said.clamp(min=1e-6).log(), labels)), 4),
        }
        for name, said in (("one_view", views[0]), ("mirrored_too", views.mean(dim=0)))
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("--data", type=Path, required=True, help="fer2013new.csv lies beside it")
    packing.add_argument("--splits", nargs="+", default=["Training", "PublicTest"], choices=SPLITS)
    packing.add_argument("--out", type=Path, required=True)
    training = commands.add_parser("train")
    training.add_argument("--seconds", type=float, required=True, help="seconds for all stages")
    training.add_argument("--teachers", nargs="+", default=TEACHERS, help="names of networks")
    training.add_argument("--students", nargs="+", default=STUDENTS, help="names of networks")
    training.add_argument(
        "--teacher-share",
        type=float,
        default=0.3,
        help="share of the seconds left after the first stage",
    )
    training.add_argument("--fold-epochs", type=int, default=12)
    training.add_argument("--relabel-weight", type=float, default=0.3)
    training.add_argument(
        "--views",
        type=int,
        nargs=2,
        default=(24, 12),
        help="numbers of wide and near views per face",
    )
    training.add_argument(
        "--near-share", type=float, default=0.35, help="share of a student's epochs on near views"
    )
    training.add_argument(
        "--every", type=int, default=8, help="epochs between measurements on PublicTest"
    )
    training.add_argument("--seed", type=int, default=1)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--split", choices=SPLITS, default="PublicTest",
                           help="PrivateTest only once all has been chosen")  # fmt: skip
    measuring.add_argument("--out", type=Path, default=RESULTS)
    for command in (training, measuring):
        command.add_argument("--pack", type=Path, required=True)
        command.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    {"pack": pack, "train": train, "measure": measure}[arguments.command](arguments)


if __name__ == "__main__":
    main()
