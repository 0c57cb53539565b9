"""Routine `text`: pairs from English lines, the frozen anchor, resuming, chains, and what is refused."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.jobs.conftest import ENGLISH, WORDS, World, rows_of, write_table
from tests.rounding import alike
from tests.translation import toy
from xpet.cli import app
from xpet.core.config import AlignConfig, FitConfig, MethodConfig, TextConfig
from xpet.core.errors import ConfigError, DataError, ModelError, XpetError
from xpet.core.rundir import find_runs, read_run
from xpet.data.cleaning import is_held_out, text_hash
from xpet.data.pairs import PairStore
from xpet.data.training_pairs import natural_rows
from xpet.jobs.align import chain, text_features, text_language
from xpet.jobs.align import run as align
from xpet.jobs.align.prepare import AlignSetup, prepare
from xpet.jobs.align.text_language import HELD_OUT_SHARE
from xpet.jobs.align.text_natural import natural_of
from xpet.jobs.eval import run as evaluate
from xpet.jobs.shared.corpus import cut, read_corpus
from xpet.jobs.shared.translation_files import Translation, caption_columns, write_translation
from xpet.models.checkpoint import load_text_tower
from xpet.models.encode import encode_texts

FIT = FitConfig(batch_size=8, steps=6, validate_every=3, device="cpu")
PAIRS = {
    language: {
        english: [foreign]
        for part, own in zip(ENGLISH, words, strict=True)
        for english, foreign in zip(part.split(), own.split(), strict=True)
    }
    for language, words in WORDS.items()
}


def lines() -> list[str]:
    """English lines of the world's words in other orders than its captions have."""
    parts = [part.split() for part in ENGLISH]
    orders = ((3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1))
    return [" ".join(chosen[place] for place in order) for order in orders for chosen in itertools.product(*parts)]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Word dictionaries from English to German and Turkish."""
    folder = tmp_path_factory.mktemp("packages")
    for language, words in PAIRS.items():
        files = toy.files("en", language, words, tmp_path_factory.mktemp(language))
        toy.unpack(folder, f"translate-en_{language}-1_0", files)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "english.txt"
    path.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    return path


def configured(
    world: World, out: Path, packages: Path, corpus: Path | None, *languages: str, **text: Any
) -> AlignConfig:
    chosen = TextConfig(corpus=(str(corpus),) if corpus else None, packages=str(packages), **text)
    config: AlignConfig = world.config(out, *languages, routines=("text",), losses=("mse-normalized",), fit=FIT)
    return replace(config, align_weights=None, text=chosen)


def translated(line: str, language: str) -> str:
    return " ".join(PAIRS[language][word][0] for word in line.split())


def test_pairs_are_translations_beside_the_frozen_base(
    world: World, packages: Path, corpus: Path, tmp_path: Path
) -> None:
    config = configured(world, tmp_path / "run", packages, corpus, "de", "tr")
    made = prepare(config.check(), lambda event: None)
    plain = load_text_tower(world.text)
    for language, pairs in made.pairs.items():
        english = [line for line in lines() if not is_held_out(line, HELD_OUT_SHARE)]
        held = [line for line in lines() if is_held_out(line, HELD_OUT_SHARE)]
        assert len(held) > 5
        assert list(pairs.tokens) == plain.tokenizer.encode([translated(line, language) for line in english])
        assert pairs.val_tokens == plain.tokenizer.encode([translated(line, language) for line in held])
        rows = [5, 0, len(english) - 1]
        expected = encode_texts(plain.tower, plain.tokenizer, [english[row] for row in rows])
        alike(pairs.frozen[rows], expected)
        alike(pairs.val_frozen, encode_texts(plain.tower, plain.tokenizer, held))
        tokens = {token for row in (*pairs.tokens, *pairs.val_tokens) for token in row}
        assert pairs.vocabulary == sorted(tokens)


def test_pictures_of_the_shots_beside_the_text(world: World, packages: Path, corpus: Path, tmp_path: Path) -> None:
    good = configured(world, tmp_path / "runs", packages, corpus, "de", "tr")
    result = align.run(replace(good, image_weight=0.5, fit=replace(FIT, steps=40, validate_every=20)))
    record = read_run(Path(result.runs[0].folder))
    assert record.run.image_weight == 0.5
    last = record.history[-1]
    assert last["loss_clip"] > 0
    assert last["loss"] == pytest.approx(0.5 * last["loss_clip"] + last["loss_align"], rel=1e-5)
    assert last["loss_clip"] < record.history[1]["loss_clip"]


def test_a_run_learns_from_text_alone(world: World, packages: Path, corpus: Path, tmp_path: Path) -> None:
    method = MethodConfig("lora", train=("layernorm", "embeddings"), embedding_rank=4)
    config = replace(
        configured(world, tmp_path / "runs", packages, corpus, "de", "tr"), method=method, learning_rates=(1e-2,),
        fit=replace(FIT, steps=60, validate_every=20),
    )  # fmt: skip
    result = align.run(config)
    record = read_run(Path(result.runs[0].folder))
    assert record.run.image_weight == 0.0
    assert record.text is not None
    assert record.text.corpus == (str(corpus),)
    losses = [entry["val_loss"] for entry in record.history]
    assert losses[-1] < losses[0] - 0.1  # held-out translations find their English lines
    assert {entry["loss_clip"] for entry in record.history[1:]} == {0.0}
    assert [facts["kept"] for facts in result.text.values()] == [len(lines())] * 2
    assert result.text["de"]["validated_on_pictures"] == 0
    of_eval = evaluate.run(world.evaluation(str(tmp_path / "runs")))
    for run in result.runs:
        assert of_eval.systems[-1].languages[run.language].mean.r1.value == pytest.approx(run.aligned, abs=1e-9)  # type: ignore[union-attr]
    again = align.run(replace(config, out=str(tmp_path / "again")))
    assert [run.aligned for run in again.runs] == [run.aligned for run in result.runs]


def test_the_datas_own_captions_need_no_corpus(world: World, packages: Path, tmp_path: Path) -> None:
    config = configured(world, tmp_path / "run", packages, None, "de")
    result = align.run(replace(config, fit=replace(FIT, batch_size=4)))
    facts = result.text["de"]
    assert (facts["read"], facts["validated_on_pictures"]) == (12, 1)  # the captions of its 12 shots


def own_text(world: World, out: Path, root: str | None = None, **text: Any) -> AlignConfig:
    """Routine text on the data's own captions and translations; there are no packages at all."""
    data = world.data() if root is None else world.data(root=root)
    config: AlignConfig = world.config(
        out, "de", routines=("text",), losses=None, fit=replace(FIT, batch_size=4), data=data
    )
    return replace(config, align_weights=None, text=TextConfig(**text))


