"""Parameters in one tensor: what a forward reads of it, and gradients that come back in one tensor."""

from __future__ import annotations

import pytest
import torch

from xpet.methods.flat_values import FlatValues, split

SHAPES = {"a": torch.Size((3, 2, 2)), "b": torch.Size((3, 5))}


def held(dtype: torch.dtype = torch.float64) -> FlatValues:
    made = FlatValues()
    made.hold(torch.arange(27, dtype=dtype).reshape(3, 9), SHAPES)
    return made


def loss(values: FlatValues, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
    read = values.read(start, stop, dtype)
    return (read["a"].square().sum() + (read["b"] * 3).sum()).to(torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_of_several_passes_are_added_to_those_runs_alone(dtype: torch.dtype) -> None:
    values = held()
    loss(values, 1, 2, dtype).backward()
    values.forget()
    loss(values, 0, 3, dtype).backward()
    one = torch.cat([2 * values.flat.detach()[:, :4], torch.full((3, 5), 3.0, dtype=torch.float64)], dim=1)
    assert torch.equal(values.gradient, one * torch.tensor([[1.0], [2.0], [1.0]], dtype=torch.float64))
    first = values.gradient
    values.clear()
    assert torch.equal(values.gradient, torch.zeros(3, 9, dtype=torch.float64))
    values.forget()
    loss(values, 0, 3, dtype).backward()
    assert torch.equal(values.gradient, one)
    assert torch.equal(first[0], one[0])  # what was handed out is not overwritten


def test_what_no_loss_reaches_has_a_gradient_of_zero() -> None:
    values = held(torch.float32)
    values.read(0, 3, torch.bfloat16)["b"].sum().backward()
    assert values.gradient.dtype == torch.float32
    assert torch.equal(values.gradient, torch.tensor([0.0] * 4 + [1.0] * 5).expand(3, 9))


def test_it_is_read_once_until_forgotten_or_changed() -> None:
    values = held(torch.float32)
    first = values.read(0, 3, torch.bfloat16)
    assert values.read(0, 3, torch.bfloat16) is first
    with torch.no_grad():
        assert not values.read(0, 3, torch.bfloat16)["a"].requires_grad
        values.flat += 1
    assert torch.equal(values.read(0, 3, torch.bfloat16)["b"], first["b"] + 1)
    values.forget()
    assert values.read(0, 3, torch.float32) is not first
    assert values.read(0, 3, torch.float32)["a"].data_ptr() == values.flat.data_ptr()  # no copy in its own type


def test_views_are_of_the_tensor() -> None:
    flat = torch.arange(27).reshape(3, 9)
    parts = split(flat, SHAPES)
    assert {name: part.shape for name, part in parts.items()} == SHAPES
    assert torch.equal(parts["b"], flat[:, 4:])
    flat.zero_()
    assert not parts["a"].any()
