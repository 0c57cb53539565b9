"""Help: in sections, the common options first and all on request, on a screen, without anything heavy."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer

from tests.command import run_here
from xpet.cli import app as cli

NAMES = [command.name for command in cli.COMMANDS]
SECTION = re.compile(r"^(\S.*):$", re.M)
FLAG = re.compile(r"^  (?:-\w, )?(--[\w-]+)", re.M)
SCREEN = 66
"""Lines of a screen or so, at 80 columns."""


def shown(*words: str, columns: int = 80) -> str:
    done = run_here(*words, environment={"COLUMNS": str(columns)}, without=("XPET_CACHE",))
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.mark.parametrize("name", NAMES)
def test_the_common_options_fit_a_screen_and_all_are_there_on_request(name: str) -> None:
    (command,) = (each for each in cli.COMMANDS if each.name == name)
    short, whole = shown(name, "--help"), shown(name, "--help-all")
    assert short == shown(name, "-h")
    assert len(short.splitlines()) <= SCREEN
    assert short.splitlines()[-1] == f"Every option: xpet {name} --help-all"
    titles = SECTION.findall(whole)
    assert tuple(titles[: len(command.sections)]) == command.sections
    assert set(SECTION.findall(short)) <= set(titles)
    assert len(short.splitlines()) < len(whole.splitlines())
    every = {entry.flag for entry in command.entries.values() if entry.option.flags} | {"--help-all"}
    assert set(FLAG.findall(whole)) - {"--help"} == every
    common = {entry.flag for entry in command.entries.values() if entry.option.flags and entry.option.common}
    assert set(FLAG.findall(short)) - {"--help"} == common | {"--help-all"}


def test_the_sections_of_align() -> None:
    assert SECTION.findall(shown("align", "--help-all"))[:8] == [
        "What to train", "Model and data", "Optimisation (comma lists are swept)", "Method settings (each says whose)",
        "Routine text", "Speed and memory", "Output", "Settings",
    ]  # fmt: skip


def test_help_says_whose_a_setting_is_and_what_the_default_is() -> None:
    text = shown("align", "--help-all", columns=110)
    assert re.search(r"--bottleneck INT +adapter: Channels inside each adapter \[default: 24\]", text)
    assert re.search(r"--batch-size INT +Captions per step and run \[default: 20; routine text: 96\]", text)
    assert re.search(r"--lr NUMBER,\.\.\. +Learning rate of Adam \[default: 0.0005\]", text)
    assert re.search(r"--no-verify +Do not compare", shown("merge", "--help-all"))


def test_the_first_help_says_where_to_start() -> None:
    text = shown("--help")
    assert "Start with: xpet align --lang de" in text
    assert "..." not in text.replace("[ARGS]...", "")


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_commands(name: str) -> None:
    (command,) = (each for each in cli.COMMANDS if each.name == name)
    group: Any = typer.main.get_command(cli.app)
    lines = [line.strip() for line in command.examples.splitlines() if line.startswith("  xpet ")]
    assert lines
    for line in lines:
        words = shlex.split(re.split(r" [|<>] ", line)[0])
        of = next(each for each in cli.COMMANDS if each.name == words[1])
        with group.commands[words[1]].make_context(words[1], words[2:]) as context:
            values = of.typed(context.params)
        if "config" not in values:
            of.check(of.build(values, None))


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        code = "import time; from xpet.cli.app import _run; _run(['align', '--help']); print(time.process_time())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds.append(float(done.stdout.splitlines()[-1]))
    assert min(seconds) < 0.3
