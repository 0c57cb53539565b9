"""Recorded steps: as a GPU replays them, in the memory they were recorded in and with nothing from the host."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests import towers
from tests.training.test_checkpoint import Trained
from tests.training.test_stream import STACKABLE, STRUCK, check, runs, streamed
from xpet.core.config import FitConfig, FitPlan, MethodConfig, RunConfig
from xpet.core.errors import ConfigError
from xpet.core.events import Diverged, Event, Notice, Progress, Validated
from xpet.core.presets import DEFAULT
from xpet.core.typed import build
from xpet.methods.build import build_stack
from xpet.training import graphs
from xpet.training.answers import Answers
from xpet.training.checkpoint import read_checkpoint
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.graphs import Recordings, ReplayedStep
from xpet.training.selection import TrainedRun
from xpet.training.session import Session
from xpet.training.slots import Cohort
from xpet.training.step import StepBatch

FIT = FitPlan(batch_size=5, steps=20, validate_every=5)
HOST = ("_local_scalar_dense", "nonzero", "is_nonzero", "item")
"""Operations that a device would have to answer."""


class Recording(TorchDispatchMode):
    """Remembers every operation with the very tensors it saw, as a CUDA graph remembers kernels and addresses."""

    def __init__(self, fault: Callable[[str], None] = lambda name: None) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []
        self.fault = fault

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in HOST, f"{func} waits for the device"
        self.fault(name)
        out = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, out in self.done:
                again = func(*args, **kwargs)
                mine = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
                for before, now in zip(tree_leaves(out), tree_leaves(again), strict=True):
                    if _is_tensor(before) and before.untyped_storage().data_ptr() not in mine:
                        before.copy_(now)  # views and what is changed in place are where they were


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, Tensor)


class Recorder:
    """Stands for CUDA graphs; counts recordings and replays. `fault` may fail, given the name of an operation."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0
        self.fault: Callable[[str], None] = lambda name: None

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        with Recording(self.fault) as recording:
            work()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            recording.replay()

        return replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(graphs, "cuda_graphs", lambda: made)
    monkeypatch.setattr(graphs, "check", lambda config, engine, processes=1: None)
    monkeypatch.setattr(graphs, "_broken", [])
    return made


@pytest.mark.parametrize(("name", "dropout"), [*((name, "off") for name in (*STACKABLE, "words")), ("lora", "model")])
def test_replayed_steps_learn_what_steps_do(name: str, dropout: str, recorder: Recorder) -> None:
    words = MethodConfig("lora", rank=4, train=("embeddings",), embedding_rank=4)
    config = {**towers.METHOD_CONFIGS, "words": words}[name]
    given, steps = runs(rows=15), replace(FIT, dropout=dropout)
    plain, _, _ = streamed(config, given, steps)
    found, _, _ = streamed(config, given, replace(steps, cuda_graphs=True))
    for mine, other in zip(found, plain, strict=True):
        assert mine.number == other.number
        check(mine, other)
    assert recorder.recorded >= 3  # the stack was exchanged, which ends what was recorded
    assert recorder.replayed > recorder.recorded


def test_frozen_anchors_and_pictures_are_read_anew(recorder: Recorder) -> None:
    data = replace(
        towers.run_data(1, rows=15), anchor=None,
        anchor_features=_Rows(torch.randn(15, towers.DIMENSIONS, dtype=torch.float64)),
        image_captions=towers.texts(15, seed=9),
    )  # fmt: skip
    run = (RunConfig("de", "text", "mse", 0.5, learning_rate=2e-3), data)
    found = []
    for wanted in (False, True):
        stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1])
        found += fit(stack, [run], replace(FIT, cuda_graphs=wanted), towers.pad, make_engine("cpu"))
    check(found[0], found[1])
    assert recorder.replayed > 0


class _Rows:
    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __getitem__(self, rows: Any, /) -> Tensor:
        return self.features[list(rows)]


@dataclass(frozen=True)
class Given:
    tensors: tuple[Tensor, ...]
    key: int = 0


