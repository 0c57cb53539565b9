"""How many runs are trained side by side: measured memory, what saturates the device, even stacks."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests import towers
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.paths import cache_folder
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.training import memory, saturation
from xpet.training.device import make_engine
from xpet.training.memory import bytes_per_run, flop_per_step, runs_per_stack
from xpet.training.queue import RunData
from xpet.training.saturation import Trial

RUN = RunConfig("de", "routine1", "mse")
FIT = FitPlan(batch_size=7, steps=4)


@pytest.fixture
def stack() -> Stack:
    return build_stack(towers.tower(), MethodConfig("lora"), [1])


def chosen(stack: Stack, count: int, fit: FitPlan = FIT) -> int:
    runs = [(RUN, towers.run_data(1))] * count
    return runs_per_stack(stack, runs, fit, towers.pad, make_engine("cpu"))


def test_flop_follow_the_formula(stack: Stack) -> None:
    data = towers.run_data(1)
    assert data.anchor is not None
    tokens = sum(map(len, data.student)) / 14 + sum(map(len, data.anchor)) / 14
    assert flop_per_step(stack.tower, data, 7) == pytest.approx(4 * 7 * tokens * 2 * (4 * 64**2 + 2 * 64 * 96))


def test_as_many_as_saturate_in_even_stacks(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    each = flop_per_step(stack.tower, towers.run_data(1), 7)
    monkeypatch.setitem(memory.SATURATED, "cpu", 15.5 * each)
    assert [chosen(stack, count) for count in (1, 5, 16, 17, 32, 150)] == [1, 5, 16, 9, 16, 15]


def test_no_more_than_fit_into_the_memory(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(memory.SATURATED, "cpu", 1e30)
    each = bytes_per_run(stack, (RUN, towers.run_data(1)), FIT, towers.pad, make_engine("cpu"))
    monkeypatch.setattr(memory, "free_bytes", lambda engine: int(3.5 * each / memory.SHARE_OF_FREE))
    assert chosen(stack, 30) == 3
    assert chosen(stack, 30, replace(FIT, cuda_graphs=True)) == 1  # recorded steps need their memory twice
    monkeypatch.setattr(memory, "free_bytes", lambda engine: 1)
    assert chosen(stack, 30) == 1


def test_what_the_user_says_counts(stack: Stack) -> None:
    assert chosen(stack, 30, FitPlan(batch_size=7, stack=7)) == 7


def test_memory_of_a_run_grows_with_its_batch_and_halves_in_bf16() -> None:
    stack, data = build_stack(towers.tower(torch.float32), MethodConfig("lora"), [1]), towers.run_data(1, rows=64)
    data = RunData(**{**vars(data), "image": data.image.float(), "val_image": data.val_image.float()})  # type: ignore[union-attr]

    def found(batch: int, precision: str) -> float:
        config = FitPlan(batch_size=batch, steps=4)
        return bytes_per_run(stack, (RUN, data), config, towers.pad, make_engine("cpu", precision))

    assert 5 < found(64, "fp32") / found(8, "fp32") < 11  # eight times the captions, in lines of whole multiples
    assert 0.4 < found(64, "bf16") / found(64, "fp32") < 0.65  # the losses stay in single precision


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[int, list[float]]:
    """Seconds that a step of so many runs takes, time after time; the last one again and again."""
    found: dict[int, list[float]] = {}
    clock = [0.0]

    def seconds(self: Trial, count: int) -> float:
        took = found[count].pop(0) if len(found[count]) > 1 else found[count][0]
        clock[0] += 2 * took
        return took

    monkeypatch.setattr(Trial, "seconds", seconds)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setenv("XPET_CACHE", str(tmp_path))
    return found


@pytest.mark.parametrize(("times", "expected"), [
    ({1: 10, 2: 16, 3: 21, 4: 28, 8: 56}, 3),  # what is usual is as good as the best
    ({1: 10, 2: 12, 3: 21, 4: 21, 8: 41}, 4),  # 5.25 ms per run are nearly 5.125
    ({1: 10, 2: 21, 3: 32, 4: 44, 8: 90}, 1),
    ({1: 10, 2: 16, 3: 500, 4: 28, 8: 56}, 3),  # another program, the first time
])  # fmt: skip
def test_a_long_training_measures_what_saturates(
    times: dict[int, float], expected: int, stack: Stack, timed: dict[int, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = flop_per_step(stack.tower, towers.run_data(1), 7)
    monkeypatch.setitem(memory.SATURATED, "cpu", 3 * each)
    timed.update({count: [took / 1000] for count, took in times.items()})
    if times[3] == 500:
        timed[3].append(0.021)
    assert chosen(stack, 12, FitPlan(batch_size=7, steps=saturation.LONG // 12)) == 3  # not long
    long = FitPlan(batch_size=7, steps=saturation.LONG // 12 + 1)
    assert chosen(stack, 12, long) == expected
    timed.clear()  # it would fail to measure
    assert chosen(stack, 12, long) == expected
    (file,) = (cache_folder() / "stack-sizes").iterdir()
    file.write_text(file.read_text()[:-5])
    with pytest.raises(KeyError):
        chosen(stack, 12, long)


def test_measuring_leaves_the_tower_as_it_was_and_takes_all_methods(tmp_path: Path) -> None:
    data = towers.run_data(1)
    before, threads = towers.tower().state_dict(), torch.get_num_threads()
    for name in ("lora", "adapter"):
        stack = build_stack(towers.tower(), towers.METHOD_CONFIGS[name], [1])
        trial = Trial(stack, [(RUN, data)] * 2, replace(FIT, dropout="model"), towers.pad, make_engine("cpu"), 1)
        with trial.prepared():
            assert torch.get_num_threads() == 1
            assert 0 < trial.seconds(2) < 60
        assert torch.get_num_threads() == threads
        assert not stack.tower.training
        assert all(value.grad is None for value in stack.values.values())
        for key, value in stack.tower.state_dict().items():
            assert key not in before or torch.equal(value, before[key])
