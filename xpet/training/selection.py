"""Which checkpoint of every run is kept: the best by its validation texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xpet.core.config import FitPlan, RunConfig
from xpet.core.losses import contrastive
from xpet.core.selection import RULES
from xpet.core.stacked_metrics import MOST_CELLS, stacked_retrieval
from xpet.core.tensors import fetch, send
from xpet.training.stacklike import Reindex, StackLike

LOSS_FIGURES = ("loss", "loss_clip", "loss_align")
"""Mean training losses since the last validation, as they stand in the history: weighted sum and its two terms."""


@dataclass
class TrainedRun:
    """What became of one run.

    Attributes:
        config: the run's configuration.
        number: its index among the runs that were given.
        state: the chosen checkpoint, parameters by name.
        chosen_step: the step it was taken after; 0 is the untrained start.
        score: the checkpoint's score by the selection rule; higher is better.
        history: figures of every validation, and the step they were measured after.
        diverged_at: the step whose loss or gradient was not finite; None: it did not diverge.
        validated: whether any validation gave a score.
        seconds: its share of its stack's training time.
    """

    config: RunConfig
    number: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)
    chosen_step: int = 0
    score: float = float("-inf")
    history: list[dict[str, Any]] = field(default_factory=list)
    diverged_at: int | None = None
    validated: bool = False
    seconds: float = 0.0


class BestCheckpoints:
    """The best checkpoint so far of every run of a stack, copies of its parameters on the same device.

    `parameters` are laid out as `StackLike.flat`: tensors [runs, n].
    """

    def __init__(self, stack: StackLike, runs: Sequence[TrainedRun], fit: FitPlan) -> None:
        self.stack, self.fit = stack, fit
        self.runs = list(runs)
        self.parameters = [flat.detach().clone() for flat in stack.flat]

    def snapshot(self, slots: Sequence[int], step: int) -> None:
        """Take the present parameters of the runs in these slots for their checkpoints, after `step` steps."""
        for copy, flat in zip(self.parameters, self.stack.flat, strict=True):
            index = torch.tensor(slots, device=copy.device, dtype=torch.long)
            copy[index] = flat.detach()[index]
        for slot in slots:
            self.runs[slot].chosen_step = step

    def record(self, step: int, figures: Mapping[int, dict[str, float]]) -> None:
        """Append figures (slot -> name -> value) to the runs' histories, and snapshot those that did best so far."""
        better, rule = [], RULES[self.fit.select]
        for slot, values in figures.items():
            run = self.runs[slot]
            run.history.append({"step": step, **values})
            if rule.replaces(values, run.score if run.validated else None, self.fit.latest_tie_wins):
                run.score, run.validated = rule.checkpoint(values), True
                better.append(slot)
        if better:
            self.snapshot(better, step)

    def finish(self, slots: Sequence[int]) -> list[TrainedRun]:
        """The runs in these slots, each with its checkpoint as its state."""
        index = send(torch.tensor(slots, dtype=torch.long), self.parameters[0].device)
        parameters = [fetch(copy[index]) for copy in self.parameters]  # each [runs that leave, n]
        for place, slot in enumerate(slots):
            self.runs[slot].state = self.stack.named(slot, [part[place] for part in parameters])
        return [self.runs[slot] for slot in slots]

    def reindex(self, slots: Sequence[int], reindex: Reindex, new: Sequence[TrainedRun]) -> None:
        """Keep the runs in these slots and append new ones, whose first checkpoints are their initial parameters."""
        self.parameters = list(map(reindex, self.parameters))
        self.runs = [*(self.runs[slot] for slot in slots), *new]
        self.snapshot(range(len(slots), len(self.runs)), 0)


class Validation:
    """Scores the validation texts of several runs against their validation images, which it holds on a device.

    Args:
        images: each run's image features [images, d].
        image_index: each run's row of `images` that every text belongs to, int64 [texts].
        device: where to compute.
    """

    def __init__(self, images: Sequence[Tensor], image_index: Sequence[Tensor], device: torch.device) -> None:
        self.groups: list[tuple[list[int], Tensor, Tensor]] = []
        """Runs whose images have one shape: their indices, images [runs or 1, images, d], index [runs or 1, texts]."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for run, rows in enumerate(images):
            by_shape.setdefault(tuple(rows.shape), []).append(run)
        for runs in by_shape.values():
            image, index = (_shared([values[run] for run in runs]).to(device) for values in (images, image_index))
            self.groups.append((runs, image, index))

    def scores(self, features: Tensor) -> list[dict[str, float] | None]:
        """`val_r1`, `val_mrr` (percent) and `val_loss` of each run's text features [runs, texts, d].

        None for a run with a text whose features are zero or not finite, for which no ranking is defined.
        """
        scores: list[dict[str, float] | None] = [None] * len(features)
        sound = (features.isfinite().all(dim=2) & (features != 0).any(dim=2)).all(dim=1)  # [runs]
        features = features.masked_fill(~sound.view(-1, 1, 1), 1.0)  # so that NaN cannot spread
        for runs, image, index in self.groups:
            text = features if len(runs) == len(features) else features[runs]
            loss = _losses(image.to(text.dtype), text, index)  # [runs]
            retrieved = stacked_retrieval(image, text, index)
            losses, ranked = torch.stack([loss, sound[runs].to(loss.dtype)]).tolist()
            for i, run in enumerate(runs):
                if ranked[i]:
                    recall, mrr = float(retrieved.recall[i]), float(retrieved.mrr[i])
                    scores[run] = {"val_r1": recall, "val_mrr": mrr, "val_loss": losses[i]}
        return scores


def _shared(rows: Sequence[Tensor]) -> Tensor:
    """Stack tensors to [runs, ...], or to [1, ...] where all are one and the same."""
    return rows[0].unsqueeze(0) if all(row is rows[0] for row in rows) else torch.stack(list(rows))


def _losses(image: Tensor, text: Tensor, index: Tensor) -> Tensor:
    """Contrastive loss [runs] of each run's texts [runs, texts, d] and their images; few runs at a time.

    `image` [runs or 1, images, d], `index` [runs or 1, texts].
    """
    size, losses = max(1, MOST_CELLS // text.shape[1] ** 2), []
    for start in range(0, len(text), size):
        part = slice(start, start + size)
        rows = index if len(index) == 1 else index[part]
        images = image if len(image) == 1 else image[part]
        paired = images[torch.arange(len(images), device=images.device).unsqueeze(1), rows]  # [runs or 1, texts, d]
        losses.append(contrastive(paired, text[part]))
    return torch.cat(losses)
