"""Commands that a signal stops in the middle of their runs: what they leave, and that going on loses no bit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.command import run_here
from tests.faults import child
from tests.jobs.conftest import FIT, World
from xpet.core.config import AlignConfig, MethodConfig
from xpet.core.events import Event, Notice, Progress
from xpet.core.rundir import FILES
from xpet.core.stopping import Stopped
from xpet.jobs.align import chain, stacks
from xpet.jobs.align import run as align
from xpet.training.setup import FitSetup
from xpet.training.slots import Slot
from xpet.training.step import StepBatch, read_batch

LONG = replace(FIT, steps=24, validate_every=6, dropout="model", workers=1)
TIMES = ("seconds", "peak_memory", "folder")
"""Fields of `metrics.json` that are not the same in two commands."""


def stop_at(nth: int, name: str = "SIGTERM") -> Callable[[Event], None]:
    """Send this process a signal at the nth report of training."""
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "training":
            seen.append(event)
            if len(seen) == nth:
                os.kill(os.getpid(), getattr(signal, name))

    return on_event


def runs_in(out: Path) -> dict[str, dict[str, Any]]:
    """Of every run in a folder, or the run itself, the files that must be equal to the last bit."""
    found = {}
    for path in sorted({file.parent for file in out.rglob("metrics.json")}):
        assert {file.name for file in path.iterdir()} == set(FILES)
        metrics = json.loads((path / "metrics.json").read_text())
        name = "" if path == out else path.name
        found[name] = {
            "delta": (path / "delta.safetensors").read_bytes(), "history": (path / "history.jsonl").read_bytes(),
            "metrics": {key: value for key, value in metrics.items() if key not in TIMES},
        }  # fmt: skip
    return found


def checkpoints(out: Path) -> set[str]:
    return {path.name for path in (out.parent / f"{out.name}.unfinished" / "checkpoints").iterdir()}


@pytest.fixture(scope="module")
def single(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one run is where nothing stops it."""
    folder = tmp_path_factory.mktemp("single")
    align.run(world.config(folder / "whole", fit=LONG))
    return runs_in(folder / "whole")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_single_run_goes_on(name: str, world: World, single: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    given = world.config(tmp_path / "out", fit=LONG)
    with pytest.raises(Stopped) as stopped:
        align.run(given, stop_at(2, name))
    assert stopped.value.go_on == f"xpet align --resume {tmp_path / 'out'}"
    assert checkpoints(tmp_path / "out") == {"stack-0000.safetensors"}
    assert not (tmp_path / "out").exists()
    events: list[Event] = []
    align.run(given, events.append)
    done = [event.done for event in events if isinstance(event, Progress) and event.stage == "training"]
    assert min(done) > 10  # it did not begin again
    assert not [event for event in events if isinstance(event, Notice) and event.level == "warning"]
    assert runs_in(tmp_path / "out") == single
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"out"}


def sweep(world: World, out: Path, **changes: Any) -> AlignConfig:
    return world.config(out, **{"seeds": (1, 2, 3), "learning_rates": (1e-3, 1e38), **changes})


@pytest.mark.parametrize("fit", [{"stack": 2}, {"stack": 3, "workers": 2}])
def test_a_sweep_goes_on_again_and_again(fit: dict[str, Any], world: World, tmp_path: Path) -> None:
    """Three of its six runs diverge; those that wait begin in the middle of others; or two stacks train at a time."""
    align.run(sweep(world, tmp_path / "whole", fit=replace(LONG, **fit)))
    given = sweep(world, tmp_path / "out", fit=replace(LONG, **fit))
    stops = 0
    while True:
        try:
            result = align.run(given, stop_at(1))
            break
        except Stopped:
            stops += 1
            assert stops < 40
    assert stops > 2
    assert [run.seed for run in result.runs] == [1, 2, 3]
    assert len(result.failed) == 3
    whole = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert list(result.failed) == whole["failed"]
    assert runs_in(tmp_path / "out") == runs_in(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"out", "whole"}


@pytest.mark.parametrize("method", [
    MethodConfig("full"), MethodConfig("soft-prompt"), MethodConfig("lora", train=("embeddings",), embedding_rank=4),
], ids=["full", "soft-prompt", "embeddings"])  # fmt: skip
def test_methods(method: MethodConfig, world: World, tmp_path: Path) -> None:
    align.run(world.config(tmp_path / "whole", method=method, fit=LONG, seeds=(1, 2)))
    given = world.config(tmp_path / "out", method=method, fit=LONG, seeds=(1, 2))
    with pytest.raises(Stopped):
        align.run(given, stop_at(2))
    assert "stack-0000.safetensors" in checkpoints(tmp_path / "out")
    align.run(given)
    assert runs_in(tmp_path / "out") == runs_in(tmp_path / "whole")


