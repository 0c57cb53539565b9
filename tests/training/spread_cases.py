"""Trainings that must come out the same in one process, spread over several, and with a gradient cache.

`python -m` is not for this module: `trained_by` starts processes, each of which runs `_work`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.multiprocessing.spawn import start_processes

from tests import towers, worlds
from tests.training.test_layouts import METHODS
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.errors import LostError
from xpet.core.losses import ALIGNMENT_LOSSES
from xpet.methods.build import build_stack
from xpet.methods.table import METHODS as METHODS_BY_NAME
from xpet.training.closed_form import Fitting
from xpet.training.device import make_engine
from xpet.training.fit import stream
from xpet.training.queue import Queue, Run, RunData
from xpet.training.selection import TrainedRun
from xpet.training.setup import FitSetup
from xpet.training.spread import Spread
from xpet.training.stacklike import Reindex, StackLike

TIMEOUT = timedelta(seconds=240)
FIT = FitPlan(batch_size=5, steps=6, validate_every=3)  # of 14 rows: batches of 5, 5 and 4
PAIR, FAULTY = 2, 3
"""Processes of a pair; the step in which one of them is lost."""
SUM = "mse-normalized+0.1*contrastive"


@dataclass(frozen=True)
class Case:
    """A training of `runs` runs, `slots` of them side by side."""

    method: MethodConfig = METHODS["lora"]
    fit: FitPlan = FIT
    runs: int = 1
    slots: int = 2
    losses: tuple[str, ...] = ("mse",)
    data: str = "anchored"
    rows: int = 14
    diverging: int | None = None

    def given(self) -> list[Run]:
        """The runs: seeds, rates, data and losses of their own."""
        return [
            (
                RunConfig("de", "routine1", self.losses[n % len(self.losses)], 0.5, 1e-3 * (1 + n), seed=20 + n),
                self._data(n),
            )
            for n in range(self.runs)
        ]

    def _data(self, number: int) -> RunData:
        data = towers.run_data(number, rows=self.rows, longest=6 + 3 * (number % 3), anchored=self.data == "anchored")
        generator = torch.Generator().manual_seed(number)
        features = torch.randn(self.rows, towers.DIMENSIONS, generator=generator, dtype=torch.float64)
        if self.data in ("anchor features", "image captions"):
            data = replace(data, anchor_features=features)
        if self.data == "image captions":
            assert data.image is not None
            data = replace(data, image=data.image[:7], image_captions=towers.texts(7, number + 300))
        if self.data == "text alone":
            data = replace(data, image=None, anchor_features=features)
        if number == self.diverging:
            assert data.image is not None
            data = replace(data, image=data.image.index_fill(0, torch.tensor([4]), float("nan")))
        return data


LONG = "30 steps"
CASES: dict[str, Case] = {
    **{f"method {name}": Case(method, slots=1 if name == "full" else 2) for name, method in METHODS.items()},
    **{f"loss {name}": Case(losses=(name,)) for name in (*ALIGNMENT_LOSSES, SUM)},
    **{f"data: {kind}": Case(data=kind) for kind in ("no anchors", "anchor features", "image captions", "text alone")},
    "padded": Case(fit=replace(FIT, layout="padded"), runs=2),
    "padded, no anchors": Case(fit=replace(FIT, layout="padded"), data="no anchors"),
    "dropout": Case(fit=replace(FIT, dropout="model"), runs=2),
    "dropout, padded": Case(fit=replace(FIT, dropout="model", layout="padded"), runs=2, data="no anchors"),
    "dropout, image captions": Case(fit=replace(FIT, dropout="model"), data="image captions"),
    "dropout, full": Case(METHODS["full"], replace(FIT, dropout="model")),
    "dropout, prompt": Case(METHODS["soft-prompt"], replace(FIT, dropout="model")),
    "pairs": Case(fit=replace(FIT, batch_size=2), data="no anchors"),
    "one batch": Case(fit=replace(FIT, batch_size=50), losses=("contrastive",)),
    "fitted": Case(towers.FITTED_CONFIGS["linear-map"], replace(FIT, steps=1)),
    "runs that come and go": Case(fit=replace(FIT, steps=11), runs=5, slots=3, losses=("mse", "cosine"), diverging=1),
    "never validated": Case(fit=replace(FIT, include_start=False, validate_every=100)),
    LONG: Case(fit=replace(FIT, steps=30, validate_every=10, dropout="model"), runs=2, losses=("mse", SUM)),
}


def prepared(case: Case, spread: Spread) -> FitSetup:
    """A stack and its queue, ready to be trained."""
    given = case.given()
    stack = build_stack(towers.tower(), case.method, [1], [_tokens(given[0])])
    queue = Queue(given, case.fit)
    return FitSetup(stack, queue, case.slots, case.fit, towers.pad, make_engine("cpu"), spread)


def train(case: Case, spread: Spread | None = None) -> tuple[list[TrainedRun], list[dict[str, torch.Tensor]]]:
    """The trained runs in their order, and the last parameters of those that were in the stack at the end."""
    setup = prepared(case, spread or Spread(0, 1))
    closed_form = METHODS_BY_NAME[case.method.name].closed_form
    take = stream if closed_form is None else Fitting(partial(closed_form, case.method)).stream
    outcomes = [run for finished in take(setup, _assign) for run in finished]
    return sorted(outcomes, key=lambda run: run.number), [setup.stack.state(slot) for slot in range(setup.stack.runs)]


def _assign(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
    return stack.reindex(kept, [config.seed for config, _ in runs], [_tokens(run) for run in runs])


def _tokens(run: Run) -> list[int]:
    return sorted({token for row in run[1].student for token in row})


def trained_by(folder: Path, names: dict[int, Sequence[str]], gradient_cache: int) -> None:
    """Train named cases in as many processes as the keys say, and those marked with a gradient cache, too."""
    towers.tower()  # what it imports, the forks need not
    how, count = "fork" if worlds.can_fork() else "spawn", max(names) + PAIR
    start_processes(_work, (str(folder), names, gradient_cache), count, start_method=how)  # type: ignore[no-untyped-call]


def _work(rank: int, folder: str, cases: dict[int, Sequence[str]], gradient_cache: int) -> None:
    torch.set_num_threads(1)
    if (of_pair := rank - max(cases)) >= 0:  # two more, which mostly wait
        seconds = timedelta(seconds=5)
        return _lose(Path(folder), "silent", of_pair, seconds, lambda: _wait_for(Path(folder) / "silent.st"))
    for world, names in cases.items():
        if rank >= world:
            continue
        join(Path(folder) / f"store-{world}", rank, world)
        for number, name in enumerate(names):
            case = CASES[name.removesuffix(CACHED)]
            if name.endswith(CACHED):
                case = replace(case, fit=replace(case.fit, gradient_cache=gradient_cache))
            write(Path(folder) / f"{world}-{rank}-{number}", *train(case, Spread(rank, world)))
        if world == PAIR:
            exchanged = _exchange(Spread(rank, world))
            (Path(folder) / f"exchanged-{rank}.json").write_text(json.dumps(exchanged), encoding="utf-8")
        dist.barrier()
        dist.destroy_process_group()
    if rank < PAIR:
        _lose(Path(folder), "gone", rank, TIMEOUT, lambda: os._exit(0))


def _wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.05)


def _exchange(spread: Spread) -> dict[str, Any]:
    """What methods of `Spread` give a process that others give other values."""
    gradients = [torch.full((2, 3), 1.0 + spread.rank), torch.full((2, 1), 10.0)]
    spread.sum_gradients(gradients, torch.tensor([1.0, math.inf if spread.rank == 1 else 1.0]))
    first = [torch.full((2,), 7.0 + spread.rank)]
    spread.copy_first(first)
    return {
        "sums": [gradient[0].tolist() for gradient in gradients],
        "finite": [gradient.sum(dim=1).isfinite().tolist() for gradient in gradients],
        "first": first[0].tolist(),
    }


@dataclass(frozen=True)
class Faulty(Spread):
    """Has `fault` before it gathers features in the step FAULTY; copies parameters at the beginning of each step."""

    fault: Callable[[], object] = int
    stacks: list[StackLike] = field(default_factory=list)
    copies: list[torch.Tensor] = field(default_factory=list)

    def gather(self, features: torch.Tensor) -> torch.Tensor:
        """As `Spread.gather`, once a step."""
        self.copies.append(self.stacks[0].flat[0].detach().clone())
        if len(self.copies) == FAULTY:
            self.fault()
        return super().gather(features)


def _lose(folder: Path, name: str, rank: int, timeout: timedelta, fault: Callable[[], object]) -> None:
    """Train until process 1 has its fault; process 0 writes the error, and the parameters before and after."""
    (folder / f"{name}-{rank}").touch()
    _wait_for(folder / f"{name}-{1 - rank}")  # before the time counts
    join(folder / f"store-{name}", rank, PAIR, timeout)
    spread = Faulty(rank, PAIR, fault if rank == 1 else int)
    setup = prepared(Case(fit=replace(FIT, include_start=False, validate_every=100)), spread)
    spread.stacks.append(setup.stack)
    try:
        list(stream(setup, _assign))
    except LostError as error:
        if rank == 0:
            (folder / f"{name}.txt").write_text(str(error), encoding="utf-8")
            before, began = spread.copies[-2:]
            save_file({"before": before, "began": began, "now": setup.stack.flat[0].detach()}, folder / f"{name}.st")
    dist.destroy_process_group()


CACHED = " (cached)"
"""Ending of the name of a case that is trained with a gradient cache."""


def join(store: Path, rank: int, world: int, timeout: timedelta = TIMEOUT) -> None:
    """Join the default process group."""
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world, timeout=timeout)


def write(path: Path, outcomes: Sequence[TrainedRun], last: Sequence[dict[str, torch.Tensor]]) -> None:
    """Write what `train` returned to two files."""
    states = {f"run {run.number}": run.state for run in outcomes} | {f"slot {n}": s for n, s in enumerate(last)}
    tensors = {f"{which} {name}": value.clone() for which, state in states.items() for name, value in state.items()}
    save_file(tensors, path.with_suffix(".safetensors"))
    figures = [
        {"number": run.number, "step": run.chosen_step, "diverged_at": run.diverged_at, "history": run.history}
        for run in outcomes
    ]
    path.with_suffix(".json").write_text(json.dumps(figures), encoding="utf-8")


def read(path: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """What `write` wrote."""
    figures = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return figures, load_file(path.with_suffix(".safetensors"))
