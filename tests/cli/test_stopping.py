"""A signal ends every command with its exit code, also where a library makes an error of its own of it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.command import run_here
from xpet.core.errors import DataError
from xpet.core.stopping import Stopped
from xpet.jobs.merge import run as merge

TOLD = {
    "SIGINT": (130, b"xpet: error: interrupted; what was finished is kept, nothing half-written is left\n"),
    "SIGTERM": (143, b"xpet: error: stopped by SIGTERM; what was finished is kept, nothing half-written is left\n"),
}


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize("name", TOLD)
def test_a_stopped_merge(name: str, swallowed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(*_: Any) -> None:
        with suppress(*([Stopped] if swallowed else [])):
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(60)
        raise DataError("cannot read delta.safetensors: damaged or truncated")

    monkeypatch.setattr(merge, "run", stopped)
    done = run_here("merge", tmp_path, "-o", tmp_path / "out")
    assert (done.returncode, done.stderr) == TOLD[name]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_is_told_where_no_signal_came(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def failing(*_: Any) -> None:
        raise DataError("a bad file")

    monkeypatch.setattr(merge, "run", failing)
    done = run_here("merge", tmp_path, "-o", tmp_path / "out")
    assert (done.returncode, done.stderr) == (2, b"xpet: error: a bad file\n")
