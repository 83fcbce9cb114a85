"""The device to train on: the precision and memory layout that are quick there, kept memory."""

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

_TIMINGS: Final = 7  # of each precision; the quickest counts
# Parameters of `mallopt`, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def this_device() -> torch.device:
    """The first GPU, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16. "auto" means yes on a GPU that supports it, and on a CPU on
    which it is measured to be quicker than fp32."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bf16_is_quicker()


@cache
def bf16_is_quicker() -> bool:
    """Whether the forward and backward pass of a convolution take less time in bfloat16 than in
    fp32 on this CPU, each in its own layout.

    It is measured because a CPU's bfloat16 instructions are not necessarily quick
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
    """The memory layout for the feature maps and kernels of a network.

    channels_last is the quicker layout for convolutions. On a CPU, though, torch's batch
    normalisation sums in this layout with a relative error of up to 1e-3: no more than that of
    bfloat16, but too much for fp32.
    """
    return torch.channels_last if bf16 or device.type == "cuda" else torch.contiguous_format


def to_device(network: nn.Module, device: torch.device, bf16: bool) -> nn.Module:
    """Move the network to `device` and into the layout that is quick there; returns the network."""
    network.to(device)
    network.to(memory_format=quick_layout(device, bf16))  # type: ignore[call-overload]
    return network


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """A context in which torch computes suitable operations in bfloat16, if `bf16` is True."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def keep_freed_memory() -> None:
    """Let glibc's allocator keep freed memory for the next step; without glibc, do nothing.

    The feature maps of a batch take tens of megabytes. By default the allocator requests blocks of
    this size from the system and returns them as soon as they are freed, so the system has to zero
    all of their pages again at each step: more than a tenth of the time of rcnn-small on a CPU.
    """
    with suppress(OSError, AttributeError):  # no glibc
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 256 * 2**20)
