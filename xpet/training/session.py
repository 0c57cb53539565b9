"""A stack in training: its places, what the runs in them read, and the steps of all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor

from xpet.core.config import FitPlan
from xpet.core.events import Notice, OnEvent, Progress
from xpet.core.losses import AlignmentLoss, contrastive, find_loss
from xpet.core.noise import signed
from xpet.training.batches import batch_order
from xpet.training.device import Engine
from xpet.training.graphs import Replayed, record_of
from xpet.training.layouts import LAYOUTS, Laid, Through
from xpet.training.optimiser import StackedAdam
from xpet.training.queue import Queue, Run, RunData, Tally
from xpet.training.selection import LOSS_FIGURES, Best, Outcome, Validation
from xpet.training.stacklike import Move, Pad, StackLike

VALIDATION_ROWS = {"cpu": 512, "cuda": 4096}
"""Texts encoded at a time while validating, over all runs: on a CPU few enough for its caches (measured)."""
LISTEN = 10
"""Steps between looks at the device: progress is told, and which runs diverged."""

Seat = Callable[[StackLike, Sequence[int], Sequence[Run]], Move]
"""Puts runs, freshly drawn, behind those of a stack that are kept (by place); see `StackLike.exchange`."""


@dataclass(frozen=True)
class Place:
    """A run in its place; `began`: the session's steps before its first. `order` and `pictured` are its batches."""

    run: Run
    began: int
    outcome: Outcome
    order: Iterator[list[int]]
    pictured: Iterator[list[int]] | None

    @property
    def data(self) -> RunData:
        """What it learns from."""
        return self.run[1]


@dataclass(frozen=True)
class Cohort:
    """Neighbours `start` to before `stop` that began together, and how they are validated."""

    began: int
    start: int
    stop: int
    texts: list[Laid]
    validation: Validation


