"""The setting of a language that is best on validation, by the rule that `--select` names (`xpet.core.selection`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpet.core.run_record import RunResult
from xpet.core.selection import RULES


def choose_setting(runs: Sequence[RunResult], select: str) -> list[RunResult]:
    """The runs of one language that have the setting that is best on validation, best run first.

    A setting is what its runs share but the seed. Of equal settings, and of equal runs, the earlier one comes first.
    """
    rule = RULES[select]
    settings: dict[Any, list[RunResult]] = {}
    for run in runs:
        settings.setdefault(run.setting, []).append(run)
    best = max(settings.values(), key=lambda seeds: rule.setting_score([run.validation for run in seeds]))
    return sorted(best, key=lambda run: rule.run_score(run.validation), reverse=True)
