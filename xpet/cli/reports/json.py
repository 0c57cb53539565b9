"""The whole report as its documented JSON, which `from_dict` reads back."""

from __future__ import annotations

import json
import re

from xpet.cli.printable import in_json
from xpet.cli.reports.look import Look
from xpet.jobs.results.report import Report

NUMBERS = re.compile(r"\[\n\s+(-?[\d.][\d.eE+,\s-]*)\]")


def render(report: Report, look: Look) -> str:
    """The report as one JSON document, with each list of numbers on one line."""
    text = in_json(json.dumps(report.to_dict(), indent=2, ensure_ascii=not look.unicode))
    return NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"
