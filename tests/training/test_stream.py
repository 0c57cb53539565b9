"""Runs that follow one another in the places of a stack learn what each would learn alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from tests import towers
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.errors import ConfigError, ModelError
from xpet.core.events import Event, Notice, Progress
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.methods.table import METHODS
from xpet.training.device import make_engine
from xpet.training.fit import fit, stream
from xpet.training.progress import StepCounter
from xpet.training.queue import Queue, Run, RunData
from xpet.training.selection import TrainedRun
from xpet.training.setup import FitSetup
from xpet.training.stacklike import Reindex, StackLike

FIT = FitPlan(batch_size=5, steps=11, validate_every=3)
SLOTS, STRUCK = 3, 1
"""Runs side by side, and the one of the first that diverges."""
STACKABLE = [name for name in towers.METHOD_CONFIGS if METHODS[towers.METHOD_CONFIGS[name].name].stackable]


def runs(diverging: int | None = STRUCK, rows: int = 14) -> list[Run]:
    found = []
    for number in range(6):
        data = towers.run_data(number, rows=rows, longest=6 + number)
        if number == diverging:
            assert data.image is not None
            data = replace(data, image=data.image.index_fill(0, torch.tensor([4]), float("nan")))
        config = RunConfig(
            "de", "routine1", ("mse", "cosine")[number % 2], 0.5, learning_rate=1e-3 * (1 + number), seed=20 + number
        )
        found.append((config, data))
    return found


def tokens_of(runs: Sequence[Run]) -> list[list[int]]:
    return [sorted({token for row in data.student for token in row}) for _, data in runs]


class Assigned:
    """Puts runs into a stack, and remembers who was kept and who came."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], list[int]]] = []

    def __call__(self, stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
        self.calls.append((list(kept), [config.seed for config, _ in runs]))
        return stack.reindex(kept, [config.seed for config, _ in runs], tokens_of(runs))


def streamed(
    config: MethodConfig, given: Sequence[Run], fit_config: FitPlan = FIT, events: list[Event] | None = None
) -> tuple[list[TrainedRun], Assigned, Stack]:
    stack, assigned = build_stack(towers.tower(), config, [1]), Assigned()
    heard = events if events is not None else []
    setup = FitSetup(stack, Queue(given, fit_config), SLOTS, fit_config, towers.pad, make_engine("cpu"))
    found = stream(setup, assigned, heard.append)
    return [outcome for outcomes in found for outcome in outcomes], assigned, stack


def alone(config: MethodConfig, run: Run, fit_config: FitPlan = FIT) -> TrainedRun:
    stack = build_stack(towers.tower(), config, [run[0].seed], tokens_of([run]))
    return fit(stack, [run], fit_config, towers.pad, make_engine("cpu"))[0]


def check(mine: TrainedRun, other: TrainedRun, tolerance: float = 1e-10) -> None:
    assert (mine.config, mine.chosen_step, mine.diverged_at) == (other.config, other.chosen_step, other.diverged_at)
    assert [entry["step"] for entry in mine.history] == [entry["step"] for entry in other.history]
    for one, two in zip(mine.history, other.history, strict=True):
        assert one == pytest.approx(two, abs=1e-8)
    assert set(mine.state) == set(other.state)
    for name, value in mine.state.items():
        loose = 1e-6 if name.endswith("key.bias") else tolerance  # see test_stack_equals_alone
        torch.testing.assert_close(value, other.state[name], atol=loose, rtol=0)


@pytest.mark.parametrize(("name", "rows"), [*((name, 14) for name in STACKABLE), ("lora", 15)])
def test_every_run_of_a_stream_equals_the_same_run_alone(name: str, rows: int) -> None:
    config = towers.METHOD_CONFIGS[name]
    found, _, _ = streamed(config, runs(rows=rows))
    assert sorted(outcome.number for outcome in found) == list(range(6))
    assert [outcome.number for outcome in found if outcome.diverged_at is not None] == [STRUCK]
    for outcome, run in zip(sorted(found, key=lambda outcome: outcome.number), runs(rows=rows), strict=True):
        check(outcome, alone(config, run))


def test_trained_words_go_along_with_their_runs() -> None:
    config = MethodConfig("lora", rank=4, train=("embeddings",), embedding_rank=4)
    found, _, _ = streamed(config, runs())
    for outcome, run in zip(sorted(found, key=lambda outcome: outcome.number), runs(), strict=True):
        check(outcome, alone(config, run))


def test_who_diverges_or_ends_leaves_room_for_the_next() -> None:
    found, assigned, stack = streamed(towers.METHOD_CONFIGS["lora"], runs(rows=15))
    assert assigned.calls == [
        ([], [20, 21, 22]),  # three places
        ([0, 2], [23]),  # 21 diverged: the next in its place, behind those that go on
        ([2], [24, 25]),  # 20 and 22 ended
        ([1, 2], []),  # 23 ended, and nobody waits: the stack shrinks
    ]
    assert [outcome.number for outcome in found] == [1, 0, 2, 3, 4, 5]
    assert stack.runs == 2


def test_who_comes_later_begins_where_batches_are_equally_large() -> None:
    given = runs(rows=14)  # 5, 5 and 4 rows an epoch
    assert Queue(given, FIT).cycle == 3
    found, assigned, _ = streamed(towers.METHOD_CONFIGS["lora"], given)
    assert assigned.calls == [
        ([], [20, 21, 22]),
        ([0, 2], [23]),  # at step 3 of the others
        ([2], []),  # 20 and 22 ended: 23 is at step 8
        ([0], [24, 25]),  # at step 9
        ([1, 2], []),
    ]
    for rows, cycle in ((15, 1), (16, 1), (4, 1), (13, 3)):
        assert Queue([(RunConfig("de"), towers.run_data(1, rows=rows))], FIT).cycle == cycle


def test_a_stack_of_runs_that_all_diverge_is_filled_anew() -> None:
    given = runs()
    bad = [
        (config, replace(data, image=data.image * float("nan"))) for config, data in given[:3] if data.image is not None
    ]
    config = replace(FIT, validate_every=100, steps=30)
    found, assigned, _ = streamed(towers.METHOD_CONFIGS["lora"], [*bad, *given[3:]], config)
    assert assigned.calls == [([], [20, 21, 22]), ([], [23, 24, 25])]
    assert [outcome.diverged_at for outcome in found] == [1, 1, 1, None, None, None]
    check(found[-1], alone(towers.METHOD_CONFIGS["lora"], given[5], config))


def test_progress_counts_the_steps_of_all_runs() -> None:
    events: list[Event] = []
    found, _, _ = streamed(towers.METHOD_CONFIGS["lora"], runs(), events=events)
    told = [event for event in events if isinstance(event, Progress)]
    assert {event.total for event in told} == {6 * 11}
    assert [event.done for event in told] == sorted(event.done for event in told)
    assert told[-1].done == 6 * 11  # the steps a diverged run was spared count as done
    assert [event.text for event in events if isinstance(event, Notice)] == [
        f"run {found[0].config.label} diverged at step {found[0].diverged_at}: loss is not finite; stopped"
    ]
    assert all(outcome.seconds > 0 for outcome in found)


def test_stacks_share_a_queue() -> None:
    given = runs(diverging=None)
    queue = Queue(given, FIT)
    counter = StepCounter([queue])
    engine, config = make_engine("cpu"), towers.METHOD_CONFIGS["adapter"]

    def setup() -> FitSetup:
        return FitSetup(build_stack(towers.tower(), config, [1]), queue, 2, FIT, towers.pad, engine)

    one, two = (stream(setup(), Assigned(), counter=counter) for _ in range(2))
    found = [next(one), next(two), *one, *two]
    assert [[outcome.number for outcome in outcomes] for outcomes in found] == [[0, 1], [4, 5], [2, 3]]
    assert (queue.waiting, counter.add(0)) == (0, counter.total)
    assert list(stream(setup(), Assigned())) == []


def test_a_queue_wants_runs_of_one_shape() -> None:
    seven, eight = (towers.run_data(1, rows=rows) for rows in (7, 8))
    with pytest.raises(ConfigError, match=r"^expected runs of one shape, found 2 of shapes \[\(7, 8, "):
        Queue([(RunConfig("de"), seven), (RunConfig("tr"), eight)], FIT)
    whole = [(RunConfig("de"), replace(data, only_full_batches=True)) for data in (eight, seven)]
    queue = Queue(whole, FitPlan(batch_size=10, epochs=3))
    assert (queue.batch, queue.steps) == (7, 3)  # those of the shortest


@pytest.mark.parametrize("name", STACKABLE)
def test_an_exchange_moves_everything_and_draws_what_a_fresh_stack_draws(name: str) -> None:
    config = towers.METHOD_CONFIGS[name]
    stack, fresh = (build_stack(towers.tower(), config, seeds) for seeds in ([1, 2, 3], [7, 8]))
    before = [stack.state(run) for run in range(3)]
    beside = stack.flat[0].detach() * 2
    reindex = stack.reindex([2, 0], [7, 8])
    assert stack.runs == len(stack.flat[0]) == 4
    for place, expected in enumerate([before[2], before[0], fresh.state(0), fresh.state(1)]):
        found = stack.state(place)
        assert set(found) == set(expected)
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    moved = reindex(beside)
    assert torch.equal(moved[:2], stack.flat[0].detach()[:2] * 2)
    assert not moved[2:].any()


def test_initial_values_do_not_depend_on_lowered_weights() -> None:
    for name in STACKABLE:
        config = towers.METHOD_CONFIGS[name]
        stack, fresh = (build_stack(towers.tower(torch.float32), config, seeds) for seeds in ([1], [1, 7]))
        with stack.lowered(torch.bfloat16):
            stack.reindex([0], [7])
            assert {p.dtype for p in stack.tower.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in stack.tower.parameters()} == {torch.float32}
        assert all(torch.equal(value, fresh.values[key]) for key, value in stack.values.items())


def test_a_full_tower_has_room_for_one() -> None:
    stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["full"], [1])
    with pytest.raises(ModelError, match="^full fine-tuning cannot be stacked: expected 1 run, found 2$"):
        stack.reindex([0], [2])


def test_run_data_says_what_may_share_a_stack() -> None:
    data = towers.run_data(1)
    assert isinstance(data, RunData)
    assert data.shape == towers.run_data(2).shape
    assert replace(data, only_full_batches=True).shape != data.shape
