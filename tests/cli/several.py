"""Several commands in one interpreter, one after another: python -m tests.cli.several COMMANDS.json FOLDER.

They write to the interpreter's own standard streams, in the encoding that it chose, which are led to files NAME.out
and NAME.err of the folder; NAME.code has the exit code.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from xpet.cli import app


def lead(number: int, file: Path) -> None:
    """Lead a standard stream to a file."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, number)
    os.close(handle)


def run(words: list[str]) -> int:
    """Run a command as `python -m xpet` does; returns its exit code."""
    try:
        app.main(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def main(commands: Path, folder: Path) -> None:
    """Run the commands, by their names."""
    for name, words in json.loads(commands.read_bytes()).items():
        for number, kind in ((1, "out"), (2, "err")):
            lead(number, folder / f"{name}.{kind}")
        errors = sys.stdout.errors
        code = run([os.fsdecode(word.encode()) for word in words])  # as arguments are
        sys.stdout.reconfigure(errors=errors)  # type: ignore[union-attr]
        (folder / f"{name}.code").write_text(str(code))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
