"""A network's logits, probabilities, loss and accuracy on faces without augmentation."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semblante.emotions import N_EMOTIONS
from semblante.train.batches import Faces
from semblante.train.device import autocast

_BATCH: Final = 256


@torch.no_grad()
def logits_of(network: nn.Module, faces: Faces, bf16: bool = False) -> Tensor:
    """The network's logits (n, classes) for faces without augmentation, float32."""
    network.eval()
    parts = []
    for inputs in faces.batches(_BATCH):
        with autocast(inputs.device, bf16):
            parts.append(network(inputs).float())
    return torch.cat(parts)


def probabilities_of(network: nn.Module, faces: Faces, bf16: bool, *, mirrored: bool) -> Tensor:
    """Probabilities of the seven emotions, (n, 7); if `mirrored`, the mean of those for each face
    and for its mirror image."""
    views = [faces, faces.mirrored()] if mirrored else [faces]
    logits = torch.stack([logits_of(network, view, bf16) for view in views])
    return logits[:, :, :N_EMOTIONS].softmax(dim=2).mean(dim=0)


def loss_and_accuracy(logits: Tensor, faces: Faces) -> tuple[float, float]:
    """Cross-entropy (nats) and accuracy (0..1) of a network's logits (n, classes) for `faces`."""
    logits = logits[:, :N_EMOTIONS]
    right = logits.argmax(dim=1) == faces.labels
    return float(F.cross_entropy(logits, faces.labels)), int(right.sum()) / len(faces)
