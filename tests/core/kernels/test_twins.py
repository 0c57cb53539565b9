"""Pieces of a step as one node of autograd, against the same written out and differentiated by PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from xpet.core.kernels import residual_norm
from xpet.core.kernels.adam import BETAS, adam_step
from xpet.core.kernels.bottleneck import RELU, TANH_GELU, bottleneck
from xpet.core.kernels.feed_forward import feed_forward
from xpet.core.kernels.low_rank import low_rank_linear
from xpet.core.kernels.residual_norm import norm_of_sum

RUNS, ROWS, LENGTH, WIDTH = 3, 2, 5, 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def by_run(hidden: Tensor) -> Tensor:
    return hidden.reshape(RUNS, -1, hidden.shape[-1])


def alike(one: Callable[..., Tensor], other: Callable[..., Tensor], inputs: list[Tensor], trained: list[int]) -> None:
    """Both give the same values, and the same gradients of the inputs with these numbers."""
    found = []
    for function in (one, other):
        mine = [value.clone().requires_grad_(index in trained) for index, value in enumerate(inputs)]
        out = function(*mine)
        assert out.requires_grad
        gradients = torch.autograd.grad((out * drawn(*out.shape, seed=9)).sum(), [mine[index] for index in trained])
        with torch.no_grad():
            assert torch.equal(function(*mine), out)
        found.append([out, *gradients])
    for mine, expected in zip(*found, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("trained", [[0, 2, 3], [2, 3]])
def test_low_rank_linear(has_bias: bool, trained: list[int]) -> None:
    bias = drawn(4) if has_bias else None

    def plain(hidden: Tensor, weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
        added = torch.einsum("gni,gri,gor->gno", by_run(hidden), down, up) * 0.7
        return functional.linear(hidden, weight, bias) + added.reshape(RUNS * ROWS, LENGTH, 4)

    inputs = [drawn(RUNS * ROWS, LENGTH, WIDTH), drawn(4, WIDTH), drawn(RUNS, 2, WIDTH), drawn(RUNS, 4, 2)]
    alike(lambda h, w, d, u: low_rank_linear(h, w, bias, d, u, 0.7), plain, inputs, trained)


@pytest.mark.parametrize("activation", [TANH_GELU, RELU])
def test_bottleneck(activation: str) -> None:
    def plain(output: Tensor, down: Tensor, down_bias: Tensor, up: Tensor, up_bias: Tensor) -> Tensor:
        before = torch.einsum("gni,goi->gno", by_run(output), down) + down_bias.unsqueeze(1)
        act = functional.gelu(before, approximate="tanh") if activation == TANH_GELU else functional.relu(before)
        return output + (torch.einsum("gni,goi->gno", act, up) + up_bias.unsqueeze(1)).reshape(output.shape)

    inputs = [
        drawn(RUNS * ROWS, LENGTH, WIDTH), drawn(RUNS, 2, WIDTH), drawn(RUNS, 2), drawn(RUNS, WIDTH, 2),
        drawn(RUNS, WIDTH),
    ]  # fmt: skip
    alike(partial(bottleneck, activation=activation), plain, inputs, [0, 1, 2, 3, 4])


def test_feed_forward() -> None:
    def plain(hidden: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> Tensor:
        return functional.gelu(hidden @ first.T + first_bias) @ second.T + second_bias

    inputs = [drawn(4, LENGTH, WIDTH), drawn(8, WIDTH), drawn(8), drawn(WIDTH, 8), drawn(WIDTH)]
    alike(feed_forward, plain, inputs, [0])


@pytest.mark.parametrize("runs", [1, RUNS])
@pytest.mark.parametrize("trained", [[0, 1, 2, 3], [0, 1], [0, 1, 3]])
def test_norm_of_sum(runs: int, trained: list[int]) -> None:
    def plain(output: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        total = output + residual
        centred = total - total.mean(dim=-1, keepdim=True)
        unit = (centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()).reshape(runs, -1, WIDTH)
        return (unit * weight.unsqueeze(1) + bias.unsqueeze(1)).reshape(output.shape)

    inputs = [
        drawn(RUNS * ROWS, LENGTH, WIDTH), drawn(RUNS * ROWS, LENGTH, WIDTH, seed=1), drawn(runs, WIDTH),
        drawn(runs, WIDTH, seed=1),
    ]  # fmt: skip
    alike(partial(norm_of_sum, epsilon=1e-5), plain, inputs, trained)


def test_a_sum_of_two_types_has_the_wider_ones_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under autocast; a kernel would give the type of the first."""
    asked: list[torch.dtype] = []

    def chosen(output: Tensor, weight: Tensor) -> residual_norm.NormKernel:
        asked.append(output.dtype)
        return residual_norm.PLAIN

    monkeypatch.setattr(residual_norm, "_kernel_for", chosen)
    output, residual, weight, bias = (
        drawn(*shape).float() for shape in ((4, WIDTH), (4, WIDTH), (1, WIDTH), (1, WIDTH))
    )
    mine = norm_of_sum(output.bfloat16(), residual, weight, bias, 1e-5)
    assert mine.dtype == torch.float32
    assert torch.equal(mine, functional.layer_norm(output.bfloat16() + residual, (WIDTH,), weight[0], bias[0], 1e-5))
    assert not asked
    norm_of_sum(output, residual, weight, bias, 1e-5)
    assert asked == [torch.float32]


def test_what_is_kept_of_a_feed_forward_is_its_activations_input() -> None:
    kept: list[tuple[int, ...]] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    hidden = drawn(4, LENGTH, WIDTH).requires_grad_()
    weights = drawn(8, WIDTH), drawn(8), drawn(WIDTH, 8), drawn(WIDTH)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        feed_forward(hidden, *weights)
    assert sorted(kept) == sorted([(4, LENGTH, 8), (8, WIDTH), (WIDTH, 8)])  # and the frozen weights


def test_a_step_of_adam_leaves_runs_that_are_not_alive_as_they_are() -> None:
    parameter, gradient = drawn(3, 7), drawn(3, 7, seed=1)
    gradient[1, 2] = torch.inf
    mine, moments = parameter.clone(), [torch.zeros_like(parameter) for _ in range(2)]
    rates, alive = torch.tensor([[0.1], [0.2], [0.3]]).double(), torch.tensor([[True], [False], [True]])
    root = torch.full_like(rates, (1 - BETAS[1]) ** 0.5)
    adam_step(mine, gradient, moments[0], moments[1], rates / (1 - BETAS[0]), root, alive)
    for run in range(3):
        value = parameter[run].clone().requires_grad_()
        value.grad = gradient[run]
        if alive[run]:
            torch.optim.Adam([value], lr=float(rates[run])).step()
        torch.testing.assert_close(mine[run], value.detach(), atol=1e-12, rtol=1e-12)
    assert all(moment.isfinite().all() for moment in moments)
