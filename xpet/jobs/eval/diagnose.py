"""`xpet eval --diagnose`: per language the geometry of its embeddings, its words, and its worst queries."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
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

    from xpet.core.recovery import Recovery
    from xpet.core.word_evidence import WordEvidence
    from xpet.models.tokenizer import TextTokenizer

WORD = re.compile(r"\w+")
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
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Diagnosis]:
    """The diagnosis of each language (default: all of `test`) by its natural captions; `images` [images of test, d].

    English captions come from the `pivot` slot; without it `alignment` and `word_recognition` are None and `kind` is
    unclear. Shares that maps close have intervals where `resamples` (drawn by `seed`) are asked for. With `pictures`
    the worst queries get thumbnails. Of several processes each diagnoses a share of the
    languages, and all get every diagnosis. Raises DataError for zero features.
    """
    chosen = list(languages or test.captions)
    encode_once = lru_cache(maxsize=2)(encode)  # languages often share their English captions

    def diagnosed(number: int) -> dict[str, Any]:
        made = _diagnose(encode_once, tokenizer, test, images, chosen[number], pictures, worst, (resamples, seed))
        on_event(Progress("diagnosing", number + 1, len(chosen), chosen[number]))
        return asdict(made)

    diagnoses = here().each("the diagnoses", range(len(chosen)), diagnosed)
    return {lang: build(Diagnosis, made) for lang, made in zip(chosen, diagnoses, strict=True)}


def _diagnose(
    encode: Encode, tokenizer: TextTokenizer, test: Split, images: Tensor, language: str,
    pictures: ImageSource | None, worst: int, drawn: tuple[int, int],
) -> Diagnosis:  # fmt: skip
    import torch

    from xpet.core import diagnosis
    from xpet.core.recovery import recovery

    captions = test.captions[language].complete(("pivot",))
    texts, image_index = captions.slot("target"), torch.tensor(captions.image_index)
    text = encode(texts).to(images)
    alignment, recovered, evidence = None, None, None
    if "pivot" in captions.texts and len(set(captions.image_index)) > 1:
        english = encode(captions.slot("pivot")).to(images)
        alignment = diagnosis.alignment(text, english)
        recovered = recovery(images, text, english, image_index, resamples=drawn[0], seed=drawn[1])
        evidence = _evidence(recovered, words_of(texts, tokenizer))
    missed = diagnosis.worst_queries(images, text, image_index, worst)
    return Diagnosis(
        modality_gap=diagnosis.modality_gap(images, text),
        hubness=diagnosis.hubness(text, images),
        anisotropy=diagnosis.anisotropy(text),
        alignment=alignment,
        word_recognition=recovered.word_recognition / 100 if recovered else None,
        tokens_per_caption=tokenizer.tokens_per_text(texts),
        unknown_rate=tokenizer.unknown_rate(texts),
        kind="none" if language == PIVOT else diagnosis.kind(recovered, evidence),
        worst=tuple(_query(test, captions, m.text, m.rank, m.top, pictures) for m in missed),
        **(_causes(recovered, evidence) if recovered and language != PIVOT else {}),
    )


def words_of(texts: Sequence[str], tokenizer: TextTokenizer) -> list[list[Hashable]]:
    """The words of each text: its token numbers, and what stands between spaces and punctuation."""
    tokens = tokenizer.encode(texts)
    return [[*row, *WORD.findall(text.casefold())] for row, text in zip(tokens, texts, strict=True)]


def _evidence(recovered: Recovery, words: Sequence[Sequence[Hashable]]) -> WordEvidence | None:
    """What the words of all captions say about the rest of the gap; None where there is no rest to speak of."""
    from xpet.core.diagnosis import NO_GAP
    from xpet.core.word_evidence import word_evidence

    if recovered.rest < NO_GAP:
        return None
    used = [words[row] for row in recovered.rows.tolist()]
    return word_evidence(used, recovered.picture, recovered.deficit, recovered.shortfall)


def _causes(recovered: Recovery, evidence: WordEvidence | None) -> dict[str, Any]:
    """What maps and words say about the gap, as fields of a diagnosis; nothing of languages that have none."""
    from xpet.core.diagnosis import NO_GAP

    if recovered.gap < NO_GAP:
        return {}
    closed = {"closed": recovered.closed.value, "rotation": recovered.rotation, "ridge": recovered.ridge}
    return closed if evidence is None else {**closed, "words": evidence.explained, "words_p": evidence.p}


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
