"""What experiment trackers get of runs: TensorBoard's files read by its own reader, and a tracker made for the test."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xpet.core.choices import TRACKER_NAMES
from xpet.core.errors import ConfigError
from xpet.core.events import Event, Notice, Validated
from xpet.training.trackers import KINDS, TrackerKind, Trackers, check_trackers

LABELS = ("de-seed1", "tr-seed1")
SETTINGS: dict[str, str | int | float | bool] = {"language": "de", "learning_rate": 0.001, "seed": 1, "method.rank": 8}


@pytest.fixture(autouse=True)
def _state() -> None:
    PartialState(cpu=True)  # as the engine's accelerator leaves it


def entry(step: int) -> dict[str, Any]:
    return {"step": step, "val_r1": 50.0 + step, "loss": 1 / (1 + step)}


def validated(label: str, step: int) -> Validated:
    return Validated(label, step, 40, {key: value for key, value in entry(step).items() if key != "step"})


def tracked(folder: Path, *names: str, events: list[Event] | None = None) -> Trackers:
    heard = [] if events is None else events
    return Trackers(names, folder, lambda label: {"label": label, **SETTINGS}, heard.append)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of a run by name, as TensorBoard shows them."""
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def expected(*steps: int) -> dict[str, list[tuple[int, Any]]]:
    return {name: [(step, pytest.approx(entry(step)[name])) for step in steps] for name in ("val_r1", "loss")}


def test_the_names_are_those_of_accelerate() -> None:
    assert tuple(KINDS) == TRACKER_NAMES
    assert set(KINDS) <= set(LOGGER_TYPE_TO_CLASS)


def test_tensorboard_gets_every_validation_as_it_comes_and_the_end(tmp_path: Path) -> None:
    several = tracked(tmp_path / "track", "tensorboard")
    for step in (0, 20, 40):
        for label in LABELS:
            several.validated(validated(label, step))
            assert scalars(tmp_path / "track" / label)["val_r1"][-1] == (step, 50.0 + step)
    several.ended(LABELS[0], [entry(0), entry(20), entry(40)], {"aligned": 81.5, "chosen_step": 20})
    several.ended(LABELS[1], [entry(0), entry(20), entry(40)], {})  # diverged
    final = {"aligned": [(40, 81.5)], "chosen_step": [(40, 20.0)]}
    assert scalars(tmp_path / "track" / LABELS[0]) == expected(0, 20, 40) | final
    assert scalars(tmp_path / "track" / LABELS[1]) == expected(0, 20, 40)
    stored = list((tmp_path / "track" / LABELS[0]).glob("*/hparams.yml"))
    assert len(stored) == 1
    assert stored[0].read_text().splitlines() == [
        "label: de-seed1", "language: de", "learning_rate: 0.001", "method.rank: 8", "seed: 1",
    ]  # fmt: skip


def test_a_run_that_goes_back_to_a_checkpoint_has_no_point_twice(tmp_path: Path) -> None:
    killed = tracked(tmp_path, "tensorboard")
    for step in (0, 10, 20, 30):
        killed.validated(validated(LABELS[0], step))
    killed.close()
    again = tracked(tmp_path, "tensorboard")  # from a checkpoint of step 15
    for step in (20, 30, 40):
        again.validated(validated(LABELS[0], step))
    again.ended(LABELS[0], list(map(entry, (0, 10, 20, 30, 40))), {"aligned": 80.0})
    assert scalars(tmp_path / LABELS[0]) == expected(0, 10, 20, 30, 40) | {"aligned": [(40, 80.0)]}
    assert len(list((tmp_path / LABELS[0]).glob("*/hparams.yml"))) == 1


def test_a_run_whose_last_step_was_taken_before_is_sent_whole(tmp_path: Path) -> None:
    killed = tracked(tmp_path, "tensorboard")
    for step in (0, 20, 40):
        killed.validated(validated(LABELS[0], step))
    killed.close()
    again = tracked(tmp_path, "tensorboard")
    again.ended(LABELS[0], list(map(entry, (0, 20, 40))), {"aligned": 80.0})
    assert scalars(tmp_path / LABELS[0]) == expected(0, 20, 40) | {"aligned": [(40, 80.0)]}


def test_what_was_not_sent_of_a_run_goes_with_its_end(tmp_path: Path) -> None:
    several = tracked(tmp_path, "tensorboard")
    several.validated(validated(LABELS[0], 0))
    several.ended(LABELS[0], list(map(entry, (0, 20, 40))), {})
    assert scalars(tmp_path / LABELS[0]) == expected(0, 20, 40)


class Noted(GeneralTracker):
    """A tracker that holds one run at a time, greets on standard output, and fails for one label."""

    name = "noted"
    requires_logging_directory = False
    calls: list[tuple[Any, ...]] = []
    open = False

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label

    @property
    def tracker(self) -> Any:
        return None

    def start(self) -> None:
        sys.stdout.write("welcome")
        assert not Noted.open
        if self.label == "broken":
            raise OSError("no network\nat all")
        Noted.open = True

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.calls.append((self.label, "settings", values))

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.calls.append((self.label, step, values))

    def finish(self) -> None:
        self.calls.append((self.label, "end"))
        Noted.open = False


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "noted", Noted)
    monkeypatch.setitem(KINDS, "noted", TrackerKind("json", lambda run: {"label": run.label}))
    monkeypatch.setattr(Noted, "calls", [])
    monkeypatch.setattr(Noted, "open", False)
    return Noted.calls


def test_a_tracker_of_one_run_at_a_time_gets_each_run_when_it_ends(
    noted: list[tuple[Any, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = tracked(tmp_path, "noted")
    for label in LABELS:
        several.validated(validated(label, 0))
    assert noted == []
    for label in LABELS:
        several.ended(label, [entry(0), entry(20)], {"aligned": 80.0})
    several.close()
    figures: Mapping[int, Any] = {step: {"val_r1": 50.0 + step, "loss": 1 / (1 + step)} for step in (0, 20)}
    assert noted == [
        call for label in LABELS for call in (
            (label, "settings", {"label": label, **SETTINGS}), (label, 0, figures[0]), (label, 20, figures[20]),
            (label, 20, {"aligned": 80.0}), (label, "end"),
        )
    ]  # fmt: skip
    assert capsys.readouterr().out == ""  # where results go


def test_a_tracker_that_fails_is_told_once_and_the_others_go_on(noted: list[tuple[Any, ...]], tmp_path: Path) -> None:
    events: list[Event] = []
    several = tracked(tmp_path, "noted", "tensorboard", events=events)
    for label in ("broken", "de-seed1"):
        several.validated(validated(label, 0))
        several.ended(label, [entry(0)], {"aligned": 80.0})
    assert events == [Notice("--track noted: no network at all; training goes on without it", "warning")]
    assert noted == []
    assert scalars(tmp_path / "de-seed1") == expected(0) | {"aligned": [(0, 80.0)]}


def test_every_process_tracks_its_own_runs(noted: list[tuple[Any, ...]], tmp_path: Path) -> None:
    assert Noted.main_process_only  # as accelerate's classes are, which do nothing in other processes then
    begun = tracked(tmp_path, "noted")._begun("noted", "de", 0)
    assert isinstance(begun, Noted)
    assert not begun.main_process_only


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    present = lambda module: None if module in ("wandb", "aim") else object()  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", present)
    check_trackers(["tensorboard"])
    with pytest.raises(ConfigError) as told:
        check_trackers(["wandb", "tensorboard", "aim"])
    assert str(told.value) == "--track wandb,aim: expected the package wandb aim, found none; pip install wandb aim"
