"""Forks in place of the interpreters that torch's launcher starts: they have loaded everything, which takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

from tests.faults import child


class Waiting:
    """A fork that waits for a command; what a launcher asks of the process it started, it answers as `Popen` does."""

    def __init__(self) -> None:
        out, self._into = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._be(out)
        os.close(out)

    def begin(self, words: Sequence[str], environment: Mapping[str, str]) -> Waiting:
        """Begin the command that `python -m xpet` would be started with."""
        assert list(words[:3]) == [sys.executable, "-m", "xpet"]
        os.write(self._into, json.dumps([words[3:], dict(environment)]).encode() + b"\n")
        return self

    def poll(self) -> int | None:
        """Its exit code, when it has ended."""
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if found else None
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit code; raises TimeoutExpired where it does not end within so many seconds."""
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a fork", timeout)
            time.sleep(child.POLL)
        return code

    def _be(self, out: int) -> None:
        code = 1
        try:
            os.setsid()  # as the launcher starts it
            os.close(self._into)
            with os.fdopen(out) as file:
                words, environment = json.loads(file.readline())
            os.environ.clear()
            os.environ.update(environment)
            code = child.run(words)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


@contextmanager
def by_forks(count: int) -> Iterator[None]:
    """In a process that is to be a launcher: the first `count` that it starts are forks, later ones interpreters."""
    waiting = [Waiting() for _ in range(count)]  # before it has threads
    popen = SubprocessHandler._popen

    def start(handler: SubprocessHandler, words: tuple[str, ...], environment: dict[str, str]) -> Any:
        return waiting.pop(0).begin(words, environment) if waiting else popen(handler, words, environment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SubprocessHandler, "_popen", start)
        yield
