"""Sends the figures of runs to experiment trackers such as TensorBoard, by accelerate's classes for them.

A run of xpet is a run of the tracker. Where a tracker can hold several open runs it is told of every validation as it
comes; the others hold one run in a process at a time, and get the whole history when a run ends.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpet.core.errors import ConfigError, one_line
from xpet.core.events import Notice, OnEvent, Validated

PROJECT = "xpet"
"""The project, or experiment, that runs stand under in trackers that have such."""
Hyperparameters = Mapping[str, "str | int | float | bool"]


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker sees it, which begins at `step` in this process; `folder` is where files of trackers go."""

    label: str
    folder: Path
    step: int
    hyperparameters: Hyperparameters

    @property
    def identity(self) -> str:
        """The same 32 letters whenever this run of this folder is tracked."""
        return hashlib.sha256(f"{self.folder.absolute()}\n{self.label}".encode()).hexdigest()[:32]

    @property
    def own_folder(self) -> Path:
        """The run's own folder inside `folder`."""
        return self.folder / self.label


@dataclass(frozen=True)
class TrackerKind:
    """What is particular about a tracker.

    Attributes:
        module: what is imported, which has the name of the package that pip installs unless `package` is given.
        arguments: what accelerate's class is made with.
        is_live: whether several runs may be open at a time.
        keeps_configuration: whether hyperparameters are to be stored once a run is open; else `arguments` has them.
    """

    module: str
    arguments: Callable[[TrackedRun], Mapping[str, Any]]
    is_live: bool = False
    package: str = ""
    keeps_configuration: Callable[[TrackedRun], bool] = lambda run: True


def _clearml(run: TrackedRun) -> Mapping[str, Any]:
    """Without what ClearML would otherwise hook into: arguments, streams, saved files, a monitor of the machine."""
    automatic = ("auto_connect_arg_parser", "auto_connect_frameworks", "auto_connect_streams",
                 "auto_resource_monitoring", "reuse_last_task_id")  # fmt: skip
    return {"run_name": run.label, "project_name": PROJECT, **dict.fromkeys(automatic, False)}


def _wandb(run: TrackedRun) -> Mapping[str, Any]:
    run.folder.mkdir(parents=True, exist_ok=True)
    return {
        "run_name": PROJECT, "name": run.label, "id": run.identity, "group": run.folder.name, "dir": str(run.folder),
        "resume": "allow", "reinit": "create_new", "config": dict(run.hyperparameters),
    }  # fmt: skip


def _dvclive(run: TrackedRun) -> Mapping[str, Any]:
    """Without what DVCLive would otherwise write into the working directory and its repository."""
    return {"dir": str(run.own_folder), "save_dvc_exp": False, "dvcyaml": None, "report": None}


def _swanlab(run: TrackedRun) -> Mapping[str, Any]:
    return {"run_name": PROJECT, "experiment_name": run.label, "logdir": str(run.folder / "swanlog")}


KINDS = {
    "tensorboard": TrackerKind(  # what an earlier process wrote from `step` on does not count any more
        "tensorboard",
        lambda run: {"run_name": run.label, "logging_dir": str(run.folder), "purge_step": run.step},
        is_live=True,
        keeps_configuration=lambda run: not any(run.own_folder.glob("*/hparams.yml")),
    ),
    "wandb": TrackerKind("wandb", _wandb, is_live=True, keeps_configuration=lambda run: False),
    "mlflow": TrackerKind("mlflow", lambda run: {"experiment_name": PROJECT, "run_name": run.label}),
    "aim": TrackerKind("aim", lambda run: {"run_name": run.label, "logging_dir": str(run.folder)}),
    "comet_ml": TrackerKind("comet_ml", lambda run: {"run_name": PROJECT, "experiment_key": run.identity}),
    "clearml": TrackerKind("clearml", _clearml),
    "dvclive": TrackerKind("dvclive", _dvclive),
    "swanlab": TrackerKind("swanlab", _swanlab),
    "trackio": TrackerKind("trackio", lambda run: {"run_name": PROJECT, "name": run.label}),
}


