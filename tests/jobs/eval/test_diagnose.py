"""The diagnosis: kinds on a constructed tower, of which is known what is wrong; what is shown on a part of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import tiny_text_checkpoint
from xpet.core.captions import Corpus, LanguageCaptions, ReadRequest, Split
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.errors import DataError
from xpet.core.events import Progress
from xpet.core.recovery import mapped
from xpet.demo import assets, reader
from xpet.jobs.eval.advise import advise
from xpet.jobs.eval.diagnose import diagnose, words_of
from xpet.jobs.results.report import Diagnosis
from xpet.jobs.shared.measure import Encode, encoder, recall
from xpet.models.tokenizer import TextTokenizer

IMAGES = 200


@dataclass(frozen=True)
class Demo:
    """The first pictures of the demo's test split, in five languages."""

    corpus: Corpus
    test: Split
    images: Tensor
    text: Any
    encode: Encode


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


@pytest.fixture(scope="module")
def found(demo: Demo) -> dict[str, Diagnosis]:
    return diagnose(demo.encode, demo.text.tokenizer, demo.test, demo.images)


WORDS, PICTURES, D = 40, 400, 24
LETTERS = "あいうえおかきくけこ"
"""Kana, of which words are written without spaces between them."""


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Tower:
    """A tower that adds up the vectors of a caption's words, and whose languages are weak in known ways.

    `lost` words of a language it takes for one and the same; `apart` moves and turns all features of the language.
    """

    lost: int = 0
    apart: float = 0.0
    spaces: bool = True

    def word(self, language: str, number: int) -> str:
        """A word of two letters: Latin ones, or kana."""
        letters = (
            LETTERS if not self.spaces and language != "en" else "abcdefghij" if language == "en" else "klmnopqrst"
        )
        return letters[number // 10] + letters[number % 10]

    def split(self) -> Split:
        """A caption of six words for each picture, the same in English and in the weak language `xx`."""
        chosen = [
            torch.randperm(WORDS, generator=torch.Generator().manual_seed(n))[:6].tolist() for n in range(PICTURES)
        ]
        texts = {
            language: tuple(
                (" " if self.spaces or language == "en" else "").join(self.word(language, w) for w in row)
                for row in chosen
            )
            for language in ("en", "xx")
        }
        captions = {
            language: LanguageCaptions(language, tuple(range(PICTURES)), {"target": own, "pivot": texts["en"]})
            for language, own in texts.items()
        }
        return Split(tuple(f"{number}.png" for number in range(PICTURES)), captions)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Sums of word vectors [texts, D]."""
        vectors = drawn(WORDS, D, seed=1)
        known = vectors.clone()
        known[torch.randperm(WORDS, generator=torch.Generator().manual_seed(2))[: self.lost]] = drawn(D, seed=3)
        turned = torch.linalg.qr(torch.eye(D) + self.apart * drawn(D, D, seed=4) / D**0.5)[0]
        rows = []
        for text in texts:
            english = text[0] in "abcdefghij"
            letters = "abcdefghij" if english else "klmnopqrst" if self.spaces else LETTERS
            digits = [letters.index(letter) for letter in text.replace(" ", "")]
            words = [10 * digits[place] + digits[place + 1] for place in range(0, len(digits), 2)]
            total = (vectors if english else known)[words].sum(dim=0)
            rows.append(total if english else total @ turned + self.apart * drawn(D, seed=5))
        return torch.stack(rows)

    def diagnosed(self, tokenizer: TextTokenizer, resamples: int = 0) -> dict[str, Diagnosis]:
        """The diagnosis of both languages; pictures lie near their English captions."""
        split = self.split()
        images = self.encode(split.captions["en"].slot("target")) + drawn(PICTURES, D, seed=6)
        return diagnose(self.encode, tokenizer, split, images, worst=0, resamples=resamples)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """One that knows letters only."""
    from xpet.models.checkpoint import load_text_tower

    return load_text_tower(tiny_text_checkpoint(tmp_path_factory.mktemp("tiny"))).tokenizer


@pytest.mark.parametrize(("tower", "kind"), [
    (Tower(), "none"),
    (Tower(apart=3.0), "geometric"),
    (Tower(lost=28), "lexical"),
    (Tower(lost=26, spaces=False), "lexical"),
    (Tower(lost=WORDS), "lexical"),
    (Tower(lost=18, apart=3.0), "mixed"),
    (Tower(lost=18, apart=3.0, spaces=False), "mixed"),
])  # fmt: skip
def test_kinds_of_towers_of_which_is_known_what_is_wrong(tower: Tower, kind: str, tokenizer: TextTokenizer) -> None:
    found = tower.diagnosed(tokenizer)
    assert {language: each.kind for language, each in found.items()} == {"en": "none", "xx": kind}
    assert (found["en"].word_recognition, found["en"].closed, found["en"].ridge) == (1.0, None, None)
    weak = found["xx"]
    assert (weak.ridge is None) == (weak.rotation is None) == (weak.closed is None) == (kind == "none")
    if weak.ridge is not None and weak.rotation is not None:
        assert weak.closed == max(weak.ridge.value, weak.rotation.value)
        assert weak.ridge.low is None
    assert (weak.words is None) == (weak.words_p is None) == (kind in ("none", "geometric"))
    assert weak.worst == ()


def test_shares_have_intervals_where_resamples_are_asked_for(tokenizer: TextTokenizer) -> None:
    weak = Tower(lost=18, apart=3.0).diagnosed(tokenizer, resamples=200)["xx"]
    for share in (weak.rotation, weak.ridge):
        assert share is not None
        assert share.low is not None
        assert share.high is not None
        assert share.low < share.value < share.high
        assert 0.01 < share.high - share.low < 0.3


def test_words_are_tokens_and_what_stands_between_spaces(tokenizer: TextTokenizer) -> None:
    from collections import Counter

    found = words_of(["Ein Hund, ein Ball", "あい"], tokenizer)
    assert [word for word in found[0] if isinstance(word, str)] == ["ein", "hund", "ein", "ball"]
    assert [word for word in found[1] if isinstance(word, str)] == ["あい"]
    tokens = [Counter(word for word in row if isinstance(word, int)) for row in found]
    assert tokens == [Counter(row) for row in tokenizer.encode(["Ein Hund, ein Ball", "あい"])]


def test_tokens_and_geometry_on_the_demo(demo: Demo, found: dict[str, Diagnosis]) -> None:
    english, japanese = found["en"], found["ja"]
    assert (english.kind, english.word_recognition) == ("none", 1.0)
    assert english.alignment == pytest.approx(1)
    assert japanese.alignment is not None
    assert japanese.alignment < 1
    assert japanese.modality_gap > english.modality_gap
    plain = demo.text.tokenizer.encode(demo.test.captions["ja"].slot("target"))
    assert japanese.tokens_per_caption == pytest.approx(sum(len(row) - 2 for row in plain) / IMAGES)


def test_the_demos_languages_are_weak_by_words_or_by_place(found: dict[str, Diagnosis]) -> None:
    """Polish words were hardly read; Japanese ones were, before the tower moved on; French were read to the end."""
    polish, japanese, french = (found[language] for language in ("pl", "ja", "fr"))
    assert (french.kind, polish.kind) == ("none", "lexical")
    assert polish.closed is not None
    assert polish.closed < 0.25
    assert polish.words_p is not None
    assert polish.words_p < 0.01
    recognised = [each.word_recognition or 0.0 for each in (polish, japanese, french)]
    assert recognised[0] < 0.6 < recognised[1] < recognised[2]


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
        assert query.thumbnail.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
        assert query.found_thumbnail not in (None, query.thumbnail)


def test_without_english_captions_the_kind_is_unclear(demo: Demo) -> None:
    only = Split(demo.test.images, {"ja": demo.test.captions["ja"].only(["target"])})
    bare = diagnose(demo.encode, demo.text.tokenizer, only, demo.images, worst=1)["ja"]
    assert (bare.alignment, bare.word_recognition, bare.kind) == (None, None, "unclear")
    assert (bare.rotation, bare.ridge, bare.words) == (None, None, None)
    assert (bare.worst[0].english, bare.worst[0].thumbnail) == (None, None)


def test_an_image_found_that_has_no_caption(demo: Demo) -> None:
    captions = demo.test.captions["ja"].take([0])
    images = torch.stack([-demo.encode(captions.slot("target"))[0], demo.images[1]])  # its own is as far as can be
    one = Split(demo.test.images[:2], {"ja": captions})
    single = diagnose(demo.encode, demo.text.tokenizer, one, images)["ja"]
    assert (single.kind, single.alignment, single.anisotropy) == ("unclear", None, 1.0)
    assert [(w.rank, w.found, w.found_caption) for w in single.worst] == [(2.0, demo.test.images[1], "")]


def test_the_advisor_measures_what_it_says(demo: Demo, found: dict[str, Diagnosis]) -> None:
    captions = {**demo.test.captions, "de": demo.test.captions["de"].only(("target", "pivot"))}  # not translated
    test = Split(demo.test.images, captions)
    kinds = {"de": "mixed", "fr": "none", "ja": "lexical"}
    chosen = {language: replace(found[language], kind=kind) for language, kind in kinds.items()}
    given = advise(demo.encode, test, demo.images, chosen, ModelConfig(), DataConfig(), 30, prompts=["native"])
    assert {language: advice.routine for language, advice in given.items()} == {"de": "text", "fr": None, "ja": "text"}
    assert given["de"].command == (
        "xpet align --lang de --routine text --loss mse-normalized --method lora --train layernorm,embeddings"
    )
    features = {slot: demo.encode(captions["de"].slot(slot)) for slot in ("target", "pivot")}
    moved = mapped(demo.images, features["target"], features["pivot"], torch.arange(IMAGES), 30)
    values = {slot: recall(demo.encode, captions["de"], slot, demo.images) for slot in ("target", "pivot")}
    assert found["de"].word_recognition is not None
    assert given["de"].why.startswith(
        f"R@1 {values['target']:.1f}, {values['pivot']:.1f} with English captions, {moved:.1f} with the best map, "
        f"words recognised {100 * found['de'].word_recognition:.0f} %: some of its words are unknown"
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
