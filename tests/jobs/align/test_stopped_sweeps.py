"""A sweep that was stopped goes on: finished runs are kept, and the result is that of one command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command import run_here
from tests.faults import child
from tests.jobs.align.test_align import interrupt_at
from tests.jobs.conftest import FIT, World, rows_of, write_table
from xpet.core.config import AlignConfig
from xpet.core.errors import DataError, OutputError
from xpet.core.events import Event, Notice
from xpet.core.rundir import FILES, HISTORIES, SWEEP, SWEEP_LOCK, read_run, unfinished_folder
from xpet.data.locking import locked
from xpet.jobs.align import run as align
from xpet.jobs.align import unfinished
from xpet.jobs.results.align import AlignResult

SEEDS = (1, 2, 3, 4)
NAMES = [f"de-routine3-mse-w0.1-lr0.001-seed{seed}" for seed in SEEDS]


def config(world: World, out: Path) -> AlignConfig:
    return world.config(out, seeds=SEEDS, fit=replace(FIT, stack=2, workers=1))


def stopped(world: World, out: Path, table: Path | None = None) -> AlignConfig:
    """A sweep of four runs of which two are finished."""
    given = config(world, out)
    if table is not None:
        given = replace(given, data=replace(given.data, root=str(table)))
    with pytest.raises(KeyboardInterrupt):
        align.run(given, interrupt_at("training", 2))
    return given


def inside(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def without_times(result: AlignResult) -> object:
    document = json.loads(json.dumps(result.to_dict()))
    for record in (document, *document["languages"], *document["runs"]):
        for name in ("seconds", "peak_memory", "folder"):
            record.pop(name, None)
    return document


def test_a_stopped_sweep_goes_on(world: World, tmp_path: Path) -> None:
    whole = align.run(config(world, tmp_path / "whole"))
    given = stopped(world, tmp_path / "out")
    assert inside(tmp_path / "out") == set(NAMES[:2])
    assert inside(tmp_path / "out.unfinished") == {SWEEP, SWEEP_LOCK, HISTORIES, "checkpoints"}
    before = {name: (tmp_path / "out" / name / "metrics.json").stat().st_mtime_ns for name in NAMES[:2]}
    (tmp_path / "out" / ".x.1234abcd.tmp").mkdir()  # as a killed process leaves it
    events: list[Event] = []
    result = align.run(given, events.append)
    assert without_times(result) == without_times(whole)
    assert [Path(run.folder).name for run in result.runs] == NAMES
    assert inside(tmp_path / "out") == inside(tmp_path / "whole") == {"summary.json", *NAMES}
    assert inside(tmp_path) - {"cache"} == {"out", "whole"}
    assert all((tmp_path / "out" / n / "metrics.json").stat().st_mtime_ns == at for n, at in before.items())
    for name in NAMES:
        here, there = read_run(tmp_path / "out" / name), read_run(tmp_path / "whole" / name)
        assert here.history == there.history
        assert all((here.delta[key] == there.delta[key]).all() for key in there.delta)
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert any("2 of 4 runs are finished, the others are trained" in text for text in notices)
    with pytest.raises(OutputError, match="exists already"):  # it is finished now
        align.run(given)


def test_nothing_is_trained_where_only_the_summary_is_missing(world: World, tmp_path: Path) -> None:
    given = config(world, tmp_path / "out")
    plan = stopped(world, tmp_path / "other")
    first = align.run(given)
    (tmp_path / "out" / "summary.json").unlink()
    unfinished_folder(Path(str(plan.out))).rename(tmp_path / "out.unfinished")
    again = align.run(given, interrupt_at("training", 1))
    assert without_times(again) == without_times(first)


@pytest.mark.parametrize(("change", "words"), [
    ({"learning_rates": (2e-3,)}, r"learning_rates was '\[0.001\]', is '\[0.002\]'"),
    ({"seeds": (1, 2)}, "seeds was"),
])  # fmt: skip
def test_another_plan_is_refused(change: dict, words: str, world: World, tmp_path: Path) -> None:
    given = stopped(world, tmp_path / "out")
    with pytest.raises(OutputError, match=f"holds an unfinished sweep of another plan: {words}"):
        align.run(replace(given, **change))
    assert inside(tmp_path / "out") == set(NAMES[:2])
    assert inside(tmp_path / "out.unfinished") == {SWEEP, SWEEP_LOCK, HISTORIES, "checkpoints"}


def test_speed_may_change_and_overwrite_starts_anew(world: World, tmp_path: Path) -> None:
    given = stopped(world, tmp_path / "out")
    align.run(replace(given, fit=replace(given.fit, stack=3)))
    again = stopped(world, tmp_path / "again")
    result = align.run(replace(again, seeds=(5, 6), overwrite=True))
    assert [run.seed for run in result.runs] == [5, 6]
    assert "de-routine3-mse-w0.1-lr0.001-seed1" not in inside(tmp_path / "again")


REPLACING = [("replace", "out"), ("replace", "new"), ("_write_plan", "out.unfinished"), ("_remove", "replaced")]


@pytest.mark.parametrize("done", [2, 3, 4, 5])
def test_a_process_killed_while_it_replaces_loses_nothing(
    done: int, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the first, second ... rename or removal that puts the first new run in the earlier one's place."""
    out, write_plan = tmp_path / "out", unfinished.Unfinished._write_plan
    calls: list[tuple[str, str]] = []
    align.run(world.config(out, "de"))
    given = replace(config(world, out), overwrite=True)

    def killing(act: Callable[..., None]) -> Callable[..., None]:
        def acts(*arguments: object) -> None:
            path = Path(str(arguments[-1 if act is write_plan else 0]))
            if path.name in ("new", "replaced") or path in (out, tmp_path / "out.unfinished") and out.exists():
                calls.append((act.__name__, path.name))
                if len(calls) == done:
                    raise KeyboardInterrupt
            act(*arguments)

        return acts

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killing(os.replace))
        patch.setattr(unfinished.Unfinished, "_write_plan", killing(write_plan))
        patch.setattr(unfinished, "_remove", killing(unfinished._remove))
        with pytest.raises(KeyboardInterrupt):
            align.run(given)
    assert calls[1:] == REPLACING[: done - 1]
    again = align.run(replace(given, overwrite=False))
    assert [Path(run.folder).name for run in again.runs] == NAMES
    assert inside(out) == {"summary.json", *NAMES}
    assert inside(tmp_path) - {"cache"} == {"out"}


