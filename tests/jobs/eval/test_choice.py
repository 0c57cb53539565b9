"""Which setting and which checkpoint count: on validation only, complete settings before broken ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xpet.core.config import MethodConfig
from xpet.core.errors import ConfigError
from xpet.core.run_record import RunResult
from xpet.jobs.shared.best_setting import choose_setting
from xpet.methods.table import find_method


def run(rate: float, seed: int, loss: float, aligned: float = 50.0, mrr: float | None = None) -> RunResult:
    return RunResult(
        language="de", routine="routine1", loss="mse", align_weight=0.1, learning_rate=rate, seed=seed, status="ok",
        chosen_step=20, validation={"val_loss": loss, "val_mrr": 90 - loss if mrr is None else mrr}, target_before=40.0,
        translated_before=None, aligned=aligned, english_before=90.0, english_after=89.0, seconds=1.0, folder="x",
    )  # fmt: skip


def test_the_best_mean_on_validation_wins_whatever_the_test_says() -> None:
    runs = [run(1e-3, 1, 0.5, 99.0), run(1e-3, 2, 0.6, 99.0), run(1e-4, 1, 0.4, 1.0), run(1e-4, 2, 0.3, 1.0)]
    chosen = choose_setting(runs, "loss")
    assert [(r.learning_rate, r.seed) for r in chosen] == [(1e-4, 2), (1e-4, 1)]


def test_settings_are_compared_by_retrieval_and_only_then_by_loss() -> None:
    assert choose_setting([run(1e-3, 1, 0.1, mrr=60.0), run(1e-4, 1, 0.9, mrr=80.0)], "loss")[0].learning_rate == 1e-4
    assert choose_setting([run(1e-3, 1, 0.9, mrr=80.0), run(1e-4, 1, 0.1, mrr=80.0)], "loss")[0].learning_rate == 1e-4


def test_a_rule_of_recall_compares_settings_by_recall() -> None:
    strong, weak = run(1e-3, 1, 0.1, mrr=90.0), run(1e-4, 1, 0.9, mrr=10.0)
    strong, weak = (replace(r, validation={**r.validation, "val_r1": v}) for r, v in ((strong, 50.0), (weak, 60.0)))
    assert choose_setting([strong, weak], "r1")[0] is weak
    assert choose_setting([strong, weak], "mrr")[0] is strong


def test_a_setting_that_lost_a_seed_comes_last_and_ties_go_to_the_earlier() -> None:
    assert choose_setting([run(1e-1, 1, 0.0), run(1e-3, 1, 0.5), run(1e-3, 2, 0.5)], "loss")[0].learning_rate == 1e-3
    assert choose_setting([run(1e-3, 1, 0.5), run(1e-4, 1, 0.5)], "mrr")[0].learning_rate == 1e-3


def test_settings_of_another_method_are_refused() -> None:
    with pytest.raises(ConfigError, match="method 'adapter' does not take rank: it has bottleneck, modules"):
        find_method(MethodConfig("adapter", rank=4))
    with pytest.raises(ConfigError, match="method 'full' does not take modules: it has no settings"):
        find_method(MethodConfig("full", modules=("query",)))