def test_translations_that_the_data_brings_need_no_package(world: World, tmp_path: Path) -> None:
    config = own_text(world, tmp_path / "run")
    made = prepare(config.check(), lambda event: None)
    plain = load_text_tower(world.text)
    train = {row["image"] for row in rows_of()} & set(made.parts.train.images)
    german = {row["image"]: row["from_pivot"] for row in rows_of() if row["lang"] == "de"}
    english = {row["image"]: row["caption"] for row in rows_of() if row["lang"] == "en"}
    assert len(train) == 12
    pairs = made.pairs["de"]
    assert list(pairs.tokens) == plain.tokenizer.encode([german[image] for image in made.parts.train.images])
    expected = encode_texts(plain.tower, plain.tokenizer, [english[image] for image in made.parts.train.images])
    torch.testing.assert_close(pairs.frozen[list(range(12))], expected, atol=1e-6, rtol=0)
    assert (pairs.lines, pairs.flagged) == (12, 0)
    result = align.run(config)
    assert result.text["de"]["pairs"] == 12


def test_translations_that_the_data_brings_are_judged_like_others(world: World, tmp_path: Path) -> None:
    images = cut(read_corpus(world.data()), world.data()).train.images
    rows = rows_of()
    for row in rows:
        if row["lang"] == "de" and row["image"] == images[3]:
            row["from_pivot"] = "Hund Hund Hund Hund Hund Hund"
    made = prepare(
        own_text(world, tmp_path / "run", str(write_table(tmp_path / "own.jsonl", rows))).check(), lambda event: None
    )
    assert (len(made.pairs["de"].tokens), made.pairs["de"].flagged) == (11, 1)


