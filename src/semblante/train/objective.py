"""The error that gradient descent minimises: targets, mixing of faces, losses, distillation.

A target is a row of probabilities:

    columns 0 to 6    for the emotions
    the next 8        for FER+'s emotions, if `ferplus_weight` > 0
    the last 7        the teachers' for the emotions, if `teacher_views` (see `views.py`);
                      the last 15 with `teach_votes`: for FER+'s emotions, too

Mixing two faces mixes their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semblante.data.ferplus import FERPLUS_EMOTIONS
from semblante.emotions import N_EMOTIONS
from semblante.errors import OptionError
from semblante.train.options import CROSS_ENTROPY, TrainOptions
from semblante.train.user_code import load_own, reason_with_line

N_WITH_FERPLUS: Final = N_EMOTIONS + len(FERPLUS_EMOTIONS)

ErrorFunction = Callable[[Tensor, Tensor], Tensor]  # logits and targets (n, classes) -> error


def smoothed(labels: Tensor, smoothing: float) -> Tensor:
    """Targets (n, 7) with label smoothing: 1 - `smoothing` for the label, and `smoothing` spread
    evenly over all emotions (Szegedy et al., CVPR 2016, section 7)."""
    return F.one_hot(labels, N_EMOTIONS) * (1 - smoothing) + smoothing / N_EMOTIONS


def mixed(inputs: Tensor, targets: Tensor, options: TrainOptions) -> tuple[Tensor, Tensor]:
    """Apply mixup, cutmix or neither to a batch, at random."""
    drawn = float(torch.rand(()))
    if drawn < options.mixup_probability:
        return mixup(inputs, targets, options.mixup_alpha)
    if drawn < options.mixup_probability + options.cutmix_probability:
        return cutmix(inputs, targets, options.cutmix_alpha)
    return inputs, targets


def mixup(inputs: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Mix each face and its target with another of the batch, all with the same weight (Zhang et
    al., ICLR 2018)."""
    weight = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(inputs), device=inputs.device)
    return (
        weight * inputs + (1 - weight) * inputs[other],
        weight * targets + (1 - weight) * targets[other],
    )


