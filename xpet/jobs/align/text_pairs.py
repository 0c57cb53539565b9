"""Makes what routine `text` learns from: translations of English lines, beside the lines' frozen features.

Everything goes through stores on disk, a chunk at a time, so that memory does not grow with the corpus and an
interrupted command goes on where it stopped. The English features are computed once for all languages. Several
processes share the work; each thing is made by one of them, and read by all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.argos_codes import argos_code
from xpet.core.captions import PIVOT, in_language
from xpet.core.config import DEMO, TextConfig
from xpet.core.events import OnEvent
from xpet.core.processes import here
from xpet.data.training_pairs import MixedAnchors, MixedTokens, TrainingPairs, natural_rows
from xpet.jobs.align.text_features import english_features
from xpet.jobs.align.text_language import MOST_HELD_OUT, LanguagePairs, Turn
from xpet.jobs.align.text_lines import EnglishLines, check_lines, spooled
from xpet.jobs.align.text_natural import NaturalCaptions
from xpet.jobs.shared.package_folder import package_folder
from xpet.translation.cache import Cache
from xpet.translation.packages import need_chain

if TYPE_CHECKING:
    from xpet.jobs.shared.measure import Encode
    from xpet.models.tokenizer import TextTokenizer


def make_pairs(
    english: EnglishLines,
    languages: Sequence[str],
    encode: Encode,
    width: int,
    tokenizer: TextTokenizer,
    tower: str,
    device: str,
    on_event: OnEvent,
) -> dict[str, TrainingPairs]:
    """The training pairs of every language; `encode` runs the bare tower, whose fingerprint is `tower`, size d `width`.

    Raises DataError for a corpus that is empty, nothing but test captions, or whose translations all look wrong;
    ModelError where a package is missing, naming the command that installs it.
    """
    packages = check_packages(english, languages)
    pairs: dict[str, TrainingPairs] = {}
    with spooled(english) as source, Cache(english.folder) as cache:
        facts = [*source.identity(), tower]
        counts: dict[str, int] = {}
        features = english_features(source, facts, encode, width, counts, on_event)
        check_lines(source, counts)
        encode_once = lru_cache(maxsize=2)(encode)  # languages often share their English captions

        def maker(language: str) -> LanguagePairs:
            return LanguagePairs(source, language, packages, cache, tokenizer, device, facts, on_event)

        _make_shared(maker, languages, counts["kept"], on_event)
        for number, language in enumerate(languages):
            turn = Turn(number, len(languages), counts["kept"])
            pairs[language] = maker(language).pairs(features, counts, turn, on_event)
            if language in english.natural:
                natural = english.natural[language]
                pairs[language] = _with_natural(
                    pairs[language], natural, language, english.config, encode_once, tokenizer
                )
    return pairs


def _make_shared(
    maker: Callable[[str], LanguagePairs], languages: Sequence[str], lines: int, on_event: OnEvent
) -> None:
    """Have several processes make the pairs: all translate a share of each language's lines, then each makes languages.

    One process does nothing here.
    """
    processes = here()
    if processes.world == 1:
        return
    for number, language in enumerate(languages):
        maker(language).translate_share(Turn(number, len(languages), lines), on_event)
    processes.barrier("the translations of English lines")
    turns = processes.turns("the languages to pair")
    for number, language in enumerate(languages):
        if turns.next():
            maker(language).make(Turn(number, len(languages), lines, "pairs"), on_event)
    processes.barrier("the pairs of all languages")


def check_packages(english: EnglishLines, languages: Sequence[str]) -> Path:
    """The folder of the packages; raises ModelError where one is missing, naming the command that installs it.

    A language needs none where every line has a translation that comes with the data.
    """
    folder = package_folder(english.config.packages or (DEMO if english.synthetic else None))
    for language in languages:
        if english.lacks(language):
            need_chain(folder, PIVOT, argos_code(language))
    return folder


def _with_natural(
    pairs: TrainingPairs, natural: NaturalCaptions, language: str, config: TextConfig, encode: Encode,
    tokenizer: TextTokenizer,
) -> TrainingPairs:  # fmt: skip
    """The pairs with natural captions mixed in; validation on text uses natural captions then, too."""
    tokens = tokenizer.encode(in_language((caption for _, caption in natural.train), language))
    repeated = natural_rows(len(pairs.tokens), len(tokens), config.natural_share)
    features = encode(in_language((english for english, _ in natural.train), PIVOT)).float().cpu()
    validation = natural.validation[:MOST_HELD_OUT]
    val_tokens = tokenizer.encode(in_language((caption for _, caption in validation), language))
    mixed = replace(
        pairs, tokens=MixedTokens(pairs.tokens, tokens, repeated),
        frozen=MixedAnchors(pairs.frozen, len(pairs.tokens), features),
        vocabulary=sorted({*pairs.vocabulary, *itertools.chain.from_iterable([*tokens, *val_tokens])}),
        natural=len(tokens), repeated=repeated,
    )  # fmt: skip
    if not config.validates_on_text:
        return mixed
    val_features = encode(in_language((english for english, _ in validation), PIVOT)).float().cpu()
    return replace(mixed, val_tokens=val_tokens, val_frozen=val_features)
