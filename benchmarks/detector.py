"""Trains the two networks of semblante's own face detector, see `recognise/cnn.py`.

    python benchmarks/detector.py --data fer2013.csv --pictures PICTURES

PICTURES: a folder of pictures without faces. Each network learns to recognise FER2013's Training
faces, which are moved, resized, turned, relit and partly hidden, with what surrounds them made by
repeating their edges or taken from a picture. Negatives are parts of faces, random squares from the
pictures and, mined anew in every round, what the network takes for a face in them (hard negatives):
for the first network at any place of a picture, for the second among the first's proposals. Every
fifth picture is kept for measuring, as are PublicTest's faces. When both networks are trained, they
are quantised to eight bits and copied into the package; prints their sha256 and writes
results/detector.json. `--trained` skips training and takes both networks from runs/detector.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblante import load_fer2013, load_image, models
from semblante.files import write_json
from semblante.preprocess import FACE_SIZE, InputSpec, standardise, to_grey
from semblante.recognise import cnn
from semblante.recognise.classifier import FACES_INPUT, load_session
from semblante.train.export import onnx_model
from semblante.train.precision import quantised

WEIGHTS = Path(models.__file__).parent / "weights"
RESULTS = Path(__file__).parent / "results" / "detector.json"
LONGEST = 900  # longest side of a picture, in pixels; larger ones are reduced
RANDOM = 80  # random squares from each picture
HELD_OUT = 5  # every fifth picture is kept for measuring
ASKED = 1200  # pictures in which hard negatives are searched after each round
PROPOSED = 60  # most proposals that are used of each picture
TURNED = 45.0  # degrees by which faces are turned at most
LITTLE = 18.0  # the same for three fifths of them
# Largest move, in windows, and largest change of the side's logarithm of the faces to be found.
SHOWN = {"proposals": (0.15, 0.22), "frames": (0.25, 0.4)}
ROUNDS = {"proposals": 5, "frames": 6}
STEPS = {"proposals": 1500, "frames": 900}  # in each round
BATCH = {"proposals": 512, "frames": 384}
ALPHA = 0.004
CALIBRATED = 2500  # faces, and as many squares, on which the quantisation is calibrated

# The networks in training. Paths are replaced because `cnn` checks the sha256 of shipped files.
WORK = Path(__file__).parents[1] / "runs" / "detector"
cnn.detection_network_path = lambda name: WORK / f"face-{name}.onnx"  # type: ignore[attr-defined]


class Lenient(cnn.CnnDetector):
    """A detector that proposes more places, since near misses are worth learning from, too."""

    _PROPOSAL_SCORE = 0.3  # type: ignore[misc]


# -- pictures without a face ----------------------------------------------------------------------


def grey_of(path: Path) -> np.ndarray:
    cv2.setNumThreads(1)
    grey = to_grey(load_image(path))
    scale = min(1.0, LONGEST / max(grey.shape))
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def squares(number: int, path: Path) -> np.ndarray:
    """Random squares of a picture, uint8 (n, 48, 48), of any size and slightly turned."""
    sizes = cnn.image_pyramid(grey_of(path))
    height, width = sizes[0].shape
    rng = np.random.default_rng(number)
    sides = np.exp(rng.uniform(np.log(20), np.log(max(21, min(height, width))), RANDOM))
    columns = rng.uniform(0, width, RANDOM), rng.uniform(0, height, RANDOM), sides
    rolls = rng.uniform(-20, 20, RANDOM)
    return np.array([cnn.patch_at(sizes, place) for place in np.stack([*columns, rolls], axis=1)])


def taken(network: str, seed: int, number: int, path: Path) -> np.ndarray:
    """Places of a picture that the networks take for a face so far, uint8 (n, 48, 48). The picture
    is upright or turned by quarters. For "proposals", these are the places that the first network
    proposes; for "frames", those of them that the second takes for faces, before and after it has
    moved, resized and turned them."""
    quarter = int(np.random.default_rng((seed, number)).integers(4))
    grey = np.ascontiguousarray(np.rot90(grey_of(path), quarter))
    sizes = cnn.image_pyramid(grey)
    places = Lenient().proposals(grey)[:PROPOSED]
    if network == "frames":
        looked = cnn.refined(sizes, places)
        likely = looked[:, 4] > 0.1
        places = np.concatenate([places[likely], looked[likely]])
    cuts = [cnn.patch_at(sizes, place) for place in places]
    return np.array(cuts, np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE)


def boxes(number: int, path: Path) -> np.ndarray:
    """How many faces both quantised networks together find in a picture, (1,)."""
    cnn.detection_network_path = lambda name: WORK / f"face-{name}-int8.onnx"  # type: ignore[attr-defined]
    return np.array([len(cnn.CnnDetector().detect(np.stack([grey_of(path)] * 3, axis=2)))])


def gathered(of: Callable[[int, Path], np.ndarray], paths: list[Path]) -> Tensor:
    # Not forked: OpenCV's and torch's threads do not exist in a forked process, which could wait
    # for them forever.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn) as pool:
        found = list(pool.map(of, range(len(paths)), paths, chunksize=8))
    return torch.from_numpy(np.concatenate(found))


# -- faces in windows -----------------------------------------------------------------------------


def windows(faces: Tensor, behind: Tensor, moves: Tensor) -> Tensor:
    """Windows that show faces, or their mirror images, in front of `behind` or with their edges
    repeated: `faces` and `behind` uint8 (n, 48, 48) -> float (n, 1, 48, 48), 0..255.

    `moves` (n, 4): how far the centre of the face's frame lies to the right of the window's and
    below it, in windows; the logarithm of its side in windows; its clockwise turn, in units of 45
    degrees.
    """
    n = len(faces)
    right, down, larger, turned = moves.unbind(1)
    angle, size = torch.deg2rad(turned * cnn.ROLL_UNIT), larger.exp()
    cos, sin = angle.cos() / size, angle.sin() / size
    back = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    shift = -2 * back @ torch.stack([right, down], 1)[:, :, None]
    matrix = torch.cat([back, shift], 2)
    matrix[:, 0] *= torch.randint(0, 2, (n, 1)) * 2.0 - 1
    grid = F.affine_grid(matrix, [n, 1, FACE_SIZE, FACE_SIZE], align_corners=False)
    seen = F.grid_sample(faces[:, None].float(), grid, padding_mode="border", align_corners=False)
    beyond = grid.abs().amax(3)[:, None] - 1  # distance from the frame; 0 at its edge
    soft = 10 ** (torch.rand(n, 1, 1, 1) * 2 - 2)
    share = (0.5 - beyond / soft).clamp(0, 1)
    share[torch.rand(n) < 0.5] = 1.0
    return share * seen + (1 - share) * behind[:, None].float()


def spread(n: int, shifted: float, resized: float) -> Tensor:
    """Random moves (n, 4), see `windows`, of faces that are to be found."""
    turned = torch.where(torch.rand(n) < 0.6, LITTLE, TURNED) / cnn.ROLL_UNIT
    most = [torch.full((n,), value) for value in (shifted, shifted, resized)]
    return (torch.rand(n, 4) * 2 - 1) * torch.stack([*most, turned], 1)


def elsewhere(n: int) -> Tensor:
    """Random moves (n, 4), see `windows`, of faces that are not to be found: too large for the
    window, so that it shows only a part (a share of 0.4), too small (0.3), or off its middle."""
    moves, kind = spread(n, 0.3, 0.1), torch.rand(n)
    part, small, aside = kind < 0.4, (kind >= 0.4) & (kind < 0.7), kind >= 0.7
    moves[part, :2] *= 3
    moves[part, 2] = torch.rand(int(part.sum())) * 0.9 + 0.5
    moves[small, :2] *= 1.3
    moves[small, 2] = -torch.rand(int(small.sum())) * 0.9 - 0.55
    direction, far = torch.rand(n) * 2 * torch.pi, torch.rand(n) * 0.35 + 0.4
    moves[aside, 0] = (far * direction.cos())[aside]
    moves[aside, 1] = (far * direction.sin())[aside]
    return moves


def in_sunglasses(faces: Tensor) -> Tensor:
    """Faces uint8 (n, 48, 48), about one in twelve in dark glasses, of which FER2013 has few."""
    n = len(faces)
    rows = torch.arange(FACE_SIZE)[:, None] / FACE_SIZE
    columns = torch.arange(FACE_SIZE) / FACE_SIZE
    x, y, wide, high, shade = torch.rand(5, n, 1, 1)
    aside = (columns - 0.5 - (x - 0.5) * 0.1).abs() - (0.17 + 0.04 * x)
    below = rows - 0.36 - 0.08 * y
    lens = (aside / (0.13 + 0.06 * wide)).abs() ** 3 + (below / (0.08 + 0.07 * high)).abs() ** 3 < 1
    return torch.where(lens & (torch.rand(n, 1, 1) < 1 / 12), (shade * 70).to(torch.uint8), faces)


def covered(images: Tensor, behind: Tensor) -> Tensor:
    """Windows (n, 1, 48, 48) with a rectangle hidden in about a third of them, by a grey or by part
    of `behind` (n, 48, 48)."""
    n = len(images)
    (top, left), (height, width) = torch.rand(2, n, 1, 1) * 40, torch.rand(2, n, 1, 1) * 20 + 5
    rows, columns = torch.arange(FACE_SIZE)[:, None], torch.arange(FACE_SIZE)
    hidden = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    hidden &= torch.rand(n, 1, 1) < 0.33
    over = torch.where(torch.rand(n, 1, 1) < 0.5, torch.rand(n, 1, 1) * 255, behind.float())
    return torch.where(hidden[:, None], over[:, None], images)


def degraded(images: Tensor) -> Tensor:
    """Windows float (n, 1, 48, 48), 0..255, with random contrast and brightness; some batches also
    have a low resolution, noise, or another gamma."""
    n = len(images)
    chance = torch.rand(3)
    if chance[0] < 0.4:
        small = F.interpolate(images, int(torch.randint(12, 40, (1,))), mode="area")
        images = F.interpolate(small, FACE_SIZE, mode="bilinear")
    if chance[1] < 0.3:
        images = images + 15 * torch.rand(n, 1, 1, 1) * torch.randn_like(images)
    if chance[2] < 0.3:
        gamma = ((torch.rand(n, 1, 1, 1) * 2 - 1) * 0.7).exp()
        images = 255 * (images.clamp(0, 255) / 255) ** gamma
    mean = images.mean((2, 3), keepdim=True)
    contrast = (torch.rand(n, 1, 1, 1) * 1.4 - 1.0).exp()
    brightness = torch.randn(n, 1, 1, 1) * 25
    return (mean + brightness + contrast * (images - mean)).clamp(0, 255)


def drawn(images: Tensor, count: int) -> Tensor:
    return images[torch.randint(len(images), (count,))]


# -- the networks ---------------------------------------------------------------------------------


def convolution(
    before: int, after: int, side: int, stride: int = 1, padding: int = 0
) -> tuple[nn.Module, ...]:
    kernels = nn.Conv2d(before, after, side, stride, padding, bias=False)
    return kernels, nn.BatchNorm2d(after), nn.ReLU()


def proposing() -> nn.Module:
    """The proposal network: grey pictures (n, 1, H, W) -> (n, 4, h, w), for windows of 24 pixels at
    a stride of 4: a logit, above 0 for a face, and its first three moves, see `windows`."""
    return nn.Sequential(
        *convolution(1, 12, 3, stride=2),
        *convolution(12, 16, 3),
        *convolution(16, 24, 3, stride=2),
        *convolution(24, 32, 4),
        nn.Conv2d(32, 4, 1),
    )


def refining() -> nn.Module:
    """The refinement network: standardised grey windows (n, 1, 48, 48) -> (n, 5): logit, moves."""
    return nn.Sequential(
        *convolution(1, 20, 5, stride=2, padding=2),
        *convolution(20, 20, 3, padding=1),
        nn.MaxPool2d(2),
        *convolution(20, 40, 3, padding=1),
        *convolution(40, 40, 3, padding=1),
        nn.MaxPool2d(2),
        *convolution(40, 80, 3, padding=1),
        *convolution(80, 80, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(80 * 9, 64),
        nn.ReLU(),
        nn.Linear(64, 5),
    )


MADE = {"proposals": proposing, "frames": refining}


def seen(name: str, images: Tensor) -> Tensor:
    """Windows float (n, 1, 48, 48), 0..255, as input of the network called `name`."""
    if name == "proposals":  # as `cnn.proposal_input`
        return (F.avg_pool2d(images, 2) - 128) / 64
    return standardise(images, InputSpec())


def save(network: nn.Module, name: str) -> None:
    """Write the network as ONNX under the package's file name, but in fp32."""
    model = onnx_model(network.eval(), [cnn.PLACES_OUTPUT], any_size=name == "proposals")
    onnx.save(model, WORK / f"face-{name}.onnx")


