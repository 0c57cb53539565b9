"""How validation figures choose the best checkpoint of a run and the best setting of a sweep."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, float]
"""Validation figures: `val_r1` and `val_mrr` in percent, `val_loss`."""


@dataclass(frozen=True)
class SelectionRule:
    """A rule of selection.

    A loss may choose among the checkpoints of one run; between settings, which may search with different texts, it is
    not comparable: a few mistranslated captions weigh more in it than many weak ones. So a setting is compared by
    retrieval, and only equal settings by the loss.
    """

    checkpoint: Callable[[Mapping[str, Any]], Any]
    """The score of a checkpoint; higher is better. From figures of many, float64 [runs] each, their scores [runs]."""
    setting: str
    """Figure that compares settings; higher is better."""
    words: str
    """What `setting` is called in reports."""

    def replaces(self, figures: Figures, best: float | None, latest_tie_wins: bool) -> bool:
        """Whether a checkpoint is kept in place of the one whose score is `best` (None: there is none)."""
        score = self.checkpoint(figures)
        return best is None or (score >= best if latest_tie_wins else score > best)

    def run_score(self, figures: Figures) -> tuple[float, float]:
        """Retrieval of a run's checkpoint, then its negative loss; a run too short to validate ranks last."""
        worst = float("-inf")
        return figures.get(self.setting, worst), -figures.get("val_loss", -worst)

    def setting_score(self, runs: Sequence[Figures]) -> tuple[int, float, float]:
        """The score of a setting from its runs, one per seed: higher is better.

        A setting that lost seeds to divergence ranks below every complete one; then the mean over seeds of the
        retrieval figure decides, then that of the loss.
        """
        retrieval, loss = zip(*map(self.run_score, runs), strict=True)
        return len(runs), statistics.fmean(retrieval), statistics.fmean(loss)


def _four_decimals(value: Any) -> Any:
    """A number, or a tensor [runs], rounded to four decimals."""
    if isinstance(value, (float, int)):
        return round(value, 4)
    from xpet.core.decimal_rounding import rounded

    return rounded(value, 4)


RULES = {
    "mrr": SelectionRule(lambda figures: figures["val_mrr"], "val_mrr", "MRR"),
    "loss": SelectionRule(lambda figures: -figures["val_loss"], "val_mrr", "MRR"),
    "r1": SelectionRule(lambda figures: _four_decimals(figures["val_r1"] / 100), "val_r1", "R@1"),
}
"""By the name in `--select`; `r1` rounds as the reference does."""
