"""Batch orders, the stacked Adam, which checkpoint is chosen, what a listener hears, and determinism."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests import towers
from tests.training.test_stream import check
from xpet.core.config import FitPlan, RunConfig
from xpet.core.errors import ConfigError
from xpet.core.events import Diverged, Event, Notice, Progress, Validated
from xpet.core.losses import contrastive
from xpet.core.stacked_metrics import Scores
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.training.batches import batch_order, batches_per_epoch
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.optimiser import StackedAdam
from xpet.training.queue import RunData
from xpet.training.selection import TrainedRun

FIT = FitPlan(batch_size=5, steps=6, validate_every=2, select="mrr")
RUN = RunConfig("de", learning_rate=2e-3, align_weight=0.5)


def stack_of(*runs: RunConfig) -> Stack:
    return build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [run.seed for run in runs])


def train(
    config: FitPlan, *runs: RunConfig, stack: Stack | None = None, events: list[Event] | None = None
) -> list[TrainedRun]:
    pairs = [(run, towers.run_data(seed=1, rows=7)) for run in runs]
    heard = events if events is not None else []
    return fit(stack or stack_of(*runs), pairs, config, towers.pad, make_engine("cpu"), heard.append)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("rows", "size", "batches", "left_out"), [
    (10, 5, [5, 5], 0), (12, 5, [5, 5, 2], 0), (11, 5, [5, 5], 1), (3, 5, [3], 0), (2, 5, [2], 0), (5, 2, [2, 2], 1),
])  # fmt: skip
def test_every_row_once_per_epoch_and_no_batch_of_one(rows: int, size: int, batches: list[int], left_out: int) -> None:
    assert batches_per_epoch(rows, size) == len(batches)
    order = list(batch_order(rows, size, steps=4 * len(batches), seed=3))
    for epoch in range(4):
        part = order[epoch * len(batches) : (epoch + 1) * len(batches)]
        assert [len(batch) for batch in part] == batches
        seen = [row for batch in part for row in batch]
        assert len(set(seen)) == len(seen) == rows - left_out
        assert set(seen) <= set(range(rows))


def test_batch_orders_are_seeded_and_new_in_every_epoch() -> None:
    order = list(batch_order(20, 5, 8, seed=1))
    assert order == list(batch_order(20, 5, 8, seed=1))
    assert order != list(batch_order(20, 5, 8, seed=2))
    assert order[:4] != order[4:]
    assert list(batch_order(20, 5, 3, seed=1)) == order[:3]  # fewer steps: the same beginning
    first = torch.randperm(20, generator=torch.Generator().manual_seed(1)).tolist()
    assert [row for batch in order[:4] for row in batch] == first
    state = torch.get_rng_state()
    list(batch_order(20, 5, 8, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert batches_per_epoch(1, 5) == batches_per_epoch(0, 5) == 0


RATES = (1e-2, 1e-3, 3e-1)
ADAM_STEPS = 25


def gradients_of(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(3, n, generator=generator, dtype=torch.float64) * 10.0 ** (step % 5 - 2) for n in (4, 7)]


def start() -> list[Tensor]:
    generator = torch.Generator().manual_seed(99)
    return [torch.randn(3, n, generator=generator, dtype=torch.float64) for n in (4, 7)]


def plain_adam(run: int) -> Iterator[list[Tensor]]:
    """Parameters of one run after every step of torch's Adam with cosine decay."""
    parameters = [torch.nn.Parameter(value[run].clone()) for value in start()]
    optimiser = torch.optim.Adam(parameters, lr=RATES[run])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: 0.5 * (1 + math.cos(math.pi * t / ADAM_STEPS)))
    for step in range(ADAM_STEPS):
        for parameter, gradient in zip(parameters, gradients_of(step), strict=True):
            parameter.grad = gradient[run].clone()
        optimiser.step()
        schedule.step()
        yield [p.detach().clone() for p in parameters]


