"""`xpet align --status`: how far a training is, seen from outside while it runs, stops and ends."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.align.test_align import interrupt_at
from tests.jobs.conftest import FIT, World
from xpet.core import rundir
from xpet.core.config import AlignConfig, RunConfig
from xpet.core.errors import ConfigError, DataError
from xpet.core.events import Event, Progress, Validated
from xpet.core.rundir import HISTORIES, SWEEP, SWEEP_LOCK, read_run
from xpet.data.locking import is_locked, locked
from xpet.jobs.align import chain as chained
from xpet.jobs.align import run as align
from xpet.jobs.align import status as module
from xpet.jobs.align.status import status
from xpet.jobs.align.time_left import seconds_left
from xpet.jobs.align.unfinished import GLANCE
from xpet.jobs.results.status import PhaseStatus, StatusResult

SEEDS = (1, 2, 3, 4)
NAMES = [f"de-routine3-mse-w0.1-lr0.001-seed{seed}" for seed in SEEDS]


def config(world: World, out: Path, **changes: Any) -> AlignConfig:
    return world.config(out, **{"seeds": SEEDS, "fit": replace(FIT, stack=2, workers=1), **changes})


def only(result: StatusResult) -> PhaseStatus:
    (phase,) = result.phases
    return phase


def seen_at(nth: int, kind: type, out: Path, found: list[StatusResult]) -> Callable[[Event], None]:
    """A listener that looks at the nth event of a kind, and checks that looking changes nothing."""
    count = 0

    def on_event(event: Event) -> None:
        nonlocal count
        count += isinstance(event, kind)
        if isinstance(event, kind) and count == nth:
            before = state_of(out.parent)
            found.append(status(out))
            assert state_of(out.parent) == before

    return on_event


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in folder.rglob("*")}


def stopped(world: World, out: Path) -> AlignConfig:
    """A sweep of four runs: two are finished, the next two were in training."""
    given = config(world, out)
    with pytest.raises(KeyboardInterrupt):
        align.run(given, interrupt_at("training", 2))
    return given


def test_a_sweep_is_seen_while_it_runs(world: World, tmp_path: Path) -> None:
    found: list[StatusResult] = []
    out = tmp_path / "out"
    heard: list[Validated] = []

    def listen(event: Event) -> None:
        if isinstance(event, Validated):
            heard.append(event)
        look(event)

    look = seen_at(10, Validated, out, found)  # seed 4's figures after step 2
    result = align.run(config(world, out), listen)
    phase = only(found[0])
    assert (found[0].state, phase.state, phase.folder, phase.next) == ("running", "running", str(out), None)
    assert [run.label for run in phase.runs] == NAMES
    assert [run.settings for run in phase.runs] == [asdict(RunConfig("de", learning_rate=1e-3, seed=n)) for n in SEEDS]
    assert phase.counts == {"finished": 2, "training": 2}
    for run in phase.runs[:2]:
        record = read_run(out / run.label)
        assert (run.state, run.step, run.steps) == ("finished", 4, 4)
        assert run.aligned == record.metrics.aligned
        assert run.best_step == record.metrics.chosen_step
        assert {k: v for k, v in (run.best or {}).items() if k.startswith("val_")} == record.metrics.validation
    for run in phase.runs[2:]:
        own = [event for event in heard[:10] if event.label == run.label]
        assert (run.state, run.step, run.steps, run.aligned) == ("training", own[-1].step, 4, None)
        assert run.figures == own[-1].figures
        best = min(own, key=lambda event: event.figures["val_loss"])
        assert (run.best_step, run.best) == (best.step, best.figures)
        assert run.age is not None
        assert 0 <= run.age < 60
    assert phase.seconds_left is not None
    assert phase.seconds_left > 0
    ended = only(status(out))
    assert (ended.state, ended.counts, ended.next) == ("finished", {"finished": 4}, f"xpet eval {out}")
    assert [run.aligned for run in ended.runs] == [run.aligned for run in result.runs]


def test_a_stopped_sweep_says_how_to_go_on(world: World, tmp_path: Path) -> None:
    out = tmp_path / "the out"
    stopped(world, out)
    (tmp_path / "the out.unfinished" / "diverged").mkdir(exist_ok=True)
    (tmp_path / "the out.unfinished" / "diverged" / NAMES[3]).touch()
    for name in ("the out", "the out.unfinished"):
        found = status(tmp_path / name)
        phase = only(found)
        assert found.folder == phase.folder == str(out)
        assert (found.state, phase.next) == ("stopped", f"xpet align --resume '{out}'")
        assert [run.state for run in phase.runs] == ["finished", "finished", "stopped", "diverged"]
        assert phase.counts == {"finished": 2, "diverged": 1, "stopped": 1}
    old = time.time() - 3600
    for path in [*tmp_path.rglob("*")]:
        os.utime(path, (old, old))
    assert only(status(out)).age == pytest.approx(3600, abs=60)


def test_runs_that_diverged_are_told_of_a_finished_sweep(world: World, tmp_path: Path) -> None:
    align.run(config(world, tmp_path / "out", seeds=(1, 2), learning_rates=(1e-3, 1e38)))
    phase = only(status(tmp_path / "out"))
    assert phase.counts == {"finished": 2, "diverged": 2}
    lost = [run for run in phase.runs if run.state == "diverged"]
    assert [run.label for run in lost] == [name.replace("lr0.001", "lr1e+38") for name in NAMES[:2]]
    for run in lost:
        assert RunConfig(**run.settings).label == run.label


def test_runs_that_wait_and_damaged_lines(world: World, tmp_path: Path) -> None:
    stopped(world, tmp_path / "out")
    histories = tmp_path / "out.unfinished" / HISTORIES
    (histories / f"{NAMES[3]}.jsonl").unlink()
    path = histories / f"{NAMES[2]}.jsonl"
    whole = path.read_text().splitlines()[0]
    odd = ['{"step": 3}', "[1]", "{", '{"step": "4"}', whole.replace('"steps": 4', '"steps": null'), "\x00\xff"]
    path.write_text("\n".join([whole, *odd, whole[:40]]), "utf-8")
    runs = only(status(tmp_path / "out")).runs
    assert [(run.state, run.step) for run in runs[2:]] == [("stopped", json.loads(whole)["step"]), ("waiting", None)]


def test_a_single_run_and_one_that_replaces_another(world: World, tmp_path: Path) -> None:
    out, found = tmp_path / "out", []
    for overwrite in (False, True):
        given = config(world, out, seeds=(1,), overwrite=overwrite)
        align.run(given, seen_at(2, Validated, out, found))
        (run,) = only(found[-1]).runs
        assert (run.state, run.step, found[-1].state) == ("training", 2, "running")
        (run,) = only(status(out)).runs
        assert (run.label, run.state, run.step, run.steps) == (NAMES[0], "finished", 4, 4)


def test_phases_of_a_chain(world: World, tmp_path: Path) -> None:
    out, found = tmp_path / "out", list[StatusResult]()
    given = world.config(out, routines=("baseline-target", "3"), chain=True)
    look = seen_at(5, Validated, out, found)
    between: list[str] = []

    def listen(event: Event) -> None:
        look(event)
        if isinstance(event, Progress) and event.stage == "zero-shot" and (out / "1-baseline-target").exists():
            between.append(status(out).state)

    chained.run(given, listen)
    running = found[0]
    assert [Path(phase.folder).name for phase in running.phases] == ["1-baseline-target", "2-routine3"]
    assert [phase.state for phase in running.phases] == ["finished", "running"]
    assert (running.state, set(between)) == ("running", {"between phases"})
    ended = status(out)
    assert (ended.state, [phase.next for phase in ended.phases]) == ("finished", [None, f"xpet eval {out}"])
    assert status(out / "2-routine3").state == "finished"


def test_what_is_no_training_is_an_error(world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name in ("empty", "file", "none", "none.unfinished"):
        with pytest.raises(ConfigError) as told:
            status(tmp_path / name)
        assert str(told.value) == (
            f"--status {tmp_path / name}: expected a folder of xpet align, finished or not, found none there; a "
            "command that has not begun to train leaves none"
        )
    stopped(world, tmp_path / "out")
    (tmp_path / "out.unfinished" / SWEEP).write_text("{}")
    with pytest.raises(DataError, match="expected the plan of a sweep, found another document"):
        status(tmp_path / "out")


def test_a_sweep_that_ends_while_it_is_read_is_read_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = stopped(world, tmp_path / "out")
    shutil.copytree(tmp_path / "out.unfinished", tmp_path / "kept")
    align.run(given)
    (tmp_path / "kept").rename(tmp_path / "out.unfinished")
    real = rundir.read_sweep

    def ending(folder: Path) -> dict[str, Any]:
        shutil.rmtree(folder)
        return real(folder)

    monkeypatch.setattr(module, "read_sweep", ending)
    assert only(status(tmp_path / "out")).counts == {"finished": 4}


def test_looking_at_a_lock_neither_makes_nor_takes_it(tmp_path: Path) -> None:
    path = tmp_path / SWEEP_LOCK
    assert not is_locked(path)
    assert not path.exists()
    with locked(path, "it"):
        assert is_locked(path)
    assert not is_locked(path)
    with locked(path, "it"):
        assert is_locked(path)


def test_looking_again_and_again_keeps_nobody_from_working(tmp_path: Path) -> None:
    path, seen, over = tmp_path / SWEEP_LOCK, set[bool](), threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.add(is_locked(path))
            time.sleep(0.001)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(50):
            with locked(path, "it", GLANCE):
                time.sleep(0.003)
    finally:
        over.set()
        watcher.join()
    assert True in seen
    assert not is_locked(path)


def line(step: int, at: float, steps: int = 100) -> dict[str, float]:
    return {"step": step, "time": at, "steps": steps}


@pytest.mark.parametrize(("histories", "missing", "seconds"), [
    ([[line(0, 0)]], 3, None),
    ([[line(0, 0), line(20, 10)]], 0, 40),  # 80 steps of half a second
    ([[line(0, 0), line(20, 10)]] * 2, 0, 40),  # side by side
    ([[line(0, 0), line(20, 10)]] * 2, 2, 90),  # and two whole ones, side by side as well
    ([[line(0, 0), line(20, 10)], [line(0, 0)]], 0, 50),  # the second has no speed yet: that of the first
    ([[line(0, 0), line(20, 10), line(40, 1010), line(60, 1020)]], 0, 20),  # a pause of a quarter of an hour
    ([[line(0, 0), line(100, 50)]], 1, 50),  # one is measured, the next begins
    ([[line(10, 0), line(20, 20)], [line(80, 0), line(90, 1)]], 0, 160),  # the slow one alone at the end
])  # fmt: skip
def test_time_left(histories: list[list[dict[str, float]]], missing: int, seconds: float | None) -> None:
    assert seconds_left(histories, missing) == pytest.approx(seconds)


def test_runs_that_ended_tell_the_speed_of_those_that_begin() -> None:
    ended = [[line(0, 0), line(100, 25)]]
    assert seconds_left([[line(0, 30)]], 1, ended) == pytest.approx(50)
    assert seconds_left([[line(0, 30), line(10, 31)]], 0, ended) == pytest.approx(9)
    assert seconds_left([], 1, ended) is None  # how many train side by side is not known
