"""The options of a training run, their defaults and ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Final, Literal

from semblante.errors import OptionError
from semblante.preprocess import FACE_SIZE
from semblante.train.user_code import file_of

CROSS_ENTROPY: Final = "cross_entropy"
MAX_SEED: Final = 1_000_000_000

Range = Literal["at least 1", "between 0 and 1", "0 or more", "more than 0"]

_IS_WITHIN: Final[Mapping[Range, Callable[[Any], bool]]] = {
    "at least 1": lambda value: value >= 1,
    "between 0 and 1": lambda value: 0 <= value <= 1,
    "0 or more": lambda value: value >= 0,
    "more than 0": lambda value: value > 0,
}


def _option(
    default: Any,
    help: str,
    *,
    within: Range | None = None,
    one_of: tuple[str, ...] = (),
    needs: str = "",
) -> Any:
    """A field of `TrainOptions`.

    `help`: the text that `train --help` shows for it; `within` and `one_of`: the values it may
    have; `needs`: another option, or several joined by " or ": unless one of them is in use, the
    default must not be changed, since that would have no effect.
    """
    rules = {"within": within, "one_of": one_of, "needs": needs}
    return field(default=default, metadata={"help": help, **rules})


@dataclass(frozen=True)
class TrainOptions:
    """The recipe of a run. The defaults are the preset "standard", with which the training of the
    shipped weights began."""

    network: str = _option(
        "rcnn-small",
        "network to train: one of semblante's, or your own, FILE.py:FUNCTION, which is "
        "called with the number of outputs",
    )
    initial: str = _option(
        "",
        "run folder, shipped model or exported ONNX file to take the initial weights "
        "from; an rcnn network of other widths works too",
    )
    seed: int = _option(
        0,
        "seed of the initial weights, the order of faces and the augmentation",
        within="0 or more",
    )
    epochs: int = _option(64, "passes over Training", within="at least 1")
    batch_size: int = _option(128, "faces in one step of gradient descent", within="at least 1")
    # Gradient descent: w <- w - alpha * v, where v is the Nesterov momentum of the gradient, or the
    # gradient itself if the momentum is 0.
    optimiser: str = _option(
        "sgd",
        "sgd (gradient descent), adam, adamw or muon",
        one_of=("sgd", "adam", "adamw", "muon"),
    )
    learning_rate: float = _option(
        0.1,
        "the largest step alpha, reached after the warm-up; an optimiser other than the "
        "preset's brings its usual one",
        within="more than 0",
    )
    schedule: str = _option(
        "cosine",
        "how alpha changes after the warm-up: cosine (to 0) or constant",
        one_of=("cosine", "constant"),
    )
    warmup_epochs: float = _option(
        2.0, "epochs over which alpha grows linearly from 0", within="0 or more"
    )
    momentum: float = _option(
        0.9,
        "Nesterov momentum of sgd and muon; 0 is plain gradient descent",
        within="between 0 and 1",
    )
    weight_decay: float = _option(
        5e-4,
        "weight decay, only on kernels (not on norms and biases); with muon only on the "
        "dense layer's",
        within="0 or more",
    )
    clip_norm: float = _option(
        2.0, "gradients with a larger norm are clipped to it", within="more than 0"
    )
    error: str = _option(
        CROSS_ENTROPY,
        "error (loss) function: cross_entropy, or your own, FILE.py:FUNCTION, of logits "
        "and target probabilities (n, 7)",
    )
    label_smoothing: float = _option(
        0.1, "share of the target spread evenly over the classes", within="between 0 and 1"
    )
    class_weights: bool = _option(False, "weight rare classes more, by the inverse of their share")
    mixup_alpha: float = _option(
        0.4,
        "mixing weights are drawn from Beta(alpha, alpha)",
        within="more than 0",
        needs="mixup_probability",
    )
    mixup_probability: float = _option(
        0.5, "share of the batches that are mixed; 0 turns it off", within="between 0 and 1"
    )
    cutmix_alpha: float = _option(
        1.0,
        "shares of the pasted area are drawn from Beta(alpha, alpha)",
        within="more than 0",
        needs="cutmix_probability",
    )
    cutmix_probability: float = _option(
        0.0,
        "share of the batches in which parts of faces are pasted into others",
        within="between 0 and 1",
    )
    mixup_until: float = _option(
        0.85,
        "mix and paste only in this first share of the run",
        within="between 0 and 1",
        needs="mixup_probability or cutmix_probability",
    )
    ema_decay: float = _option(
        0.998,
        "decay per step of the exponential moving average of the weights",
        within="between 0 and 1",
    )
    rotation: float = _option(12.0, "random rotation, +- degrees", within="0 or more")
    scale: float = _option(0.2, "random scale, +- this fraction", within="between 0 and 1")
    shift: float = _option(
        0.15, "random shift, +- this fraction of the side", within="between 0 and 1"
    )
    brightness: float = _option(
        0.3, "random brightness, +- standard deviations of the image", within="0 or more"
    )
    contrast: float = _option(0.3, "random contrast, +- this fraction", within="between 0 and 1")
    erase_probability: float = _option(
        0.4, "share of the faces from which a rectangle is erased", within="between 0 and 1"
    )
    degrade_probability: float = _option(
        0.0, "share of the faces that are blurred or made noisy", within="between 0 and 1"
    )
    cover_probability: float = _option(
        0.0,
        "share of the faces that are partly covered by a bar, for the network but not "
        "for its teachers",
        within="between 0 and 1",
    )
    all_steps_weight: float = _option(
        0.0,
        "weight of the error at the earlier steps of the last recurrent layer",
        within="0 or more",
    )
    ferplus_weight: float = _option(
        0.0, "weight of the error of a second head, which learns FER+'s votes", within="0 or more"
    )
    relabel_weight: float = _option(
        0.0,
        "share of the target that is the likely label, by FER+'s votes and the initial "
        "weights (or the estimates)",
        within="between 0 and 1",
    )
    estimates: str = _option(
        "",
        "folder of --cross-fit: likely labels follow its networks' predictions instead "
        "of the initial weights'",
        needs="relabel_weight",
    )
    teachers: tuple[str, ...] = _option(
        (),
        "run folder, shipped model or ONNX file of a network to learn from; may be repeated",
    )
    distill_weight: float = _option(
        0.7, "with teachers: their share of the error", within="between 0 and 1", needs="teachers"
    )
    temperature: float = _option(
        3.0,
        "with teachers: the logits of both sides are divided by it",
        within="more than 0",
        needs="teachers",
    )
    mirrored_teachers: bool = _option(
        False,
        "with teachers: average their predictions for each face and its mirror image",
        needs="teachers",
    )
    teach_votes: bool = _option(
        False, "with teachers: learn their predictions of FER+'s votes, too", needs="teachers"
    )
    teacher_views: int = _option(
        0,
        "with teachers: compute their predictions once, for this many random views of each "
        "face, of which each epoch uses one; 0: at every batch",
        within="0 or more",
        needs="teachers",
    )
    looks_of: str = _option(
        "",
        "with teacher_views: run folder with the same teachers, of any seed and "
        "network; reuse the teacher predictions saved in that run",
        needs="teacher_views",
    )
    patience: int = _option(
        0,
        "stop when PublicTest has not improved for this many epochs; 0: never",
        within="0 or more",
    )
    small_side: int = _option(
        32,
        "side in pixels of the small faces at the beginning",
        within="at least 1",
        needs="small_until",
    )
    small_until: float = _option(
        0.0,
        "train on small faces, which is faster, in this first share of the run",
        within="between 0 and 1",
    )
    compile: bool = _option(
        False, "torch.compile the network; not faster on two cores, where it was measured"
    )
    precision: str = _option(
        "auto",
        "auto, fp32 or bf16; auto is bf16 on a GPU, and on a processor that is faster with it",
        one_of=("auto", "fp32", "bf16"),
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            self._check(option)
        if self.seed > MAX_SEED:
            raise OptionError(f"expected seed of at most {MAX_SEED}, found {self.seed}")
        if self.warmup_epochs > self.epochs:
            raise OptionError(
                f"warmup_epochs ({self.warmup_epochs:g}) is longer than epochs ({self.epochs})"
            )
        if self.scale >= 1:
            raise OptionError(f"expected scale below 1, found {self.scale:g}")
        if self.small_until > 0 and self.small_side > FACE_SIZE:
            raise OptionError(
                f"small_side ({self.small_side}) is larger than the faces ({FACE_SIZE} pixels)"
            )
        if self.teachers and self.distill_weight == 0:
            raise OptionError("teachers are of no use with a distill_weight of 0")
        if self.teacher_views >= self.epochs:
            raise OptionError(
                f"expected teacher_views below epochs ({self.epochs}), or they would save nothing, "
                f"found {self.teacher_views}"
            )
        if self.teach_votes and not self.ferplus_weight:
            raise _of_no_use("teach_votes", self.teach_votes, "ferplus_weight")
        if self.momentum != TrainOptions.momentum and self.optimiser not in ("sgd", "muon"):
            raise _of_no_use("momentum", self.momentum, "sgd or muon")
        if self.error != CROSS_ENTROPY and file_of(self.error) is None:
            raise OptionError(
                f"expected error to be {CROSS_ENTROPY} or FILE.py:FUNCTION, found {self.error}"
            )
        if self.class_weights and self.error != CROSS_ENTROPY:
            raise _of_no_use("class_weights", self.class_weights, CROSS_ENTROPY)
        if self.mixup_probability + self.cutmix_probability > 1:
            raise OptionError(
                f"mixup_probability ({self.mixup_probability:g}) and cutmix_probability "
                f"({self.cutmix_probability:g}) are shares of the same batches: more than 1 in all"
            )

    def with_places(self, place: Callable[[str], str], file: Callable[[str], str]) -> TrainOptions:
        """A copy in which `place` is applied to each path or name of a run or model, and `file` to
        `network` and `error`, which may be `FILE.py:FUNCTION`."""
        return replace(
            self,
            network=file(self.network),
            error=file(self.error),
            initial=place(self.initial),
            estimates=place(self.estimates),
            looks_of=place(self.looks_of),
            teachers=tuple(map(place, self.teachers)),
        )

    @property
    def needs_votes(self) -> bool:
        """Whether this recipe uses FER+'s votes."""
        return self.ferplus_weight > 0 or self.relabel_weight > 0

    def steps_per_epoch(self, n: int) -> int:
        """Steps of gradient descent in an epoch of `n` faces; an incomplete batch is left out."""
        return max(1, n // self.batch_size)

    def _check(self, option: Field[Any]) -> None:
        """Raise `OptionError` where a value breaks one of the rules given at its field."""
        name, value, kind = option.name, getattr(self, option.name), type(option.default)
        within, one_of, needs = (option.metadata[rule] for rule in ("within", "one_of", "needs"))
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise OptionError(f"expected {name} to be of type {kind.__name__}, found {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise OptionError(f"expected {name} to be a finite number, found {value}")
        if within and not _IS_WITHIN[within](value):
            raise OptionError(f"expected {name} {within}, found {value}")
        if one_of and value not in one_of:
            expected = f"to be one of {', '.join(one_of)}"
            raise OptionError(f"expected {name} {expected}, found {value}")
        in_use = not needs or any(getattr(self, other) for other in needs.split(" or "))
        if value != option.default and not in_use:
            raise _of_no_use(name, value, needs)


def _of_no_use(name: str, value: Any, needed: str) -> OptionError:
    return OptionError(f"{name} ({value}) is of no use without {needed}")