def cutmix(inputs: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of another face into each face, at the same place (Yun et al., ICCV 2019).

    The targets are mixed in proportion to the areas of the two faces.
    """
    weight = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(inputs), device=inputs.device)
    height, width = inputs.shape[-2:]
    half = (1 - weight) ** 0.5 / 2
    y, x = (float(place) for place in torch.rand(2))
    top, bottom = (round(min(max(y + d, 0), 1) * height) for d in (-half, half))
    left, right = (round(min(max(x + d, 0), 1) * width) for d in (-half, half))
    pasted = inputs.clone()
    pasted[..., top:bottom, left:right] = inputs[other, ..., top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return pasted, kept * targets + (1 - kept) * targets[other]


def class_weights(labels: Tensor) -> Tensor:
    """Weights (7,) inversely proportional to each class's share, with a mean of 1 over the faces; 0
    for a class without faces."""
    counts = labels.bincount(minlength=N_EMOTIONS).float()
    present = counts > 0
    weights = torch.where(present, len(labels) / counts.clamp(min=1), 0.0)
    return weights / present.sum()


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Cross-entropy with target probabilities (n, classes). Each face's error is multiplied by the
    mean of the class weights (classes,) under its target.

    `F.cross_entropy` would weight each class's term of the sum instead: its minimum is then no
    longer at the target, but at too high a probability for rare classes if labels are smoothed.
    """
    if weights is None:
        return F.cross_entropy(logits, targets)
    errors = F.cross_entropy(logits, targets, reduction="none")
    # Not `targets @ weights`, which autocast would compute in bfloat16.
    return (errors * (targets * weights).sum(dim=1)).mean()


def own_error(name: str, device: torch.device | None = None) -> ErrorFunction:
    """The user's own error function, see `user_code.py`; raises `OptionError` if it does not return
    a single number that can be differentiated."""
    function = load_own(name)
    logits = torch.zeros(2, N_EMOTIONS, device=device, requires_grad=True)
    try:
        found = function(logits, torch.full((2, N_EMOTIONS), 1 / N_EMOTIONS, device=device))
        torch.autograd.grad(found, logits)
    except Exception as error:
        raise OptionError(
            f"{name}: gives no error of logits and targets (2, {N_EMOTIONS}) of which the gradient "
            f"could be taken: {reason_with_line(name, error)}"
        ) from error
    return function


class Objective:
    """The error of a network on a batch, as `options` define it."""

    def __init__(
        self,
        options: TrainOptions,
        *,
        weights: Tensor | None = None,
        teachers: Sequence[nn.Module] = (),
        device: torch.device | None = None,
    ) -> None:
        """`weights`: class weights (7,); `teachers`: networks whose first 7 logits are FER2013's
        emotions; `device`: where the faces are, by default the CPU."""
        self.options = options
        if options.error == CROSS_ENTROPY:
            self._of_labels: ErrorFunction = partial(weighted_cross_entropy, weights=weights)
        else:
            self._of_labels = own_error(options.error, device)
        self.teachers = list(teachers)

    def __call__(
        self,
        step_logits: Callable[[Tensor], list[Tensor]],
        inputs: Tensor,
        targets: Tensor,
        teacher_inputs: Tensor | None = None,
    ) -> Tensor:
        """The error at the last recurrent step plus `all_steps_weight` times the mean error at
        earlier steps.

        `step_logits` gives the logits after each recurrent step that counts, in order. The teachers
        classify `teacher_inputs`, if given (the inputs before `occlude`), else `inputs`; with
        `teacher_views` they did so beforehand, and `targets` contains the result.
        """
        options = self.options
        soft_targets = None
        if options.teacher_views:
            targets, soft_targets = targets.tensor_split([-self.n_soft_targets], dim=1)
        elif self.teachers:
            soft_targets = self.soft_targets(inputs if teacher_inputs is None else teacher_inputs)
        *earlier, last = (
            self._error(logits.float(), targets, soft_targets) for logits in step_logits(inputs)
        )
        if not earlier:
            return last
        return last + options.all_steps_weight * torch.stack(earlier).mean()

    def _error(self, logits: Tensor, targets: Tensor, soft_targets: Tensor | None) -> Tensor:
        options = self.options
        emotions, votes = heads(logits)
        target, target_votes = heads(targets)
        error = self._of_labels(emotions, target)
        if options.ferplus_weight > 0:
            error = error + options.ferplus_weight * F.cross_entropy(votes, target_votes)
        if soft_targets is None:
            return error
        soft_target, soft_votes = heads(soft_targets)
        from_teachers = distillation(emotions, soft_target, options.temperature)
        if options.teach_votes:
            of_votes = distillation(votes, soft_votes, options.temperature)
            from_teachers = from_teachers + options.ferplus_weight * of_votes
        share = options.distill_weight
        return (1 - share) * error + share * from_teachers

    @property
    def n_soft_targets(self) -> int:
        """How many probabilities the teachers give for each face."""
        return N_WITH_FERPLUS if self.options.teach_votes else N_EMOTIONS

    @torch.no_grad()
    def soft_targets(self, inputs: Tensor) -> Tensor:
        """The mean of the teachers' probabilities for these very `inputs`, at the recipe's
        temperature: (n, 7), or (n, 15) with `teach_votes`, which adds FER+'s emotions."""
        views = [inputs, inputs.flip(-1)] if self.options.mirrored_teachers else [inputs]
        soft = []
        for teacher in self.teachers:
            for view in views:
                logits = teacher(view).float()[:, : self.n_soft_targets] / self.options.temperature
                soft.append(torch.cat([part.softmax(dim=1) for part in heads(logits)], dim=1))
        return torch.stack(soft).mean(dim=0)


def heads(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Split numbers into those of FER2013's emotions, (n, 7), and of FER+'s, (n, 8) or (n, 0)."""
    return numbers[:, :N_EMOTIONS], numbers[:, N_EMOTIONS:]


def distillation(logits: Tensor, soft_targets: Tensor, temperature: float) -> Tensor:
    """The distillation loss KL(soft_targets || softmax(logits / temperature)) * temperature^2.

    `soft_targets`: probabilities (n, classes) at the same `temperature`. The cross-entropy of
    Hinton et al. (2015) has the same gradient; this loss is 0 where both sides agree.
    """
    ours = F.log_softmax(logits / temperature, dim=1)
    return F.kl_div(ours, soft_targets, reduction="batchmean") * temperature**2