# -- training -------------------------------------------------------------------------------------


class Material:
    """The faces and pictures to learn from, and those that are kept for measuring."""

    def __init__(self, data: Path, pictures: Path) -> None:
        dataset = load_fer2013(data)
        self.faces = torch.from_numpy(dataset.images[dataset.is_in("Training")])
        self.public = torch.from_numpy(dataset.images[dataset.is_in("PublicTest")])
        paths = sorted(pictures.iterdir())
        self.learnt = [path for place, path in enumerate(paths) if place % HELD_OUT]
        self.held_out = paths[::HELD_OUT]
        self.anywhere = gathered(squares, self.learnt)
        self.others = gathered(squares, self.held_out)


def train(arguments: argparse.Namespace, material: Material) -> None:
    torch.manual_seed(arguments.seed)
    faces, anywhere, learnt = material.faces, material.anywhere, material.learnt
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results |= {"pictures": len(learnt) + len(material.held_out), "squares": len(anywhere)}
    WORK.mkdir(parents=True, exist_ok=True)
    for name in MADE:
        if name in arguments.only:
            save(MADE[name](), name)
        elif not (WORK / f"face-{name}.onnx").exists():
            shutil.copy(WEIGHTS / f"face-{name}.onnx", WORK)
    for name in arguments.only:
        network = MADE[name]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(network.parameters(), ALPHA, weight_decay=1e-3)
        steps = STEPS[name] * ROUNDS[name]
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, ALPHA, total_steps=steps, pct_start=0.1
        )
        mistaken = torch.empty(0, FACE_SIZE, FACE_SIZE, dtype=torch.uint8)
        hard = anywhere
        if name == "frames":
            mistaken = hard = gathered(partial(taken, "proposals", 0), learnt)
        for number in range(1, ROUNDS[name] + 1):
            for _ in range(STEPS[name]):
                optimiser.zero_grad()
                loss_of(network, name, faces, anywhere, hard).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
            save(network, name)
            some = [learnt[place] for place in torch.randperm(len(learnt))[:ASKED].tolist()]
            new = gathered(partial(taken, name, number), some)
            mistaken = torch.cat([mistaken, new])
            # The ones on which the network is unsure or wrong, and a tenth of the others.
            kept = (answers(network, name, mistaken)[:, 0] > -3) | (torch.rand(len(mistaken)) < 0.1)
            hard = mistaken[kept]
            figures = measured(network, name, material.public, material.others)
            figures |= {"places a picture": round(len(new) / len(some), 2)}
            print(name, number, figures, len(hard), flush=True)
        count = sum(weights.numel() for weights in network.parameters())
        results[name] = {"parameters": count, "fp32": figures}
        write_json(RESULTS, results)


