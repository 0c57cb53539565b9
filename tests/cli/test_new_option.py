"""An option is one field: help, command line, environment and configuration file follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from xpet.cli import settings
from xpet.cli.align import COMMAND
from xpet.core.config.options import OUTPUT, option


@dataclass(frozen=True)
class Added:
    volume: int = option(11, "--volume", "How loud the result is told", OUTPUT)


ADDED = replace(COMMAND, kinds=(*COMMAND.kinds, Added))


def test_an_option_is_a_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = []
    app = typer.Typer(rich_markup_mode=None)
    app.command()(ADDED.function(lambda given: told.append(settings.read(ADDED, ["align"], given)["volume"])))

    def volume(*words: str) -> int:
        assert CliRunner().invoke(app, words).exit_code == 0
        return told[-1]

    assert volume() == 11
    (tmp_path / "xpet.toml").write_text("[align]\nvolume = 3\n")
    assert volume() == 3
    monkeypatch.setenv("XPET_ALIGN_VOLUME", "5")
    assert volume() == 5
    assert volume("--volume", "7") == 7
    assert "How loud the result is told [default: 11]" in CliRunner().invoke(app, ["--help"]).output
