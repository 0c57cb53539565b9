"""The rules of selection: which checkpoint is kept, which setting is best."""

from __future__ import annotations

import pytest

from xpet.core.selection import RULES


def figures(r1: float = 50.0, mrr: float = 60.0, loss: float = 0.5) -> dict[str, float]:
    return {"val_r1": r1, "val_mrr": mrr, "val_loss": loss}


@pytest.mark.parametrize(("name", "better", "worse"), [
    ("mrr", figures(mrr=61), figures(mrr=59)),
    ("loss", figures(loss=0.4), figures(loss=0.6)),
    ("r1", figures(r1=51), figures(r1=49)),
])  # fmt: skip
def test_a_better_checkpoint_replaces_the_best(name: str, better: dict[str, float], worse: dict[str, float]) -> None:
    rule, best = RULES[name], RULES[name].checkpoint(figures())
    assert rule.replaces(better, best, latest_tie_wins=False)
    assert not rule.replaces(worse, best, latest_tie_wins=True)
    assert [rule.replaces(figures(), best, tie) for tie in (False, True)] == [False, True]
    assert rule.replaces(worse, None, latest_tie_wins=False)  # the first one
    assert not rule.replaces(figures(*[float("nan")] * 3), best, latest_tie_wins=True)


def test_recall_is_rounded_as_the_reference_does() -> None:
    assert RULES["r1"].checkpoint(figures(r1=50.001)) == RULES["r1"].checkpoint(figures(r1=50.002)) == 0.5


def test_settings_are_compared_by_seeds_then_retrieval_then_loss() -> None:
    rule = RULES["loss"]
    scores = [
        rule.setting_score(runs)
        for runs in ([figures(mrr=99)], [figures(mrr=10), {}], [figures(mrr=60, loss=0.9)] * 2, [figures(mrr=60)] * 2)
    ]
    assert scores == sorted(scores)
    assert scores[-1] == (2, 60.0, -0.5)
