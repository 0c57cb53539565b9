"""A disk without room: every command that writes says so in one line, leaves nothing half-written and exits with 2."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli import reports
from tests.command import run_here
from tests.faults import child
from tests.jobs.conftest import World, cache, world, write_table  # noqa: F401
from tests.translation import toy
from xpet.core.errors import OutputError
from xpet.core.files import replacing_file
from xpet.jobs.align import run as align

FULL = "No space left on device"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own without a free byte, that still takes names."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if os.name != "posix" or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        (folder / "earlier").write_text("earlier")
        with (folder / "filler").open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 512)
                except OSError:
                    break
        yield folder
        assert sorted(p.name for p in folder.rglob("*")) == ["earlier", "filler"]
        assert (folder / "earlier").read_text() == "earlier"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def refused(done: subprocess.CompletedProcess[bytes], *words: str) -> None:
    told = done.stderr.decode()
    assert done.returncode == 2, told
    lines = [line for line in told.splitlines() if line.startswith("xpet: error: ")]
    assert len(lines) == 1, told
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    for word in words:
        assert word in lines[0]


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to translate, a package and a cache of its own."""
    toy.unpack(tmp_path / "packages", "translate-de_en-1_0", toy.files("de", "en", toy.GERMAN, tmp_path / "scratch"))
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "packages"))
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "in.txt").write_text("".join(f"ein Hund {n}\n" for n in range(300)))
    return tmp_path / "in.txt"


PAIR = ("--from", "de", "--to", "en")


def test_translate(texts: Path, disk: Path, tmp_path: Path) -> None:
    refused(
        run_here("translate", texts, *PAIR, "-o", disk / "earlier"), f"cannot write {disk}/earlier: {FULL}; run the"
    )
    done = run_here("translate", texts, *PAIR, "-o", tmp_path / "out.txt", "--json")
    assert (json.loads(done.stdout)["cached"], json.loads(done.stdout)["translated"]) == (300, 0)
    done = run_here("translate", texts, *PAIR, environment={"XPET_CACHE": str(disk)})
    (disk / "translations.sqlite").unlink()
    (disk / "translations.sqlite-journal").unlink(missing_ok=True)
    refused(done, f"cannot use the translation cache {disk}/translations.sqlite: ", "free space, set XPET_CACHE")


@pytest.mark.usefixtures("texts")
def test_translate_data(disk: Path, tmp_path: Path) -> None:
    rows = [{"image": f"{n}.png", "lang": lang, "caption": f"ein Hund {n}"} for n in range(20) for lang in ("en", "de")]
    table = write_table(tmp_path / "table.jsonl", rows)
    arguments = ("translate", "--data", "table", "--data-root", table, "--lang", "de", "--direction", "to-pivot")
    refused(run_here(*arguments, "-o", disk), f"cannot write {disk}/table-", FULL, "kept in the cache")


@pytest.mark.parametrize("name", ["csv", "html", "json", "markdown", "latex"])
def test_eval(name: str, disk: Path, tmp_path: Path) -> None:
    stored = tmp_path / "result.json"
    stored.write_text(json.dumps(reports.full().to_dict()))
    refused(run_here("eval", stored, "--format", name, "-o", disk / "earlier"), f"cannot write {disk}/earlier: {FULL}")


def test_plot(disk: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    stored = tmp_path / "result.json"
    stored.write_text(json.dumps(reports.full().to_dict()))
    refused(run_here("eval", stored, "--plot", disk / "plot.svg"), f"cannot write {disk}/plot.svg: {FULL}")


@pytest.mark.usefixtures("cache")
def test_align_and_merge(world: World, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    align.run(world.config(tmp_path / "run", "de"))
    for form in ((), ("--pytorch-bin",), ("--export", "peft"), ("--export", "opendelta")):
        done = run_here("merge", tmp_path / "run", "-o", disk / "out", "--device", "cpu", *form)
        refused(done, f"{disk}/out: expected ", "MB of free disk, found 0 MB")
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1 << 40))
        done = run_here("merge", tmp_path / "run", "-o", disk / "out", "--device", "cpu", *form)
        refused(done, f"cannot write {disk}/out: ")
        monkeypatch.undo()
    refused(run_here("merge", tmp_path / "run", "--pack", disk / "all.xpet"), "MB of free disk, found 0 MB")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1 << 40))
    refused(run_here("merge", tmp_path / "run", "--pack", disk / "all.xpet"), f"cannot write {disk}/", FULL)
    with pytest.raises(OutputError, match=rf"{disk}/run"):
        align.run(world.config(disk / "run", "de"))


