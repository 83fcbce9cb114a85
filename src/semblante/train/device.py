"""What suits the processor at hand: precision and layout that are quick on it, kept memory."""

from __future__ import annotations

import ctypes
import math
import time
from contextlib import suppress
from functools import cache
from typing import Final

import torch
from torch import nn
from torch.nn import functional as F

_TIMINGS: Final = 7  # of each precision, of which the quickest counts
# What glibc's malloc.h calls the settings of its allocator.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def this_device() -> torch.device:
    """The first GPU, or else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def use_bf16(precision: str, device: torch.device) -> bool:
    """ "auto" means bfloat16 on a GPU that computes in it, and on a processor where that measures
    quicker."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bf16_is_quicker()


@cache
def bf16_is_quicker() -> bool:
    """Time a convolution, forward and back, in both precisions, each in its layout.

    That a processor has instructions for bfloat16 does not say that they are quick
    (docs/experiments.md, "bfloat16 is not quick everywhere").
    """
    seconds = {True: math.inf, False: math.inf}
    for _ in range(_TIMINGS):
        for bf16 in seconds:
            layout = quick_layout(torch.device("cpu"), bf16)
            maps, kernel = (
                torch.zeros(shape).to(memory_format=layout).requires_grad_()
                for shape in ((32, 64, 12, 12), (64, 64, 3, 3))
            )
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                outputs = F.conv2d(maps, kernel, padding=1)
            outputs.float().sum().backward()  # type: ignore[no-untyped-call]
            seconds[bf16] = min(seconds[bf16], time.perf_counter() - started)
    return seconds[True] < seconds[False]


def quick_layout(device: torch.device, bf16: bool) -> torch.memory_format:
    """Of the maps and kernels of a network that computes in bfloat16, or in fp32.

    channels_last is the quicker layout for convolutions. On a processor, though, torch's batch
    normalisation sums in it with a relative error of up to 1e-3: no more than bfloat16 has anyway,
    but more than fp32 should.
    """
    return torch.channels_last if bf16 or device.type == "cuda" else torch.contiguous_format


def to_device(network: nn.Module, device: torch.device, bf16: bool) -> nn.Module:
    """The network itself, moved to `device` and into the layout that is quick there."""
    network.to(device)
    network.to(memory_format=quick_layout(device, bf16))  # type: ignore[call-overload]
    return network


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """A context in which torch computes in bfloat16 what suits it, if `bf16`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def keep_freed_memory() -> None:
    """Let glibc's allocator keep what is freed for the next step; elsewhere nothing is done.

    Maps of a batch are tens of megabytes. The allocator takes such pieces from the system and gives
    them back at once, and the system has to clear every page of them, at every step: a tenth and
    more of the time of rcnn-small on a CPU.
    """
    with suppress(OSError, AttributeError):  # no glibc
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 256 * 2**20)
