"""Keeping the best checkpoints, and the figures they are chosen by."""

from __future__ import annotations

import pytest
import torch

from tests import towers
from xpet.core import stacked_metrics
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.losses import contrastive
from xpet.core.metrics import retrieval
from xpet.core.selection import RULES
from xpet.core.transfer import copy_in_pieces, fetch_all
from xpet.methods import embeddings
from xpet.methods.build import build_stack
from xpet.training import selection
from xpet.training.selection import FIGURES, BestCheckpoints, TrainedRun, Validation

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


@pytest.mark.parametrize("name", ["lora", "words", "full"])
def test_finished_runs_are_copied_as_a_whole(name: str) -> None:
    """Equal, in order and memory, to what is copied of each parameter; the stack stays as it is."""
    words = MethodConfig("lora", rank=2, train=("embeddings", "layernorm"), embedding_rank=4)
    config, runs = {**towers.METHOD_CONFIGS, "words": words}[name], 1 if name == "full" else 3
    stack = build_stack(towers.tower(), config, list(range(runs)), [[4, 5, 6], [7], []][:runs])
    with torch.no_grad():
        for flat in stack.flat:
            flat.add_(torch.rand(flat.shape, dtype=flat.dtype))
    best = BestCheckpoints(stack, [TrainedRun(RUNS[0]) for _ in range(runs)], FitPlan())
    leaving = [0] if name == "full" else [2, 0]
    expected = {slot: {key: value[slot].detach().clone() for key, value in stack.values.items()} for slot in leaving}
    later = [flat.add_(1.0).clone() for flat in stack.flat]
    finished = best.finish(leaving)
    assert all(torch.equal(flat, value) for flat, value in zip(stack.flat, later, strict=True))
    for slot, run in zip(leaving, finished, strict=True):
        table = stack.token_table
        if table is not None:
            kept = len(table.tokens[slot])
            expected[slot] |= {embeddings.TOKENS: table.tokens[slot]}
            expected[slot][embeddings.DOWN] = expected[slot][embeddings.DOWN][:kept]
        assert list(run.state) == list(expected[slot])
        for key, value in expected[slot].items():
            assert torch.equal(run.state[key], value), key
            assert run.state[key].untyped_storage().nbytes() == value.nbytes


@pytest.mark.parametrize("shape", [(7, 3), (0, 4), (16,)])
def test_a_tensor_is_fetched_in_pieces(shape: tuple[int, ...]) -> None:
    source, waited = torch.rand(shape, dtype=torch.float64).t() if len(shape) == 2 else torch.rand(shape), []
    target = torch.empty(source.shape, dtype=source.dtype)
    between = torch.empty(min(24, source.nbytes), dtype=torch.uint8)
    copy_in_pieces(source, target, between, lambda: waited.append(between.clone()))
    assert torch.equal(target, source)
    assert len(waited) == -(-source.nbytes // 24)
    assert torch.equal(fetch_all(source), source)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("latest", [True, False])
@pytest.mark.parametrize("waits", [True, False])
def test_the_device_chooses_as_the_rule_does(name: str, latest: bool, waits: bool) -> None:
    """Against the rule in Python numbers: few different figures, so that ties are many."""
    generator, runs = torch.Generator().manual_seed(7), [TrainedRun(run) for run in (*RUNS, *RUNS)]
    stack = build_stack(towers.tower(), MethodConfig("lora"), [1, 2, 3, 4])
    best = BestCheckpoints(stack, runs, FitPlan(select=name, latest_tie_wins=latest))
    kept, scores = best.parameters[0].clone(), [None] * 4
    for step in range(1, 13):
        with torch.no_grad():
            stack.flat[0].add_(1.0)
        figures = 12.505 + torch.randint(3, (3, 3), generator=generator, dtype=torch.float64) / 100
        counted = torch.rand(3, generator=generator) > 0.3
        better = best.choose(1, 4, figures, counted, waits).tolist()
        for slot, values, counts, found in zip((1, 2, 3), figures.T.tolist(), counted.tolist(), better, strict=True):
            named, rule = dict(zip(FIGURES, values, strict=True)), RULES[name]
            assert found == (counts and rule.replaces(named, scores[slot], latest))
            if found:
                kept[slot], scores[slot] = stack.flat[0].detach()[slot], rule.checkpoint(named)
                best.note(runs[slot], step, named, True)
        assert torch.equal(best.parameters[0], kept)
    assert [run.score for run in runs[1:]] == scores[1:] == best.scores.tolist()[1:]
    assert [run.validated for run in runs] == best.has_score.tolist() == [False, True, True, True]
