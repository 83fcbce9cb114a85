"""All networks by name, their sizes, and checks of whether a network can follow a recipe."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from semblante.emotions import N_EMOTIONS
from semblante.errors import OptionError, reason_of
from semblante.preprocess import FACE_SIZE
from semblante.train.feedforward import (
    VggNetwork,
    course_cnn,
    dense_network,
    feed_forward_twin,
    residual_network,
)
from semblante.train.objective import N_WITH_FERPLUS
from semblante.train.options import TrainOptions
from semblante.train.recurrent import LiangHuNetwork, RecurrentNetwork
from semblante.train.user_code import file_of, load_own, reason_with_line

Builder = Callable[[int], nn.Module]  # number of outputs -> network


def _recurrent(**size: Any) -> Builder:
    return lambda n: RecurrentNetwork(n_classes=n, strides=(2, 2, 2), **size)


def _twin(size: dict[str, Any], depths: tuple[int, ...]) -> Builder:
    width = {name: size[name] for name in ("stem", "channels", "dropout")}
    return lambda n: feed_forward_twin(n_classes=n, strides=(2, 2, 2), depths=depths, **width)


def _with_controls(name: str, **size: Any) -> dict[str, Builder]:
    """A recurrent network, and its variants with one thing changed, for controlled comparisons."""
    return {
        name: _recurrent(**size),
        f"{name}-gated": _recurrent(**size, gated=True),
        f"{name}-shared-norm": _recurrent(**size, norm="shared-batch"),
        f"{name}-lrn": _recurrent(**size, norm="lrn"),
        f"{name}-twin-parameters": _twin(size, (1, 1, 1)),
        f"{name}-twin-multiply-adds": _twin(size, size["steps"]),
    }


# For their sizes, see `count_parameters` and `count_multiply_adds`.
NETWORKS: Final[dict[str, Builder]] = {
    # The training of the released weights begins with rcnn-small.
    **_with_controls("rcnn-small", stem=32, channels=(64, 128, 192), steps=(2, 3, 3), dropout=0.2),
    # The small model that ships: one step fewer at 12x12 pixels, a tenth less time. It can start
    # from rcnn-small's weights.
    "rcnn-small-223": _recurrent(stem=32, channels=(64, 128, 192), steps=(2, 2, 3), dropout=0.2),
    # Half of rcnn-small-223's stem and three quarters of its first layer: a fifth less time. It can
    # start from the most important units of rcnn-small-223, see `transfer.py`.
    "rcnn-slim": _recurrent(stem=16, channels=(48, 128, 192), steps=(2, 2, 3), dropout=0.2),
    # For tests, first tries and controls that a laptop can afford.
    **_with_controls("rcnn-tiny", stem=8, channels=(16, 24, 32), steps=(1, 2, 2), dropout=0.0),
    # Half as wide as rcnn-small, a quarter of its work.
    "rcnn-mini": _recurrent(stem=16, channels=(32, 64, 96), steps=(2, 3, 3), dropout=0.0),
    # The same kernels on faces enlarged to 64x64: 1.8 times the work (docs/experiments.md).
    "rcnn-small-64": _recurrent(
        stem=32, channels=(64, 128, 192), steps=(2, 3, 3), dropout=0.2, enlargement=64 / 48
    ),
    # The larger model that ships. It can start from rcnn-small's weights, see `transfer.py`.
    "rcnn-medium": _recurrent(stem=32, channels=(80, 160, 256), steps=(2, 3, 3), dropout=0.2),
    # Wider still, as large as two megabytes in int8 allow: no more accurate (docs/experiments.md).
    "rcnn-large": _recurrent(stem=32, channels=(96, 192, 288), steps=(2, 3, 3), dropout=0.2),
    # The network of Liang & Hu with 96, 128 or 160 maps.
    "rcnn-96": lambda n: LiangHuNetwork(n_classes=n, maps=96),
    "rcnn-128": lambda n: LiangHuNetwork(n_classes=n, maps=128),
    "rcnn-160": lambda n: LiangHuNetwork(n_classes=n, maps=160),
    "course-cnn": course_cnn,
    # Teachers. The first is at least twice as wide as rcnn-small and halves its maps later.
    "rcnn-wide": lambda n: RecurrentNetwork(
        n_classes=n,
        stem=64,
        channels=(128, 256, 512),
        steps=(2, 3, 3),
        strides=(1, 2, 2),
        dropout=0.4,
    ),
    "resnet": lambda n: residual_network(
        n_classes=n, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2)
    ),
    "se-resnet": lambda n: residual_network(
        n_classes=n, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), squeeze=True
    ),
    "wide-resnet": lambda n: residual_network(
        n_classes=n, widths=(160, 320, 640), blocks=(3, 3, 3), block_dropout=0.2
    ),
    "vgg-small": lambda n: VggNetwork(n_classes=n, widths=(32, 64, 128, 256), depths=(2, 2, 3, 3)),
    "vgg": lambda n: VggNetwork(n_classes=n, widths=(64, 128, 256, 512), depths=(2, 2, 3, 3)),
    "vgg-wide": lambda n: VggNetwork(n_classes=n, widths=(96, 192, 384, 512), depths=(2, 2, 3, 3)),
    "densenet": lambda n: dense_network(n_classes=n, growth=32, blocks=(6, 12, 16)),
}


def build_network(name: str, n_outputs: int = 7) -> nn.Module:
    """A freshly initialised network of `NETWORKS`, or a user's own network, see `user_code.py`.

    Raises `OptionError` for another name, or where a user's own network cannot be made.
    """
    if not is_known(name):
        raise OptionError(
            f"unknown network {name!r}; known: {', '.join(NETWORKS)}, and FILE.py:FUNCTION"
        )
    if name in NETWORKS:
        return NETWORKS[name](n_outputs)
    builder = load_own(name)
    try:
        made = builder(n_outputs)
    except Exception as error:
        raise OptionError(
            f"{name}: cannot be made with {n_outputs} outputs: {reason_with_line(name, error)}"
        ) from error
    if not isinstance(made, nn.Module):
        raise OptionError(f"{name}: expected a torch.nn.Module, found {type(made).__name__}")
    return made


def n_outputs(options: TrainOptions) -> int:
    """The number of logits: one for each emotion, and for each of FER+'s if these are learnt."""
    return N_WITH_FERPLUS if options.ferplus_weight > 0 else N_EMOTIONS