def test_stacked_adam_is_torch_adam_per_run_and_dead_runs_are_frozen() -> None:
    parameters = start()
    optimiser = StackedAdam(parameters, torch.tensor(RATES, dtype=torch.float64), ADAM_STEPS)
    alive = torch.ones(3, dtype=torch.bool)
    frozen: list[Tensor] = []
    for step, expected in enumerate(zip(*(plain_adam(run) for run in range(3)), strict=True)):
        gradients = gradients_of(step)
        if step == 10:
            alive[1] = False
            frozen = [p[1].clone() for p in parameters]
        if step >= 10:
            for gradient in gradients:
                gradient[1] = float("nan") if step % 2 else 1e3
        optimiser.step(gradients, alive)
        for run in range(3):
            wanted = frozen if run == 1 and step >= 10 else expected[run]
            for parameter, value in zip(parameters, wanted, strict=True):
                tolerance = 0.0 if run == 1 and step >= 10 else 1e-12
                torch.testing.assert_close(parameter[run], value, atol=tolerance, rtol=0)
    assert all(p.isfinite().all() for p in parameters)
    assert all(m.isfinite().all() for m in (*optimiser.first, *optimiser.second))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """R@1 and MRR (0..1) that successive validations of the only run will report."""
    scores: list[float] = []

    def scripted(image: Tensor, text: Tensor, owner: Tensor) -> Scores:
        value = torch.tensor([100 * scores.pop(0)], dtype=torch.float64)
        return Scores(value, value)

    monkeypatch.setattr("xpet.training.selection.stacked_retrieval", scripted)
    return scores


def test_the_best_validation_is_chosen_and_its_weights_kept(script: list[float]) -> None:
    script += [0.1, 0.3, 0.5, 0.4]
    stack = stack_of(RUN)
    (outcome,) = train(FIT, RUN, stack=stack)
    assert [entry["step"] for entry in outcome.history] == [0, 2, 4, 6]
    assert [entry["val_mrr"] for entry in outcome.history] == pytest.approx([10, 30, 50, 40])
    assert (outcome.chosen_step, outcome.validated) == (4, True)
    assert outcome.score == pytest.approx(50)
    assert not equal(outcome.state, stack.state(0))
    script += [0.1, 0.3, 0.2, 0.5]
    assert train(FIT, RUN)[0].chosen_step == 6


def test_the_kept_weights_are_those_of_the_chosen_step(script: list[float]) -> None:
    kept = []
    for best in range(4):
        script += [0.9 if place == best else 0.1 for place in range(4)]
        stack = stack_of(RUN)
        untouched = stack.state(0)
        (outcome,) = train(FIT, RUN, stack=stack)
        assert outcome.chosen_step == 2 * best
        assert equal(outcome.state, untouched) == (best == 0)
        assert equal(outcome.state, stack.state(0)) == (best == 3)
        kept.append(outcome.state)
    assert all(not equal(kept[i], kept[j]) for i in range(4) for j in range(i))


def test_step_0_is_a_candidate_and_the_earlier_tie_wins_by_default(script: list[float]) -> None:
    stack = stack_of(RUN)
    start = stack.state(0)
    script += [0.5, 0.4, 0.5, 0.5]
    (outcome,) = train(FIT, RUN, stack=stack)
    assert outcome.chosen_step == 0
    assert equal(outcome.state, start)
    script += [0.1, 0.5, 0.5, 0.5]
    assert train(FIT, RUN)[0].chosen_step == 2


REFERENCE = replace(FIT, select="r1", latest_tie_wins=True, include_start=False)


@pytest.mark.parametrize(("scores", "chosen"), [
    ([0.5, 0.5, 0.4], 4),
    ([0.5, 0.5, 0.5], 6),
    ([0.50004, 0.50001, 0.4], 4),  # equal after rounding to 4 decimals: the latest wins
    ([0.50006, 0.50004, 0.4], 2),
    ([0.0, 0.0, 0.0], 6),
])  # fmt: skip
def test_the_reference_rule(script: list[float], scores: list[float], chosen: int) -> None:
    script += scores
    (outcome,) = train(REFERENCE, RUN)
    assert [entry["step"] for entry in outcome.history] == [2, 4, 6]  # step 0 is no candidate
    assert outcome.chosen_step == chosen


def test_selection_by_loss_takes_the_lowest() -> None:
    (outcome,) = train(replace(FIT, select="loss", validate_every=1, steps=12), RUN)
    losses = {entry["step"]: entry["val_loss"] for entry in outcome.history}
    assert list(losses) == list(range(13))
    assert outcome.chosen_step == min(losses, key=losses.__getitem__)
    assert outcome.score == -min(losses.values())
    assert 0 < outcome.chosen_step  # training did change it


