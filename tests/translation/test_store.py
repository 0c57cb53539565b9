"""Cache, discovery, language codes, documents and line cutting."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import random
import sqlite3
from pathlib import Path
from typing import Literal

import pytest

from tests.translation import toy
from xpet.core.argos_codes import argos_code
from xpet.core.errors import DataError, ModelError, OutputError
from xpet.translation.bulk import Bulk
from xpet.translation.cache import Cache, Entry
from xpet.translation.documents import LINES_PER_BLOCK, count_records, read_records
from xpet.translation.engine import Hypothesis
from xpet.translation.lines import BREAKS, pieces
from xpet.translation.packages import all_chains, find_packages, need_chain, read_installed
from xpet.translation.records import BOM


class Upper:
    """A translator that shouts, counts its texts, and may put line breaks where none were."""

    identity, source, target = "upper", "de", "en"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def best(self, texts):
        self.seen += texts
        return [Hypothesis(f"{text.upper()} ok") for text in texts]

    def alternatives(self, texts):
        return [[Hypothesis(text.upper())] for text in texts]


def test_cache_keeps_texts_by_scope(cache: Path) -> None:
    odd = ["", "a\0b", "\u2028", "\U0001f600", "x" * 10_000]
    with Cache() as store:
        store.put("one", [(text, Entry(text + "!", ("copied", "length"), True)) for text in odd])
        store.put("one", [("", Entry("other"))])
    with Cache() as store:
        assert store.get("one", odd) == {text: Entry(text + "!", ("copied", "length"), True) for text in odd}
        assert store.get("two", odd) == {}
        many = [f"line {n}" for n in range(3000)]
        store.put("many", [(text, Entry(text)) for text in many])
        assert len(store.get("many", many)) == 3000
    assert [p.name for p in cache.iterdir()] == ["translations.sqlite"]


def test_a_number_shared_by_two_texts_is_not_a_hit(cache: Path) -> None:
    with Cache() as store:
        store.put("s", [("a", Entry("A")), ("b", Entry("B"))])
    with sqlite3.connect(cache / "translations.sqlite") as base:
        assert base.execute("UPDATE lines SET rest = zeroblob(12) WHERE text = 'A'").rowcount == 1
    base.close()
    with Cache() as store:
        assert store.get("s", ["a", "b"]) == {"b": Entry("B")}


def _fill(start: int) -> None:
    with Cache() as store:
        for n in range(start, start + 50):
            store.put("shared", [(f"line {n}", Entry(f"LINE {n}"))])


def test_two_processes_share_the_cache() -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(start,)) for start in (0, 30)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    lines = [f"line {n}" for n in range(80)]
    with Cache() as store:
        assert store.get("shared", lines) == {line: Entry(line.upper()) for line in lines}


def test_a_full_disk_keeps_what_was_stored() -> None:
    with Cache() as store:
        store.put("s", [("a", Entry("A"))])
        store._database.execute("PRAGMA max_page_count = 8")
        big = [(f"{n}", Entry("x" * 10_000)) for n in range(20)]
        with pytest.raises(OutputError, match="database or disk is full; free space"):
            store.put("s", big)
        assert store.get("s", ["a", "0"]) == {"a": Entry("A")}


def test_a_damaged_cache_is_named(cache: Path) -> None:
    cache.mkdir()
    (cache / "translations.sqlite").write_bytes(b"not a database " * 100)
    with pytest.raises(
        OutputError, match=r"cannot use the translation cache .*translations.sqlite: file is not a data"
    ):
        Cache()


def test_fingerprint_follows_the_files(tmp_path: Path, german: dict[str, bytes]) -> None:
    folder = toy.unpack(tmp_path, "de_en", german)
    package = read_installed(folder)
    assert package is not None
    with Cache() as store:
        first = store.fingerprint(package)
        (folder / "README.md").write_text("other")
        assert store.fingerprint(package) == first
        (folder / "model" / "model.bin").write_bytes(german["model/model.bin"][:-1] + b"x")
        assert store.fingerprint(package) != first
        (folder / "model" / "model.bin").write_bytes(german["model/model.bin"])
        assert store.fingerprint(package) == first


def test_bulk_translates_different_lines_once() -> None:
    engine = Upper()
    with Cache() as store:
        bulk = Bulk([engine], store)
        done: list[int] = []
        found = bulk.translate(["b", "a", "b", "", " ", "a\nc", "c\u2028\r\nb\r"], done.append)
        assert [e.text for e in found] == ["B ok", "A ok", "B ok", "", " ", "A ok\nC ok", "C ok\u2028\r\nB ok\r"]
        assert sorted(engine.seen) == ["a", "b", "c"]
        assert done[-1] == 7
        assert Bulk([engine], store).translate(["a"])[0].text == "A ok"
        assert len(engine.seen) == 3


WORDLESS = [
    "\U0001f600", "\u266a", "...", "---", "?", "\u2605", "123", "12:30", "\u00bd", "1\ufe0f\u20e3", "\u2026",
    "100 %", "\u2167",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0001f3f4\U000e0067\U000e007f",
    "\u0663\u0664", "\u20ac 5", "\u0301", "\u2122", "_", "\u3002",
]  # fmt: skip


class Inventor(Upper):
    """A translator that makes something up whatever it is asked."""

    def __init__(self, source: str, target: str) -> None:
        super().__init__()
        self.source, self.target, self.identity = source, target, f"{source}{target}"

    def best(self, texts):
        self.seen += texts
        return [Hypothesis("\u8d70\u308b" if self.target == "ja" else "a dog runs") for text in texts]

    alternatives = Upper.alternatives


@pytest.mark.parametrize("text", WORDLESS)
def test_bulk_copies_lines_without_words(text: str) -> None:
    chain = [Inventor("de", "en"), Inventor("en", "ja")]
    with Cache() as store:
        assert Bulk(chain, store).translate([text, f"{text}\n{text}"]) == [Entry(text), Entry(f"{text}\n{text}")]
    assert chain[0].seen == chain[1].seen == []


def test_bulk_copies_and_flags_lines_in_a_foreign_script() -> None:
    chain = [Inventor("ru", "en"), Inventor("en", "ja")]
    texts = [
        "\u0645\u0631\u062d\u0628\u0627",
        "\u732b",
        "iPhone",
        "\u0441\u043e\u0431\u0430\u043a\u0430",
        "\u732b\n123",
    ]
    right = [*(Entry(text, ("foreign",)) for text in texts[:3]), Entry("\u8d70\u308b"), Entry(texts[4], ("foreign",))]
    for _ in "fresh", "cached":
        with Cache() as store:
            assert Bulk(chain, store).translate(texts) == right
    assert (chain[0].seen, chain[1].seen) == ([texts[3]], ["a dog runs"])


def test_bulk_stores_after_every_call() -> None:
    class Stops(Upper):
        def best(self, texts):
            if len(self.seen) > 200:
                raise KeyboardInterrupt
            return super().best(texts)

    lines = [f"line {n:04d}" for n in range(1000)]
    with Cache() as store:
        first, second = Stops(), Upper()
        with pytest.raises(KeyboardInterrupt):
            Bulk([first], store).translate(lines)
        assert 200 < len(first.seen) < 1000
        whole = Bulk([second], store).translate(lines)
    assert sorted(first.seen + second.seen) == lines
    assert [e.text for e in whole] == [f"LINE {n:04d} ok" for n in range(1000)]


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        ("jp", "ja"), ("JA", "ja"), ("zh-cn", "zh"), ("zh_CN", "zh"), ("zh-Hans", "zh"), ("zt", "zt"), ("zh-TW", "zt"),
        ("zh-Hant-HK", "zt"), ("pt-BR", "pb"), ("pt", "pt"), ("de_AT", "de"), ("en-US", "en"), ("no", "nb"),
        ("nb", "nb"), ("kr", "ko"), ("jpn_Jpan", "ja"), ("zho_Hant", "zt"), ("por_BR", "pb"), ("nob", "nb"),
        ("deu", "de"),
    ],
)  # fmt: skip
def test_codes(spelling: str, code: str) -> None:
    assert argos_code(spelling) == code


def test_discovery_survives_junk(installed: Path, tmp_path: Path, german: dict[str, bytes]) -> None:
    toy.unpack(tmp_path, "old", german)
    facts = json.dumps(toy.metadata("de", "en", package_version="1.10")).encode()
    toy.unpack(tmp_path, "new", {**german, "metadata.json": facts})
    facts = json.dumps(toy.metadata("fr", "en")).encode()
    toy.unpack(tmp_path, "french", {**german, "metadata.json": facts})
    toy.unpack(tmp_path, "splitter", {"metadata.json": b'{"type": "sbd"}'})
    (tmp_path / "junk").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "file").write_text("")
    packages, problems = find_packages(tmp_path)
    assert [(p.pair, p.folder.name) for p in packages] == [("de-en", "new"), ("de-en", "old"), ("fr-en", "french")]
    assert problems == [f"package {tmp_path / 'junk'}: expected metadata.json, found none"]
    assert find_packages(tmp_path / "nowhere") == ([], [])
    chains = {pair: [p.pair for p in chain] for pair, chain in all_chains(find_packages(installed)[0]).items()}
    assert chains == {("de", "en"): ["de-en"], ("en", "ja"): ["en-ja"], ("de", "ja"): ["de-en", "en-ja"]}


def test_missing_pairs_say_what_to_install(installed: Path) -> None:
    words = (
        "cannot translate de to fr: expected an Argos package de-fr, or de-en and en-fr in .*, found de-en, en-ja; "
        r"install what is missing: xpet translate --install en-fr \(from the Argos index\), or offline from its file: "
        "xpet translate --install translate-en_fr.argosmodel$"
    )
    with pytest.raises(ModelError, match=words):
        need_chain(installed, "de", "fr")
    with pytest.raises(ModelError, match="expected an Argos package ja-en in .*translate-ja_en.argosmodel$"):
        need_chain(installed, "ja", "en")


def through(data: bytes, name: str = "x.txt", column: str | None = None, into: str = "") -> bytes:
    """The file with every text in brackets."""
    records = read_records(data.splitlines(keepends=True) if b"\r" not in data else _lines(data), name, column, into)
    return b"".join(r.write(f"[{r.text}]") for r in records)


def _lines(data: bytes) -> list[bytes]:
    parts = [part + b"\n" for part in data.split(b"\n")]
    parts[-1] = parts[-1][:-1]
    return [part for part in parts if part]


@pytest.mark.parametrize("count", [LINES_PER_BLOCK - 1, LINES_PER_BLOCK, LINES_PER_BLOCK + 1, 3 * LINES_PER_BLOCK])
@pytest.mark.parametrize("last", [b"", b"\n", b"\r", b"\r\n"])
def test_text_is_the_same_whatever_block_it_stands_in(count: int, last: bytes) -> None:
    data = BOM + b"\r\n".join(f"\u00e9{n % 7}\r".encode() if n % 5 else b"" for n in range(count)) + last
    records = list(read_records(_lines(data), "x.txt"))
    assert [r.line for r in records] == list(range(1, data.count(b"\n") + 1 + (not data.endswith(b"\n"))))
    assert b"".join(r.write(r.text) for r in records) == data
    assert records[5].text == ""
    assert records[6].text == "\u00e96\r"
    assert count_records(_lines(data), "x.txt") == len(records)


def test_bad_bytes_behind_the_first_block_are_named() -> None:
    data = [b"ok\n"] * (LINES_PER_BLOCK + 5) + [b"a\xff\n", b"ok\n"]
    with pytest.raises(DataError, match=rf"x.txt line {LINES_PER_BLOCK + 6}, byte 2: expected UTF-8, found 0xff"):
        count_records(data, "x.txt")


def test_text_keeps_marks_and_endings() -> None:
    assert through(b"\xef\xbb\xbfa\r\nb\n\nc") == b"\xef\xbb\xbf[a]\r\n[b]\n[]\n[c]"
    assert through(b"a\rb\r\n") == b"[a\rb]\r\n"
    assert through(b"") == b""


def test_tables_keep_everything_else() -> None:
    table = 'id,text,n\r\n1,"a, ""b""\r\nc",x\r\n\r\n2,\u00e9,\r\n'.encode()
    expected = 'id,text,n,text_en\r\n1,"a, ""b""\r\nc",x,"[a, ""b""\r\nc]"\r\n\r\n2,\u00e9,,[\u00e9]\r\n'.encode()
    assert through(table, "x.csv", "text", "text_en") == expected
    assert through(b"a\tb\n1\t2\n", "x.TSV", "a", "b") == b"a\tb\n1\t[1]\n"
    lines = b'{"a": "x", "n": 1.5}\n\n{"a": "\\u00e9", "b": "old"}'
    assert (
        through(lines, "x.jsonl", "a", "b")
        == '{"a": "x", "n": 1.5, "b": "[x]"}\n\n{"a": "\\u00e9", "b": "[\u00e9]"}'.encode()
    )


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"ok\nab\xe9c\n", "x.txt", "x.txt line 2, byte 3: expected UTF-8, found 0xe9; convert the file to UTF-8"),
        (b"\xef\xbb\xbfa\xff\n", "x.txt", "x.txt line 1, byte 5: expected UTF-8, found 0xff"),
        (b"\xff\xfea\0", "x.txt", "line 1, byte 1: expected UTF-8, found 0xff"),
        (b"a,b\n1,2\n3\n", "x.csv", "x.csv line 3: expected 2 fields as the header has, found 1"),
        (b"b,c\n", "x.csv", "x.csv line 1: expected a column a, found b, c; give its name with --column"),
        (b"a,a\n", "x.csv", "found 2 columns of that name"),
        (b'a,b\n"x\n', "x.csv", "line 2: expected an end of the quotation mark that opens a field, found none"),
        (b'a,b\n1,"2\n3",x\n', "x.csv", "x.csv line 2: expected 2 fields as the header has, found 3"),
        (b'a,b\n1,"2\n"3\n', "x.csv", "x.csv line 2: expected a well-formed row, found ',' expected after '\"'"),
        (
            b"a,b\n1,2\r3,4\n",
            "x.csv",
            "line 2: expected a well-formed row, found a carriage return without a line feed",
        ),
        (b'a,b\n1,2\n"1\n""\n","2\n3\n', "x.csv", "x.csv line 5: expected an end of the quotation mark"),
        (b"a\tb\n1\t2\n1\n2\n", "x.tsv", "x.tsv line 3: expected 2 fields as the header has, found 1; a .tsv file has"),
        (b'a\tb\n"1\t2"\t3\n', "x.tsv", "found 3; a .tsv file has no quoting: write texts with tabs or line breaks as"),
        (b'"a"\tb\n', "x.tsv", 'line 1: expected a column a, found "a", b; give its name with --column (a .tsv file'),
        (b"a\tt\tt\n", "x.tsv", "line 1: expected a column t, found 2 columns of that name"),
        (b"a\t" + b"y" * 5000 + b"\n1\n", "x.tsv", "line 2: expected 2 fields"),
        (b"", "x.csv", "expected a header with column a, found an empty file"),
        (b'{"a": "x"}\n{"b": 1}\n', "x.jsonl", "x.jsonl line 2: expected text in a, found b; see --column"),
        (b'{"a": 1}\n', "x.jsonl", "expected text in a, found 1"),
        (b"[1]\n", "x.jsonl", "line 1: expected a JSON object, found list"),
        (b"{\n", "x.jsonl", "line 1: expected a JSON object, found Exp"),
        (b'{"a": "\\ud800"}\n', "x.jsonl", "line 1: expected whole characters in a, found half of a surrogate pair"),
    ],
)
def test_bad_documents_are_named(data: bytes, name: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        through(data, name, None if name == "x.txt" else "a", "t")
    assert words in str(caught.value)


def test_pieces_break_where_readers_do() -> None:
    for number in range(0x3000):
        text = f"a{chr(number)}b"
        assert len(pieces(text)) == (3 if len(text.splitlines()) > 1 else 1)
    assert "".join(pieces("\r\na\u2028\n")) == "\r\na\u2028\n"
    assert BREAKS.sub("", "\x85") == ""


def test_cache_survives_being_opened_by_another_tool(cache: Path) -> None:
    with Cache() as store:
        store.put("s", [("a", Entry("A"))])
    base = sqlite3.connect(cache / "translations.sqlite")
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    base.close()


NUMBERS = (
    r'{"id":12345678901234567890123,"x":1.10,"y":1E5,"z":0.1000000000000000055,"n":NaN,"a":"Hund","b":1,"b":2,'
    r'"u":"\u00fc\/","half":"\ud83d","long":' + "7" * 5000 + "}"
)  # fmt: skip


@pytest.mark.parametrize(
    ("line", "into", "expected"),
    [
        (NUMBERS, "t", NUMBERS[:-1] + ', "t": "[Hund]"}'),
        (NUMBERS, "b", NUMBERS.replace('"b":2', '"b":"[Hund]"')),
        (NUMBERS, "n", NUMBERS.replace("NaN", '"[Hund]"')),
        (NUMBERS, "u", NUMBERS.replace(r'"\u00fc\/"', '"[Hund]"')),
        (' { "a" : "x" } \r\n', "t", ' { "a" : "x", "t": "[x]" } \r\n'),
        (' { "a" : "x" ,"t":{"t":[1,{"t":0}]} , "c":1} ', "t", ' { "a" : "x" ,"t":"[x]" , "c":1} '),
        (r'{"\u0061":"x","\u0074":"}","c":"t\":"}', "t", r'{"\u0061":"x","\u0074":"[x]","c":"t\":"}'),
        ('{"a":"x","a":"y"}', "a", '{"a":"x","a":"[y]"}'),
        ('{"a":1,"a":"y"}', "\u00fc", '{"a":1,"a":"y", "\u00fc": "[y]"}'),
    ],
)
def test_json_lines_keep_the_spelling_of_other_fields(line: str, into: str, expected: str) -> None:
    assert through(line.encode(), "x.jsonl", "a", into).decode() == expected


def _value(draw: random.Random, depth: int = 0) -> object:
    kind = draw.randrange(8 if depth < 3 else 6)
    if kind > 5:
        keys = [draw.choice(["t", "a", '"', "}", "\u00fc", ""]) for _ in range(draw.randrange(4))]
        return {key: _value(draw, depth + 1) for key in keys} if kind == 6 else [_value(draw, depth + 1) for _ in keys]
    text = "".join(draw.choices('ab{}[]",:\\ \n\u00fc\U0001f600', k=draw.randrange(6)))
    return [None, True, draw.randrange(-(10**20), 10**20), draw.uniform(-1e9, 1e9), text, 0.1][kind]


@pytest.mark.parametrize("seed", range(200))
def test_random_objects_change_in_one_field_alone(seed: int) -> None:
    draw = random.Random(seed)
    fields = {key: _value(draw) for key in draw.sample(["t", "b", "c", '"', "\\", "\u00fc", ""], draw.randrange(6))}
    items = [*fields.items(), ("a", "Hund"), *((key, _value(draw)) for key in fields if draw.random() < 0.3)]
    draw.shuffle(items)
    ascii_only, (comma, colon) = draw.random() < 0.5, draw.choice([(",", ":"), (", ", ": "), (" ,\t", " : ")])
    shown = [
        f"{json.dumps(k, ensure_ascii=ascii_only)}{colon}{json.dumps(v, ensure_ascii=ascii_only)}" for k, v in items
    ]
    line = f"{{{comma.join(shown)}}}"
    got = through(line.encode(), "x.jsonl", "a", "t").decode()
    assert json.loads(got) == {**json.loads(line), "t": "[Hund]"}
    start = next(
        (n for n, pair in enumerate(zip(got, line, strict=False)) if len(set(pair)) > 1), min(len(got), len(line))
    )
    value = json.dumps(json.loads(line)["t"], ensure_ascii=ascii_only) if "t" in json.loads(line) else None
    starts = [got.rindex('"[Hund]"', 0, end) for end in range(len(got), 8, -1) if got.endswith('"[Hund]"', 0, end)]
    before = {got[:start] + (value or "") + got[start + 8 :] for start in starts}
    assert (line in before) if value is not None else (got == line[:-1] + ', "t": "[Hund]"}'), start


TSV = b'\xef\xbb\xbfid\ttext\tn\r\n1\t"ein Hund\t1.10\r\n\r\n"2"\tzwei"\t"x""y\n3\t\t\n4\t\xc3\xbc\t" '


def test_a_tsv_file_has_no_quoting() -> None:
    added = (
        b'\xef\xbb\xbfid\ttext\tn\tt\r\n1\t"ein Hund\t1.10\t["ein Hund]\r\n\r\n"2"\tzwei"\t"x""y\t[zwei"]\n3\t\t\t[]\n'
    )
    assert through(TSV, "x.tsv", "text", "t") == added + b'4\t\xc3\xbc\t" \t[\xc3\xbc]'
    replaced = b'\xef\xbb\xbfid\ttext\tn\r\n1\t"ein Hund\t["ein Hund]\r\n\r\n"2"\tzwei"\t[zwei"]\n'
    replaced += b"3\t\t[]\n4\t\xc3\xbc\t[\xc3\xbc]"
    assert through(TSV, "x.tsv", "text", "n") == replaced
    record = list(read_records([b"a\n", b"x\n"], "x.tsv", "a", "t"))[1]
    assert record.write("one\ttwo\nthree\r\nfour\u2028five") == b"x\tone two three four five\n"
    with pytest.raises(DataError, match="expected a name of one line without tabs"):
        through(TSV, "x.tsv", "text", "a\tb")


CSV = 'id,"text",n\r\n 1 ,"ein ""Hund""",1.10\r\n\n"2","die\r\nKatze, so","x"\n3,"",\n4,a"b,c"d\n"5",\u00fc,'