def test_a_folder_in_the_way_is_told(world: World, tmp_path: Path) -> None:
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"out.unfinished exists and is no xpet folder of unfinished work"):
        align.run(config(world, tmp_path / "out"))
    name = "x" * 250
    with pytest.raises(OutputError, match="output folder .* cannot be written: File name too long"):
        align.run(config(world, tmp_path / name))


def test_changed_captions_are_refused(world: World, tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.jsonl", rows_of())
    given = stopped(world, tmp_path / "out", table)
    rows = [row | {"caption": row["caption"] + " de"} if row["lang"] == "de" else row for row in rows_of()]
    write_table(table, rows)
    with pytest.raises(DataError, match="the test captions of de changed since the runs were trained"):
        align.run(given)


def test_a_damaged_run_is_told(world: World, tmp_path: Path) -> None:
    given = stopped(world, tmp_path / "out")
    (tmp_path / "out" / NAMES[0] / "metrics.json").write_text("{")
    with pytest.raises(DataError, match="metrics.json"):
        align.run(given)


def test_two_processes_do_not_write_one_sweep(world: World, tmp_path: Path) -> None:
    given = stopped(world, tmp_path / "out")
    with (
        locked(tmp_path / "out.unfinished" / SWEEP_LOCK, "the sweep"),
        pytest.raises(OutputError, match="expected to be its only writer, found another"),
    ):
        align.run(given)


def test_a_disk_that_refuses_the_plan_is_told(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("xpet.jobs.align.unfinished.locked", lambda path, *_: refuse(path))
        with pytest.raises(OutputError, match="^cannot write the sweep in .*: No space left on device"):
            align.run(config(world, tmp_path / "out"))
    assert [run.seed for run in align.run(config(world, tmp_path / "out")).runs] == list(SEEDS)


def test_there_must_be_a_stopped_sweep(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xpet", "align", "--resume", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        f"expected an output folder whose training was stopped, found no {tmp_path}.unfinished/sweep.json"
        in done.stderr
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork of this process")
def test_killed_on_the_command_line(world: World, tmp_path: Path) -> None:
    """`kill -9` after the first run; then `--resume` needs nothing else."""
    out = tmp_path / "out"
    data = ["--data", "table", "--data-root", str(world.table), "--image-features", str(world.features)]
    words = ["--shots", "12", "--batch-size", "6", "--steps", "100", "--seed", "1,2,3", "--stack", "1"]
    model = ["--model", str(world.text), "--workers", "1", "--device", "cpu", "-q", "--out", str(out)]
    command = child.start(["align", *data, *words, *model], tmp_path, tmp_path / "notes")
    while not list(out.glob("*/metrics.json")) and command.wait(0.02) is None:
        pass
    command.signal(signal.SIGKILL)
    assert command.end().code == -signal.SIGKILL
    unfinished = tmp_path / "out.unfinished"
    assert (unfinished / SWEEP).is_file()
    refused = run_here("align", "--resume", unfinished, "--overwrite")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"--resume" in refused.stderr
    done = run_here("align", "--resume", unfinished, "--json")
    assert done.returncode == 0, done.stderr
    assert [run["seed"] for run in json.loads(done.stdout)["runs"]] == [1, 2, 3]
    assert {path.name for path in out.glob("*/*")} == set(FILES)
    assert not unfinished.exists()


def test_a_disk_that_refuses_removals_is_told(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = unfinished._remove

    def refuse(path: Path) -> None:
        if path.name == SWEEP:
            raise OSError(30, "Read-only file system")
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(unfinished, "_remove", refuse)
        with pytest.raises(OutputError, match="^cannot write the sweep in .*/out: Read-only file system"):
            align.run(config(world, tmp_path / "out"))
    again = align.run(config(world, tmp_path / "out"), interrupt_at("training", 1))
    assert [run.seed for run in again.runs] == list(SEEDS)
    assert inside(tmp_path) & {"out", "out.unfinished"} == {"out"}
