"""`xpet align --status`: reads how far a training in another process is, from the files it writes; changes nothing.

Files come, grow and are replaced meanwhile. What is not there (any more) counts as not begun, and where the plan goes
away while it is read, all is read again.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xpet.core.config import AlignPlan, RunConfig
from xpet.core.config.stored import sweep_config
from xpet.core.errors import ConfigError, DataError
from xpet.core.paths import exists
from xpet.core.regular_files import read_bytes
from xpet.core.routines import ROUTINES
from xpet.core.rundir import (
    CHAIN,
    HISTORIES,
    SWEEP,
    SWEEP_LOCK,
    UNFINISHED,
    find_runs,
    is_run,
    read_sweep,
    unfinished_folder,
)  # fmt: skip
from xpet.core.selection import RULES
from xpet.data.locking import is_locked
from xpet.jobs.align.histories import ENDING, read_history_so_far
from xpet.jobs.align.time_left import seconds_left
from xpet.jobs.align.unfinished import DIVERGED as DIVERGED_FOLDER
from xpet.jobs.results.status import (
    DIVERGED,
    FINISHED,
    RUNNING,
    STOPPED,
    TRAINING,
    WAITING,
    PhaseStatus,
    RunStatus,
    StatusResult,
)  # fmt: skip

PHASE = re.compile(r"(\d+)-.+")
"""Name of a phase's folder inside that of its chain."""
LABEL = re.compile(rf"(.+?)-({'|'.join(ROUTINES)})-(.+)-w([\d.e+-]+)-lr([\d.e+-]+)-seed(\d+)")
"""The label of a run: language, routine, loss, weight, rate and seed."""
NEEDED = ("step", "steps", "time", "val_r1", "val_mrr", "val_loss")
"""What an entry of a growing history holds."""
TRIES, PAUSE = 5, 0.05
"""How often a folder is read that changes meanwhile, and the seconds between."""
History = Sequence[Mapping[str, Any]]


def status(folder: Path) -> StatusResult:
    """How far the run, sweep or chain is whose folder, or folder of unfinished work, this is.

    Raises ConfigError for a folder that is neither, and DataError for one that is damaged.
    """
    for _ in range(TRIES):
        try:
            return _status(folder)
        except (OSError, DataError) as error:
            last = error
            time.sleep(PAUSE)
    raise last if isinstance(last, DataError) else DataError(f"--status {folder}: cannot be read ({last})")


def _status(folder: Path) -> StatusResult:
    out = folder
    if folder.name.endswith(UNFINISHED) and exists(folder / SWEEP):
        out = folder.with_name(folder.name.removesuffix(UNFINISHED))
    parts = _phases(out)
    phases = [phase for each in (parts or [out]) if (phase := _phase(each)) is not None]
    if not phases:
        raise ConfigError(
            f"--status {folder}: expected a folder of xpet align, finished or not, found none there; a command that "
            "has not begun to train leaves none"
        )
    is_whole = not parts or exists(out / CHAIN)
    if parts:  # the chain's folder stands for its last phase
        phases = [replace(phase, next=None) if phase.state == FINISHED else phase for phase in phases]
        if is_whole and phases[-1].state == FINISHED:
            phases[-1] = replace(phases[-1], next=_evaluation(out))
    return StatusResult(str(out), tuple(phases), is_whole)


def _phases(out: Path) -> list[Path]:
    """The folders of a chain's phases that were begun; none of a run or a sweep."""
    if not out.is_dir() or is_run(out):
        return []
    names = {path.name.removesuffix(UNFINISHED) for path in out.iterdir() if path.is_dir()}
    numbers = {name: int(match[1]) for name in names if (match := PHASE.fullmatch(name))}
    return [out / name for name in sorted(numbers, key=numbers.__getitem__)]


def _phase(out: Path) -> PhaseStatus | None:
    """How far a run or a sweep is; None where there is none."""
    unfinished = unfinished_folder(out)
    if exists(unfinished / SWEEP):
        return _of_unfinished(out, unfinished)
    try:
        folders = find_runs(out)
    except DataError:
        return None
    runs = [_finished(path, _json(path / "config.json").get("run", {})) for path in folders]
    failed = _json(out / "summary.json").get("failed")
    for label in failed if isinstance(failed, list) else ():
        runs.append(RunStatus(str(label), _settings(str(label)), DIVERGED))
    return PhaseStatus(str(out), FINISHED, tuple(runs), _age([out, *folders]), next=_evaluation(out))


def _evaluation(out: Path) -> str:
    return f"xpet eval {shlex.quote(str(out))}"


