"""What `xpet eval --lint` hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xpet.jobs.results.document import document


@dataclass(frozen=True)
class LintResult:
    """The outcome of `xpet eval --lint`: findings as plain records, errors first."""

    data: str
    findings: tuple[Mapping[str, Any], ...]

    @property
    def errors(self) -> int:
        """Number of findings that would stop training."""
        return sum(f["severity"] == "error" for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return document("lint", {"errors": self.errors, **asdict(self)})
