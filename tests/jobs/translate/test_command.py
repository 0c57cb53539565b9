"""`xpet translate` as a user runs it: offline, line for line, resumable, one-line errors, only the files it should."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.translation import toy
from tests.translation.conftest import Command

BLOCKED = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the network was used")
class Blocked(socket.socket):
    __init__ = refuse
socket.socket = Blocked
socket.create_connection = socket.getaddrinfo = refuse
from xpet.cli.app import _run
code = _run(sys.argv[1:])
heavy = {"torch", "stanza", "spacy", "onnxruntime", "minisbd", "argostranslate.translate", "transformers"}
print("LOADED", code, sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
ODD = [
    b"ein Hund", b"", b"   ", b"\t", b"ein Hund\r", "ein Hund \u2028 die Katze".encode(), "\U0001f600".encode(),
    b"Hund\x00Katze", "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627".encode(), b"a_b _ Hund_",
    b"Hund " * 2000, b"x" * 10_000, b"\x00", "\x85".encode(), b"a\rb", "\ufeff".encode(), "\u200b".encode(),
    b"\x0c", b"1 2 3",
    "\u2581".encode(), b"<unk> </s>", "\u202eabc\u202c".encode(), b"\x1c\x1d\x1e", "e\u0301".encode() * 50, b'"',
    b"\\n",
]  # fmt: skip


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def failed(done: subprocess.CompletedProcess[bytes], *words: str, code: int = 2) -> None:
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert done.stdout == b""
    assert text.startswith("xpet: error: ")
    assert text.count("\n") == 1
    for word in words:
        assert word in text


def test_offline_with_an_empty_home_and_only_its_own_files(tmp_path: Path, german: dict[str, bytes]) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    toy.archive(work / "de_en.argosmodel", "translate-de_en-1_0", german)
    (work / "in.txt").write_text("ein Hund\nkaputt kaputt\n")
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "ARGOS_DEBUG": "1",
        "SNAP": "/x",
        "SNAP_USER_DATA": "/x",
    }

    def run(*arguments: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED, *arguments], input=stdin, capture_output=True, env=environment, cwd=work
        )
        assert done.stderr.decode().splitlines()[-1] == "LOADED 0 []"
        return done.stdout

    run("translate", "--install", "de_en.argosmodel")
    run("translate", "--list-packages")
    run("translate", "in.txt", "--from", "de", "--to", "en", "-o", "out.txt")
    assert run("translate", "--from", "de", "--to", "en", stdin=b"ein Hund\n") == b"a dog\n"
    package = ".local/share/argos-translate/packages/translate-de_en-1_0/"
    assert files(home) == sorted([".cache/xpet/translations.sqlite", *(package + n for n in (*german, "xpet.json"))])
    assert files(work) == ["de_en.argosmodel", "in.txt", "out.txt"]
    assert not Path("/x").exists()


@pytest.mark.usefixtures("packages")
def test_a_file_with_report_and_summary(xpet: Command, tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("ein Hund\n\nkaputt kaputt\nein Hund\nFahrrad 4711 Hund\nX Y\n")
    done = xpet("translate", source, "--from", "de_DE", "--to", "EN", "--out", out)
    assert (done.returncode, done.stderr) == (0, b"")
    assert out.read_text() == "a dog\n\nkaputt broken\na dog\nFahrrad 4711 dog\nX Y\n"
    report = [json.loads(text) for text in (tmp_path / "out.txt.flagged.jsonl").read_text().splitlines()]
    assert report == [{"line": 6, "flags": ["copied"], "source": "X Y", "translation": "X Y"}]
    assert b"6 lines de -> en through de-en" in done.stdout
    assert b"Flagged: 1 line (copied 1)" in done.stdout
    again = xpet("translate", source, "--from", "de", "--to", "en", "-o", out, "--json")
    document = json.loads(again.stdout)
    assert (document["translated"], document["cached"], document["flags"]) == (0, 4, {"copied": 1})
    source.write_text("ein Hund\n")
    assert xpet("translate", source, "--from", "de", "--to", "en", "-o", out).returncode == 0
    assert files(tmp_path) == ["cache/translations.sqlite", "in.txt", "out.txt"]


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("options", [[], ["--fast"]])
def test_as_many_lines_out_as_in_whatever_is_in_them(options: list[str], xpet: Command) -> None:
    data = b"\xef\xbb\xbf" + b"\n".join(ODD) + b"\r\nlast without a line feed"
    done = xpet("translate", "--from", "de", "--to", "en", *options, stdin=data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == data.count(b"\n")
    assert len(done.stdout.decode().splitlines()) == len(data.decode().splitlines())
    got = done.stdout.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert len(done.stdout) - len(b"\n".join(got)) == 3
    for index in (1, 2, 3, 12, 13, 15, 16, 17, 22):
        assert got[index] == ODD[index]
    assert got[0] == b"a dog"
    assert got[4] == b"a dog\r"
    assert got[5].decode().split("\u2028")[0].strip() == "a dog"
    assert got[6] == "\U0001f600".encode()
    assert got[7] == b"dog\x00Katze"
    assert got[9] == b"a_b _ dog_"
    assert got[14].count(b"\r") == 1
    assert not got[-1].endswith(b"\n")
    for line in ODD:
        alone = xpet("translate", "--from", "de", "--to", "en", *options, stdin=line) if line in ODD[:8] else None
        if alone is not None:
            assert alone.stdout == got[ODD.index(line)]


@pytest.mark.usefixtures("packages")
def test_lines_without_words_are_copied_and_a_foreign_script_is_flagged(xpet: Command, tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("\U0001f600\n...\n123\n12:30\n\u0645\u0631\u062d\u0628\u0627\n\u732b\nein Hund\n")
    done = xpet("translate", source, "--from", "de", "--to", "en", "-o", out, "--json")
    assert out.read_text() == source.read_text().replace("ein Hund", "a dog")
    assert (json.loads(done.stdout)["flags"], json.loads(done.stdout)["flagged_lines"]) == ({"foreign": 2}, 2)
    report = [json.loads(text) for text in (tmp_path / "out.txt.flagged.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["flags"]) for entry in report] == [(5, ["foreign"]), (6, ["foreign"])]


@pytest.mark.usefixtures("packages")
def test_two_hops_share_the_first_one(xpet: Command, tmp_path: Path) -> None:
    out = tmp_path / "o.txt"
    first = xpet("translate", "--from", "de", "--to", "en", stdin=b"ein Hund\nder Mann\n")
    done = xpet("translate", "--from", "de", "--to", "jp", "-o", out, "--json", stdin=b"ein Hund\nder Mann\n")
    assert first.stdout == b"a dog\nthe man\n"
    document = json.loads(done.stdout)
    assert (document["chain"], document["cached"], document["translated"]) == (["de-en", "en-ja"], 2, 2)
    assert out.read_text() == "\u3072\u3068\u3064\u306e \u3044\u306c\n\u305d\u306e \u304a\u3068\u3053\n"


@pytest.mark.usefixtures("packages")
def test_tables_and_json_lines(xpet: Command, tmp_path: Path) -> None:
    table, lines = tmp_path / "t.csv", tmp_path / "t.jsonl"
    table.write_text('image,caption\n1.png,"ein Hund"\n2.png,"die\nKatze"\n')
    lines.write_text('{"image": "1.png", "caption": "ein Hund"}\n')
    pair = ["--from", "de", "--to", "en", "--column", "caption"]
    assert xpet("translate", table, *pair, "-o", tmp_path / "o.csv").returncode == 0
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"image": "1.png", "caption": "ein Hund", "caption_en": "a dog"},
        {"image": "2.png", "caption": "die\nKatze", "caption_en": "the\ncat"},
    ]
    done = xpet("translate", lines, *pair, "--into", "to_pivot")
    assert json.loads(done.stdout) == {"image": "1.png", "caption": "ein Hund", "to_pivot": "a dog"}


SLOW = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from xpet.translation import engine
best = engine.ArgosTranslator.best
def slow(self, texts):
    time.sleep(0.15)
    return best(self, texts)
engine.ArgosTranslator.best = slow
from xpet.translation import bulk
bulk.MAX_BATCH = 128
from xpet.cli.app import main
main(sys.argv[1:])
"""


