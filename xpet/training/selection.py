"""Which checkpoint of every run is kept: the best by its validation captions (SPEC section 9)."""

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
from xpet.training.stacklike import Move, StackLike

LOSS_FIGURES = ("loss", "loss_clip", "loss_align")
"""Mean training losses since the last validation, as they stand in the history."""


@dataclass
class Outcome:
    """What became of one run. `state` is the chosen checkpoint, `chosen_step` 0 means the untouched start.

    `number` is the run's in what was given, `seconds` its share of the time its stack took.
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


class Best:
    """The best checkpoints so far of a stack's runs, beside the parameters they are copies of, on the same device."""

    def __init__(self, stack: StackLike, outcomes: Sequence[Outcome], fit: FitPlan) -> None:
        self.stack, self.fit = stack, fit
        self.outcomes = list(outcomes)
        self.kept = [flat.detach().clone() for flat in stack.flat]

    def keep(self, places: Sequence[int], step: int) -> None:
        """The parameters as they are become the checkpoints of these runs."""
        for kept, flat in zip(self.kept, self.stack.flat, strict=True):
            index = torch.tensor(places, device=kept.device, dtype=torch.long)
            kept[index] = flat.detach()[index]
        for place in places:
            self.outcomes[place].chosen_step = step

    def record(self, step: int, scores: Mapping[int, dict[str, float]]) -> None:
        """Note figures of runs, by place, and keep those that did best so far."""
        better = []
        for place, found in scores.items():
            outcome = self.outcomes[place]
            outcome.history.append({"step": step, **found})
            score = RULES[self.fit.select].checkpoint(found)
            beaten = score >= outcome.score if self.fit.latest_tie_wins else score > outcome.score
            if beaten or not outcome.validated:
                outcome.score, outcome.validated = score, True
                better.append(place)
        if better:
            self.keep(better, step)

    @torch.no_grad()
    def finish(self, places: Sequence[int]) -> list[Outcome]:
        """The outcomes of these runs with their checkpoints."""
        index = torch.tensor(places, device=self.kept[0].device, dtype=torch.long)
        last = [flat[index] for flat in self.stack.flat]
        for flat, kept in zip(self.stack.flat, self.kept, strict=True):
            flat[index] = kept[index]
        for place in places:
            self.outcomes[place].state = self.stack.state(place)
        for flat, values in zip(self.stack.flat, last, strict=True):
            flat[index] = values
        return [self.outcomes[place] for place in places]

    def exchange(self, places: Sequence[int], move: Move, new: Sequence[Outcome]) -> None:
        """Go on with the runs of these places and with new ones behind them, whose checkpoint is what they start as."""
        self.kept = list(map(move, self.kept))
        self.outcomes = [*(self.outcomes[place] for place in places), *new]
        self.keep(range(len(places), len(self.outcomes)), 0)


class Validation:
    """Validation images and the image index of each text of a stack's runs, on its device, and scores by them."""

    def __init__(self, images: Sequence[Tensor], image_indices: Sequence[Tensor], device: torch.device) -> None:
        self.groups: list[tuple[list[int], Tensor, Tensor]] = []
        places: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            places.setdefault(tuple(image.shape), []).append(place)
        for mine in places.values():
            image, image_index = (_shared([v[place] for place in mine]).to(device) for v in (images, image_indices))
            self.groups.append((mine, image, image_index))

    def scores(self, features: Tensor) -> list[dict[str, float] | None]:
        """R@1, MRR and loss of each run's features [runs, texts, d]; None where there is no ranking (NaN, zero)."""
        found: list[dict[str, float] | None] = [None] * len(features)
        sound = (features.isfinite().all(dim=2) & (features != 0).any(dim=2)).all(dim=1)
        features = features.masked_fill(~sound.view(-1, 1, 1), 1.0)  # what has no ranking is not to disturb the others
        for places, image, image_index in self.groups:
            mine = features if len(places) == len(features) else features[places]
            loss = _losses(image.to(mine.dtype), mine, image_index)
            ranks = stacked_retrieval(image, mine, image_index)
            told = torch.stack([loss, sound[places].to(loss.dtype)]).tolist()
            for i, place in enumerate(places):
                if told[1][i]:
                    recall, mrr = float(ranks.recall[i]), float(ranks.mrr[i])
                    found[place] = {"val_r1": recall, "val_mrr": mrr, "val_loss": told[0][i]}
        return found


def _shared(rows: Sequence[Tensor]) -> Tensor:
    """[runs, ...], or [1, ...] where all are one and the same."""
    return rows[0].unsqueeze(0) if all(row is rows[0] for row in rows) else torch.stack(list(rows))


def _losses(image: Tensor, text: Tensor, image_index: Tensor) -> Tensor:
    """Contrastive loss of each run's texts [runs, texts, d] and their images; as many runs at a time as stay small."""
    size, found = max(1, MOST_CELLS // text.shape[1] ** 2), []
    for start in range(0, len(text), size):
        mine = slice(start, start + size)
        of = image_index if len(image_index) == 1 else image_index[mine]
        seen = image if len(image) == 1 else image[mine]
        rows = seen[torch.arange(len(seen), device=seen.device).unsqueeze(1), of]
        found.append(contrastive(rows, text[mine]))
    return torch.cat(found)