def test_a_csv_file_keeps_the_text_of_other_fields() -> None:
    added = (
        'id,"text",n,t\r\n 1 ,"ein ""Hund""",1.10,"[ein ""Hund""]"\r\n\n"2","die\r\nKatze, so","x",'
        '"[die\r\nKatze, so]"\n'
        '3,"",,[]\n4,a"b,c"d,"[a""b]"\n"5",\u00fc,,[\u00fc]'
    )
    assert through(CSV.encode(), "x.csv", "text", "t").decode() == added
    replaced = (
        'id,"text",n\r\n 1 ,"ein ""Hund""","[ein ""Hund""]"\r\n\n"2","die\r\nKatze, so","[die\r\nKatze, so]"\n'
        '3,"",[]\n4,a"b,"[a""b]"\n"5",\u00fc,[\u00fc]'
    )
    assert through(CSV.encode(), "x.csv", "text", "n").decode() == replaced


@pytest.mark.parametrize("seed", range(100))
def test_random_csv_rows_change_in_one_field_alone(seed: int) -> None:
    draw = random.Random(seed)
    width, column = draw.randrange(2, 6), draw.randrange(0, 6)
    names = [f"c{n}" for n in range(width)]
    into = f"c{column}"
    rows = [["".join(draw.choices('ab", \n\r\u00fc', k=draw.randrange(5))) for _ in names] for _ in range(6)]
    out = io.StringIO(newline="")
    quoting: Literal[0, 1] = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    csv.writer(out, lineterminator="\r\n", quoting=quoting).writerows([names, *rows])
    got = list(csv.reader(io.StringIO(through(out.getvalue().encode(), "x.csv", "c0", into).decode(), newline="")))
    more = [] if column < width else [into]
    expected = [[*row, *more] for row in rows]
    for row in expected:
        row[min(column, width)] = f"[{row[0]}]"
    assert got == [[*names, *more], *expected]
