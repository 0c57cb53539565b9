"""With `--gradient-cache` slices of captions are encoded one after another, and what is learned is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests import towers
from tests.training.spread_cases import CASES, FIT, LONG, train, write
from tests.training.test_layouts import METHODS
from tests.training.test_spread import check
from xpet.core.caption_packing import PackedBatch
from xpet.core.config import FitPlan, RunConfig
from xpet.core.errors import ConfigError
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.training import graphs
from xpet.training.device import make_engine
from xpet.training.fit import first_loss, fit
from xpet.training.memory import SLICE, TEMPORARIES, bytes_per_run

RUN = RunConfig("de", "routine1", "contrastive", 0.5, 1e-3, seed=3)


@pytest.mark.parametrize("name", [name for name in CASES if name != LONG])
def test_slices_learn_what_whole_batches_learn(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    for path, most in (("whole", None), ("sliced", 3)):
        write(tmp_path / path, *train(replace(case, fit=replace(case.fit, gradient_cache=most))))
    check(tmp_path / "sliced", tmp_path / "whole")


def counting(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The captions of every forward of the stack from now on."""
    counts: list[int] = []
    packed = stack.packed

    def counted(batch: PackedBatch) -> torch.Tensor:
        counts.append(len(batch.index))
        return packed(batch)

    monkeypatch.setattr(stack, "packed", counted)
    return counts


def test_a_slice_is_encoded_twice_and_a_whole_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = build_stack(towers.tower(), METHODS["lora"], [1])
    counts = counting(stack, monkeypatch)
    run = (RUN, towers.run_data(1))
    for most, forwards in ((4, [4, 3, 3, 3, 3, 4]), (3, [3, 3, 2, 2, 2, 2, 3, 3]), (10, [10]), (None, [10])):
        plan = replace(FIT, gradient_cache=most, steps=1, include_start=False, validate_every=9)
        counts.clear()
        fit(stack, [run], plan, towers.pad, make_engine("cpu"))
        assert counts[: len(forwards)] == forwards  # students and anchors; then validation's 8
        assert counts[len(forwards) :] == [8] * len(counts[len(forwards) :])


def test_activations_of_one_slice_are_kept_and_planned_for() -> None:
    stack, engine = build_stack(towers.tower(), METHODS["lora"], [1]), make_engine("cpu")
    run = (RUN, towers.run_data(1, rows=64))
    whole, sliced, one = (
        bytes_per_run(stack, run, plan, towers.pad, engine)
        for plan in (
            FitPlan(batch_size=64, steps=1),
            FitPlan(batch_size=64, steps=1, gradient_cache=16),
            FitPlan(batch_size=8, steps=1),
        )
    )
    features = TEMPORARIES * 2 * 64 * towers.DIMENSIONS * 8
    assert SLICE * one + features < sliced < 2 * one + 8 * features
    assert sliced < whole / 3


def test_memory_really_held_is_that_of_the_features_and_one_slice() -> None:
    """What autograd keeps between forward and backward, and at most during the backward pass."""
    stack, engine = build_stack(towers.tower(), METHODS["lora"], [1]), make_engine("cpu")
    run, held = (RUN, towers.run_data(1, rows=64)), {}
    for most in (None, 16):
        kept: list[int] = []

        def pack(tensor: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            first_loss(stack, run, FitPlan(batch_size=64, steps=1, gradient_cache=most), towers.pad, engine)
        held[most] = sum(kept)
    assert held[16] < held[None] / 20


def test_it_must_be_positive_and_graphs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FitPlan(gradient_cache=0).problems() == ["gradient-cache must be at least 1, found 0"]
    assert FitPlan(gradient_cache=1).problems() == []
    engine = make_engine("cpu")
    monkeypatch.setattr(type(engine), "device", torch.device("cuda"))
    with pytest.raises(ConfigError) as error:
        graphs.check(FitPlan(cuda_graphs=True, gradient_cache=8), engine)
    text = "--cuda-graphs goes with small steps, not with --gradient-cache 8; leave one of them out"
    assert error.value.problems == (text,)
    with pytest.raises(ConfigError) as error:
        graphs.check(FitPlan(cuda_graphs=True), engine, 2)
    text = "--cuda-graphs goes with small steps, not with runs spread over 2 processes; leave it out"
    assert error.value.problems == (text,)
