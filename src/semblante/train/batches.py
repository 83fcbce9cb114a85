"""Batches of augmented faces. A whole split stays on the device as uint8.

There are no image files and no worker processes: the training split takes 66 MB, and warping 128
faces of 48x48 at once costs less than passing a single face from a worker to the trainer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from semblante.data import Dataset
from semblante.preprocess import standardise
from semblante.train.options import TrainOptions


class Faces:
    """The faces of one split on the device, with labels and targets."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.images = torch.tensor(dataset.images, device=device)[:, None]  # (n, 1, 48, 48) uint8
        self.labels = torch.tensor(dataset.labels, device=device)  # (n,) int64
        # The target of each face, (n, ...). `Objective` needs rows of probabilities in place of the
        # labels: for training, `loop._prepare` sets them, and the faces that `views.TaughtViews`
        # gives for an epoch have the teachers' columns as well.
        self.targets = self.labels
        # The affine map of each face, (n, 2, 3) as in `random_affine`, in the faces that
        # `views.TaughtViews` gives for an epoch; None: drawn batch by batch.
        self.affine: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def mirrored(self) -> Faces:
        """The mirror images of these faces."""
        other = copy.copy(self)
        other.images = self.images.flip(-1)
        return other

    def batches(self, size: int) -> Iterator[Tensor]:
        """All faces in order, standardised, in batches of at most `size`, (n, 1, 48, 48)."""
        for start in range(0, len(self), size):
            yield standardise(self.images[start : start + size].float())

    def augmented_batches(
        self,
        options: TrainOptions,
        start: int = 0,
        random_state: Tensor | None = None,
        side: int | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All faces once in random order, augmented, with their targets. They are resized to `side`
        pixels, if given. A last incomplete batch is left out.

        An interrupted pass goes on at batch `start` with the `random_state` it had there. Random
        numbers come from torch's global generator.
        """
        # The order follows from the epoch's seed, set by the caller; only then do the random
        # numbers of an interrupted pass go on.
        order = torch.randperm(len(self), device=self.images.device)
        if random_state is not None:
            torch.set_rng_state(random_state)
        size = min(options.batch_size, len(self))
        for first in range(start * size, len(self) - size + 1, size):
            batch = order[first : first + size]
            inputs = standardise(self.images[batch].float())
            affine = None if self.affine is None else self.affine[batch]
            yield augment(inputs, options, side, affine), self.targets[batch]


def augment(
    faces: Tensor, options: TrainOptions, side: int | None = None, affine: Tensor | None = None
) -> Tensor:
    """Augment standardised faces, (n, 1, H, W) -> (n, 1, side, side), or the same size without
    `side`: an affine map (`affine`, or a random one), then a bad camera, light, random erasing.
    """
    if affine is None:
        affine = random_affine(len(faces), options, faces.device)
    faces = warp(faces, affine, side)
    if options.degrade_probability > 0:
        faces = degrade(faces, options.degrade_probability)
    faces = jitter(faces, options)
    return erase(faces, options.erase_probability)


def random_affine(n: int, options: TrainOptions, device: torch.device) -> Tensor:
    """n random affine maps (n, 2, 3), the `theta` of `F.affine_grid`: from a point of the result to
    a point of the face, both in coordinates from -1 to 1 across the image. Each map mirrors the
    face with a probability of 1/2.
    """

    def uniform(limit: float) -> Tensor:
        return (torch.rand(n, device=device) * 2 - 1) * limit

    angle = uniform(math.radians(options.rotation))
    zoom = 1 + uniform(options.scale)
    mirror = torch.where(torch.rand(n, device=device) < 0.5, -1.0, 1.0)
    # A shift by a fraction of the side is twice that fraction in coordinates of -1..1.
    right, down = uniform(2 * options.shift), uniform(2 * options.shift)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    rows = [cos * mirror, -sin, right, sin * mirror, cos, down]
    return torch.stack(rows, dim=1).view(n, 2, 3)


def warp(faces: Tensor, affine: Tensor, side: int | None = None) -> Tensor:
    """Apply affine maps, (n, 1, H, W) -> (n, 1, side, side), or the same size without `side`.

    Bilinear; pixels from outside the face become 0, the mean of a standardised face.
    """
    height, width = (side, side) if side else faces.shape[-2:]
    grid = F.affine_grid(affine, [len(faces), 1, height, width], align_corners=False)
    return F.grid_sample(faces, grid, mode="bilinear", align_corners=False)


def degrade(faces: Tensor, probability: float) -> Tensor:
    """Make some of the faces blurred, noisy, or both, as from a bad camera or from far away.

    Half of the chosen faces are blurred (sigma up to 2 pixels), 3 in 10 are noisy (standard
    deviation up to half of the face's own contrast), the others both. Afterwards their mean and
    contrast are restored: at recognition a bad picture of a face is standardised, too.
    """
    n, device = len(faces), faces.device
    shape = (n, 1, 1, 1)
    kind = torch.rand(n, device=device) / probability  # 1 and more: unchanged
    sigma = 2 * torch.rand(n, device=device) * ((kind < 0.5) | (kind >= 0.8))
    noise = 0.5 * torch.rand(n, device=device) * (kind >= 0.5)
    bad = blur(faces, sigma) + noise.view(shape) * torch.randn_like(faces)
    return torch.where((kind < 1).view(shape), standardised_like(bad, faces), faces)


def standardised_like(changed: Tensor, faces: Tensor) -> Tensor:
    """`changed` with the mean and standard deviation of each of `faces` (n, 1, H, W)."""
    std, mean = torch.std_mean(faces, dim=(1, 2, 3), keepdim=True)
    its_std, its_mean = torch.std_mean(changed, dim=(1, 2, 3), keepdim=True)
    return (changed - its_mean) / its_std.clamp(min=1e-3) * std + mean


def blur(faces: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of faces (n, 1, H, W), each with its own sigma (n,) of 0 to 2 pixels."""
    radius = 5
    x = torch.arange(-radius, radius + 1, device=faces.device)
    kernels = torch.exp(-(x**2) / (2 * sigma.clamp(min=0.05)[:, None] ** 2))
    kernels = (kernels / kernels.sum(dim=1, keepdim=True))[:, None]  # (n, 1, 11)
    n = len(faces)
    padded = F.pad(faces, [radius] * 4, mode="replicate").transpose(0, 1)  # (1, n, H, W)
    rows = F.conv2d(padded, kernels[:, :, None, :], groups=n)
    return F.conv2d(rows, kernels[:, :, :, None], groups=n).transpose(0, 1)


def jitter(faces: Tensor, options: TrainOptions) -> Tensor:
    """Change the contrast (a factor) and brightness (an offset, in standard deviations) of each of
    the standardised `faces` (n, 1, H, W) at random."""
    shape = (len(faces), 1, 1, 1)
    factor = 1 + (torch.rand(shape, device=faces.device) * 2 - 1) * options.contrast
    offset = (torch.rand(shape, device=faces.device) * 2 - 1) * options.brightness
    return faces * factor + offset


def erase(faces: Tensor, probability: float) -> Tensor:
    """Random erasing (Zhong et al., AAAI 2020): a rectangle of noise over some of the faces.

    Its area is 2 to 25 % of the image (in the paper: up to 40 %), its aspect ratio 0.4 to 2.5 (0.3
    to 3.33), where a ratio and its inverse are equally likely.
    """
    n, _, height, width = faces.shape
    device = faces.device
    area = (0.02 + 0.23 * torch.rand(n, device=device)) * height * width
    aspect = torch.exp((torch.rand(n, device=device) * 2 - 1) * math.log(2.5))
    tall = (area * aspect).sqrt().clamp(max=height)
    wide = (area / aspect).sqrt().clamp(max=width)
    inside = random_rectangles(tall, wide, height, width)
    chosen = torch.rand(n, device=device) < probability
    return torch.where(inside & chosen.view(n, 1, 1, 1), torch.randn_like(faces), faces)


def occlude(faces: Tensor, probability: float) -> Tensor:
    """Hide a part of some of the faces, as by a mask, sunglasses or a hand, with a plain grey bar.

    The bar is 15 to 35 % as high as the image and 60 to 100 % as wide, anywhere in it, and up to
    1.5 standard deviations darker or brighter than the image's mean. Afterwards the image's mean
    and contrast are restored, as in `degrade`. Not a part of `augment`, because the teachers see
    the whole face.
    """
    if probability == 0:
        return faces
    n, _, height, width = faces.shape
    device = faces.device
    shape = (n, 1, 1, 1)
    tall = (0.15 + 0.2 * torch.rand(n, device=device)) * height
    wide = (0.6 + 0.4 * torch.rand(n, device=device)) * width
    inside = random_rectangles(tall, wide, height, width)
    grey = (torch.rand(shape, device=device) * 2 - 1) * 1.5
    std, mean = torch.std_mean(faces, dim=(1, 2, 3), keepdim=True)
    hidden = standardised_like(torch.where(inside, mean + grey * std, faces), faces)
    chosen = torch.rand(n, device=device) < probability
    return torch.where(chosen.view(shape), hidden, faces)


def random_rectangles(tall: Tensor, wide: Tensor, height: int, width: int) -> Tensor:
    """Masks (n, 1, height, width), True inside a rectangle at a random place in each.

    `tall`, `wide`: the rectangles' sizes in pixels, (n,).
    """
    n, device = len(tall), tall.device
    top = torch.rand(n, device=device) * (height - tall)
    left = torch.rand(n, device=device) * (width - wide)
    y = torch.arange(height, device=device)
    x = torch.arange(width, device=device)
    in_rows = (y >= top[:, None]) & (y < (top + tall)[:, None])  # (n, H)
    in_columns = (x >= left[:, None]) & (x < (left + wide)[:, None])  # (n, W)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
