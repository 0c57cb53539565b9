"""A user's own table in its four formats."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pytest

from xpet.core.captions import ReadRequest
from xpet.core.errors import ConfigError, DataError
from xpet.data import table
from xpet.data.table import read
from xpet.data.text_files import CaptionFiles

ROWS = [
    {"image": "a.png", "lang": "en", "caption": "a cat", "to_pivot": "", "from_pivot": ""},
    {"image": "a.png", "lang": "en", "caption": 'one, "cat"\nsits', "to_pivot": "", "from_pivot": ""},
    {"image": "b.png", "lang": "en", "caption": "a dog", "to_pivot": "", "from_pivot": ""},
    {"image": "b.png", "lang": "JP", "caption": "犬", "to_pivot": "dog", "from_pivot": "犬だ"},
    {"image": "a.png", "lang": "jp", "caption": "猫", "to_pivot": "cat", "from_pivot": ""},
    {"image": "a.png", "lang": "jp", "caption": "猫 2", "to_pivot": "cat 2", "from_pivot": ""},
    {"image": "a.png", "lang": "jp", "caption": "猫 3", "to_pivot": "cat 3", "from_pivot": ""},
]


def dump(kind, rows):
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        target = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows), target)
        return target.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if kind == "tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_corpus(kind, write):
    path = write(f"mine.{kind}", dump(kind, ROWS))
    corpus = read(ReadRequest(str(path)))
    assert (corpus.name, corpus.languages, corpus.pictures) == ("mine", ("en", "ja"), None)
    assert list(corpus.fingerprints) == [path.name]
    split = corpus.splits["all"]
    assert split.images == ("a.png", "b.png")
    japanese = split.captions["ja"]
    assert japanese.owner == (1, 0, 0, 0)
    assert japanese.texts == {
        "pivot": ("a dog", "a cat", 'one, "cat"\nsits', "a cat"),
        "target": ("犬", "猫", "猫 2", "猫 3"),
        "to_pivot": ("dog", "cat", "cat 2", "cat 3"),
    }
    assert set(split.captions["en"].texts) == {"pivot", "target", "from_pivot", "to_pivot"}


def test_without_english_there_is_no_pivot(write):
    path = write("t.csv", dump("csv", ROWS[3:]))
    assert set(read(ReadRequest(str(path))).splits["all"].captions["ja"].texts) == {"target", "to_pivot"}


def test_official_splits_and_pictures(tmp_path, write, picture):
    parts = ("train", "val", "test")
    rows = [{"image": f"p/{n}.png", "lang": "de", "caption": f"c{n}", "split": part} for n, part in enumerate(parts)]
    path = write("t.jsonl", dump("jsonl", rows))
    for n in range(3):
        picture(tmp_path / f"p/{n}.png", (n, 0, 0))
    corpus = read(ReadRequest(str(path)))
    assert {name: split.images for name, split in corpus.splits.items()} == {
        "train": ("p/0.png",), "validation": ("p/1.png",), "test": ("p/2.png",),
    }  # fmt: skip
    assert corpus.pictures.open("p/2.png").getpixel((0, 0)) == (2, 0, 0)
    (tmp_path / "p/1.png").unlink()
    with pytest.raises(DataError, match=r"expected 3 pictures in .*, found 1 missing: p/1\.png;"):
        read(ReadRequest(str(path)))


def test_wrong_rows_are_told_together(write):
    lines = [
        '{"image": "a", "lang": "de", "caption": "x", "split": "train"}',
        '{"image": "a", "lang": "de", "caption": 5, "split": "train"}',
        '{"image": " ", "lang": "de", "caption": "x", "split": ["test"]}',
        "",
        '{"image": "a", "lang": "de", "caption": "x", "split": "test"}',
        '{"image": "b", "lang": "de", "caption": "x", "to_pivot": 1}',
        '{"image": "b", "lang": "de", "caption": "x"}',
    ]
    with pytest.raises(DataError) as error:
        read(ReadRequest(str(write("t.jsonl", "\n".join(lines)))))
    assert error.value.problems == (
        "t.jsonl line 2: expected text in column caption, found 5",
        "t.jsonl line 3: expected an image, found nothing",
        "t.jsonl line 3: expected split train, validation or test, found ['test']",
        "t.jsonl line 5: image a is in split train and in test",
        "t.jsonl line 6: expected text in column to_pivot, found 1",
        "t.jsonl: expected a split in every row or in none, found both",
    )


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("t.csv", "image,language,caption\n", "expected columns image, lang, caption, found image, language, caption"),
        ("t.csv", "image,lang,caption\na,de\n", "t.csv line 2: expected text in column caption, found None"),
        ("t.csv", "image,lang,caption\na,de,b,c\n", "expected as many fields as the header has, found more"),
        ("t.csv", 'image,lang,caption\na,de,"b\n', "expected a well-formed row"),
        ("t.csv", b"image,lang,caption\na,de,\xff\n", "t.csv line 2, byte 6: expected UTF-8, found 0xff"),
        ("t.csv", b"", "found an empty file"),
        ("t.csv", "image,lang,caption\n", "expected caption files, found none"),
        ("t.jsonl", "{\n", "t.jsonl line 1: expected a JSON object"),
        ("t.jsonl", "[1]\n", "t.jsonl line 1: expected a JSON object, found list"),
        ("t.parquet", "PAR1 not really", "expected a readable Parquet file"),
    ],
)
def test_damaged_tables(name, data, text, write):
    with pytest.raises(DataError, match=".*") as error:
        read(ReadRequest(str(write(name, data))))
    assert text in str(error.value)


def test_bad_requests(write):
    path = write("t.xlsx", "x")
    with pytest.raises(ConfigError, match=r"expected one of \.csv, \.tsv, \.jsonl, \.parquet, found '\.xlsx'"):
        read(ReadRequest(str(path)))
    path = write("t.csv", dump("csv", ROWS))
    with pytest.raises(DataError, match="unknown language 'ko': expected one of en, ja"):
        read(ReadRequest(str(path), ("ko",)))


def test_only_captions_that_are_used_are_kept_but_all_are_checked(write):
    rows = [f"{i}.jpg,{lang},{lang} {i}\n" for i in range(3) for lang in ("en", "de", "fr")]
    text = "image,lang,caption\n" + "".join(rows)
    path = write("t.csv", text)
    found = table._checked(path, CaptionFiles(path.parent), ("de",))
    assert {key: column.captions for key, column in found.columns.items()} == {
        ("all", "en"): ["en 0", "en 1", "en 2"], ("all", "de"): ["de 0", "de 1", "de 2"],
    }  # fmt: skip
    assert found.languages == {"en", "de", "fr"}
    assert list(found.home) == ["0.jpg", "1.jpg", "2.jpg"]
    assert found.columns["all", "de"].images[1] is found.columns["all", "en"].images[1]
    with pytest.raises(DataError, match="t.csv line 11: expected an image, found nothing"):
        read(ReadRequest(root=str(write("t.csv", text + ",fr,no picture\n")), languages=("de",)))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl"])
def test_memory_follows_the_languages_that_are_used(ending: str, tmp_path: Path) -> None:
    languages = ("en", "de", "es", "fr", "it", "ja", "ko", "pl", "ru", "tr")
    rows = [(f"p{i}", lang, f"{i} {lang} " + "x" * 2000) for i in range(200) for lang in languages]
    if ending == "jsonl":
        text = "".join(json.dumps(dict(zip(("image", "lang", "caption"), row, strict=True))) + "\n" for row in rows)
    else:
        text = "image,lang,caption\n" + "".join(",".join(row) + "\n" for row in rows)
    path = tmp_path / f"t.{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith(".gz") else text.encode())
    read(ReadRequest(root=str(path), languages=("de",)))  # what is imported on the way is not counted
    tracemalloc.start()
    try:
        corpus = read(ReadRequest(root=str(path), languages=("de",)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(corpus.splits["all"].captions["de"].slot("target")) == 200
    used = 2 * 200 * 2000  # German and the English it is aligned with
    assert used < peak < 0.75 * len(text)  # the whole file at once would be three times its size