def test_packages_are_needed_for_lines_without_a_translation_and_where_they_are_asked_for(
    world: World, packages: Path, tmp_path: Path
) -> None:
    images = cut(read_corpus(world.data()), world.data()).train.images
    rows = [{k: v for k, v in row.items() if k != "from_pivot" or row["image"] != images[2]} for row in rows_of()]
    root = str(write_table(tmp_path / "own.jsonl", rows))
    for config in (own_text(world, tmp_path / "run", root), own_text(world, tmp_path / "run", n_best=2)):
        with pytest.raises(ModelError, match="xpet translate --install en-de"):
            prepare(config.check(), lambda event: None)
    made = prepare(own_text(world, tmp_path / "run", packages=str(packages)).check(), lambda event: None)
    german = [" ".join(PAIRS["de"][word][0] for word in line.split()) for line in english_of_train(made)]
    assert list(made.pairs["de"].tokens) == load_text_tower(world.text).tokenizer.encode(german)


def english_of_train(made: AlignSetup) -> list[str]:
    english = {row["image"]: row["caption"] for row in rows_of() if row["lang"] == "en"}
    return [english[image] for image in made.parts.train.images]


@pytest.mark.parametrize("share", [0.2, 0.75])
def test_natural_captions_of_the_shots_are_mixed_in(
    share: float, world: World, packages: Path, corpus: Path, tmp_path: Path
) -> None:
    """A share of the rows are the 12 captions of the shots beside their English ones; those of validation validate."""
    config = configured(world, tmp_path / "run", packages, corpus, "de", natural_share=share)
    made = prepare(config.check(), lambda event: None)
    pairs, plain = made.pairs["de"], load_text_tower(world.text)
    shots, held = made.parts.train.captions["de"], made.parts.validation.captions["de"]
    translations = [translated(line, "de") for line in lines()]  # no line is held out
    again = round(len(translations) * share / (1 - share))
    assert pairs.repeated == again
    assert again / len(pairs.tokens) == pytest.approx(share, abs=0.003)
    natural = [shots.slot("target")[row % 12] for row in range(again)]
    assert list(pairs.tokens) == plain.tokenizer.encode([*translations, *natural])
    assert pairs.tokens[-3:] == plain.tokenizer.encode(natural[-3:])  # slices are lists, as of any sequence
    assert pairs.tokens[:2] == plain.tokenizer.encode(translations[:2])
    rows = [len(lines()) + 13, 7, len(lines()) + 1, len(lines()) - 1]
    english = [shots.slot("pivot")[1], lines()[7], shots.slot("pivot")[1], lines()[-1]]
    expected = encode_texts(plain.tower, plain.tokenizer, english)
    alike(pairs.frozen[rows], expected)
    assert pairs.val_tokens == plain.tokenizer.encode(held.slot("target"))
    expected = encode_texts(plain.tower, plain.tokenizer, held.slot("pivot"))
    alike(pairs.val_frozen, expected)
    assert pairs.vocabulary == sorted({token for row in (*pairs.tokens, *pairs.val_tokens) for token in row})
    facts = align.run(config).text["de"]
    assert (facts["pairs"], facts["natural"], facts["held_out"]) == (len(lines()), 12, 12)
    assert facts["validated_on_pictures"] == 0


def test_few_lines_do_not_crowd_out_natural_captions() -> None:
    assert [natural_rows(900, 100, share) for share in (0.01, 0.1, 0.5)] == [100, 100, 900]


def test_natural_captions_need_english_ones(world: World, packages: Path, corpus: Path, tmp_path: Path) -> None:
    config = configured(world, tmp_path / "run", packages, corpus, "de", natural_share=0.1)
    made = prepare(replace(config, text=replace(config.text, natural_share=0.0)).check(), lambda event: None)
    texts = {slot: made.parts.train.captions["de"].texts[slot] for slot in ("target",)}
    bare = replace(made.parts.train, captions={"de": replace(made.parts.train.captions["de"], texts=texts)})
    with pytest.raises(DataError, match=r"--natural-share: expected captions of de .*, found 0 and 12; leave"):
        natural_of(replace(made.parts, train=bare), "de", set())
    known = {text_hash(text) for text in made.parts.train.captions["de"].slot("pivot")[:3]}
    assert len(natural_of(made.parts, "de", known).train) == 9


