"""One step of all runs of a stack: the batch it reads and the losses of that batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xpet.training.parts import PartedCaptions
from xpet.training.setup import FitSetup
from xpet.training.slots import Occupancy, Slot, SlotRows
from xpet.training.stacklike import Tokens
from xpet.training.staging import Staged, Staging


@dataclass(frozen=True)
class StepBatch:
    """What one step reads of every run.

    Attributes:
        captions: of every run first `size` student captions, then as many anchors (where these are encoded), then
            `image_captions` captions of images (where these are apart from the students).
        size: rows of a batch.
        image_rows: rows [runs, n] of the images the image-text loss looks at.
        image_captions: how many captions of images every run has at the end; 0 where the students' own have images.
        anchor_features: features [runs, size, d] of anchors that are not encoded here; None where they are.
    """

    captions: PartedCaptions
    size: int
    image_rows: Tensor
    image_captions: int
    anchor_features: Tensor | None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors whose values differ between steps: those of the captions' layout, and the others [runs, ...]."""
        tensors = (*self.captions.tensors, self.image_rows)
        return tensors if self.anchor_features is None else (*tensors, self.anchor_features)

    @property
    def key(self) -> Hashable:
        """What a step depends on besides the shapes and values of its tensors."""
        return self.captions.key, self.size, self.image_captions

    def to(self, send: Callable[[Tensor], Tensor]) -> StepBatch:
        """The same batch with every tensor replaced by `send(tensor)`, its copy of that shape on a device."""
        features = self.anchor_features
        return replace(
            self, captions=self.captions.to(send), image_rows=send(self.image_rows),
            anchor_features=None if features is None else send(features),
        )  # fmt: skip


@dataclass(frozen=True)
class ReadBatch:
    """A batch on the host that was read ahead, with the rows of every slot that are in it."""

    rows: Sequence[SlotRows]
    batch: StepBatch
    staged: Staged

    def put_back(self, slots: Sequence[Slot]) -> None:
        """Let the slots read these rows next."""
        for slot, rows in zip(slots, self.rows, strict=True):
            slot.put_back(rows)


def read_batch(setup: FitSetup, slots: Sequence[Slot]) -> StepBatch:
    """Read every run's next batch and send it to the device."""
    ahead = setup.ahead
    if ahead is None:
        return _laid_out(setup, slots, _rows(slots)).to(setup.engine.send)
    read: ReadBatch = ahead.next(slots, lambda: _staged(setup, slots, ahead.staging), lambda read: read.put_back(slots))
    sent = dict(zip(map(id, read.batch.tensors), ahead.staging.send(read.staged), strict=True))
    return read.batch.to(lambda tensor: sent[id(tensor)])


def _staged(setup: FitSetup, slots: Sequence[Slot], staging: Staging) -> ReadBatch:
    """Every run's next batch, not yet on the device; may be read in a thread beside those that train."""
    rows = _rows(slots)
    batch = _laid_out(setup, slots, rows)
    return ReadBatch(rows, batch, staging.stage(batch.tensors))


def _rows(slots: Sequence[Slot]) -> list[SlotRows]:
    """Rows of every slot's next batch; raises StopIteration, with nothing read, where a run has no more."""
    rows: list[SlotRows] = []
    try:
        for slot in slots:
            rows.append(slot.read())
    except StopIteration:
        for slot, own in zip(slots, rows, strict=False):
            slot.put_back(own)
        raise
    return rows


def _laid_out(setup: FitSetup, slots: Sequence[Slot], rows: Sequence[SlotRows]) -> StepBatch:
    """The batch of these rows of every slot, on the CPU."""
    captions, features, image_rows = [], [], []
    for slot, (own, of_image_captions) in zip(slots, rows, strict=True):
        image_rows.append(own if of_image_captions is None else of_image_captions)
        captions.append(_captions(slot, own, image_rows[-1]))
        if slot.data.anchor_features is not None:
            features.append(slot.data.anchor_features[own])
    return StepBatch(
        captions=setup.lay_out(captions, setup.fit.gradient_cache),
        size=len(rows[0][0]),
        image_rows=torch.tensor(image_rows),
        image_captions=len(rows[0][1] or ()),
        anchor_features=torch.stack(features) if features else None,
    )


def _captions(slot: Slot, rows: list[int], image_rows: list[int]) -> Tokens:
    """Token rows of one run's step: students, then anchors, then captions of images."""
    data = slot.data
    captions = [data.student[i] for i in rows]
    if data.anchor is not None:
        captions += [data.anchor[i] for i in rows]
    if data.image_captions is not None:
        captions += [data.image_captions[i] for i in image_rows]
    return captions


def step_losses(setup: FitSetup, occupancy: Occupancy, batch: StepBatch, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Image-text and alignment loss of every run's batch, each [runs]; `steps` [runs] counts what each run has taken.

    A loss that the runs do not have is zero. See `xpet.core.losses` for the formulas.
    """
    if setup.fit.dropout == "model":
        setup.stack.set_dropout(occupancy.seeds, steps)
    runs, size = len(occupancy.slots), batch.size
    features = setup.encode(batch.captions, 0, runs)  # [runs, captions, d]
    student = features[:, :size]  # [runs, size, d]
    encodes_anchors = occupancy.slots[0].data.anchor is not None
    anchor = features[:, size : 2 * size] if encodes_anchors else batch.anchor_features  # [runs, size, d]
    image = occupancy.images.rows(batch.image_rows)  # [runs, n, d]
    captions = features[:, -batch.image_captions :] if batch.image_captions else student  # [runs, n, d]
    zeros = student.new_zeros(runs)
    image_text = zeros if image is None else setup.image_loss(image, captions)  # [runs]
    if anchor is None:
        return image_text, zeros
    anchor = anchor.to(setup.dtype)
    if image is None or batch.image_captions:
        image = anchor  # the students have no images, and their alignment loss looks at none
    return image_text, _alignment(occupancy, image, anchor, student)


def _alignment(occupancy: Occupancy, image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    """Alignment loss [runs] of features [runs, size, d], each run's by its own loss."""
    if len(occupancy.losses) == 1:
        (loss,) = occupancy.losses
        return loss(image, anchor, student)
    aligned = student.new_zeros(len(student))
    for loss, slots in occupancy.losses.items():
        aligned = aligned.index_copy(0, slots, loss(image[slots], anchor[slots], student[slots]))
    return aligned
