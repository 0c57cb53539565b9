"""Measures what needs no training: the base by every text, and the best closed-form map of what a routine learns from.

The map is fitted on the captions that the runs of the routine have, beside their English ones, and chosen on their
validation: what a module must gain more than to be worth its training. Each is measured once for all runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT
from xpet.core.config import AlignPlan
from xpet.core.events import OnEvent, Progress
from xpet.core.map_score import MapScore
from xpet.core.processes import here
from xpet.core.routines import ROUTINES
from xpet.jobs.shared import measure
from xpet.jobs.shared.corpus import Parts

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.data.training_pairs import TrainingPairs
    from xpet.methods.stack import Stack
    from xpet.models.tokenizer import TextTokenizer

MOST_PAIRS = 5000
"""Pairs that a map is fitted on at most, evenly spread over all: five times as many changed a ridge map by 5 points."""
PIVOT_SLOT = "pivot"
KEPT = 6
"""Sets of texts whose features are kept: those of one search, and English captions, which serve many languages."""


def measure_untrained(
    config: AlignPlan,
    parts: Parts,
    images: Mapping[str, Tensor],
    pairs: Mapping[str, TrainingPairs],
    tokenizer: TextTokenizer,
    stack: Stack,
    on_event: OnEvent,
) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], MapScore]]:
    """R@1 of the base in percent by language and slot, and the best map by language and routine.

    `images` are features by part, [images of the part, d] each, `pairs` what routine `text` learns from by language.
    Of several processes each measures a share, and all get everything.
    """
    test = parts.test
    searches = [(PIVOT, "target")] if PIVOT in test.captions else []
    for language in config.languages:
        searches += [(language, slot) for slot in ("target", "to_pivot") if slot in test.captions[language].texts]
    searches = list(dict.fromkeys(searches))
    maps = _Maps(config, parts, images, pairs, measure.token_encoder(stack.tower, tokenizer),
                 lru_cache(maxsize=KEPT)(measure.encoder(stack.tower, tokenizer)))  # fmt: skip

    def measured(number: int) -> list[Any]:
        language, slot = searches[number]
        recall = measure.recall(maps.encode, test.captions[language], slot, images["test"])
        on_event(Progress("zero-shot", number + 1, len(searches), language))
        return [recall, {} if language == PIVOT else maps.scores(language, slot)]

    with stack.bare():
        values = here().each("zero-shot", range(len(searches)), measured)
    zero_shot = {search: recall for search, (recall, _) in zip(searches, values, strict=True)}
    scores = {
        (language, routine): MapScore(**score)
        for (language, _), (_, by_routine) in zip(searches, values, strict=True)
        for routine, score in by_routine.items()
    }
    return zero_shot, scores


@dataclass(frozen=True)
class _Maps:
    """Fits, chooses and measures maps; the fields are those of `measure_untrained`.

    `encode` must keep what it encoded last: test captions are searched with as they are, and once more through a map.
    """

    config: AlignPlan
    parts: Parts
    images: Mapping[str, Tensor]
    pairs: Mapping[str, TrainingPairs]
    encode_tokens: measure.EncodeTokens
    encode: measure.Encode

    def scores(self, language: str, slot: str) -> dict[str, dict[str, Any]]:
        """The best map of each routine that searches with a slot, JSON-ready; none where there are no pairs to fit."""
        routines = [ROUTINES[name] for name in self.config.routines if ROUTINES[name].evaluation == slot]
        by_kind = {kind: self._best(language, slot, kind) for kind in {routine.text_only for routine in routines}}
        found = {routine.name: by_kind[routine.text_only] for routine in routines}
        return {name: asdict(score) for name, score in found.items() if score is not None}

    def _best(self, language: str, slot: str, text_only: bool) -> MapScore | None:
        """The map that is best on validation; fitted on lines, or on captions that all routines but `text` share."""
        from xpet.core.linear_map import best, candidates
        from xpet.core.metrics import retrieval

        fitted_on = self._lines(language) if text_only else self._captions(language, slot)
        if fitted_on is None:
            return None
        images, texts, image_index = self._validation(language, slot, text_only)
        chosen = best(candidates(*fitted_on), lambda each: retrieval(images, each(texts).to(images), image_index).mrr)
        captions = self.parts.test.captions[language]
        r1 = measure.recall(lambda test: chosen.map(self.encode(test).float()), captions, slot, self.images["test"])
        return MapScore(chosen.name, chosen.strength, len(fitted_on[0]), r1)

    def _captions(self, language: str, slot: str) -> tuple[Tensor, Tensor] | None:
        """Features [pairs, d] of the training captions by a slot, and of their English ones; None without two."""
        captions = self.parts.train.captions[language].complete((slot, PIVOT_SLOT))
        if PIVOT_SLOT not in captions.texts or len(captions.image_index) < 2:
            return None
        captions = captions.take(spread(len(captions.image_index)))
        return self.encode(captions.slot(slot)).float(), self.encode(captions.slot(PIVOT_SLOT)).float()

    def _lines(self, language: str) -> tuple[Tensor, Tensor]:
        """Features [pairs, d] of the translated lines of a language, and of the English lines."""
        pairs = self.pairs[language]
        rows = spread(len(pairs.tokens))
        return self.encode_tokens([pairs.tokens[row] for row in rows]).float(), pairs.frozen[rows].float()

    def _validation(self, language: str, slot: str, text_only: bool) -> tuple[Tensor, Tensor, Tensor]:
        """What a map is chosen on, as runs are: images [n, d] or English lines, texts [m, d], and the image of each."""
        import torch

        if text_only and self.config.text.validates_on_text:
            pairs = self.pairs[language]
            return pairs.val_frozen, self.encode_tokens(pairs.val_tokens).float(), torch.arange(len(pairs.val_tokens))
        captions = self.parts.validation.captions[language].complete((slot,))
        return self.images["validation"], self.encode(captions.slot(slot)).float(), torch.tensor(captions.image_index)


def spread(count: int) -> list[int]:
    """Rows of `count`, evenly spread and at most MOST_PAIRS."""
    kept = min(count, MOST_PAIRS)
    return [row * count // kept for row in range(kept)]