def test_a_shape_is_recorded_the_second_time_and_replayed_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    total = torch.zeros(2)

    def work(given: Given) -> None:
        done.append("work")
        total.add_(given.tensors[0].sum())

    recorder = Recorder()
    steps = ReplayedStep(work, Recordings(lambda: recorder))
    for value in (1.0, 2.0, 3.0, 4.0):
        steps(Given((torch.full((3,), value),)))
    assert total.tolist() == [30.0, 30.0]
    assert (len(done), recorder.recorded, recorder.replayed) == (2, 1, 2)
    for other in (Given((torch.ones(4),)), Given((torch.ones(3),), key=1), Given((torch.ones(3, dtype=torch.long),))):
        steps(other)
    assert (len(done), recorder.recorded) == (5, 1)
    monkeypatch.setattr(graphs, "MOST_SHAPES", 1)
    steps(Given((torch.ones(4),)))
    assert (len(done), recorder.recorded) == (6, 1)  # no more than so many
    plain = ReplayedStep(work, Recordings())
    plain(Given((torch.ones(3),)))
    plain(Given((torch.ones(3),)))
    assert not plain.recorded
    assert not plain.seen


def test_a_replay_that_does_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_broken", [])
    total, other, events = torch.zeros(2), torch.zeros(1), list[Event]()

    def work(given: Given) -> None:
        total.add_(given.tensors[0].sum())
        other.add_(1)

    def forgetful(work: Callable[[], None]) -> Callable[[], None]:
        work()
        return lambda: None

    steps = ReplayedStep(work, Recordings(lambda: forgetful, events.append), lambda: ([total, other], [total]))
    for value in (1.0, 2.0, 3.0, 4.0):
        steps(Given((torch.full((3,), value),)))
    assert (total.tolist(), other.tolist()) == ([30.0, 30.0], [4.0])
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "steps are computed one by one, not recorded: a replayed step gave other numbers than a plain one"
    ]


ONE, SHORT = runs(None, rows=14)[:1], replace(FIT, steps=11, validate_every=2)
MIB = 1 << 20


@pytest.fixture(scope="module")
def plainly() -> TrainedRun:
    """One run whose steps are not recorded."""
    return streamed(towers.METHOD_CONFIGS["lora"], ONE, SHORT)[0][0]


def take(reserved: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[bool, int, list[str]]]:
    """Record one piece of work after another, where 1000 MiB are idle -> whether it was, MiB held, what was told.

    So much is reserved before and after each recording.
    """
    left, events = [graphs.DeviceMemory(each * MIB, 1000 * MIB) for each in reserved], list[Event]()
    monkeypatch.setattr(graphs, "device_memory", lambda: left.pop(0))
    recordings = Recordings(lambda: lambda work: work, events.append)
    while left:
        was = recordings.take(lambda: None) is not None
        yield was, recordings.held // MIB, [event.text for event in events if isinstance(event, Notice)]
        events.clear()


def test_recordings_hold_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(take([2000, 2300, 2300, 2350, 2350, 2440, 2440], monkeypatch))
    assert found[:3] == [(True, 300, []), (True, 350, []), (True, 440, [])]
    full = "steps of further shapes are not recorded: the 3 that are hold 440 MiB, and there is no room for more"
    assert found[3:] == [(False, 440, [full])]
    text = "steps are computed one by one, not recorded: recordings hold 600 MiB, more than the 400 MiB that are left"
    assert list(take([0, 600], monkeypatch)) == [(True, 0, [text])]