def loss_of(network: nn.Module, name: str, faces: Tensor, anywhere: Tensor, hard: Tensor) -> Tensor:
    """The loss on a random batch: three eighths faces to be found, an eighth faces not to be found
    (see `elsewhere`), an eighth random squares, and the rest hard negatives."""
    network.train()
    n = BATCH[name]
    shown, wrong, easy = n * 3 // 8, n // 8, n // 8
    moves = spread(shown, *SHOWN[name])
    some, behind, over = (drawn(images, shown + wrong) for images in (faces, anywhere, anywhere))
    images = windows(in_sunglasses(some), behind, torch.cat([moves, elsewhere(wrong)]))
    others = torch.cat([drawn(anywhere, easy), drawn(hard, n - shown - wrong - easy)])
    others = torch.where(torch.rand(len(others), 1, 1) < 0.5, others, others.flip(2))
    inputs = seen(name, degraded(torch.cat([covered(images, over), others[:, None].float()])))
    # The small network would be slower in bfloat16 on a CPU.
    with torch.autocast("cpu", torch.bfloat16, enabled=name == "frames"):
        said = network(inputs.contiguous(memory_format=torch.channels_last)).flatten(1)
    said = said.float()
    wanted = torch.full((n,), 0.002)
    wanted[:shown] = 0.98  # not 1: some of FER2013's images show no face
    weight = torch.ones(n)
    if name == "frames":  # far from the face's frame, only moves are learnt, not the logit
        near = (moves[:, :2].abs().amax(1) < 0.18) & (moves[:, 2].abs() < 0.3)
        weight[:shown] = near.float()
    entropy = F.binary_cross_entropy_with_logits(said[:, 0], wanted, reduction="none")
    off = F.smooth_l1_loss(said[:shown, 1:], moves[:, : said.shape[1] - 1], beta=0.05)
    return (weight * entropy).mean() + 1.5 * off