def check_trackers(names: Iterable[str]) -> None:
    """Raise ConfigError for trackers whose package is missing, naming the command that installs it."""
    lacking = [name for name in names if importlib.util.find_spec(KINDS[name].module) is None]
    if lacking:
        packages = " ".join(KINDS[name].package or KINDS[name].module for name in lacking)
        raise ConfigError(
            f"--track {','.join(lacking)}: expected the package {packages}, found none; pip install {packages}"
        )


@dataclass
class Trackers:
    """The trackers of one command. Safe for several threads.

    A tracker that fails (a full disk, no network) ends no training: one warning is given and it is left alone.

    Attributes:
        names: which trackers, of KINDS.
        folder: where those put their files that write any.
        hyperparameters: what is stored with a run, given its label.
        on_event: gets the warnings.
    """

    names: Sequence[str]
    folder: Path
    hyperparameters: Callable[[str], Hyperparameters]
    on_event: OnEvent
    _open: dict[tuple[str, str], Any] = field(default_factory=dict)
    _sent: dict[tuple[str, str], int] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def validated(self, event: Validated) -> None:
        """Send the figures of a validation to the trackers that are told of them as they come."""
        for name in self.names:
            if KINDS[name].is_live:
                self._guarded(name, self._send, event)

    def ended(self, label: str, history: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> None:
        """Send what a run ended with: its last figures, at the step of its last validation; of a diverged run none."""
        for name in self.names:
            self._guarded(name, self._end, label, history, metrics)

    def close(self) -> None:
        """Close the runs that did not end, because the command was stopped."""
        for name, label in [*self._open]:
            self._guarded(name, self._finish, label)

    def _send(self, name: str, event: Validated) -> None:
        if (name, event.label) not in self._open:
            self._open[name, event.label] = self._begun(name, event.label, event.step)
        self._open[name, event.label].log(dict(event.figures), step=event.step)
        self._sent[name, event.label] = event.step

    def _finish(self, name: str, label: str) -> None:
        self._open.pop((name, label)).finish()

    def _end(self, name: str, label: str, history: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> None:
        """End a run; what was not sent of its history goes first, of one that is not open all of it."""
        tracker, sent = self._open.pop((name, label), None), self._sent.get((name, label), -1)
        if tracker is None:
            tracker, sent = self._begun(name, label, history[0]["step"] if history else 0), -1
        for entry in history:
            if entry["step"] > sent:
                numbers = {key: value for key, value in entry.items() if isinstance(value, (int, float))}
                tracker.log({key: value for key, value in numbers.items() if key != "step"}, step=entry["step"])
        if metrics:
            tracker.log(dict(metrics), step=history[-1]["step"] if history else 0)
        tracker.finish()

    def _begun(self, name: str, label: str, step: int) -> Any:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        kind = KINDS[name]
        run = TrackedRun(label, self.folder, step, self.hyperparameters(label))
        own = type(name, (LOGGER_TYPE_TO_CLASS[name],), {"main_process_only": False})  # each process tracks its runs
        stores = kind.keeps_configuration(run)
        tracker = own(**kind.arguments(run))
        tracker.start()
        if stores:
            tracker.store_init_configuration(dict(run.hyperparameters))
        return tracker

    def _guarded(self, name: str, act: Callable[..., None], *arguments: Any) -> None:
        """Have a tracker do something, unless it failed before."""
        with self._lock:
            if name in self._failed:
                return
            try:
                with redirect_stdout(sys.stderr):  # some greet on standard output, where results go
                    act(name, *arguments)
            except Exception as error:
                self._failed.add(name)
                self.on_event(Notice(f"--track {name}: {one_line(error)}; training goes on without it", "warning"))
                for key in [key for key in self._open if key[0] == name]:
                    with suppress(Exception):
                        self._open.pop(key).finish()
