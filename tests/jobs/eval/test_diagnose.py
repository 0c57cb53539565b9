"""The diagnosis on a part of the demo world: displaced languages are geometric, languages without words lexical."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from xpet.core.captions import Corpus, ReadRequest, Split
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.errors import DataError
from xpet.core.events import Progress
from xpet.demo import assets, reader
from xpet.jobs.eval.advise import advise
from xpet.jobs.eval.diagnose import diagnose
from xpet.jobs.results.report import Diagnosis
from xpet.jobs.shared.measure import Encode, encoder, recall

IMAGES = 200


@dataclass(frozen=True)
class Demo:
    """The first pictures of the demo's test split, in five languages."""

    corpus: Corpus
    test: Split
    images: Tensor
    text: Any
    encode: Encode

    @contextmanager
    def without_words(self, language: str, share: float) -> Iterator[None]:
        """The tower no longer knows a share of the tokens that the language uses and English does not."""
        tokenizer, weight = self.text.tokenizer, self.text.tower.transformer.get_input_embeddings().weight
        used = {
            lang: {token for row in tokenizer.encode(self.test.captions[lang].slot("target")) for token in row}
            for lang in (language, "en")
        }
        own = torch.tensor(sorted(used[language] - used["en"]))
        lost = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(1))[: int(share * len(own))]]
        kept = weight.data.clone()
        weight.data[lost] = kept[tokenizer.unknown_id]
        try:
            yield
        finally:
            weight.data.copy_(kept)


@pytest.fixture(scope="module")
def demo() -> Demo:
    from xpet.models.checkpoint import load_text_tower
    from xpet.models.image_tower import load_image_tower

    corpus = reader.read(ReadRequest(languages=("en", "de", "fr", "ja", "pl")))
    test = corpus.splits["test"].take(range(IMAGES))
    assert corpus.pictures is not None
    images = load_image_tower(assets.IMAGE_TOWER).encode([corpus.pictures.open(name) for name in test.images])
    text = load_text_tower(assets.TEXT_TOWER)
    return Demo(corpus, test, images, text, encoder(text.tower, text.tokenizer))


def recognised(diagnosis: Diagnosis) -> float:
    assert diagnosis.word_recognition is not None
    return 100 * diagnosis.word_recognition


@pytest.fixture(scope="module")
def found(demo: Demo) -> dict[str, Diagnosis]:
    return diagnose(demo.encode, demo.text.tokenizer, demo.test, demo.images)


def test_the_demos_languages_are_displaced_not_unknown(demo: Demo, found: dict[str, Diagnosis]) -> None:
    assert {language: d.kind for language, d in found.items()} == {
        "en": "none", "de": "geometric", "fr": "none", "ja": "geometric", "pl": "geometric",
    }  # fmt: skip
    english, japanese = found["en"], found["ja"]
    assert english.alignment == pytest.approx(1)
    assert recognised(english) == 100.0
    assert min(map(recognised, found.values())) > 95
    assert japanese.alignment < 0.5 < found["fr"].alignment
    for name in ("modality_gap", "hubness", "anisotropy"):
        assert getattr(japanese, name) > getattr(found["fr"], name) > getattr(english, name)
    plain = demo.text.tokenizer.encode(demo.test.captions["ja"].slot("target"))
    assert japanese.tokens_per_caption == pytest.approx(sum(len(row) - 2 for row in plain) / IMAGES)
    assert {d.unknown_rate for d in found.values()} == {0.0}


@pytest.mark.parametrize("language", ["fr", "ja"])
def test_a_language_that_loses_its_words_is_lexical(demo: Demo, found: dict[str, Diagnosis], language: str) -> None:
    with demo.without_words(language, 0.6):
        lost = diagnose(demo.encode, demo.text.tokenizer, demo.test, demo.images, [language, "en"], worst=0)
    assert {lang: d.kind for lang, d in lost.items()} == {language: "lexical", "en": "none"}
    assert recognised(lost[language]) < recognised(found[language]) - 10
    assert lost[language].worst == ()


