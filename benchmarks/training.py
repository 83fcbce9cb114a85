"""How fast the training engine is, compared with the usual way, and how soon recipes are accurate.

    python benchmarks/training.py speed --data fer2013.csv
    python benchmarks/training.py time-to --data fer2013.csv --work runs/time-to --accuracy 0.653

`speed` measures images per second with the same network in four ways, which take turns in one call:
the engine in the precision that it chooses on this machine, the same on small faces, the engine in
the other precision, and the usual way (an image folder of PNG files, transforms of one image at a
time, a DataLoader with a worker for each core, fp32).

`time-to` measures the seconds, and those of CPU time, until PublicTest reaches the given accuracy:
with the preset "quick", or another one, and with the CNN that most course projects train. Both runs
stop there, and both use `--seed`; an interrupted call goes on when it is made again. With `--only`
and one thread each (OMP_NUM_THREADS=1), both may run at the same time. On a GPU, whose utilisation
is recorded every second: `time-to --accuracy 0.7 --only ours --preset standard --network vgg
--epochs 60`.

Both write results/training-*.json.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import os
import random
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import functional as F
from torch.utils import data as torch_data

from semblante.data import Dataset, load_dataset
from semblante.data.convert import write_folders
from semblante.files import write_json
from semblante.train.batches import Faces
from semblante.train.device import keep_freed_memory, this_device, use_bf16
from semblante.train.loop import train, train_epoch
from semblante.train.networks import build_network
from semblante.train.objective import Objective, smoothed
from semblante.train.options import TrainOptions
from semblante.train.presets import options_from
from semblante.train.reporter import Reporter
from semblante.train.state import EpochProgress, TrainingState

RESULTS = Path(__file__).parent / "results"
ROUNDS = 5
SMALL = "engine, faces of 32 pixels"  # as with `--small-until`
STEPS = 20  # timed in each round, after as many untimed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("speed", "time-to"):
        command = commands.add_parser(name)
        command.add_argument("--data", type=Path, required=True)
        if name == "speed":
            command.add_argument("--network", default="rcnn-small")
        if name == "time-to":
            command.add_argument("--work", type=Path, required=True, help="folder for the runs")
            command.add_argument("--accuracy", type=float, required=True)
            command.add_argument("--only", choices=("ours", "course"))
            command.add_argument("--seed", type=int, default=0)
            for name, kind in (("preset", str), ("network", str), ("epochs", int)):
                command.add_argument(f"--{name}", type=kind, help=f"{name} of the run 'ours'")
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.data, cache=True)
    if arguments.command == "speed":
        speed(dataset, arguments.network)
    else:
        time_to(dataset, recipes_of(arguments), arguments.work, arguments.accuracy)


# -- images a second ----------------------------------------------------------------------------


def speed(dataset: Dataset, network: str) -> None:
    training = dataset.split("Training")
    part = training.where(np.arange(min(len(training), 2 * (ROUNDS + 1) * STEPS * 128)))
    bf16 = use_bf16("auto", this_device())
    other = "fp32" if bf16 else "bf16"
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_folders(part, Path(folder) / "faces")
        ways = {
            "engine": Way(engine, part, network),
            SMALL: Way(engine, part, network, small_until=1.0),
            f"engine, {other}": Way(engine, part, network, precision=other),
            "usual way": Way(usual_way, Path(folder) / "faces", network),
        }
        for round_number in range(ROUNDS + 1):
            for name, way in ways.items():
                way.images_of(STEPS)  # untimed: uses up batches that were prepared in others' turns
                started = time.perf_counter()
                n = way.images_of(STEPS)
                if round_number:
                    rates.setdefault(name, []).append(n / (time.perf_counter() - started))
        for way in ways.values():
            way.end()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        print(f"{name}: {rate:,.0f} images a second")
    ratios = {name: rate / medians["usual way"] for name, rate in medians.items()}
    print(f"{ratios['engine']:.1f} times as fast, {ratios[SMALL]:.1f} times on small faces")
    write_json(
        RESULTS / f"training-speed-{network}.json",
        {
            "machine": describe("torch", "numpy", "pillow"),
            "bf16": bf16,
            "network": network,
            "batch_size": 128,
            "rounds": ROUNDS,
            "steps": STEPS,
            "images_per_second": medians,
            "ratios": ratios,
        },
    )


class Way:
    """A way to train, in a process of its own, since each way sets up its process differently."""

    def __init__(self, way: Callable[..., Iterator[int]], *arguments: Any, **changes: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        steps = functools.partial(way, *arguments, **changes)
        self._process = context.Process(target=answer, args=(theirs, steps))
        self._process.start()

    def images_of(self, steps: int) -> int:
        """Take so many training steps; return how many images they used."""
        self._connection.send(steps)
        n: int = self._connection.recv()
        return n

    def end(self) -> None:
        """Let its process end."""
        self._connection.send(0)
        self._process.join()


def answer(connection: Connection, way: Callable[[], Iterator[int]]) -> None:
    """The main function of a `Way`'s process."""
    images = way()
    while steps := connection.recv():
        connection.send(sum(next(images) for _ in range(steps)))


