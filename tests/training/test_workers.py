"""Stacks side by side: the same numbers, and no thread left behind."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
import torch

from tests import towers
from tests.rounding import apart
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.events import Event, OnEvent, Progress, ignore
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.models.text_tower import twin
from xpet.training import workers
from xpet.training.device import make_engine
from xpet.training.fit import stream
from xpet.training.queue import Queue, Run
from xpet.training.selection import TrainedRun
from xpet.training.setup import FitSetup
from xpet.training.stacklike import Reindex, StackLike
from xpet.training.workers import side_by_side

FIT = FitPlan(batch_size=5, steps=10, validate_every=5)
RATES = (1e-3, 2e-3)
RUNS = [RunConfig("de", "routine1", "mse", learning_rate=rate, seed=seed) for seed in (1, 2) for rate in RATES]


def stacks(count: int) -> list[Stack]:
    base = towers.tower()
    pristine = twin(base)
    return [build_stack(twin(pristine), MethodConfig("lora"), [1]) for _ in range(count)]


def trained(count: int) -> list[dict[str, torch.Tensor]]:
    queue = Queue([(run, towers.run_data(run.seed)) for run in RUNS], FIT)

    def assign(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
        return stack.reindex(kept, [run.seed for run, _ in runs])

    def work(stack: StackLike, on_event: OnEvent) -> Iterator[list[TrainedRun]]:
        yield from stream(FitSetup(stack, queue, 1, FIT, towers.pad, make_engine("cpu")), assign, on_event)

    found = [outcome for outcomes in side_by_side(stacks(count), work, ignore) for outcome in outcomes]
    return [outcome.state for outcome in sorted(found, key=lambda outcome: outcome.number)]


def test_several_at_a_time_learn_what_one_after_another_does() -> None:
    one, many = trained(1), trained(3)
    assert len(one) == len(many) == 4
    for alone, beside in zip(one, many, strict=True):
        assert all(torch.allclose(value, beside[name], atol=1e-12, rtol=0) for name, value in alone.items())
    assert any(apart(one[0][name], one[1][name], 1e-4) for name in one[0])


@pytest.mark.parametrize("count", [1, 2])
def test_events_pass_one_at_a_time(count: int) -> None:
    heard: list[Event] = []
    speaking = threading.Lock()

    def hear(event: Event) -> None:
        assert speaking.acquire(blocking=False)
        time.sleep(0.001)
        heard.append(event)
        speaking.release()

    def work(stack: object, on_event: OnEvent) -> Iterator[object]:
        for step in range(20):
            on_event(Progress("training", step, 20, "a note"))
        yield stack

    assert sorted(side_by_side(list(range(count)), work, hear)) == list(range(count))  # type: ignore[arg-type, type-var]
    assert sorted(event.done for event in heard if isinstance(event, Progress)) == sorted([*range(20)] * count)


def test_an_error_of_one_stops_the_others() -> None:
    before = threading.active_count()
    going = threading.Event()

    def work(stack: object, on_event: OnEvent) -> Iterator[int]:
        if stack == 0:
            going.wait(10)
            raise ValueError("no")
        for step in range(10**9):  # for ever, unless it is stopped
            on_event(Progress("training", step, 10**9))
            going.set()
        yield 1

    with pytest.raises(ValueError, match="no"):
        list(side_by_side([0, 1], work, ignore))  # type: ignore[list-item]
    assert threading.active_count() == before


def test_who_stops_reading_stops_the_work() -> None:
    before = threading.active_count()

    def work(stack: object, on_event: OnEvent) -> Iterator[object]:
        yield stack
        for step in range(10**9):
            on_event(Progress("training", step, 10**9))

    results = side_by_side([0, 1], work, ignore)  # type: ignore[list-item]
    assert next(results) in (0, 1)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize("taken", [3, 40])
def test_who_reads_slowly_is_waited_for(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single worker, apart from the reader: it is few results ahead, and ends when nobody reads any more."""
    monkeypatch.setattr(workers, "MOST_WAITING", 2)
    before, made, closed = threading.active_count(), [], []

    def work(stack: object, on_event: OnEvent) -> Iterator[int]:
        try:
            for number in range(40):
                made.append(threading.current_thread())
                yield number
        finally:
            closed.append(stack)

    results = side_by_side([0], work, ignore, apart=True)  # type: ignore[list-item]
    for number in range(taken):
        assert next(results) == number
        assert len(made) <= number + 4  # one that is made, two that wait, and one that is to be put
    assert taken == 40 or not closed
    results.close()
    assert closed == [0]
    assert threading.main_thread() not in made
    assert threading.active_count() == before


def test_each_worker_has_its_share_of_the_threads() -> None:
    whole = torch.get_num_threads()

    def work(stack: object, on_event: OnEvent) -> Iterator[int]:
        yield torch.get_num_threads()

    assert list(side_by_side([0, 1], work, ignore)) == [max(1, whole // 2)] * 2  # type: ignore[list-item]
    assert torch.get_num_threads() == whole


def test_a_twin_shares_the_weights_and_nothing_else() -> None:
    base = towers.tower()
    other = twin(base)
    ids, mask = towers.pad(towers.texts(4, seed=1))
    assert torch.equal(base(ids, mask), other(ids, mask))  # the very same memory
    for mine, its in zip(base.parameters(), other.parameters(), strict=True):
        assert mine is not its
        assert mine.data_ptr() == its.data_ptr()
    stack = build_stack(other, MethodConfig("lora"), [1])
    with torch.no_grad(), stack.all():
        stack.flat[0].add_(1.0)
        assert apart(base(ids, mask), stack(ids, mask))
    assert base.transformer.config is not other.transformer.config


def test_work_aside_has_one_stream_which_begins_after_what_was_given_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU; on a CPU there is nothing to it."""
    engine, calls = make_engine("cpu"), []
    with engine.aside():
        assert not calls

    class Stream:
        def __init__(self) -> None:
            calls.append("made")

        def wait_stream(self, other: object) -> None:
            calls.append(f"waits for {other}")

    def entering(stream: Stream) -> contextlib.AbstractContextManager[None]:
        calls.append("entered")
        return contextlib.nullcontext()

    for name, double in {"Stream": Stream, "current_stream": lambda: "the present one", "stream": entering}.items():
        monkeypatch.setattr(torch.cuda, name, double)
    monkeypatch.setattr(type(engine), "device", torch.device("cuda"))
    for _ in range(2):
        with engine.aside():
            pass
    assert calls == ["made", "waits for the present one", "entered", "entered"]


def test_a_thread_has_the_gpu_of_who_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself a thread would have the first."""
    chosen: list[tuple[int, bool]] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    main = threading.main_thread()
    monkeypatch.setattr(torch.cuda, "set_device", lambda n: chosen.append((n, threading.current_thread() is main)))

    def work(stack: object, on_event: OnEvent) -> Iterator[object]:
        yield stack

    assert list(side_by_side([7], work, ignore, apart=True)) == [7]  # type: ignore[list-item]
    assert chosen == [(3, False)]