def test_history_holds_the_mean_training_loss_since_the_last_validation() -> None:
    fine = train(replace(FIT, validate_every=1), RUN)[0].history
    coarse = train(replace(FIT, validate_every=3), RUN)[0].history
    assert [entry["step"] for entry in coarse] == [0, 3, 6]
    assert "loss" not in coarse[0]
    for place, entry in enumerate(coarse[1:]):
        for key in ("loss", "loss_clip", "loss_align"):
            part = [e[key] for e in fine[1 + 3 * place : 4 + 3 * place]]
            assert entry[key] == pytest.approx(sum(part) / 3, abs=1e-10)


def test_the_last_step_is_validated_too() -> None:
    (outcome,) = train(replace(FIT, steps=5), RUN)
    assert [entry["step"] for entry in outcome.history] == [0, 2, 4, 5]
    (outcome,) = train(replace(FIT, steps=None, epochs=2), RUN)  # 7 rows: batches of 5 and 2
    assert outcome.history[-1]["step"] == 4


def test_a_run_too_short_to_validate_yields_its_final_weights() -> None:
    stack = stack_of(RUN)
    start = stack.state(0)
    (outcome,) = train(replace(REFERENCE, validate_every=100), RUN, stack=stack)
    assert (outcome.chosen_step, outcome.validated, outcome.history, outcome.diverged_at) == (6, False, [], None)
    assert equal(outcome.state, stack.state(0))
    assert not equal(outcome.state, start)


def test_runs_that_cannot_share_a_stack() -> None:
    engine, other = make_engine("cpu"), replace(RUN, seed=2)
    seven, eight = towers.run_data(1, rows=7), towers.run_data(2, rows=8)
    bare = towers.run_data(2, rows=7, anchored=False)
    for data in (eight, bare):
        with pytest.raises(ConfigError, match=r"^expected runs of one shape, found 2 of shapes \[\(7, 8, "):
            fit(stack_of(RUN, other), [(RUN, seven), (other, data)], FIT, towers.pad, engine)
    with pytest.raises(ConfigError, match="^expected a stack of 1 runs, found one of 2$"):
        fit(stack_of(RUN, other), [(RUN, seven)], FIT, towers.pad, engine)
    with pytest.raises(ConfigError, match="^expected at least 2 training examples per batch, found 1 in all$"):
        fit(stack_of(RUN), [(RUN, towers.run_data(1, rows=1))], FIT, towers.pad, engine)


def test_progress_goes_up_to_the_steps() -> None:
    events: list[Event] = []
    train(replace(FIT, steps=23, validate_every=100), RUN, events=events)
    progress = [event for event in events if isinstance(event, Progress)]
    assert [type(event) for event in events if event not in progress] == [Validated, Validated]
    assert [(e.stage, e.done, e.total) for e in progress] == [
        ("training", 10, 23), ("training", 20, 23), ("training", 23, 23),
    ]  # fmt: skip
    assert progress[0].note.startswith("1 runs, ")
    assert progress[0].note.endswith(" ms/step")


def test_every_validation_is_an_event_with_the_figures_of_the_history() -> None:
    events: list[Event] = []
    other = replace(RUN, seed=2)
    outcomes = train(replace(FIT, steps=7, validate_every=3), RUN, other, events=events)
    validated = [event for event in events if isinstance(event, Validated)]
    assert {event.steps for event in validated} == {7}
    for outcome in outcomes:
        heard = [{"step": e.step, **e.figures} for e in validated if e.label == outcome.config.label]
        assert [entry["step"] for entry in heard] == [0, 3, 6, 7]
        assert heard == outcome.history


def poisoned(data: RunData) -> RunData:
    """NaN in one row of the images: the loss is finite until a batch holds that row."""
    image = data.image.clone()
    image[4] = float("nan")
    return replace(data, image=image)


