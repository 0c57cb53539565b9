"""The command line in this process: what `python -m xpet` would read, write and answer, without a new interpreter."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from xpet.cli import app, streams


def run_here(
    *arguments: str | Path,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    folder: Path | None = None,
    encoding: str = "utf-8",
) -> CompletedProcess[bytes]:
    """Run a command on standard streams of its own.

    `environment` is added to this process's and what `without` names is taken out; `folder` is where it runs.
    `encoding` is that of the streams.
    """
    words = [str(argument) for argument in arguments]
    raw = {"stdin": io.BytesIO(stdin), "stdout": io.BytesIO(), "stderr": io.BytesIO()}
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in raw.items():
            patch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding, newline="\n"))
        for name in without:
            patch.delenv(name, raising=False)
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        if folder is not None:
            patch.chdir(folder)
        with streams.guarded():
            code = app._run(words)
        sys.stdout.flush()
        sys.stderr.flush()
        return CompletedProcess(words, code, raw["stdout"].getvalue(), raw["stderr"].getvalue())
