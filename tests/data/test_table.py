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
    if kind == "tsv":  # has no quoting
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        return b"\xef\xbb\xbf" + "\r\n".join(lines).encode()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_corpus(kind, write):
    said = 'one, "cat"' + (" " if kind == "tsv" else "\n") + "sits"
    path = write(f"mine.{kind}", dump(kind, [ROWS[0], {**ROWS[1], "caption": said}, *ROWS[2:]]))
    corpus = read(ReadRequest(str(path)))
    assert (corpus.name, corpus.languages, corpus.pictures) == ("mine", ("en", "ja"), None)
    assert list(corpus.fingerprints) == [path.name]
    split = corpus.splits["all"]
    assert split.images == ("a.png", "b.png")
    japanese = split.captions["ja"]
    assert japanese.image_index == (1, 0, 0, 0)
    assert japanese.texts == {
        "pivot": ("a dog", "a cat", said, "a cat"),
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
        ("t.csv", "image,lang,caption\na,de,b,c\n", "t.csv line 2: expected 3 fields as the header has, found 4"),
        ("t.csv", "image,lang,caption,lang\na,de,b,c\n", "t.csv: expected one column lang, found 2 of that name"),
        ("t.csv", "split,lang,image,split,caption\n", "t.csv: expected one column split, found 2 of that name"),
        ("t.csv", "image,lang,caption\na,de,\0\n", "t.csv line 2: expected text, found a NUL byte (character 6)"),
        ("t.tsv", "image\tlang\tcaption\na\tde\t\0\n", "t.tsv line 2: expected text, found a NUL byte (character 6)"),
        (
            "t.csv",
            "image,lang,caption\na,de," + "x" * 131_073,
            "t.csv line 2: expected a well-formed row, found a field of more than 131,072 characters",
        ),
        (
            "t.csv",
            'image,lang,caption\na,de,"b" c\n',
            "t.csv line 2: expected a well-formed row, found text behind a "
            "closing quotation mark; double quotation marks that are text",
        ),
        (
            "t.csv",
            "image,lang,caption\na,de,b\rc,de,d\n",
            "t.csv line 2: expected a well-formed row, found a carriage return inside it; end lines with line feeds",
        ),
        ("t.csv", ",".join(f"c{n}" for n in range(4000)), "c99 and 3900 more; image, lang, caption missing"),
        (
            "t.csv",
            "image;lang;caption\na.jpg;de;x\n",
            "caption missing; it seems to separate them by semicolons, expected commas",
        ),
        ("t.tsv", "image,lang,caption\na.jpg,de,x\n", "it seems to separate them by commas, expected tabs"),
        ("t.csv", "image\tlang\tcaption\n", "it seems to separate them by tabs, expected commas"),
        ("t.csv", "x" * 3000, f"found '{'x' * 56}...; image, lang, caption missing"),
        (
            "t.tsv",
            '"image"\t"lang"\t"caption"\na\tde\tb\n',
            "image, lang, caption missing; TSV has no quoting ("
            "quotation marks are text, tabs and line breaks end a field), .csv has",
        ),
        (
            "t.jsonl",
            '{"image": "a", "lang": "de", "caption": "a", "caption": "b"}',
            "t.jsonl line 1: expected text in column caption, found 2 fields of that name",
        ),
        (
            "t.jsonl",
            '\n{"image": "a", "lang": "de", "caption": NaN}',
            "t.jsonl line 2: expected text in column caption, found nan",
        ),
        (
            "t.jsonl",
            '{"image": "a", "lang": "de", "caption": "\\ud83d"}',
            "t.jsonl line 1: expected text in column caption, found half a surrogate pair in '\\ud83d'",
        ),
        ("t.jsonl", '{"image": "a", "lang": "de", "caption": ' + "[" * 9**5, "t.jsonl line 1: expected a JSON object"),
        (
            "t.jsonl",
            '{"image": "a", "lang": "de"} {',
            "line 1: expected a JSON object, found Extra data at character 30",
        ),
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
    found = table._read_rows(path, CaptionFiles(path.parent), ("de",))
    assert {key: column.captions for key, column in found.columns.items()} == {
        ("all", "en"): ["en 0", "en 1", "en 2"], ("all", "de"): ["de 0", "de 1", "de 2"],
    }  # fmt: skip
    assert found.languages == {"en", "de", "fr"}
    assert list(found.split_of) == ["0.jpg", "1.jpg", "2.jpg"]
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


@pytest.mark.parametrize(
    "head", ['\ufeff"image","lang","caption","",""', '"lang","",caption,"image",""', "image,lang,,caption,"]
)
def test_headers_with_marks_and_without_names(head, write):
    names = [name.strip('\ufeff"') for name in head.split(",")]
    row = ",".join({"image": "a.png", "lang": "en", "caption": "x"}.get(name, "y") for name in names)
    split = read(ReadRequest(str(write("t.csv", f"{head}\r\n{row}\r\n")))).splits["all"]
    assert (split.images, split.captions["en"].texts["target"]) == (("a.png",), ("x",))
    with pytest.raises(DataError, match=r"found image, '', ' lang', caption; lang missing$"):
        read(ReadRequest(str(write("t.csv", "image,, lang,caption\n"))))


def test_lines_are_those_on_which_records_begin(write):
    rows = ['a.png,en,"one', "two", 'three"', "", 'b.png,en,"two ""more""', '"', ',en,"no', 'picture"', "c.png,en,d,e"]
    with pytest.raises(DataError) as error:
        read(ReadRequest(str(write("t.csv", "\n".join(["image,lang,caption", *rows])))))
    assert error.value.problems == (
        "t.csv line 8: expected an image, found nothing",
        "t.csv line 10: expected 3 fields as the header has, found 4",
    )
    lines = ["", '{"image": "a", "lang": "de", "caption": "x"}', " ", '{"image": "a", "lang": "de", "caption": 1}']
    with pytest.raises(DataError, match=r"^t\.jsonl line 4: expected text in column caption, found 1$"):
        read(ReadRequest(str(write("t.jsonl", "\n".join(lines)))))
    with pytest.raises(DataError, match=r"^t\.parquet row 2: expected an image, found nothing$"):
        read(ReadRequest(str(write("t.parquet", dump("parquet", [ROWS[0], {**ROWS[1], "image": ""}])))))


@pytest.mark.parametrize(("rest", "found"), [
    ("c.png,en,d\n" * 9, "up to the end of the file"),
    ("c.png,en,some words\n" * 9999, "within 131,072 characters"),
    ('c.png,en,d\nd.png,en,"e"\n', "(the next one, on line 6, has text behind it)"),
])  # fmt: skip
def test_a_quotation_mark_that_is_not_closed_is_told_where_its_row_begins(rest, found, write):
    path = write("t.csv", 'image,lang,caption\na.png,en,"b\nb"\nb.png,en,"c\n' + rest)
    with pytest.raises(DataError) as error:
        read(ReadRequest(str(path)))
    assert str(error.value) == (
        f"t.csv line 4: expected a well-formed row, found a quotation mark that is not closed {found}; close it, and "
        "double quotation marks that are text"
    )


def test_quotation_marks_of_tsv_are_text(write):
    captions = ['"ein roter Hund', "ein Hund", 'ein Hund"', 'ein "Hund"', '"', '"ein Hund"']
    rows = [f"p{n}.png\tde\t{caption}" for n, caption in enumerate(captions)]
    split = read(ReadRequest(str(write("t.tsv", "\n".join(["image\tlang\tcaption", *rows]))))).splits["all"]
    assert split.images == tuple(f"p{n}.png" for n in range(6))
    assert split.captions["de"].texts["target"] == tuple(captions)
    rows.insert(1, 'q.png\tde\t"a line\nbreak"')
    with pytest.raises(DataError) as error:
        read(ReadRequest(str(write("t.tsv", "\n".join(["image\tlang\tcaption", *rows, "r\tde\ta\tb"])))))
    hint = "TSV has no quoting (quotation marks are text, tabs and line breaks end a field), .csv has"
    assert error.value.problems == (
        f"t.tsv line 4: expected 3 fields as the header has, found 1; {hint}",
        f"t.tsv line 10: expected 3 fields as the header has, found 4; {hint}",
    )


def test_no_message_holds_a_long_cell(write):
    long = "x" * 3000
    rows = [
        {"image": [long], "lang": "de", "caption": {"a": long}, "split": long},
        {"image": "a", "lang": long, "caption": 10**3000, "to_pivot": [[[[[[[[1]]]]]]]]},
        {"image": long, "lang": "de", "caption": "x", "split": "train"},
        {"image": long, "lang": "de", "caption": "x", "split": "test"},
    ]
    with pytest.raises(DataError) as error:
        read(ReadRequest(str(write("t.jsonl", dump("jsonl", rows)))))
    assert len(error.value.problems) == 7
    assert max(map(len, error.value.problems)) < 140
    assert f"t.jsonl line 2: expected a language code in column lang, found '{'x' * 56}..." in error.value.problems