def test_a_diverging_run_is_announced_once_and_keeps_its_best_checkpoint() -> None:
    bad, good = replace(RUN, seed=5), replace(RUN, seed=6)
    rows = 12
    struck = next(step for step, batch in enumerate(batch_order(rows, 2, 40, bad.seed), start=1) if 4 in batch)
    assert struck > 1
    events: list[Event] = []
    stack = stack_of(bad, good)
    start = stack.state(0)
    data = towers.run_data(1, rows=rows)
    config = FitPlan(batch_size=2, steps=12, validate_every=1, select="loss")
    outcomes = fit(stack, [(bad, poisoned(data)), (good, data)], config, towers.pad, make_engine("cpu"), events.append)
    assert [event for event in events if isinstance(event, Notice)] == [
        Notice(f"run {bad.label} diverged at step {struck}: loss is not finite; stopped", "warning")
    ]
    assert [event for event in events if isinstance(event, Diverged)] == [Diverged(bad.label, struck)]
    assert [outcome.diverged_at for outcome in outcomes] == [struck, None]
    assert [entry["step"] for entry in outcomes[0].history] == list(range(struck))
    assert [entry["step"] for entry in outcomes[1].history] == list(range(13))
    assert outcomes[0].chosen_step < struck
    assert equal(outcomes[0].state, start) == (outcomes[0].chosen_step == 0)
    assert all(value.isfinite().all() for value in outcomes[0].state.values())


def test_a_run_that_diverges_at_once_yields_the_untouched_start() -> None:
    stack = stack_of(RUN)
    start = stack.state(0)
    data = towers.run_data(1, rows=7)
    assert data.image is not None
    nothing = replace(data, image=data.image * float("nan"))
    config = replace(REFERENCE, steps=60)
    (outcome,) = fit(stack, [(RUN, nothing)], config, towers.pad, make_engine("cpu"))
    assert (outcome.diverged_at, outcome.chosen_step, outcome.validated, outcome.history) == (1, 0, False, [])
    assert equal(outcome.state, start)


def test_the_same_seed_gives_the_same_numbers() -> None:
    runs = (RUN, replace(RUN, seed=2), RUN)
    one, two = train(FIT, *runs), train(FIT, *runs)
    for a, b in zip(one, two, strict=True):
        check(a, b)
        assert a.score == pytest.approx(b.score, abs=1e-8)
    assert one[0].history[-1]["val_loss"] == pytest.approx(one[2].history[-1]["val_loss"], abs=1e-9)
    assert abs(one[0].history[-1]["val_loss"] - one[1].history[-1]["val_loss"]) > 1e-6


def test_model_dropout_is_on_in_training_and_off_in_validation() -> None:
    config = replace(FIT, dropout="model", validate_every=1)
    stack = stack_of(RUN)
    torch.manual_seed(0)
    dropped = train(config, RUN, stack=stack)[0].history
    plain = train(replace(config, dropout="off"), RUN)[0].history
    assert dropped[0]["val_loss"] == pytest.approx(plain[0]["val_loss"], abs=1e-12, rel=0)
    assert abs(dropped[1]["loss"] - plain[1]["loss"]) > 1e-6
    assert not stack.tower.training


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as error:
        make_engine("cuda")
    assert str(error.value) == "device 'cuda' was asked for, but torch finds no GPU; use --device cpu or auto"
    assert make_engine("auto").precision == "fp32"
    assert make_engine("cpu").device.type == "cpu"


def test_pictured_captions_stand_beside_the_students_and_have_the_images() -> None:
    """One step from the base: the losses are those of the two batches computed by hand."""
    data, other = towers.run_data(1, rows=6), towers.run_data(2, rows=6)
    frozen = torch.randn(6, towers.DIMENSIONS, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    mixed = replace(
        data,
        anchor=None,
        anchor_features=frozen,
        image_captions=other.student,
        image=other.image,
        only_full_batches=True,
    )
    config = replace(FIT, batch_size=6, steps=1, validate_every=1)
    run = replace(RUN, loss="mse", image_weight=0.7, align_weight=0.4)
    (outcome,) = fit(stack_of(run), [(run, mixed)], config, towers.pad, make_engine("cpu"))
    base = towers.tower()
    with torch.no_grad():
        student, captions = base(*towers.pad(data.student)), base(*towers.pad(other.student))
    assert other.image is not None
    clip, aligned = float(contrastive(other.image, captions)), float((frozen - student).square().mean())
    last = outcome.history[-1]
    assert last["loss_clip"] == pytest.approx(clip, rel=1e-9)
    assert last["loss_align"] == pytest.approx(aligned, rel=1e-9)
    assert last["loss"] == pytest.approx(0.7 * clip + 0.4 * aligned, rel=1e-9)
