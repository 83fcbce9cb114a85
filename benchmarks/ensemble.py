"""An ensemble of teachers of different make, and students that learn from it, on a GPU lent for
minutes.

    python benchmarks/ensemble.py pack --data fer2013.csv --out PACK
    python benchmarks/ensemble.py folds --pack PACK --work WORK
    python benchmarks/ensemble.py pack --data fer2013.csv --estimates WORK --out PACK
    python benchmarks/ensemble.py teachers --pack PACK --work WORK --seconds 550
    python benchmarks/ensemble.py students --pack PACK --work WORK --seconds 550

`pack` writes what has to travel to the GPU: faces as pictures, and what each is to be called, with
FER+'s votes and the estimates of `semblante train --cross-fit`. `teachers` trains networks of
different make from scratch, side by side, for as many epochs as fit into `--seconds`. `students`
first asks the teachers about many views of each face, once for all students, and then trains these,
side by side, on the views and on what the teachers say of them.

A step of training is some thousand small operations; on a GPU the CPU would need longer to ask for
them than the GPU to do them. So each network's step is recorded once and replayed (CUDA graphs), and
everything random about an epoch that the CPU decides is written to the GPU before it. Without a GPU
the same steps run as they are: slow, but enough to try this program.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from semblante.preprocess import standardise
from semblante.train.batches import Faces, augment, cover, degrade, erase, jitter, random_affine, warp
from semblante.train.initial import network_of, start_from
from semblante.train.measure import logits_of
from semblante.train.muon import Muon
from semblante.train.networks import build_network, count_multiply_adds, count_parameters
from semblante.train.objective import N_EMOTIONS, N_WITH_FERPLUS, distillation
from semblante.train.options import TrainOptions, options_from
from semblante.train.processor import placed
from semblante.train.recurrent import every_step
from semblante.train.state import learning_rate

TEACHERS: Final = (
    "vgg", "vgg-wide", "resnet", "se-resnet", "rcnn-160", "rcnn-wide", "densenet",
)  # fmt: skip
FOLDS: Final = 4
_COLUMNS: Final = 64  # of faces in a packed picture
_TEMPERATURE: Final = 2.0  # of what the teachers say of an emotion
_WARM_UP: Final = 3  # steps before one is recorded
DEVICE: Final = torch.device("cuda" if torch.cuda.is_available() else "cpu")
_CUDA: Final = DEVICE.type == "cuda"


# -- what travels -------------------------------------------------------------------------------


def pack(arguments: argparse.Namespace) -> None:
    """Faces as PNG, 64 in a row, labels and targets: some 55 MB."""
    from semblante.data import SPLITS, load_dataset
    from semblante.data.ferplus import load_ferplus
    from semblante.train.crossval import fold_numbers
    from semblante.train.targets import targets_of

    dataset = load_dataset(arguments.data, cache=True)
    votes = load_ferplus(arguments.data.with_name("fer2013new.csv"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    training = dataset.split("Training")
    options = options_from(
        "standard", {"relabel_weight": arguments.relabel_weight, "ferplus_weight": 0.5}
    )
    estimates = None
    if arguments.estimates:
        with np.load(arguments.estimates / "folds.npz") as found:
            estimates = torch.cat(
                [torch.tensor(found[k].astype(np.float32)) for k in found if k.endswith("-training")],
                dim=1,
            )
    targets = targets_of(
        Faces(training, torch.device("cpu")),
        votes.where(dataset.splits == SPLITS.index("Training")),
        options,
        estimates,
    )
    np.save(arguments.out / "targets.npy", targets.numpy().astype(np.float16))
    if not (arguments.out / "folds.npy").exists():
        np.save(arguments.out / "folds.npy", fold_numbers(training, FOLDS, seed=0))
    for name in arguments.splits:
        if (arguments.out / f"{name}.npy").exists():
            continue
        split = dataset.split(name)
        rows = -(-len(split) // _COLUMNS)
        sheet = np.zeros((rows * _COLUMNS, 48, 48), np.uint8)
        sheet[: len(split)] = split.images
        picture = sheet.reshape(rows, _COLUMNS, 48, 48).transpose(0, 2, 1, 3)
        cv2.imwrite(
            str(arguments.out / f"{name}.png"),
            picture.reshape(rows * 48, _COLUMNS * 48),
            [cv2.IMWRITE_PNG_COMPRESSION, 9],
        )
        np.save(arguments.out / f"{name}.npy", split.labels)


class Packed(Faces):
    """A split as `pack` wrote it, on the device."""

    def __init__(self, folder: Path, name: str) -> None:
        self.labels = torch.tensor(np.load(folder / f"{name}.npy"), device=DEVICE)
        picture = cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert picture is not None, f"{folder / name}.png cannot be read"
        faces = picture.reshape(-1, 48, _COLUMNS, 48).transpose(0, 2, 1, 3).reshape(-1, 1, 48, 48)
        self.images = torch.tensor(faces[: len(self.labels)], device=DEVICE)
        self.targets = self.labels
        if name == "Training":
            targets = np.load(folder / "targets.npy").astype(np.float32)
            self.targets = torch.tensor(targets, device=DEVICE)


# -- training side by side ----------------------------------------------------------------------


class Trainee:
    """A network in training, whose step is recorded once and replayed.

    `loss_of(outputs, rows, alone)` computes the error on a batch: rows (batch,) say of what, and
    `share` (1,) how much of each face is its own, where two are mixed.
    """

    def __init__(
        self, name: str, options: TrainOptions, network: nn.Module,
        loss_of: Callable[[Trainee, Tensor, Tensor], Tensor], n: int,
    ) -> None:  # fmt: skip
        self.name, self.options, self.loss_of = name, options, loss_of
        self.network = placed(network, DEVICE, bf16=_CUDA)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.steps = n // options.batch_size
        self.random = np.random.default_rng(options.seed)
        self.alpha = torch.zeros((), device=DEVICE)
        parameters = list(self.network.parameters())
        self.optimiser = Muon(
            [
                {"params": [p for p in parameters if p.ndim > 1],
                 "weight_decay": options.weight_decay},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=0.0, momentum=options.momentum, bf16=_CUDA,
        )  # fmt: skip
        for group in self.optimiser.param_groups:
            group["lr"] = self.alpha
        # What the CPU decides for an epoch; `step` reads the row that `counter` says.
        self.rows = torch.zeros(self.steps, options.batch_size, dtype=torch.int64, device=DEVICE)
        self.alphas = torch.zeros(self.steps, device=DEVICE)
        self.shares = torch.ones(self.steps, device=DEVICE)
        self.counter = torch.zeros(1, dtype=torch.int64, device=DEVICE)
        self.losses = torch.zeros((), device=DEVICE)
        self.step: Callable[[], None] = self._step
        self.stream = torch.cuda.Stream() if _CUDA else None
        self.history: list[dict[str, float]] = []
        self.side = self._side(0)
        if _CUDA:
            self._record()

    def outputs(self, faces: Tensor) -> list[Tensor]:
        """Logits after each step that counts, the last one last, in bfloat16 on a GPU."""
        faces = faces.contiguous(memory_format=torch.channels_last)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=_CUDA, cache_enabled=False):
            if self.options.all_steps_weight > 0:
                return every_step(self.network, faces)
            return [self.network(faces)]

    def _step(self) -> None:
        rows = self.rows.index_select(0, self.counter)[0]
        share = self.shares.index_select(0, self.counter)
        self.alpha.copy_(self.alphas.index_select(0, self.counter)[0])
        loss = self.loss_of(self, rows, share)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(
            self.network.parameters(), self.options.clip_norm, error_if_nonfinite=False
        )
        self.optimiser.step()
        with torch.no_grad():
            averages = [*self.average.parameters(), *self.average.buffers()]
            latest = [*self.network.parameters(), *self.network.buffers()]
            pairs = [(a, b) for a, b in zip(averages, latest, strict=True) if a.is_floating_point()]
            torch._foreach_lerp_(
                [a for a, _ in pairs], [b for _, b in pairs], 1 - self.options.ema_decay
            )
            self.losses += loss.detach()
            self.counter += 1

    def _side(self, epoch: int) -> int:
        """Of the faces in an epoch, counted from 0, in pixels."""
        small = epoch < self.options.small_until * self.options.epochs
        return self.options.small_side if small else 48

    def _record(self) -> None:
        """Some steps as they are, with an alpha of 0; then the next one as a graph."""
        self.network.train()
        self.alphas.zero_()
        self.counter.zero_()
        with torch.cuda.stream(self.stream):
            for _ in range(_WARM_UP):
                self._step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._step()
        self.graph = graph
        self.step = graph.replay

    def begin(self, epoch: int, rows: np.ndarray[Any, Any]) -> None:
        """Decide all about an epoch, counted from 0, on these rows in this order."""
        options, steps = self.options, self.steps
        if self.side != self._side(epoch):
            self.side = self._side(epoch)
            if _CUDA:
                self._record()
        self.network.train()
        self.rows.copy_(torch.from_numpy(rows[: steps * options.batch_size].reshape(steps, -1)))
        alphas = [
            learning_rate(
                epoch * steps + i, warmup=round(options.warmup_epochs * steps),
                total=options.epochs * steps, peak=options.learning_rate,
            )
            for i in range(steps)
        ]  # fmt: skip
        self.alphas.copy_(torch.tensor(alphas))
        shares = self.random.beta(options.mixup_alpha, options.mixup_alpha, steps)
        shares[self.random.random(steps) >= options.mixup_probability] = 1
        if epoch >= options.mixup_until * options.epochs:
            shares[:] = 1
        self.shares.copy_(torch.from_numpy(shares.astype(np.float32)))
        self.counter.zero_()
        self.losses.zero_()

    def end(self, epoch: int, public: Faces | None) -> None:
        """After an epoch's steps. The average forgets the first ones, in which weights ran."""
        if epoch < 2:
            self.average.load_state_dict(self.network.state_dict())
        record = {"epoch": epoch + 1, "loss": self.losses.item() / self.steps}
        if public is not None:
            logits = logits_of(self.average, public, bf16=_CUDA)[:, :N_EMOTIONS]
            right = (logits.argmax(dim=1) == public.labels).float().mean()
            record["public_accuracy"] = float(right)
            record["public_loss"] = float(F.cross_entropy(logits, public.labels))
        self.history.append(record)


