"""Starts a test program in several processes that meet over torch's store, as a launcher would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
World = dict[int, dict[str, Any]]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def meet(module: str, *arguments: object, world: int = 2, **variables: str) -> World:
    """What each process of a world printed: one JSON object with its `rank`; those that died are missing."""
    shared = os.environ | {
        "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "LOCAL_WORLD_SIZE": str(world), "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONPATH": str(ROOT), **variables,
    }  # fmt: skip
    command = [sys.executable, "-m", module, *map(str, arguments)]
    started = [
        subprocess.Popen(command, cwd=ROOT, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=-1)
        for rank in range(world)
    ]
    lines = [process.communicate(timeout=300)[0].decode() for process in started]
    return {seen["rank"]: seen for seen in map(json.loads, filter(None, lines))}
