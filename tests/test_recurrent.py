"""The recurrent layer and network against the equations, written out slowly."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from semblante.errors import OptionError
from semblante.train.networks import NETWORKS, build_network, count_parameters
from semblante.train.recurrent import RecurrentConvolution, RecurrentNetwork

Maps = npt.NDArray[np.float64]


def slow_convolution(maps: Maps, kernel: Maps, stride: int) -> Maps:
    """One unit at a time: maps (c, H, W), kernel (k, c, s, s), zeros around the edge."""
    side = kernel.shape[-1]
    padded = np.pad(maps, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    _, height, width = maps.shape
    out = np.zeros((len(kernel), -(-height // stride), -(-width // stride)))
    for k, i, j in itertools.product(*map(range, out.shape)):
        window = padded[:, i * stride : i * stride + side, j * stride : j * stride + side]
        out[k, i, j] = (window * kernel[k]).sum()
    return out


def slow_norm(maps: Maps, norm: nn.BatchNorm2d) -> Maps:
    """Batch normalisation with the statistics it has gathered (Ioffe & Szegedy 2015, alg. 2)."""
    mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
    gain, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    out = np.empty_like(maps)
    for k in range(len(maps)):
        out[k] = gain[k] * (maps[k] - mean[k]) / np.sqrt(variance[k] + norm.eps) + bias[k]
    return out


def slow_recurrent_layer(u: Maps, layer: RecurrentConvolution, stride: int) -> Maps:
    """Liang & Hu 2015, equations 1 to 3, nothing computed once that stands twice."""
    w_f = layer.feed_forward.weight.detach().numpy()
    w_r = layer.recurrent.weight.detach().numpy()
    b = layer.feed_forward.bias.detach().numpy()[:, None, None]
    x: Maps | None = None
    for t in range(layer.steps + 1):
        z = slow_convolution(u, w_f, stride) + b
        if x is not None:
            z = z + slow_convolution(x, w_r, 1)
        x = slow_norm(np.maximum(z, 0), layer.norms[t])
    assert x is not None
    return x


def with_random_norms(module: nn.Module) -> nn.Module:
    """Fresh normalisations do nothing; give each its own statistics, as training would."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return module


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_layer_equals_its_equations(steps: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = with_random_norms(RecurrentConvolution(2, 3, steps, stride=stride)).double().eval()
    u = torch.randn(1, 2, 7, 6, dtype=torch.float64)
    expected = slow_recurrent_layer(u[0].numpy(), layer, stride)
    np.testing.assert_allclose(layer(u)[0].detach().numpy(), expected, atol=1e-12)


def test_network_equals_its_equations() -> None:
    torch.manual_seed(1)
    network = RecurrentNetwork(stem=2, channels=(3, 4), steps=(1, 2), strides=(2, 1), dropout=0.5)
    with_random_norms(network).double().eval()
    face = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    x = slow_convolution(face[0].numpy(), network.stem.weight.detach().numpy(), 1)
    x = np.maximum(slow_norm(x, network.stem_norm), 0)
    for layer, stride in zip(network.layers, (2, 1), strict=True):
        x = slow_recurrent_layer(x, layer, stride)
    expected = (
        network.classifier.weight.detach().numpy() @ x.mean(axis=(1, 2))
        + network.classifier.bias.detach().numpy()
    )
    np.testing.assert_allclose(network(face)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_gradient_equals_finite_differences(training: bool) -> None:
    torch.manual_seed(2)
    layer = with_random_norms(RecurrentConvolution(2, 2, 2)).double().train(training)
    u = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]
    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def outputs(u: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (u,))

    assert torch.autograd.gradcheck(outputs, (u, *weights))


def test_each_step_gathers_its_own_statistics() -> None:
    torch.manual_seed(3)
    layer = RecurrentConvolution(2, 4, 3).train()
    layer(torch.randn(8, 2, 10, 10))
    means = [norm.running_mean for norm in layer.norms]
    assert len(means) == 4
    for one, other in itertools.combinations(means, 2):
        assert not torch.allclose(one, other)


def test_recurrence_widens_what_a_unit_sees() -> None:
    """With T steps a unit of the layer sees 3 + 2T pixels a side, as the paper says."""
    for steps in (0, 1, 3):
        layer = RecurrentConvolution(1, 1, steps).eval()
        nn.init.ones_(layer.feed_forward.weight)
        nn.init.ones_(layer.recurrent.weight)
        u = torch.ones(1, 1, 15, 15, requires_grad=True)
        layer(u)[0, 0, 7, 7].backward()
        seen = (u.grad[0, 0] != 0).sum(dim=0)
        assert int((seen > 0).sum()) == 3 + 2 * steps


def multiply_adds(network: nn.Module) -> int:
    """Of all convolutions and linear layers, for one face of 48x48."""
    total = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * output[0, 0].numel()

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    network.eval()(torch.zeros(1, 1, 48, 48))
    return total


def test_the_shipped_network_is_small() -> None:
    network = build_network("rcnn-small")
    assert count_parameters(network) == 834_471
    assert multiply_adds(network) == 171_861_312  # w_f * u counted once: at most 0.2 G


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_classifies(name: str) -> None:
    assert build_network(name)(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_unknown_network_lists_the_known() -> None:
    with pytest.raises(OptionError, match="unknown network 'resnet'; known: rcnn-small"):
        build_network("resnet")