def side_by_side(
    trainees: Sequence[Trainee], rows_of: Callable[[Trainee, int], np.ndarray[Any, Any]],
    public: Faces, *, every: int, until: float,
) -> None:  # fmt: skip
    """All epochs of all, each epoch of one beside those of the others."""
    for epoch in range(max(trainee.options.epochs for trainee in trainees)):
        under_way = [t for t in trainees if epoch < t.options.epochs]
        for trainee in under_way:
            trainee.begin(epoch, rows_of(trainee, epoch))
        _synchronise()
        for step in range(max(trainee.steps for trainee in under_way)):
            for trainee in under_way:
                if step < trainee.steps:
                    _replay(trainee)
        _synchronise()
        for trainee in under_way:
            left = trainee.options.epochs - epoch - 1
            look = left % every == 0
            trainee.end(epoch, public if look else None)
            if look:
                record = {k: round(v, 4) for k, v in trainee.history[-1].items()}
                print(f"{time.monotonic() - _STARTED:6.1f} s {trainee.name}: {record}", flush=True)
        if time.monotonic() > until:
            print("out of time", flush=True)
            return


def _replay(trainee: Trainee) -> None:
    if trainee.stream is None:
        trainee.step()
    else:
        with torch.cuda.stream(trainee.stream):
            trainee.step()


