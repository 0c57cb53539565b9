"""`xpet eval --diagnose`: per language the geometry of its embeddings, its tokens, and its worst queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT, ImageSource, LanguageCaptions, Split
from xpet.core.errors import DataError
from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.processes import here
from xpet.core.typed import build
from xpet.jobs.results.report import Diagnosis, WorstQuery
from xpet.jobs.shared.measure import Encode

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.models.tokenizer import TextTokenizer

WORST = 10
"""Worst queries that are shown of a language."""


def diagnose(
    encode: Encode,
    tokenizer: TextTokenizer,
    test: Split,
    images: Tensor,
    languages: Sequence[str] | None = None,
    pictures: ImageSource | None = None,
    worst: int = WORST,
    on_event: OnEvent = ignore,
) -> dict[str, Diagnosis]:
    """The diagnosis of each language (default: all of `test`) by its natural captions; `images` [images of test, d].

    English captions come from the `pivot` slot; without it `alignment` and `word_recognition` are None and `kind` is
    unclear. With `pictures` the worst queries get thumbnails. Of several processes each diagnoses a share of the
    languages, and all get every diagnosis. Raises DataError for zero features.
    """
    chosen = list(languages or test.captions)
    encode_once = lru_cache(maxsize=2)(encode)  # languages often share their English captions

    def diagnosed(number: int) -> dict[str, Any]:
        made = _diagnose(encode_once, tokenizer, test, images, chosen[number], pictures, worst)
        on_event(Progress("diagnosing", number + 1, len(chosen), chosen[number]))
        return asdict(made)

    diagnoses = here().each("the diagnoses", range(len(chosen)), diagnosed)
    return {lang: build(Diagnosis, made) for lang, made in zip(chosen, diagnoses, strict=True)}


def _diagnose(
    encode: Encode, tokenizer: TextTokenizer, test: Split, images: Tensor, language: str,
    pictures: ImageSource | None, worst: int,
) -> Diagnosis:  # fmt: skip
    import torch

    from xpet.core import diagnosis

    captions = test.captions[language].complete(("pivot",))
    texts, image_index = captions.slot("target"), torch.tensor(captions.image_index)
    text = encode(texts).to(images)
    alignment, recovered = None, None
    if "pivot" in captions.texts and len(set(captions.image_index)) > 1:
        english = encode(captions.slot("pivot")).to(images)
        alignment = diagnosis.alignment(text, english)
        recovered = diagnosis.recovery(images, text, english, image_index)
    missed = diagnosis.worst_queries(images, text, image_index, worst)
    return Diagnosis(
        modality_gap=diagnosis.modality_gap(images, text),
        hubness=diagnosis.hubness(text, images),
        anisotropy=diagnosis.anisotropy(text),
        alignment=alignment,
        word_recognition=recovered.word_recognition / 100 if recovered else None,
        tokens_per_caption=tokenizer.tokens_per_text(texts),
        unknown_rate=tokenizer.unknown_rate(texts),
        kind="none" if language == PIVOT else diagnosis.kind(recovered),
        closed=recovered.closed if recovered and language != PIVOT else None,
        worst=tuple(_query(test, captions, m.text, m.rank, m.top, pictures) for m in missed),
    )


def _query(
    test: Split, captions: LanguageCaptions, row: int, rank: float, top: int, pictures: ImageSource | None
) -> WorstQuery:
    """The record of the query in caption row `row`, which finds its image at `rank`; image `top` comes first."""
    texts, english = captions.slot("target"), captions.texts.get("pivot")
    of_top = (text for text, image_index in zip(texts, captions.image_index, strict=True) if image_index == top)
    right, top_image = test.images[captions.image_index[row]], test.images[top]
    return WorstQuery(
        text=texts[row], image=right, rank=rank, found=top_image, found_caption=next(of_top, ""),
        english=english[row] if english else None,
        thumbnail=_thumbnail(pictures, right), found_thumbnail=_thumbnail(pictures, top_image),
    )  # fmt: skip


def _thumbnail(pictures: ImageSource | None, name: str) -> str | None:
    """A thumbnail of a picture; None without pictures, or where this one cannot be read."""
    from xpet.data.thumbnails import thumbnail

    try:
        return None if pictures is None else thumbnail(pictures.open(name))
    except DataError:  # the figures do not depend on it
        return None
