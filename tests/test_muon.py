"""Muon against its definition by singular values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from semblante.train.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (24, 24)])
def test_all_directions_become_alike(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    sizes = [torch.diag(torch.logspace(0, -1, n)) for n in shape]
    matrix = sizes[0] @ torch.randn(shape) @ sizes[1]
    found = orthogonal(matrix)
    before, after = torch.linalg.svdvals(matrix), torch.linalg.svdvals(found)
    assert before.max() / before.min() > 5
    assert 0.5 < after.min() <= after.max() < 1.3
    # The directions themselves stay: U^T found V is diagonal.
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ found @ v.T
    assert (turned - torch.diag(turned.diagonal())).abs().max() < 1e-3


def test_nothing_has_no_direction() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_a_step_turns_a_kernel_by_alpha_and_keeps_its_length() -> None:
    torch.manual_seed(1)
    kernel = nn.Parameter(torch.randn(8, 4, 3, 3))
    length = kernel.norm().item()
    optimiser = Muon([{"params": [kernel]}], lr=0.05, momentum=0.0)
    before = kernel.detach().clone()
    # A gradient at a right angle to the kernel, as that of a kernel before a norm is, and
    # orthogonal already, so that the step is along it.
    gradient = orthogonal(torch.randn(8, 36), iterations=30)
    kernel.grad = gradient.view_as(kernel)
    optimiser.step()
    assert kernel.norm().item() == pytest.approx(length, rel=1e-5)
    cosine = torch.cosine_similarity(before.flatten(), kernel.detach().flatten(), dim=0).item()
    assert math.acos(cosine) == pytest.approx(0.05, rel=0.1)
    assert ((kernel - before) * kernel.grad).sum() < 0  # downhill


def test_a_kernel_s_step_is_along_its_momentum() -> None:
    torch.manual_seed(3)
    kernel = nn.Parameter(torch.randn(4, 2, 3, 3))
    expected, v = kernel.detach().clone(), torch.zeros(4, 18)
    optimiser = Muon([{"params": [kernel]}], lr=0.05, momentum=0.9)
    for gradient in torch.randn(3, 4, 2, 3, 3):
        kernel.grad = gradient.clone()
        optimiser.step()
        v = 0.9 * v + gradient.flatten(1)
        update = orthogonal(gradient.flatten(1) + 0.9 * v).view_as(kernel)
        length = expected.norm()
        moved = expected - 0.05 * length * update / update.norm()
        expected = moved * length / moved.norm()
        torch.testing.assert_close(kernel.detach(), expected)


def test_what_is_no_kernel_goes_by_nesterov_sgd() -> None:
    torch.manual_seed(2)
    first, second = (nn.Linear(5, 3) for _ in range(2))
    second.load_state_dict(first.state_dict())
    decay = 0.01
    ours = Muon([{"params": first.parameters(), "weight_decay": decay}], lr=0.1, momentum=0.9)
    theirs = torch.optim.SGD(
        second.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=decay
    )
    for _ in range(4):
        x = torch.randn(7, 5)
        for network, optimiser in ((first, ours), (second, theirs)):
            optimiser.zero_grad()
            network(x).square().sum().backward()
            optimiser.step()
    assert torch.allclose(first.weight, second.weight, atol=1e-6)
    assert torch.allclose(first.bias, second.bias, atol=1e-6)


def test_a_kernel_without_a_gradient_stays() -> None:
    kernel = nn.Parameter(torch.ones(2, 2, 3, 3))
    optimiser = Muon([{"params": [kernel]}], lr=0.1, momentum=0.9)
    optimiser.step()
    assert torch.equal(kernel, torch.ones(2, 2, 3, 3))
    kernel.grad = torch.zeros_like(kernel)
    optimiser.step()
    assert torch.equal(kernel, torch.ones(2, 2, 3, 3))


def test_a_kernel_without_a_gradient_or_without_length_holds_up_no_other() -> None:
    frozen, empty, last = (nn.Parameter(torch.full((2, 2, 3, 3), x)) for x in (1.0, 0.0, 1.0))
    empty.grad, last.grad = torch.ones_like(empty), torch.randn_like(last)
    Muon([{"params": [frozen, empty, last]}], lr=0.1, momentum=0.9).step()
    assert torch.equal(frozen, torch.ones_like(frozen))
    assert torch.equal(empty, torch.zeros_like(empty))
    assert not torch.equal(last, torch.ones_like(last))


def test_neither_a_gradient_s_length_nor_weight_decay_has_a_say_in_a_kernel() -> None:
    torch.manual_seed(4)
    start, gradient = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    ends = []
    for length, decay in ((1.0, 0.0), (1e-5, 0.0), (1.0, 0.5)):
        kernel = nn.Parameter(start.clone())
        kernel.grad = length * gradient
        Muon([{"params": [kernel], "weight_decay": decay}], lr=0.1, momentum=0.9).step()
        ends.append(kernel.detach())
    torch.testing.assert_close(ends[1], ends[0])
    assert torch.equal(ends[2], ends[0])


def test_there_is_no_weight_decay_unless_asked_for() -> None:
    bias = nn.Parameter(torch.ones(3))
    bias.grad = torch.zeros(3)
    Muon([{"params": [bias]}], lr=0.1, momentum=0.9).step()
    assert torch.equal(bias, torch.ones(3))


def test_in_bfloat16_a_step_is_nearly_the_same() -> None:
    torch.manual_seed(3)
    start, gradient = torch.randn(32, 16, 3, 3), torch.randn(32, 16, 3, 3)
    steps = []
    for bf16 in (False, True):
        kernel = nn.Parameter(start.clone())
        kernel.grad = gradient.clone()
        Muon([{"params": [kernel]}], lr=0.1, momentum=0.9, bf16=bf16).step()
        assert kernel.dtype == torch.float32
        assert kernel.norm().item() == pytest.approx(start.norm().item(), rel=1e-5)
        steps.append((kernel - start).flatten())
    assert not torch.equal(*steps)
    assert torch.cosine_similarity(*steps, dim=0).item() > 0.999