def _synchronise() -> None:
    if _CUDA:
        torch.cuda.synchronize()


def seconds_per_epoch(trainees: Sequence[Trainee], n_steps: int = 12) -> float:
    """Of a step of each, side by side, with an alpha of 0; as many as an epoch has."""
    for trainee in trainees:
        trainee.alphas.zero_()
        trainee.counter.zero_()
        trainee.network.train()
    for part in (2, n_steps):
        _synchronise()
        started = time.monotonic()
        for _ in range(part):
            for trainee in trainees:
                _replay(trainee)
                trainee.counter.zero_()
        _synchronise()
    return (time.monotonic() - started) / n_steps * max(t.steps for t in trainees)


def rolled(values: Tensor, share: Tensor) -> Tensor:
    """Each mixed with its neighbour in the batch, whose order is random."""
    return share * values + (1 - share) * values.roll(1, dims=0)


def error(
    options: TrainOptions, outputs: Sequence[Tensor], one: Callable[[Tensor], Tensor]
) -> Tensor:
    """Of the last step, and of those before it on average."""
    *earlier, last = [one(logits.float()) for logits in outputs]
    if not earlier:
        return last
    return last + options.all_steps_weight * torch.stack(earlier).mean()


# -- what networks say of faces that they did not learn from ------------------------------------


