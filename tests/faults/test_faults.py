"""The short form: commands are killed a few times, and their disk refuses a few times; see `python -m tests.faults`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults import child
from tests.faults.kills import Tally, Trial, finish, look, survive
from tests.faults.places import astray, difference, fits, results
from tests.faults.refusals import with_refusing_disk
from tests.faults.scenarios import SCENARIOS
from tests.faults.world import make_world

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of this process")
KILLS = 1


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all commands read."""
    folder = tmp_path_factory.mktemp("faults")
    made = child.apart(lambda: make_world(folder / "world"), folder, folder / "notes")
    assert made.code == 0, made.told
    return folder / "world"


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if not scenario.slow])
def test_a_killed_command_loses_nothing(name: str, world: Path, tmp_path: Path) -> None:
    trial = Trial(SCENARIOS[name], world, tmp_path, brief=True)
    tally = survive(trial, KILLS, random.Random(name))
    assert (tally.problems, tally.kills) == ([], KILLS)


def test_a_killed_interpreter_loses_nothing(world: Path, tmp_path: Path) -> None:
    trial, tally = Trial(SCENARIOS["translate a file"], world, tmp_path, brief=True), Tally()
    whole = trial.whole(tally)
    trial.clear()
    trial.launcher = (sys.executable, "-m", "xpet")
    command = trial.start()
    until = time.monotonic() + child.PATIENCE
    while not list(trial.here.glob(".out.txt.*.tmp")) and time.monotonic() < until:
        time.sleep(child.POLL)
    command.signal(signal.SIGKILL)
    assert command.end().code == -signal.SIGKILL
    assert list(trial.here.glob(".out.txt.*.tmp"))
    trial.launcher = None
    finish(trial, tally, whole, look(trial, tally, whole, {}))
    assert tally.problems == []


@pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="needs a C compiler, and Linux")
def test_a_disk_that_refuses_is_told_and_nothing_is_lost(world: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults", "--refuse", "--every", "50", "--world", str(world)]
    for name in ("translate a file", "merge into a pack"):
        command += ["--scenario", name]
    environment = os.environ | with_refusing_disk(tmp_path)  # else it would begin twice
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    assert [(row[0], row[1]) for row in rows[::3]] == [("translate a file", "ENOSPC"), ("merge into a pack", "ENOSPC")]
    assert all(int(row[2]) >= 1 and row[3] == "0" for row in rows)


def test_what_is_wrong_is_found() -> None:
    whole = {"out/": "", "out/a/": "", "out/a/x": "1", "cache/": ""}
    found = {"out/": "", "out/a/": "", "out/a/x": "2", "out/.b.01234567.tmp/": "", "out/b": "", "tmp/any/thing": ""}
    assert astray(found, whole, ("cache/",)) == ["out/b"]
    assert difference(results(found, ("out/*",))["out/a"], results(whole, ("out/*",))["out/a"]) == "other: out/a/x"
    assert set(results(found, ("out/*",))) == {"out/a", "out/b"}
    assert not fits("cache/pairs/x/y", ("cache/*/x",))
