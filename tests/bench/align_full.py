"""Training on a whole data set (29,000 captions, batch 256): captions per second, three ways."""

from __future__ import annotations

import importlib
import importlib.util
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tests.bench.align_runs import Found, Options, Reference, left_out_of
from tests.bench.meter import in_turns, now, ratio, wait
from tests.bench.ours import Ours, fit_config
from tests.bench.reference import clip_loss
from tests.bench.setting import text_tower
from xpet.core.config import RunConfig
from xpet.core.routines import ROUTINES

CAPTIONS, BATCH = 29_000, 256
KEPT = 2
"""Batches whose pixels are held in memory: the steps go round them."""


def full(options: Options) -> Found:
    """xpet, the reference loop, and what a user of PEFT would write."""
    batch = 16 if options.smoke else BATCH
    setting = options.setting(rows=KEPT * batch, validation=2)
    run = RunConfig("de", options.routine)
    reference, ours = Reference(options, setting), Ours(setting, options.config, options.precision)
    steps, taught = max(2, options.steps // 5), max(2, options.taught // 5)

    def mine() -> float:
        torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"
        return ours.fit([run], fit_config(batch, steps), validation=2)

    ways: dict[str, Callable[[], float]] = {"xpet": mine}
    left_out = []
    if importlib.util.find_spec("peft") is None:
        left_out = ["left out, peft is not installed: accelerate + PEFT LoRA"]
    elif options.method == "lora":
        script = PeftScript(options, ours.images(), run)
        ways["accelerate + PEFT LoRA"] = lambda: script.train(batch, steps)
    ways["reference loop"] = lambda: reference.sample(run, taught, batch=batch)
    ours.fit([run], fit_config(batch, 1), validation=2)  # the other two leave out their first step themselves
    notes = [
        f"{options.routine}, batch {batch}, {steps} steps ({taught} of the reference loop) round {KEPT} batches (speed "
        f"does not depend on how many there are), no validation, median of at most {options.rounds} rounds; an epoch "
        "is extrapolated",
        "PEFT: rank 8 beside query and value, no trained LayerNorms, image features at hand, dropout on, two forwards, "
        "texts tokenised in each batch", *left_out,
    ]  # fmt: skip

    def found(times: dict[str, list[float]]) -> Found:
        rows = [
            {
                "what": name, "xpet is faster by": ratio(taken, times["xpet"]),
                "captions/s": batch / statistics.median(taken), "ms/step": 1000 * statistics.median(taken),
                f"an epoch of {CAPTIONS:,} s": statistics.median(taken) * CAPTIONS / batch,
            }
            for name, taken in times.items()
        ]  # fmt: skip
        return Found(rows, [*notes, *left_out_of(ways, times)])

    return found(in_turns(ways, options.rounds, options.allowed, lambda times: options.told(found(times))))


@contextmanager
def accelerates(state: dict[str, Any]) -> Iterator[None]:
    """Let this be accelerate's state for a while, as if another process ran.

    accelerate keeps the mixed precision of the first Accelerator of a process and refuses any other; xpet's own has
    none, and lowers weights itself. A state that is put aside stays whole, so whoever was made with it can go on.
    """
    kept: Any = importlib.import_module("accelerate.state").AcceleratorState
    before, kept._shared_state = kept._shared_state, state
    try:
        yield
    finally:
        kept._shared_state = before


class PeftScript:
    """The usual script: accelerate, PEFT's LoRA, a DataLoader that tokenises, image features at hand."""

    def __init__(self, options: Options, images: Tensor, run: RunConfig) -> None:
        peft: Any = importlib.import_module("peft")
        self.options, self.setting, self.run, self.images = options, options.setting(len(images) - 2, 2), run, images
        on_gpu = options.device == "cuda"
        self.tf32 = options.precision == "tf32"
        precision = "bf16" if options.precision == "bf16" else "no"
        self.state: dict[str, Any] = {}
        with accelerates(self.state):
            accelerate: Any = importlib.import_module("accelerate")
            self.accelerator = accelerate.Accelerator(cpu=not on_gpu, mixed_precision=precision)
        tower = text_tower(self.setting.size)
        config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"])
        tower.transformer = peft.get_peft_model(tower.transformer, config)
        self.tower = tower

    def train(self, batch: int, steps: int) -> float:
        """Seconds per step, the first not counted."""
        with accelerates(self.state):
            return self._train(batch, steps)

    def _train(self, batch: int, steps: int) -> float:
        torch.backends.cuda.matmul.allow_tf32 = self.tf32
        routine = ROUTINES[self.run.routine]
        columns = [self.setting.texts(self.run.language, slot) for slot in (routine.student, routine.anchor) if slot]
        rows = [index % self.setting.rows for index in range(batch * (steps + 1))]

        def collate(chosen: list[int]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
            texts = [self.setting.tokens([column[i] for i in chosen]) for column in columns]
            return self.images[chosen], texts

        optimiser = torch.optim.Adam([p for p in self.tower.parameters() if p.requires_grad], lr=1e-4)
        loader = torch.utils.data.DataLoader(rows, batch, collate_fn=collate)  # type: ignore[arg-type]
        tower, optimiser, loader = self.accelerator.prepare(self.tower, optimiser, loader)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
        tower.train()
        taken: list[float] = []
        for images, texts in loader:
            wait(self.options.device)
            taken.append(now())
            features = [tower(*one) for one in texts]
            loss = clip_loss(images.to(features[0].device), features[0].float())
            if len(features) > 1:
                loss = loss + self.run.align_weight * torch.nn.functional.mse_loss(features[0], features[1])
            optimiser.zero_grad()
            self.accelerator.backward(loss)
            optimiser.step()
            schedule.step()
        wait(self.options.device)
        taken.append(now())
        return (taken[-1] - taken[1]) / steps