def fit_folds(arguments: argparse.Namespace) -> None:
    """Of each network of `arguments.networks` one without each fold; the mean of what they say."""
    training, public = Packed(arguments.pack, "Training"), Packed(arguments.pack, "PublicTest")
    folds = np.load(arguments.pack / "folds.npy")
    trainees = []
    for name in arguments.networks:
        for fold in range(FOLDS):
            torch.manual_seed(arguments.seed + fold)
            network = build_network(name, N_WITH_FERPLUS).to(DEVICE)
            options = teacher_options(name, arguments.seed + fold)
            options = replace(options, epochs=arguments.epochs or 25, mixup_probability=0.25)
            if name == "rcnn-medium":  # which the shipped weights are of
                begin_with(network, name, arguments.work, training)
                options = options_from("cross-fit", {
                    "network": name, "seed": fold, "batch_size": 256, "learning_rate": 0.02,
                    "epochs": 12, "all_steps_weight": 0.0,
                })  # fmt: skip
            n = int((folds != fold).sum())
            trainees.append(
                Trainee(f"{name}-{fold}", options, network, likely_error(training), n)
            )
        print(f"{time.monotonic() - _STARTED:6.1f} s {name}: "
              f"{seconds_per_epoch(trainees[-1:]):.2f} s an epoch", flush=True)  # fmt: skip
    outside = {t.name: np.flatnonzero(folds != int(t.name[-1])) for t in trainees}

    def rows_of(trainee: Trainee, epoch: int) -> np.ndarray[Any, Any]:
        return trainee.random.permutation(outside[trainee.name])

    side_by_side(trainees, rows_of, public, every=arguments.every, until=_STARTED + 1e6)
    said_of: dict[str, np.ndarray[Any, Any]] = {}
    for trainee in trainees:
        name, fold = trainee.name[:-2], int(trainee.name[-1])
        for kind, faces in (("training", training), ("public", public)):
            views = [logits_of(trainee.average, v, _CUDA) for v in (faces, faces.mirrored())]
            p = torch.stack(views)[..., :N_EMOTIONS].softmax(2).mean(0).cpu().numpy()
            if kind == "training":
                mine = said_of.setdefault(f"{name}-training", np.zeros_like(p))
                mine[folds == fold] = p[folds == fold]
            else:
                said_of[f"{name}-public"] = said_of.get(f"{name}-public", 0) + p / FOLDS
    for kind, faces in (("training", training), ("public", public)):
        labels = faces.labels.cpu().numpy()
        for name in arguments.networks:
            right = (said_of[f"{name}-{kind}"].argmax(1) == labels).mean()
            print(f"{name}: right on {kind} {right:.4f}", flush=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    np.savez(
        arguments.work / "folds.npz", **{k: v.astype(np.float16) for k, v in said_of.items()}
    )


# -- teachers -----------------------------------------------------------------------------------


def likely_error(training: Faces) -> Callable[[Trainee, Tensor, Tensor], Tensor]:
    """On augmented, mixed faces, against the targets, with FER+'s votes."""

    def loss_of(trainee: Trainee, rows: Tensor, share: Tensor) -> Tensor:
        faces = standardise(training.images[rows].float())
        faces = augment(faces, trainee.options, trainee.side)
        faces, targets = rolled(faces, share), rolled(training.targets[rows], share)

        def one(logits: Tensor) -> Tensor:
            votes = F.cross_entropy(logits[:, N_EMOTIONS:], targets[:, N_EMOTIONS:])
            emotions = F.cross_entropy(logits[:, :N_EMOTIONS], targets[:, :N_EMOTIONS])
            return emotions + trainee.options.ferplus_weight * votes

        return error(trainee.options, trainee.outputs(faces), one)

    return loss_of


def teacher_options(network: str, seed: int) -> TrainOptions:
    changes = {
        "network": network,
        "seed": seed,
        "optimiser": "muon",
        "learning_rate": 0.03,
        "batch_size": 256,
        "warmup_epochs": 0.5,
        "mixup_probability": 0.5,
        "relabel_weight": 0.7,
        "ferplus_weight": 0.5,
        "ema_decay": 0.998,
    }
    if not network.startswith(("vgg", "course")):  # which take faces of one size only
        changes |= {"small_until": 0.45}
    return options_from("standard", changes)


def train_teachers(arguments: argparse.Namespace) -> None:
    seconds = arguments.teacher_seconds if arguments.command == "both" else arguments.seconds
    until = _STARTED + seconds
    training, public = Packed(arguments.pack, "Training"), Packed(arguments.pack, "PublicTest")
    trainees = []
    for number, name in enumerate(arguments.networks):
        torch.manual_seed(arguments.seed + number)
        options = replace(
            teacher_options(name, arguments.seed + number), **arguments.changes
        )
        network = build_network(name, N_WITH_FERPLUS)
        trainees.append(Trainee(name, options, network, likely_error(training), len(training)))
        print(
            f"{time.monotonic() - _STARTED:6.1f} s {name}: {count_parameters(network):,} "
            f"parameters, {seconds_per_epoch(trainees[-1:]):.2f} s an epoch alone",
            flush=True,
        )
    # What an epoch of small faces costs, with which most begin, is known now.
    small = seconds_per_epoch(trainees)
    whole = 1.8 * small  # measured; the number of pixels would say 2.25
    share = max(trainee.options.small_until for trainee in trainees)
    together = share * small + (1 - share) * whole if share else small
    left = until - time.monotonic()
    epochs = arguments.epochs or max(4, int(0.95 * left / together))
    print(f"{small:.2f} to {whole:.2f} s an epoch: {epochs} epochs", flush=True)
    for trainee in trainees:
        trainee.options = replace(trainee.options, epochs=epochs)

    def rows_of(trainee: Trainee, epoch: int) -> np.ndarray[Any, Any]:
        return trainee.random.permutation(len(training))

    side_by_side(trainees, rows_of, public, every=arguments.every, until=until + 15)
    for trainee in trainees:
        save(arguments.work / "teachers" / trainee.name, trainee)
    measure(arguments.work, "teachers", arguments.pack, "PublicTest")


def save(folder: Path, trainee: Trainee) -> None:
    """The averaged weights, and how they came to be."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in trainee.average.state_dict().items()
    }
    save_file(weights, folder / "average.safetensors")
    about = {"options": asdict(trainee.options), "history": trainee.history}
    (folder / "about.json").write_text(json.dumps(about))


def load(folder: Path) -> nn.Module:
    about = json.loads((folder / "about.json").read_text())
    network = build_network(about["options"]["network"], N_WITH_FERPLUS)
    network.load_state_dict(load_file(folder / "average.safetensors"))
    return placed(network, DEVICE, bf16=_CUDA).eval().requires_grad_(False)


# -- students -----------------------------------------------------------------------------------


class Views:
    """Views of each face, and what the teachers say of them: (views * n, ...), a view after the
    other."""

    def __init__(
        self, faces: Faces, teachers: Sequence[nn.Module], recipes: Sequence[TrainOptions]
    ) -> None:
        self.n, shape = len(faces), (len(recipes) * len(faces),)
        self.faces = torch.zeros(*shape, 1, 48, 48, dtype=torch.float16, device=DEVICE)
        self.targets = torch.zeros(*shape, N_WITH_FERPLUS, dtype=torch.float16, device=DEVICE)
        self.taught = torch.zeros_like(self.targets)
        for view, options in enumerate(recipes):
            order = torch.randperm(self.n, device=DEVICE)
            for first in range(0, self.n, options.batch_size):
                rows = order[first : first + options.batch_size]
                inputs = standardise(faces.images[rows].float())
                inputs = warp(inputs, random_affine(len(rows), options, DEVICE))
                share = np.ones(len(rows), np.float32)
                mixed = np.random.random(len(rows)) < options.mixup_probability
                drawn = np.random.beta(options.mixup_alpha, options.mixup_alpha, len(rows))
                share[mixed] = drawn[mixed]
                weight = torch.tensor(share, device=DEVICE)[:, None]
                inputs = rolled(inputs, weight[:, :, None, None])
                places = view * self.n + rows
                self.faces[places] = inputs.half()
                self.targets[places] = rolled(faces.targets[rows], weight).half()
                self.taught[places] = said(teachers, inputs).half()


@torch.no_grad()
def said(teachers: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """What teachers say on average, (n, 15): emotions at a raised temperature, and FER+'s."""
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    both = []
    for teacher in teachers:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=_CUDA):
            logits = teacher(inputs)
        emotions, votes = logits.float().split([N_EMOTIONS, N_WITH_FERPLUS - N_EMOTIONS], dim=1)
        both.append(torch.cat([(emotions / _TEMPERATURE).softmax(1), votes.softmax(1)], dim=1))
    return torch.stack(both).mean(dim=0)