@torch.no_grad()
def answers(network: nn.Module, name: str, images: Tensor) -> Tensor:
    """A network's outputs, (n, 4) or (n, 5), for grey windows (n, 48, 48)."""
    network.eval()
    inputs = (seen(name, some[:, None].float()) for some in torch.split(images, 512))
    return torch.cat([network(some).flatten(1) for some in inputs])


@torch.no_grad()
def measured(network: nn.Module, name: str, public: Tensor, others: Tensor) -> dict[str, Any]:
    """The shares of PublicTest's faces, unmoved and slightly moved, and of the squares `others`
    that the network takes for faces (logit above 0), and the mean absolute error of its moves."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        places = {"as they are": torch.zeros(len(public), 4)}
        places["moved"] = spread(len(public), 0.1, 0.15)
        behind = drawn(others, len(public))
        figures: dict[str, Any] = {"faces": len(public), "squares": len(others)}
        for title, moves in places.items():
            said = answers(network, name, windows(public, behind, moves)[:, 0])
            off = (said[:, 1:] - moves[:, : said.shape[1] - 1]).abs().mean(0)
            figures[f"{title}, taken"] = _share(said[:, 0] > 0)
            figures[f"{title}, off"] = [round(value, 3) for value in off.tolist()]
    return figures | {"squares taken": _share(answers(network, name, others)[:, 0] > 0)}


def _share(of: Tensor) -> float:
    return round(of.float().mean().item(), 5)


# -- as they ship -------------------------------------------------------------------------------


class InEightBits(nn.Module):
    """A quantised ONNX network as a module, for `measured`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.session = load_session(path)

    def forward(self, inputs: Tensor) -> Tensor:
        said = self.session.run([cnn.PLACES_OUTPUT], {FACES_INPUT: inputs.numpy()})
        return torch.from_numpy(said[0])


