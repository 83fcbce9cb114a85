"""The models that ship with the package, and the detector that can be downloaded."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from semblante.errors import ModelError, OptionError, UnknownModelError
from semblante.files import user_folder


@dataclass(frozen=True)
class ModelEntry:
    """One shipped model. The file's metadata says what it was trained on, and how."""

    name: str
    sha256: str  # of the file
    parameters: int
    public_test: float  # accuracy, one view, n = 3,589; used to choose the model
    private_test: float  # accuracy, one view, n = 3,589; not used for any choice

    @property
    def path(self) -> Path:
        """The path of the file."""
        return _shipped(f"{self.name}.onnx")


MODELS: Final[dict[str, ModelEntry]] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name="rcnn-medium-int8",
            sha256="198cec79d365939f760dae0e9d3d12cefa50a730ee2b3b875d26cc7b9b94c937",
            parameters=1_393_215,
            public_test=0.7122,
            private_test=0.7102,
        ),
        # The same network with weights stored in half precision; it computes in fp32.
        ModelEntry(
            name="rcnn-medium",
            sha256="d070d2859492ab1ebd6a1c56b4c2ac3daf115513888fa9dd1b53d51e93775000",
            parameters=1_393_215,
            public_test=0.7122,
            private_test=0.7102,
        ),
        # A smaller network: a little more than half of the computation.
        ModelEntry(
            name="rcnn-small-int8",
            sha256="311965b11b5d84049c3510d69657b222a5f05b0c324104382a7421dd3075deb2",
            parameters=835_759,
            public_test=0.7058,
            private_test=0.7063,
        ),
    )
}
DEFAULT_MODEL: Final = "rcnn-medium-int8"

# The sha256 of the files of the two networks of `CnnDetector`.
_DETECTION_NETWORKS: Final = {
    "proposals": "0fcb911b2b6b576320eef85771137cd24f20b04186fe2d9712e9a50d15cac450",
    "frames": "c2fd771795fc811645e6966348e0e01f6f49be05c3ff4119adfb45e2e8220a5f",
}


# The network of `YuNetDetector`, which does not ship: `semblante models pull yunet` downloads it.
YUNET_FILE: Final = "face_detection_yunet_2023mar.onnx"
YUNET_URL: Final = (
    f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{YUNET_FILE}"
)
YUNET_SHA256: Final = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_LICENCE: Final = "MIT"


def yunet_path() -> Path:
    """Return the path of YuNet's file; raises `ModelError` if it was not downloaded, or is
    damaged."""
    try:
        path = user_folder("models") / YUNET_FILE
    except OSError as error:
        raise ModelError(f"the detector yunet: {error.strerror}") from None
    if not path.is_file():
        raise ModelError(
            "the detector yunet is not here yet: `semblante models pull yunet` fetches it. "
            f"Offline: copy {YUNET_FILE} ({YUNET_URL}) to {path}"
        )
    remedy = "the file is damaged; delete it and `semblante models pull yunet` again"
    check_sha256(path, sha256(path), YUNET_SHA256, remedy)
    return path


def available_models() -> list[str]:
    """Return the names that `Analyzer(model=...)` accepts, besides the path of an exported file."""
    return list(MODELS)


def model_path(model: str | os.PathLike[str] = DEFAULT_MODEL) -> Path:
    """Return the ONNX file of a shipped model by name; a path to a file is returned as it is.

    Raises `UnknownModelError` for a name that is neither known nor a file, and `ModelError` for a
    shipped file that differs from the released one, and for a training run's folder.
    """
    if isinstance(model, str) and model in MODELS:
        entry = MODELS[model]
        _check_shipped(entry.path, entry.sha256)
        return entry.path
    if not isinstance(model, (str, os.PathLike)):
        raise OptionError(f"expected a model's name or file, found {type(model).__name__}")
    path = Path(model)
    if (path / "config.json").is_file():
        raise ModelError(
            f"{path} is a training run: `semblante export {path} --out FILE` makes a model of it"
        )
    if not path.is_file():
        raise UnknownModelError(
            f"unknown model {str(model)!r}: expected one of {', '.join(MODELS)} or an ONNX file"
        )
    return path


def detection_network_path(name: str) -> Path:
    """Return the ONNX file of a network of `CnnDetector`, "proposals" or "frames"; raises
    `ModelError` if it differs from the released one."""
    path = _shipped(f"face-{name}.onnx")
    _check_shipped(path, _DETECTION_NETWORKS[name])
    return path


def _check_shipped(path: Path, expected: str) -> None:
    remedy = "the file is damaged; install semblante again"
    check_sha256(path, sha256(path), expected, remedy)


def check_sha256(source: object, found: str, expected: str, remedy: str) -> None:
    """Raise `ModelError` unless the sha256 that was found of a file is the expected one; the
    message begins with `source`, its path or address, and ends with `remedy`."""
    if found != expected:
        raise ModelError(
            f"{source}: its sha256 is {found[:12]}..., expected {expected[:12]}...: {remedy}"
        )


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file; raises `ModelError` if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None


def _shipped(file: str) -> Path:
    return Path(str(resources.files("semblante") / "weights" / file))
