"""The result of `xpet eval --lint`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xpet.jobs.results.document import document


@dataclass(frozen=True)
class LintResult:
    """The result of `xpet eval --lint`: fields of each `xpet.data.lint.Finding`, errors first."""

    data: str
    findings: tuple[Mapping[str, Any], ...]

    @property
    def errors(self) -> int:
        """Number of findings that would stop training."""
        return sum(f["severity"] == "error" for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return document("lint", {"errors": self.errors, **asdict(self)})
