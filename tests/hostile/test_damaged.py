"""What the fuzzer found, each as small as it can be: damage that is told, not met as an error of Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fuzz.stored_doors import ALL_DOORS
from tests.run_records import run_record
from tests.tiny import tiny_text_checkpoint
from xpet.core.errors import DataError, ModelError, XpetError
from xpet.core.json_files import parsed
from xpet.core.rundir import read_run, write_run
from xpet.data.pair_files import read_state
from xpet.data.pairs import PairStore
from xpet.models.checkpoint import load_text_tower

DEEP = "[" * 100_000


def changed(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_a_token_around_texts_that_the_tower_does_not_have(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "text")
    changed(folder / "tokenizer.json", lambda d: d["post_processor"]["special_tokens"]["</s>"].update(ids=[1 << 31]))
    with pytest.raises(ModelError, match="expected ids below .*, found 2147483648"):
        load_text_tower(folder)


def test_a_tokenizer_that_panics(tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "text")
    changed(folder / "tokenizer.json", lambda d: d["post_processor"]["single"][0]["SpecialToken"].update(id="u"))
    with pytest.raises(ModelError, match=r"cannot read .*tokenizer\.json: damaged or truncated"):
        load_text_tower(folder)


@pytest.mark.parametrize("offsets", [[3, 1, 9], [1 << 40, 6, 9], [(1 << 64) - 1, 6, 9]])
def test_pairs_that_do_not_stand_one_behind_the_other(offsets: list[int], tmp_path: Path) -> None:
    with PairStore(tmp_path, "key", 2) as store:
        store.append([[1, 2, 3]] * 3, torch.ones(3, 2), 3)
    assert read_state(tmp_path).rows == 3
    (tmp_path / "offsets.bin").write_bytes(b"".join(number.to_bytes(8, "little") for number in offsets))
    with pytest.raises(DataError, match="expected rows one behind the other, found others; the store is damaged"):
        read_state(tmp_path)
    with PairStore(tmp_path, "key", 2) as store:
        assert len(store) == 0


@pytest.mark.parametrize("name", ["width", "rows", "tokens", "consumed"])
def test_a_pair_store_that_counts_with_true(name: str, tmp_path: Path) -> None:
    with PairStore(tmp_path, "key", 1) as store:
        store.append([[1]], torch.ones(1, 1), 1)
    changed(tmp_path / "pairs.json", lambda d: d.update({name: True}))
    with pytest.raises(DataError, match=f"expected the state of a pair store, found {name} True"):
        read_state(tmp_path)


def test_json_that_is_nested_too_deeply() -> None:
    for text in (DEEP, '{"a":' * 100_000, DEEP.encode()):
        with pytest.raises(ValueError):  # what it says depends on Python
            parsed(text)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "environment.json", "split.json", "history.jsonl"])
def test_a_run_that_is_nested_too_deeply(name: str, tmp_path: Path) -> None:
    write_run(tmp_path / "run", run_record({"a": torch.zeros(2)}))
    (tmp_path / "run" / name).write_text(DEEP)
    with pytest.raises(DataError, match=f"cannot read .*{name}: "):
        read_run(tmp_path / "run")


NESTED = {
    "split file": "split.json", "chain": "sweep/chain.json", "result": "result.json", "table.jsonl": "table.jsonl",
    "configuration file": "xpet.toml", "stopped sweep": "sweep.unfinished/sweep.json", "package index": "index.json",
    "packages": "packages/translate-de_en-1_0/metadata.json",
    "text tower, xlm-roberta, safetensors": "text/config.json",
    "translate.jsonl": "in.jsonl", "shards": "text/model.safetensors.index.json", "pyproject.toml": "pyproject.toml",
    "image tower": "image/preprocessor_config.json", "corpus.jsonl": "corpus.jsonl",
    "PEFT adapter": "out/adapter_config.json",
    "older tokenizer of CLIP": "clip/vocab.json",
}  # fmt: skip
"""By door, a file of JSON (or TOML) behind it."""


@pytest.mark.parametrize("name", NESTED)
def test_a_file_that_is_nested_too_deeply(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    if name == "package index":
        monkeypatch.setattr("xpet.translation.index._fetch", None)  # the door's own stands in for it, until this ends
    ALL_DOORS[name].make(tmp_path)
    path = tmp_path / NESTED[name]
    assert path.exists()
    path.write_text(("[tool.xpet]\na = " if path.suffix == ".toml" else "") + DEEP)
    with pytest.raises(XpetError) as error:
        ALL_DOORS[name].read(tmp_path)
    assert len(str(error.value)) < 1500


def test_names_that_are_too_long_are_told(tmp_path: Path) -> None:
    from tests.command import run_here

    long = "x" * 5000
    for words in (
        ["eval", f"runs/{long}"],
        ["merge", long, "--out", "a"],
        ["translate", long, "--from", "de", "--to", "en"],
    ):
        done = run_here(*words, folder=tmp_path)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr
        assert b"unexpected" not in done.stderr


def test_a_result_whose_systems_have_other_languages_is_drawn(tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.cli import reports
    from xpet.cli.reports import render

    report = reports.full()
    first = replace(
        report.systems[0], languages={**report.systems[0].languages, "a\ud800b": report.systems[0].languages["de"]}
    )
    less = replace(first, languages={name: found for name, found in first.languages.items() if name != "tr"})
    text = render(replace(report, systems=(less, *report.systems[1:])), "html")
    assert text.count("<svg") == 1
