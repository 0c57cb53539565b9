"""Stacks side by side: in order, the same numbers, and no thread left behind."""

from __future__ import annotations

import threading

import pytest
import torch

from tests import towers
from xpet.core.config import FitConfig, MethodConfig, RunConfig
from xpet.core.events import Event, Notice, OnEvent, Progress
from xpet.methods.stack import Stack, build_stack
from xpet.models.text_tower import twin
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.stacklike import StackLike
from xpet.training.workers import in_order

FIT = FitConfig(batch_size=5, steps=10, validate_every=5)
RATES = (1e-3, 2e-3)
GROUPS = [[RunConfig("de", "routine1", "mse", learning_rate=rate, seed=seed)] for seed in (1, 2) for rate in RATES]


def stacks(count: int) -> list[Stack]:
    base = towers.tower()
    pristine = twin(base)
    return [build_stack(twin(pristine), MethodConfig("lora"), [1]) for _ in range(count)]


def train(stack: StackLike, group: list[RunConfig], on_event: OnEvent) -> dict[str, torch.Tensor]:
    stack.reset([run.seed for run in group])
    data = [(run, towers.run_data(run.seed)) for run in group]
    return fit(stack, data, FIT, towers.pad, make_engine("cpu"), on_event)[0].state


def test_several_at_a_time_learn_what_one_after_another_does() -> None:
    one = list(in_order(stacks(1), GROUPS, train, lambda event: None))
    lock = threading.Lock()

    def locked(stack: StackLike, group: list[RunConfig], on_event: OnEvent) -> dict[str, torch.Tensor]:
        with lock:  # as jobs do: initial values come from the process's generator
            stack.reset([run.seed for run in group])
        data = [(run, towers.run_data(run.seed)) for run in group]
        return fit(stack, data, FIT, towers.pad, make_engine("cpu"), on_event)[0].state

    many = list(in_order(stacks(3), GROUPS, locked, lambda event: None))
    assert len(one) == len(many) == 4
    for alone, beside in zip(one, many, strict=True):
        assert all(torch.allclose(value, beside[name], atol=1e-12, rtol=0) for name, value in alone.items())
    different = one[0].keys() and any(not torch.equal(one[0][name], one[1][name]) for name in one[0])
    assert different


@pytest.mark.parametrize("count", [1, 2])
def test_progress_is_that_of_the_whole_and_notices_pass(count: int) -> None:
    heard: list[Event] = []

    def work(stack: object, group: int, on_event: OnEvent) -> int:
        on_event(Notice(f"group {group}"))
        for step in (5, 10):
            on_event(Progress("training", step, 10, "a note"))
        return group

    assert list(in_order([object()] * count, [0, 1, 2], work, heard.append)) == [0, 1, 2]  # type: ignore[list-item]
    told = [event for event in heard if isinstance(event, Progress)]
    assert sorted(event.done for event in told) == [5, 10, 15, 20, 25, 30]
    assert {(event.total, event.note) for event in told} == {(30, "a note")}
    assert sorted(event.text for event in heard if isinstance(event, Notice)) == ["group 0", "group 1", "group 2"]


def test_an_error_of_one_stops_the_others() -> None:
    before = threading.active_count()
    going = threading.Event()

    def work(stack: object, group: int, on_event: OnEvent) -> int:
        if group == 0:
            going.wait(10)
            raise ValueError("no")
        for step in range(10**9):  # for ever, unless it is stopped
            on_event(Progress("training", step, 10**9))
            going.set()
        return group

    with pytest.raises(ValueError, match="no"):
        list(in_order([object()] * 2, [0, 1, 2], work, lambda event: None))  # type: ignore[list-item]
    assert threading.active_count() == before


def test_who_stops_reading_stops_the_work() -> None:
    before = threading.active_count()

    def work(stack: object, group: int, on_event: OnEvent) -> int:
        for step in range(10**9 if group else 1):
            on_event(Progress("training", step, 10**9))
        return group

    results = in_order([object()] * 2, [0, 1, 2], work, lambda event: None)  # type: ignore[list-item]
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_each_worker_has_its_share_of_the_threads() -> None:
    whole = torch.get_num_threads()
    found = list(in_order([object()] * 2, [0, 1], lambda s, g, e: torch.get_num_threads(), lambda event: None))  # type: ignore[list-item]
    assert found == [max(1, whole // 2)] * 2
    assert torch.get_num_threads() == whole


def test_a_twin_shares_the_weights_and_nothing_else() -> None:
    base = towers.tower()
    other = twin(base)
    ids, mask = towers.pad(towers.texts(4, seed=1))
    assert torch.equal(base(ids, mask), other(ids, mask))
    for mine, its in zip(base.parameters(), other.parameters(), strict=True):
        assert mine is not its
        assert mine.data_ptr() == its.data_ptr()
    stack = build_stack(other, MethodConfig("lora"), [1])
    with torch.no_grad(), stack.all():
        stack.flat[0].add_(1.0)
        assert not torch.equal(base(ids, mask), stack(ids, mask))
    assert base.transformer.config is not other.transformer.config