def _of_unfinished(out: Path, unfinished: Path) -> PhaseStatus:
    document = read_sweep(unfinished)
    plan = sweep_config(document, str(unfinished / SWEEP)).check()
    configs = list(plan.runs())
    is_running = is_locked(unfinished / SWEEP_LOCK)
    runs: list[RunStatus] = []
    histories: dict[str, list[History]] = {state: [] for state in (FINISHED, DIVERGED, TRAINING, STOPPED, WAITING)}
    for config in configs:
        path = out if len(configs) == 1 else out / config.label
        history = list(_growing(unfinished / HISTORIES / f"{config.label}{ENDING}"))
        if not document.get("replaces") and exists(path) and is_run(path):
            runs.append(_finished(path, asdict(config), history))
        else:
            is_diverged = exists(unfinished / DIVERGED_FOLDER / config.label)
            runs.append(_in_training(plan, config, history, is_diverged, is_running))
        histories[runs[-1].state].append(history)
    left = seconds_left(
        histories[TRAINING if is_running else STOPPED], len(histories[WAITING]), histories[FINISHED]
    )  # fmt: skip
    state = RUNNING if is_running else STOPPED
    go_on = None if is_running else f"xpet align --resume {shlex.quote(str(out))}"
    paths = [unfinished, *unfinished.rglob("*"), *(out / run.label for run in runs if run.state == FINISHED)]
    return PhaseStatus(str(out), state, tuple(runs), _age(paths), left, go_on)


def _growing(path: Path) -> Iterator[Mapping[str, Any]]:
    """The entries of a growing history that have all that is read here, as numbers."""
    for entry in read_history_so_far(path):
        if all(isinstance(entry.get(name), (int, float)) for name in NEEDED):
            yield entry


def _in_training(
    plan: AlignPlan, config: RunConfig, history: History, is_diverged: bool, is_running: bool
) -> RunStatus:  # fmt: skip
    """How far a run is that is not written, by its growing history."""
    run = RunStatus(config.label, asdict(config), WAITING)
    if history:
        last, best = history[-1], _best(plan, history)
        run = replace(
            run, state=TRAINING if is_running else STOPPED, step=last["step"], steps=last["steps"],
            figures=_figures(last), best_step=best["step"], best=_figures(best),
            age=max(0.0, time.time() - last["time"]),
        )  # fmt: skip
    return replace(run, state=DIVERGED) if is_diverged else run


def _best(plan: AlignPlan, history: History) -> Mapping[str, Any]:
    """The entry that selection would keep now."""
    rule, best = RULES[plan.fit.select], history[0]
    for entry in history[1:]:
        if rule.replaces(entry, rule.checkpoint(best), plan.fit.latest_tie_wins):
            best = entry
    return best


def _finished(path: Path, settings: Mapping[str, Any], growing: History = ()) -> RunStatus:
    """How a run with these settings ended, by its folder."""
    metrics, history = _json(path / "metrics.json"), list(read_history_so_far(path / "history.jsonl"))
    last = history[-1] if history else None
    chosen = metrics.get("chosen_step")
    best = next((entry for entry in history if entry["step"] == chosen), None)
    run = RunStatus(
        _label(settings, path), settings, FINISHED, best_step=chosen, best=best and _figures(best),
        aligned=metrics.get("aligned"), age=_age([path]),
    )  # fmt: skip
    if last is None:
        return run
    steps = growing[-1]["steps"] if growing else last["step"]
    return replace(run, step=last["step"], steps=steps, figures=_figures(last))


def _settings(label: str) -> dict[str, Any]:
    """The settings that a run's label tells; none for a label of another kind."""
    match = LABEL.fullmatch(label)
    if match is None:
        return {}
    language, routine, loss, weight, rate, seed = match.groups()
    settings = {"language": language, "routine": routine, "loss": loss, "seed": int(seed)}
    return {**settings, "align_weight": float(weight), "learning_rate": float(rate)}


def _label(settings: Mapping[str, Any], path: Path) -> str:
    """The label of a finished run by its settings; its folder's name where these cannot be read."""
    try:
        return RunConfig(**settings).label
    except (TypeError, ValueError):
        return path.name


def _figures(entry: Mapping[str, Any]) -> dict[str, float]:
    numbers = {key: value for key, value in entry.items() if isinstance(value, (int, float))}
    return {key: value for key, value in numbers.items() if key not in ("step", "steps", "time")}


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none to read."""
    try:
        document = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _age(paths: Iterable[Path]) -> float:
    """Seconds since the latest change of any of these files and folders."""
    return max(0.0, time.time() - max(_changes(paths), default=time.time()))


def _changes(paths: Iterable[Path]) -> Iterator[float]:
    for path in paths:
        try:
            yield path.stat().st_mtime
        except OSError:  # gone meanwhile
            continue