def student_options(changes: dict[str, Any]) -> TrainOptions:
    usual = {
        "network": "rcnn-medium",
        "batch_size": 256,
        "learning_rate": 0.015,
        "distill_weight": 0.7,
        "temperature": _TEMPERATURE,
        "teachers": ["ensemble"],
        "cover_probability": 0.2,
        "degrade_probability": 0.2,
        "epochs": 60,
        "ema_decay": 0.998,
    }
    return options_from("finish", {**usual, **changes})


def train_students(arguments: argparse.Namespace) -> None:
    until = _STARTED + arguments.seconds
    training, public = Packed(arguments.pack, "Training"), Packed(arguments.pack, "PublicTest")
    names = arguments.networks if arguments.networks != ["good"] else good_teachers(arguments.work)
    print(f"teachers: {', '.join(names)}", flush=True)
    teachers = [load(arguments.work / "teachers" / name) for name in names]
    for name in arguments.own:
        network = network_of(name, training)
        teachers.append(placed(network, DEVICE, bf16=_CUDA).eval().requires_grad_(False))
    np.random.seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    wide = student_options({"rotation": 8.0, "scale": 0.1, "shift": 0.06, "batch_size": 2048,
                            "mixup_probability": arguments.mixed, "mixup_alpha": 0.4})  # fmt: skip
    near = student_options({"batch_size": 2048})
    n_wide, n_near = arguments.views
    views = Views(training, teachers, [wide] * n_wide + [near] * n_near)
    _synchronise()
    print(f"{time.monotonic() - _STARTED:6.1f} s: {n_wide} + {n_near} views", flush=True)
    del teachers

    def loss_of(trainee: Trainee, rows: Tensor, share: Tensor) -> Tensor:
        options = trainee.options
        faces = views.faces[rows].float()
        faces = jitter(degrade(faces, options.degrade_probability), options)
        faces = cover(erase(faces, options.erase_probability), options.cover_probability)
        taught, targets = views.taught[rows].float(), views.targets[rows].float()

        def one(logits: Tensor) -> Tensor:
            emotions = logits[:, :N_EMOTIONS]
            plain = F.cross_entropy(emotions, targets[:, :N_EMOTIONS])
            soft = distillation(emotions, taught[:, :N_EMOTIONS], options.temperature)
            votes = (targets[:, N_EMOTIONS:] + taught[:, N_EMOTIONS:]) / 2
            return (
                (1 - options.distill_weight) * plain
                + options.distill_weight * soft
                + options.ferplus_weight * F.cross_entropy(logits[:, N_EMOTIONS:], votes)
            )

        return error(options, trainee.outputs(faces), one)

    trainees = []
    for name, changes in json.loads(arguments.students.read_text()).items():
        options = student_options(changes)
        torch.manual_seed(options.seed)
        network = build_network(options.network, N_WITH_FERPLUS).to(DEVICE)
        if options.initial:
            begin_with(network, options.initial, arguments.work, training)
        trainees.append(Trainee(name, options, network, loss_of, len(training)))
        print(
            f"{time.monotonic() - _STARTED:6.1f} s {name}: "
            f"{seconds_per_epoch(trainees[-1:]):.2f} s an epoch alone",
            flush=True,
        )
    together = seconds_per_epoch(trainees)
    fitting = 0.95 * (until - time.monotonic()) / together
    most = max(trainee.options.epochs for trainee in trainees)
    print(f"side by side {together:.2f} s an epoch: {fitting:.0f} epochs fit", flush=True)
    for trainee in trainees:  # as planned, or all shorter, or longer where --fill says so
        factor = min(1.0, fitting / most) if not arguments.fill else fitting / most
        epochs = max(1, int(trainee.options.epochs * factor))
        trainee.options = replace(trainee.options, epochs=epochs)

    def rows_of(trainee: Trainee, epoch: int) -> np.ndarray[Any, Any]:
        """Every face once, each in a view of its own; those nearly as they are come last."""
        if n_wide and (epoch < (1 - arguments.near_share) * trainee.options.epochs or not n_near):
            chosen = trainee.random.integers(0, n_wide, views.n)
        else:
            chosen = n_wide + trainee.random.integers(0, n_near, views.n)
        return trainee.random.permutation(chosen * views.n + np.arange(views.n))

    side_by_side(trainees, rows_of, public, every=arguments.every, until=until + 15)
    for trainee in trainees:
        save(arguments.work / "students" / trainee.name, trainee)
    measure(arguments.work, "students", arguments.pack, "PublicTest")


