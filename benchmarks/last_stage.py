"""Trains the cascade's last stage, the small network that tells a face from a chance pattern.

    python benchmarks/last_stage.py cut --pictures PICTURES --yunet YUNET.onnx
    python benchmarks/last_stage.py train --data fer2013.csv

`cut` collects what the cascade takes for a face in a folder of pictures without one, as they are
and turned by 90, 180 and 270 degrees, and squares from anywhere in them; pictures in which YuNet
finds a face are left out. `train` teaches a network to tell these from FER2013's Training faces.
Every fifth picture is kept for measuring, as PublicTest's faces are. Writes the network to where
the package has it, says its sha256, and results/last_stage.json.
"""

from __future__ import annotations

import argparse
import itertools
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblante import Box, load_fer2013, load_image
from semblante.files import write_json
from semblante.models import sha256
from semblante.preprocess import FACE_SIZE, InputSpec, crop_face, standardise, to_grey
from semblante.recognise.classifier import LOGITS
from semblante.recognise.haar import HaarDetector
from semblante.recognise.yunet import YuNetDetector
from semblante.train.export import onnx_model

ROOT = Path(__file__).resolve().parents[1]
AROUND = 1.6  # a cut shows so many times the place's side, so that it can be moved and turned
SIDE = 77  # of a cut, in pixels: 48 for the place itself
RANDOM = 60  # squares from anywhere in each picture
LONGEST = 800  # pixels a side of a picture
HELD_OUT = 5  # every so many pictures one is for measuring
WIDTHS = (12, 24, 48)
BATCH = 256  # half faces, a quarter the cascade's places, a quarter squares
STEPS = 220  # an epoch
ASKED = 40_000  # squares after each, to find hard ones
ALPHA = 0.003
PLACES = (2, 3, 4, 8, 12, 20)  # votes, from which on places are counted


# -- pictures without a face ----------------------------------------------------------------------


def cut(arguments: argparse.Namespace) -> None:
    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    paths = sorted(p for p in arguments.pictures.rglob("*") if p.suffix.lower() in suffixes)
    with ProcessPoolExecutor(arguments.processes) as pool:
        asked = zip(range(len(paths)), paths, itertools.repeat(arguments.yunet), strict=False)
        found = [cuts for cuts in pool.map(_cuts, asked, chunksize=4) if cuts is not None]
    arguments.work.mkdir(parents=True, exist_ok=True)
    np.savez(
        arguments.work / "cuts.npz",
        places=np.concatenate([places for places, _, _ in found]),
        votes=np.concatenate([votes for _, votes, _ in found]),
        squares=np.concatenate([squares for _, _, squares in found]),
        pictures_of_places=np.repeat(np.arange(len(found)), [len(v) for _, v, _ in found]),
        pictures_of_squares=np.repeat(np.arange(len(found)), [len(s) for _, _, s in found]),
    )
    places = sum(len(votes) for _, votes, _ in found)
    print(f"{len(found)} of {len(paths)} pictures, {places} places")


