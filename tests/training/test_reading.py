"""Batches that a thread reads ahead: the same ones, none lost, in one copy; and what a step may not do."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests import towers
from tests.training.test_checkpoint import Trained, alike, in_float
from tests.training.test_graphs import Recorder, recorder
from tests.training.test_stream import FIT, check, runs, streamed
from xpet.core.config import FitPlan, RunConfig
from xpet.core.events import Event, Notice
from xpet.methods.build import build_stack
from xpet.training import fit as fit_module
from xpet.training import staging
from xpet.training.batches import BatchRows
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.reading import ReadAhead
from xpet.training.selection import TrainedRun
from xpet.training.session import Session
from xpet.training.staging import Staged, Staging, memory_of

__all__ = ["recorder"]

CPU = torch.device("cpu")


class Mark:
    """Stands for a CUDA event of a device that is two batches behind."""

    made = waited = 0

    def __init__(self) -> None:
        Mark.made += 1
        self.number = Mark.made

    def query(self) -> bool:
        return Mark.made >= self.number + 2

    def synchronize(self) -> None:
        Mark.waited += 1


class Pinning:
    """Stands for pinned memory; remembers the sizes of buffers, in bytes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, size: int) -> Tensor:
        self.sizes.append(size)
        return torch.full((size,), 0xFF, dtype=torch.uint8)


@pytest.fixture
def pinning(monkeypatch: pytest.MonkeyPatch) -> Pinning:
    """Has batches read ahead although the device is a CPU."""
    made = Pinning()

    monkeypatch.setattr(fit_module, "_staging", lambda setup, on_event: Staging(CPU, made, Mark))
    return made


def same(some: list[TrainedRun], others: list[TrainedRun]) -> None:
    assert [(run.number, run.history, run.chosen_step) for run in some] == [
        (run.number, run.history, run.chosen_step) for run in others
    ]
    for one, other in zip(some, others, strict=True):
        assert all(torch.equal(value, other.state[name]) for name, value in one.state.items())