@pytest.mark.usefixtures("packages")
def test_killed_in_the_middle_and_run_again(xpet: Command, tmp_path: Path, cache: Path) -> None:
    words = list(toy.GERMAN)
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    lines = [f"{words[n % 23]} {words[n // 23 % 23]} {n}" for n in range(2000)]
    source.write_text("\n".join(lines) + "\n")
    out.write_text("earlier\n")
    arguments = ["translate", str(source), "--from", "de", "--to", "en", "-o", str(out)]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments], stderr=subprocess.DEVNULL)
    store = cache / "translations.sqlite"
    deadline = time.monotonic() + 60
    while (not store.exists() or store.stat().st_size < 50_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "it was to be killed in the middle"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert out.read_text() == "earlier\n"
    done = xpet(*arguments, "--json")
    document = json.loads(done.stdout)
    assert document["cached"] >= 128
    assert document["translated"] >= 128
    assert document["cached"] + document["translated"] == 2000
    whole = xpet(*arguments[:-1], tmp_path / "whole.txt", XPET_CACHE=str(tmp_path / "fresh"))
    assert whole.returncode == 0
    assert out.read_bytes() == (tmp_path / "whole.txt").read_bytes()


@pytest.mark.usefixtures("packages")
def test_interrupted(tmp_path: Path, cache: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("".join(f"ein Hund {n}\n" for n in range(4000)))
    arguments = ["translate", str(source), "--from", "de", "--to", "en", "-o", str(out)]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (cache / "translations.sqlite").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate()
    words = "xpet: error: interrupted; what was finished is kept, nothing half-written is left\n"
    assert (process.returncode, message.decode()) == (130, words)
    assert [n for n in files(tmp_path) if not n.startswith("cache")] == ["in.txt"]


FULL = """
import resource, signal, sys
from xpet.jobs.translate import run as translate
run = translate._RecordTranslator.translate_all
def limited(self, records):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
    run(self, records)
translate._RecordTranslator.translate_all = limited
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from xpet.cli.app import main
main(sys.argv[2:])
"""


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(("limit", "words"), [("30000", "cannot write"), ("1000", "cannot use the translation cache")])
def test_a_full_disk(limit: str, words: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("ein Hund der Mann sieht die Katze\n" * 2000)
    out.write_text("earlier\n")
    arguments = ["translate", str(source), "--from", "de", "--to", "en", "-o", str(out)]
    done = subprocess.run([sys.executable, "-c", FULL, limit, *arguments], capture_output=True)
    failed(done, words, "run the same command again")
    assert out.read_text() == "earlier\n"
    assert [n for n in files(tmp_path) if not n.startswith("cache")] == ["in.txt", "out.txt"]


@pytest.mark.usefixtures("packages")
def test_bad_input_leaves_the_earlier_output(xpet: Command, tmp_path: Path, cache: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes(b"ein Hund\nder B\xe4r\n")
    out.write_text("earlier\n")
    pair = ["--from", "de", "--to", "en"]
    failed(xpet("translate", source, *pair, "-o", out), "in.txt line 2, byte 6: expected UTF-8, found 0xe4")
    failed(xpet("translate", source, *pair, "-o", source), "expected another file for --out than the input")
    (tmp_path / "link.txt").symlink_to(source)
    failed(xpet("translate", source, *pair, "-o", tmp_path / "link.txt"), "expected another file for --out")
    failed(xpet("translate", tmp_path / "no.txt", *pair, "-o", out), "no.txt: expected a file to translate")
    failed(xpet("translate", tmp_path, *pair, "-o", out), "expected a file to translate")
    source.write_text("ein Hund\n")
    failed(xpet("translate", source, *pair, "-o", tmp_path), "expected a file, found a folder or device")
    failed(xpet("translate", source, *pair, "-o", source / "x.txt"), "cannot write", "choose another --out")
    failed(xpet("translate", source, *pair, "-o", "/dev/null"), "expected a file, found a folder or device")
    assert out.read_text() == "earlier\n"
    assert [n for n in files(tmp_path) if not n.startswith("cache")] == ["in.txt", "link.txt", "out.txt"]


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.txt"], "expected a language in --from, found none; expected a language in --to, found none"),
        (["x.txt", "--from", "de", "--to", "de"], "expected two languages, found de for both"),
        (
            ["x.txt", "--from", "de", "--to", "fr"],
            "found de-en, en-ja; install what is missing: xpet translate --install en-fr",
        ),
        (["x.csv", "--from", "de", "--to", "en"], "x.csv has columns: expected the one to translate in --column"),
        (["x.txt", "--from", "de", "--to", "en", "--column", "a"], "--column is for .csv, .tsv and .jsonl files"),
        (["x.txt", "--from", "de", "--to", "en", "--into", "a"], "--into needs --column"),
        (["x.txt", "y.txt", "--from", "de", "--to", "en"], "expected one file to translate, found 2"),
        (["x.txt", "--from", "de", "--to", "en", "--json"], "--json needs --out"),
        (["x.txt", "--from", "de", "--to", "en", "--device", "tpu"], "unknown device 'tpu'"),
        (["--install"], "--install: expected .argosmodel files or pairs such as de-en, found none"),
        (["--install", "no.argosmodel"], "no.argosmodel: expected an .argosmodel file, found none to read"),
        (["--list-packages", "x.txt"], "--list-packages goes with neither --install nor files"),
    ],
)
def test_bad_options(arguments: list[str], words: str, xpet: Command) -> None:
    failed(xpet("translate", *arguments), words)


def test_lists_and_broken_packages(xpet: Command, packages: Path, tmp_path: Path) -> None:
    document = json.loads(xpet("translate", "--list-packages", "--json").stdout)
    assert document["chains"] == {"de-en": ["de-en"], "de-ja": ["de-en", "en-ja"], "en-ja": ["en-ja"]}
    assert [p["pair"] for p in document["packages"]] == ["de-en", "en-ja"]
    empty = xpet("translate", "--list-packages", ARGOS_PACKAGES_DIR=str(tmp_path / "none"))
    assert b"No packages in" in empty.stdout
    assert not (tmp_path / "none").exists()
    (tmp_path / "junk" / "x").mkdir(parents=True)
    assert b"Broken: package" in xpet("translate", "--list-packages", ARGOS_PACKAGES_DIR=str(tmp_path / "junk")).stdout


@pytest.mark.usefixtures("packages")
def test_odd_names_and_long_cells(xpet: Command, tmp_path: Path, german: dict[str, bytes]) -> None:
    pair, long = ("--from", "de", "--to", "en"), tmp_path / ("x" * 300)
    source = tmp_path / "in.txt"
    source.write_text("ein Hund\n")
    failed(xpet("translate", source, *pair, "-o", long), "File name too long; choose another --out")
    failed(xpet("translate", long, *pair), "expected a file to translate, found none to read (File name too long)")
    out = tmp_path / ("y" * 235)  # with .flagged.jsonl and a temporary sibling's name still one that is allowed
    assert xpet("translate", source, *pair, "-o", out).returncode == 0
    assert out.read_text() == "a dog\n"
    for ending, text, words in (
        ("tsv", "a\tb\n" + "x" * 5000 + "\n", "line 2: expected 2 fields as the header has, found 1; a .tsv file has"),
        ("csv", "x" * 5000 + ",b\n", "line 1: expected a column a, found xxx"),
        ("jsonl", json.dumps({"a": ["x" * 5000]}) + "\n", "line 1: expected text in a, found ['xxx"),
        ("jsonl", json.dumps({"x" * 5000: "y"}) + "\n", "line 1: expected text in a, found xxx"),
    ):
        table = tmp_path / f"t.{ending}"
        table.write_text(text)
        done = xpet("translate", table, *pair, "--column", "a")
        failed(done, words)
        assert b"x" * 61 not in done.stderr
        failed(xpet("translate", table, *pair, "--column", "a", "--into", "\udcff"), "--into: expected a name in UTF-8")
    toy.unpack(tmp_path / "odd", "de\udcff", german)
    done = xpet("translate", source, *pair, ARGOS_PACKAGES_DIR=str(tmp_path / "odd"))
    failed(done, "de\\udcff': expected a path in UTF-8, which its tokenizer needs; rename it")
    for number in range(50):
        (tmp_path / "odd" / f"junk{number}").mkdir()
    done = xpet("translate", source, *pair, ARGOS_PACKAGES_DIR=str(tmp_path / "odd"))
    failed(done, "expected metadata.json, found none; 48 more); install")


def test_a_damaged_cache_is_named(packages: Path, xpet: Command, cache: Path) -> None:
    assert packages.is_dir()
    pair = ("--from", "de", "--to", "en")
    assert xpet("translate", *pair, stdin=b"ein Hund\n").stdout == b"a dog\n"
    with sqlite3.connect(cache / "translations.sqlite") as base:
        base.execute("UPDATE lines SET text = x'00ff'")
    base.close()
    failed(xpet("translate", *pair, stdin=b"ein Hund\n"), "holds no translation; remove it, then run the same command")
    (cache / "translations.sqlite").write_bytes(b"x" * 5000)
    failed(xpet("translate", *pair, stdin=b"ein Hund\n"), "file is not a database; remove it, then run the same")


def test_python_api(packages: Path, tmp_path: Path) -> None:
    import xpet

    assert packages.is_dir()
    (tmp_path / "in.txt").write_text("ein Hund\n")
    config = xpet.TranslateConfig("de", "en", file=str(tmp_path / "in.txt"), out=str(tmp_path / "out.txt"))
    events: list[object] = []
    result = xpet.translate(config, events.append)
    assert (result.lines, result.chain, result.report) == (1, ("de-en",), None)
    assert (tmp_path / "out.txt").read_text() == "a dog\n"
    assert events


@pytest.mark.usefixtures("packages")
def test_a_pipe_instead_of_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    line = f"{sys.executable} -m xpet translate <(printf 'ein Hund\\nzwei Mann\\n') --from de --to en -o {out}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_text() == "a dog\ntwo man\n"