def test_worst_queries_are_shown_with_what_was_found(demo: Demo) -> None:
    events: list[Any] = []
    tokenizer, pictures = demo.text.tokenizer, demo.corpus.pictures
    worst = diagnose(demo.encode, tokenizer, demo.test, demo.images, ["ja"], pictures, 4, events.append)["ja"].worst
    assert events == [Progress("diagnosing", 1, 1, "ja")]
    captions, names = demo.test.captions["ja"], demo.test.images
    assert len(worst) == 4
    assert [w.rank for w in worst] == sorted((w.rank for w in worst), reverse=True)
    scores = torch.nn.functional.cosine_similarity(
        demo.encode(captions.slot("target")).unsqueeze(1), demo.images.unsqueeze(0), dim=2
    )
    for query in worst:
        row = captions.slot("target").index(query.text)
        assert query.image == names[row]
        assert query.english == captions.slot("pivot")[row]
        assert query.rank == int((scores[row] > scores[row, row]).sum()) + 1
        assert query.found == names[int(scores[row].argmax())] != query.image
        assert query.found_caption == captions.slot("target")[names.index(query.found)]
        assert query.thumbnail.startswith("data:image/png;base64,")
        assert query.found_thumbnail not in (None, query.thumbnail)


def test_without_english_captions_the_kind_is_unclear(demo: Demo) -> None:
    only = Split(demo.test.images, {"ja": demo.test.captions["ja"].only(["target"])})
    bare = diagnose(demo.encode, demo.text.tokenizer, only, demo.images, worst=1)["ja"]
    assert (bare.alignment, bare.word_recognition, bare.kind) == (None, None, "unclear")
    assert (bare.worst[0].english, bare.worst[0].thumbnail) == (None, None)


def test_an_image_found_that_has_no_caption(demo: Demo) -> None:
    captions = demo.test.captions["ja"].take([0])
    images = torch.stack([-demo.encode(captions.slot("target"))[0], demo.images[1]])  # its own is as far as can be
    one = Split(demo.test.images[:2], {"ja": captions})
    single = diagnose(demo.encode, demo.text.tokenizer, one, images)["ja"]
    assert (single.kind, single.alignment, single.anisotropy) == ("unclear", None, 1.0)
    assert [(w.rank, w.found, w.found_caption) for w in single.worst] == [(2.0, demo.test.images[1], "")]


def test_the_advisor_on_the_demo(demo: Demo, found: dict[str, Diagnosis]) -> None:
    captions = {**demo.test.captions, "de": demo.test.captions["de"].only(("target", "pivot"))}  # not translated
    test = Split(demo.test.images, captions)
    chosen = {"de": found["de"], "fr": found["fr"], "ja": replace(found["ja"], kind="lexical")}
    given = advise(demo.encode, test, demo.images, chosen, ModelConfig(), DataConfig(), prompts=["native"])
    assert {language: advice.routine for language, advice in given.items()} == {
        "de": "routine1", "fr": None, "ja": "text",
    }  # fmt: skip
    assert given["de"].command == "xpet align --lang de --routine 1 --loss mse-normalized --method lora --shots 100"
    values = {slot: recall(demo.encode, captions["de"], slot, demo.images) for slot in ("target", "pivot")}
    known = recognised(found["de"])
    assert given["de"].why.startswith(
        f"R@1 {values['target']:.1f}, {values['pivot']:.1f} with English captions, "
        f"words recognised {known:.0f} %: its words are known"
    )


class _Unshowable:
    """Pictures that `rgb` refuses, beside features that came from elsewhere."""

    def digest(self, name: str) -> str:
        raise AssertionError("only what is shown is looked at")

    def open(self, name: str) -> Any:
        raise DataError(f"picture {name}: expected a readable picture, found pixels of mode F")


def test_pictures_that_cannot_be_shown_leave_no_thumbnail(demo: Demo, found: dict[str, Diagnosis]) -> None:
    seen = diagnose(demo.encode, demo.text.tokenizer, demo.test, demo.images, ["ja"], _Unshowable(), 2)["ja"]
    assert [(query.thumbnail, query.found_thumbnail) for query in seen.worst] == [(None, None)] * 2
    assert [query.rank for query in seen.worst] == [query.rank for query in found["ja"].worst[:2]]