def test_after_a_failure_with_nothing_recorded_there_is_new_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that no recording is left in cannot be used again."""
    monkeypatch.setattr(graphs, "_broken", [])
    pools: list[int] = []

    def make() -> graphs.Record:
        pool = len(pools)
        pools.append(0)

        def record(work: Callable[[], None]) -> Callable[[], None]:
            pools[pool] += 1
            if pools[0] == 1 and pool == 0:
                raise RuntimeError("operation failed due to a previous error during capture")
            return work

        return record

    recordings = Recordings(make)
    assert recordings.take(lambda: None) is None
    assert recordings.take(lambda: None) is not None
    assert recordings.take(lambda: None) is not None
    assert pools == [1, 2]


class FakeGraph:
    """Stands for `torch.cuda.CUDAGraph`; ending a recording that failed fails, too."""

    done: list[str] = []
    fails = False

    def capture_begin(self, pool: Any, capture_error_mode: str) -> None:
        self.done.append(f"begin in {pool}, {capture_error_mode}, collecting {gc.isenabled()}")

    def capture_end(self) -> None:
        self.done.append("end")
        if self.fails:
            raise RuntimeError("operation failed due to a previous error during capture")

    def replay(self) -> None:
        self.done.append("replay")


@pytest.mark.parametrize(("free", "fails"), [(9, False), (1, True)])
def test_a_graph_is_ended_whatever_happens(free: int, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(FakeGraph, "done", done)
    monkeypatch.setattr(FakeGraph, "fails", fails)
    for name, value in {
        "CUDAGraph": FakeGraph, "graph_pool_handle": lambda: "pool", "current_device": lambda: 0,
        "Stream": lambda device, priority: f"stream {device}, {priority}", "memory_reserved": lambda: 7,
        "memory_allocated": lambda: 3, "mem_get_info": lambda: (free, 10), "empty_cache": lambda: done.append("empty"),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    on_stream: list[str] = []

    @contextmanager
    def stream(chosen: str) -> Iterator[None]:
        on_stream.append(chosen)
        try:
            yield
        finally:
            on_stream.pop()

    def work() -> None:
        done.append(f"work on {on_stream}")
        if fails:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def end(device: int, pool: str) -> None:
        done.append(f"allocator ends {pool} on {device}")

    def is_over(device: int, pool: str) -> None:
        raise RuntimeError("endAllocatePool: not currently recording to mempool_id")

    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(graphs, "_recording_stream", graphs._recording_stream.__wrapped__)
    monkeypatch.setattr(graphs, "_record_little", lambda: done.append(f"record little on {on_stream}"))
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateCurrentStreamToPool", is_over, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda device, pool: done.append(f"release {pool} on {device}"))
    record = graphs.cuda_graphs()
    begun = ["begin in pool, thread_local, collecting False", "work on ['stream 0, -1']", "end"]
    if fails:
        with pytest.raises(torch.OutOfMemoryError):
            record(work)
        ended = ["allocator ends pool on 0", "release pool on 0", "record little on ['stream 0, -1']"]
        assert done == ["empty", *begun, *ended]
    else:
        record(work)()
        assert done == [*begun, "replay", "replay"]
    assert gc.isenabled()
    assert not on_stream


def full(recorder: Recorder) -> None:
    """No memory for a third recording."""
    if recorder.recorded == 2:
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("broken", ["forward", "backward", "memory"])
def test_steps_that_cannot_be_recorded_are_taken_all_the_same(
    broken: str, plainly: TrainedRun, recorder: Recorder
) -> None:
    def fault(name: str) -> None:
        if broken == "memory":
            full(recorder)
        elif name == {"forward": "native_layer_norm", "backward": "native_layer_norm_backward"}[broken]:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with ...")

    recorder.fault, events = fault, list[Event]()
    (found,), _, _ = streamed(towers.METHOD_CONFIGS["lora"], ONE, replace(SHORT, cuda_graphs=True), events)
    check(found, plainly)
    told = [event.text for event in events if isinstance(event, Notice) and "recorded" in event.text]
    if broken == "memory":
        text = "steps of further shapes are not recorded: the 2 that are hold 0 MiB, and there is no room for more"
        assert recorder.replayed
    else:
        reason = "CUDA error: operation not permitted when stream is capturing"
        text = f"steps are computed one by one, not recorded: {reason}"
        assert recorder.recorded == (broken == "backward")  # a validation, between the two steps that failed
        assert not graphs.recordings_of(FitPlan(cuda_graphs=True), make_engine("cpu")).is_on  # nor is it tried again
    assert told == [text]


def test_recordings_make_way_for_plain_steps(
    plainly: TrainedRun, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, step = list[Event](), Session._step

    def short(self: Session, batch: StepBatch) -> None:
        if self.recordings.count and self.advance.is_plain(batch):
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(self, batch)

    monkeypatch.setattr(Session, "_step", short)
    (found,), _, _ = streamed(towers.METHOD_CONFIGS["lora"], ONE, replace(SHORT, cuda_graphs=True), events)
    check(found, plainly)
    assert recorder.recorded
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "steps are computed one by one, not recorded: recordings leave no memory for steps of further shapes"
    ]


def test_what_the_device_found_is_told_a_round_later(recorder: Recorder) -> None:
    given, events, plain = runs(rows=15)[: STRUCK + 1], list[Event](), list[Event]()
    streamed(towers.METHOD_CONFIGS["lora"], given, replace(FIT, cuda_graphs=True), events)
    streamed(towers.METHOD_CONFIGS["lora"], given, FIT, plain)
    mine, other = (sorted((e.label, e.step) for e in heard if isinstance(e, Validated)) for heard in (events, plain))
    assert mine == other
    told = [[event for event in heard if isinstance(event, Diverged)] for heard in (events, plain)]
    assert told[0] == told[1] == [Diverged(given[STRUCK][0].label, told[0][0].step)]
    notes = [event.note for event in events if isinstance(event, Progress)]
    assert any(re.search(r"ms/step, \d recorded in 0 MiB$", note) for note in notes)


def test_validations_are_recorded_too(plainly: TrainedRun, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    judge = Session._judge

    def counted(self: Session, cohort: Cohort) -> None:
        judged.append(self.step)
        judge(self, cohort)

    monkeypatch.setattr(Session, "_judge", counted)
    events = list[Event]()
    (found,), _, _ = streamed(towers.METHOD_CONFIGS["lora"], ONE, replace(SHORT, cuda_graphs=True), events)
    check(found, plainly)
    assert [event.step for event in events if isinstance(event, Validated)] == [0, 2, 4, 6, 8, 10, 11]
    assert judged == [0, 2, 4]  # plainly, to record it, and to compare the first replay; then it is replayed


def test_a_checkpoint_holds_what_is_not_yet_read(plainly: TrainedRun, recorder: Recorder, tmp_path: Path) -> None:
    method, plan = towers.METHOD_CONFIGS["lora"], replace(SHORT, cuda_graphs=True)
    stopped = Trained(tmp_path / "stopped", ONE, method, plan, dtype=torch.float64).go(6)
    assert recorder.replayed
    (path,) = (tmp_path / "stopped").iterdir()
    entries = {run.label: [entry["step"] for entry in run.history] for run in read_checkpoint(path).runs}
    assert entries == {ONE[0][0].label: [0, 2, 4, 6]}
    (found,) = stopped.go(4).go().outcomes.values()
    check(found, plainly)


def test_answers_come_in_order_and_a_round_later() -> None:
    heard: list[Any] = []
    later, now, value = Answers(later=True), Answers(later=False), torch.zeros(2)
    for number in range(3):
        value += 1
        later.ask(value, heard.append)
        assert heard == [[float(n)] * 2 for n in range(1, number)]
        later.turn()
        assert heard == [[float(n)] * 2 for n in range(1, number + 1)]
    later.flush()
    assert heard.pop() == [3.0, 3.0]
    later.turn()
    now.ask(value, heard.append)
    assert heard == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]


def test_what_cannot_be_recorded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine("cpu")
    with pytest.raises(ConfigError) as error:
        graphs.check(FitPlan(cuda_graphs=True), engine)
    assert error.value.problems == (
        "--cuda-graphs needs a GPU: expected device cuda, found cpu; leave --cuda-graphs out",
    )
    monkeypatch.setattr(type(engine), "device", torch.device("cuda"))
    graphs.check(FitPlan(cuda_graphs=True), engine)
    with pytest.raises(ConfigError) as error:
        graphs.check(FitPlan(cuda_graphs=True, layout="padded"), engine)
    assert error.value.problems == ("--cuda-graphs needs packed captions: expected --layout packed, found padded",)


def test_a_padded_step_waits_for_the_device(recorder: Recorder) -> None:
    """Why it cannot be recorded: transformers asks whether anything is padded."""
    run, events = (RunConfig("de", "routine1", "mse", 0.5), towers.run_data(1, rows=15)), list[Event]()
    stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1])
    fit(stack, [run], replace(FIT, layout="padded", cuda_graphs=True), towers.pad, make_engine("cpu"), events.append)
    told = [event.text for event in events if isinstance(event, Notice)]
    assert len(told) == 1
    assert told[0].endswith("waits for the device")


def test_what_is_left_to_us_is_recorded_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine("cpu")
    monkeypatch.setattr(graphs, "cuda_graphs", Recorder)
    monkeypatch.setattr(graphs, "_broken", [])
    assert not graphs.recordings_of(FitPlan(), engine).is_on
    monkeypatch.setattr(type(engine), "device", torch.device("cuda"))
    for plan, processes, wanted in (
        (FitPlan(), 1, True), (FitPlan(cuda_graphs=True), 1, True), (FitPlan(cuda_graphs=False), 1, False),
        (FitPlan(layout="padded"), 1, False), (FitPlan(gradient_cache=8), 1, False), (FitPlan(compile=True), 1, False),
        (FitPlan(), 2, False),
    ):  # fmt: skip
        assert graphs.recordings_of(plan, engine, processes).is_on == wanted


@pytest.mark.parametrize("stored", [None, True, False])
def test_configurations_of_before_are_read(stored: bool | None) -> None:
    config = build(FitConfig, {"cuda_graphs": stored})
    assert config.cuda_graphs is stored
    assert config.complete(DEFAULT).cuda_graphs is stored
