"""One run on several processes, on one machine or several, on GPUs or CPUs.

    torchrun --nproc-per-node 2 -m semblante train --data fer2013.csv --out runs/two

Every process draws the same random numbers and holds the same weights. It takes its own shard of
each batch; the gradients are averaged (DistributedDataParallel), and so are the statistics of batch
normalisation. The result is that of one process with the whole batch, except for dropout, which
drops the same units in every shard. The losses in the log are those of the first process's shards.
On several machines `--out` must be a folder that all of them share. Ctrl-C saves the run as always;
the exit code is then torchrun's own, 1.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semblante.errors import OptionError


@dataclass(frozen=True)
class Processes:
    """The processes that share a run, as seen by one of them."""

    rank: int = 0  # the number of this process
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def shard(self, batch: Tensor) -> Tensor:
        """This process's shard of a batch: (n, ...) -> (n / count, ...)."""
        return batch[self.rank :: self.count]

    def barrier(self) -> None:
        """Wait until all processes have reached this call."""
        if self.count > 1:
            dist.barrier()

    def broadcast(self, choice: bool) -> bool:
        """The first process's `choice`, in all processes."""
        if self.count == 1:
            return choice
        device = "cuda" if torch.cuda.is_available() else "cpu"
        told = torch.tensor(int(choice), device=device)
        dist.broadcast(told, src=0)
        return bool(told)

    def check_shares(self, batch_size: int, n: int) -> None:
        """Raise `OptionError` if a batch of Training's `n` faces cannot be split evenly."""
        batch_size = min(batch_size, n)
        if batch_size % self.count:
            raise OptionError(
                f"batches of {batch_size} of {n} faces of Training cannot be shared evenly by "
                f"{self.count} processes"
            )


ALONE: Final = Processes()


def all_processes() -> Processes:
    """The processes that torchrun started, or this one alone.

    The first call creates their process group, which lasts until Python exits: a process that
    leaves the group and joins a second one may find the others' old addresses and hang for ever.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        nccl = torch.cuda.is_available() and dist.is_nccl_available()  # not on Windows
        dist.init_process_group("nccl" if nccl else "gloo")
        atexit.register(dist.destroy_process_group)
    return Processes(dist.get_rank(), dist.get_world_size())


def is_first() -> bool:
    """Whether this is the process that writes files and reports; works before `all_processes`."""
    return os.environ.get("RANK", "0") == "0"


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the whole batch, of which this process has a shard.

    `torch.nn.SyncBatchNorm` works on GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, H, W) -> the same shape."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        n = dist.get_world_size() * x.numel() // x.shape[1]
        mean = _summed(values.sum(dim=(0, 2, 3))) / n
        centred = values - mean[:, None, None]
        variance = _summed((centred * centred).sum(dim=(0, 2, 3))) / n
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        scale = self.weight / torch.sqrt(variance + self.eps)
        normalised: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(context: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _summed(part: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(part)  # type: ignore[no-untyped-call]
    return total


def check_norms(network: nn.Module) -> None:
    """Raise `OptionError` if `synchronise_norms` could not replace one of the network's norms."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not (
            type(module) is nn.BatchNorm2d and module.affine and module.momentum
            and module.track_running_stats
        ):  # fmt: skip
            raise OptionError(
                f"a network with {module}, as course-cnn's dense layers have, cannot be trained by "
                "several processes, which share a plain BatchNorm2d only: start one"
            )


def synchronise_norms(network: nn.Module) -> None:
    """Replace every batch normalisation by a `SyncedBatchNorm2d` with the same tensors."""
    replaced: dict[nn.Module, SyncedBatchNorm2d] = {}  # a norm may be used in several places
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if type(child) is nn.BatchNorm2d:
                if child not in replaced:
                    synced = SyncedBatchNorm2d(child.num_features, child.eps, child.momentum)
                    synced.weight, synced.bias = child.weight, child.bias
                    synced._buffers.update(child._buffers)
                    replaced[child] = synced
                setattr(parent, name, replaced[child])
