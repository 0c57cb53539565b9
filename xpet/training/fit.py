"""Fits a stack of runs: one forward, one backward, one update for all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from xpet.core.config import FitConfig, RunConfig
from xpet.core.errors import ConfigError
from xpet.core.events import Notice, OnEvent, Progress, ignore
from xpet.core.losses import contrastive, find_loss
from xpet.core.metrics import Retrieval, retrieval
from xpet.training.batches import batch_order, batches_per_epoch
from xpet.training.device import Engine
from xpet.training.layouts import LAYOUTS, Encode, Through
from xpet.training.optimiser import StackedAdam
from xpet.training.stacklike import Pad, StackLike, Tokens

VALIDATION_ROWS = 2048
"""Texts encoded at a time while validating, over all runs."""
LOSS_FIGURES = ("loss", "loss_clip", "loss_align")
"""Mean training losses since the last validation, as they stand in the history."""


class Rows(Protocol):
    """Feature rows that are read as they are asked for."""

    def __getitem__(self, rows: Sequence[int], /) -> Tensor:
        """Those rows, [len(rows), d]."""
        ...


@dataclass(frozen=True)
class RunData:
    """What one run learns from and is validated on.

    Row i of `student`, `anchor` (None: no alignment loss) and `image` [rows, d] belong together. Without images there
    is no image-text loss. `frozen` [rows, d] holds features of anchors that are not trained, in place of `anchor`;
    only the rows of a step are read. Validation texts belong to `val_image[val_owner[row]]`
    [images, d], which are features of images or of whatever else is to be found. `whole`: batches are always full, so
    that runs of different length can share a stack.
    """

    student: Tokens
    anchor: Tokens | None
    image: Tensor | None
    val_text: Tokens
    val_image: Tensor
    val_owner: Tensor
    frozen: Rows | None = None
    whole: bool = False

    @property
    def shape(self) -> tuple[int, int, bool, bool, bool]:
        """Runs can share a stack when this is equal: training rows, validation rows, which losses there are."""
        rows = 0 if self.whole else len(self.student)
        return rows, len(self.val_text), self.anchor is None, self.frozen is None, self.image is None


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


def fit(
    stack: StackLike,
    runs: Sequence[tuple[RunConfig, RunData]],
    config: FitConfig,
    pad: Pad,
    engine: Engine,
    on_event: OnEvent = ignore,
) -> list[Outcome]:
    """Train every run of the stack and return its best checkpoint by validation.

    The stack must hold exactly the given runs, freshly drawn, on the engine's device. A run whose loss or gradient
    is not finite is stopped with its best checkpoint so far; the others do not notice. Raises ConfigError when the
    runs cannot share a stack or leave the loss nothing to tell apart.
    """
    session = _Session(stack, runs, config, pad, engine, on_event)
    with stack.lowered(engine.dtype):
        return session.run()


class _Session:
    """The state of one call of `fit`."""

    def __init__(
        self,
        stack: StackLike,
        runs: Sequence[tuple[RunConfig, RunData]],
        config: FitConfig,
        pad: Pad,
        engine: Engine,
        on_event: OnEvent,
    ) -> None:
        shapes = {data.shape for _, data in runs}
        if len(shapes) != 1 or len(runs) != stack.runs:
            raise ConfigError(f"expected {stack.runs} runs of one shape, found {len(runs)} of shapes {sorted(shapes)}")
        self.stack, self.config, self.engine, self.on_event = stack, config, engine, on_event
        width = int(stack.tower.transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.through, self.layout = Through(stack, engine, pad, width), LAYOUTS[config.layout]
        self.data = [data for _, data in runs]
        self.configs = [c for c, _ in runs]
        rows = min(len(d.student) for d in self.data)
        self.per_epoch = batches_per_epoch(rows, config.batch_size)
        if self.per_epoch == 0:
            raise ConfigError(f"expected at least 2 training examples per batch, found {rows} in all")
        size = min(config.batch_size, rows) if self.data[0].whole else config.batch_size
        self.steps = config.steps_for(self.per_epoch)
        self.interval = config.interval(self.steps)
        self.order = [
            batch_order(len(d.student), size, self.steps, c.seed, d.whole)
            for c, d in zip(self.configs, self.data, strict=True)
        ]
        device = engine.device
        self.dtype = self.data[0].val_image.dtype
        images = [d.image for d in self.data if d.image is not None]
        self.images = torch.stack(images).to(device) if images else None  # [runs, rows, d]
        weights = [(c.image_weight, c.align_weight) for c in self.configs]
        self.weights = torch.tensor(weights, device=device, dtype=self.dtype).T  # [2, runs]
        rates = torch.tensor([c.learning_rate for c in self.configs], device=device, dtype=stack.flat[0].dtype)
        self.optimiser = StackedAdam(stack.flat, rates, self.steps)
        self.alive = torch.ones(len(runs), dtype=torch.bool, device=device)
        self.by_loss: dict[str, list[int]] = {}
        for place, c in enumerate(self.configs):
            self.by_loss.setdefault(c.loss, []).append(place)
        self.outcomes = [Outcome(c, stack.state(place)) for place, c in enumerate(self.configs)]
        self.since: list[Tensor] = []
        count, size = len(self.data[0].val_text), max(1, VALIDATION_ROWS // len(runs))
        self.validation = [
            self.layout([d.val_text[i : i + size] for d in self.data], self.through) for i in range(0, count, size)
        ]

    def run(self) -> list[Outcome]:
        """All steps, with validation every so often and at the end."""
        config = self.config
        if config.include_start:
            self._validate(0)
        started = time.monotonic()
        for step in range(1, self.steps + 1):
            self._step(step)
            if step % self.interval == 0:
                self._validate(step)
            if step % 10 == 0 or step == self.steps:
                rate = (time.monotonic() - started) / step
                self.on_event(
                    Progress("training", step, self.steps, f"{len(self.configs)} runs, {1000 * rate:.0f} ms/step")
                )
            if step % 50 == 0 and not bool(self.alive.any()):
                break
        if config.include_start and self.steps % self.interval:
            self._validate(self.steps)
        self._finish()
        return self.outcomes

    def _forward(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Student and anchor features and images of the next step, each [runs, batch, d]; None where there are none."""
        batches = [next(order) for order in self.order]
        rows = []
        for data, batch in zip(self.data, batches, strict=True):
            mine = [data.student[i] for i in batch]
            rows.append(mine if data.anchor is None else mine + [data.anchor[i] for i in batch])
        features = self._encode(self.layout(rows, self.through))
        size = len(batches[0])
        image = None
        if self.images is not None:
            index = torch.tensor(batches, device=self.engine.device)
            image = torch.gather(self.images, 1, index.unsqueeze(-1).expand(-1, -1, self.images.shape[-1]))
        anchor = features[:, size:] if self.data[0].anchor is not None else self._frozen(batches)
        return features[:, :size], anchor, image

    def _frozen(self, batches: Sequence[Sequence[int]]) -> Tensor | None:
        """Features of frozen anchors [runs, batch, d]; None where there are none."""
        rows = [d.frozen[b] for d, b in zip(self.data, batches, strict=True) if d.frozen is not None]
        return torch.stack(rows).to(self.engine.device, self.dtype) if rows else None

    def _encode(self, encode: Encode) -> Tensor:
        """Features [runs, rows, d] of captions that were laid out."""
        with self.stack.all(), self.stack.casting(self.engine.dtype):
            return encode().to(self.dtype).unflatten(0, (len(self.data), -1))

    def _losses(self, student: Tensor, anchor: Tensor | None, image: Tensor | None) -> tuple[Tensor, Tensor]:
        """Image-text and alignment loss of every run, each [runs]."""
        none = student.new_zeros(len(student))
        clip = none if image is None else contrastive(image, student)
        if anchor is None:
            return clip, none
        aligned = [none] * len(self.data)
        for name, places in self.by_loss.items():
            shown = (anchor if image is None else image)[places]  # where there is none no loss looks at it
            values = find_loss(name)(shown, anchor[places], student[places])
            for place, value in zip(places, values, strict=True):
                aligned[place] = value
        return clip, torch.stack(aligned)

    def _step(self, step: int) -> None:
        if self.config.dropout == "model":
            self.stack.tower.train()
        clip, aligned = self._losses(*self._forward())
        total = self.weights[0] * clip + self.weights[1] * aligned
        self.stack.clear_gradients()
        self.engine.backward(total.sum())
        gradients = self.stack.gradients()
        finite = total.isfinite() & torch.stack([g.sum(dim=1).isfinite() for g in gradients]).all(dim=0)
        self._bury(step, finite)
        self.optimiser.step(gradients, self.alive)
        self.since.append(torch.stack([total, clip, aligned]).detach())

    def _bury(self, step: int, finite: Tensor) -> None:
        """Stop runs whose loss or gradient just became NaN or infinite."""
        dying = self.alive & ~finite
        if not bool(dying.any()):
            return
        for place in dying.nonzero().flatten().tolist():
            self.outcomes[place].diverged_at = step
            label = self.configs[place].label
            self.on_event(Notice(f"run {label} diverged at step {step}: loss is not finite; stopped", "warning"))
        self.alive = self.alive & finite

    def _validation_features(self) -> Tensor:
        """Features [runs, rows, d] of every run's validation texts."""
        self.stack.tower.eval()
        return torch.cat([self._encode(part) for part in self.validation], dim=1)

    @torch.no_grad()
    def _validate(self, step: int) -> None:
        """Score every living run on its validation captions and keep its checkpoint when it is the best so far."""
        features = self._validation_features()
        means = torch.stack(self.since).mean(dim=0).tolist() if self.since else None
        self.since = []
        for place, data in enumerate(self.data):
            if bool(self.alive[place]) and bool(features[place].isfinite().all()):
                found = retrieval(data.val_image.to(features.device), features[place], data.val_owner)
                loss = float(contrastive(data.val_image.to(features.device)[data.val_owner], features[place]))
                self._record(place, step, found, loss, means)

    def _record(self, place: int, step: int, found: Retrieval, loss: float, means: list[list[float]] | None) -> None:
        outcome, config = self.outcomes[place], self.config
        entry: dict[str, Any] = {"step": step, "val_r1": found.recall, "val_mrr": found.mrr, "val_loss": loss}
        if means is not None:
            entry |= {name: means[i][place] for i, name in enumerate(LOSS_FIGURES)}
        outcome.history.append(entry)
        score = {"mrr": found.mrr, "loss": -loss, "r1": round(found.recall / 100, 4)}[config.select]
        better = score >= outcome.score if config.latest_tie_wins else score > outcome.score
        if better or not outcome.validated:
            outcome.score, outcome.chosen_step, outcome.validated = score, step, True
            outcome.state = self.stack.state(place)

    @torch.no_grad()
    def _finish(self) -> None:
        """A run that was too short to validate still yields its final weights, unless the last step ruined them."""
        unseen = torch.tensor([not outcome.validated for outcome in self.outcomes], device=self.alive.device)
        if not bool((unseen & self.alive).any()):
            return
        self._bury(self.steps, self._validation_features().isfinite().all(dim=2).all(dim=1) | ~unseen)
        for place, outcome in enumerate(self.outcomes):
            if not outcome.validated and outcome.diverged_at is None:
                outcome.state, outcome.chosen_step = self.stack.state(place), self.steps
