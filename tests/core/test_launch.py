"""What launchers say in the environment."""

from __future__ import annotations

import os

import pytest

from xpet.core.errors import ConfigError
from xpet.core.launch import ONE, Launch, complete_environment, launch_of

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_ON_THIS_NODE": "4",
    "SLURM_JOB_ID": "123456", "SLURM_STEP_NODELIST": "node[07-08,11]",
}  # fmt: skip


def test_no_launcher_is_one_process() -> None:
    assert launch_of({}) == ONE == Launch(0, 1, 0, 1)


def test_torchs_launcher() -> None:
    assert launch_of(TORCHRUN) == Launch(3, 8, 1, 2)


def test_slurm() -> None:
    assert launch_of(SRUN) == Launch(5, 8, 1, 4)
    assert launch_of(SRUN | TORCHRUN) == Launch(3, 8, 1, 2)  # torchrun within srun


@pytest.mark.parametrize("count", ["1", None])
def test_a_batch_script_is_one_process_though_its_job_has_many_tasks(count: str | None) -> None:
    script = {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"} | ({"SLURM_STEP_NUM_TASKS": count} if count else {})
    assert launch_of(script) == ONE


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE: expected a whole number from the launcher, found 'x'"),
        ({"RANK": "8"}, "RANK and WORLD_SIZE: expected a rank below 8, found 8"),
    ],
)
def test_what_is_wrong_with_the_environment_is_told(change: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        launch_of(TORCHRUN | change)


def test_a_world_without_its_size_is_an_error() -> None:
    with pytest.raises(ConfigError, match="WORLD_SIZE: expected a whole number"):
        launch_of({"RANK": "0"})


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node[07-08,11]", "node07"),
        ("node[3,4]", "node3"),
        ("a,b", "a"),
        ("login1", "login1"),
        ("gpu-a[001-9]", "gpu-a001"),
    ],
)
def test_slurms_variables_become_torchs(monkeypatch: pytest.MonkeyPatch, hosts: str, first: str) -> None:
    for name in (*TORCHRUN, "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "before")  # so that monkeypatch restores what is set below
        monkeypatch.delenv(name)
    for name, value in (SRUN | {"SLURM_STEP_NODELIST": hosts}).items():
        monkeypatch.setenv(name, value)
    complete_environment(launch_of())
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert [os.environ[name] for name in names] == ["5", "8", "1", "4", first, "23456"]
