"""The map behind the head: what it makes of features, and the head that a run holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import towers
from xpet.core import linear_map as core
from xpet.core.config import MethodConfig
from xpet.methods.build import build_stack
from xpet.methods.linear_map import behind_head
from xpet.methods.table import METHODS

CLOSED_FORM = METHODS["linear-map"].closed_form


def features(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, towers.DIMENSIONS, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_head_gives_what_the_map_makes_of_the_features(dtype: torch.dtype) -> None:
    assert CLOSED_FORM is not None
    texts = towers.pad(towers.texts(12, seed=9))
    stack = build_stack(towers.tower(dtype), MethodConfig("linear-map"), [1])
    with torch.no_grad(), stack.bare():
        bare = stack(*texts)
    for candidate in CLOSED_FORM(MethodConfig("linear-map"), bare, features(12, seed=1).to(dtype)):
        state = candidate.parameters(stack.state(0))
        assert {name: (value.shape, value.dtype) for name, value in state.items()} == {
            name: (value.shape, dtype) for name, value in stack.state(0).items()
        }
        stack.load(0, state)
        with torch.no_grad(), stack.one(0):
            torch.testing.assert_close(
                stack(*texts), candidate.features(bare), atol=1e-4 if dtype == torch.float32 else 1e-10, rtol=0
            )
        stack.reset([1])


def test_the_head_by_hand() -> None:
    fitted = core.LinearMap(torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([5.0, 7.0]))
    head = {"LinearTransformation.weight": torch.tensor([[1.0, 2, 3], [4, 5, 6]]),
            "LinearTransformation.bias": torch.tensor([10.0, 20.0])}  # fmt: skip
    found = [value.tolist() for value in behind_head(fitted, head).values()]
    assert found == [[[8.0, 10, 12], [1, 2, 3]], [45.0, 17.0]]


def test_the_untouched_head_is_a_candidate_to_the_last_bit() -> None:
    assert CLOSED_FORM is not None
    stack = build_stack(towers.tower(torch.float32), MethodConfig("linear-map"), [1])
    first = next(iter(CLOSED_FORM(MethodConfig("linear-map"), features(9, 1).float(), features(9, 2).float())))
    assert first.name == "identity"
    head = stack.state(0)
    assert all(torch.equal(value, head[name]) for name, value in first.parameters(head).items())


def test_candidates_are_named_and_those_that_were_asked_for() -> None:
    assert CLOSED_FORM is not None
    found = list(CLOSED_FORM(MethodConfig("linear-map", maps=("ridge", "shift")), features(9, 1), features(9, 2)))
    assert [each.name for each in found] == ["identity", "shift", *(f"ridge {s:g}" for s in core.STRENGTHS)]
    moved = found[1].features(features(9, 1)).numpy()
    np.testing.assert_allclose(moved.mean(axis=0), features(9, 2).numpy().mean(axis=0), atol=1e-12)
