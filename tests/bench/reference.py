"""The reference loop: what the published code does, written anew; shares no training code with xpet.

One run after another. In each step the images of the batch go through the frozen image tower again (their pixels are
kept in memory, as there), both texts are tokenised again, student and anchor go through the text tower in two forwards
padded to their own longest; single precision, eager, plain OpenDelta with trained LayerNorms, torch.optim.Adam with a
cosine schedule, dropout on. At each validation the whole validation set goes through both towers. Best by R@1 rounded
to 4 decimals, the latest of equals.

Switched off one by one, the differences to xpet make the first rows of the ablation; with dropout off it is also an
oracle of what a run must learn (tests/training/test_reference_loop.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.bench.bench_metrics import recall_k
from tests.bench.meter import now, wait
from tests.towers import plain_delta
from xpet.core.config import MethodConfig, RunConfig
from xpet.models.text_tower import TextTower

Tokenise = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
VALIDATE_EVERY = 5


@dataclass(frozen=True)
class Flags:
    """What makes the loop slow; False puts right what xpet does right."""

    reencode: bool = True
    retokenise: bool = True
    two_forwards: bool = True
    dropout: bool = True


@dataclass(frozen=True)
class Examples:
    """Texts and pixels [rows, 3, side, side] that belong together, row by row; `anchor` None: no alignment loss."""

    student: Sequence[str]
    anchor: Sequence[str] | None
    pixels: Tensor


@dataclass
class Learned:
    """What came of it: the best checkpoint by plain names, the last one's losses and the seconds of every step.

    A step's seconds include the validation after it.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    chosen_step: int = 0
    score: float = -1.0
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def clip_loss(image: Tensor, text: Tensor) -> Tensor:
    """Mean of both cross-entropies of 100 * cos."""
    scores = 100.0 * functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).t()
    labels = torch.arange(len(scores), device=scores.device)
    return (functional.cross_entropy(scores, labels) + functional.cross_entropy(scores.t(), labels)) / 2


class ReferenceLoop:
    """One run: attaching OpenDelta happens here, training in `train`.

    The towers are on the device; the text tower is changed for good.
    """

    def __init__(
        self,
        text: TextTower,
        image: nn.Module,
        tokenise: Tokenise,
        method: MethodConfig,
        run: RunConfig,
        flags: Flags = Flags(),  # noqa: B008 (frozen)
    ) -> None:
        self.text, self.image, self.tokenise, self.run, self.flags = text, image, tokenise, run, flags
        self.device = next(text.parameters()).device
        self.parameters = plain_delta(text, method, run.seed)
        text.to(self.device)  # OpenDelta draws some of its modules on the CPU
        self._features: dict[int, Tensor] = {}
        self._tokens: dict[int, list[list[int]]] = {}

    def train(
        self, train: Examples, validation: Examples, batches: Sequence[Sequence[int]], steps: int,
        interval: int = VALIDATE_EVERY,
    ) -> Learned:  # fmt: skip
        """The given batches of a run that is `steps` long (they may be a sample of it: the schedule is the run's)."""
        learned = Learned()
        optimiser = torch.optim.Adam(self.parameters.values(), lr=self.run.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
        for step, batch in enumerate(batches, start=1):
            wait(self.device)
            started = now()
            self.text.train(self.flags.dropout)
            loss = self.loss(train, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            learned.losses.append(loss.item())
            if step % interval == 0:
                self.validate(step, validation, learned)
            wait(self.device)
            learned.seconds.append(now() - started)
        if not learned.state:
            self._keep(len(batches), learned)
        return learned

    def loss(self, data: Examples, batch: Sequence[int]) -> Tensor:
        """Image-text loss of the student, and the weighted mean squared error to the anchor."""
        image = self.images(data, batch)
        if data.anchor is None:
            return clip_loss(image, self.encode(data.student, batch))
        if self.flags.two_forwards:
            student, anchor = self.encode(data.student, batch), self.encode(data.anchor, batch)
        else:
            student, anchor = self.encode_both(data.student, data.anchor, batch).chunk(2)
        return clip_loss(image, student) + self.run.align_weight * functional.mse_loss(student, anchor)

    def images(self, data: Examples, batch: Sequence[int]) -> Tensor:
        if self.flags.reencode:
            return self._encode_images(data.pixels[batch])
        if id(data) not in self._features:
            self._features[id(data)] = self._encode_images(data.pixels)
        return self._features[id(data)][batch]

    def _encode_images(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = self.image(pixel_values=pixels.to(self.device)).image_embeds
        return found

    def encode(self, texts: Sequence[str], batch: Sequence[int]) -> Tensor:
        if self.flags.retokenise:
            return self.text(*self.tokenise([texts[i] for i in batch]))  # type: ignore[no-any-return]
        rows = self._rows(texts)
        return self.text(*self._padded([rows[i] for i in batch]))  # type: ignore[no-any-return]

    def encode_both(self, one: Sequence[str], other: Sequence[str], batch: Sequence[int]) -> Tensor:
        if self.flags.retokenise:
            return self.text(*self.tokenise([*(one[i] for i in batch), *(other[i] for i in batch)]))  # type: ignore[no-any-return]
        first, second = self._rows(one), self._rows(other)
        return self.text(*self._padded([*(first[i] for i in batch), *(second[i] for i in batch)]))  # type: ignore[no-any-return]

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of all texts, kept."""
        if id(texts) not in self._tokens:
            ids, mask = self.tokenise(texts)
            self._tokens[id(texts)] = [row[: int(n)].tolist() for row, n in zip(ids, mask.sum(dim=1), strict=True)]
        return self._tokens[id(texts)]

    def _padded(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, rows))
        ids = torch.tensor([row + [1] * (longest - len(row)) for row in rows], device=self.device)
        return ids, (ids != 1).long()

    @torch.no_grad()
    def validate(self, step: int, data: Examples, learned: Learned) -> None:
        self.text.eval()
        whole = range(len(data.student))
        image, text = self.images(data, list(whole)), self.encode(data.student, whole)
        scores = functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).t()
        score = round(recall_k(scores.cpu()), 4)
        if score >= learned.score:
            learned.score = score
            self._keep(step, learned)

    def _keep(self, step: int, learned: Learned) -> None:
        learned.chosen_step = step
        learned.state = {name: p.detach().cpu().clone() for name, p in self.parameters.items()}
