"""Makes the training and validation data of a run: tokens, image features and anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpet.core.config import RunConfig
from xpet.core.errors import DataError
from xpet.core.routines import ROUTINES
from xpet.jobs.align.prepare import AlignSetup

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.training.queue import RunData


def data_of(setup: AlignSetup, run: RunConfig) -> RunData:
    """The data of a run; raises DataError where routine `text` has fewer translated lines than a batch.

    What is fitted in closed form is fitted to English, whatever the routine's anchor is, and uses no training pictures.
    """
    import torch

    from xpet.training.queue import RunData

    routine = ROUTINES[run.routine]
    if routine.text_only:
        return _text_data(setup, run)
    validation, is_fitted = setup.parts.validation, setup.config.is_fitted
    anchor = "pivot" if is_fitted else routine.anchor
    return RunData(
        student=_tokens(setup, "train", run.language, routine.student),
        anchor=_tokens(setup, "train", run.language, anchor) if anchor else None,
        image=None if is_fitted else _train_images(setup, run.language),
        val_text=_tokens(setup, "validation", run.language, routine.evaluation),
        val_image=setup.images["validation"],
        val_image_index=torch.tensor(validation.captions[run.language].image_index),
    )


def _text_data(setup: AlignSetup, run: RunConfig) -> RunData:
    """The data of a run of routine `text`, which is validated on held-out lines or on pictures."""
    import torch

    from xpet.training.queue import RunData

    pairs = setup.pairs[run.language]
    least = 2 if setup.config.is_fitted else setup.config.fit.batch_size
    if len(pairs.tokens) < least:
        raise DataError(
            f"{run.language}: expected at least a batch of {least} translated lines to train on, "
            f"found {len(pairs.tokens)}; give more lines or a smaller --batch-size"
        )
    count = min(len(each.val_tokens) for each in setup.pairs.values())  # runs of one stack must have equally many
    text, images, image_index = pairs.val_tokens[:count], pairs.val_frozen[:count], torch.arange(count)
    if not setup.config.text.validates_on_text:
        text = _tokens(setup, "validation", run.language, ROUTINES[run.routine].evaluation)
        images = setup.images["validation"]
        image_index = torch.tensor(setup.parts.validation.captions[run.language].image_index)
    seen = run.image_weight > 0 and not setup.config.is_fitted  # pictures of the shots, with their natural captions
    return RunData(
        student=pairs.tokens, anchor=None, anchor_features=pairs.frozen, only_full_batches=True,
        image_captions=_tokens(setup, "train", run.language, "target") if seen else None,
        image=_train_images(setup, run.language) if seen else None,
        val_text=text, val_image=images, val_image_index=image_index,
    )  # fmt: skip


def _train_images(setup: AlignSetup, language: str) -> Tensor:
    """Image features of every training caption of a language, shared by all its runs."""
    import torch

    if language not in setup.train_images:
        image_index = torch.tensor(setup.parts.train.captions[language].image_index)
        setup.train_images[language] = setup.images["train"][image_index]
    return setup.train_images[language]


def _tokens(setup: AlignSetup, part: str, language: str, slot: str) -> list[list[int]]:
    """Token numbers of the texts of a slot, made once for all runs."""
    key = (part, language, slot)
    if key not in setup.tokens:
        texts = getattr(setup.parts, part).captions[language].slot(slot)
        setup.tokens[key] = setup.towers.text.tokenizer.encode(texts)
    return setup.tokens[key]
