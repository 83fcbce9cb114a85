"""The trained network, run by ONNX Runtime: faces in, probabilities out."""

from __future__ import annotations

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from semblante.data.ferplus import FERPLUS_EMOTIONS, FERPLUS_INDICES
from semblante.emotions import EMOTIONS
from semblante.errors import ModelError, OptionError, check_number, reason_of
from semblante.preprocess import InputSpec, network_input
from semblante.recognise.pool import submitted

if TYPE_CHECKING:
    import onnxruntime

# Everything semblante must know about a model travels under this key of the file's metadata.
METADATA_KEY: Final = "semblante"
# Names of the network's inputs and outputs. Those about steps exist only where their number can be
# chosen (see `train/early_exit.py`), FER+'s only where the network has learnt its votes.
FACES_INPUT: Final = "faces"
STEPS_INPUT: Final = "steps"
EXIT_THRESHOLD_INPUT: Final = "settled_at"
LOGITS: Final = "logits"
FERPLUS_LOGITS: Final = "ferplus_logits"
STEPS_OUTPUT: Final = "steps_taken"  # int64 (n,), one for each face
# The network's outputs: what FER2013's label would be, or what most of the ten people would say
# whom FER+ asked about the same faces.
HEADS: Final = ("fer2013", "ferplus")
# Faces in one run: the feature maps of so many stay in a core's cache, and more are not quicker
# (docs/experiments.md, "sixteen faces at once").
_BATCH: Final = 16


