"""A convolution whose way back is quick for narrow maps as well, on processors with AMX.

The gradient of a kernel is a sum over all places of all maps of a batch. A matrix unit (Intel's
AMX) sums 32 places in bfloat16 at once, and oneDNN, which torch calls, gives it one row of a map at
a time: of a row of 6 places four fifths of the unit's work is for padding. Here the maps of several
faces lie side by side as one wide map, with columns of zeros between them. The sum is the same, its
order and so its rounding differ.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Measured, 192 and 256 maps of 6x6: 8 faces side by side, rather than 2, 4 or 16; of 12 places a
# row no number of faces was quicker than none (docs/experiments.md, "the way back, faces side by
# side").
_SIDE_BY_SIDE: Final = 8
_NARROW: Final = 8  # columns of the outputs, at most


class Convolution(nn.Conv2d):
    """`nn.Conv2d`, its weight's gradient computed as the module says where that is quicker."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, H, W) -> (n, out_channels, H / stride, W / stride)."""
        if not self._gains(input):
            return super().forward(input)
        # As autocast does, which does not see inside of what follows.
        numbers = (input, self.weight, self.bias)
        maps, weight, bias = (None if x is None else x.to(torch.bfloat16) for x in numbers)
        result: Tensor = _SideBySide.apply(  # type: ignore[no-untyped-call]
            maps, weight, bias, self.stride[0], self.padding
        )
        return result

    def _gains(self, input: Tensor) -> bool:
        size, stride = self.kernel_size[0], self.stride[0]
        return (
            not torch.compiler.is_compiling()
            and input.device.type == "cpu"
            and torch.is_grad_enabled()
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
            and has_amx()
            and size > 1
            and self.kernel_size == (size, size)
            and self.stride == (stride, stride)
            and self.padding == (size // 2, size // 2)
            and (self.groups, *self.dilation) == (1, 1, 1)
            and -(-input.shape[3] // stride) <= _NARROW
        )


@cache
def has_amx() -> bool:
    """Whether the processor has a matrix unit that torch can use."""
    # Not of torch's documented functions, so it need not be there in every version.
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return supported is not None and bool(supported())


class _SideBySide(torch.autograd.Function):
    """A convolution that keeps the maps' size but for its stride."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: Any
    ) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.stride, ctx.padding = stride, padding[0]
        return F.conv2d(maps, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        maps, weight = ctx.saved_tensors
        of_maps, _, of_bias = _backward(
            gradient, maps, weight, ctx, (ctx.needs_input_grad[0], False, ctx.needs_input_grad[2])
        )
        # Between two faces as many columns of zeros as the kernel looks aside by, or one or more
        # further, so that its strides come to the same places of each face.
        width, stride = maps.shape[3], ctx.stride
        period = stride * -(-(width + ctx.padding) // stride)
        strips = (
            side_by_side(gradient, period // stride - gradient.shape[3]),
            side_by_side(maps, period - width),
        )
        _, of_weight, _ = _backward(*strips, weight, ctx, (False, True, False))
        return of_maps, of_weight, of_bias, None, None


def _backward(
    gradient: Tensor, maps: Tensor, weight: Tensor, ctx: Any, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Torch's own, of the maps, the weight and the bias, those that are `wanted`."""
    stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
    found: tuple[Tensor | None, Tensor | None, Tensor | None] = torch.ops.aten.convolution_backward(
        gradient, maps, weight, [len(weight)], stride, padding, [1, 1], False, [0, 0], 1, wanted
    )
    return found


def side_by_side(maps: Tensor, gap: int) -> Tensor:
    """(n, channels, H, W) -> (n / 8, channels, H, 8 * (W + gap)), in channels_last.

    After each map `gap` columns of zeros; after the last one, if n is no multiple of 8, maps of
    zeros.
    """
    n, channels, height, width = maps.shape
    rows = -(-n // _SIDE_BY_SIDE)
    missing = rows * _SIDE_BY_SIDE - n
    padded = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 0, gap, 0, 0, 0, missing))
    faces = padded.view(rows, _SIDE_BY_SIDE, height, width + gap, channels)
    wide = faces.transpose(1, 2).reshape(rows, height, _SIDE_BY_SIDE * (width + gap), channels)
    return wide.permute(0, 3, 1, 2)
