"""By which figure of validation the best checkpoint of a run and the best setting of a sweep are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A rule of selection; figures of validation are `val_r1`, `val_mrr` (in percent) and `val_loss`.

    A loss may choose among the checkpoints of one run; between settings, which may search with different texts, it is
    not comparable: a few mistranslated captions weigh more in it than many weak ones. So a setting is compared by
    retrieval, and only equal settings by the loss.
    """

    checkpoint: Callable[[Mapping[str, float]], float]
    """The score of a checkpoint; higher is better."""
    setting: str
    """Figure that compares settings; higher is better."""
    words: str
    """What `setting` is called in reports."""


RULES = {
    "mrr": Rule(lambda found: found["val_mrr"], "val_mrr", "MRR"),
    "loss": Rule(lambda found: -found["val_loss"], "val_mrr", "MRR"),
    "r1": Rule(lambda found: round(found["val_r1"] / 100, 4), "val_r1", "R@1"),
}
"""By the name in `--select`; `r1` rounds as the reference does."""
