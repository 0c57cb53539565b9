"""The real command line on the embedded demo: what goes to stdout, to a terminal, and to the disk.

Numbers of the demo are never asserted: its weights may be built anew.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command import run_here
from tests.faults import child
from tests.rounding import alike_runs
from xpet.core.rundir import FILES

SHORT = ("align", "--lang", "de", "--method", "lora", "--shots", "20", "--steps", "10")
SYNTHETIC = "synthetic demo world: the numbers show how xpet works, not how a real model does"
ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-8]|9[0-7])(?:;[0-9]+)*m")
ANY_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
DOCUMENT = {
    "command", "schema", "note", "method", "trainable", "total", "share", "data", "shots", "synthetic", "compared",
    "english_before", "before", "after", "languages", "runs", "translates_queries", "seconds", "peak_memory",
    "folder", "failed", "mapped", "conclusion", "images",
}  # fmt: skip
LANGUAGE = {
    "language", "routine", "loss", "align_weight", "learning_rate", "seeds", "target_before", "translated_before",
    "aligned", "aligned_std", "gain", "english_after", "seconds", "folder", "trainable", "map", "candidate",
}  # fmt: skip
DROPPED = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME")
"""Variables a command under test must not see."""
SPREAD = {"mean", "range", "std", "worst", "mean_gap"}


@dataclass(frozen=True)
class Place:
    """Where commands run: an empty home and working folder, a cache, and a small split of the demo."""

    root: Path
    split: Path

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def settings(self) -> dict[str, str]:
        return {"HOME": str(self.root / "home"), "XPET_CACHE": str(self.cache), "TERM": "xterm-256color"}

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in DROPPED}
        return {**kept, **self.settings, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A process of its own, from a cold start."""
        return subprocess.run(
            [sys.executable, "-m", "xpet", *arguments],
            capture_output=True, text=True, env=self.environment(), cwd=self.root / "work",
        )  # fmt: skip

    def here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same in this process, which has loaded everything already."""
        done = run_here(*arguments, environment=self.settings, without=DROPPED, folder=self.root / "work")
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def terminal(self, *arguments: str) -> tuple[int, str]:
        """Exit code and everything written by a command whose stdout and stderr are a terminal: a fork of this one."""
        process, master = pty.fork()
        if process == 0:
            self._be(arguments)
        text = drain(master)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text

    def _be(self, arguments: Sequence[str]) -> None:
        """Become a process that runs a command on its own standard streams."""
        code = 1
        try:
            sys.stdin, sys.stdout, sys.stderr = (open(n, "r" if n == 0 else "w", closefd=False) for n in range(3))
            environment = self.environment()
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(self.root / "work")
            code = child.run(arguments)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def files(self) -> set[str]:
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*")}


def drain(master: int) -> str:
    """All a terminal shows until its last writer is gone."""
    seen = b""
    while select.select([master], [], [], 120)[0]:
        try:
            block = os.read(master, 1 << 16)
        except OSError:  # Linux says EIO at the end
            break
        if not block:
            break
        seen += block
    os.close(master)
    return seen.decode("utf-8").replace("\r\n", "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    from xpet.demo import assets

    root = tmp_path_factory.mktemp("cli")
    for name in ("home", "work"):
        (root / name).mkdir()
    sizes = {"train": 20, "validation": 20, "test": 60}
    split = {
        part: [f"demo_{number:05d}" for number in assets.split_ranges()[part][:size]] for part, size in sizes.items()
    }
    (root / "split.json").write_text(json.dumps(split), encoding="utf-8")
    return Place(root, root / "split.json")


@pytest.fixture(scope="module")
def first(place: Place) -> subprocess.CompletedProcess[str]:
    """The short command with --json, from a cold start."""
    before = place.files()
    done = place.run(*SHORT, "--split-file", str(place.split), "--json")
    assert done.returncode == 0, done.stderr
    new = place.files() - before
    assert {Path(name).parts[0] for name in new} == {"cache"}
    assert {Path(name).parts[1] for name in new if "/" in name} == {"features", "runs"}
    folder = json.loads(done.stdout)["folder"].removeprefix(f"{place.root}/")
    assert re.fullmatch(r"cache/runs/de-lora-\d{8}-\d{6}-[0-9a-f]{4}", folder)
    assert {name for name in new if name.startswith("cache/runs/")} == {folder, *(f"{folder}/{n}" for n in FILES)}
    return done


@pytest.fixture(scope="module")
def document(first: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON document that command printed."""
    document: dict[str, Any] = json.loads(first.stdout)
    return document


def test_json_is_one_document_and_nothing_else(
    first: subprocess.CompletedProcess[str], document: dict[str, Any], place: Place
) -> None:
    assert first.stdout.startswith("{\n")
    assert first.stdout.endswith("\n}\n")
    assert set(document) >= DOCUMENT
    assert (document["command"], document["schema"], document["note"]) == ("align", 1, SYNTHETIC)
    (language,) = document["languages"]
    assert set(language) == LANGUAGE
    assert set(document["before"]) == set(document["mapped"]) == set(document["after"]) == SPREAD
    assert document["conclusion"].startswith("Against the best map of the same captions")
    assert language["gain"] == pytest.approx(language["aligned"] - language["target_before"])
    assert document["folder"] == language["folder"]
    assert Path(document["folder"]).parent == place.cache / "runs"
    assert (document["synthetic"], document["translates_queries"], document["failed"]) == (True, True, [])
    assert document["compared"] == ["en", "de"]
    assert 0 < document["share"] < 5