def into_full(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    with open("/dev/full", "wb") as full:
        return subprocess.run(
            [sys.executable, "-m", "xpet", *map(str, arguments)], stdout=full, stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )  # fmt: skip


def forked(folder: Path, around: child.Around, arguments: Sequence[str | Path]) -> subprocess.CompletedProcess[bytes]:
    """A command in a fork of this process, in a folder, on streams as `around` makes them."""
    ended = child.start(list(map(str, arguments)), folder, folder / "notes", around=around, own=False).end()
    assert ended.told.count("\n") == (ended.code != 0), ended.told
    return subprocess.CompletedProcess(list(arguments), ended.code, ended.out.encode(), ended.told.encode())


@contextmanager
def with_standard_output(path: str) -> Iterator[None]:
    """For a process that is a command, to be entered before it begins: standard output goes to a file."""
    with open(path, "wb") as file:
        os.dup2(file.fileno(), 1)
    sys.stdout = open(1, "w", closefd=False)
    yield


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_standard_output(texts: Path, tmp_path: Path) -> None:
    stored = tmp_path / "result.json"
    stored.write_text(json.dumps(reports.full().to_dict()))
    fresh = [("translate", texts, *PAIR), ("eval", stored, "--json"), ("--version",)]
    forks = [
        ("translate", "--list-packages"), ("translate", "--list-packages", "--json"), ("eval", stored),
        ("eval", stored, "--format", "html"), ("eval", "--help"),
    ]  # fmt: skip
    for arguments in fresh:
        done = into_full(*arguments)
        refused(done, f"cannot write standard output: {FULL}")
        assert done.stderr.count(b"\n") == 1, arguments
    for arguments in forks:
        refused(
            forked(tmp_path, partial(with_standard_output, "/dev/full"), arguments),
            f"cannot write standard output: {FULL}",
        )
    done = run_here("translate", texts, *PAIR, "-o", tmp_path / "out.txt", "--json")
    assert json.loads(done.stdout)["translated"] == 0


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000,) * 2)
from xpet.cli.app import main
main(sys.argv[1:])
"""


def test_a_limit_of_the_size_of_files(tmp_path: Path) -> None:
    stored, out = tmp_path / "result.json", tmp_path / "out.html"
    stored.write_text(json.dumps(reports.full().to_dict()))
    out.write_text("earlier")
    arguments = ["eval", str(stored), "--format", "html", "-o", str(out)]
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True)
    refused(done, f"cannot write {out}: File too large; free space or choose another place")
    assert out.read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.html", "result.json"]


def _replace(path: Path, error: BaseException | None) -> None:
    """Write a file while something fails, or (None) while a folder takes its place."""
    with replacing_file(path) as file:
        file.write(b"half")
        if error is not None:
            raise error
        path.unlink()
        path.mkdir()


def test_errors_beside_the_file_are_not_taken_for_its_own(tmp_path: Path) -> None:
    for error in (BrokenPipeError(), FileNotFoundError("another"), IsADirectoryError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            _replace(tmp_path / "x", error)
    assert list(tmp_path.iterdir()) == []
    with replacing_file(tmp_path / "x") as file:
        file.write(b"whole")
    assert (tmp_path / "x").read_bytes() == b"whole"
    with pytest.raises(OutputError, match="cannot write .*/x: "):
        _replace(tmp_path / "x", None)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_full_standard_error_changes_nothing(texts: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "xpet", "translate", str(texts), *PAIR]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full)
        assert (done.returncode, done.stdout.count(b"\n")) == (0, 300)
        done = subprocess.run([*command, "--column", "no"], stdout=subprocess.PIPE, stderr=full)
        assert (done.returncode, done.stdout) == (2, b"")


@contextmanager
def with_closed(streams: str) -> Iterator[None]:
    """For a process that is a command: some of its standard streams are closed, as an interpreter begins with them."""
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if str(number) in streams:
            os.close(number)
            setattr(sys, name, None)
    yield


CLOSED = {"<&-": "0", ">&-": "1", "2>&-": "2", "<&- >&- 2>&-": "012"}


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_standard_streams(closed: str, texts: Path, tmp_path: Path) -> None:
    stored = tmp_path / "result.json"
    stored.write_text(json.dumps(reports.full().to_dict()))
    start = f"{sys.executable} -m xpet"
    for command in (f"eval {stored}", "--version"):
        done = subprocess.run(["bash", "-c", f"{start} {command} {closed}"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert bool(done.stdout) == ("1" not in CLOSED[closed]), command
    around = partial(with_closed, CLOSED[closed])
    for arguments in (("eval", stored, "--json"), ("translate", "--list-packages")):
        ended = forked(tmp_path, around, arguments)
        assert (ended.returncode, ended.stderr) == (0, b""), arguments
        assert bool(ended.stdout) == ("1" not in CLOSED[closed]), arguments
    out = tmp_path / "out.txt"
    assert forked(tmp_path, around, ("translate", texts, *PAIR, "-o", out)).returncode == 0
    assert out.read_text().count("\n") == 300
    line = f"{start} translate --from de --to en {closed} < {texts if '<' not in closed else '/dev/null'}"
    if closed == ">&-":
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "expected --out or standard output, found neither" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="a pipe that nobody reads")
@pytest.mark.parametrize("arguments", [("eval", "--help"), ("translate", "--list-packages", "--packages", "demo")])
def test_a_reader_that_has_gone_is_no_error(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-m", "xpet", *arguments], stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
