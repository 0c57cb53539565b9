"""Two processes train what one would: sweeps run by run, fewer runs than processes together."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import worlds
from tests.faults import child
from tests.jobs.align.launched import by_forks
from tests.jobs.align.process import configurations
from tests.jobs.align.test_align import interrupt_at
from tests.jobs.align.test_stopped_runs import typed
from tests.jobs.conftest import World
from xpet.core.rundir import FILES, find_runs, read_run
from xpet.jobs.align import chain as align

NAMES = ("sweep", "single", "full", "stopped", "diverging", "fitted", "hopeless", "taken", "again")


class Trained:
    """What two processes and one made of the same configurations: folders, and what each process saw."""

    def __init__(self, folder: Path, alone: Path, seen: worlds.World) -> None:
        self.folder, self.alone, self.seen = folder, alone, seen

    def of(self, name: str, rank: int = 0) -> Any:
        """What a process saw of a configuration."""
        return self.seen[rank][name]


@pytest.fixture(scope="module")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """All configurations, trained by two processes that are started once, and by this one."""
    together, alone = tmp_path_factory.mktemp("together"), tmp_path_factory.mktemp("alone")
    patch = pytest.MonkeyPatch()
    patch.setenv("XPET_CACHE", str(alone / "cache"))
    with patch.context():
        with pytest.raises(KeyboardInterrupt):
            align.run(configurations(world, together)["stopped"], interrupt_at("training", 2))
        assert len(find_runs(together / "stopped")) == 2
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        for name in ("sweep", "single", "full", "stopped", "diverging", "fitted"):
            align.run(configurations(world, alone)[name])
        torch.set_num_threads(threads)
    seen = worlds.meet(
        "tests.jobs.align.process", together, world.text, world.table, world.features, *NAMES,
        XPET_CACHE=str(together / "cache"), OMP_NUM_THREADS="1",
    )  # fmt: skip
    patch.undo()
    assert seen.keys() == {0, 1}
    return Trained(together, alone, seen)


def deltas(folder: Path) -> dict[str, bytes]:
    runs = sorted(path.parent for path in folder.rglob("delta.safetensors") if not path.parent.name.startswith("."))
    return {run.name: (run / "delta.safetensors").read_bytes() for run in runs}  # without what was half-written


def summary(folder: Path) -> object:
    document = json.loads((folder / "summary.json").read_text("utf-8"))
    for record in (document, *document["languages"], *document["runs"]):
        for name in ("seconds", "peak_memory", "folder"):
            record.pop(name, None)
    return document


@pytest.mark.parametrize("name", ["stopped", "diverging", "fitted"])
def test_a_sweep_is_that_of_one_process_to_the_last_bit(trained: Trained, name: str) -> None:
    assert deltas(trained.folder / name) == deltas(trained.alone / name)
    assert summary(trained.folder / name) == summary(trained.alone / name)
    assert not (trained.folder / f"{name}.unfinished").exists()


def test_all_processes_have_the_result_and_the_first_alone_reports(trained: Trained) -> None:
    results = [trained.of("stopped", rank)["result"] for rank in (0, 1)]
    for result in results:
        for record in (result, *result["languages"], *result["runs"]):
            record.pop("seconds"), record.pop("peak_memory", None)
    assert results[0] == results[1]
    assert any("2 of 4 runs are finished" in text for text in trained.of("stopped", 0)["heard"])
    assert trained.of("stopped", 1)["heard"] == []


@pytest.mark.parametrize("name", ["single", "full"])
def test_one_run_by_two_processes_is_that_of_one(trained: Trained, name: str) -> None:
    own, other = read_run(trained.folder / name), read_run(trained.alone / name)
    assert own.delta.keys() == other.delta.keys()
    for key, values in own.delta.items():
        torch.testing.assert_close(values, other.delta[key], rtol=1e-4, atol=1e-6)
    assert [entry["step"] for entry in own.history] == [entry["step"] for entry in other.history]
    assert {path.name for path in (trained.folder / name).iterdir()} == set(FILES)


def test_an_error_of_all_is_told_once(trained: Trained) -> None:
    name, text, code = trained.of("hopeless")["error"]
    assert (name, code) == ("TrainingError", 2)
    assert text.startswith("all 1 runs diverged")
    assert trained.of("hopeless", 1)["error"] == ["PeerError", "rank 0 failed", 2]
    assert trained.of("taken")["error"][0] == "OutputError"
    assert trained.of("taken", 1)["error"] == ["PeerError", "rank 0 failed", 2]
    assert not (trained.folder / "hopeless").exists()
    assert not (trained.folder / "hopeless.unfinished").exists()


def test_what_is_overwritten_gives_way_once(trained: Trained) -> None:
    assert {path.name[-5:] for path in find_runs(trained.folder / "sweep")} == {"seed2", "seed3", "seed4"}
    assert len(find_runs(trained.folder / "sweep")) == 6
    inside = {path.name for path in trained.folder.iterdir() if path.name.startswith((".", "sweep"))}
    assert inside == {"sweep"}


def command(world: World, folder: Path, forks: int, *more: str) -> child.Command:
    """Start a command in two processes; its launcher is a fork of this one, and so are `forks` of the two."""
    seeds = ("--seed", "1,2,3,4", "--stack", "1", "--steps", "100")
    words = typed(world, folder / "out", *seeds, "--processes", "2", *more)
    (folder / "here").mkdir(exist_ok=True)
    return child.start(words, folder / "here", folder / "notes", around=partial(by_forks, forks))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes as Linux has them")
def test_the_command_line(world: World, tmp_path: Path) -> None:
    """One process of two, an interpreter of its own, is killed, which is told; the same command goes on."""
    out = tmp_path / "out"
    launcher = command(world, tmp_path, 1)
    while not list(out.glob("*/metrics.json")) and launcher.wait(0.02) is None:
        pass
    children = (Path(f"/proc/{launcher.process}/task/{launcher.process}/children")).read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    ended = launcher.end()
    assert ended.code == 2, ended.told
    lines = ended.told.splitlines()
    assert lines[-1].startswith("xpet: error: rank 1 was ended by SIGKILL (too little memory")
    assert all(line.startswith("xpet: error: stopped by SIGTERM; what was finished is kept") for line in lines[:-1])
    before = deltas(out)
    done = command(world, tmp_path, 2, "--json").end()
    assert done.code == 0, done.told
    assert done.told == ""
    assert [run["seed"] for run in json.loads(done.out)["runs"]] == [1, 2, 3, 4]
    assert before.items() <= deltas(out).items()
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"out", "here", "notes"}