def test_a_signal_while_a_run_is_measured(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at once; the run is kept by its checkpoint, so that it is measured and not trained again."""
    align.run(world.config(tmp_path / "whole", fit=LONG, seeds=(1, 2, 3)))
    given = world.config(tmp_path / "out", fit=LONG, seeds=(1, 2, 3))
    with monkeypatch.context() as patch:
        patch.setattr(align, "_measure_and_write", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Stopped):
            align.run(given)
    assert checkpoints(tmp_path / "out") == {f"run-000{number}.safetensors" for number in range(3)}
    events: list[Event] = []
    align.run(given, events.append)
    assert not [event for event in events if isinstance(event, Progress) and event.stage == "training"]
    assert runs_in(tmp_path / "out") == runs_in(tmp_path / "whole")


def test_a_signal_while_it_prepares_leaves_nothing(world: World, tmp_path: Path) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "zero-shot":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        align.run(world.config(tmp_path / "out"), on_event)
    assert stopped.value.go_on == ""
    assert list(tmp_path.iterdir()) == []


def test_a_changed_base_is_not_gone_on_from(
    world: World, single: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, made = world.config(tmp_path / "out", fit=LONG), stacks.checkpoints_of
    with monkeypatch.context() as patch:
        patch.setattr(stacks, "checkpoints_of", lambda *given: replace(made(*given), identity="another"))
        with pytest.raises(Stopped):
            align.run(given, stop_at(2))
    events: list[Event] = []
    align.run(given, events.append)
    warnings = [event.text for event in events if isinstance(event, Notice) and event.level == "warning"]
    assert len(warnings) == 1
    assert "another base model; its runs start again from their first step" in warnings[0]
    assert runs_in(tmp_path / "out") == single


def typed(world: World, out: Path, *more: str) -> list[str]:
    """A command on the small world."""
    where = ["--data", "table", "--data-root", str(world.table), "--model", str(world.text)]
    data = ["--shots", "12", "--batch-size", "6", "--image-features", str(world.features)]
    return ["align", *where, *data, "--device", "cpu", "-q", "--out", str(out), *more]


MANY = ("--seed", "1,2,3", "--steps", "80", "--stack", "2", "--workers", "2")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_the_command_line_says_how_to_go_on(
    name: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "my out"
    words = typed(world, out, "--steps", "20")

    def reading(setup: FitSetup, slots: Sequence[Slot]) -> StepBatch:
        os.kill(os.getpid(), getattr(signal, name))
        return read_batch(setup, slots)

    monkeypatch.setattr("xpet.training.session.read_batch", reading)
    done = run_here(*words)
    what, code = ("interrupted", 130) if name == "SIGINT" else (f"stopped by {name}", 143)
    text = f"xpet: error: {what}; what was finished is kept, go on with: xpet align --resume '{out}'\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (code, b"", text)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What many runs are where nothing stops them."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_here(*typed(world, folder / "whole", *MANY)).returncode == 0
    return runs_in(folder / "whole")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork of this process")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_process_that_is_killed_loses_nothing(
    name: str, world: World, whole: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    out, folder = tmp_path / "out", tmp_path / "out.unfinished" / "checkpoints"
    command = child.start(typed(world, out, *MANY, "--checkpoint-every", "0"), tmp_path, tmp_path / "notes")
    while len(list(folder.glob("stack-*"))) < 2 and command.wait(0.02) is None:
        pass
    command.signal(getattr(signal, name))
    ended = command.end()
    assert ended.code == (-9 if name == "SIGKILL" else 143)
    words = f"xpet: error: stopped by SIGTERM; what was finished is kept, go on with: xpet align --resume {out}\n"
    assert ended.told == ("" if name == "SIGKILL" else words)
    assert not list(out.glob("*"))
    assert run_here("align", "--resume", out, "-q", "--checkpoint-every", "5").returncode == 0
    assert runs_in(out) == whole
    assert len(whole) == 3
    assert {path.name for path in tmp_path.iterdir()} - {"cache", "tmp", "notes"} == {"out"}


def tree_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seeds", ["1", "1,2"])
def test_a_chain_goes_on_with_the_phase_it_was_in(
    seeds: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its second phase, and again when that is finished, but not the chain."""
    more = ("--routine", "1,3", "--chain", "--steps", "20", "--seed", seeds)
    assert run_here(*typed(world, tmp_path / "whole", *more)).returncode == 0
    out, phases = tmp_path / "out", ["1-routine1", "2-routine3"]
    read: list[Sequence[Slot]] = []

    def reading(setup: FitSetup, slots: Sequence[Slot]) -> StepBatch:
        read.append(slots)
        if len(read) == 27:
            os.kill(os.getpid(), signal.SIGTERM)
        return read_batch(setup, slots)

    with monkeypatch.context() as patch:
        patch.setattr("xpet.training.session.read_batch", reading)
        done = run_here(*typed(world, out, *more))
    assert done.returncode == 143
    assert done.stderr.decode().endswith(f"go on with: xpet align --resume {out}\n")
    assert {path.name for path in out.iterdir()} == {phases[0], f"{phases[1]}.unfinished"}
    assert tree_of(tmp_path / "out.unfinished") == {"sweep.json", ".sweep.lock"}
    first = {path: path.stat().st_mtime_ns for path in (out / phases[0]).rglob("*")}
    differing = run_here(*typed(world, out, *more[:-1], "7"))
    assert (differing.returncode, b"unfinished sweep of another plan: seeds was" in differing.stderr) == (2, True)
    with monkeypatch.context() as patch:
        patch.setattr("xpet.jobs.align.chain.write_file", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        assert run_here("align", "--resume", out, "-q").returncode == 130
    read.clear()
    with monkeypatch.context() as patch:
        patch.setattr("xpet.training.session.read_batch", reading)
        done = run_here("align", "--resume", out / phases[1], "-q", "--json")
    assert (done.returncode, read) == (0, [])
    assert len(json.loads(done.stdout)["runs"]) == len(seeds.split(","))
    assert {path: path.stat().st_mtime_ns for path in (out / phases[0]).rglob("*")} == first
    assert runs_in(out) == runs_in(tmp_path / "whole")
    assert tree_of(out) == tree_of(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"out", "whole"}


def test_a_stopped_chain_is_overwritten_when_told(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = world.config(out, routines=("1", "3"), chain=True)
    with pytest.raises(Stopped):
        chain.run(given, stop_at(2))
    assert (tmp_path / "out.unfinished").exists()
    result = chain.run(replace(given, overwrite=True, seeds=(5,)))
    assert [run.seed for run in result.runs] == [5]
    assert {path.name for path in out.iterdir()} == {"1-routine1", "2-routine3", "chain.json"}
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"out"}
