"""The trained network, run by ONNX Runtime: faces in, probabilities out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from semblante.emotions import EMOTIONS
from semblante.errors import ModelError
from semblante.preprocess import InputSpec, network_input

if TYPE_CHECKING:
    import onnxruntime

# Everything semblante must know about a model travels under this key of the file's metadata.
METADATA_KEY: Final = "semblante"
_BATCH: Final = 64


class Classifier:
    """An exported network.

    Raises `ModelError` for a file that is missing, no ONNX model, or not one that
    `semblante export` wrote.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        """`threads`: processor threads to use; None leaves the choice to ONNX Runtime."""
        self.path = Path(path)
        if not self.path.is_file():
            raise ModelError(f"{self.path}: there is no such model file")
        import onnxruntime  # a quarter of the time that `import semblante` would take

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised, not printed
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                self.path, options, providers=["CPUExecutionProvider"]
            )
        # ONNX Runtime's exceptions have no common public base class.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{self.path}: not a usable ONNX model: {reason}") from None
        self.about = _read_metadata(self._session, self.path)
        self.spec = InputSpec.from_mapping(self.about["input"])
        self._input = self._session.get_inputs()[0].name
        self._try()

    def _try(self) -> None:
        """Raise `ModelError` unless one face in gives seven numbers out."""
        face = np.zeros((1, self.spec.size, self.spec.size), np.uint8)
        try:
            found = self.logits(face).shape
        except Exception as error:  # see above
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"{self.path}: cannot classify a face of {face.shape[1:]}: {reason}"
            ) from None
        if found != (1, len(EMOTIONS)):
            raise ModelError(
                f"{self.path}: expected outputs of shape (1, {len(EMOTIONS)}) for a face, "
                f"found {found}"
            )

    def probabilities(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Grey faces, uint8 (n, size, size) -> (n, 7), in the order of `EMOTIONS`."""
        return softmax(self.logits(faces))

    def logits(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Grey faces, uint8 (n, size, size) -> the network's outputs (n, 7) before softmax."""
        size = self.spec.size
        if faces.dtype != np.uint8 or faces.ndim != 3 or faces.shape[1:] != (size, size):
            raise ModelError(
                f"expected faces of uint8 (n, {size}, {size}), "
                f"found {faces.dtype} {tuple(faces.shape)}"
            )
        parts = [
            self._session.run(
                None, {self._input: network_input(faces[start : start + _BATCH], self.spec)}
            )[0]
            for start in range(0, len(faces), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(EMOTIONS)), np.float32)


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows of (n, classes) -> probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _read_metadata(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"{path}: an ONNX model, but not one of semblante: "
            "expected a file that `semblante export` wrote"
        )
    try:
        about: dict[str, Any] = json.loads(text)
        labels, _ = tuple(about["labels"]), about["input"]
    except (ValueError, KeyError, TypeError):
        raise ModelError(
            f"{path}: its description (metadata {METADATA_KEY!r}) is damaged"
        ) from None
    if labels != EMOTIONS:
        raise ModelError(f"{path}: expected the labels {EMOTIONS}, found {labels}")
    return about
