"""Records of runs: what earlier versions wrote is read, and written again letter by letter."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.run_records import run_record
from xpet.core.config import AlignConfig
from xpet.core.errors import DataError
from xpet.core.language_pack import PackEntry, pack_bytes, read_pack
from xpet.core.run_record import DOCUMENTS, documents_of, record_of
from xpet.core.rundir import FILES, read_run, write_run

STORED: dict[str, Any] = json.loads((Path(__file__).parent / "runs_of_0.1.0.json").read_text("utf-8"))
"""Documents of runs that xpet 0.1.0 wrote when records were not typed yet, by what is special about them."""
DELTA = {"a": torch.ones(2, 3)}


def as_files(documents: dict[str, Any]) -> dict[str, str]:
    """The documents as 0.1.0 wrote them into files."""
    lines = "".join(json.dumps(entry) + "\n" for entry in documents["history"])
    texts = {f"{n}.json": json.dumps(v, indent=2, ensure_ascii=False) + "\n" for n, v in documents.items()}
    return {**{n: text for n, text in texts.items() if n in FILES}, "history.jsonl": lines}


@pytest.mark.parametrize("name", STORED)
def test_what_0_1_0_wrote_is_read_and_written_again_letter_by_letter(name: str, tmp_path: Path) -> None:
    write_run(tmp_path / "any", run_record(DELTA))
    for file, text in as_files(STORED[name]).items():
        (tmp_path / "any" / file).write_text(text, "utf-8")
    write_run(tmp_path / "again", read_run(tmp_path / "any"))
    found = {path.name: path.read_text("utf-8") for path in (tmp_path / "again").iterdir() if "delta" not in path.name}
    assert found == as_files(STORED[name])


def test_a_pack_gives_the_same_documents(tmp_path: Path) -> None:
    entries = [PackEntry(name, record_of(tmp_path, stored, DELTA)) for name, stored in STORED.items()]
    (tmp_path / "a.xpet").write_bytes(pack_bytes(entries))
    assert {entry.name: documents_of(entry.record) for entry in read_pack(tmp_path / "a.xpet")} == {
        entry.name: documents_of(entry.record) for entry in entries
    }


def test_the_fields_are_typed() -> None:
    first, text, after, combined = (record_of(Path("x"), documents, DELTA) for documents in STORED.values())
    plan = AlignConfig(("de",)).check()
    assert (first.language, first.routine.name, first.method, first.text) == ("de", "routine3", plan.method, None)
    assert first.data.shots == 12
    assert first.metrics.setting == ("routine3", "mse", 0.1, 5e-4)
    assert first.split.train == tuple(STORED["of a language"]["split"]["train"])
    assert text.text == plan.text
    assert (text.metrics.text or {})["read"] == 5000
    assert after.start == "runs/chain/1-text"
    assert (combined.combination or {})["strategy"] == "linear"


def test_entries_that_are_not_known_are_passed_over_where_settings_cannot_hide() -> None:
    documents = copy.deepcopy(STORED["of a language"])
    for place in (documents["config"], documents["config"]["fit"], *(documents[name] for name in DOCUMENTS[2:])):
        place["colour"] = "red"
    assert record_of(Path("x"), documents, DELTA) == record_of(Path("x"), STORED["of a language"], DELTA)
    documents["config"]["run"]["colour"] = "red"
    with pytest.raises(DataError, match=r"^x/config\.json: unknown field run\.colour; update xpet, or train the run a"):
        record_of(Path("x"), documents, DELTA)


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        ("config", ("fit", "select"), r"config\.json: expected fit\.select, found none"),
        ("config", ("run", "language"), r"config\.json: expected run\.language, found none"),
        ("config", ("run", "routine"), r"config\.json: expected run\.routine, found none"),
        ("config", ("run", "seed"), r"config\.json: expected run\.seed, found none"),
        ("config", ("method", "name"), r"config\.json: expected method\.name, found none"),
        ("config", ("method",), r"config\.json: expected an object method, found None"),
        ("metrics", ("total",), r"metrics\.json: expected total, found none"),
        ("metrics", ("trainable",), r"metrics\.json: expected trainable, found none"),
        ("environment", ("test_captions",), r"environment\.json: expected test_captions, found none"),
        ("environment", ("versions", "xpet"), r"environment\.json: expected versions\.xpet, found none"),
        ("split", ("test",), r"split\.json: expected test, found none"),
    ],
)
def test_what_must_be_there(document: str, place: tuple[str, ...], words: str) -> None:
    documents = copy.deepcopy(STORED["text"])
    inner = documents[document]
    for name in place[:-1]:
        inner = inner[name]
    del inner[place[-1]]
    with pytest.raises(DataError, match=f"^x/{words}; the run is damaged, train it again$"):
        record_of(Path("x"), documents, DELTA)
    if document == "metrics":  # where it is now, whatever it says
        del documents["metrics"]["folder"]
        documents["metrics"][place[-1]] = 3
        assert record_of(Path("x"), documents, DELTA).metrics.folder == ""
