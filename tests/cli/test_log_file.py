"""`--log-file`: what a command did, line by line, for whoever reads it the next morning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.command import run_here
from xpet.cli import app, log_file, view
from xpet.core.errors import DataError
from xpet.core.events import Diverged, Notice, Progress, Validated
from xpet.jobs.align import chain as align
from xpet.version import VERSION

LINE = re.compile(r"(\S+) (INFO|WARNING|ERROR) +(?:rank (\d+): )?(.*)")


def parts(path: Path) -> list[tuple[str, str, str, str]]:
    """Time, level, rank and text of every line."""
    found = [LINE.fullmatch(line) for line in path.read_text("utf-8").splitlines()]
    return [(part[1], part[2], part[3], part[4]) for part in found if part is not None or pytest.fail("no such line")]


def lines(path: Path) -> list[tuple[str, str]]:
    """Level and text of every line, each of which begins with a time that has a zone."""
    assert all(datetime.fromisoformat(at).tzinfo is not None for at, *_ in parts(path))
    return [(level, text) for _, level, _, text in parts(path)]


def ends(path: Path, code: int) -> list[tuple[str, str]]:
    """The lines between the first and the last, which hold the command line and the exit code."""
    first, *inner, last = lines(path)
    assert re.fullmatch(rf"xpet {re.escape(VERSION)}, process {os.getpid()}, in .*: xpet .*", first[1])
    assert re.fullmatch(rf"exit code {code} after \d+\.\d s", last[1])
    return inner


def test_every_event_is_a_line_whatever_quiet_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def job(config, on_event):
        on_event(Notice("read on"))
        on_event(Notice("odd\ncaption \x1b[31mred\u202e \u7ea2", "warning"))
        on_event(Validated("de", 20, 400, {"val_r1": 50.0, "loss": 0.125}))
        on_event(Diverged("de", 21))
        on_event(Progress("image features", 8, 80, "few", "bytes"))
        raise DataError("nothing to train on")

    monkeypatch.setattr(align, "run", job)
    log = tmp_path / "a log.txt"
    done = run_here("align", "--quiet", "--log-file", log, "--lang", "de fr")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "xpet: warning: odd caption \\x1b[31mred\\u202e \u7ea2", "xpet: error: nothing to train on",
    ]  # fmt: skip
    assert ends(log, 2) == [
        ("INFO", "read on"),
        ("WARNING", "odd\\ncaption \\x1b[31mred\\u202e \u7ea2"),
        ("INFO", "validated de after step 20 of 400: val_r1 50, loss 0.125"),
        ("INFO", "image features: 8 of 80 bytes, few"),
        ("ERROR", "nothing to train on"),
    ]
    assert lines(log)[0][1].endswith(f": xpet align --quiet --log-file '{log}' --lang 'de fr'")
    before = len(lines(log))
    assert run_here("align", "--quiet", "--log-file", log).returncode == 2
    assert len(lines(log)) > before  # what an earlier command wrote stays


def test_progress_is_thinned_by_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with log_file.logged(["align"], print) as log:
        log.open(str(tmp_path / "log"))
        for number in range(41):
            now = 100.0 + number
            log.event(Progress("training", number, 40))
            log.event(Progress("zero-shot", number, 40))
        log.close(0)
    told = [text for _, text in lines(tmp_path / "log") if " of " in text]
    stages = ("training", "zero-shot")
    assert told == [f"{stage}: {number} of 40" for number in (0, 10, 20, 30, 40) for stage in stages]


def test_the_rank_of_one_of_several_processes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with log_file.logged(["align"], print) as log:
        log.open(str(tmp_path / "log"))
        log.close(0)
    assert [rank for _, _, rank, _ in parts(tmp_path / "log")] == ["3", "3"]


def test_errors_of_settings_are_logged_and_settings_may_name_the_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run_here("align", "--log-file", log, "--rank", "0").returncode == 2
    (error,) = ends(log, 2)
    assert error[0] == "ERROR"
    assert "rank" in error[1]
    (tmp_path / "xpet.toml").write_text('[eval]\nlog-file = "other"\n')
    done = run_here("eval", "nowhere", folder=tmp_path)
    assert done.returncode == 2
    inner = ends(tmp_path / "other", 2)
    assert inner[0] == ("INFO", "settings from xpet.toml [eval]: log-file")
    assert "nowhere" in inner[-1][1]


def test_an_unexpected_error_leaves_its_traceback_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def job(config, on_event):
        raise KeyError("lost")

    monkeypatch.setattr(align, "run", job)
    done = run_here("align", "--log-file", tmp_path / "log")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    (error,) = ends(tmp_path / "log", 1)
    assert error[1].startswith("unexpected KeyError: 'lost'; add --debug")
    assert "\\nTraceback (most recent call last):\\n" in error[1]
    with pytest.raises(KeyError):
        app._run(["align", "--log-file", str(tmp_path / "debug"), "--debug"])
    assert ends(tmp_path / "debug", 1)[0][1].startswith("KeyError: 'lost'")


def test_warnings_of_libraries_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align, "run", lambda config, on_event: warnings.warn("old call", UserWarning, stacklevel=1))
    with pytest.warns(UserWarning, match="old call"):
        run_here("align", "--log-file", tmp_path / "log")
    assert ("WARNING", "UserWarning: old call") in lines(tmp_path / "log")


@pytest.mark.skipif(os.name != "posix", reason="needs pipes with names")
def test_a_file_that_cannot_be_opened_is_an_error_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(align, "run", lambda config, on_event: pytest.fail("work began"))
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path, "Is a directory"), (tmp_path / "no" / "log", "No such file or directory"),
        (tmp_path / "pipe", "No such device or address"), (tmp_path / ("x" * 300), "File name too long"),
    ):  # fmt: skip
        done = run_here("align", "--log-file", path)
        assert done.returncode == 2
        expected = f"xpet: error: --log-file {path}: expected a file to append to, found none ({why})"
        assert done.stderr.decode().splitlines() == [expected]
    assert run_here("align", "--log-file", "", "--dry-run").returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_does_not_end_the_command(tmp_path: Path) -> None:
    done = run_here("translate", "--list-packages", "--packages", "demo", "--log-file", "/dev/full")
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        "xpet: warning: --log-file /dev/full: a line could not be written; the command goes on without it"
    ]


def test_nothing_is_logged_where_nothing_is_run(tmp_path: Path) -> None:
    assert run_here("align", "--log-file", tmp_path / "log", "--show-config").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom xpet.cli import log_file\n"
        "with log_file.logged(['align'], print) as log:\n"
        "    log.open(sys.argv[1])\n"
        "    for n in range(300):\n        log.tell(f'{n} ' + 'x' * 200)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    running = [subprocess.Popen(command, env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2"}) for rank in range(2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    for rank in ("0", "1"):
        own = [text for _, _, writer, text in parts(tmp_path / "log") if writer == rank]
        assert own[1:-1] == [f"{n} " + "x" * 200 for n in range(300)]


def test_the_view_writes_to_the_log_beside_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with log_file.logged(["merge"], print) as log:
        log.open(str(tmp_path / "log"))
        view.note("settings from here")
        view.warning("mind the gap")
        with view.progress(False) as on_event:
            on_event(Notice("once", "warning"))
        log.close(0)
    assert capsys.readouterr().err.splitlines() == [
        "xpet: settings from here", "xpet: warning: mind the gap", "xpet: warning: once",
    ]  # fmt: skip
    assert [pair for pair in lines(tmp_path / "log")][1:-1] == [
        ("INFO", "settings from here"), ("WARNING", "mind the gap"), ("WARNING", "once"),
    ]  # fmt: skip
    assert datetime.now(timezone.utc) >= datetime.fromisoformat((tmp_path / "log").read_text().split()[0])
