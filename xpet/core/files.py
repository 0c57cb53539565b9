"""Files and folders written whole or not at all (under another name first, then renamed), and digests of files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from xpet.core.errors import OutputError, one_line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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
    """Remove the temporary siblings of a file or folder that a killed process left."""
    remove_abandoned(_siblings(path))


def remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove those temporary files and folders that no living process holds: killed ones left them.

    Nothing is removed where the system cannot tell, or refuses.
    """
    for path in paths:
        handle = _grip(path, wait=False)
        if handle is not None:
            _remove(path)
            os.close(handle)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a file or folder for the block, whatever its name becomes, so that nobody takes it for abandoned."""
    handle = _grip(path, wait=True)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _grip(path: Path, wait: bool) -> int | None:
    """A handle that holds a file or folder while it is open; None where somebody else has it or there are no holds."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # held elsewhere, or a file system without holds
        os.close(handle)
        return None
    return handle


def _remove(path: Path) -> None:
    """Remove a file or folder, if the system lets it be removed."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _siblings(path: Path) -> Iterator[Path]:
    """The temporary siblings of a path; one that was set aside only where its replacement is there."""
    endings = (STAGED, SET_ASIDE) if path.exists() else (STAGED,)
    pattern = re.compile(rf"\.{re.escape(path.name[:SHOWN])}\.[0-9a-f]{{8}}({'|'.join(map(re.escape, endings))})")
    with contextlib.suppress(OSError):  # no such folder, or one that may not be listed
        yield from (path.with_name(name) for name in os.listdir(path.parent) if pattern.fullmatch(name))


def _sibling(path: Path, ending: str) -> Path:
    """A new hidden path in the same folder."""
    return path.with_name(f".{path.name[:SHOWN]}.{uuid.uuid4().hex[:8]}{ending}")


@contextmanager
def _staged(path: Path, make: Callable[[Path], T]) -> Iterator[tuple[Path, T]]:
    """A new temporary sibling and what `make` made of it, held for the block; abandoned ones are removed first."""
    remove_left_over(path)
    while True:
        stage = _sibling(path, STAGED)
        made = make(stage)
        with held(stage):
            if os.path.lexists(stage):  # nobody took it for abandoned before it was held
                yield stage, made
                return


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
    with _staged(real, lambda stage: _new_file(stage, path, remedy)) as (stage, file):
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
            _remove(stage)
            raise


def _new_file(stage: Path, path: Path, remedy: str) -> io.BufferedWriter:
    """A new file, open for writing, that will be renamed to `path`; raises OutputError."""
    try:
        return io.BufferedWriter(_Guarded(stage, path, remedy))
    except OSError as error:
        raise cannot_write(path, error, "choose another --out") from error


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """The path of a temporary sibling, for a library that writes to a path; it is renamed to the file when all is well.

    By then its contents are on the disk. When the block fails the sibling is removed and the earlier file is as it was.
    Raises OSError when the disk refuses: callers turn it into an OutputError by `writing`.
    """
    stage = _sibling(path, STAGED)
    try:
        yield stage
        with stage.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(stage, path)
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
    with held(path):
        os.replace(path, earlier)
        try:
            yield
        except BaseException:
            _remove(path)
            os.replace(earlier, path)
            raise
        _remove(earlier)


@contextmanager
def replacing_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary sibling folder that is renamed to `path` when the block succeeds, and removed when it fails.

    Raises OutputError when something stands at `path` by then and is not to be overwritten, OSError when the disk
    refuses: callers turn it into an OutputError by `writing`, with their own name for what they write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _staged(path, lambda stage: stage.mkdir()) as (stage, _):
        try:
            yield stage
            if path.exists() and not overwrite:
                raise OutputError(f"output folder {path} was made by somebody else meanwhile; choose another --out")
            with setting_aside(path):
                os.replace(stage, path)
        except BaseException:
            _remove(stage)
            raise
    remove_left_over(path)


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
