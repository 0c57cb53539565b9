"""Finished runs that are measured while others train: as a GPU does it, here with a single stack on the CPU."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.align.test_stopped_runs import LONG, checkpoints, runs_in
from tests.jobs.conftest import World
from xpet.core.config import AlignConfig, MethodConfig
from xpet.core.errors import OutputError
from xpet.core.events import Event, Progress
from xpet.core.stopping import Stopped
from xpet.jobs.align import run as align
from xpet.jobs.align import stacks
from xpet.training import memory
from xpet.training.device import Engine

FIT = replace(LONG, steps=12, validate_every=12, stack=1)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the runs are one after another."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(Engine, "aside")  # what trains in between is waited for
        align.run(given(world, out))
    return runs_in(out)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "goes_on_beside", lambda setup, plan: True)


def given(world: World, out: Path, **changes: Any) -> AlignConfig:
    return world.config(out, **{"seeds": (1, 2, 3), "fit": FIT, **changes})


@pytest.mark.usefixtures("beside")
def test_training_goes_on_while_a_run_is_measured(
    whole: dict[str, dict[str, Any]], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run is measured only when the last one is trained; all are what they are one after another."""
    trained, threads, measure, ends = threading.Event(), set(), align._measure_and_write, threading.active_count()

    def on_event(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "training":
            threads.add(threading.current_thread())
            if event.done == event.total:
                trained.set()

    def measuring(*of: Any) -> Any:
        assert trained.wait(120)
        assert threading.current_thread() is threading.main_thread()
        return measure(*of)

    monkeypatch.setattr(align, "_measure_and_write", measuring)
    align.run(given(world, tmp_path / "out"), on_event)
    assert threading.main_thread() not in threads
    assert threading.active_count() == ends
    assert runs_in(tmp_path / "out") == whole
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"out"}


@pytest.mark.usefixtures("beside")
def test_a_signal_while_a_run_is_measured_and_another_trains(
    whole: dict[str, dict[str, Any]], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are kept: one by a checkpoint of its own, the other by that of its stack."""
    begun, ends = threading.Event(), threading.active_count()

    def on_event(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "training" and event.done == 20:
            begun.set()  # the second run took eight steps, and waits here for the signal
            stopped.wait(120)

    def measuring(*_: object) -> None:
        begun.wait(120)
        stopped.set()
        os.kill(os.getpid(), signal.SIGTERM)

    stopped = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(align, "_measure_and_write", measuring)
        with pytest.raises(Stopped):
            align.run(given(world, tmp_path / "out"), on_event)
    assert threading.active_count() == ends
    assert checkpoints(tmp_path / "out") == {"run-0000.safetensors", "stack-0000.safetensors"}
    events: list[Event] = []
    align.run(given(world, tmp_path / "out"), events.append)
    done = [event.done for event in events if isinstance(event, Progress) and event.stage == "training"]
    assert min(done) > 20
    assert runs_in(tmp_path / "out") == whole


@pytest.mark.usefixtures("beside")
def test_a_disk_that_refuses_a_run_ends_the_training_too(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = threading.active_count()

    def refuse(*_: object) -> None:
        raise OutputError("cannot write: No space left on device; free space")

    monkeypatch.setattr(align, "_measure_and_write", refuse)
    with pytest.raises(OutputError, match="No space left"):
        align.run(given(world, tmp_path / "out", seeds=(1, 2)))
    assert threading.active_count() == ends
    assert "run-0000.safetensors" in checkpoints(tmp_path / "out")


@pytest.mark.parametrize(("changes", "free", "expected"), [
    ({}, 8 << 30, True), ({}, 7 << 30, False), ({"method": MethodConfig("full")}, 1 << 40, False),
    ({"fit": replace(FIT, compile=True)}, 1 << 40, False), ({"method": MethodConfig("linear-map")}, 1 << 40, False),
])  # fmt: skip
def test_where_that_is_done(
    changes: dict[str, Any], free: int, expected: bool, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []

    def train(setup: Any, plan: Any, *_: object) -> Any:
        on_cpu = stacks.goes_on_beside(setup, plan)
        monkeypatch.setattr(memory, "free_bytes", lambda engine: free)
        monkeypatch.setattr(type(setup.engine), "device", type("Gpu", (), {"type": "cuda"}))
        found.extend((on_cpu, stacks.goes_on_beside(setup, plan)))
        raise OutputError("enough")

    monkeypatch.setattr(stacks, "train", train)
    with pytest.raises(OutputError, match="enough"):
        align.run(given(world, tmp_path / "out", **changes))
    assert found == [False, expected]
