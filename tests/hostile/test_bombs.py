"""Small files cannot fill the memory: each is refused within a bound, or read within it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults import child
from tests.hostile.bombs import CASES, explode

MOST = 160
"""Mebibytes that any of them may take while it is read; each would take a gibibyte or far more."""
FOUND = {
    "corpus: a line": "line 1: expected a line of text, found more than 1,048,576 bytes",
    "corpus: 10 GB": "line 1: expected a line of text, found more than 1,048,576 bytes",
    "corpus: rows": "more than 200 to 1; if you trust the file, unpack it first",
    "table: a row of many lines": "line 2: expected a well-formed row, found one of more than 4,194,304 characters",
    "table: a line": "expected a readable file, found more than 16,777,216 bytes in line 1",
    "table: 10 GB": "expected a readable file, found more than 16,777,216 bytes in line 1",
    "captions": "raw/train.de.gz: expected a readable file, found",
    "a file to translate": "expected lines of text, found one of more than 16,777,216 bytes",
    "corpus": "bytes packed in", "table": "bytes packed in", "picture": "expected a readable picture, found",
    "package: more than its list says": "Bad CRC-32", "package: a packing": "expected stored or deflated files",
    "package: a list": "expected at most 1000 members, found a list of", "package": "expected at most 2 GiB, packed at",
    "PyTorch: a bytearray": "(a bytearray)", "PyTorch: packed": "(compressed members)",
    "PyTorch: one number": "expected a number stored for each weight, found fewer in lora_A",
    "safetensors": "damaged or truncated", "NumPy": "Unable to allocate",
}  # fmt: skip
"""How the name of a case begins, and what its error says; the first that fits counts."""
READ = {"picture: many frames": "(2000, 2000)"}
"""Cases that are no error, and what is read."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bombs")
    done = child.apart(lambda: explode(folder), folder, folder / "notes")  # where nothing else takes memory
    assert (done.code, done.told) == (0, "")
    return {line["name"]: line for line in map(json.loads, done.out.splitlines())}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured by Linux alone")
@pytest.mark.parametrize("name", CASES)
def test_a_bomb_does_not_go_off(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    told = outcomes[name]
    assert told["mebibytes"] < MOST, told
    if name in READ:
        assert told["read"] == READ[name]
        return
    assert told["error"] in ("DataError", "ModelError"), told
    assert next(words for start, words in FOUND.items() if name.startswith(start)) in told["text"]
