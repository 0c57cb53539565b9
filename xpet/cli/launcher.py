"""Starts a command again in several processes on this machine, by torch's own launcher (`--processes`)."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from typing import Any

from xpet.core.errors import EXIT_UNEXPECTED, ConfigError, ProcessError
from xpet.core.launch import launch_of


class SeveralProcesses(Exception):
    """Raised where a command is to be started again, in `count` processes."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


def is_wanted(processes: int | None) -> bool:
    """Whether a command is to be started in several processes: not where it is one of them already."""
    if processes is not None and processes < 1:
        raise ConfigError(f"--processes: expected at least 1, found {processes}")
    return processes is not None and processes > 1 and launch_of().world == 1


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `xpet` with these arguments in so many processes; returns the exit code of the first that failed, else 0.

    Processes print their errors themselves. Raises ProcessError for one that a signal ended.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # each has a level of its own
    _stop_on(getattr(signal, "SIGUSR1", None))
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=uuid.uuid4().hex, rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, monitor_interval=0.1,
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "xpet", *arguments)
    except ChildFailedError as error:
        return _exit_code(error)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _exit_code(error: Any) -> int:
    """The exit code of the process that failed first."""
    rank, failure = error.get_first_failure()
    if failure.exitcode >= 0:
        return int(failure.exitcode) or EXIT_UNEXPECTED
    name = signal.Signals(-failure.exitcode).name
    raise ProcessError(
        f"rank {rank} was ended by {name} (too little memory is a common reason for SIGKILL); start the command "
        "again: what was finished is kept"
    )


def _stop_on(warning: signal.Signals | None) -> None:
    """Treat a batch scheduler's warning as SIGTERM, which the launcher hands on to its processes."""
    if warning is not None:
        signal.signal(warning, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