def is_known(name: str) -> bool:
    """Whether the name is one of `NETWORKS` or has the form of a user's own network."""
    return name in NETWORKS or file_of(name) is not None


def check_fits(
    network: nn.Module, options: TrainOptions, batch: int, teachers: Sequence[nn.Module] = ()
) -> None:
    """Raise `OptionError` if the network, or one of the given `teachers`, cannot follow the recipe
    with batches of `batch` faces."""
    if options.all_steps_weight > 0 and not isinstance(network, RecurrentNetwork):
        raise OptionError(
            f"all_steps_weight is above 0, but {options.network} has no steps of its own "
            "to classify: choose 0 for it"
        )
    # The check before a series of runs has not loaded the teachers: `teachers` is empty.
    named_teachers = list(zip(options.teachers, teachers, strict=False))
    if options.small_until > 0:
        # With `teacher_views` the teachers see faces of the usual size, once.
        small = [] if options.teacher_views else named_teachers
        for name, one in [(options.network, network), *small]:
            _check_small(name, one, options.small_side)
    if options.teach_votes:
        for name, one in named_teachers:
            _check_votes(name, one)
    if batch == 1:
        side = options.small_side if options.small_until else FACE_SIZE
        _check_one(options.network, network, side)


def check_outputs(name: str, network: nn.Module, n: int) -> None:
    """Raise `OptionError` if the network does not give n numbers for each face, or fails in
    training mode."""
    try:
        found = tuple(_tried(network, 2).shape)
        _tried(network, 2, training=True)
    except Exception as error:  # a user's own network may raise anything
        reason = reason_with_line(name, error) if file_of(name) else reason_of(error)
        shape = (2, 1, FACE_SIZE, FACE_SIZE)
        raise OptionError(f"{name} takes no faces of shape {shape}: {reason}") from None
    if found != (2, n):
        raise OptionError(f"{name}: expected {n} numbers for each of 2 faces, found shape {found}")


def _check_small(name: str, network: nn.Module, side: int) -> None:
    try:
        _tried(network, 1, side)
    except Exception:  # it accepts faces of the usual size, see `check_outputs`
        raise OptionError(
            f"small_until is above 0, but {name} takes no faces of {side} pixels: choose 0 for it"
        ) from None


def _check_votes(name: str, teacher: nn.Module) -> None:
    n = _tried(teacher, 1).shape[1]
    if n != N_WITH_FERPLUS:
        raise OptionError(
            f"teach_votes: expected a teacher that learnt FER+'s votes, found {name}, which gives "
            f"{n} numbers for each face instead of {N_WITH_FERPLUS}"
        )


def _check_one(name: str, network: nn.Module, side: int) -> None:
    try:
        _tried(network, 1, side, training=True)
    except ValueError:  # a batch norm needs more than one value for each channel
        raise OptionError(
            f"{name} normalises over the faces of a step: expected at least 2 in each, found 1"
        ) from None


@torch.no_grad()
def _tried(
    network: nn.Module, n: int, side: int = FACE_SIZE, *, training: bool = False
) -> torch.Tensor:
    """The outputs of a copy for n empty faces: in training mode norms update their statistics."""
    tried = copy.deepcopy(network).cpu().train(training)
    return tried(torch.zeros(n, 1, side, side))  # type: ignore[no-any-return]


def count_parameters(network: nn.Module) -> int:
    """The number of trained parameters; the statistics of norms do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module) -> int:
    """The number of multiply-adds of all convolutions and matrix products for one face.

    They are counted while the network runs: a kernel that is used at several steps counts each
    time.
    """
    counter = FlopCounterMode(display=False)
    was_training = network.training
    try:
        with torch.no_grad(), counter:
            network.eval()(torch.zeros(1, 1, FACE_SIZE, FACE_SIZE))
    finally:
        network.train(was_training)
    return counter.get_total_flops() // 2  # it counts a multiplication and an addition as two
