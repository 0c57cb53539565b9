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
from xpet.core.stacked_metrics import MOST_CELLS, is_small, stacked_retrieval
from xpet.core.transfer import fetch_all, send
from xpet.training.stacklike import Reindex, StackLike

FIGURES = ("val_r1", "val_mrr", "val_loss")
"""What a validation measures: `val_r1` and `val_mrr` in percent."""
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

    `parameters` are laid out as `StackLike.flat`: tensors [runs, n]. The device itself chooses (`choose`), by `scores`
    [runs] of the checkpoints, where a run `has_score` [runs]; the runs are told of it when it was read (`note`).
    """

    def __init__(self, stack: StackLike, runs: Sequence[TrainedRun], fit: FitPlan) -> None:
        self.stack, self.fit = stack, fit
        self.runs = list(runs)
        self.parameters = [flat.detach().clone() for flat in stack.flat]
        device = self.parameters[0].device
        self.scores = torch.tensor([run.score for run in runs], dtype=torch.float64, device=device)
        self.has_score = torch.tensor([run.validated for run in runs], device=device)

    def snapshot(self, slots: Sequence[int], step: int) -> None:
        """Take the present parameters of the runs in these slots for their checkpoints, after `step` steps."""
        for copy, flat in zip(self.parameters, self.stack.flat, strict=True):
            index = send(torch.tensor(slots, dtype=torch.long), copy.device)
            copy[index] = flat.detach()[index]
        for slot in slots:
            self.runs[slot].chosen_step = step

    @torch.no_grad()
    def choose(self, start: int, stop: int, figures: Tensor, counted: Tensor, waits: bool = True) -> Tensor:
        """Take the present parameters of those runs in slots `start` to `stop` - 1 that did best so far.

        `figures` are FIGURES [3, n] of these runs, float64; only those `counted` [n] are looked at. Returns which did
        best [n]. Unless it `waits`, nothing is asked of the device.
        """
        rule, span = RULES[self.fit.select], slice(start, stop)
        score, best = rule.checkpoint(dict(zip(FIGURES, figures, strict=True))), self.scores[span]  # each [n]
        wins = score >= best if self.fit.latest_tie_wins else score > best
        better = counted & (wins | ~self.has_score[span])
        self.scores[span] = torch.where(better, score, best)
        self.has_score[span] |= better
        rows = better.nonzero().flatten() + start if waits else None
        for copy, flat in zip(self.parameters, self.stack.flat, strict=True):
            if rows is None:
                copy[span] = torch.where(better.unsqueeze(1), flat.detach()[span], copy[span])
            elif len(rows):
                copy[rows] = flat.detach()[rows]
        return better

    def note(self, run: TrainedRun, step: int, figures: Mapping[str, float], is_better: bool) -> None:
        """Append figures by name to a run's history; where they are better this step's checkpoint was chosen."""
        run.history.append({"step": step, **figures})
        if is_better:
            run.score, run.chosen_step, run.validated = RULES[self.fit.select].checkpoint(figures), step, True

    def finish(self, slots: Sequence[int]) -> list[TrainedRun]:
        """The runs in these slots, each with its checkpoint as its state."""
        index = send(torch.tensor(slots, dtype=torch.long), self.parameters[0].device)
        parameters = [fetch_all(copy[index]) for copy in self.parameters]  # each [runs that leave, n]
        for place, slot in enumerate(slots):
            self.runs[slot].state = self.stack.named(slot, [part[place] for part in parameters])
        return [self.runs[slot] for slot in slots]

    def reindex(self, slots: Sequence[int], reindex: Reindex, new: Sequence[TrainedRun]) -> None:
        """Keep the runs in these slots and append new ones, whose first checkpoints are their initial parameters."""
        self.parameters = list(map(reindex, self.parameters))
        self.runs = [*(self.runs[slot] for slot in slots), *new]
        index = send(torch.tensor(slots, dtype=torch.long), self.scores.device)
        self.scores = torch.cat([self.scores[index], self.scores.new_full([len(new)], float("-inf"))])
        self.has_score = torch.cat([self.has_score[index], self.has_score.new_zeros(len(new))])
        self.snapshot(range(len(slots), len(self.runs)), 0)


class Validation:
    """Scores the validation texts of several runs against their validation images, which it holds on a device.

    Args:
        images: each run's image features [images, d].
        image_index: each run's row of `images` that every text belongs to, int64 [texts].
        device: where to compute.
    """

    def __init__(self, images: Sequence[Tensor], image_index: Sequence[Tensor], device: torch.device) -> None:
        self.groups: list[tuple[Tensor | None, Tensor, Tensor]] = []
        """Runs whose images have one shape: their indices [runs] (None: all runs), images [runs or 1, images, d], index
        [runs or 1, texts]."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for run, rows in enumerate(images):
            by_shape.setdefault(tuple(rows.shape), []).append(run)
        for runs in by_shape.values():
            image, index = (_shared([values[run] for run in runs]).to(device) for values in (images, image_index))
            some = None if len(runs) == len(images) else torch.tensor(runs, device=device)
            self.groups.append((some, image, index))

    @property
    def is_small(self) -> bool:
        """Whether it can be computed without waiting for the device."""
        return all(is_small(image, index.unsqueeze(-1)) for _, image, index in self.groups)

    def figures(self, features: Tensor, waits: bool = True) -> Tensor:
        """FIGURES of each run's text features [runs, texts, d] and whether they are sound, [4, runs], float64.

        A text whose features are zero or not finite is not sound, for no ranking is defined. Unless it `waits`, nothing
        is asked of the device, if the validation `is_small`.
        """
        sound = (features.isfinite().all(dim=2) & (features != 0).any(dim=2)).all(dim=1)  # [runs]
        features = features.masked_fill(~sound.view(-1, 1, 1), 1.0)  # so that NaN cannot spread
        table = features.new_zeros(len(FIGURES) + 1, len(features), dtype=torch.float64)
        for runs, image, index in self.groups:
            text = features if runs is None else features[runs]
            loss = _losses(image.to(text.dtype), text, index)  # [runs]
            found = stacked_retrieval(image, text, index) if waits else stacked_retrieval(image, text, index, False)
            own = torch.stack([found.recall.to(table), found.mrr.to(table), loss.to(table)])  # [3, runs]
            if runs is None:
                table[:-1] = own
            else:
                table[:-1, runs] = own
        table[-1] = sound
        return table

    def scores(self, features: Tensor) -> list[dict[str, float] | None]:
        """FIGURES by name of each run's text features [runs, texts, d]; None where these are not sound."""
        rows = self.figures(features).T.tolist()
        return [dict(zip(FIGURES, row[:-1], strict=True)) if row[-1] else None for row in rows]


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
