"""The training loop over a stack: steps, validations, and runs that come into its slots and leave them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from xpet.training.answers import Answers
from xpet.training.checkpoint import Checkpoint, restore, run_state
from xpet.training.graphs import ReplayedStep, recordings_of
from xpet.training.optimiser import StackedAdam
from xpet.training.progress import ProgressReporter
from xpet.training.queue import Run
from xpet.training.resuming import StackFile
from xpet.training.selection import FIGURES, LOSS_FIGURES, BestCheckpoints, TrainedRun
from xpet.training.setup import FitSetup
from xpet.training.slots import Cohort, Slot, admit, occupied
from xpet.training.stacklike import Reindex, StackLike
from xpet.training.step import StepBatch, read_batch, step_losses

REPORT_EVERY = 10
"""Steps between reports of progress and of diverged runs, which are asked of the device."""
READ = (*FIGURES, *LOSS_FIGURES, "counted", "better")
"""What is read of a run's validation: figures, whether they count, whether they are the best so far."""

Assign = Callable[[StackLike, Sequence[int], Sequence[Run]], Reindex]
"""(stack, slots kept, runs) -> keeps these slots and appends newly initialised runs; see `StackLike.reindex`."""


class Session:
    """Trains the runs of a queue in the slots of one stack.

    `setup` holds what stays for the whole session, `occupancy` what stays while the same runs are in the slots.
    Everything else has one row per slot and is re-indexed when runs come or go: the optimiser, the best checkpoints,
    `diverged_at` [runs] (the run's own step that was not finite, 0 while there is none), `sums` [4, runs] (sums of
    losses since the last validation, in the order of `LOSS_FIGURES`, and their number of steps) and `validated`
    [8, runs] (`READ` of the last validation). The device decides what diverged and which checkpoint is the best; the
    runs in the slots are told of it by `answers`, on a GPU a little later.
    """

    def __init__(
        self,
        setup: FitSetup,
        slots: list[Slot],
        assign: Assign,
        reporter: ProgressReporter,
        goes_on: tuple[str, Checkpoint] | None = None,
    ) -> None:
        self.setup, self.assign, self.reporter = setup, assign, reporter
        self.recordings = recordings_of(setup.fit, setup.engine, setup.spread.world, reporter.on_event)
        self.waits = setup.device.type == "cpu" and not self.recordings.is_on
        self.answers = Answers(later=not self.waits and setup.spread.alone)
        self.step = 0
        self.is_whole = True
        assign(setup.stack, [], [slot.run for slot in slots])
        self.optimiser = StackedAdam(setup.stack.flat, self._rates(slots), setup.queue.steps)
        self.best = BestCheckpoints(setup.stack, [slot.trained for slot in slots], setup.fit)
        self.diverged_at = torch.zeros(len(slots), dtype=torch.long, device=setup.device)
        self.sums = torch.zeros(len(LOSS_FIGURES) + 1, len(slots), dtype=setup.dtype, device=setup.device)
        self.validated = torch.zeros(len(READ), len(slots), dtype=torch.float64, device=setup.device)
        self.occupancy = occupied(setup, slots)
        self.advance = ReplayedStep(self._step, self.recordings, self._state_of_step)
        self.judge = ReplayedStep(self._judge, self.recordings, self._state_of_validation)
        self.file = self._file(slots, goes_on)
        if goes_on is None:
            self._validate_start(slots)
        else:
            self._restore(goes_on[1])

    @property
    def slots(self) -> Sequence[Slot]:
        """One slot per run in training; none when all is done."""
        return self.occupancy.slots

    def train(self) -> Generator[list[TrainedRun], None, None]:
        """Take all steps; yields runs, each with its checkpoint, as they leave their slots."""
        try:
            while self.slots:
                finished = self._take_step()
                if self.file is not None:
                    self.file.checkpoints.note_ended(finished)
                self.reporter.tell()
                if finished:
                    yield finished
                if self.slots and self.file is not None and self.file.look():
                    self._keep(self.file)
        except BaseException:  # also where the caller stops reading
            if self.file is not None and self.slots and self.is_whole:
                self._keep(self.file)
            raise
        finally:
            if self.file is not None and not self.slots:
                self.file.end()

    def _take_step(self) -> list[TrainedRun]:
        """Take a step, and have runs leave and come; returns those that left.

        Until an update begins the state is that of `self.step` whole steps, whatever is raised.
        """
        batch = read_batch(self.setup, self.slots)
        self._advance(batch)
        self.step += 1
        leaving = self._leaving()
        kept = [index for index in range(len(self.slots)) if index not in leaving]
        finished = self.best.finish(leaving) if leaving else []
        room = len(kept) < self.setup.slots and self.setup.queue.waiting
        if leaving or (room and self._may_begin(kept)):
            self._reassign(kept)
        self.is_whole = True
        return finished

    def _advance(self, batch: StepBatch) -> None:
        """Update all runs. Where recordings leave no memory for a plain step, they are given up first."""
        self.is_whole = self.advance.is_plain(batch)  # of a replay nobody can tell how far it is
        try:
            self.advance(batch)
            return
        except torch.OutOfMemoryError:
            if not (self.is_whole and self.recordings.count):
                raise
        self.recordings.give_up("recordings leave no memory for steps of further shapes")
        self._forget_recordings()
        self.advance(batch)

    def _file(self, slots: Sequence[Slot], goes_on: tuple[str, Checkpoint] | None) -> StackFile | None:
        """The file of this stack's checkpoints; None where none are written."""
        checkpoints = self.setup.checkpoints
        if checkpoints is None:
            return None
        if goes_on is None:
            return StackFile(checkpoints, checkpoints.file_for(slots[0].config.label))
        return StackFile(checkpoints, goes_on[0], [run.label for run in goes_on[1].runs])

    def _tensors(self) -> dict[str, Tensor]:
        """All tensors that training changes, by name."""
        tensors = {"counts": self.optimiser.counts, "diverged_at": self.diverged_at, "sums": self.sums}
        laid_out = {
            "flat": self.setup.stack.flat, "first": self.optimiser.first, "second": self.optimiser.second,
            "best": self.best.parameters,
        }  # fmt: skip
        return tensors | {f"{name}/{i}": part for name, parts in laid_out.items() for i, part in enumerate(parts)}

    def _keep(self, file: StackFile) -> None:
        """Write a checkpoint."""
        self.answers.flush()
        self._count()
        self.is_whole = False  # a second interruption ends at once
        runs = tuple(run_state(slot.trained, slot.began, slot.data.digest) for slot in self.slots)
        identity = file.checkpoints.identity
        file.write(Checkpoint(identity, self.step, self.setup.slots, runs, self._tensors()))
        self.is_whole = True

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint; raises DataError where its tensors are of other shapes."""
        restore(self._tensors(), checkpoint.tensors)
        self.step = checkpoint.step
        self.reporter.go_on(self.step, sum(self.step - slot.began for slot in self.slots))

    def _may_begin(self, kept: Sequence[int]) -> bool:
        """Whether a run that begins now gets, in every step, batches as large as those of the runs in the `kept` slots.

        A stack needs that. The kept runs agree among themselves, so the first is enough to ask.
        """
        return not kept or (self.step - self.slots[kept[0]].began) % self.setup.queue.cycle == 0

    def _reassign(self, kept: Sequence[int]) -> None:
        """Keep the runs in these slots, and admit waiting runs to the free ones where they may begin."""
        self._count()
        new = admit(self.setup, self.setup.slots - len(kept), self.step) if self._may_begin(kept) else []
        slots = [*(self.slots[index] for index in kept), *new]
        self._forget_recordings()
        if not slots:  # the stack is left as it is
            self.occupancy = replace(self.occupancy, slots=[], cohorts=[])
            return
        reindex = self.assign(self.setup.stack, kept, [slot.run for slot in new])
        index = torch.tensor(kept, device=self.setup.device, dtype=torch.long)
        self.optimiser.reindex(self.setup.stack.flat, self._rates(slots), index, reindex)
        self.best.reindex(kept, reindex, [slot.trained for slot in new])
        self.diverged_at = torch.cat([self.diverged_at[index], self.diverged_at.new_zeros(len(new))])
        self.sums = torch.cat([self.sums[:, index], self.sums.new_zeros(len(self.sums), len(new))], dim=1)
        self.validated = self.validated.new_zeros(len(READ), len(slots))
        self.occupancy = occupied(self.setup, slots)
        self._validate_start(new)

    def _forget_recordings(self) -> None:
        """Record anew: what was recorded works on memory that the stack is about to leave."""
        self.advance = ReplayedStep(self._step, self.recordings, self.advance.state)
        self.judge = ReplayedStep(self._judge, self.recordings, self.judge.state)
        self.recordings.begin()

    def _rates(self, slots: Sequence[Slot]) -> Tensor:
        """Initial learning rates [runs]."""
        dtype = self.setup.stack.flat[0].dtype
        return torch.tensor([slot.config.learning_rate for slot in slots], device=self.setup.device, dtype=dtype)

    def _step(self, batch: StepBatch) -> None:
        """Forward, backward and update of all runs; it neither waits for the device nor copies from the host."""
        stack, weights = self.setup.stack, self.occupancy.weights
        image_text, alignment = step_losses(self.setup, self.occupancy, batch, self.optimiser.counts)  # each [runs]
        total = weights[0] * image_text + weights[1] * alignment  # [runs]
        stack.clear_gradients()
        self.setup.engine.backward(total.sum())
        gradients = self.setup.gradients(total)  # each [runs, n]
        self.is_whole = False
        finite = total.isfinite() & torch.stack([g.sum(dim=1).isfinite() for g in gradients]).all(dim=0)  # [runs]
        self._mark_diverged(finite, self.optimiser.counts + 1)
        self.optimiser.step(gradients, self.diverged_at == 0)
        self.sums += torch.stack([total, image_text, alignment, torch.ones_like(total)]).detach()  # [4, runs]

    def _mark_diverged(self, finite: Tensor, steps: Tensor) -> None:
        """Stop runs that are not `finite` [runs] in these `steps` [runs] of theirs, without waiting for the device."""
        self.diverged_at.copy_(torch.where((self.diverged_at == 0) & ~finite, steps, self.diverged_at))

    def _leaving(self) -> list[int]:
        """Slots whose runs leave after this step: those that ended, and diverged ones where validation is due.

        Validates what is due. Which runs diverged is asked of the device only then and every REPORT_EVERY steps.
        """
        due, ended = self._validate_due()
        if not (due or ended or self.step % REPORT_EVERY == 0):
            return []
        self._ask_divergence()
        self.answers.turn()
        if ended:
            self.answers.flush()
        alive = self._alive()
        leaving = [index for index, lives in enumerate(alive) if index in ended or not lives]
        if not (due or ended) and any(alive):
            leaving = []  # a diverged run keeps its slot until others leave: re-indexing costs more than its idle row
        if leaving:
            self.answers.flush()
        if leaving or self.step % REPORT_EVERY == 0:
            skipped = sum(self.setup.queue.steps - (self.step - self.slots[index].began) for index in leaving)
            self.reporter.report(self.step, self._trained(), skipped, self.recordings.note)
        return leaving

    def _validate_due(self) -> tuple[bool, list[int]]:
        """Validate the cohorts that are due; returns whether any was, and the slots whose runs took their last step."""
        due = False
        ended: list[int] = []
        for cohort in self.occupancy.cohorts:
            taken = self.step - cohort.began
            last = taken == self.setup.queue.steps
            if taken % self.setup.interval == 0 or (last and self.setup.fit.include_start):
                self._validate(cohort)
                due = True
            if last:
                self._snapshot_unvalidated(cohort)
                ended += cohort.slots
        return due, ended

    def _trained(self) -> list[TrainedRun]:
        return [slot.trained for slot in self.slots]

    def _count(self) -> None:
        self.reporter.count(self.step, self._trained())

    def _alive(self) -> list[bool]:
        """Which runs live, as far as is known here."""
        return [run.diverged_at is None for run in self._trained()]

    def _ask_divergence(self) -> None:
        """Ask the device which runs diverged; they are reported when it answers."""
        self.answers.ask(self.diverged_at, partial(self._note_divergence, self._trained()))

    def _note_divergence(self, runs: Sequence[TrainedRun], steps: Sequence[int]) -> None:
        """Report the runs that diverged, in these steps of their own; 0 where a run did not."""
        for run, step in zip(runs, steps, strict=True):
            if step:
                self.reporter.report_divergence(run, step)

    def _validation_features(self, cohort: Cohort) -> Tensor:
        """Features [runs, texts, d] of a cohort's validation texts, without dropout."""
        if self.setup.stack.tower.training:
            self.setup.stack.tower.eval()
        parts = [self.setup.encode(part, cohort.start, cohort.stop) for part in cohort.texts]
        return torch.cat(parts, dim=1)

    def _validate_start(self, new: Sequence[Slot]) -> None:
        """Validate runs that were just admitted, where the untrained start is a candidate."""
        if new and self.setup.fit.include_start:
            self._validate(self.occupancy.cohorts[-1])

    def _validate(self, cohort: Cohort) -> None:
        """Score every living run on its validation texts, and snapshot it when it is the best so far."""
        if cohort.validation.is_small:
            self.judge(cohort)
        else:
            self._judge(cohort)
        self._ask_divergence()
        runs, step = self._trained()[cohort.start : cohort.stop], self.step - cohort.began
        found = self.validated[:, cohort.start : cohort.stop]
        self.answers.ask(found, partial(self._note_validation, runs, step))

    @torch.no_grad()
    def _judge(self, cohort: Cohort) -> None:
        """Validate a cohort; it neither waits for a GPU nor copies from the host, if the validation is small."""
        span = slice(cohort.start, cohort.stop)
        found = cohort.validation.figures(self._validation_features(cohort), self.waits)  # [4, n]
        losses = self.sums[:-1, span] / self.sums[-1, span]  # [3, n]; without steps there are none
        self.sums[:, span] = 0
        counted = (found[-1] > 0) & (self.diverged_at[span] == 0)
        better = self.best.choose(cohort.start, cohort.stop, found[:-1], counted, self.waits)
        rows = [found[:-1], losses.to(found), torch.stack([counted, better]).to(found)]
        self.validated[:, span] = torch.cat(rows)

    def _note_validation(self, runs: Sequence[TrainedRun], step: int, read: Sequence[Sequence[float]]) -> None:
        """Tell runs of their validation after `step` steps of theirs: the values of READ, [8, runs]."""
        names = (*FIGURES, *LOSS_FIGURES) if step else FIGURES
        found = {}
        for index, (run, (*values, counted, better)) in enumerate(zip(runs, zip(*read, strict=True), strict=True)):
            if counted:
                found[index] = dict(zip(names, values, strict=False))
                self.best.note(run, step, found[index], bool(better))
        self.reporter.report_validations(runs, step, self.setup.queue.steps, found)

    def _state_of_step(self) -> tuple[list[Tensor], list[Tensor]]:
        """`State` of a step: a wrong one leaves other sums and moments."""
        return list(self._tensors().values()), [*self.optimiser.first, self.sums]

    def _state_of_validation(self) -> tuple[list[Tensor], list[Tensor]]:
        """`State` of a validation: a wrong one finds other losses. Retrieval may differ where scores hardly do."""
        changed = [*self.best.parameters, self.best.scores, self.best.has_score, self.sums, self.validated]
        return changed, [self.validated[FIGURES.index("val_loss")]]

    @torch.no_grad()
    def _snapshot_unvalidated(self, cohort: Cohort) -> None:
        """Snapshot the final weights of runs that were never validated (too short), unless they are not finite."""
        self._ask_divergence()
        self.answers.flush()
        unvalidated, alive = [not self.slots[index].trained.validated for index in cohort.slots], self._alive()
        if not any(lacks and alive[index] for index, lacks in zip(cohort.slots, unvalidated, strict=True)):
            return
        finite = torch.ones_like(self.diverged_at, dtype=torch.bool)  # [runs]
        features = self._validation_features(cohort).isfinite().all(dim=2).all(dim=1)  # [runs of the cohort]
        finite[cohort.start : cohort.stop] = features | ~torch.tensor(unvalidated, device=finite.device)
        self._mark_diverged(finite, self.optimiser.counts)
        self._ask_divergence()
        self.answers.flush()
        alive = self._alive()
        final = [index for index, lacks in zip(cohort.slots, unvalidated, strict=True) if lacks and alive[index]]
        if final:
            self.best.snapshot(final, self.setup.queue.steps)
