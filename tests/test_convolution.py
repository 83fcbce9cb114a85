"""The quick way back of a convolution against torch's own in double precision."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semblante.train import convolution
from semblante.train.convolution import Convolution, side_by_side

pytestmark = pytest.mark.filterwarnings("error")


def gradients(layer: torch.nn.Conv2d, maps: Tensor, upstream: Tensor) -> list[Tensor]:
    """Of the maps, the kernel and, where there is one, the bias; as autocast computes them."""
    layer.zero_grad()
    maps = maps.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(maps)
    assert outputs.dtype == torch.bfloat16
    outputs.backward(upstream.to(outputs.dtype))
    return [maps.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n", [1, 8, 11])
@pytest.mark.parametrize(
    ("size", "stride", "height", "width"),
    [(3, 1, 6, 6), (3, 2, 12, 12), (3, 2, 9, 9), (5, 1, 8, 7), (5, 3, 7, 16), (3, 1, 2, 1)],
)
def test_the_gradients_are_those_of_a_convolution(
    monkeypatch: pytest.MonkeyPatch,
    size: int, stride: int, height: int, width: int, n: int, bias: bool,
) -> None:  # fmt: skip
    """Small whole numbers, which bfloat16 holds exactly, and their sums in fp32 as well."""
    monkeypatch.setattr(convolution, "has_amx", lambda: True)
    taken = []
    monkeypatch.setattr(convolution, "side_by_side", lambda *a: taken.append(1) or side_by_side(*a))
    torch.manual_seed(0)
    layer = Convolution(5, 4, size, stride=stride, padding=size // 2, bias=bias)
    maps = torch.randint(-1, 2, (n, 5, height, width)).float()
    for parameter in layer.parameters():
        parameter.data = torch.randint(-1, 2, parameter.shape).float()
    shape = F.conv2d(maps, layer.weight, None, stride, size // 2).shape
    upstream = torch.randint(-1, 2, shape).float()

    exact = torch.nn.Conv2d(5, 4, size, stride=stride, padding=size // 2, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    wide = maps.double().requires_grad_()
    exact(wide).backward(upstream.double())
    expected = [wide.grad, *(parameter.grad for parameter in exact.parameters())]

    found = gradients(layer, maps, upstream)
    assert len(taken) == 2  # the maps, and the gradient of the outputs
    assert len(found) == len(expected) == (3 if bias else 2)
    for ours, theirs in zip(found, expected, strict=True):
        # A sum above 256 is rounded to the 8 bits that bfloat16 has.
        torch.testing.assert_close(ours, theirs.float(), rtol=2**-8, atol=0)


@pytest.mark.parametrize(
    ("layer", "width", "amx"),
    [
        (Convolution(2, 2, 3, padding=1), 6, False),  # no matrix unit
        (Convolution(2, 2, 3, padding=1), 9, True),  # wide enough
        (Convolution(2, 2, 1), 6, True),  # no neighbours
        (Convolution(2, 2, 3), 6, True),  # another size
        (Convolution(2, 2, 3, padding=1, groups=2), 6, True),
        (Convolution(2, 2, 3, padding=1, dilation=2), 6, True),
    ],
)
def test_everything_else_goes_torchs_way(
    monkeypatch: pytest.MonkeyPatch, layer: Convolution, width: int, amx: bool
) -> None:
    monkeypatch.setattr(convolution, "has_amx", lambda: amx)
    monkeypatch.setattr(convolution, "side_by_side", lambda *_: pytest.fail("was not to be called"))
    maps = torch.randn(3, 2, width, width)
    plain = torch.nn.Conv2d.forward(layer, maps)
    with torch.autocast("cpu", torch.bfloat16):
        layer(maps).float().sum().backward()
    assert torch.equal(layer(maps), plain)  # in fp32 as ever


def test_faces_lie_side_by_side_with_zeros_between() -> None:
    maps = torch.arange(1.0, 1 + 9 * 2 * 2 * 3).reshape(9, 2, 2, 3)
    wide = side_by_side(maps, 1)
    assert wide.shape == (2, 2, 2, 8 * 4)
    assert wide.is_contiguous(memory_format=torch.channels_last)
    for number, face in enumerate(maps):
        row, place = divmod(number, 8)
        strip = wide[row, :, :, 4 * place : 4 * place + 4]
        assert torch.equal(strip[:, :, :3], face)
        assert not strip[:, :, 3].any()
    assert not wide[1, :, :, 4:].any()  # seven faces are missing
