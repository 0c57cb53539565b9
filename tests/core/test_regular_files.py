"""Files are opened to read, and nothing else: neither a pipe nor a device makes a reader wait."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from xpet.core.regular_files import check_regular, open_regular, read_bytes, read_text

ROOT = Path(__file__).resolve().parent.parent.parent / "xpet"
READERS = re.compile(r"\.read_text\(|\.read_bytes\(|\bopen\([^)\n]*\"rb\"")
OTHERS = {
    "core/regular_files.py": "the readers of all others",
    "data/locking.py": "the file of a lock",
    "data/text_corpus.py": "pipes are read, too",
    "data/unpacked.py": "the unpackers of open files",
    "jobs/align/text_lines.py": "pipes, which are copied",
    "jobs/shared/package_folder.py": "xpet's own files",
    "jobs/translate/run.py": "pipes are read, too",
    "models/onnx_export.py": "files that were written a moment ago",
    "translation/install.py": "archives' members",
    "translation/scores.py": "pipes are read, too",
}
"""Files of xpet that open files in another way, and why; those of the demo read what xpet brings."""


def linked(path: Path, to: str) -> None:
    path.symlink_to(to)


def socketed(path: Path) -> None:
    os.chdir(path.parent)
    socket.socket(socket.AF_UNIX).bind(path.name)


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices")
@pytest.mark.parametrize(("make", "words"), [
    (lambda path: None, "No such file"),
    (os.mkdir, "Is a directory"),
    (os.mkfifo, "a pipe, not a file"),
    (lambda path: linked(path, "/dev/zero"), "a device, not a file"),
    (socketed, "a socket, not a file"),
    (lambda path: linked(path, "nothing"), "No such file"),
    (lambda path: linked(path, path.name), "symbolic links"),
], ids=["nothing", "folder", "pipe", "device", "socket", "broken link", "loop of links"])  # fmt: skip
def test_all_else_is_refused_at_once(
    make: Callable[[Path], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x"
    make(path)
    for read in (open_regular, check_regular, read_bytes, read_text):
        with pytest.raises(OSError, match=words) as raised:
            read(path)
        assert raised.value.filename == str(path)


def test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes("Hündin\r\nKater".encode())
    (tmp_path / "link").symlink_to(path)
    assert read_text(tmp_path / "link") == "Hündin\nKater"
    assert read_bytes(str(path)) == "Hündin\r\nKater".encode()
    with open_regular(path) as file:
        assert (file.readline(), file.peek(), os.get_blocking(file.fileno())) == ("Hündin\r\n".encode(), b"Kater", True)
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(path)


def test_everything_is_read_in_this_way() -> None:
    others = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if READERS.search(path.read_text(encoding="utf-8")) and "demo" not in path.parts
    }
    assert others <= set(OTHERS), "use xpet.core.regular_files"
