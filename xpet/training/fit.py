"""Fits a stack of runs: one forward, one backward, one update for all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from xpet.core.config import FitConfig, RunConfig
from xpet.core.errors import ConfigError
from xpet.core.events import Notice, OnEvent, Progress, ignore
from xpet.core.losses import AlignmentLoss, contrastive, find_loss
from xpet.training.batches import batch_order, batches_per_epoch
from xpet.training.compiling import compiled
from xpet.training.device import Engine
from xpet.training.layouts import LAYOUTS, Encode, Through
from xpet.training.optimiser import StackedAdam
from xpet.training.selection import LOSS_FIGURES, Best, Outcome, Validation
from xpet.training.stacklike import Pad, StackLike, Tokens

VALIDATION_ROWS = 2048
"""Texts encoded at a time while validating, over all runs."""
LISTEN = 10
"""Steps between looks at the device: progress is told, and which runs diverged."""


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
    only the rows of a step are read. With `pictured` captions row i of `image` belongs to row i of these, which
    are read in batches beside the others, and not to a student. Validation texts belong to `val_image[val_owner[row]]`
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
    pictured: Tokens | None = None

    @property
    def shape(self) -> tuple[int, int, int, bool, bool, bool]:
        """Runs can share a stack when this is equal: training rows, validation rows, which losses there are."""
        rows = 0 if self.whole else len(self.student)
        pictured = len(self.pictured or ())
        return rows, len(self.val_text), pictured, self.anchor is None, self.frozen is None, self.image is None


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
    with stack.lowered(engine.dtype), compiled(stack.tower, config.compile):
        return session.run()


def first_loss(stack: StackLike, run: tuple[RunConfig, RunData], config: FitConfig, pad: Pad, engine: Engine) -> Tensor:
    """The loss of a run's first batch, to see what a step takes; the stack holds that run alone."""
    return torch.stack(_Session(stack, [run], config, pad, engine, ignore).losses()).sum()


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
        self.order, self.pictured = self._orders(size)
        device = engine.device
        self.dtype = self.data[0].val_image.dtype
        self.images = _Images([d.image for d in self.data if d.image is not None], device)
        weights = [(c.image_weight, c.align_weight) for c in self.configs]
        self.weights = torch.tensor(weights, device=device, dtype=self.dtype).T  # [2, runs]
        rates = torch.tensor([c.learning_rate for c in self.configs], device=device, dtype=stack.flat[0].dtype)
        self.optimiser = StackedAdam(stack.flat, rates, self.steps)
        self.died = torch.zeros(len(runs), dtype=torch.long, device=device)  # the step a run diverged at; 0: it lives
        self.by_loss = self._places_by_loss()
        self.best = Best(stack, self.configs, config)
        self.since: list[Tensor] = []
        count, size = len(self.data[0].val_text), max(1, VALIDATION_ROWS // len(runs))
        self.val_texts = [
            self.layout([d.val_text[i : i + size] for d in self.data], self.through) for i in range(0, count, size)
        ]
        self.validation = Validation([d.val_image for d in self.data], [d.val_owner for d in self.data], device)

    def _orders(self, size: int) -> tuple[list[Iterator[list[int]]], list[Iterator[list[int]]]]:
        """Every run's batches of training rows, and of pictured captions where there are any."""
        each = list(zip(self.configs, self.data, strict=True))
        rows = [batch_order(len(d.student), size, self.steps, c.seed, d.whole) for c, d in each]
        pictured = [
            batch_order(len(d.pictured), min(size, len(d.pictured)), self.steps, c.seed, whole=True)
            for c, d in each
            if d.pictured is not None
        ]
        return rows, pictured

    def _places_by_loss(self) -> dict[AlignmentLoss, Tensor]:
        """The runs of every loss."""
        places: dict[str, list[int]] = {}
        for place, config in enumerate(self.configs):
            places.setdefault(config.loss, []).append(place)
        return {find_loss(name): torch.tensor(mine, device=self.engine.device) for name, mine in places.items()}

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
            if step % LISTEN == 0 or step == self.steps:
                rate = (time.monotonic() - started) / step
                self.on_event(
                    Progress("training", step, self.steps, f"{len(self.configs)} runs, {1000 * rate:.0f} ms/step")
                )
                if not any(self._living()):
                    break
        if config.include_start and self.steps % self.interval:
            self._validate(self.steps)
        self._finish()
        return self.best.finish()

    def _forward(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
        """Student and anchor features of the next step, its images and their texts, each [runs, batch, d].

        None where there are none.
        """
        batches = [next(order) for order in self.order]
        shown = [next(order) for order in self.pictured] or batches
        rows = []
        for data, batch, seen in zip(self.data, batches, shown, strict=True):
            mine = [data.student[i] for i in batch]
            mine += [data.anchor[i] for i in batch] if data.anchor is not None else []
            rows.append(mine + [data.pictured[i] for i in seen] if data.pictured is not None else mine)
        features = self._encode(self.layout(rows, self.through))
        size = len(batches[0])
        image = self.images.rows(self.engine.sent(torch.tensor(shown)))
        anchor = features[:, size : 2 * size] if self.data[0].anchor is not None else self._frozen(batches)
        student = features[:, :size]
        return student, anchor, image, features[:, -len(shown[0]) :] if self.pictured else student

    def _frozen(self, batches: Sequence[Sequence[int]]) -> Tensor | None:
        """Features of frozen anchors [runs, batch, d]; None where there are none."""
        rows = [d.frozen[b] for d, b in zip(self.data, batches, strict=True) if d.frozen is not None]
        return self.engine.sent(torch.stack(rows)).to(self.dtype) if rows else None

    def _encode(self, encode: Encode) -> Tensor:
        """Features [runs, rows, d] of captions that were laid out."""
        with self.stack.all(), self.stack.casting(self.engine.dtype):
            return encode().to(self.dtype).unflatten(0, (len(self.data), -1))

    def losses(self) -> tuple[Tensor, Tensor]:
        """Image-text and alignment loss of every run's next batch, each [runs]."""
        student, anchor, image, captions = self._forward()
        none = student.new_zeros(len(student))
        clip = none if image is None else contrastive(image, captions)
        if anchor is None:
            return clip, none
        shown = anchor if image is None or self.pictured else image  # where there is none no loss looks at it
        if len(self.by_loss) == 1:
            return clip, next(iter(self.by_loss))(shown, anchor, student)
        aligned = none
        for loss, places in self.by_loss.items():
            aligned = aligned.index_copy(0, places, loss(shown[places], anchor[places], student[places]))
        return clip, aligned

    def _step(self, step: int) -> None:
        if self.config.dropout == "model":
            self.stack.tower.train()
        clip, aligned = self.losses()
        total = self.weights[0] * clip + self.weights[1] * aligned
        self.stack.clear_gradients()
        self.engine.backward(total.sum())
        gradients = self.stack.gradients()
        finite = total.isfinite() & torch.stack([g.sum(dim=1).isfinite() for g in gradients]).all(dim=0)
        self._bury(step, finite)
        self.optimiser.step(gradients, self.died == 0)
        self.since.append(torch.stack([total, clip, aligned]).detach())

    def _bury(self, step: int, finite: Tensor) -> None:
        """Stop runs whose loss or gradient just became NaN or infinite; nobody waits for the device to say so."""
        self.died = torch.where((self.died == 0) & ~finite, step, self.died)

    def _living(self) -> list[bool]:
        """Which runs live, as the device has it now; those that died meanwhile are reported."""
        died = self.died.tolist()
        for outcome, step in zip(self.best.outcomes, died, strict=True):
            if step and outcome.diverged_at is None:
                outcome.diverged_at = step
                label = outcome.config.label
                self.on_event(Notice(f"run {label} diverged at step {step}: loss is not finite; stopped", "warning"))
        return [not step for step in died]

    def _validation_features(self) -> Tensor:
        """Features [runs, rows, d] of every run's validation texts."""
        self.stack.tower.eval()
        return torch.cat([self._encode(part) for part in self.val_texts], dim=1)

    @torch.no_grad()
    def _validate(self, step: int) -> None:
        """Score every living run on its validation captions and keep its checkpoint when it is the best so far."""
        found = self.validation.scores(self._validation_features())
        means = torch.stack(self.since).mean(dim=0).T.tolist() if self.since else [[]] * len(found)
        self.since = []
        figures = [dict(zip(LOSS_FIGURES, mine, strict=False)) for mine in means]
        alive = self._living()
        self.best.record(
            step, [own | figures[i] if own is not None and alive[i] else None for i, own in enumerate(found)]
        )

    @torch.no_grad()
    def _finish(self) -> None:
        """A run that was too short to validate still yields its final weights, unless the last step ruined them."""
        unseen = [not outcome.validated for outcome in self.best.outcomes]
        if not any(mine and alive for mine, alive in zip(unseen, self._living(), strict=True)):
            return
        sound = self._validation_features().isfinite().all(dim=2).all(dim=1)
        self._bury(self.steps, sound | ~torch.tensor(unseen, device=sound.device))
        alive = self._living()
        self.best.keep([place for place, mine in enumerate(unseen) if mine and alive[place]], self.steps)


class _Images:
    """Image features of all runs' training rows on the device; runs of the same data share them."""

    def __init__(self, images: Sequence[Tensor], device: torch.device) -> None:
        places: dict[int, int] = {}
        self.which = torch.tensor([places.setdefault(id(rows), len(places)) for rows in images], device=device)
        distinct = {id(rows): rows for rows in images}.values()
        self.features = torch.stack(list(distinct)).to(device) if images else None  # [distinct, rows, d]

    def rows(self, index: Tensor) -> Tensor | None:
        """Rows `index` [runs, batch] of every run's images, [runs, batch, d]; None where there are none."""
        return None if self.features is None else self.features[self.which.unsqueeze(1), index]
