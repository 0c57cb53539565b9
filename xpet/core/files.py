"""Files and folders written whole or not at all (under another name first, then renamed), and digests of files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from xpet.core.errors import OutputError, one_line

REMEDY = "free space or choose another place"
"""What errors advise to do when the disk refuses, unless they are told better."""
SHOWN = 50
"""Characters of a file's name that its temporary sibling's keeps: file systems limit the length of names."""
STAGED, SET_ASIDE = ".tmp", ".old"
"""Endings of temporary siblings of a file or folder that is replaced: the new one, and the earlier one."""
BLOCK = 1 << 20
"""Bytes read at a time."""
NATIVE = ("Error while serializing", "PytorchStreamWriter", "inline_container")
"""Texts that mark write errors of safetensors and torch, whose own writers raise no OSError."""
LONGEST_NATIVE = 160
"""Characters of such an error in a message."""
T = TypeVar("T")


def sha256_of(file: BinaryIO) -> str:
    """SHA-256 (hex) of an open file, from where it stands to its end; a block at a time is in memory."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def cannot_write(what: Path | str, error: OSError, remedy: str = REMEDY) -> OutputError:
    """The OutputError for `what`, which the disk refuses to store; `remedy` says what the user can do."""
    return OutputError(f"cannot write {what}: {error.strerror or error}; {remedy}")


@contextmanager
def writing(what: Path | str, remedy: str = REMEDY) -> Iterator[None]:
    """Raise OutputError in place of a write error of Python, safetensors or torch in the block."""
    try:
        yield
    except OSError as error:
        raise cannot_write(what, error, remedy) from error
    except Exception as error:
        if not any(words in str(error) for words in NATIVE):
            raise
        raise OutputError(f"cannot write {what}: {one_line(error, LONGEST_NATIVE)}; {remedy}") from error


class _Guarded(io.FileIO):
    """A new file whose write errors are OutputErrors: so an OSError raised in the same block is another file's."""

    def __init__(self, stage: Path, path: Path, remedy: str) -> None:
        super().__init__(stage, "xb")
        self._refused = lambda error: cannot_write(path, error, remedy)

    def write(self, data: Any) -> int:
        """Write bytes; raises OutputError."""
        return cast(int, self._guard(lambda: io.FileIO.write(self, data)))

    def close(self) -> None:
        """Close the file; raises OutputError."""
        self._guard(lambda: io.FileIO.close(self))

    def _guard(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except OSError as error:
            raise self._refused(error) from error


def is_temporary(path: Path) -> bool:
    """Whether a path is a temporary sibling, by its name: left over when a process was killed."""
    return path.name.startswith(".") and path.name.endswith((STAGED, SET_ASIDE))


def remove_left_over(path: Path) -> None:
    """Remove the temporary siblings of a file or folder that a killed process left.

    Where its name is so long that another one's siblings could have the same, they are left.
    """
    if len(path.name) > SHOWN or not path.parent.is_dir():
        return
    start = f".{path.name}."
    for sibling in path.parent.iterdir():
        if is_temporary(sibling) and sibling.name.startswith(start) and sibling.stem[len(start) :].isalnum():
            shutil.rmtree(sibling) if sibling.is_dir() else sibling.unlink(missing_ok=True)


def _sibling(path: Path, ending: str) -> Path:
    """A new hidden path in the same folder."""
    return path.with_name(f".{path.name[:SHOWN]}.{uuid.uuid4().hex[:8]}{ending}")


def write_file(path: Path, content: str | bytes, remedy: str = REMEDY, durable: bool = False) -> None:
    """Write a file, in UTF-8 if it is text, in place of an earlier one; raises OutputError as `replacing_file` does."""
    with replacing_file(path, remedy, durable) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def append(path: Path, text: str) -> None:
    """Add text to the end of a file in one write, so that others see all of it or nothing; raises OutputError."""
    with writing(path), path.open("ab", buffering=0) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def replacing_file(path: Path, remedy: str = REMEDY, durable: bool = False) -> Iterator[BinaryIO]:
    """A temporary sibling, open for writing, that is renamed to the file when the block succeeds.

    Links are followed. When the block fails the sibling is removed and the earlier file is as it was.

    Args:
        path: the file to write.
        remedy: what errors advise to do when the disk refuses.
        durable: whether contents and name are on the disk, not only in its cache, when the block ends.

    Raises:
        OutputError: there is no regular file at `path`, or opening, writing, closing or renaming fails. What else the
            block raises comes out as it is.
    """
    real = _regular(path)
    stage = _sibling(real, STAGED)
    try:
        file = io.BufferedWriter(_Guarded(stage, path, remedy))
    except OSError as error:
        raise cannot_write(path, error, "choose another --out") from error
    try:
        with file:
            yield file
            if durable:
                file.flush()
                _on_disk(file.fileno(), path, remedy)
        try:
            os.replace(stage, real)
        except OSError as error:
            raise cannot_write(path, error, remedy) from error
        if durable:
            _name_on_disk(real, remedy)
    except BaseException:
        with contextlib.suppress(OSError):
            stage.unlink(missing_ok=True)
        raise


def _regular(path: Path) -> Path:
    """The file that a path leads to; raises OutputError when something other than a regular file is there."""
    real = Path(os.path.realpath(path))
    try:
        if not stat.S_ISREG(real.stat().st_mode):
            raise OutputError(f"cannot write {path}: expected a file, found a folder or device")
    except FileNotFoundError:
        pass
    except OSError as error:  # such as a name that is too long
        raise cannot_write(path, error, "choose another --out") from error
    return real


def _on_disk(handle: int, path: Path, remedy: str) -> None:
    """Wait until what was written to an open file or folder is on the disk; raises OutputError."""
    with writing(path, remedy):
        os.fsync(handle)


def _name_on_disk(path: Path, remedy: str) -> None:
    """Wait until a file's new name is on the disk, where the system can (POSIX); raises OutputError."""
    if os.name != "posix":
        return
    with writing(path, remedy):
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def setting_aside(path: Path) -> Iterator[None]:
    """Rename what stands at `path` for the block: removed when the block succeeds, renamed back when it fails."""
    if not path.exists():
        yield
        return
    earlier = _sibling(path, SET_ASIDE)
    os.replace(path, earlier)
    try:
        yield
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        os.replace(earlier, path)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary sibling folder that is renamed to `path` when the block succeeds, and removed when it fails.

    Raises OutputError when something stands at `path` by then and is not to be overwritten, OSError when the disk
    refuses: callers turn it into an OutputError by `writing`, with their own name for what they write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = _sibling(path, STAGED)
    stage.mkdir()
    try:
        yield stage
        if path.exists() and not overwrite:
            raise OutputError(f"output folder {path} was made by somebody else meanwhile; choose another --out")
        with setting_aside(path):
            os.replace(stage, path)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


def write_folder(path: str | os.PathLike[str], write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder, which then becomes `path`.

    Raises OutputError when `path` is a file, is a folder with something in it, or cannot be written.
    """
    folder = Path(path).absolute()
    with writing(folder, "choose another place"):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder}: expected a new or empty folder, found something there; choose another name")
        with replacing_folder(folder) as stage:
            write(stage)
            if folder.exists():
                folder.rmdir()
