"""What a launcher (torchrun, accelerate launch, srun) says in the environment: a process's rank, and of how many."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from xpet.core.errors import ConfigError, quoted

FIRST_PORT, PORTS = 20_000, 10_000
"""Ports that jobs of Slurm meet at, by their number; below those that systems hand out on their own."""
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torch and accelerate read."""


@dataclass(frozen=True)
class Launch:
    """Where a process stands among those of its command; `local_*` counts the processes of its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1


ONE = Launch()
"""One process, started by no launcher."""


def launch_of(environment: dict[str, str] | None = None) -> Launch:
    """Where this process stands, by the variables of torch's launcher or else of Slurm's; alone without either.

    Raises ConfigError for variables that say no number, or a rank outside the world.
    """
    values = os.environ if environment is None else environment
    names = VARIABLES[:4] if "RANK" in values else _slurm_names(values)
    if not names:
        return ONE
    rank, world = _number(values, names[0]), _number(values, names[1])
    local_rank = _number(values, names[2], rank)
    local_world = _number(values, names[3], 1 if world == 1 else local_rank + 1)
    if not 0 <= rank < world:
        raise ConfigError(f"{names[0]} and {names[1]}: expected a rank below {world}, found {rank}")
    return Launch(rank, world, local_rank, max(1, local_world))


def complete_environment(launch: Launch) -> None:
    """Set the variables that torch and accelerate read, where Slurm set its own; raises ConfigError as `launch_of`."""
    if launch.world == 1 or "RANK" in os.environ:
        return
    job = _number(os.environ, "SLURM_JOB_ID", 0)
    address = _first_host(os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST") or "localhost")
    counts = (launch.rank, launch.world, launch.local_rank, launch.local_world)
    for name, value in zip(VARIABLES, (*counts, address, FIRST_PORT + job % PORTS), strict=True):
        os.environ.setdefault(name, str(value))


def _slurm_names(values: os._Environ[str] | dict[str, str]) -> tuple[str, ...]:
    """Slurm's variables of a step that `srun` started with several tasks; none elsewhere, as in a batch script."""
    if int(values.get("SLURM_STEP_NUM_TASKS", "1")) < 2 or "SLURM_PROCID" not in values:
        return ()
    return "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_ON_THIS_NODE"


def _number(values: os._Environ[str] | dict[str, str], name: str, default: int | None = None) -> int:
    text = values.get(name, default)
    try:
        return int(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ConfigError(
            f"environment variable {name}: expected a whole number from the launcher, found {quoted(text)}"
        ) from None


def _first_host(hosts: str) -> str:
    """The first name of Slurm's list of hosts: `node03` of `node[03-07,12],login1`."""
    match = re.match(r"([^\[,]*)(?:\[([^\],-]*))?", hosts)
    return "".join(part or "" for part in match.groups()) if match else hosts