def good_teachers(work: Path) -> list[str]:
    """Those not more than three points behind the best on PublicTest."""
    found = json.loads((work / "teachers-PublicTest.json").read_text())["found"]
    right = {k: v["mirrored_too"] for k, v in found.items() if k != "together"}
    return [name for name, value in right.items() if value > max(right.values()) - 0.03]


def begin_with(network: nn.Module, initial: str, work: Path, training: Faces) -> None:
    """The weights of a student of an earlier call, or of a shipped model."""
    folder = work / "students" / initial
    if folder.exists():
        network.load_state_dict(load_file(folder / "average.safetensors", device=str(DEVICE)))
        return
    start_from(network, initial, training)


# -- how good are they? -------------------------------------------------------------------------


def measure(work: Path, kind: str, pack_folder: Path, split: str) -> dict[str, Any]:
    """Each alone, and all together: right (0..1), as they are and with the mirror image."""
    faces = Packed(pack_folder, split)
    logits, found = {}, {}
    for folder in sorted((work / kind).iterdir()):
        network = load(folder)
        views = [logits_of(network, view, bf16=_CUDA) for view in (faces, faces.mirrored())]
        logits[folder.name] = torch.stack(views)
        found[folder.name] = accuracies(logits[folder.name], faces.labels)
        found[folder.name]["multiply_adds"] = count_multiply_adds(
            build_network(json.loads((folder / "about.json").read_text())["options"]["network"])
        )
    together = torch.stack([v.softmax(3) if v.dim() == 4 else v[..., :N_EMOTIONS].softmax(2)
                            for v in logits.values()]).mean(0)  # fmt: skip
    found["together"] = accuracies(together.log(), faces.labels)
    out = work / f"{kind}-{split}"
    np.savez(
        out.with_suffix(".npz"), **{k: v.cpu().numpy().astype(np.float16) for k, v in logits.items()}
    )
    out.with_suffix(".json").write_text(json.dumps({"n": len(faces), "found": found}, indent=1))
    for name, values in found.items():
        print(f"{split} {name}: {values}", flush=True)
    return found


