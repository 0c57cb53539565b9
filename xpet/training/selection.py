"""Which checkpoint of every run is kept: the best by its validation captions (SPEC section 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xpet.core.config import FitConfig, RunConfig
from xpet.core.losses import contrastive
from xpet.core.stacked_metrics import MOST_CELLS, stacked_retrieval
from xpet.training.stacklike import StackLike

LOSS_FIGURES = ("loss", "loss_clip", "loss_align")
"""Mean training losses since the last validation, as they stand in the history."""


@dataclass
class Outcome:
    """What became of one run. `state` is the chosen checkpoint, `chosen_step` 0 means the untouched start."""

    config: RunConfig
    state: dict[str, Tensor]
    chosen_step: int = 0
    score: float = float("-inf")
    history: list[dict[str, Any]] = field(default_factory=list)
    diverged_at: int | None = None
    validated: bool = False


class Best:
    """The best checkpoints so far of all runs, beside the parameters they are copies of and on the same device."""

    def __init__(self, stack: StackLike, configs: Sequence[RunConfig], fit: FitConfig) -> None:
        self.stack, self.fit = stack, fit
        self.outcomes = [Outcome(config, {}) for config in configs]
        self.kept = [flat.detach().clone() for flat in stack.flat]

    def keep(self, places: Sequence[int], step: int) -> None:
        """The parameters as they are become the checkpoints of these runs."""
        for kept, flat in zip(self.kept, self.stack.flat, strict=True):
            index = torch.tensor(places, device=kept.device, dtype=torch.long)
            kept[index] = flat.detach()[index]
        for place in places:
            self.outcomes[place].chosen_step = step

    def record(self, step: int, scores: Sequence[dict[str, float] | None]) -> None:
        """Note every run's figures (None: nothing to note) and keep those that did best so far."""
        better = []
        for place, (outcome, found) in enumerate(zip(self.outcomes, scores, strict=True)):
            if found is None:
                continue
            outcome.history.append({"step": step, **found})
            select = {"mrr": found["val_mrr"], "loss": -found["val_loss"], "r1": round(found["val_r1"] / 100, 4)}
            score = select[self.fit.select]
            beaten = score >= outcome.score if self.fit.latest_tie_wins else score > outcome.score
            if beaten or not outcome.validated:
                outcome.score, outcome.validated = score, True
                better.append(place)
        if better:
            self.keep(better, step)

    def finish(self) -> list[Outcome]:
        """The outcomes with their checkpoints."""
        last = [flat.detach().clone() for flat in self.stack.flat]
        self._write(self.kept)
        for place, outcome in enumerate(self.outcomes):
            outcome.state = self.stack.state(place)
        self._write(last)
        return self.outcomes

    @torch.no_grad()
    def _write(self, values: Sequence[Tensor]) -> None:
        for flat, value in zip(self.stack.flat, values, strict=True):
            flat.copy_(value)


class Validation:
    """Validation images and owners of a stack's runs, on its device, and scores by them."""

    def __init__(self, images: Sequence[Tensor], owners: Sequence[Tensor], device: torch.device) -> None:
        self.groups: list[tuple[list[int], Tensor, Tensor]] = []
        places: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            places.setdefault(tuple(image.shape), []).append(place)
        for mine in places.values():
            image, owner = (_shared([values[place] for place in mine]).to(device) for values in (images, owners))
            self.groups.append((mine, image, owner))

    def scores(self, features: Tensor) -> list[dict[str, float] | None]:
        """R@1, MRR and loss of each run's features [runs, texts, d]; None where there is no ranking (NaN, zero)."""
        found: list[dict[str, float] | None] = [None] * len(features)
        sound = (features.isfinite().all(dim=2) & (features != 0).any(dim=2)).all(dim=1)
        features = features.masked_fill(~sound.view(-1, 1, 1), 1.0)  # what has no ranking is not to disturb the others
        for places, image, owner in self.groups:
            mine = features if len(places) == len(features) else features[places]
            loss = _losses(image.to(mine.dtype), mine, owner)
            ranks = stacked_retrieval(image, mine, owner)
            told = torch.stack([loss, sound[places].to(loss.dtype)]).tolist()
            for i, place in enumerate(places):
                if told[1][i]:
                    recall, mrr = float(ranks.recall[i]), float(ranks.mrr[i])
                    found[place] = {"val_r1": recall, "val_mrr": mrr, "val_loss": told[0][i]}
        return found


def _shared(rows: Sequence[Tensor]) -> Tensor:
    """[runs, ...], or [1, ...] where all are one and the same."""
    return rows[0].unsqueeze(0) if all(row is rows[0] for row in rows) else torch.stack(list(rows))


def _losses(image: Tensor, text: Tensor, owner: Tensor) -> Tensor:
    """Contrastive loss of each run's texts [runs, texts, d] and their images; as many runs at a time as stay small."""
    size, found = max(1, MOST_CELLS // text.shape[1] ** 2), []
    for start in range(0, len(text), size):
        mine = slice(start, start + size)
        of = owner if len(owner) == 1 else owner[mine]
        seen = image if len(image) == 1 else image[mine]
        rows = seen[torch.arange(len(seen), device=seen.device).unsqueeze(1), of]
        found.append(contrastive(rows, text[mine]))
    return torch.cat(found)
