"""A format of the report is one file with `render` and one row of FORMATS: the command line follows by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import reports

RENDERER = """\
def render(report, look):
    return f"{report.data.upper()}!\\n"
"""
PROGRAM = """\
import sys
from xpet.cli.reports import FORMATS, ReportFormat
FORMATS["shout"] = ReportFormat("shout", (".loud",))
from xpet.cli import app, completions
completions.prepare()
sys.exit(app._run(sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shout.py").write_text(RENDERER, encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "result.json").write_text(json.dumps(reports.one_language().to_dict()), encoding="utf-8")
    return tmp_path


def answer(folder: Path, *words: str, **environment: str) -> str:
    """Standard output and error of `xpet` with one more format."""
    command = [sys.executable, "program.py", *words]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_row_is_rendered_by_name_and_by_ending(folder: Path) -> None:
    assert answer(folder, "eval", "result.json", "--format", "shout") == "XTD!\n"
    assert answer(folder, "eval", "result.json", "-o", "result.loud") == ""
    assert (folder / "result.loud").read_text(encoding="utf-8") == "XTD!\n"


def test_a_row_is_in_help_errors_and_completion(folder: Path) -> None:
    assert "shout" in answer(folder, "eval", "--help-all")
    assert "expected one of terminal, json, csv, markdown, latex, html, table, shout" in answer(
        folder, "eval", "result.json", "--format", "shuot"
    )
    asking = {"COMP_WORDS": "xpet eval --format sh", "COMP_CWORD": "3", "_XPET_COMPLETE": "complete_bash"}
    assert answer(folder, **asking).split() == ["shout"]
