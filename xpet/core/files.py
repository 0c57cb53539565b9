"""Output files that are written whole or not at all."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from xpet.core.errors import OutputError


@contextmanager
def replacing_file(path: Path) -> Iterator[BinaryIO]:
    """A temporary sibling, open for writing, that takes the file's place when the block succeeds.

    Links are followed. When the block fails the sibling vanishes and the earlier file is untouched. Raises OutputError
    when the place is no regular file or cannot be written.
    """
    real = Path(os.path.realpath(path))
    if real.exists() and not stat.S_ISREG(real.stat().st_mode):
        raise OutputError(f"cannot write {path}: expected a file, found a folder or device")
    stage = real.with_name(f".{real.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        file = stage.open("xb")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another --out") from error
    try:
        with file:
            yield file
        os.replace(stage, real)
    except BaseException:
        stage.unlink(missing_ok=True)
        raise
