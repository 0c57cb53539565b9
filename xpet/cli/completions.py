"""Shell completions: `python -m xpet.cli.completions FOLDER` writes the scripts for bash, zsh and fish."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FILES = {"bash": "xpet.bash", "zsh": "_xpet", "fish": "xpet.fish"}
VARIABLE = "_XPET_COMPLETE"


def script(shell: str) -> str:
    """The completion script of a shell; it asks `xpet` itself, so it never goes stale."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    text: str = get_completion_script(prog_name="xpet", complete_var=VARIABLE, shell=shell)
    return text + "\n"


def prepare() -> None:
    """Let typer answer a completion script, which sets VARIABLE when it asks."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()


def write(folder: Path) -> None:
    """Write every shell's script into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for shell, name in FILES.items():
        (folder / name).write_text(script(shell), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