class Piped:
    """Standard input that brings some bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)

    def isatty(self) -> bool:
        return False


def test_standard_input_is_kept_by_its_contents(
    world: World, packages: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same text again finds its pairs made; other text makes others; no copy of either stays."""
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    config = configured(world, tmp_path / "run", packages, Path("-"), "de").check()
    plain = gzip.compress(corpus.read_bytes())
    found = []
    for data in (plain, plain, "\n".join(lines()[:90]).encode()):
        monkeypatch.setattr(sys, "stdin", Piped(data))
        made = prepare(config.check(), lambda event: None)
        found.append((made.pairs["de"].lines, len(list((tmp_path / "cache" / "pairs").iterdir()))))
        assert not list(scratch.iterdir())
    assert found == [(len(lines()), 2), (len(lines()), 2), (90, 4)]  # English and German, each once


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "standard input: expected English lines, found none"),
        (b"\n".join(b"ein Hund und eine Katze mit %d Hunden auf dem Tisch" % n for n in range(30)),
         "standard input: expected English text, found lines that look German (30 of 30); pass English captions"),
        (b"a dog\n\xff\xfe\n", "standard input line 2, byte 1: expected UTF-8"),
    ],
)  # fmt: skip
def test_standard_input_that_is_no_use(
    data: bytes, words: str, world: World, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Piped(data))
    with pytest.raises(DataError) as error:
        align.run(configured(world, tmp_path / "run", packages, Path("-"), "de"))
    assert words in str(error.value)


