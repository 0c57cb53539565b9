"""Runs that are fitted: on what, chosen by what, and every caption encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from tests import towers
from xpet.core.choices import IDENTITY
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.events import Event, Progress
from xpet.core.fitted_candidate import FittedCandidate
from xpet.methods.build import build_stack
from xpet.methods.linear_map import METHOD
from xpet.methods.stack import Stack
from xpet.training import closed_form
from xpet.training.closed_form import Candidates, Fitting
from xpet.training.device import make_engine
from xpet.training.queue import Queue, Run, RunData
from xpet.training.selection import TrainedRun
from xpet.training.setup import FitSetup
from xpet.training.stacklike import Reindex, StackLike

CONFIG = MethodConfig("linear-map")
FIT = FitPlan(batch_size=5, steps=1)
assert METHOD.closed_form is not None
MAPS: Candidates = partial(METHOD.closed_form, CONFIG)


def assign(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
    return stack.reindex(kept, [config.seed for config, _ in runs])


def fitted(
    runs: Sequence[RunData], candidates: Candidates = MAPS, fit: FitPlan = FIT, events: list[Event] | None = None
) -> tuple[Stack, list[TrainedRun]]:
    stack = build_stack(towers.tower(), CONFIG, [1])
    fitting, outcomes = Fitting(candidates), []
    listen = [] if events is None else events
    for number, data in enumerate(runs):
        queue = Queue([(RunConfig("de", "routine1", seed=number), data)], fit)
        setup = FitSetup(stack, queue, 1, fit, towers.pad, make_engine("cpu"))
        outcomes += [run for finished in fitting.stream(setup, assign, listen.append) for run in finished]
    return stack, outcomes


def plain(rows: Sequence[Sequence[int]]) -> Tensor:
    with torch.no_grad():
        features: Tensor = towers.tower()(*towers.pad(rows))
    return features


def mrr(text: Tensor, image: Tensor) -> float:
    """Mean reciprocal rank in percent of texts [n, d] and the images [n, d] of the same rows, both ways, by loops."""
    scores = torch.nn.functional.normalize(text) @ torch.nn.functional.normalize(image).T
    ranks = [1 + int((row > row[i]).sum()) for side in (scores, scores.T) for i, row in enumerate(side)]
    return 100 * sum(1 / rank for rank in ranks) / len(ranks)


def test_a_run_is_the_best_candidate_of_its_captions() -> None:
    data = towers.run_data(1, rows=30)
    assert data.anchor is not None
    events: list[Event] = []
    stack, (run,) = fitted([data], events=events)
    source, target, texts = (plain(rows) for rows in (data.student, data.anchor, data.val_text))
    candidates = list(MAPS(source, target))
    expected = [mrr(candidate.features(texts), data.val_image) for candidate in candidates]
    assert [(entry["step"], entry["candidate"]) for entry in run.history] == [
        (step, candidate.name) for step, candidate in enumerate(candidates)
    ]
    assert [entry["val_mrr"] for entry in run.history] == pytest.approx(expected, abs=1e-9)
    assert run.chosen_step == expected.index(max(expected)) > 0
    assert run.validated
    assert run.diverged_at is None
    assert run.score == pytest.approx(max(expected))
    stack.load(0, run.state)
    with torch.no_grad(), stack.one(0):
        found = stack(*towers.pad(data.val_text))
    torch.testing.assert_close(found, candidates[run.chosen_step].features(texts), atol=1e-10, rtol=0)
    assert [(e.stage, e.done, e.total) for e in events if isinstance(e, Progress)] == [("fitting", 1, 1)]


def named(name: str, change: float) -> FittedCandidate:
    return FittedCandidate(name, lambda features: features * change, lambda head: {"by": torch.tensor(change)})


@pytest.mark.parametrize(("select", "latest"), [("loss", False), ("r1", True), ("mrr", False)])
def test_of_equal_candidates_the_simplest_is_chosen(select: str, latest: bool) -> None:
    """All have the same directions, so the same retrieval."""
    equal = [named(IDENTITY, 1.0), named("twice", 2.0), named("thrice", 3.0)]
    fit = replace(FIT, select=select, latest_tie_wins=latest)
    _, (run,) = fitted([towers.run_data(1)], lambda source, target: equal, fit)
    assert (run.chosen_step, float(run.state["by"])) == (0, 1.0)


def test_a_candidate_without_a_ranking_is_never_chosen() -> None:
    _, (run,) = fitted([towers.run_data(1)], lambda source, target: [named("zero", 0.0), named("one", 1.0)])
    assert [entry["candidate"] for entry in run.history] == ["one"]
    assert (run.chosen_step, float(run.state["by"])) == (1, 1.0)


def test_stored_anchors_and_most_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form, "MOST_PAIRS", 4)
    seen: list[tuple[Tensor, Tensor]] = []

    def candidates(source: Tensor, target: Tensor) -> Iterator[FittedCandidate]:
        seen.append((source, target))
        yield named(IDENTITY, 1.0)

    data = towers.run_data(1, rows=10)
    anchors = torch.arange(10.0, dtype=torch.float64).repeat(towers.DIMENSIONS, 1).T
    fitted([replace(data, anchor_features=anchors)], candidates)
    ((source, target),) = seen
    assert target[:, 0].tolist() == [0.0, 2.0, 5.0, 7.0]
    torch.testing.assert_close(source, plain([data.student[row] for row in (0, 2, 5, 7)]), atol=1e-12, rtol=0)


def test_every_caption_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = FitSetup.encode

    def counted(self: FitSetup, *arguments: object) -> Tensor:
        features = encode(self, *arguments)  # type: ignore[arg-type]
        encoded.append(features.shape[1])
        return features

    monkeypatch.setattr(FitSetup, "encode", counted)
    data = towers.run_data(1)
    assert data.anchor is not None
    repeated = replace(data, student=[*data.student, *data.student], anchor=[*data.anchor, *data.anchor])
    _, runs = fitted([repeated, data, repeated])
    different = {tuple(row) for rows in (data.student, data.anchor, data.val_text) for row in rows}
    assert sum(encoded) == len(different)
    assert all(torch.equal(runs[0].state[name], value) for name, value in runs[2].state.items())
