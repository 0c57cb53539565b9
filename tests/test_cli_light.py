"""The command line without any model: help, completions, start-up imports, one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import run_here
from xpet.cli import completions

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    "torch", "transformers", "opendelta", "accelerate", "argostranslate", "ctranslate2",
    "numpy", "pyarrow", "PIL", "rich", "pydantic",
)  # fmt: skip
COMMANDS = ("align", "eval", "merge", "translate")


def test_help_imports_nothing_heavy() -> None:
    asked = ["--version", "--help", *(f"{command} --help" for command in COMMANDS)]
    code = (
        "import sys; from xpet.cli.app import _run\n"
        f"for asked in {asked!r}: print('CODE', _run(asked.split()), asked, set({HEAVY!r}) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("CODE")]
    assert found == [f"CODE 0 {words} set()" for words in asked]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_and_json(command: str) -> None:
    text = run_here(command, "--help").stdout.decode()
    assert "Examples:" in text
    assert f"\n    xpet {command}" in text
    assert "--json" in text


@pytest.mark.parametrize("shell", sorted(completions.FILES))
def test_completions_are_up_to_date(shell: str) -> None:
    kept = (ROOT / "completions" / completions.FILES[shell]).read_text(encoding="utf-8")
    assert kept == completions.script(shell), "run: python -m xpet.cli.completions completions"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("xpet al", ["align"]),
        ("xpet align --meth", ["--method"]),
        ("xpet align --loss mse,co", ["mse,contrastive", "mse,contrastive-image", "mse,cosine"]),
    ],
)
def test_completion_answers(words: str, offered: list[str]) -> None:
    place = str(len(words.split()) - 1)
    asking = {"COMP_WORDS": words, "COMP_CWORD": place, "_XPET_COMPLETE": "complete_bash"}
    command = [sys.executable, "-m", "xpet"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **asking})
    assert done.stdout.split() == offered


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["align", "--method", "lorra"], "unknown method 'lorra': expected one of lora, adapter"),
        (["align", "--method", "prefix"], "use --method soft-prompt"),
        (["align", "--routine", "9"], "unknown routine '9': expected one of baseline-target"),
        (["align", "--loss", "msee"], "did you mean 'mse'?"),
        (["align", "--lr", "fast"], "--lr: expected numbers separated by commas, found 'fast'"),
        (["align", "--seed", "1,,2"], "--seed: expected whole numbers separated by commas, found '1,,2'"),
        (["align", "--lr", "-1"], "learning rate must be positive, found -1"),
        (["align", "--batch-size", "1"], "batch size 1 leaves a contrastive loss nothing to tell apart"),
        (["align", "--preset", "papre"], "unknown preset 'papre': expected one of default, paper; did you mean"),
        (["align", "--shots", "1"], "shots must be at least 2, found 1"),
        (["align", "--train", "everything"], "unknown part to train 'everything'"),
        (["align", "--frobnicate"], "No such option"),
        (["align", "--device", "tpu"], "unknown device 'tpu': expected one of auto, cpu, cuda"),
    ],
)
def test_bad_options_get_one_line_and_exit_code_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = run_here(*arguments, environment={"XPET_CACHE": str(tmp_path / "cache")})
    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b"")
    assert text.count("\n") == 1
    assert text.startswith("xpet: error: ")
    assert words in text
    assert list(tmp_path.iterdir()) == []