@pytest.mark.parametrize(("layout", "rows"), [("packed", 14), ("padded", 15)])
def test_runs_that_come_and_go_learn_the_same(
    layout: str, rows: int, pinning: Pinning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One diverges, and those that wait begin in the middle of others, whose batches were read ahead."""
    before, plan = threading.active_count(), replace(FIT, layout=layout, dropout="model")
    ahead, _, _ = streamed(towers.METHOD_CONFIGS["lora"], runs(rows=rows), plan)
    assert threading.active_count() == before
    assert pinning.sizes
    monkeypatch.undo()
    plain, _, _ = streamed(towers.METHOD_CONFIGS["lora"], runs(rows=rows), plan)
    same(ahead, plain)


def test_frozen_anchors_and_captions_of_pictures_are_read_too(
    pinning: Pinning, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = replace(
        towers.run_data(1, rows=15), anchor=None, image_captions=towers.texts(9, seed=9),
        anchor_features=Rows(torch.randn(15, towers.DIMENSIONS, dtype=torch.float64)),
    )  # fmt: skip
    run = (RunConfig("de", "text", "mse", 0.5, learning_rate=2e-3), data)
    found = []
    for _ in range(2):
        stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1])
        found.append(fit(stack, [run], FIT, towers.pad, make_engine("cpu")))
        monkeypatch.undo()
    same(*found)


def test_a_replayed_step_gets_them_in_one_copy(pinning: Pinning, recorder: Recorder) -> None:
    found = []
    for wanted in (False, True):
        stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1])
        plan = replace(FIT, cuda_graphs=wanted)
        found.append(fit(stack, runs(None, rows=15)[:1], plan, towers.pad, make_engine("cpu")))
    check(found[0][0], found[1][0])
    assert recorder.replayed > 0


class Rows:
    """Features that are read when they are needed; those of the row `broken` cannot be."""

    def __init__(self, features: Tensor, broken: int | None = None) -> None:
        self.features, self.broken = features, broken

    def __getitem__(self, rows: Any, /) -> Tensor:
        if self.broken in rows:
            raise OSError("the disk is gone")
        return self.features[list(rows)]


def test_going_on_reads_the_batches_that_were_not_used(pinning: Pinning, tmp_path: Path) -> None:
    given = in_float(runs(diverging=None))
    whole = Trained(tmp_path / "whole", given).go()
    stopped = Trained(tmp_path / "stopped", given).go(4)
    stopped.go(5)
    alike(stopped.go(), whole)


def test_what_cannot_be_read_ends_the_step_that_needs_it(pinning: Pinning) -> None:
    """With the traceback of the thread that read it."""
    before, data = threading.active_count(), towers.run_data(1, rows=15)
    frozen = Rows(torch.randn(15, towers.DIMENSIONS, dtype=torch.float64), broken=7)
    run = (RunConfig("de", "text", "mse", 0.5), replace(data, anchor=None, anchor_features=frozen))
    stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1])
    with pytest.raises(OSError, match="the disk is gone") as error:
        fit(stack, [run], FIT, towers.pad, make_engine("cpu"))
    assert "_laid_out" in {frame.name for frame in traceback.extract_tb(error.value.__traceback__)}
    assert threading.active_count() == before


def test_items_come_in_order_and_none_is_lost() -> None:
    ends = BatchRows(iter([[number] for number in range(9)]))
    with closing(ReadAhead[list[int]](Staging(CPU, Pinning(), Mark))) as ahead:
        some, others = object(), object()
        taken = [ahead.next([some], ends.__next__, ends.put_back) for _ in range(3)]
        taken += [ahead.next([some, others], ends.__next__, ends.put_back) for _ in range(2)]
        assert taken == [[0], [1], [2], [3], [4]]
        ahead.close()
        assert next(ends) == [5]
        assert [ahead.next([others], ends.__next__, ends.put_back) for _ in range(3)] == [[6], [7], [8]]
        for _ in range(2):
            with pytest.raises(StopIteration):
                ahead.next([others], ends.__next__, ends.put_back)


def test_one_copy_takes_all_tensors_to_the_device_and_buffers_are_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinning = Pinning()
    stage = Staging(CPU, pinning, Mark)
    given = [torch.arange(15).view(3, 5), torch.rand(7), torch.rand(2, 3, dtype=torch.float64), torch.empty(0, 4)]
    sent = [stage.send(stage.stage(given)) for _ in range(12)]
    for tensors in sent:
        assert all(torch.equal(one, other) for one, other in zip(tensors, given, strict=True))
        assert all(tensor.data_ptr() % 16 == 0 for tensor in tensors[:3])
        (memory,) = memory_of(tensors)
        assert memory.numel() == 128 + 64 + 64  # 120, 28 and 48 bytes
    assert pinning.sizes == [320] * 4  # a quarter more; the fifth batch is in the first one
    again = torch.rand(5), torch.rand(5)
    assert memory_of(again) is again
    monkeypatch.setattr(staging, "MOST_BUFFERS", 1)
    large = [torch.arange(1000)]
    for _ in range(2):
        assert torch.equal(stage.send(stage.stage(large))[0], large[0])
    assert Mark.waited > 0


def test_a_device_that_gets_something_else_is_told_and_not_used() -> None:
    assert Staging(CPU, Pinning(), Mark).problem() == ""

    def refuse(size: int) -> Tensor:
        raise RuntimeError("CUDA error: invalid argument\nCompile with ...")

    class Losing(Staging):
        def stage(self, tensors: Sequence[Tensor]) -> Staged:
            staged = super().stage(tensors)
            staged.buffer[0] ^= 1
            return staged

    assert Staging(CPU, refuse, Mark).problem() == "CUDA error: invalid argument"
    assert Losing(CPU, Pinning(), Mark).problem() == "what arrives on the device is not what was sent"
    events: list[Event] = []
    setup = SimpleNamespace(device=torch.device("cuda"))  # which torch cannot reach here
    assert fit_module._staging(setup, events.append) is None  # type: ignore[arg-type]
    (notice,) = events
    assert isinstance(notice, Notice)
    assert notice.text.startswith("batches are laid out one by one, not ahead: ")


class NothingFromTheHost(TorchDispatchMode):
    """Refuses what waits for a device, or makes a tensor of Python's numbers, which is copied to one."""

    names = ("_local_scalar_dense", "nonzero", "is_nonzero", "item", "lift_fresh", "masked_select")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in self.names, f"{func} in a step"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["lora", "adapter"])
def test_a_step_waits_for_nothing(name: str, pinning: Pinning, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its batch to its update; validations and reports, which come now and then, are apart."""
    take, leaving, taken = Session._take_step, Session._leaving, []

    def taking(session: Session) -> list[TrainedRun]:
        is_last = session.step + 1 == session.setup.queue.steps
        with nullcontext() if is_last else NothingFromTheHost():
            return take(session)

    def left(session: Session) -> list[int]:
        taken.append(session.step)
        with torch.utils._python_dispatch._disable_current_modes():
            return leaving(session)

    monkeypatch.setattr(Session, "_take_step", taking)
    monkeypatch.setattr(Session, "_leaving", left)
    given = runs(diverging=None)[:3]
    plan = FitPlan(batch_size=5, steps=6, validate_every=3, dropout="model")
    streamed(towers.METHOD_CONFIGS[name], given, plan)
    assert taken == [1, 2, 3, 4, 5, 6]
