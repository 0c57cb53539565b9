"""Names of languages and places that no folder can have: told in one line, and nothing is written anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import run_here
from xpet.core.captions import ReadRequest
from xpet.core.errors import DataError
from xpet.core.languages import is_language
from xpet.data.sources import SOURCES

ODD = (
    "../../../zz",
    "a/b",
    "a\\b",
    "d\0e",
    "de\u202e",
    "all",
    " ALL ",
    "-",
    "..",
    ".",
    ",",
    "a,b",
    "C:x",
    "q" * 61,
    "😀",
)
PLAIN = ("de", "JP", "jpn_Jpan", "zh-Hant-TW", "sr-Latn", "Deutsch", "中文", "Chinese (simplified)", "x" * 60)


def test_names_of_languages() -> None:
    assert [name for name in ODD if is_language(name)] == []
    assert [name for name in PLAIN if not is_language(name)] == []


@pytest.mark.parametrize("name", ODD)
def test_a_table_with_an_odd_language_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    rows = [{"image": "a", "lang": "de", "caption": "x"}, {"image": "a", "lang": name, "caption": "x"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError) as error:
        SOURCES["table"](ReadRequest(str(path)))
    assert str(error.value).startswith("t.jsonl line 2: expected a language code in column lang, found ")
    assert len(str(error.value)) < 150
    assert str(error.value).isprintable()


def test_other_files_beside_captions_are_no_languages(tmp_path: Path) -> None:
    for name in ("en", "de", "", "..", "q" * 100):
        (tmp_path / f"test_1kcaptions_{name}.txt").write_text("a dog\na cat\n")
    (tmp_path / "test_image_names.txt").write_text("a\nb\n")
    assert SOURCES["xtd"](ReadRequest(str(tmp_path))).languages == ("en", "de")


@pytest.mark.parametrize("source", ["xtd", "multi30k", "table"])
@pytest.mark.parametrize("root", ["a" * 5000, "~nobody-has-this-name/x", "a\0b"])
def test_places_that_cannot_be(source: str, root: str) -> None:
    with pytest.raises(
        DataError, match=r"^data set \w+: expected .*, found nothing there; check --data-root$"
    ) as error:
        SOURCES[source](ReadRequest(root))
    assert len(str(error.value)) < 200


def test_a_long_path_that_could_be_is_told_whole(tmp_path: Path) -> None:
    root = tmp_path / ("a" * 100) / "absent.csv"
    with pytest.raises(DataError) as error:
        SOURCES["table"](ReadRequest(str(root)))
    assert f" at {root}, found nothing there" in str(error.value)


def test_the_command_line_tells_such_names(tmp_path: Path) -> None:
    cache = tmp_path / "a/b/c/cache"
    for arguments, text in (
        (("--data", "table", "--data-root", "a" * 5000), "expected the file of the table at"),
        (("--data", "demo", "--lang", "a" * 5000), "unknown language of demo"),
        (("--data", "demo", "--lang", "../../../../x"), "unknown language of demo"),
    ):
        done = run_here("align", "--lang", "de", *arguments, environment={"XPET_CACHE": str(cache)})
        assert (done.returncode, done.stdout) == (2, b"")
        assert text in done.stderr.decode()
        assert len(done.stderr) < 400
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
