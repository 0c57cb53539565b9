"""Files and folders written whole or not at all: nothing is left beside them, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xpet.core import files
from xpet.core.errors import OutputError
from xpet.core.files import (
    is_temporary,
    remove_abandoned,
    replacing_file,
    replacing_folder,
    setting_aside,
    write_file,
    write_folder,
    writing,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def full(*args: object, **more: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole(durable: bool, tmp_path: Path) -> None:
    write_file(tmp_path / "a", "Hündin\n", durable=durable)
    assert (tmp_path / "a").read_bytes() == "Hündin\n".encode()
    write_file(tmp_path / "a", b"\xff", durable=durable)
    assert (tmp_path / "a").read_bytes() == b"\xff"
    assert names(tmp_path) == ["a"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("earlier")
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_refusing_disk_keeps_the_earlier_file(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_file(path, "earlier")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match=f"^cannot write {path}: No space left on device; sell something$"):
        write_file(path, "new", "sell something", durable=True)
    monkeypatch.undo()
    assert (path.read_text(), names(tmp_path)) == ("earlier", ["a"])


def test_what_stands_beside_a_file_is_known_by_its_name(tmp_path: Path) -> None:
    with replacing_file(tmp_path / ("x" * 200)) as file, replacing_folder(tmp_path / "folder") as stage:
        assert all(map(is_temporary, tmp_path.iterdir()))
        assert {Path(file.name), stage} == set(tmp_path.iterdir())
    assert names(tmp_path) == ["folder", "x" * 200]
    assert not any(map(is_temporary, [*tmp_path.iterdir(), Path("a.tmp"), Path(".hidden")]))


@pytest.mark.parametrize("earlier", ["none", "empty"])
def test_a_folder_is_complete_or_absent(earlier: str, tmp_path: Path) -> None:
    folder = tmp_path / "parent" / "folder"
    if earlier == "empty":
        folder.mkdir(parents=True)

    def write(stage: Path) -> None:
        (stage / "a").write_text("a")
        full()

    with pytest.raises(OutputError, match=f"^cannot write {folder}: No space left on device; choose another place$"):
        write_folder(folder, write)
    assert names(tmp_path / "parent") == (["folder"] if earlier == "empty" else [])
    write_folder(folder, lambda stage: write_file(stage / "a", "a"))
    assert (names(tmp_path / "parent"), names(folder)) == (["folder"], ["a"])
    with pytest.raises(OutputError, match="found something there"):
        write_folder(folder, lambda stage: None)


@pytest.mark.parametrize("error", [OSError("refused"), KeyboardInterrupt()])
def test_what_was_set_aside_comes_back(error: BaseException, tmp_path: Path) -> None:
    write_folder(tmp_path / "a", lambda stage: write_file(stage / "earlier", ""))

    def fail() -> None:
        with setting_aside(tmp_path / "a"):
            assert not (tmp_path / "a").exists()
            (tmp_path / "a").mkdir()
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (names(tmp_path), names(tmp_path / "a")) == (["a"], ["earlier"])
    with replacing_folder(tmp_path / "a", overwrite=True) as stage:
        write_file(stage / "new", "")
    assert (names(tmp_path), names(tmp_path / "a")) == (["a"], ["new"])


def test_only_what_a_disk_refuses_is_an_output_error(tmp_path: Path) -> None:
    text = "^cannot write the pack: No space left on device; free space or choose another place$"
    with pytest.raises(OutputError, match=text), writing("the pack"):
        full()
    with pytest.raises(ZeroDivisionError), writing("the pack"):
        raise ZeroDivisionError


KILLED = """
import os, pathlib, signal, sys
from xpet.core.files import replacing_file, replacing_folder, setting_aside
folder = pathlib.Path(sys.argv[1])
with replacing_file(folder / "file") as file, replacing_folder(folder / "new") as stage:
    file.write(b"half")
    (stage / "half").touch()
    with setting_aside(folder / "folder"):
        (folder / "folder").mkdir()
        print(flush=True)
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="the system tells what a living process holds")
def test_what_a_killed_process_left_is_removed_by_the_next_but_not_what_a_living_one_holds(tmp_path: Path) -> None:
    def write_all() -> None:
        write_file(tmp_path / "file", "whole")
        for name in ("new", "folder"):
            with replacing_folder(tmp_path / name, overwrite=True) as stage:
                (stage / "whole").touch()

    write_folder(tmp_path / "folder", lambda stage: write_file(stage / "earlier", ""))
    others = {".file.txt.01234567.tmp", ".file.0123.tmp", "file.01234567.tmp"}  # siblings of other files, if any
    for name in others:
        (tmp_path / name).touch()
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"\n"
        left = set(names(tmp_path)) - others - {"folder"}
        assert len(left) == 3
        write_all()
        assert set(names(tmp_path)) - others == {"file", "new", "folder", *left}
        process.stdin.close()
    assert process.returncode == -signal.SIGKILL
    write_all()
    assert set(names(tmp_path)) - others == {"file", "new", "folder"}
    assert others <= set(names(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="the system tells what a living process holds")
def test_a_sibling_that_was_taken_for_abandoned_before_it_was_held_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grip, taken = files._grip, []

    def late(path: Path, wait: bool) -> int | None:
        if wait and not taken:
            taken.append(path.name)
            remove_abandoned([path])
        return grip(path, wait)

    monkeypatch.setattr(files, "_grip", late)
    write_file(tmp_path / "a", "whole")
    assert ((tmp_path / "a").read_text(), names(tmp_path), len(taken)) == ("whole", ["a"], 1)