def engine(part: Dataset, network: str, **changes: Any) -> Iterator[int]:
    """A generator that takes a training step each time and yields the number of its images."""
    options = TrainOptions(network=network, **changes)
    device = this_device()
    keep_freed_memory()
    faces = Faces(part, device)
    faces.targets = smoothed(faces.labels, options.label_smoothing)
    run = TrainingState(options, device, len(part) // options.batch_size)
    while True:
        for _ in train_epoch(run, faces, Objective(options), epoch=1):
            yield options.batch_size
        run.progress = EpochProgress()  # the epoch is over


class Folder(torch_data.Dataset[tuple[Tensor, int]]):
    """Faces as tutorials load them: each file is opened, augmented and normalised by itself."""

    def __init__(self, root: Path) -> None:
        self.files = sorted(root.rglob("*.png"))
        names = sorted({file.parent.name for file in self.files})
        self.labels = [names.index(file.parent.name) for file in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        image = Image.open(self.files[number]).convert("L")
        angle, zoom = math.radians(random.uniform(-12, 12)), 1 + random.uniform(-0.2, 0.2)
        right, down = (24 + random.uniform(-0.15, 0.15) * 48 for _ in range(2))
        cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
        turned = (cos, -sin, right - 24 * (cos - sin), sin, cos, down - 24 * (sin + cos))
        image = image.transform((48, 48), Image.Transform.AFFINE, turned, Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = ImageEnhance.Brightness(image).enhance(random.uniform(0.7, 1.3))
        image = ImageEnhance.Contrast(image).enhance(random.uniform(0.7, 1.3))
        face = torch.from_numpy(np.asarray(image, np.float32) / 255)[None]
        face = (face - 0.5) / 0.25
        if random.random() < 0.4:
            height, width = random.randint(6, 24), random.randint(6, 24)
            top, left = random.randint(0, 48 - height), random.randint(0, 48 - width)
            face[:, top : top + height, left : left + width] = torch.randn(1, height, width)
        return face, self.labels[number]


def usual_way(root: Path, name: str) -> Iterator[int]:
    """The same as `engine`, with the same network and optimiser, fed by a DataLoader, in fp32."""
    network = build_network(name)
    device = this_device()
    network.to(device).train()
    optimiser = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    loader = torch_data.DataLoader(
        Folder(root), batch_size=128, shuffle=True, drop_last=True, num_workers=os.cpu_count() or 1
    )
    while True:
        for inputs, labels in loader:
            loss = F.cross_entropy(
                network(inputs.to(device)), labels.to(device), label_smoothing=0.1
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            loss.item()  # waits for the GPU, as the engine does
            yield len(labels)


# -- time to an accuracy ------------------------------------------------------------------------


class ReachedError(Exception):
    """Raised when PublicTest reaches the wanted accuracy, to end the run."""


class Watch(Reporter):
    """Prints each epoch and notes its processor time; ends the run at the wanted accuracy."""

    def __init__(self, wanted: float, notes: Path) -> None:
        self.wanted = wanted
        # Lines of {"epoch": ..., "cpu_seconds": ...}; an interrupted epoch has several.
        self.notes = notes
        self.started = time.process_time()
        self.at = 1

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        self.at = epoch

    def epoch(self, record: dict[str, float]) -> None:
        seconds, accuracy = self.noted(), record["public_accuracy"]
        print(f"epoch {record['epoch']}: {accuracy:.2%}, {seconds:.0f} s", flush=True)
        if accuracy >= self.wanted:
            raise ReachedError

    def noted(self) -> float:
        """Append the CPU seconds since the last note to the notes, and return them."""
        now = time.process_time()
        seconds, self.started = now - self.started, now
        with self.notes.open("a") as file:
            file.write(json.dumps({"epoch": self.at, "cpu_seconds": seconds}) + "\n")
        return seconds


@contextmanager
def gpu_utilisation(percent: list[float]) -> Iterator[None]:
    """Append the GPU's utilisation to `percent` every second, if there is a GPU."""
    if not torch.cuda.is_available():
        yield
        return
    asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(1):
            said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
            with suppress(ValueError):  # unknown for a MIG partition
                percent.append(float(said.splitlines()[0]))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


def recipes_of(arguments: argparse.Namespace) -> dict[str, TrainOptions]:
    """The recipes to train, by the names of their runs."""
    seed = {"seed": arguments.seed}
    chosen = {name: getattr(arguments, name) for name in ("preset", "network", "epochs")}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    ours = "-".join(["ours", *map(str, chosen.values())])
    recipes = {
        ours: options_from(chosen.pop("preset", "quick"), {**chosen, **seed}),
        # As course projects train it, but in semblante's engine.
        "course": options_from("course", seed),
    }
    return {
        f"{name}-{arguments.seed}" if arguments.seed else name: options
        for name, options in recipes.items()
        if arguments.only in (None, name.partition("-")[0])
    }


def time_to(dataset: Dataset, recipes: dict[str, TrainOptions], work: Path, wanted: float) -> None:
    work.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "training-time-to.json"
    for name, options in recipes.items():
        run_dir, notes = work / name, work / f"{name}.jsonl"
        busy: list[float] = []
        watch = Watch(wanted, notes)
        interrupted = False
        if best_of(run_dir) < wanted:
            with gpu_utilisation(busy), suppress(ReachedError):
                try:
                    train(dataset, options, run_dir, watch, source={}, resume=True)
                except KeyboardInterrupt:  # keep the results so far
                    watch.noted()
                    interrupted = True
        history = history_of(run_dir)
        noted = [json.loads(line) for line in notes.read_text().splitlines()]
        results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        results[name] = {
            "network": options.network,
            "wanted": wanted,
            "reached": best_of(run_dir) >= wanted,
            "best": best_of(run_dir),
            "epochs": len(history),
            "accuracies": [record["public_accuracy"] for record in history],
            "cpu_seconds": sum(note["cpu_seconds"] for note in noted),
            "seconds": sum(record["seconds"] for record in history),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "gpu_utilisation": statistics.mean(busy) if busy else None,
            "bf16": json.loads((run_dir / "config.json").read_text())["bf16"],
            "threads": torch.get_num_threads(),
            "machine": describe("torch"),
        }
        print(f"{name}: {results[name]}")
        write_json(path, results)
        if interrupted:
            raise KeyboardInterrupt


def history_of(run_dir: Path) -> list[dict[str, float]]:
    """The records of a run's epochs so far, from its log."""
    log = run_dir / "log.json"
    history: list[dict[str, float]] = json.loads(log.read_text())["history"] if log.exists() else []
    return history


def best_of(run_dir: Path) -> float:
    """The highest accuracy on PublicTest so far."""
    return max((record["public_accuracy"] for record in history_of(run_dir)), default=0.0)


if __name__ == "__main__":
    main()
