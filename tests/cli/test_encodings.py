"""Standard output in an encoding that lacks characters: drawn in ASCII, other scripts escaped, JSON and UTF-8 sound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import reports
from tests.command import run_here
from tests.jobs.conftest import World, world, write_table  # noqa: F401
from tests.translation import toy
from tests.worlds import ROOT

ENCODINGS = (
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)  # fmt: skip
"""What makes an interpreter choose another encoding."""
JAPANESE = "\u3042\u304b\u3044 \u3044\u306c"
WITH_MODELS = ("lint", "lint json", "plan")
"""They load torch, which takes seconds: tried in one encoding and in UTF-8, on streams of this process."""
Said = dict[str, bytes]


def commands(world: World, given: Path, out: Path) -> dict[str, list[str | Path]]:  # noqa: F811
    """The commands by their names: on files of one folder, writing to another."""
    rows = [
        {"image": f"{n}.png", "lang": lang, "caption": f"\u4e00 \u732b {n // 2}"}
        for n in range(8)
        for lang in ("en", "ja")
    ]
    lines, result = given / "t\u00fc\u4e00.csv", given / "result.json"
    lines.write_text("caption\nred dog\n")
    result.write_text(json.dumps(reports.hostile().to_dict()))
    table = write_table(given / "table.jsonl", rows)
    stored, lint = ("eval", result), ("eval", "--lint", "--data", "table", "--data-root", table, "--lang", "en,ja")
    words = ("translate", "--from", "en", "--to", "ja")
    plan = (
        "align", "--model", world.text, "--data", "table", "--data-root", world.table, "--image-features",
        world.features, "--lang", "de", "--device", "cpu", "--dry-run", "--shots", "8", "-o", out / "\u4e00\u00e9",
    )  # fmt: skip
    return {
        "terminal": [*stored, "--format", "terminal"], "table": [*stored, "--format", "table"],
        "json": [*stored, "--json"], "json again": [*stored, "--format", "json"],
        "html": [*stored, "--format", "html"], "html file": [*stored, "--format", "html", "-o", out / "out.html"],
        "translate": list(words), "translate file": [*words, lines, "--column", "caption", "-o", out / "\u4e00.csv"],
        "lint": list(lint), "lint json": [*lint, "--json"], "plan": list(plan),
    }  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder, and variables that name a translation package and a cache in it."""
    folder = tmp_path_factory.mktemp("encodings")
    toy.unpack(folder / "p", "translate-en_ja-1_0", toy.files("en", "ja", toy.JAPANESE, folder / "scratch"))
    return folder, {"ARGOS_PACKAGES_DIR": str(folder / "p"), "XPET_CACHE": str(folder / "c")}


@pytest.fixture(scope="module")
def all_said(world: World, places: tuple[Path, dict[str, str]]) -> list[tuple[Path, Said]]:  # noqa: F811
    """For each encoding: the folder, and what the commands say, all in one interpreter."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONIO", "PYTHONUTF8"))}
    folder, variables = places
    found = []
    for number, environment in enumerate(ENCODINGS):
        here = folder / str(number)
        (here / "said").mkdir(parents=True)
        given = {
            name: [str(word) for word in words]
            for name, words in commands(world, folder, here).items()
            if name not in WITH_MODELS
        }
        (here / "commands.json").write_text(json.dumps(given))
        command = [sys.executable, "-m", "tests.cli.several", str(here / "commands.json"), str(here / "said")]
        whole = {**inherited, **variables, **environment}
        done = subprocess.run(command, input=b"red dog\n", env=whole, cwd=ROOT)
        assert done.returncode == 0
        found.append((here, {name: said_by(name, here / "said") for name in given}))
    return found


def said_here(
    names: tuple[str, ...],
    encoding: str,
    world: World,  # noqa: F811
    places: tuple[Path, dict[str, str]],
) -> Said:
    """What some of the commands say in an encoding, in this process."""
    folder, variables = places
    (folder / encoding).mkdir()
    given = commands(world, folder, folder / encoding)
    done = {name: run_here(*given[name], environment=variables, encoding=encoding) for name in names}
    assert [each.returncode for each in done.values()] == [0] * len(names), done
    return {name: each.stdout for name, each in done.items()}


@pytest.fixture(scope="module")
def utf8(world: World, places: tuple[Path, dict[str, str]]) -> Said:  # noqa: F811
    """What commands say that are also tried in another encoding."""
    return said_here(("json", "html", "lint json"), "utf-8", world, places)


def said_by(name: str, folder: Path) -> bytes:
    errors = (folder / f"{name}.err").read_bytes()
    assert (folder / f"{name}.code").read_text() == "0", errors
    assert b"unexpected" not in errors
    return (folder / f"{name}.out").read_bytes()


@pytest.mark.parametrize("number", range(len(ENCODINGS)))
def test_reports(number: int, all_said: list[tuple[Path, Said]], utf8: Said) -> None:
    folder, said = all_said[number]
    for name in ("terminal", "table"):
        text = said[name]
        assert text.isascii() or number == 0
        assert b"\\u" in text
        for sign in "\u2500\u2588\u258f\u2592\u00b1":
            assert sign.encode("cp1252", "backslashreplace") not in text, sign
    document = json.loads(utf8["json"].decode())
    for name in ("json", "json again"):
        assert said[name].isascii()
        assert json.loads(said[name]) == document
    page = utf8["html"]
    assert not page.isascii()
    assert said["html"] == page
    assert (folder / "out.html").read_bytes() == page


@pytest.mark.parametrize("number", range(len(ENCODINGS)))
def test_translate_writes_utf8(number: int, all_said: list[tuple[Path, Said]]) -> None:
    folder, said = all_said[number]
    assert said["translate"].decode() == f"{JAPANESE}\n"
    assert b"1 line" in said["translate file"]
    assert (folder / "\u4e00.csv").read_text(encoding="utf-8") == f"caption,caption_ja\nred dog,{JAPANESE}\n"


def test_lint_and_plan(world: World, places: tuple[Path, dict[str, str]], utf8: Said) -> None:  # noqa: F811
    said = said_here(WITH_MODELS, "cp1252", world, places)
    assert said["lint"]
    assert said["lint json"].isascii()
    assert json.loads(said["lint json"]) == json.loads(utf8["lint json"].decode())
    assert b"Dry run on cpu, table: de" in said["plan"]


def test_errors_are_told_in_any_encoding(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xpet", "eval", str(tmp_path / "\u4e00.json")]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert rb"\u4e00" in done.stderr
