"""Keeping the best checkpoints, and the figures they are chosen by."""

from __future__ import annotations

import pytest
import torch

from tests import towers
from xpet.core import stacked_metrics
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.losses import contrastive
from xpet.core.metrics import retrieval
from xpet.methods.build import build_stack
from xpet.training import selection
from xpet.training.selection import BestCheckpoints, TrainedRun, Validation

RUNS = [RunConfig("de", "routine1", "mse", seed=seed) for seed in (1, 2)]


def test_nothing_to_keep_keeps_nothing() -> None:
    stack = build_stack(towers.tower(), MethodConfig("lora"), [1, 2])
    best = BestCheckpoints(stack, [TrainedRun(run) for run in RUNS], FitPlan())
    before = best.parameters[0].clone()
    with torch.no_grad():
        stack.flat[0].add_(1.0)
    best.snapshot([], 3)
    assert torch.equal(best.parameters[0], before)
    best.snapshot([1], 4)
    assert torch.equal(best.parameters[0][0], before[0])
    assert torch.equal(best.parameters[0][1], before[1] + 1)
    assert [outcome.chosen_step for outcome in best.finish([0, 1])] == [0, 4]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("cells", [10**6, 1])
def test_figures_are_those_of_each_run_alone(monkeypatch: pytest.MonkeyPatch, shared: bool, cells: int) -> None:
    monkeypatch.setattr(selection, "MOST_CELLS", cells)
    monkeypatch.setattr(stacked_metrics, "MOST_CELLS", cells)
    generator = torch.Generator().manual_seed(4)
    images = [torch.randn(5, 6, generator=generator, dtype=torch.float64) for _ in range(1 if shared else 3)]
    images = images * 3 if shared else images
    owners = [torch.tensor([0, 1, 2, 3, 4, 4, order]) for order in (0, 1, 2)]
    texts = torch.randn(3, 7, 6, generator=generator, dtype=torch.float64)
    texts[1, 2] = torch.nan
    found = Validation(images, owners, torch.device("cpu")).scores(texts)
    assert found[1] is None
    for run in (0, 2):
        mine = found[run]
        assert mine is not None
        alone = retrieval(images[run], texts[run], owners[run])
        loss = float(contrastive(images[run][owners[run]], texts[run]))
        assert mine == pytest.approx({"val_r1": alone.recall, "val_mrr": alone.mrr, "val_loss": loss}, abs=1e-9)