@dataclass(frozen=True)
class Batch:
    """What a step reads of every run: captions, `size` of them students', images (by row) and frozen anchors' features.

    `shown`, `pictured`: images' rows [runs, n], and how many captions stand behind the students' and anchors' for them.
    """

    captions: Laid
    size: int
    shown: Tensor
    pictured: int
    frozen: Tensor | None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that differs between steps of one shape."""
        found = (*self.captions.tensors, self.shown)
        return found if self.frozen is None else (*found, self.frozen)

    @property
    def key(self) -> Hashable:
        """What shapes a step besides the shapes of tensors."""
        return self.captions.key, self.size, self.pictured


class Session:
    """The state of a stack in training (see `xpet.training.fit.stream`)."""

    def __init__(
        self,
        stack: StackLike,
        queue: Queue,
        places: int,
        config: FitPlan,
        pad: Pad,
        engine: Engine,
        seat: Seat,
        on_event: OnEvent,
        tally: Tally,
    ) -> None:
        self.stack, self.queue, self.most, self.config, self.engine = stack, queue, places, config, engine
        self.seat, self.on_event, self.tally = seat, on_event, tally
        self.record = record_of(config, engine)
        self.advance: Replayed[Batch]
        width = int(stack.tower.transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.through, self.layout = Through(stack, engine, pad, width), LAYOUTS[config.layout]
        self.interval = config.interval(queue.steps)
        self.dtype = queue.runs[0][1].val_image.dtype
        self.step = 0
        self.optimiser: StackedAdam
        self.best: Best
        self.places: list[Place] = []
        self.cohorts: list[Cohort] = []
        self.died = torch.zeros(0, dtype=torch.long, device=engine.device)  # a run's step it diverged at; 0: it lives
        self.sums = torch.zeros(4, 0, dtype=self.dtype, device=engine.device)
        """Losses of every run since its last validation [LOSS_FIGURES and steps, runs]."""
        self.counted, self.since = 0, time.monotonic()

    @property
    def over(self) -> bool:
        """Whether nobody is left."""
        return not self.places

    def outcomes(self) -> Iterator[list[Outcome]]:
        """All steps, with validation every so often and at the end; yields runs when they left their places."""
        self.take([])
        while self.places:
            self.step += 1
            self.advance(self._read())
            leaving = self._leaving()
            kept = [place for place in range(len(self.places)) if place not in leaving]
            outcomes = self.best.finish(leaving) if leaving else []
            if leaving or (len(kept) < self.most and self.queue.waiting and self._in_step(kept)):
                self.take(kept)
            if outcomes:
                yield outcomes

    def _in_step(self, kept: Sequence[int]) -> bool:
        """Whether runs that begin now have batches as large as those that are kept: a stack needs that."""
        return not kept or (self.step - self.places[kept[0]].began) % self.queue.cycle == 0

    def take(self, kept: Sequence[int]) -> None:
        """Keep the runs of these places and let others take the free ones, as far as any wait."""
        self._count()
        waiting = self.queue.take(self.most - len(kept)) if self._in_step(kept) else []
        if not kept and not waiting:  # the stack is left as it is
            self.places, self.cohorts = [], []
            return
        new = [self._place(number, run) for number, run in waiting]
        outcomes = [place.outcome for place in new]
        move = self.seat(self.stack, kept, [run for _, run in waiting])
        self.places = [*(self.places[place] for place in kept), *new]
        rates = [place.run[0].learning_rate for place in self.places]
        rate = torch.tensor(rates, device=self.engine.device, dtype=self.stack.flat[0].dtype)
        index = torch.tensor(kept, device=self.engine.device, dtype=torch.long)
        if kept:
            self.optimiser.exchange(self.stack.flat, rate, index, move)
            self.best.exchange(kept, move, outcomes)
        else:
            self.optimiser = StackedAdam(self.stack.flat, rate, self.queue.steps)
            self.best = Best(self.stack, outcomes, self.config)
        self.died = torch.cat([self.died[index], self.died.new_zeros(len(new))])
        self.sums = torch.cat([self.sums[:, index], self.sums.new_zeros(4, len(new))], dim=1)
        self._settle()
        if new and self.config.include_start:
            self._validate(self.cohorts[-1])

    def _place(self, number: int, run: Run) -> Place:
        config, data = run
        size, steps = self.queue.batch, self.queue.steps
        order = batch_order(len(data.student), size, steps, config.seed, data.whole)
        shown = None
        if data.pictured is not None:
            rows = len(data.pictured)
            shown = batch_order(rows, min(size, rows), steps, config.seed, whole=True)
        return Place(run, self.step, Outcome(config, number), order, shown)

    def _settle(self) -> None:
        """Lay out what all runs in their places read; what was recorded worked on other memory."""
        self.advance = Replayed(self._step, self.record)
        device = self.engine.device
        configs = [place.run[0] for place in self.places]
        weights = [(config.image_weight, config.align_weight) for config in configs]
        self.weights = torch.tensor(weights, device=device, dtype=self.dtype).T  # [2, runs]
        self.seeds = torch.tensor([signed(config.seed) for config in configs], device=device)
        self.images = _Images([p.data.image for p in self.places if p.data.image is not None], device)
        by_loss: dict[str, list[int]] = {}
        for place, config in enumerate(configs):
            by_loss.setdefault(config.loss, []).append(place)
        self.by_loss: dict[AlignmentLoss, Tensor] = {
            find_loss(name): torch.tensor(mine, device=device) for name, mine in by_loss.items()
        }
        self.cohorts = []
        for began, members in groupby(self.places, key=lambda place: place.began):
            start = self.cohorts[-1].stop if self.cohorts else 0
            self.cohorts.append(self._cohort(began, start, [place.data for place in members]))

    def _cohort(self, began: int, start: int, data: Sequence[RunData]) -> Cohort:
        count = len(data[0].val_text)
        parts = min(count, math.ceil(count * len(data) / VALIDATION_ROWS[self.engine.device.type]))
        bounds = [round(count * part / parts) for part in range(parts + 1)]
        texts = [self.layout([d.val_text[i:j] for d in data], self.through) for i, j in pairwise(bounds)]
        validation = Validation([d.val_image for d in data], [d.val_image_index for d in data], self.engine.device)
        return Cohort(began, start, start + len(data), texts, validation)

    def _read(self) -> Batch:
        """Every run's next batch, on the device."""
        batches = [next(place.order) for place in self.places]
        pictured = [next(place.pictured) for place in self.places if place.pictured is not None]
        shown = pictured or batches
        rows, frozen = [], []
        for place, batch, seen in zip(self.places, batches, shown, strict=True):
            data = place.data
            mine = [data.student[i] for i in batch]
            mine += [data.anchor[i] for i in batch] if data.anchor is not None else []
            rows.append(mine + [data.pictured[i] for i in seen] if data.pictured is not None else mine)
            if data.frozen is not None:
                frozen.append(data.frozen[batch])
        send = self.engine.sent
        return Batch(
            self.layout(rows, self.through), len(batches[0]), send(torch.tensor(shown)),
            len(pictured[0]) if pictured else 0, send(torch.stack(frozen)) if frozen else None,
        )  # fmt: skip

    def _encode(self, captions: Laid, start: int, stop: int) -> Tensor:
        """Features [runs, rows, d] of captions that were laid out for neighbouring runs."""
        with self.stack.some(start, stop), self.stack.casting(self.engine.dtype):
            return captions.encode().to(self.dtype).unflatten(0, (stop - start, -1))

    def losses(self, batch: Batch | None = None) -> tuple[Tensor, Tensor]:
        """Image-text and alignment loss of every run's batch (default: the next), each [runs]."""
        batch = batch or self._read()
        if self.config.dropout == "model":
            self.stack.drop(self.seeds, self.optimiser.counts)
        features = self._encode(batch.captions, 0, len(self.places))
        student = features[:, : batch.size]
        anchored = self.places[0].data.anchor is not None
        anchor = features[:, batch.size : 2 * batch.size] if anchored else batch.frozen
        image = self.images.rows(batch.shown)
        none = student.new_zeros(len(student))
        captions = features[:, -batch.pictured :] if batch.pictured else student
        clip = none if image is None else contrastive(image, captions)
        if anchor is None:
            return clip, none
        anchor = anchor.to(self.dtype)
        shown = anchor if image is None or batch.pictured else image  # where there is none no loss looks at it
        if len(self.by_loss) == 1:
            return clip, next(iter(self.by_loss))(shown, anchor, student)
        aligned = none
        for loss, places in self.by_loss.items():
            aligned = aligned.index_copy(0, places, loss(shown[places], anchor[places], student[places]))
        return clip, aligned

    def _step(self, batch: Batch) -> None:
        """Forward, backward and update of all runs; nothing here waits for the device, or comes from the host."""
        clip, aligned = self.losses(batch)
        total = self.weights[0] * clip + self.weights[1] * aligned
        self.stack.clear_gradients()
        self.engine.backward(total.sum())
        gradients = self.stack.gradients()
        finite = total.isfinite() & torch.stack([g.sum(dim=1).isfinite() for g in gradients]).all(dim=0)
        self._bury(finite, self.optimiser.counts + 1)
        self.optimiser.step(gradients, self.died == 0)
        self.sums += torch.stack([total, clip, aligned, torch.ones_like(total)]).detach()

    def _bury(self, finite: Tensor, steps: Tensor) -> None:
        """Stop runs that just became NaN or infinite, in these steps of theirs; nobody waits for the device to tell."""
        self.died.copy_(torch.where((self.died == 0) & ~finite, steps, self.died))

    def _leaving(self) -> list[int]:
        """Places whose runs leave after this step: those that ended, and diverged ones where validation is due.

        The device is only looked at every so often.
        """
        due = False
        ended: list[int] = []
        for cohort in self.cohorts:
            own = self.step - cohort.began
            last = own == self.queue.steps
            if own % self.interval == 0 or (last and self.config.include_start):
                self._validate(cohort)
                due = True
            if last:
                self._finish(cohort)
                ended += range(cohort.start, cohort.stop)
        if not (due or ended or self.step % LISTEN == 0):
            return []
        living = self._living()
        leaving = [place for place, alive in enumerate(living) if place in ended or not alive]
        if not (due or ended) and any(living):
            leaving = []  # together with the next who are due: runs in step are validated together
        if leaving or self.step % LISTEN == 0:
            self._tell(leaving)
        return leaving

    def _tell(self, leaving: Sequence[int]) -> None:
        """Tell how far all runs are; one that diverged has nothing left to do."""
        steps, took = self._count()
        left = sum(self.queue.steps - (self.step - self.places[place].began) for place in leaving)
        note = f"{len(self.places)} runs, {1000 * took / max(1, steps):.0f} ms/step"
        self.on_event(Progress("training", self.tally.add(left), self.tally.total, note))

    def _count(self) -> tuple[int, float]:
        """Count the steps since the last time, and the seconds they took; returns both."""
        steps, took = self.step - self.counted, time.monotonic() - self.since
        self.counted, self.since = self.step, time.monotonic()
        for place in self.places:
            place.outcome.seconds += took / len(self.places)
        self.tally.add(steps * len(self.places))
        return steps, took

    def _living(self) -> list[bool]:
        """Which runs live, as the device has it now; those that died meanwhile are reported."""
        died = self.died.tolist()
        for place, step in zip(self.places, died, strict=True):
            outcome = place.outcome
            if step and outcome.diverged_at is None:
                outcome.diverged_at = step
                label = outcome.config.label
                self.on_event(Notice(f"run {label} diverged at step {step}: loss is not finite; stopped", "warning"))
        return [not step for step in died]

    def _validation_features(self, cohort: Cohort) -> Tensor:
        """Features [runs, rows, d] of every run's validation texts."""
        if self.stack.tower.training:
            self.stack.tower.eval()
        return torch.cat([self._encode(part, cohort.start, cohort.stop) for part in cohort.texts], dim=1)

    @torch.no_grad()
    def _validate(self, cohort: Cohort) -> None:
        """Score every living run on its validation captions and keep its checkpoint when it is the best so far."""
        step, span = self.step - cohort.began, slice(cohort.start, cohort.stop)
        found = cohort.validation.scores(self._validation_features(cohort))
        means = (self.sums[:-1, span] / self.sums[-1, span]).T.tolist() if step else [[]] * len(found)
        self.sums[:, span] = 0
        alive = self._living()
        scores = {
            place: own | dict(zip(LOSS_FIGURES, mine, strict=False))
            for place, own, mine in zip(range(cohort.start, cohort.stop), found, means, strict=True)
            if own is not None and alive[place]
        }
        self.best.record(step, scores)

    @torch.no_grad()
    def _finish(self, cohort: Cohort) -> None:
        """A run that was too short to validate still yields its final weights, unless the last step ruined them."""
        places = range(cohort.start, cohort.stop)
        unseen, alive = [not self.places[place].outcome.validated for place in places], self._living()
        if not any(mine and alive[place] for place, mine in zip(places, unseen, strict=True)):
            return
        sound = torch.ones_like(self.died, dtype=torch.bool)
        features = self._validation_features(cohort).isfinite().all(dim=2).all(dim=1)
        sound[cohort.start : cohort.stop] = features | ~torch.tensor(unseen, device=sound.device)
        self._bury(sound, self.optimiser.counts)
        alive = self._living()
        kept = [place for place, mine in zip(places, unseen, strict=True) if mine and alive[place]]
        if kept:
            self.best.keep(kept, self.queue.steps)


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