def accuracies(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Of logits (2, n, classes): the first view, and the mean of both."""
    views = logits[..., :N_EMOTIONS].softmax(2)
    estimates = {"one_view": views[0], "mirrored_too": views.mean(0)}
    return {
        name: round(float((p.argmax(1) == labels).float().mean()), 4)
        for name, p in estimates.items()
    } | {
        f"{name}_loss": round(float(F.nll_loss(p.clamp(min=1e-6).log(), labels)), 4)
        for name, p in estimates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("--data", type=Path, required=True, help="fer2013new.csv lies beside it")
    packing.add_argument("--estimates", type=Path, help="WORK of `folds`")
    packing.add_argument("--relabel-weight", type=float, default=0.7)
    packing.add_argument("--splits", nargs="+", default=["Training", "PublicTest"])
    packing.add_argument("--out", type=Path, required=True)
    for name in ("folds", "teachers", "students", "both", "measure"):
        command = commands.add_parser(name)
        command.add_argument("--pack", type=Path, required=True)
        command.add_argument("--work", type=Path, required=True)
        command.add_argument("--networks", nargs="+", default=TEACHERS)
        command.add_argument("--seconds", type=float, default=550)
        command.add_argument("--every", type=int, default=8, help="look at PublicTest so often")
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--epochs", type=int, default=0, help="0: as many as fit")
        command.add_argument("--students", type=Path, help="JSON: options of each by its name")
        command.add_argument("--views", type=int, nargs=2, default=(40, 20))
        command.add_argument("--near-share", type=float, default=0.35)
        command.add_argument("--mixed", type=float, default=0.4)
        command.add_argument("--teacher-seconds", type=float, default=200, help="of `both`")
        command.add_argument("--own", nargs="*", default=[], help="shipped models that teach as well")
        command.add_argument("--changes", type=json.loads, default={}, help="to teachers' options")
        command.add_argument("--fill", action="store_true", help="as many epochs as fit")
        command.add_argument("--split", default="PublicTest")
    arguments = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    if arguments.command == "pack":
        pack(arguments)
    elif arguments.command == "folds":
        fit_folds(arguments)
    elif arguments.command == "teachers":
        train_teachers(arguments)
    elif arguments.command == "students":
        train_students(arguments)
    elif arguments.command == "both":
        train_teachers(arguments)
        train_students(arguments)
    else:
        for kind in ("teachers", "students"):
            if (arguments.work / kind).exists():
                measure(arguments.work, kind, arguments.pack, arguments.split)


_STARTED = time.monotonic()
if __name__ == "__main__":
    main()
