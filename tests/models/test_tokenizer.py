"""The tokenizer wrapper: limits, padding, unknown tokens, reading SentencePiece files."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_text_checkpoint, tiny_tokenizer
from xpet.core.errors import ModelError
from xpet.models.checkpoint import load_text_tower
from xpet.models.encode import encode_texts
from xpet.models.tokenizer import TextTokenizer, load_tokenizer


@pytest.mark.parametrize(("base", "first", "last"), [("xlm-roberta", 0, 2), ("bert", 2, 3)])
def test_long_text_is_cut_to_the_position_table_and_runs(tmp_path: Path, base: str, first: int, last: int) -> None:
    loaded = load_text_tower(tiny_text_checkpoint(tmp_path / "ck", base))
    rows = loaded.tokenizer.encode(["dog " * 10_000, "x" * 50_000, ""])
    assert [len(row) for row in rows[::2]] == [64, 2]
    assert all(len(row) <= 64 and (row[0], row[-1]) == (first, last) for row in rows)
    features = encode_texts(loaded.tower, loaded.tokenizer, ["dog " * 10_000, "", "\ud800 broken", "\0"])
    assert features.isfinite().all()


def test_padding() -> None:
    ids, mask = TextTokenizer(tiny_tokenizer(), 64, 1).pad([[0, 7, 2], [0, 2]])
    assert ids.tolist() == [[0, 7, 2], [0, 2, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert ids.dtype == mask.dtype == torch.int64
    assert [tuple(t.shape) for t in TextTokenizer(tiny_tokenizer(), 64, 1).pad([])] == [(0, 0), (0, 0)]


def test_unknown_rate() -> None:
    tokenizer = TextTokenizer(tiny_tokenizer(), 64, 1)
    assert tokenizer.unknown_rate(["a red dog"]) == 0.0
    assert tokenizer.unknown_rate([]) == tokenizer.unknown_rate([""]) == 0.0
    assert tokenizer.unknown_rate(["a 犬"]) == pytest.approx(1 / 3)  # a, the word mark, an unknown character


def test_a_tokenizer_that_adds_nothing_still_gives_a_token() -> None:
    plain = tiny_tokenizer()
    plain.post_processor = None  # type: ignore[assignment]
    assert TextTokenizer(plain, 64, 1).encode([""]) == [[1]]


def test_transformers_own_wrapper_is_accepted_and_agrees() -> None:
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer())
    texts = ["a red dog", "Überraschung!", ""]
    expected = wrapped(texts)["input_ids"]
    assert TextTokenizer(wrapped, 64, 1).encode(texts) == expected


def test_saved_files_read_back_through_transformers(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = TextTokenizer(tiny_tokenizer("bert"), 10, 0)
    tokenizer.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert (again.pad_token, again.pad_token_id, again.model_max_length) == ("[PAD]", 0, 10)
    assert again("Ein Überzug", truncation=True)["input_ids"] == tokenizer.encode(["Ein Überzug"])[0]
    assert json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["truncation"] is None
    assert len(tokenizer.encode(["dog " * 50])[0]) == 10  # saving leaves the limit in place


def test_tokens_per_text_counts_no_special_tokens_and_stops_at_the_limit() -> None:
    tokenizer = TextTokenizer(tiny_tokenizer(), 12, 1)
    assert tokenizer.tokens_per_text(["dog cat", "dog", "red dog cat"]) == 2.0
    assert tokenizer.tokens_per_text(["dog " * 50]) == 12.0
    assert tokenizer.tokens_per_text([]) == 0.0


def test_damaged_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", ')
    with pytest.raises(ModelError, match=r"cannot read .*tokenizer\.json: damaged"):
        load_tokenizer(tmp_path, 64, 1)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\x0a\xff\xff")
    with pytest.raises(ModelError, match=r"cannot read .*sentencepiece\.bpe\.model: damaged"):
        load_tokenizer(tmp_path, 64, 1)


def test_sentencepiece_file_alone_gives_xlm_roberta_ids(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    words = "a red dog blue cat house tree small big Haus grün ein die kleiner 赤い 犬 ﬁsh ＡＢＣ".split()
    rng = random.Random(0)
    lines = [" ".join(rng.choices(words, k=6)) for _ in range(400)]
    (tmp_path / "corpus.txt").write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"), model_prefix=str(tmp_path / "m"), vocab_size=70, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    (tmp_path / "m.model").rename(tmp_path / "sentencepiece.bpe.model")
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sentencepiece.bpe.model"))
    texts = [*lines[:100], "Ein  grünes Haus ＡＢＣ ﬁsh!", " leading and trailing ", "Ω unknown"]
    rows = load_tokenizer(tmp_path, 512, 1).encode(texts)
    for text, row in zip(texts, rows, strict=True):
        assert row == [0, *(i + 1 if i else 3 for i in oracle.encode(text)), 2]
