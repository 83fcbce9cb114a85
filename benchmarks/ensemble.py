"""An ensemble of teachers of different make, and the students that learn from it.

    python benchmarks/ensemble.py --data fer2013.csv --work runs/ensemble --initial rcnn-small \\
        --processes 4 --minutes 9

Teachers are trained from scratch on Training, with targets softened by FER+'s votes, or are runs
that were made before, given by their folders; when all are done, students of several seeds learn
from their mean, each from the same augmented and mixed faces. After `--minutes` what is under way
is saved, and the same command goes on from there: a GPU may be lent for minutes only, and a laptop
has to sleep. Writes results/ensemble.json: PublicTest, as it is and with the mirrored view, of
every run and of the teachers' mean. The best student by these is released with `semblante export
RUN`; after that `--split PrivateTest` measures the same runs there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from machine import describe
from runs import is_done, trained
from torch import Tensor

from semblante.data import load_dataset
from semblante.data.ferplus import load_ferplus
from semblante.files import write_json
from semblante.train.batches import Faces
from semblante.train.measure import logits_of
from semblante.train.networks import (
    NETWORKS,
    build_network,
    check_fits,
    count_multiply_adds,
    count_parameters,
)
from semblante.train.objective import N_EMOTIONS
from semblante.train.options import TrainOptions, options_from
from semblante.train.processor import use_bf16
from semblante.train.state import load_best

RESULTS = Path(__file__).parent / "results"
# Cheapest first: those of which one can be without come last.
TEACHERS: Final = (
    "vgg", "vgg-wide", "resnet", "se-resnet", "rcnn-160", "densenet", "rcnn-wide", "wide-resnet",
)  # fmt: skip
STUDENT: Final = "student"


@dataclass(frozen=True)
class Job:
    """A run that is to be made, or to go on."""

    data: Path  # fer2013new.csv lies beside it
    run_dir: Path
    options: TrainOptions
    threads: int
    until: float  # time.time() at which it must be saved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fer2013new.csv lies beside it")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--teachers", nargs="+", default=TEACHERS,
                        help="names of networks, or folders of runs that are done")  # fmt: skip
    parser.add_argument("--teacher-epochs", type=int, default=45)
    parser.add_argument("--student", default="rcnn-small", help="name of a network")
    parser.add_argument("--student-epochs", type=int, default=50)
    parser.add_argument("--initial", default="", help="the students' initial weights")
    parser.add_argument("--seeds", type=int, default=3, help="so many students")
    parser.add_argument("--processes", type=int, default=1, help="runs at the same time")
    parser.add_argument("--minutes", type=float, default=1e6, help="save and stop after so many")
    parser.add_argument("--split", choices=("PublicTest", "PrivateTest"), default="PublicTest",
                        help="to measure on; PrivateTest when all has been chosen")  # fmt: skip
    arguments = parser.parse_args()
    until = time.time() + 60 * arguments.minutes
    threads = max(1, (os.cpu_count() or 1) // arguments.processes)
    load_dataset(arguments.data, cache=True)  # for all the processes

    teacher_folders(arguments)  # a name that is wrong shows now, and a recipe that does not fit
    check_fits(build_network(arguments.student), student(arguments, 0), batch=128)
    runs = {
        arguments.work / name: teacher(arguments, name)
        for name in arguments.teachers
        if name in NETWORKS
    }
    if make(runs, arguments, threads, until):
        students = {
            arguments.work / f"{STUDENT}-{seed}": student(arguments, seed)
            for seed in range(arguments.seeds)
        }
        make(students, arguments, threads, until)
    measure(arguments)


def teacher_folders(arguments: argparse.Namespace) -> list[Path]:
    """Of the runs that this program makes, and of those that were made before."""
    folders = [
        arguments.work / name if name in NETWORKS else Path(name) for name in arguments.teachers
    ]
    for name, folder in zip(arguments.teachers, folders, strict=True):
        if name not in NETWORKS and not is_done(folder):
            raise SystemExit(f"{name}: neither a network nor the folder of a run that is done")
    return folders


def teacher(arguments: argparse.Namespace, network: str) -> TrainOptions:
    """Cut and pasted as well as mixed: these are large enough to learn the faces by heart."""
    changes = {
        "network": network,
        "epochs": arguments.teacher_epochs,
        "mixup_probability": 0.4,
        "cutmix_probability": 0.2,
        "relabel_weight": 0.5,
    }
    return options_from("standard", changes)


def student(arguments: argparse.Namespace, seed: int) -> TrainOptions:
    changes = {
        "network": arguments.student,
        "epochs": arguments.student_epochs,
        "initial": arguments.initial,
        "seed": seed,
        "teachers": [str(folder) for folder in teacher_folders(arguments)],
        "degrade_probability": 0.3,
    }
    return options_from("refine", changes)


def make(
    runs: dict[Path, TrainOptions], arguments: argparse.Namespace, threads: int, until: float
) -> bool:
    """Train what is not done yet; says whether all is."""
    jobs = [
        Job(arguments.data, run_dir, options, threads, until)
        for run_dir, options in runs.items()
        if not is_done(run_dir)
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        for job, done in zip(jobs, pool.map(one_run, jobs), strict=True):
            print(f"{job.run_dir.name}: {'done' if done else 'to be continued'}", flush=True)
    return all(is_done(run_dir) for run_dir in runs)


def one_run(job: Job) -> bool:
    """Train until it is done or the time is up; in a process of its own."""
    torch.set_num_threads(job.threads)
    try:
        with interrupted_at(job.until):
            dataset = load_dataset(job.data, cache=True)
            votes = load_ferplus(job.data.with_name("fer2013new.csv"))
            source = {"path": str(job.data.absolute())}
            trained(job.run_dir, dataset, job.options, source=source, votes=votes)
    except KeyboardInterrupt:
        pass
    return is_done(job.run_dir)


@contextmanager
def interrupted_at(until: float) -> Iterator[None]:
    """As if Ctrl-C were pressed at that time, which lets a run save what it has."""
    seconds = until - time.time()
    if seconds <= 0:
        raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def measure(arguments: argparse.Namespace) -> None:
    """Every run that has a checkpoint, finished or not."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    faces = Faces(load_dataset(arguments.data, cache=True).split(arguments.split), device)
    kinds = dict.fromkeys(teacher_folders(arguments), "teachers")
    for seed in range(arguments.seeds):
        kinds[arguments.work / f"{STUDENT}-{seed}"] = "students"
    found: dict[str, Any] = {
        "machine": describe("torch", "numpy"),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "split": arguments.split,
        "n": len(faces),
        "teachers": {},
        "students": {},
    }
    said: list[Tensor] = []  # of the teachers, (views, n, 7) each
    for folder, kind in kinds.items():
        if not (folder / "best.safetensors").exists():
            continue
        network, record = load_best(folder)
        views = probabilities(network.to(device), faces)
        if kind == "teachers":
            said.append(views)
        found[kind][folder.name] = {
            "network": record["network"],
            "parameters": count_parameters(build_network(record["network"])),
            "multiply_adds": count_multiply_adds(build_network(record["network"])),
            "best_epoch": record["epoch"],
            "done": is_done(folder),
            **accuracies(views, faces.labels),
        }
        print(f"{folder.name}: {found[kind][folder.name]}", flush=True)
    if said:
        found["ensemble"] = accuracies(torch.stack(said).mean(dim=0), faces.labels)
        print(f"the teachers' mean: {found['ensemble']}")
    if students := [student["one_view"] for student in found["students"].values()]:
        found["students_mean"] = float(np.mean(students))
        found["students_sd"] = float(np.std(students, ddof=1)) if len(students) > 1 else None
        print(f"students: {students}")
    suffix = "" if arguments.split == "PublicTest" else f"-{arguments.split}"
    write_json(RESULTS / f"ensemble{suffix}.json", found)


def probabilities(network: torch.nn.Module, faces: Faces) -> Tensor:
    """(2, n, 7): of the faces as they are, and mirrored."""
    bf16 = use_bf16("auto", faces.images.device)
    views = [logits_of(network, view, bf16) for view in (faces, faces.mirrored())]
    return torch.stack(views)[:, :, :N_EMOTIONS].softmax(dim=2)


def accuracies(views: Tensor, labels: Tensor) -> dict[str, float]:
    """Of the first view, and of the mean of both."""
    return {
        name: float((estimate.argmax(dim=1) == labels).float().mean())
        for name, estimate in (("one_view", views[0]), ("mirrored_too", views.mean(dim=0)))
    }


if __name__ == "__main__":
    main()
