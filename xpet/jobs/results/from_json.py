"""Reads an evaluation report from its JSON document; every field is checked against its annotation."""

from __future__ import annotations

from typing import Any

from xpet.core.errors import DataError
from xpet.core.typed import build
from xpet.jobs.results.report import SCHEMA, Report


def from_dict(document: Any, where: str) -> Report:
    """The report of a document made by `Report.to_dict`; `where` names its file in errors. Raises DataError."""
    if not isinstance(document, dict) or document.get("command") != "eval":
        raise DataError(f"{where}: expected a result of `xpet eval --json`, found something else")
    if document.get("schema") != SCHEMA:
        raise DataError(
            f"{where}: expected result schema {SCHEMA}, found {document.get('schema')!r}; measure again with this xpet"
        )
    try:
        report: Report = build(Report, {k: v for k, v in document.items() if k not in ("command", "schema", "note")})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{where}: expected a result of `xpet eval --json`, found a damaged one ({error})") from error
    return report
