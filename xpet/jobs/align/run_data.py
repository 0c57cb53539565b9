"""What every run of `xpet align` learns from and is validated on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpet.core.config import RunConfig
from xpet.core.errors import DataError
from xpet.core.routines import ROUTINES
from xpet.jobs.align.prepare import Bench

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.training.queue import RunData


def data_of(bench: Bench, plan: RunConfig) -> RunData:
    """Captions and features of a run; raises DataError where there are too few lines for a batch."""
    import torch

    from xpet.training.queue import RunData

    routine = ROUTINES[plan.routine]
    if routine.text_only:
        return _text_data(bench, plan)
    validation = bench.parts.validation
    return RunData(
        student=_tokens(bench, "train", plan.language, routine.student),
        anchor=_tokens(bench, "train", plan.language, routine.anchor) if routine.anchor else None,
        image=_train_images(bench, plan.language),
        val_text=_tokens(bench, "validation", plan.language, routine.evaluation),
        val_image=bench.images["validation"],
        val_image_index=torch.tensor(validation.captions[plan.language].image_index),
    )


def _text_data(bench: Bench, plan: RunConfig) -> RunData:
    """What a run of routine `text` learns from, and is validated on: held-out lines, or pictures."""
    import torch

    from xpet.training.queue import RunData

    pairs = bench.pairs[plan.language]
    least = bench.config.fit.batch_size
    if len(pairs.tokens) < least:
        raise DataError(
            f"{plan.language}: expected at least a batch of {least} translated lines to train on, "
            f"found {len(pairs.tokens)}; give more lines or a smaller --batch-size"
        )
    count = min(len(each.val_tokens) for each in bench.pairs.values())  # runs of a stack have equally many
    text, images, image_index = pairs.val_tokens[:count], pairs.val_frozen[:count], torch.arange(count)
    if not bench.config.text.validates_on_text:
        text = _tokens(bench, "validation", plan.language, ROUTINES[plan.routine].evaluation)
        images = bench.images["validation"]
        image_index = torch.tensor(bench.parts.validation.captions[plan.language].image_index)
    seen = plan.image_weight > 0  # pictures of the shots, with their natural captions
    return RunData(
        student=pairs.tokens, anchor=None, frozen=pairs.frozen, whole=True,
        pictured=_tokens(bench, "train", plan.language, "target") if seen else None,
        image=_train_images(bench, plan.language) if seen else None,
        val_text=text, val_image=images, val_image_index=image_index,
    )  # fmt: skip


def _train_images(bench: Bench, language: str) -> Tensor:
    """Image features of every training caption of a language, shared by all its runs."""
    import torch

    if language not in bench.train_images:
        image_index = torch.tensor(bench.parts.train.captions[language].image_index)
        bench.train_images[language] = bench.images["train"][image_index]
    return bench.train_images[language]


def _tokens(bench: Bench, part: str, language: str, slot: str) -> list[list[int]]:
    key = (part, language, slot)
    if key not in bench.tokens:
        texts = getattr(bench.parts, part).captions[language].slot(slot)
        bench.tokens[key] = bench.towers.text.tokenizer.encode(texts)
    return bench.tokens[key]