class Classifier:
    """An exported network.

    Raises `ModelError` for a file that is missing, is not an ONNX model, or was not written by
    `semblante export`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        steps: int | None = None,
        early_exit: float | None = None,
        head: str | None = "fer2013",
    ) -> None:
        """`threads`: number of threads among which faces are divided; None: one for each processor
        that this process may use.

        `steps`: steps of the last recurrent layer, 0 .. `max_steps`; None for all. `early_exit`: a
        face takes no further step once its likeliest emotion, by FER2013's head, has at least this
        probability (0 .. 1). Both raise `OptionError` where the network has no choice of steps.

        `head`: which of `HEADS` gives the `probabilities`. None, the default of `Analyzer`, stands
        for FER+'s where the network has learnt it, else for FER2013's.
        """
        self.path = Path(path)
        self._absolute_path = self.path.absolute()
        if not self.path.is_file():
            raise ModelError(f"{self.path}: there is no such model file")
        if threads is not None:
            check_number("threads", threads, 1, whole=True)
        if head not in (*HEADS, None):
            raise OptionError(f"expected head to be one of {', '.join(HEADS)}, found {head!r}")
        self._made_with: dict[str, Any] = {
            "threads": threads,
            "steps": steps,
            "early_exit": early_exit,
            "head": head,
        }
        self._threads = threads or cv2.getNumberOfCPUs()
        self._pool = ThreadPoolExecutor(self._threads, "classifier")
        self._process = os.getpid()
        self._session = load_session(self.path)
        self.about = _read_metadata(self._session, self.path)
        self.spec = InputSpec.from_mapping(self.about["input"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        # The outputs are checked with all steps, before the caller's choice applies.
        self._step_inputs: dict[str, Any] = {}
        self._check_outputs()
        self._step_inputs = self._checked_step_inputs(steps, early_exit)
        if head == "ferplus" and not self.knows_ferplus:
            raise OptionError(
                f"{self.path.stem} has not learnt FER+'s votes: expected a network that has, or "
                "the head fer2013"
            )
        self.head = head or ("ferplus" if self.knows_ferplus else "fer2013")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the options and the file's absolute path: whatever its working directory, another
        process loads the same file."""
        return partial(Classifier, self._absolute_path, **self._made_with), ()

    @property
    def max_steps(self) -> int | None:
        """The most steps of the last recurrent layer; None where their number cannot be chosen."""
        return int(self.about["steps"][-1]) if STEPS_OUTPUT in self._outputs else None

    @property
    def knows_ferplus(self) -> bool:
        """Whether the network has learnt FER+'s votes as well."""
        return FERPLUS_LOGITS in self._outputs

    def _checked_step_inputs(self, steps: int | None, early_exit: float | None) -> dict[str, Any]:
        if steps is None and early_exit is None:
            return {}
        if self.max_steps is None:
            raise OptionError(
                f"{self.path.stem} has no choice of steps: expected a recurrent network that was "
                "exported with one"
            )
        inputs: dict[str, Any] = {}
        if steps is not None:
            check_number("steps", steps, 0, self.max_steps, whole=True)
            inputs[STEPS_INPUT] = np.array(steps, np.int64)
        if early_exit is not None:
            check_number("early_exit", early_exit, 0, 1)
            inputs[EXIT_THRESHOLD_INPUT] = np.array(early_exit, np.float32)
        return inputs

    def _check_outputs(self) -> None:
        """Raise `ModelError` unless a face gives seven logits, and eight more for FER+'s head."""
        face = np.zeros((1, self.spec.size, self.spec.size), np.uint8)
        try:
            found = self.all_logits(face).shape
        except Exception as error:  # ONNX Runtime's own have no common class
            raise ModelError(
                f"{self.path}: cannot classify a face of {face.shape[1:]}: {reason_of(error)}"
            ) from None
        n = len(EMOTIONS) + (len(FERPLUS_EMOTIONS) if self.knows_ferplus else 0)
        if found != (1, n):
            raise ModelError(
                f"{self.path}: expected outputs of shape (1, {n}) for a face, found {found}"
            )

    def probabilities(
        self, faces: npt.NDArray[np.uint8], *, mirrored: bool = False
    ) -> npt.NDArray[np.float32]:
        """Grey faces, uint8 (n, size, size) -> probabilities (n, 7), in the order of `EMOTIONS`.

        FER+'s contempt, which FER2013 does not have, is left out. `mirrored`: average each face's
        probabilities with those of its mirror image, for twice the work.
        """
        if mirrored:
            faces = np.concatenate([faces, faces[:, :, ::-1]])
        if self.head == "ferplus":
            views = softmax(self._run(faces, FERPLUS_LOGITS)[0][:, FERPLUS_INDICES])
        else:
            views = softmax(self.logits(faces))
        if not mirrored:
            return views
        half = len(faces) // 2
        return np.asarray((views[:half] + views[half:]) / 2, np.float32)

    def logits(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Grey faces, uint8 (n, size, size) -> logits (n, 7)."""
        return self._run(faces, LOGITS)[0]

    def all_logits(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `logits`, followed by FER+'s eight where the network `knows_ferplus`: (n, 7 or 15)."""
        names = [LOGITS, FERPLUS_LOGITS] if self.knows_ferplus else [LOGITS]
        return np.concatenate(self._run(faces, *names), axis=1)

    def ferplus_probabilities(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Grey faces, uint8 (n, size, size) -> probabilities (n, 8), in the order of
        `FERPLUS_EMOTIONS`, of a network that `knows_ferplus`."""
        return softmax(self._run(faces, FERPLUS_LOGITS)[0])

    def steps_taken(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Grey faces, uint8 (n, size, size) -> the number of steps that each takes (n,), where the
        network has a choice of them."""
        if (
            EXIT_THRESHOLD_INPUT not in self._step_inputs
        ):  # the same for all: no need to run the network
            return np.full(len(faces), self._step_inputs.get(STEPS_INPUT, self.max_steps), np.int64)
        return self._run(faces, STEPS_OUTPUT)[0]

    def _run(self, faces: npt.NDArray[np.uint8], *outputs: str) -> list[npt.NDArray[Any]]:
        size = self.spec.size
        if faces.dtype != np.uint8 or faces.ndim != 3 or faces.shape[1:] != (size, size):
            raise ModelError(
                f"expected faces of uint8 (n, {size}, {size}), "
                f"found {faces.dtype} {tuple(faces.shape)}"
            )

        def run(batch: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
            inputs = {FACES_INPUT: network_input(batch, self.spec), **self._step_inputs}
            found: list[npt.NDArray[Any]] = self._session.run(list(outputs), inputs)
            return found

        each = min(_BATCH, max(1, math.ceil(len(faces) / self._threads)))
        batches = [faces[start : start + each] for start in range(0, len(faces), each)]
        if len(batches) < 2:
            # Without faces, a run of an empty batch gives outputs of the right dtype and shape.
            return run(faces)
        if self._process != os.getpid():  # forked: the pool's threads do not exist here
            self._pool = ThreadPoolExecutor(self._threads, "classifier")
            self._process = os.getpid()
        parts = [part.result() for part in [submitted(self._pool, run, b) for b in batches]]
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session that computes on the calling thread.

    Several threads in one run would divide the work of each layer and busy-wait for each other
    after it, which keeps OpenCV's threads from working. Threads that divide faces wait only once.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, not printed
    options.intra_op_num_threads = 1
    try:
        # Without `enable_fallback` it does not print a failure before it raises.
        return onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    # ONNX Runtime's exceptions have no common public base class.
    except Exception as error:
        raise ModelError(f"{path}: not a usable ONNX model: {reason_of(error)}") from None


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, with its telemetry turned off.

    Since version 1.29 it reports to its maker what models it loads, unless it is told not to before
    it is imported. That is a quarter of the time of `import semblante`, so it is done here, late.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Ctrl-C, as its own code sees it
            raise KeyboardInterrupt from None
        if os.name == "nt":  # a fresh Windows lacks the C++ runtime library that it needs
            raise ModelError(
                "ONNX Runtime cannot be loaded: install Microsoft's Visual C++ Redistributable "
                f"({error})"
            ) from error
        raise

    onnxruntime.disable_telemetry_events()  # in case it was imported elsewhere before
    return onnxruntime


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
        labels, _, _ = tuple(about["labels"]), about["input"], about["steps"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelError(
            f"{path}: its description (metadata {METADATA_KEY!r}) is damaged"
        ) from None
    if labels != EMOTIONS:
        raise ModelError(f"{path}: expected the labels {EMOTIONS}, found {labels}")
    return about
