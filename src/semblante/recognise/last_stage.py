"""Is it really a face? The cascade's last stage, a small convolutional network.

A cascade of rectangles takes a shoe, a door and a crease for a face now and then. A network that
looks at those few places that are left tells them apart, for hardly any time (as the later stages
of Li et al., "A Convolutional Neural Network Cascade for Face Detection", CVPR 2015, do). It has
learnt from FER2013's Training faces, and from what the cascade found in pictures without a face;
`benchmarks/last_stage.py` trains it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from semblante.models import last_stage_path
from semblante.preprocess import network_input
from semblante.recognise.classifier import FACES_INPUT, LOGITS, load_session

if TYPE_CHECKING:
    import onnxruntime


def face_probabilities(places: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Grey cuts of a picture in FER2013's framing, uint8 (n, 48, 48) -> how likely each is a face,
    0..1 (n,), where a face is as likely as none before one looks.

    Raises `ModelError` where the network's file is missing or damaged.
    """
    if not len(places):
        return np.empty(0, np.float32)
    logits = _session().run([LOGITS], {FACES_INPUT: network_input(places)})[0]
    return np.asarray(1 / (1 + np.exp(-logits[:, 0])), np.float32)


@functools.cache
def _session() -> onnxruntime.InferenceSession:
    return load_session(last_stage_path())