def test_a_terminal_is_no_corpus(world: World, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Piped(b"")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    with pytest.raises(DataError, match="--corpus -: expected English text piped to standard input, found none"):
        align.run(configured(world, tmp_path / "run", packages, Path("-"), "de"))


def test_a_seed_goes_on_from_its_own_run(world: World, tmp_path: Path) -> None:
    """Not from the best of all seeds, so that the seeds of a chain stay apart; a seed without a run takes the best."""
    first = align.run(world.config(tmp_path / "first", "de", seeds=(1, 2)))
    config = world.config(tmp_path / "next", "de", seeds=(2, 1, 3), start=str(tmp_path / "first")).check()
    made = prepare(config.check(), lambda event: None)
    folders = {run.seed: read_run(Path(run.folder)) for run in first.runs}
    for seed in (1, 2):
        for name, value in folders[seed].delta.items():
            assert torch.equal(made.starts["de", seed].delta[name], value)
    assert made.starts["de", 3].run.seed in (1, 2)


def test_no_line_is_read_beyond_the_last_one_used(world: World, packages: Path, corpus: Path, tmp_path: Path) -> None:
    corpus.write_text("\n".join([lines()[0], *lines()]), encoding="utf-8")
    made = prepare(configured(world, tmp_path / "run", packages, corpus, "de", lines=40).check(), lambda _: None)
    counts = made.pairs["de"].counts
    assert (counts["read"], counts["kept"], counts["duplicate"]) == (41, 40, 1)


def test_test_captions_are_left_out_and_counted(world: World, packages: Path, corpus: Path, tmp_path: Path) -> None:
    config = configured(world, tmp_path / "run", packages, corpus, "de")
    test = prepare(config.check(), lambda event: None).parts.test.captions["en"].slot("target")
    corpus.write_text("\n".join([*lines(), *(text.upper() + "." for text in test)]), encoding="utf-8")
    facts = align.run(config).text["de"]
    assert (facts["in_test"], facts["kept"], facts["duplicate"]) == (len(test), len(lines()), 0)
    corpus.write_text("\n".join(test), encoding="utf-8")
    with pytest.raises(DataError, match=r"expected at least 2 English lines .* \(in_test: they are test captions\)"):
        align.run(replace(config, overwrite=True))


class Stopped(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_an_interrupted_corpus_is_taken_up(
    after: int, world: World, packages: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in any chunk of English or of a language, then run again: the same stores, and no chunk twice."""
    for module in (text_language, text_features):
        monkeypatch.setattr(module, "CHUNK", 60)
    config = configured(world, tmp_path / "run", packages, corpus, "de").check()
    expected = stores(config, tmp_path / "whole", monkeypatch)
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "parts"))
    left, append = [after], PairStore.append

    def stopping(self: Any, *arguments: Any, **more: Any) -> None:
        if not left[0]:
            raise Stopped
        left[0] -= 1
        append(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(PairStore, "append", stopping)
        with pytest.raises(Stopped):
            prepare(config.check(), lambda event: None)
    seen: list[int] = []

    def counting(self: Any, rows: Sequence[Any], *arguments: Any, **more: Any) -> None:
        seen.append(len(rows))
        append(self, rows, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(PairStore, "append", counting)
        assert stores(config, tmp_path / "parts", monkeypatch) == expected
    assert sum(seen) == 2 * len(lines()) - min(60 * after, len(lines()))


def stores(config: AlignConfig, cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.setenv("XPET_CACHE", str(cache))
    prepare(config.check(), lambda event: None)
    files = sorted((cache / "pairs").rglob("*.bin"))
    return {path.relative_to(cache).as_posix(): path.read_bytes() for path in files}


def test_several_translations_of_a_line(world: World, corpus: Path, tmp_path: Path) -> None:
    words = {english: [*options, f"{options[0]}x"] for english, options in PAIRS["de"].items()}
    files = toy.files("en", "de", words, tmp_path / "scratch")
    toy.unpack(tmp_path / "packages", "translate-en_de-1_0", files)
    few = tmp_path / "few.txt"
    few.write_text("\n".join(lines()[:40]), encoding="utf-8")
    one = configured(world, tmp_path / "one", tmp_path / "packages", few, "de")
    counts = []
    for n_best in (1, 3):
        made = prepare(replace(one, text=replace(one.text, n_best=n_best)).check(), lambda event: None)
        pairs = made.pairs["de"]
        counts.append(len(pairs.tokens))
        assert len(pairs.val_tokens) == sum(is_held_out(line, HELD_OUT_SHARE) for line in lines()[:40])
    assert counts[0] < counts[1] <= 3 * counts[0]


def test_chained_routines_go_on_from_one_another(world: World, packages: Path, corpus: Path, tmp_path: Path) -> None:
    text = configured(world, tmp_path / "chain", packages, corpus, "de", "tr")
    fit = replace(FIT, steps=1, validate_every=1)
    second = replace(text, routines=("routine1",), text=TextConfig(), fit=fit, learning_rates=(1e-9,))
    result = chain.run_phases([text, second])
    assert {p.name for p in (tmp_path / "chain").iterdir()} == {"1-text", "2-routine1", "chain.json"}
    assert [path.parent.name for path in find_runs(tmp_path / "chain")] == ["2-routine1"] * 2  # it stands for its last
    assert result.folder == str(tmp_path / "chain" / "2-routine1")
    for run in result.runs:
        record = read_run(Path(run.folder))
        first = read_run(next(p for p in (tmp_path / "chain" / "1-text").glob(f"{run.language}-*")))
        assert record.start == str(tmp_path / "chain" / "1-text")
        moved = max(float((record.delta[name] - first.delta[name]).abs().max()) for name in record.delta)
        assert moved < 1e-7
        assert max(float(value.abs().max()) for name, value in first.delta.items() if "lora_B" in name) > 1e-4


def test_a_chain_replaces_what_stood_there_or_leaves_it(
    world: World, packages: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    align.run(world.config(out, "de", "tr"))
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    text = replace(configured(world, out, packages, corpus, "de", "tr"), overwrite=True)
    second = replace(text, routines=("routine1",), text=TextConfig())
    run = align.run

    def files(folder: Path) -> dict[Path, bytes]:
        return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    for routine, stands in (("text", out), ("routine1", tmp_path / "out.unfinished" / "replaced")):

        def failing(config: AlignConfig, on_event: Any, is_phase: bool, routine: str = routine) -> Any:
            if config.routines == (routine,):
                raise Stopped
            return run(config, on_event, is_phase)

        with monkeypatch.context() as patch:
            patch.setattr(chain, "run_phase", failing)
            with pytest.raises(Stopped):
                chain.run_phases([text, second])
        assert files(stands) == before
        assert (tmp_path / "out.unfinished").exists() == (routine == "routine1")
    assert {p.name for p in out.iterdir()} == {"1-text"}  # which is finished
    for _ in range(2):  # its own earlier outcome is replaced as well
        chain.run_phases([text, second])
        assert {p.name for p in out.iterdir()} == {"1-text", "2-routine1", "chain.json"}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".out", "out."))]


def test_what_goes_on_from_a_run_must_not_have_seen_the_test(world: World, tmp_path: Path) -> None:
    align.run(world.config(tmp_path / "first", "de"))
    other = world.config(tmp_path / "next", "de", data=world.data(split_seed=7))
    with pytest.raises(DataError, match=r"expected (test|validation) pictures it has not seen, found \d+ it"):
        align.run(replace(other, start=str(tmp_path / "first")))
    with_words = MethodConfig("lora", train=("embeddings",), embedding_rank=3)
    again = world.config(tmp_path / "next", "de", method=with_words)
    align.run(replace(again, start=str(tmp_path / "first")))
    method = read_run(tmp_path / "next").method
    assert (method.train, method.embedding_rank) == (("layernorm", "embeddings"), 3)


def german(tmp_path: Path) -> Path:
    path = tmp_path / "german.txt"
    path.write_text("\n".join(f"ein Hund und eine Katze mit {n} Bällen auf dem Tisch" for n in range(30)), "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", DataError, "expected English lines, found none"),
        ("\n\n", DataError, "expected at least 2 English lines to train on, found 0 of 2 (2 empty)"),
        ("a dog and a cat\ntwo red cats", DataError, "expected lines whose translations to de are good enough"),
    ],
)
def test_corpora_that_are_no_use(
    text: str, kind: type[XpetError], words: str, world: World, packages: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(text, encoding="utf-8")
    with pytest.raises(kind) as error:
        align.run(configured(world, tmp_path / "run", packages, corpus, "de"))
    assert words in str(error.value)
    assert not (tmp_path / "run").exists()


def test_what_is_refused(world: World, packages: Path, corpus: Path, tmp_path: Path) -> None:
    def refused(config: AlignConfig) -> str:
        with pytest.raises(XpetError) as error:
            align.run(config)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "run").exists()
        return str(error.value)

    good = configured(world, tmp_path / "run", packages, corpus, "de")
    assert "expected English text, found lines that look German (30 of 30); pass English captions" in refused(
        replace(good, text=replace(good.text, corpus=(str(german(tmp_path)),)))
    )
    with pytest.raises(ModelError, match=r"cannot translate en to de: .*xpet translate --install en-de"):
        align.run(replace(good, text=replace(good.text, packages=str(tmp_path))))
    found = refused(replace(good, fit=replace(FIT, batch_size=500)))
    assert found.startswith("de: expected at least a batch of 500 translated lines to train on, found ")
    assert found.endswith("; give more lines or a smaller --batch-size")
    for changes, words in (
        ({"routines": ("routine1",)}, "--corpus, --packages: expected with --routine text, found --routine routine1"),
        ({"losses": ("contrastive-image",)}, "loss 'contrastive-image' needs pictures, routine 'text' has none"),
        ({"text": replace(good.text, n_best=9)}, "n-best must be at most 4 (the translator's beam), found 9"),
        ({"routines": ("text", "routine1")}, "routine 'text' is validated on text here and the others on pictures"),
        ({"losses": ("mse+mse",)}, "loss 'mse+mse': expected every loss once, found mse twice"),
        ({"losses": ("0*mse+cosine",)}, "expected a positive factor before *, found '0'"),
    ):
        with pytest.raises(ConfigError) as error:
            replace(good, **changes).check()  # type: ignore[arg-type]
        assert words in str(error.value)


def test_all_translations_flagged(world: World, corpus: Path, tmp_path: Path) -> None:
    words = {english: [english] for english in PAIRS["de"]}  # a package that does not translate at all
    toy.unpack(tmp_path / "packages", "translate-en_de-1_0", toy.files("en", "de", words, tmp_path / "scratch"))
    with pytest.raises(DataError) as error:
        align.run(configured(world, tmp_path / "run", tmp_path / "packages", corpus, "de"))
    assert "good enough to train and validate on, found 0 and 0 of 216 (216 flagged, 0 too long)" in str(error.value)


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    path = tmp_path / "english.csv.gz"
    rows = "\n".join(["id,caption", *(f"{number},{line}" for number, line in enumerate(lines()))])
    path.write_bytes(gzip.compress(rows.encode()))
    return path


def test_on_the_command_line(
    zipped: Path, world: World, packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "align", "--lang", "de,tr", "--routine", "text,1", "--chain", "--corpus", str(zipped), "--column", "caption",
        "--packages", str(packages), "--model", str(world.text), "--data", "table", "--data-root", str(world.table),
        "--image-features", str(world.features), "--shots", "12", "--val-shots", "12", "--steps", "4",
        "--validate-every", "2", "--batch-size", "8", "--device", "cpu", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert app._run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [run["routine"] for run in document["runs"]] == ["routine1", "routine1"]
    assert app._run([*arguments[:-2], "--dry-run", "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert [(phase["routines"], phase["runs"], phase["steps"], phase["lines"]) for phase in expected["phases"]] == [
        (["text"], 2, 4, 216), (["routine1"], 2, 4, None),
    ]  # fmt: skip
    assert expected["seconds"] > 0
    disk = expected["phases"][0]["disk"]
    assert app._run([*arguments[:-2], "--natural-share", "0.5", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["phases"][0]["disk"] == pytest.approx(disk, rel=0.01)
    assert app._run([*arguments[:-2], "--corpus", "-", "--dry-run"]) != 0
    assert "expected a corpus that can be read twice, found -; put it in a file" in capsys.readouterr().err
    assert app._run([*arguments[:4], "text", *arguments[6:-1], str(tmp_path / "alone")]) == 0
    said = capsys.readouterr()
    assert "R@1 on the test split of table, lora, " in said.out
    assert "English: 216 lines, 216 used; no pictures." in said.out
    assert "Translations left out because they look wrong: none." in said.out


def test_stored_translations_that_are_flagged_are_not_trained_on(world: World, tmp_path: Path) -> None:
    """A flag of the engine's own (`truncated`) is known to the stored file alone."""
    rows = [{k: v for k, v in row.items() if k != "from_pivot"} for row in rows_of()]
    data = world.data(root=str(write_table(tmp_path / "own.jsonl", rows)), translations=str(tmp_path / "made"))
    corpus = read_corpus(data)
    images = cut(corpus, data).train.images
    (column,) = caption_columns(corpus, ("de",), ("from_pivot",))
    german = {row["image"]: row["from_pivot"] for row in rows_of() if row["lang"] == "de"}
    texts = tuple(german[image] for image in corpus.splits["all"].images)
    row = corpus.splits["all"].images.index(images[3])
    write_translation(tmp_path / "made", column, Translation(texts, {row: ("truncated",)}))
    config = own_text(world, tmp_path / "run")
    made = prepare(replace(config, data=data).check(), lambda event: None)
    kept = [german[image] for image in images if image != images[3]]
    assert list(made.pairs["de"].tokens) == load_text_tower(world.text).tokenizer.encode(kept)
    assert made.pairs["de"].flagged == 1


def test_of_several_translations_of_a_line_the_first_that_looks_right_is_taken(world: World, tmp_path: Path) -> None:
    images = cut(read_corpus(world.data()), world.data()).train.images
    rows = rows_of()
    english = {row["image"]: row["caption"] for row in rows if row["lang"] == "en"}
    german = {row["image"]: row["from_pivot"] for row in rows if row["lang"] == "de"}
    for row in rows:  # two pictures with one English caption; in the order of the file
        if row["lang"] == "en" and row["image"] == images[4]:
            row["caption"] = english[images[3]]
        if row["lang"] == "de" and row["image"] == images[3]:
            row["from_pivot"] = "Hund Hund Hund Hund Hund Hund"
    config = own_text(world, tmp_path / "run", str(write_table(tmp_path / "own.jsonl", rows)))
    pairs = prepare(config.check(), lambda event: None).pairs["de"]
    kept = [german[images[4] if image == images[3] else image] for image in images if image != images[4]]
    assert list(pairs.tokens) == load_text_tower(world.text).tokenizer.encode(kept)
    assert pairs.flagged == 0
