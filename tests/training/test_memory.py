"""How many runs are trained side by side: measured memory, what saturates the device, even stacks."""

from __future__ import annotations

import pytest
import torch

from tests import towers
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.training import memory
from xpet.training.device import make_engine
from xpet.training.memory import bytes_per_run, flop_per_step, runs_per_stack
from xpet.training.queue import RunData

RUN = RunConfig("de", "routine1", "mse")
FIT = FitPlan(batch_size=7, steps=4)


@pytest.fixture
def stack() -> Stack:
    return build_stack(towers.tower(), MethodConfig("lora"), [1])


def chosen(stack: Stack, count: int, fit: FitPlan = FIT) -> int:
    runs = [(RUN, towers.run_data(1))] * count
    return runs_per_stack(stack, runs, fit, towers.pad, make_engine("cpu"))


def test_flop_follow_the_formula(stack: Stack) -> None:
    data = towers.run_data(1)
    assert data.anchor is not None
    tokens = sum(map(len, data.student)) / 14 + sum(map(len, data.anchor)) / 14
    assert flop_per_step(stack.tower, data, 7) == pytest.approx(4 * 7 * tokens * 2 * (4 * 64**2 + 2 * 64 * 96))


def test_as_many_as_saturate_in_even_stacks(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    each = flop_per_step(stack.tower, towers.run_data(1), 7)
    monkeypatch.setitem(memory.SATURATED, "cpu", 15.5 * each)
    assert [chosen(stack, count) for count in (1, 5, 16, 17, 32, 150)] == [1, 5, 16, 9, 16, 15]


def test_no_more_than_fit_into_the_memory(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(memory.SATURATED, "cpu", 1e30)
    each = bytes_per_run(stack, (RUN, towers.run_data(1)), FIT, towers.pad, make_engine("cpu"))
    monkeypatch.setattr(memory, "free_bytes", lambda engine: int(3.5 * each / memory.SHARE_OF_FREE))
    assert chosen(stack, 30) == 3
    monkeypatch.setattr(memory, "free_bytes", lambda engine: 1)
    assert chosen(stack, 30) == 1


def test_what_the_user_says_counts(stack: Stack) -> None:
    assert chosen(stack, 30, FitPlan(batch_size=7, stack=7)) == 7


def test_memory_of_a_run_grows_with_its_batch_and_halves_in_bf16() -> None:
    stack, data = build_stack(towers.tower(torch.float32), MethodConfig("lora"), [1]), towers.run_data(1, rows=64)
    data = RunData(**{**vars(data), "image": data.image.float(), "val_image": data.val_image.float()})  # type: ignore[union-attr]

    def found(batch: int, precision: str) -> float:
        config = FitPlan(batch_size=batch, steps=4)
        return bytes_per_run(stack, (RUN, data), config, towers.pad, make_engine("cpu", precision))

    assert 5 < found(64, "fp32") / found(8, "fp32") < 11  # eight times the captions, in lines of whole multiples
    assert 0.4 < found(64, "bf16") / found(64, "fp32") < 0.65  # the losses stay in single precision
