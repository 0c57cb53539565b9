"""Output files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from xpet.core.errors import OutputError

REMEDY = "free space or choose another place"
SHOWN = 50  # characters of a file's name in that of its temporary sibling, which must not be too long
T = TypeVar("T")


def cannot_write(what: Path | str, error: OSError, remedy: str = REMEDY) -> OutputError:
    """The error for a disk that refuses."""
    return OutputError(f"cannot write {what}: {error.strerror or error}; {remedy}")


NATIVE = ("Error while serializing", "PytorchStreamWriter", "inline_container")
"""Words of safetensors and torch, whose own code writes: their errors are no OSErrors."""


@contextmanager
def writing(what: Path | str, remedy: str = REMEDY) -> Iterator[None]:
    """Make a disk's refusal in the block an OutputError, be it Python, safetensors or torch that met it."""
    try:
        yield
    except OSError as error:
        raise cannot_write(what, error, remedy) from error
    except Exception as error:
        if not any(words in str(error) for words in NATIVE):
            raise
        raise OutputError(f"cannot write {what}: {' '.join(str(error).split())[:160]}; {remedy}") from error


class _Guarded(io.FileIO):
    """A new file whose refusals are OutputErrors, so that nobody takes what else fails beside it for its own."""

    def __init__(self, stage: Path, path: Path, remedy: str) -> None:
        super().__init__(stage, "xb")
        self._refused = lambda error: cannot_write(path, error, remedy)

    def write(self, data: Any) -> int:
        return cast(int, self._guard(lambda: io.FileIO.write(self, data)))

    def close(self) -> None:
        self._guard(lambda: io.FileIO.close(self))

    def _guard(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except OSError as error:
            raise self._refused(error) from error


@contextmanager
def replacing_file(path: Path, remedy: str = REMEDY) -> Iterator[BinaryIO]:
    """A temporary sibling, open for writing, that takes the file's place when the block succeeds.

    Links are followed. When the block fails the sibling vanishes and the earlier file is untouched. Raises OutputError
    when the place is no regular file, or when opening, writing, closing or renaming fails (`remedy` says what to do
    then); what else is raised in the block comes out as it is.
    """
    real = Path(os.path.realpath(path))
    try:
        if not stat.S_ISREG(real.stat().st_mode):
            raise OutputError(f"cannot write {path}: expected a file, found a folder or device")
    except FileNotFoundError:
        pass
    except OSError as error:  # such as a name that is too long
        raise cannot_write(path, error, "choose another --out") from error
    stage = real.with_name(f".{real.name[:SHOWN]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        file = io.BufferedWriter(_Guarded(stage, path, remedy))
    except OSError as error:
        raise cannot_write(path, error, "choose another --out") from error
    try:
        with file:
            yield file
        try:
            os.replace(stage, real)
        except OSError as error:
            raise cannot_write(path, error, remedy) from error
    except BaseException:
        with contextlib.suppress(OSError):
            stage.unlink(missing_ok=True)
        raise
