"""The whole report as its documented JSON, which `from_dict` reads back."""

from __future__ import annotations

import json

from xpet.cli.reports.look import Look
from xpet.jobs.report import Report


def render(report: Report, look: Look) -> str:
    """The report as one JSON document."""
    return json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n"