def _cuts(asked: tuple[int, Path, Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    number, path, yunet = asked
    cv2.setNumThreads(1)
    image = load_image(path)
    scale = LONGEST / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if min(image.shape[:2]) < FACE_SIZE or YuNetDetector(yunet, min_score=0.5).detect(image):
        return None
    detector = HaarDetector()
    places, votes = [], []
    for quarter in range(4):
        grey = to_grey(np.ascontiguousarray(np.rot90(image, quarter)))
        for place in detector.proposals(grey):
            places.append(crop_face(grey, place.box.grown(AROUND), SIDE, place.roll))
            votes.append(detector.votes(place))
    rng = np.random.default_rng(number)
    height, width = image.shape[:2]
    grey, squares = to_grey(image), []
    for _ in range(RANDOM):
        side = int(np.exp(rng.uniform(np.log(24), np.log(min(height, width)))))
        left, top = rng.integers(width - side + 1), rng.integers(height - side + 1)
        square = Box(int(left), int(top), side, side)
        squares.append(crop_face(grey, square.grown(AROUND), SIDE))
    shape = (-1, SIDE, SIDE)
    return (
        np.array(places, np.uint8).reshape(shape),
        np.array(votes, np.int64),
        np.array(squares, np.uint8).reshape(shape),
    )


# -- the network ----------------------------------------------------------------------------------


class LastStage(nn.Module):
    """Standardised grey places (n, 1, 48, 48) -> a logit each (n, 1), above 0 for a face."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in itertools.pairwise((1, *WIDTHS)):
            first = nn.Conv2d(before, width, 3, padding=1, bias=False)
            if not layers:
                first = nn.Conv2d(before, width, 5, stride=2, padding=2, bias=False)
            second = nn.Conv2d(width, width, 3, padding=1, bias=False)
            for convolution in (first, second):
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        pixels = (FACE_SIZE // 2 // 2 ** len(WIDTHS)) ** 2
        layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(WIDTHS[-1] * pixels, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, faces: Tensor) -> Tensor:
        logits: Tensor = self.layers(faces)
        return logits


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    dataset = load_fer2013(arguments.data)
    faces = torch.from_numpy(dataset.images[dataset.is_in("Training")])
    cuts = dict(np.load(arguments.work / "cuts.npz"))
    learnt = {
        kind: torch.from_numpy(cuts[kind][cuts[f"pictures_of_{kind}"] % HELD_OUT > 0])
        for kind in ("places", "squares")
    }
    print({kind: len(some) for kind, some in learnt.items()})
    network = LastStage().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), ALPHA, weight_decay=1e-3)
    steps = arguments.epochs * STEPS
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, ALPHA, total_steps=steps)
    hard = learnt["squares"]
    for epoch in range(arguments.epochs):
        network.train()
        losses = 0.0
        for _ in range(STEPS):
            inputs = torch.cat(
                [
                    covered(degraded(moved(drawn(faces, BATCH // 2), 1.0, 0.12, 0.06))),
                    degraded(parts(drawn(faces, BATCH // 16))),
                    degraded(moved(drawn(learnt["places"], BATCH // 4), 1 / AROUND, 0.15, 0.1)),
                    degraded(moved(drawn(hard, BATCH - BATCH * 13 // 16), 1 / AROUND, 0.15, 0.1)),
                ]
            )
            # Some of FER2013's faces are none.
            wanted = torch.full((len(inputs), 1), 0.01)
            wanted[: BATCH // 2] = 0.99
            logits = network(inputs.contiguous(memory_format=torch.channels_last))
            loss = F.binary_cross_entropy_with_logits(logits, wanted)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses += loss.item()
        # Most squares are easy: half of those of the next epoch are hard.
        asked = torch.randperm(len(learnt["squares"]))[:ASKED]
        said = answers(network, middle(learnt["squares"][asked]))
        hardest = said.argsort(descending=True)[: ASKED // 8]
        hard = learnt["squares"][torch.cat([asked[hardest], asked[: ASKED // 8]])]
        figures = measured(network, dataset, cuts)
        print(epoch + 1, round(losses / STEPS, 4), figures, flush=True)
    onnx.save(onnx_model(network.eval(), [LOGITS]), arguments.out)
    figures |= {"parameters": sum(weights.numel() for weights in network.parameters())}
    figures |= {
        "sha256": sha256(arguments.out),
        "pictures": int(cuts["pictures_of_squares"][-1]) + 1,
    }
    write_json(Path(__file__).parent / "results" / "last_stage.json", figures)
    print(figures)


def drawn(images: Tensor, count: int) -> Tensor:
    return images[torch.randint(len(images), (count,))]


def moved(images: Tensor, share: float, resized: float, shifted: float) -> Tensor:
    """The middle of images uint8 (n, H, W), a share of their side, as a detector may frame it, or
    its mirror image, turned by up to 23 degrees: float (n, 1, 48, 48), 0..255."""
    count = len(images)
    angle, size, *shift = (torch.rand(4, count) * 2 - 1) * torch.tensor(
        [[0.4], [resized], [2 * shifted * share], [2 * shifted * share]]
    )
    return _warped(images, angle, size.exp() * share, torch.stack(shift, 1))


def parts(images: Tensor) -> Tensor:
    """Three to nine tenths of a face, a small part from anywhere in it, a large one from aside: a
    mouth is no face, nor is half of one."""
    count = len(images)
    share = torch.rand(count) * 0.6 + 0.3
    anywhere = (torch.rand(count, 2) * 2 - 1) * (1 - share)[:, None]
    aside = torch.stack([torch.rand(count) * 0.25 + 0.45, torch.rand(count) * 0.3], 1)
    aside = aside * 2 * share[:, None] * torch.randint(0, 2, (count, 2)).mul(2).sub(1)
    aside = torch.where(torch.rand(count, 1) < 0.5, aside, aside.flip(1))
    shift = torch.where(share[:, None] < 0.55, anywhere, aside)
    return _warped(images, torch.zeros(count), share, shift)


def _warped(images: Tensor, angle: Tensor, size: Tensor, shift: Tensor) -> Tensor:
    mirrored = (torch.rand(len(images)) < 0.5).float() * 2 - 1
    cos, sin = size * angle.cos(), size * angle.sin()
    rows = [torch.stack([cos * mirrored, -sin, shift[:, 0]], 1)]
    rows.append(torch.stack([sin * mirrored, cos, shift[:, 1]], 1))
    shape = [len(images), 1, FACE_SIZE, FACE_SIZE]
    grid = F.affine_grid(torch.stack(rows, 1), shape, align_corners=False)
    inputs = images[:, None].float()
    return F.grid_sample(inputs, grid, padding_mode="border", align_corners=False)


def degraded(images: Tensor) -> Tensor:
    """Sometimes of few pixels, noisy, in other light; then standardised."""
    chance, noise = torch.rand(3), 15 * torch.rand(1)
    if chance[0] < 0.5:
        small = F.interpolate(images, int(torch.randint(9, 40, (1,))), mode="area")
        images = F.interpolate(small, FACE_SIZE, mode="bilinear")
    if chance[1] < 0.3:
        images = images + noise * torch.randn_like(images)
    if chance[2] < 0.3:
        gamma = ((torch.rand(len(images), 1, 1, 1) * 2 - 1) * 0.7).exp()
        images = 255 * (images.clamp(0, 255) / 255) ** gamma
    return standardise(images, InputSpec())


def covered(inputs: Tensor) -> Tensor:
    """Sometimes a part is hidden, as by hair, glasses or a hand."""
    if torch.rand(1) < 0.3:
        (top, left), (height, width) = torch.randint(0, 36, (2,)), torch.randint(6, 21, (2,))
        inputs[:, :, top : top + height, left : left + width] = 0
    return inputs


def middle(cuts: Tensor) -> Tensor:
    """The places themselves, without what lies around: uint8 (n, 48, 48)."""
    margin = (SIDE - FACE_SIZE) // 2
    return cuts[:, margin : margin + FACE_SIZE, margin : margin + FACE_SIZE]


@torch.no_grad()
def answers(network: nn.Module, faces: Tensor) -> Tensor:
    """Logits (n,) of grey faces, uint8 (n, 48, 48)."""
    network.eval()
    found = [network(standardise(some[:, None].float())) for some in faces.split(BATCH)]
    return torch.cat(found)[:, 0]


def measured(network: nn.Module, dataset: Any, cuts: Any) -> dict[str, Any]:
    """What it takes for a face: of PublicTest's faces, and of what it has not learnt from."""
    faces = torch.from_numpy(dataset.images[dataset.is_in("PublicTest")])
    held_out = cuts["pictures_of_places"] % HELD_OUT == 0
    places = answers(network, middle(torch.from_numpy(cuts["places"][held_out]))) > 0
    votes = cuts["votes"][held_out]
    squares = torch.from_numpy(cuts["squares"][cuts["pictures_of_squares"] % HELD_OUT == 0])
    found: dict[str, Any] = {
        "faces": {"n": len(faces), "taken": _share(answers(network, faces) > 0)},
        "squares": {"n": len(squares), "taken": _share(answers(network, middle(squares)) > 0)},
    }
    for least, next_least in itertools.pairwise((*PLACES, 10**9)):
        some = places[torch.from_numpy((votes >= least) & (votes < next_least))]
        found[f"places of {least} votes"] = {"n": len(some), "taken": int(some.sum())}
    return found


def _share(taken: Tensor) -> float:
    return round(taken.float().mean().item(), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    cutting = commands.add_parser("cut")
    cutting.add_argument("--pictures", type=Path, required=True)
    cutting.add_argument("--yunet", type=Path, required=True)
    cutting.add_argument("--processes", type=int, default=os.cpu_count())
    cutting.set_defaults(run=cut)
    training = commands.add_parser("train")
    training.add_argument("--data", type=Path, required=True)
    training.add_argument("--epochs", type=int, default=14)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument(
        "--out", type=Path, default=ROOT / "src/semblante/weights/last-stage.onnx"
    )
    training.set_defaults(run=train)
    for command in (cutting, training):
        command.add_argument("--work", type=Path, default=ROOT / "runs/last-stage")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
