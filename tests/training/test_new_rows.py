"""A loss is one row of a table, a method one file: each is added here and trained with, and nothing else is told."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from tests import towers
from xpet.core import choices
from xpet.core.config import AlignConfig, FitPlan, MethodConfig, RunConfig
from xpet.core.errors import ConfigError
from xpet.core.losses import ALIGNMENT_LOSSES, LossChoice
from xpet.methods.base import Method
from xpet.methods.bridge import DeltaSite
from xpet.methods.build import build_stack
from xpet.methods.folding import replaced
from xpet.methods.table import METHODS, method_named
from xpet.training.batches import batch_order
from xpet.training.device import make_engine
from xpet.training.fit import fit

FIT = FitPlan(batch_size=5, steps=4, validate_every=2)


def l1(image: Tensor, anchor: Tensor, student: Tensor) -> Tensor:
    return (anchor - student).abs().mean(dim=(-2, -1))


def test_a_loss_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALIGNMENT_LOSSES, "l1", LossChoice(l1, 0.25))
    plan = AlignConfig(("de",), routines=("routine1",), losses=("l1", "l1+0.5*mse")).check()
    assert [(run.loss, run.align_weight) for run in plan.runs()] == [("l1", 0.25), ("l1+0.5*mse", 1.0)]
    runs = [(replace(run, learning_rate=1e-3), towers.run_data(1)) for run in plan.runs()]
    stack = build_stack(towers.tower(), MethodConfig("lora"), [run.seed for run, _ in runs])
    one, _ = fit(stack, runs, FIT, towers.pad, make_engine("cpu"))
    data, tower = runs[0][1], towers.tower()
    first = next(batch_order(len(data.student), 5, 1, runs[0][0].seed))
    assert data.anchor is not None
    student, anchor = (tower(*towers.pad([texts[i] for i in first])) for texts in (data.student, data.anchor))
    alone = fit(
        build_stack(towers.tower(), MethodConfig("lora"), [1]), runs[:1], replace(FIT, validate_every=1), towers.pad,
        make_engine("cpu"),
    )  # fmt: skip
    assert alone[0].history[1]["loss_align"] == pytest.approx(float(l1(student, anchor, student)), abs=1e-9)
    assert one.history[-1]["loss"] > 0


def module_of_a_method() -> ModuleType:
    """The file of a method that trains the LayerNorms' biases, and nothing else."""

    def attach(tower: nn.Module, config: MethodConfig, modules: tuple[str, ...]) -> list[DeltaSite]:
        for name, parameter in tower.named_parameters():
            parameter.requires_grad_(name.endswith(tuple(f"{module}.bias" for module in modules)))
        return []

    module = ModuleType("xpet.methods.norm_bias")
    module.METHOD = Method(  # type: ignore[attr-defined]
        name="norm-bias", summary="biases of the LayerNorms", attach=attach, modules=("output.LayerNorm",), train=(),
        fold=replaced,
    )  # fmt: skip
    return module


def test_a_method_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="^unknown method 'norm-bias'"):
        build_stack(towers.tower(), MethodConfig("norm-bias"), [1])
    monkeypatch.setitem(sys.modules, "xpet.methods.norm_bias", module_of_a_method())
    monkeypatch.setattr("xpet.core.config.parts.METHOD_NAMES", (*choices.METHOD_NAMES, "norm-bias"))
    monkeypatch.setitem(METHODS, "norm-bias", method_named("norm-bias"))
    stack = build_stack(towers.tower(), MethodConfig("norm-bias"), [1, 2])
    before = stack.state(0)
    assert set(before) == {name for name in towers.tower().state_dict() if name.endswith("output.LayerNorm.bias")}
    runs = [(RunConfig("de", learning_rate=1e-2, seed=seed), towers.run_data(1)) for seed in (1, 2)]
    plan = replace(FIT, include_start=False)
    trained: Mapping[str, Tensor] = fit(stack, runs, plan, towers.pad, make_engine("cpu"))[0].state
    assert all(not torch.equal(before[name], trained[name]) for name in before)
