"""The recurrent layer and network against the equations, written out slowly."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from semblante.errors import OptionError
from semblante.train.networks import (
    NETWORKS,
    build_network,
    count_multiply_adds,
    count_parameters,
)
from semblante.train.recurrent import (
    GatedRecurrentConvolution,
    LiangHuNetwork,
    RecurrentConvolution,
    RecurrentNetwork,
)

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


@pytest.mark.parametrize(("enlargement", "side"), [(64 / 48, 64), (7 / 6, 56)])
def test_faces_are_enlarged_as_opencv_does_it(enlargement: float, side: int) -> None:
    """A side divides by 8 again after it, so that strides leave nothing over."""
    size = {"stem": 2, "channels": (3, 4), "steps": (1, 2), "strides": (2, 2), "dropout": 0.0}
    network = with_random_norms(RecurrentNetwork(**size, enlargement=enlargement)).eval()
    plain = RecurrentNetwork(**size).eval()
    plain.load_state_dict(network.state_dict())
    face = torch.randn(1, 1, 48, 48)
    larger = cv2.resize(face[0, 0].numpy(), (side, side), interpolation=cv2.INTER_LINEAR)
    with torch.no_grad():
        found, expected = network(face), plain(torch.from_numpy(larger)[None, None])
        assert network.first_maps(face).shape == (1, 2, side, side)
    np.testing.assert_allclose(found, expected, atol=1e-5)


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


@pytest.mark.parametrize("stride", [1, 2])
def test_gated_layer_equals_its_equations(stride: int) -> None:
    """Wang & Hu 2017, equations 4 to 6, a step at a time."""
    torch.manual_seed(4)
    layer = with_random_norms(GatedRecurrentConvolution(2, 3, 2, stride=stride)).double().eval()
    u = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    kernels = {
        name: getattr(layer, name).weight.detach().numpy()
        for name in ("feed_forward", "recurrent", "gate_feed_forward", "gate_recurrent")
    }
    face = u[0].numpy()
    fixed = slow_convolution(face, kernels["feed_forward"], stride)
    gate_fixed = slow_convolution(face, kernels["gate_feed_forward"], stride)
    x = np.maximum(slow_norm(fixed, layer.norms[0]), 0)
    for t in (1, 2):
        gate_input = slow_norm(gate_fixed, layer.gate_feed_forward_norms[t - 1]) + slow_norm(
            slow_convolution(x, kernels["gate_recurrent"], 1), layer.gate_recurrent_norms[t - 1]
        )
        gate = 1 / (1 + np.exp(-gate_input))
        context = slow_norm(
            slow_convolution(x, kernels["recurrent"], 1), layer.recurrent_norms[t - 1]
        )
        context = slow_norm(context * gate, layer.gated_norms[t - 1])
        x = np.maximum(slow_norm(fixed, layer.norms[t]) + context, 0)
    np.testing.assert_allclose(layer(u)[0].detach().numpy(), x, atol=1e-12)


@pytest.mark.parametrize("n_maps", [16, 24])  # whose neighbourhoods are of 3 and of 4 maps
def test_local_response_normalisation_equals_its_formula(n_maps: int) -> None:
    layer = RecurrentConvolution(1, n_maps, 0, norm="lrn").double().eval()
    u = 30 * torch.randn(1, 1, 3, 3, dtype=torch.float64)
    maps = torch.relu(layer.feed_forward(u))[0].detach().numpy()
    neighbours = n_maps // 8 + 1
    expected = np.empty_like(maps)
    for k in range(n_maps):
        near = maps[max(0, k - neighbours // 2) : k + (neighbours - 1) // 2 + 1]
        expected[k] = maps[k] / (1 + 0.001 / neighbours * (near**2).sum(axis=0)) ** 0.75
    np.testing.assert_allclose(layer(u)[0].detach().numpy(), expected, rtol=1e-10)


def test_pooling() -> None:
    size = {"stem": 4, "channels": (6,), "steps": (1,), "strides": (2,), "dropout": 0.0}
    faces = torch.randn(2, 1, 48, 48)
    for pooling, pool in (("average", torch.mean), ("max", torch.amax)):
        network = RecurrentNetwork(**size, pooling=pooling).eval()
        state = network.layers[0](torch.relu(network.stem_norm(network.stem(faces))))
        expected = network.classifier(pool(state, dim=(2, 3)))
        torch.testing.assert_close(network(faces), expected)
    with pytest.raises(ValueError, match="unknown pooling 'min'; known: average, max"):
        RecurrentNetwork(**size, pooling="min")


def test_a_shared_norm_is_one() -> None:
    shared = RecurrentConvolution(2, 4, 3, norm="shared-batch")
    assert len({id(norm) for norm in shared.norms}) == 1
    assert len({id(norm) for norm in RecurrentConvolution(2, 4, 3).norms}) == 4
    with pytest.raises(ValueError, match="unknown norm 'group'; known: batch, shared-batch, lrn"):
        RecurrentConvolution(2, 4, 3, norm="group")


def test_the_last_layer_classified_at_every_step() -> None:
    network = build_network("rcnn-tiny").eval()
    faces = torch.randn(3, 1, 48, 48)
    found = network.all_steps(faces)
    assert [logits.shape for logits in found] == [(3, 7)] * 3  # t = 0, 1, 2
    assert torch.equal(found[-1], network(faces))
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize(("maps", "published"), [(96, 0.67), (128, 1.19), (160, 1.86)])
def test_parameters_of_liang_and_hu(maps: int, published: float) -> None:
    """Table 3 of the paper, in millions: for CIFAR-10's three channels and ten classes."""
    network = LiangHuNetwork(maps=maps, norm="lrn", in_channels=3, n_classes=10)
    assert round(count_parameters(network) / 1e6, 2) == published


def test_the_shipped_network_is_small() -> None:
    network = build_network("rcnn-small")
    assert count_parameters(network) == 834_471
    assert count_multiply_adds(network) == 171_861_312  # w_f * u counted once: at most 0.2 G


def test_multiply_adds_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(2304, 5)
    )
    assert count_multiply_adds(network) == 9 * 4 * 24 * 24 + 2304 * 5
    assert network.training


def test_the_twins_have_what_they_are_named_after() -> None:
    ours = build_network("rcnn-small")
    parameters, work = (
        build_network(f"rcnn-small-twin-{kind}") for kind in ("parameters", "multiply-adds")
    )
    assert count_parameters(parameters) == pytest.approx(count_parameters(ours), rel=0.005)
    assert count_multiply_adds(work) == count_multiply_adds(ours)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_classifies(name: str) -> None:
    network = build_network(name, 15).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 48, 48)).shape == (1, 15)


def test_unknown_network_lists_the_known() -> None:
    with pytest.raises(OptionError, match="unknown network 'vit'; known: rcnn-small"):
        build_network("vit")
