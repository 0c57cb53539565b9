"""What others see of runs in training: histories that grow while they train, and experiment trackers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.jobs.align.test_align import interrupt_at
from tests.jobs.conftest import FIT, World
from xpet.core.config import AlignConfig
from xpet.core.errors import ConfigError
from xpet.core.events import Event, Notice, Validated
from xpet.core.rundir import HISTORIES, read_run
from xpet.jobs.align import chain as chained
from xpet.jobs.align import run as align
from xpet.jobs.align.histories import Histories, read_history_so_far

SEEDS = (1, 2, 3)
NAMES = [f"de-routine3-mse-w0.1-lr0.001-seed{seed}" for seed in SEEDS]


def config(world: World, out: Path, **changes: Any) -> AlignConfig:
    return world.config(out, seeds=SEEDS, fit=replace(FIT, stack=2, workers=1), **changes)


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def shared(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("steps", "time")}


def scalars(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


@pytest.mark.parametrize("single", [True, False])
def test_histories_grow_while_runs_train(single: bool, world: World, tmp_path: Path) -> None:
    given = config(world, tmp_path / "out")
    given = replace(given, seeds=(1,)) if single else given
    grown: dict[str, list[dict[str, Any]]] = {}

    def on_event(event: Event) -> None:
        if isinstance(event, Validated):
            path = tmp_path / "out.unfinished" / HISTORIES / f"{event.label}.jsonl"
            text = path.read_text("utf-8")
            assert text.endswith("\n")
            so_far = entries(path)
            assert so_far[:-1] == grown.get(event.label, [])
            assert shared(so_far[-1]) == {"step": event.step, **event.figures}
            assert so_far[-1]["steps"] == event.steps == 4
            grown[event.label] = so_far

    result = align.run(given, on_event)
    assert len(result.runs) == len(grown) == (1 if single else 3)
    assert not (tmp_path / "out.unfinished").exists()
    for run in result.runs:
        folder = Path(run.folder)
        label = NAMES[run.seed - 1]
        assert list(map(shared, grown[label])) == read_run(folder).history == entries(folder / "history.jsonl")
        times = [entry["time"] for entry in grown[label]]
        assert times == sorted(times)


def test_lines_of_steps_that_come_again_are_not_doubled(tmp_path: Path) -> None:
    def told(histories: Histories, *steps: int) -> None:
        for step in steps:
            histories.validated(Validated("de", step, 40, {"val_r1": 1.0 * step}))

    told(Histories(tmp_path, print), 0, 10, 20, 30)
    path = tmp_path / HISTORIES / "de.jsonl"
    with path.open("a") as file:
        file.write('{"step": 40, "val_')  # killed in the middle of a line
    assert [entry["step"] for entry in read_history_so_far(path)] == [0, 10, 20, 30]
    told(Histories(tmp_path, print), 20, 30)  # from a checkpoint of step 15
    assert [entry["step"] for entry in entries(path)] == [0, 10, 20, 30]
    told(Histories(tmp_path, print), 0)  # without one
    assert [(entry["step"], entry["val_r1"]) for entry in entries(path)] == [(0, 0.0)]


def test_a_disk_that_refuses_the_history_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    histories = Histories(tmp_path, events.append)
    histories.validated(Validated("de", 0, 40, {"val_r1": 1.0}))
    path = tmp_path / HISTORIES / "de.jsonl"

    def half(path: Path, text: str) -> None:
        with path.open("a") as file:
            file.write(text[:9])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("xpet.jobs.align.histories.append", half)
        for step in (10, 11):
            histories.validated(Validated("de", step, 40, {"val_r1": 2.0}))
            if step == 10:
                patch.setattr("xpet.jobs.align.histories.write_file", half)
    histories.validated(Validated("de", 20, 40, {"val_r1": 3.0}))
    assert [entry["step"] for entry in entries(path)] == [0, 20]
    (warning,) = events
    assert isinstance(warning, Notice)
    assert warning.level == "warning"
    assert warning.text == (
        f"{path}: a validation could not be added ([Errno 28] No space left on device); training goes on"
    )


def test_tensorboard_shows_each_run_with_its_settings_its_history_and_its_end(world: World, tmp_path: Path) -> None:
    result = align.run(config(world, tmp_path / "out", track=("tensorboard",), learning_rates=(1e-3, 1e38)))
    assert len(result.runs) == 3
    labels = [*NAMES, *(name.replace("lr0.001", "lr1e+38") for name in NAMES)]
    assert sorted(path.name for path in (tmp_path / "out.tracking").iterdir()) == sorted(labels)
    for run in result.runs:
        label = NAMES[run.seed - 1]
        points, record = scalars(tmp_path / "out.tracking" / label), read_run(Path(run.folder))
        for name in ("val_r1", "val_mrr", "val_loss", "loss", "loss_clip", "loss_align"):
            wanted: list[tuple[int, Any]] = [
                (e["step"], pytest.approx(e[name], rel=1e-6)) for e in record.history if name in e
            ]
            assert points.pop(name) == wanted
            assert len(wanted) >= 2
        metrics = asdict(record.metrics)
        metrics["map.r1"] = metrics["map"]["r1"]
        assert set(points) == {
            "target_before", "translated_before", "aligned", "english_before", "english_after", "chosen_step",
            "trainable", "seconds", "map.r1",
        }  # fmt: skip
        assert points == {name: [(4, pytest.approx(metrics[name], rel=1e-6))] for name in points}
        (stored,) = (tmp_path / "out.tracking" / label).glob("*/hparams.yml")
        lines = stored.read_text().splitlines()
        assert {"language: de", f"seed: {run.seed}", "learning_rate: 0.001", "method.name: lora"} <= set(lines)
    assert "aligned" not in scalars(tmp_path / "out.tracking" / labels[-1])  # diverged


def test_a_stopped_sweep_that_goes_on_doubles_no_point(world: World, tmp_path: Path) -> None:
    given = config(world, tmp_path / "out", track=("tensorboard",), track_to=str(tmp_path / "here"))
    with pytest.raises(KeyboardInterrupt):
        align.run(given, interrupt_at("training", 2))
    before = {name: scalars(tmp_path / "here" / name) for name in NAMES if (tmp_path / "here" / name).exists()}
    assert before
    events: list[Event] = []
    result = align.run(given, events.append)
    assert Notice(f"figures go to tensorboard, files of trackers to {tmp_path / 'here'}") in events
    for run in result.runs:
        points = scalars(tmp_path / "here" / NAMES[run.seed - 1])
        assert points["val_r1"] == [(e["step"], pytest.approx(e["val_r1"])) for e in read_run(Path(run.folder)).history]
        assert len(points["aligned"]) == 1
    assert not (tmp_path / "out.tracking").exists()


def interrupted_at(label: str, step: int) -> Callable[[Event], None]:
    def on_event(event: Event) -> None:
        if isinstance(event, Validated) and (event.label, event.step) == (label, step):
            raise KeyboardInterrupt

    return on_event


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_goes_on_from_a_checkpoint_doubles_nothing(killed: bool, world: World, tmp_path: Path) -> None:
    """Stopped after step 2 and after step 6; killed there, it goes on from the checkpoint of step 2."""
    longer = replace(FIT, steps=8, validate_every=2, stack=1, workers=1)
    given = world.config(tmp_path / "out", track=("tensorboard",), fit=longer, checkpoint_every=0)
    checkpoints = tmp_path / "out.unfinished" / "checkpoints"
    for step in (2, 6):
        with pytest.raises(KeyboardInterrupt):
            align.run(given, interrupted_at(NAMES[0], step))
        if step == 2:
            shutil.copytree(checkpoints, tmp_path / "kept")
    if killed:
        shutil.rmtree(checkpoints)
        (tmp_path / "kept").rename(checkpoints)
    grown = tmp_path / "out.unfinished" / HISTORIES / f"{NAMES[0]}.jsonl"
    assert entries(grown)[-1]["step"] == 6
    steps: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, Validated):
            steps.append(event.step)
            assert [entry["step"] for entry in entries(grown)] == list(range(0, event.step + 1, 2))

    align.run(given, listen)
    assert steps == ([4, 6, 8] if killed else [8])
    history = read_run(tmp_path / "out").history
    points = scalars(tmp_path / "out.tracking" / NAMES[0])
    assert points["val_loss"] == [(entry["step"], pytest.approx(entry["val_loss"])) for entry in history]
    assert [entry["step"] for entry in history] == [0, 2, 4, 6, 8]
    assert len(points["aligned"]) == 1


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_ended_is_not_told_again(
    killed: bool, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs end together, and the command stops before the second is written: killed, or with time for its state."""
    fit = replace(FIT, stack=2, workers=1)
    given = world.config(tmp_path / "out", seeds=(1, 2), track=("tensorboard",), fit=fit, checkpoint_every=0)
    write, done = align._measure_and_write, list[str]()

    def once(*arguments: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append("written")
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(align, "_measure_and_write", once)
        if killed:
            patch.setattr("xpet.training.resuming.Checkpoints.settle", lambda self: True)
        with pytest.raises(KeyboardInterrupt):
            align.run(given)
    first = scalars(tmp_path / "out.tracking" / NAMES[0])
    again: list[Event] = []
    result = align.run(given, again.append)
    assert [event.label for event in again if isinstance(event, Validated)] == [*NAMES[:2]] * killed  # of the last step
    assert scalars(tmp_path / "out.tracking" / NAMES[0]) == first
    for run in result.runs:
        points = scalars(tmp_path / "out.tracking" / NAMES[run.seed - 1])
        history = read_run(Path(run.folder)).history
        assert points["val_loss"] == [(entry["step"], pytest.approx(entry["val_loss"])) for entry in history]
        assert points["aligned"] == [(4, pytest.approx(run.aligned))]


def test_a_sweep_that_goes_on_may_be_watched_otherwise(world: World, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        align.run(config(world, tmp_path / "out"), interrupt_at("training", 2))
    align.run(config(world, tmp_path / "out", track=("tensorboard",)))
    assert NAMES[2] in {path.name for path in (tmp_path / "out.tracking").iterdir()}


def test_phases_of_a_chain_are_tracked_side_by_side(world: World, tmp_path: Path) -> None:
    given = world.config(tmp_path / "out", routines=("baseline-target", "3"), chain=True, track=("tensorboard",))
    chained.run(given)
    assert {path.name for path in (tmp_path / "out.tracking").iterdir()} == {"1-baseline-target", "2-routine3"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1-baseline-target", "2-routine3", "chain.json"}


def test_problems_are_told_before_any_work(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="^unknown tracker 'tensorbord': .*; did you mean 'tensorboard'"):
        align.run(config(world, tmp_path / "out", track=("tensorbord",)))
    with pytest.raises(ConfigError, match="^--track-to: expected with --track, found none$"):
        align.run(config(world, tmp_path / "out", track_to="here"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="expected the package wandb, found none; pip install wandb$"):
        align.run(config(world, tmp_path / "out", track=("wandb",)))
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}
