"""A stacked run equals the same run trained alone with plain OpenDelta."""

from __future__ import annotations

import pytest
import torch

from tests import naive, towers
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.methods.build import build_stack
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.queue import RunData
from xpet.training.selection import TrainedRun

STEPS = 10
FIT = FitPlan(batch_size=5, steps=STEPS, validate_every=1000, include_start=False)
RUNS = [
    RunConfig("de", "routine1", "mse", align_weight=0.5, learning_rate=2e-3, seed=3),
    RunConfig("ja", "routine2", "cosine", align_weight=2.0, learning_rate=5e-4, seed=4),
    RunConfig("tr", "routine3", "contrastive", align_weight=0.1, learning_rate=1e-3, seed=3),
]
FLAT = "self.key.bias"
"""Softmax does not see a key bias: its gradient is zero but for rounding noise, which Adam amplifies."""
LENGTHS = (4, 12, 9)


def trained(config: MethodConfig, runs: list[tuple[RunConfig, RunData]], fit_config: FitPlan = FIT) -> list[TrainedRun]:
    stack = build_stack(towers.tower(), config, [run.seed for run, _ in runs])
    return fit(stack, runs, fit_config, towers.pad, make_engine("cpu"))


@pytest.fixture(scope="module")
def data() -> list[tuple[RunConfig, RunData]]:
    return [
        (run, towers.run_data(i, longest=length)) for i, (run, length) in enumerate(zip(RUNS, LENGTHS, strict=True))
    ]


@pytest.mark.parametrize("name", ["lora", "lora-scripts", "adapter", "compacter", "bitfit"])
def test_parameters_agree_after_some_steps(name: str, data: list[tuple[RunConfig, RunData]]) -> None:
    config = towers.METHOD_CONFIGS[name]
    outcomes = trained(config, data)
    for (run, run_data), outcome in zip(data, outcomes, strict=True):
        model = towers.tower()
        parameters = towers.plain_delta(model, config, run.seed)
        started = {n: p.detach().clone() for n, p in parameters.items()}
        towers.plain_training(
            model, list(parameters.values()), run, run_data, FIT,
            lambda image, anchor, student, run=run: naive.total(run.loss, run.align_weight, image, anchor, student),
        )  # fmt: skip
        assert set(outcome.state) == set(parameters)
        for key, value in parameters.items():
            tolerance = 1e-7 if key.endswith(FLAT) else 1e-10
            torch.testing.assert_close(outcome.state[key], value.detach(), atol=tolerance, rtol=0)
        moved = max((outcome.state[k] - started[k]).abs().max().item() for k in started)
        assert moved > 1e-3


def test_a_diverging_run_leaves_the_others_unchanged(data: list[tuple[RunConfig, RunData]]) -> None:
    config = towers.METHOD_CONFIGS["lora"]
    good = trained(config, data)
    poisoned = RunData(**{**vars(data[1][1]), "image": data[1][1].image * float("nan")})
    bad = trained(config, [data[0], (data[1][0], poisoned), data[2]])
    assert bad[1].diverged_at == 1
    assert [o.diverged_at for o in (bad[0], bad[2])] == [None, None]
    for place in (0, 2):
        for key, value in good[place].state.items():  # other stacks in other memory: equal but for rounding
            tolerance = 1e-7 if key.endswith(FLAT) else 1e-10
            torch.testing.assert_close(bad[place].state[key], value, atol=tolerance, rtol=0)
    assert all(v.isfinite().all() for v in bad[1].state.values())


def test_a_stack_does_not_depend_on_its_members(data: list[tuple[RunConfig, RunData]]) -> None:
    config = towers.METHOD_CONFIGS["adapter"]
    alone = trained(config, [data[2]])[0]
    together = trained(config, data)[2]
    for key in alone.state:
        torch.testing.assert_close(alone.state[key], together.state[key], atol=1e-10, rtol=0)


def test_reset_draws_what_a_fresh_stack_draws() -> None:
    config = towers.METHOD_CONFIGS["compacter"]
    stack = build_stack(towers.tower(), config, [1, 2])
    stack.reset([5, 6, 7])
    other = build_stack(towers.tower(), config, [7])
    assert stack.runs == 3
    assert all(torch.equal(stack.state(2)[k], other.state(0)[k]) for k in other.values)


def test_full_fine_tuning_equals_plain_adam(data: list[tuple[RunConfig, RunData]]) -> None:
    run, run_data = data[0]
    outcome = trained(towers.METHOD_CONFIGS["full"], [data[0]])[0]
    model = towers.tower().requires_grad_(True)
    parameters = dict(model.named_parameters())
    towers.plain_training(
        model, list(parameters.values()), run, run_data, FIT,
        lambda image, anchor, student: naive.total(run.loss, run.align_weight, image, anchor, student),
    )  # fmt: skip
    for key, value in parameters.items():
        tolerance = 1e-7 if key.endswith(FLAT) else 1e-10
        torch.testing.assert_close(outcome.state[key], value.detach(), atol=tolerance, rtol=0)
