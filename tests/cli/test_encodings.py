"""Standard output in an encoding that lacks characters: drawn in ASCII, other scripts escaped, JSON and UTF-8 sound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import reports
from tests.jobs.conftest import World, cache, world, write_table  # noqa: F401
from tests.translation import toy

ENCODINGS = (
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)  # fmt: skip
JAPANESE = "\u3042\u304b\u3044 \u3044\u306c"


def run(environment: dict[str, str], *arguments: str | Path, stdin: bytes = b"") -> bytes:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONIO", "PYTHONUTF8"))}
    command = [sys.executable, "-m", "xpet", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, env={**inherited, **environment})
    assert done.returncode == 0, done.stderr
    assert b"unexpected" not in done.stderr
    return done.stdout


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(reports.hostile().to_dict()))
    return path


@pytest.mark.parametrize("environment", ENCODINGS)
def test_reports(environment: dict[str, str], stored: Path, tmp_path: Path) -> None:
    for name in ("terminal", "table"):
        text = run(environment, "eval", stored, "--format", name)
        assert text.isascii() or environment == ENCODINGS[0]
        assert b"\\u" in text
        for sign in "\u2500\u2588\u258f\u2592\u00b1":
            assert sign.encode("cp1252", "backslashreplace") not in text, sign
    document = json.loads(run({}, "eval", stored, "--json").decode())
    for options in (("--json",), ("--format", "json")):
        text = run(environment, "eval", stored, *options)
        assert text.isascii()
        assert json.loads(text) == document
    page = run({"PYTHONIOENCODING": "utf-8"}, "eval", stored, "--format", "html")
    assert not page.isascii()
    assert run(environment, "eval", stored, "--format", "html") == page
    run(environment, "eval", stored, "--format", "html", "-o", tmp_path / "out.html")
    assert (tmp_path / "out.html").read_bytes() == page


@pytest.mark.parametrize("environment", ENCODINGS)
def test_translate_writes_utf8(environment: dict[str, str], tmp_path: Path) -> None:
    toy.unpack(tmp_path / "p", "translate-en_ja-1_0", toy.files("en", "ja", toy.JAPANESE, tmp_path / "scratch"))
    given = {**environment, "ARGOS_PACKAGES_DIR": str(tmp_path / "p"), "XPET_CACHE": str(tmp_path / "c")}
    assert run(given, "translate", "--from", "en", "--to", "ja", stdin=b"red dog\n").decode() == f"{JAPANESE}\n"
    table = tmp_path / "t\u00fc\u4e00.csv"
    table.write_text("caption\nred dog\n")
    out = tmp_path / "\u4e00.csv"
    said = run(given, "translate", table, "--from", "en", "--to", "ja", "--column", "caption", "-o", out)
    assert b"1 line" in said
    assert out.read_text(encoding="utf-8") == f"caption,caption_ja\nred dog,{JAPANESE}\n"


@pytest.mark.parametrize("environment", ENCODINGS)
def test_lint_and_plan(environment: dict[str, str], world: World, tmp_path: Path) -> None:  # noqa: F811
    rows = [
        {"image": f"{n}.png", "lang": lang, "caption": f"\u4e00 \u732b {n // 2}"}
        for n in range(8)
        for lang in ("en", "ja")
    ]
    table = write_table(tmp_path / "table.jsonl", rows)
    lint = ("eval", "--lint", "--data", "table", "--data-root", table, "--lang", "en,ja")
    assert run(environment, *lint)
    text = run(environment, *lint, "--json")
    assert text.isascii()
    assert json.loads(text) == json.loads(run({"PYTHONIOENCODING": "utf-8"}, *lint, "--json").decode())
    plan = (
        "align", "--model", world.text, "--data", "table", "--data-root", world.table, "--image-features",
        world.features, "--lang", "de", "--device", "cpu", "--dry-run", "--shots", "8", "-o", tmp_path / "\u4e00\u00e9",
    )  # fmt: skip
    assert b"Dry run on cpu, table: de" in run(environment, *plan)


def test_errors_are_told_in_any_encoding(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xpet", "eval", str(tmp_path / "\u4e00.json")]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert rb"\u4e00" in done.stderr