def ship(arguments: argparse.Namespace, material: Material) -> None:
    """Quantise the networks, measure them and copy them into the package. They are calibrated on
    augmented faces and as many squares, as in training."""
    torch.manual_seed(arguments.seed)
    faces, anywhere = material.faces, material.anywhere
    results = json.loads(RESULTS.read_text())
    for name in MADE:
        whole, small = WORK / f"face-{name}.onnx", WORK / f"face-{name}-int8.onnx"
        if any(node.op_type == "QuantizeLinear" for node in onnx.load(whole).graph.node):
            shutil.copy(whole, small)  # the package's file, which was not trained here
            continue
        some, behind, others = (drawn(images, CALIBRATED) for images in (faces, anywhere, anywhere))
        shown = windows(some, behind, spread(CALIBRATED, *SHOWN[name]))
        inputs = seen(name, degraded(torch.cat([shown, others[:, None].float()])))
        shuffled = inputs[torch.randperm(len(inputs))].numpy()
        onnx.save(quantised(onnx.load(whole), shuffled), small)
        figures = measured(InEightBits(small), name, material.public, material.others)
        results[name] |= {"sha256": models.sha256(small), **figures}
        print(name, results[name])
    found = gathered(boxes, material.held_out)
    results["held-out pictures"] = {"n": len(found), "boxes": int(found.sum())}
    print(results["held-out pictures"])
    for name in MADE:
        shutil.copy(WORK / f"face-{name}-int8.onnx", WEIGHTS / f"face-{name}.onnx")
    write_json(RESULTS, results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=MADE, default=list(MADE))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trained", action="store_true")
    arguments = parser.parse_args()
    material = Material(arguments.data, arguments.pictures)
    if not arguments.trained:
        train(arguments, material)
    ship(arguments, material)


if __name__ == "__main__":
    main()
