"""Reads result files of `xpet eval --json`."""

from __future__ import annotations

from pathlib import Path

from xpet.core.config import RESULT
from xpet.core.errors import DataError
from xpet.core.json_files import parsed
from xpet.core.regular_files import read_text
from xpet.jobs.results.from_json import from_dict
from xpet.jobs.results.report import Report


def read_result(path: str) -> Report:
    """The report in a result file of `xpet eval --json`; raises DataError."""
    try:
        document = parsed(read_text(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a result of `xpet eval --json`, found {error}") from error
    return from_dict(document, path)


def is_result(name: str) -> bool:
    """Whether a path names a result file, not a folder of runs."""
    return name.endswith(RESULT) and not Path(name).is_dir()
