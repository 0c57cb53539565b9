"""Measures combinations: on one stack that holds a run or a combination at a time, by R@1 on test and validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, Split
from xpet.core.errors import DataError, ModelError
from xpet.core.events import OnEvent, Progress
from xpet.jobs.merge.formats.base import MergeJob
from xpet.jobs.merge.verify import MeasuredData, tested_captions
from xpet.jobs.results.merge import Price
from xpet.jobs.shared import measure
from xpet.jobs.shared.corpus import as_corpus
from xpet.jobs.shared.run_records import check_base, named_images
from xpet.jobs.shared.towers import features_of, text_path, with_images
from xpet.jobs.shared.translated_captions import data_options, with_missing

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.core.config import MethodConfig
    from xpet.methods.combining import TaskVector
    from xpet.methods.stack import Stack
    from xpet.models.checkpoint import LoadedText

TEST, VALIDATION = "test", "validation"


@dataclass(frozen=True)
class Ingredients:
    """What is combined: task vectors by language, the method that covers all of them, and the base's weights.

    The vectors are completed: weights that a run does not train count as unchanged.
    """

    vectors: Mapping[str, TaskVector]
    method: MethodConfig
    base: Mapping[str, Tensor]

    @property
    def rank(self) -> int:
        """The largest rank of the languages' products; 0 without any."""
        return max(vector.rank for vector in self.vectors.values())

    def delta(self, vector: TaskVector, rank: int | None = None) -> tuple[dict[str, Tensor], MethodConfig]:
        """A task vector as the trained tensors of a run, and the method's settings for them."""
        from xpet.methods.combining import as_delta

        return as_delta(vector, self.method, self.base, rank)


@dataclass(frozen=True)
class CombineSetup:
    """A stack that holds one task vector at a time, and the captions and images it is measured on."""

    ingredients: Ingredients
    stack: Stack
    rank: int
    """Rank of the stack's products: large enough for every run and the combination, whose products are padded with
    zeros."""
    encode: measure.Encode
    slots: Mapping[str, str]
    """Language -> slot of the texts it searches with."""
    parts: Mapping[str, tuple[Split, Tensor]]
    """Captions and image features [images, d] of part `test`, and of `validation` where weights are searched."""

    @contextmanager
    def holding(self, vector: TaskVector) -> Iterator[None]:
        """For the block, the tower changed by a task vector."""
        delta, _ = self.ingredients.delta(vector, self.rank)
        self.stack.load(0, delta)
        with self.stack.one(0):
            yield

    def recall(self, language: str, part: str = TEST, slot: str | None = None) -> float:
        """R@1 in percent of one language with the tower in its present state; `slot` None: as `slots` says."""
        split, images = self.parts[part]
        return measure.recall(self.encode, split.captions[language], slot or self.slots[language], images)

    def validation_recall(self, vector: TaskVector) -> dict[str, float]:
        """R@1 in percent of every language on validation, English included, with a task vector."""
        with self.holding(vector):
            return {language: self.recall(language, VALIDATION) for language in self.slots}

    @property
    def validation_images(self) -> int:
        """Number of validation images."""
        return len(self.parts[VALIDATION][0].images)

    def prices(self, combined: TaskVector, on_event: OnEvent) -> dict[str, Price]:
        """R@1 of each language on the test images: the base (natural captions), its own module, and all combined."""
        languages, vectors = list(self.slots), self.ingredients.vectors
        steps = len(vectors) + 2
        with self.stack.bare():
            base = {language: self.recall(language, slot="target") for language in languages}
        on_event(Progress("measuring", 1, steps, "base"))
        separate = dict(base)
        for done, (language, vector) in enumerate(vectors.items(), start=2):
            with self.holding(vector):
                separate[language] = self.recall(language)
            on_event(Progress("measuring", done, steps, language))
        with self.holding(combined):
            together = {language: self.recall(language) for language in languages}
        on_event(Progress("measuring", len(separate) + 2, len(separate) + 2, "combined"))
        return {
            lang: Price(base[lang], separate[lang], together[lang], together[lang] - separate[lang])
            for lang in languages
        }  # fmt: skip


def prepare(job: MergeJob, ingredients: Ingredients, rank: int, searched: bool, on_event: OnEvent) -> CombineSetup:
    """Load what measuring needs, with `searched` the validation images, too; `rank` is that of the stack's products.

    Raises DataError or ModelError naming --no-verify when captions or images are not there, ModelError for another
    base.
    """
    from xpet.methods.build import build_stack
    from xpet.models.checkpoint import load_text_tower
    from xpet.training.device import make_engine

    data = tested_captions(job, on_event)
    device = str(make_engine(job.config.device, "fp32").device)
    text = load_text_tower(text_path(data.model.text))
    splits = {TEST: data.test, **({VALIDATION: _validation(job, data, on_event)} if searched else {})}
    images = _images(job, data, list(splits.values()), text, device, on_event)
    method = replace(ingredients.method, rank=rank, alpha=float(rank)) if rank else ingredients.method
    stack = build_stack(text.tower, method, [1]).to(device)
    slots = {**job.searched, **({PIVOT: "target"} if PIVOT in data.test.captions else {})}
    parts = {name: (split, rows.to(device)) for (name, split), rows in zip(splits.items(), images, strict=True)}
    return CombineSetup(ingredients, stack, rank, measure.encoder(stack.tower, text.tokenizer), slots, parts)


def _validation(job: MergeJob, data: MeasuredData, on_event: OnEvent) -> Split:
    """The validation captions of the runs, with the translations they search with."""
    from xpet.data.splits import split_for

    split = named_images(split_for(data.corpus, VALIDATION), job.runs[0][1].split.validation)
    needed = sorted({slot for slot in job.searched.values() if slot != "target"})
    part = as_corpus(data.corpus, validation=split)
    options = data_options(data.data)
    return with_missing(part, list(job.searched), needed, (), options, on_event, job.config.device).splits[VALIDATION]


def _images(
    job: MergeJob, data: MeasuredData, splits: list[Split], text: LoadedText, device: str, on_event: OnEvent
) -> list[Tensor]:
    """Image features [images, d] of each split; raises DataError or ModelError naming --no-verify."""
    try:
        towers = with_images(text, data.model, data.data.image_features)
        check_base(towers, job.runs)
        return features_of(data.corpus, splits, towers, data.data, device, on_event)
    except (DataError, ModelError) as error:
        raise type(error)(f"{error}; --no-verify combines without measuring") from error
