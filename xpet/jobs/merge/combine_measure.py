"""What a combination is measured with: one stack that holds any of the runs or all combined, captions and images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, Split
from xpet.core.errors import DataError, ModelError
from xpet.core.events import OnEvent, Progress
from xpet.jobs.merge.formats.base import Task
from xpet.jobs.merge.verify import Data, tested_captions
from xpet.jobs.results.merge import Price
from xpet.jobs.shared import measure
from xpet.jobs.shared import translated_captions as translations
from xpet.jobs.shared.corpus import as_corpus
from xpet.jobs.shared.run_records import check_base, named_images
from xpet.jobs.shared.towers import features_of, text_path, with_images

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.core.config import MethodConfig
    from xpet.methods.combining import TaskVector
    from xpet.methods.stack import Stack

TEST, VALIDATION = "test", "validation"


@dataclass(frozen=True)
class Ingredients:
    """Task vectors of the languages (`completed`), the method that covers all of them, and the base's weights."""

    vectors: Mapping[str, TaskVector]
    method: MethodConfig
    base: Mapping[str, Tensor]

    @property
    def rank(self) -> int:
        """The largest rank of the languages' products; 0 without any."""
        return max(vector.rank for vector in self.vectors.values())

    def delta(self, vector: TaskVector, rank: int | None = None) -> tuple[dict[str, Tensor], MethodConfig]:
        """A task vector as a run holds it, with its settings."""
        from xpet.methods.combining import as_delta

        return as_delta(vector, self.method, self.base, rank)


@dataclass(frozen=True)
class Bench:
    """`parts` are captions with their images' features [images, d]; `slots` say what each language searches with.

    The stack's products have rank `rank`, in which every run and the combination fit, filled up with zeros.
    """

    ingredients: Ingredients
    rank: int
    stack: Stack
    encode: measure.Encode
    slots: Mapping[str, str]
    parts: Mapping[str, tuple[Split, Tensor]]

    @contextmanager
    def holding(self, vector: TaskVector) -> Iterator[None]:
        """The tower changed by a task vector."""
        delta, _ = self.ingredients.delta(vector, self.rank)
        self.stack.load(0, delta)
        with self.stack.one(0):
            yield

    def recall(self, language: str, part: str = TEST, slot: str | None = None) -> float:
        """R@1 of one language by the tower as it is now, with the language's own kind of text unless told."""
        split, images = self.parts[part]
        return measure.recall(self.encode, split.captions[language], slot or self.slots[language], images)

    def validated(self, vector: TaskVector) -> dict[str, float]:
        """R@1 of every language on validation, English included."""
        with self.holding(vector):
            return {language: self.recall(language, VALIDATION) for language in self.slots}

    def prices(self, combined: TaskVector, on_event: OnEvent) -> dict[str, Price]:
        """Every language on the test images: by the base with natural captions, by its own module, by all combined."""
        languages = list(self.slots)
        with self.stack.bare():
            base = {language: self.recall(language, slot="target") for language in languages}
        on_event(Progress("measuring", 1, len(self.ingredients.vectors) + 2, "base"))
        separate = dict(base)
        for done, (language, vector) in enumerate(self.ingredients.vectors.items(), start=2):
            with self.holding(vector):
                separate[language] = self.recall(language)
            on_event(Progress("measuring", done, len(self.ingredients.vectors) + 2, language))
        with self.holding(combined):
            found = {language: self.recall(language) for language in languages}
        on_event(Progress("measuring", len(separate) + 2, len(separate) + 2, "combined"))
        return {
            lang: Price(base[lang], separate[lang], found[lang], found[lang] - separate[lang]) for lang in languages
        }


def prepare(task: Task, ingredients: Ingredients, rank: int, searched: bool, on_event: OnEvent) -> Bench:
    """Load what measuring needs; `searched` takes the validation images, too.

    Raises DataError or ModelError naming --no-verify when captions or images are not there, ModelError for another
    base.
    """
    from dataclasses import replace

    from xpet.methods.build import build_stack
    from xpet.models.checkpoint import load_text_tower
    from xpet.training.device import make_engine

    found = tested_captions(task, on_event)
    model, _, _, test = found
    device = str(make_engine(task.config.device, "fp32").device)
    text = load_text_tower(text_path(model.text))
    splits = {TEST: test, **({VALIDATION: _validation(task, found, on_event)} if searched else {})}
    images = _images(task, found, list(splits.values()), text, device, on_event)
    settings = replace(ingredients.method, rank=rank, alpha=float(rank)) if rank else ingredients.method
    stack = build_stack(text.tower, settings, [1]).to(device)
    slots = {**task.searched, **({PIVOT: "target"} if PIVOT in test.captions else {})}
    parts = {name: (split, rows.to(device)) for (name, split), rows in zip(splits.items(), images, strict=True)}
    return Bench(ingredients, rank, stack, measure.encoder(stack.tower, text.tokenizer), slots, parts)


def _validation(task: Task, found: Data, on_event: OnEvent) -> Split:
    """The validation captions of the runs, with the translations they search with."""
    from xpet.data.splits import split_for

    _, data, corpus, _ = found
    split = named_images(split_for(corpus, VALIDATION), task.runs[0][1].split.validation)
    needed = sorted({slot for slot in task.searched.values() if slot != "target"})
    part = as_corpus(corpus, validation=split)
    options = translations.data_options(data)
    return translations.fill(part, list(task.searched), needed, (), options, on_event).splits[VALIDATION]


def _images(task: Task, found: Data, splits: list[Split], text: object, device: str, on_event: OnEvent) -> list[Tensor]:
    model, data, corpus, _ = found
    try:
        towers = with_images(text, model, data.image_features)  # type: ignore[arg-type]
        check_base(towers, task.runs)
        return features_of(corpus, splits, towers, data, device, on_event)
    except DataError as error:
        raise DataError(f"{error}; --no-verify combines without measuring") from error
    except ModelError as error:
        raise ModelError(f"{error}; --no-verify combines without measuring") from error