def test_no_progress_without_a_terminal(first: subprocess.CompletedProcess[str]) -> None:
    assert ESCAPE not in first.stdout + first.stderr
    assert "\r" not in first.stdout + first.stderr
    lines = first.stderr.splitlines()
    assert all(line.startswith("xpet: ") for line in lines)
    assert not any("training" in line or "zero-shot" in line for line in lines)


def test_the_same_command_again_in_text(document: dict[str, Any], place: Place) -> None:
    """The first ran in a process of its own: neither what is loaded already nor what is cached changes a number."""
    before = place.files()
    done = place.here(*SHORT, "--split-file", str(place.split))
    assert done.returncode == 0
    folder = Path(done.stdout.splitlines()[-2].removeprefix("Run:  "))
    name = f"cache/runs/{folder.name}"
    assert str(folder) != document["folder"]
    assert place.files() - before == {name, *(f"{name}/{n}" for n in FILES)}
    assert ESCAPE not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("R@1 on the test split of demo, lora, ")
    (language,) = document["languages"]
    row = next(line.split() for line in lines if line.startswith("de "))
    measured = (language["target_before"], language["translated_before"], language["map"]["r1"], language["aligned"])
    assert row[:7] == ["de", "routine3", *(f"{r1:.1f}" for r1 in measured), f"{language['gain']:+.1f}"]
    assert document["conclusion"] in lines
    assert f"Note: {SYNTHETIC}." in lines
    assert "This routine searches with text translated to English: queries must be translated when serving." in lines
    assert lines[-2:] == [f"Run:  {folder}", f"Next: xpet eval {folder}"]
    alike_runs(folder, Path(document["folder"]))


def test_eval_of_the_printed_path_on_a_terminal(document: dict[str, Any], place: Place) -> None:
    before = place.files()
    code, text = place.terminal("eval", document["folder"], "--lang", "en,de")
    assert code == 0
    assert place.files() == before
    assert COLOUR.search(text)
    assert "evaluating" in text  # bars on the terminal
    plain = ANY_ESCAPE.sub("", text)
    assert "R@1 on 60 test images of demo" in plain
    assert "─────" in plain
    (language,) = document["languages"]
    row = next(line.split() for line in plain.splitlines() if line.strip().startswith("de "))
    measured = (*(language[k] for k in ("target_before", "translated_before", "aligned")), language["map"]["r1"])
    figures = [f"{r1:.1f}" for r1 in measured]
    assert [cell for cell in row if cell in figures] == figures
    assert f"{language['gain']:+.1f}" in row
    assert "translated to English" in plain  # what it searches with
    assert f"Note: {SYNTHETIC}." in " ".join(plain.split())


def result_of(document: dict[str, Any]) -> Any:
    """The result the document was made of."""
    from xpet.core.estimates import Disparity
    from xpet.core.run_record import RunResult
    from xpet.core.typed import build
    from xpet.jobs.results.align import AlignResult, LanguageResult

    fields = {k: v for k, v in document.items() if k not in ("command", "schema", "note", "share")}
    spreads = ("before", "mapped", "after")
    fields |= {name: Disparity(document["compared"], best="en", **document[name]) for name in spreads}
    fields["languages"] = tuple(build(LanguageResult, one) for one in document["languages"])
    fields["runs"] = tuple(build(RunResult, one) for one in document["runs"])
    return AlignResult(**fields)


def shown(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """What the report looks like on a terminal of 80 columns."""
    from xpet.cli import align_view, view

    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": "80", "TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        result = result_of(document)
        view.show(align_view.summary(result), result, as_json=False)
    return drain(master)


def test_a_narrow_terminal_cuts_no_figure(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(document, monkeypatch)
    assert COLOUR.search(text)
    plain = ANY_ESCAPE.sub("", text)
    assert "…" not in plain
    (language,) = document["languages"]
    row = next(line.split() for line in plain.splitlines() if line.startswith(" de "))
    assert row[:4] == ["de", "routine3", f"{language['target_before']:.1f}", f"{language['translated_before']:.1f}"]
    assert f"{document['share']:.2f} %" in plain
    assert all(len(line) <= 80 for line in plain.splitlines() if line.startswith(" "))


def test_no_color_is_respected(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(document, monkeypatch, NO_COLOR="1")
    assert "─────" in text
    assert not COLOUR.search(text)


def test_an_unknown_language_is_one_line(place: Place) -> None:
    before = place.files()
    done = place.here("align", "--lang", "dee")
    assert (done.returncode, done.stdout) == (2, "")
    known = "de, en, es, fr, it, ja, ko, pl, ru, tr, zh"
    assert done.stderr == (
        f"xpet: error: unknown language of demo 'dee': expected one of {known}; did you mean 'de'?\n"
    )
    assert place.files() == before


def test_version_and_import_write_nothing(place: Place) -> None:
    from xpet.version import VERSION

    before = place.files()
    done = place.run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"xpet {VERSION}\n", "")
    code = "import xpet; xpet.align, xpet.evaluate, xpet.AlignConfig"
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=place.root / "work",
        env={k: v for k, v in place.environment().items() if k != "XPET_CACHE"},
    )  # fmt: skip
    assert place.files() == before


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    from xpet.cli import app

    assert app._run([]) == 0
    out, error = capsys.readouterr()
    assert out.startswith("Usage: ")
    assert error == ""


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from xpet.cli import app

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xpet.jobs.align.chain.run_phase", interrupted)
    assert app._run(["align", "--lang", "de"]) == 130
    out, error = capsys.readouterr()
    assert out == ""
    assert error.strip().splitlines() == [
        "xpet: error: interrupted; what was finished is kept, nothing half-written is left"
    ]
