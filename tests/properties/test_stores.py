"""What is put into a store, a record or a pack is what comes out of it, whoever else writes at the same time."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.test_readers import folder
from tests.run_records import run_record
from xpet.core.errors import DataError
from xpet.core.files import write_file
from xpet.core.language_pack import PackEntry, pack_bytes, read_pack
from xpet.core.run_record import RunRecord, SplitNames, documents_of, record_of
from xpet.core.rundir import read_run, write_run
from xpet.data.pair_files import map_pairs, read_state
from xpet.data.pairs import PairStore
from xpet.translation.cache import Cache, Entry

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
FLAGS = st.lists(st.sampled_from(("empty", "repeated", "copied")), max_size=2, unique=True).map(tuple)
ENTRY = st.builds(Entry, WORDS, FLAGS, st.booleans())


@given(batches=st.lists(st.tuples(st.sampled_from("ab"), st.dictionaries(WORDS, ENTRY, max_size=5)), max_size=5))
def test_the_first_translation_of_a_text_is_kept(batches: list[tuple[str, dict[str, Entry]]]) -> None:
    kept: dict[tuple[str, str], Entry] = {}
    with folder() as where:
        for scope, entries in batches:
            with Cache(where) as cache:
                cache.put(scope, entries.items())
            kept = {**{(scope, text): entry for text, entry in entries.items()}, **kept}
        texts = sorted({text for _, text in kept}) + ["\0never put"]
        with Cache(where) as cache:
            for scope in "ab":
                found = cache.get(scope, texts)
                assert found == {text: entry for (own, text), entry in kept.items() if own == scope}


@given(first=st.dictionaries(WORDS, ENTRY, max_size=20), second=st.dictionaries(WORDS, ENTRY, max_size=20))
def test_two_writers_of_one_cache(first: dict[str, Entry], second: dict[str, Entry]) -> None:
    with folder() as where:
        problems: list[BaseException] = []

        def write(entries: dict[str, Entry]) -> None:
            try:
                with Cache(where) as cache:
                    for item in entries.items():
                        cache.put("scope", [item])
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=write, args=(entries,)) for entries in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Cache(where) as cache:
            found = cache.get("scope", [*first, *second])
    assert problems == []
    assert found.keys() == {*first, *second}
    assert all(entry in (first.get(text), second.get(text)) for text, entry in found.items())


ROW = st.lists(st.integers(0, 2**32 - 1), max_size=6)


@given(chunks=st.lists(st.lists(ROW, max_size=4), max_size=5), reopened=st.booleans(), width=st.integers(1, 3))
def test_pairs_are_read_in_the_order_in_which_they_were_appended(
    chunks: list[list[list[int]]], reopened: bool, width: int
) -> None:
    rows = [row for chunk in chunks for row in chunk]
    features = torch.arange(len(rows) * width, dtype=torch.float32).view(len(rows), width) / 7
    with folder() as where:
        store, done = PairStore(where / "pairs", "key", width), 0
        for number, chunk in enumerate(chunks):
            if reopened:
                store.close()
                store = PairStore(where / "pairs", "key", width)
            store.append(chunk, features[done : done + len(chunk)], number + 1, {"seen": number})
            done += len(chunk)
        store.close()
        state = read_state(where / "pairs")
        found = map_pairs(where / "pairs", state)
        assert list(found.tokens) == rows
        assert torch.equal(found.features[:], features) if rows else len(found.features) == 0
        assert (state.rows, state.consumed) == (len(rows), len(chunks))
        assert PairStore(where / "pairs", "other key", width).consumed == 0


FLOAT = st.floats(0, 100)
NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def records(draw: Any) -> RunRecord:
    """Records with other figures and names than the sample's."""
    sample = run_record({"a.lora_A": torch.tensor(draw(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=4)))})
    language = draw(st.sampled_from(("de", "tr", "zh-hant", "sr-latn", "english 2", "日本語")))
    rate, seed = draw(st.floats(1e-6, 1)), draw(st.integers(0, 2**63 - 1))
    run = replace(sample.run, language=language, learning_rate=rate, seed=seed)
    metrics = replace(
        sample.metrics, language=language, learning_rate=rate, seed=seed, aligned=draw(FLOAT),
        translated_before=draw(st.none() | FLOAT), validation=draw(st.dictionaries(NAME, FLOAT, max_size=3)),
    )  # fmt: skip
    names = draw(st.lists(NAME, min_size=3, max_size=8, unique=True))
    split = SplitNames((names[0],), (names[1],), draw(st.sampled_from((None, tuple(names[2:])))))
    history = draw(st.lists(st.fixed_dictionaries({"step": st.integers(0, 99), "val_mrr": FLOAT}), max_size=3))
    return replace(sample, run=run, metrics=metrics, split=split, history=history)


def same(one: RunRecord, other: RunRecord) -> bool:
    """Whether two records say the same; tensors have no equality of their own."""
    tensors = one.delta.keys() == other.delta.keys() and all(
        torch.equal(one.delta[name], other.delta[name]) for name in one.delta
    )
    plain = [json.loads(json.dumps(documents_of(record))) for record in (one, other)]
    return (
        tensors and plain[0] == plain[1] and replace(one, delta={}, history=()) == replace(other, delta={}, history=())
    )


@given(record=records())
def test_a_record_is_read_as_it_was_written(record: RunRecord) -> None:
    plain = json.loads(json.dumps(documents_of(record)))
    assert same(record_of(Path("x"), plain, record.delta), record)
    with folder() as where:
        write_run(where / "run", record)
        assert same(replace(read_run(where / "run"), metrics=record.metrics), record)
        write_file(where / "a.xpet", pack_bytes([PackEntry(record.language, record)]))
        (entry,) = read_pack(where / "a.xpet")
        assert entry.name == record.language
        assert same(entry.record, record)


@given(record=records(), data=st.data())
def test_a_record_without_a_field_or_with_another_kind_is_told(record: RunRecord, data: st.DataObject) -> None:
    plain = json.loads(json.dumps(documents_of(record)))
    document = data.draw(st.sampled_from(("config", "metrics", "environment", "split")))
    name = data.draw(st.sampled_from(sorted(plain[document])))
    plain[document][name] = data.draw(st.sampled_from((None, [], {}, "", -1, True, [[1]], {"a": {}})))
    told = f"x/{document}.json: "
    try:
        record_of(Path("x"), plain, record.delta)
    except DataError as error:
        told = str(error)
    assert told.startswith(f"x/{document}.json: ")


def test_the_long_form_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    from hypothesis import settings

    assert settings.get_profile("long").max_examples == 1000
    assert settings.get_profile("short").derandomize
