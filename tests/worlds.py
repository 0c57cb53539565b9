"""Starts a test program in several processes that meet over torch's store, as a launcher would.

They are forks of this process, which has loaded everything, where it has no threads that a fork would lack; else new
interpreters, which take some seconds each. `XPET_TEST_FRESH=1` takes these everywhere.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
World = dict[int, dict[str, Any]]
PATIENCE = 300.0
"""Seconds after which a process counts as hung."""


def can_fork() -> bool:
    """Whether a fork of this process can compute: it has no threads of torch's, and no GPU."""
    import torch

    alone = os.environ.get("OMP_NUM_THREADS") == "1" and torch.get_num_threads() == 1
    asked = os.environ.get("XPET_TEST_FRESH") == "1"
    return sys.platform == "linux" and alone and not torch.cuda.is_available() and not asked


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def meet(module: str, *arguments: object, world: int = 2, **variables: str) -> World:
    """What each process of a world printed: one JSON object with its `rank`; those that died are missing."""
    return start(module, *arguments, world=world, **variables)()


def start(module: str, *arguments: object, world: int = 2, **variables: str) -> Callable[[], World]:
    """As `meet`, but returns when the processes are started; call what it returns to wait for them."""
    shared = os.environ | {
        "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "LOCAL_WORLD_SIZE": str(world), "TORCH_CPP_LOG_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": str(ROOT), **variables,
    }  # fmt: skip
    words = list(map(str, arguments))
    begin = _forked if can_fork() else _fresh
    started = [begin(module, words, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(world)]

    def wait() -> World:
        lines = [end() for end in started]
        return {seen["rank"]: seen for seen in map(json.loads, filter(None, lines))}

    return wait


def _fresh(module: str, words: Sequence[str], environment: Mapping[str, str]) -> Callable[[], str]:
    """Start a module in a new interpreter; returns what waits for what it prints."""
    process = subprocess.Popen([sys.executable, "-m", module, *words], cwd=ROOT, env=environment, stdout=-1)
    return lambda: process.communicate(timeout=PATIENCE)[0].decode()


def _forked(module: str, words: Sequence[str], environment: Mapping[str, str]) -> Callable[[], str]:
    """Run a module in a fork of this process; returns what waits for what it prints."""
    context = multiprocessing.get_context("fork")
    out, into = context.Pipe(duplex=False)
    process = context.Process(target=_be, args=(module, words, environment, into), daemon=True)
    process.start()
    into.close()

    def wait() -> str:
        said = _all_of(out)
        process.join(PATIENCE)
        return said

    return wait


def _all_of(out: Connection) -> str:
    """What a process sends before it ends; nothing where it dies."""
    if not out.poll(PATIENCE):
        raise TimeoutError(f"a process hung for {PATIENCE} s")
    try:
        return str(out.recv())
    except EOFError:
        return ""


def _be(module: str, words: Sequence[str], environment: Mapping[str, str], into: Connection) -> None:
    """Become a process that runs a module with arguments, and sends what it prints."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = [module, *words]
    sys.modules.pop(module, None)
    with redirect_stdout(io.StringIO()) as said:
        runpy.run_module(module, run_name="__main__")
    into.send(said.getvalue())
