"""`--dropout model`: the same alone and in any stack, packed and padded, now and later; and none in validation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import XLMRobertaModel

from tests import tiny, towers
from tests.rounding import alike, apart
from tests.training.test_layouts import METHODS, ROWS, shaken
from tests.training.test_stream import STACKABLE, alone, check, runs, streamed, tokens_of
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.dropout_bits import DropoutBits, draws
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.models.dropout import Dropout
from xpet.models.text_tower import TextTower, twin
from xpet.training.device import make_engine
from xpet.training.fit import first_loss, fit
from xpet.training.layouts import LAYOUTS, LayoutContext
from xpet.training.memory import bytes_per_run
from xpet.training.selection import TrainedRun

FIT = FitPlan(batch_size=5, steps=5, validate_every=2, dropout="model")
RUN = RunConfig("de", "routine1", "mse", align_weight=0.5, learning_rate=2e-3, seed=3)
SEEDS, STEPS = torch.tensor([7, 8, 9]), torch.tensor([4, 0, 1999])


def trained(config: FitPlan = FIT, run: RunConfig = RUN, method: str = "lora") -> TrainedRun:
    stack = build_stack(towers.tower(), towers.METHOD_CONFIGS[method], [1])
    (outcome,) = fit(stack, [(run, towers.run_data(1))], config, towers.pad, make_engine("cpu"))
    assert not stack.tower.training
    assert stack.tower.dropout_source.draws is None  # type: ignore[union-attr]
    return outcome


def features(stack: Stack, rows: Sequence[Sequence[Sequence[int]]], layout: str, places: Sequence[int]) -> Tensor:
    """Of the runs in these places, with dropout, [runs * rows, d]."""
    batch = LAYOUTS[layout](rows, LayoutContext(stack, make_engine("cpu"), towers.pad, towers.HIDDEN))
    stack.set_dropout(SEEDS[places], STEPS[places])
    with stack.some(places[0], places[-1] + 1):
        return batch.encode()


@pytest.mark.parametrize("name", STACKABLE)
def test_a_run_is_the_same_alone_and_among_others_that_come_and_go(name: str) -> None:
    given, config = runs(), towers.METHOD_CONFIGS[name]
    found, assigned, _ = streamed(config, given, FIT)
    assert len(assigned.calls) > 2
    assert sorted(outcome.number for outcome in found) == list(range(6))
    for outcome in found:
        if outcome.number in (0, 3, 5):  # from the beginning, later, last
            check(outcome, alone(config, given[outcome.number], FIT))


def test_trained_words_are_the_same_in_any_stack() -> None:
    config = MethodConfig("lora", rank=4, train=("embeddings",), embedding_rank=4)
    given = runs(diverging=None)[:2]
    stack = build_stack(towers.tower(), config, [run.seed for run, _ in given], tokens_of(given))
    for outcome, run in zip(fit(stack, given, FIT, towers.pad, make_engine("cpu")), given, strict=True):
        check(outcome, alone(config, run, FIT))


@pytest.mark.parametrize("name", METHODS)
def test_packed_equals_padded_and_every_run_itself(name: str) -> None:
    places = [0] if name == "full" else [0, 1, 2]
    stack, found, gradients = shaken(METHODS[name], len(places)), {}, {}
    for layout in LAYOUTS:
        stack.clear_gradients()
        found[layout] = features(stack, ROWS[: len(places)], layout, places)
        found[layout].square().sum().backward()
        gradients[layout] = stack.gradients()
    torch.testing.assert_close(found["packed"], found["padded"], atol=1e-10, rtol=0)
    for one, other in zip(gradients["packed"], gradients["padded"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-8)
    for place in places:
        single = features(stack, [ROWS[place]], "packed", [place])
        torch.testing.assert_close(single, found["packed"][9 * place : 9 * place + 9], atol=1e-10, rtol=0)
    stack.tower.eval()
    with stack.some(0, len(places)), torch.no_grad():
        context = LayoutContext(stack, make_engine("cpu"), towers.pad, towers.HIDDEN)
        assert (LAYOUTS["packed"](ROWS[: len(places)], context).encode() - found["packed"]).abs().max() > 0.1


def test_whole_trainings_agree_packed_and_padded() -> None:
    one, other = (trained(replace(FIT, layout=layout)) for layout in LAYOUTS)
    check(one, other)


def plain_features(tower: TextTower, masks: Any, rows: Sequence[Sequence[int]], monkeypatch: Any) -> Tensor:
    """Features of an unmodified transformer, caption by caption, whose plain dropouts are given the masks."""
    transformer = XLMRobertaModel(copy.deepcopy(tower.transformer.config), add_pooling_layer=False).double().train()
    transformer.load_state_dict(tower.transformer.state_dict(), strict=False)
    transformer.set_attn_implementation("eager")
    found = []
    for number, row in enumerate(rows):
        sites = iter(masks(number, len(row)))

        def dropout(values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
            assert training
            return values * next(sites)(values, p) if p else values  # noqa: B023

        with monkeypatch.context() as patched:
            patched.setattr(functional, "dropout", dropout)
            hidden = transformer(input_ids=torch.tensor([row])).last_hidden_state
        assert next(sites, None) is None
        found.append(tower.LinearTransformation(hidden.mean(dim=1)))
    return torch.cat(found)


@pytest.mark.parametrize(("states", "weights"), [(0.1, 0.1), (0.3, 0.0), (0.0, 0.2)])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_plain_dropout_with_the_same_masks(states: float, weights: float, attention: str, monkeypatch: Any) -> None:
    """Each dropout asks for its own site's mask, in the order of the modules; where p is 0 none is asked for."""
    config = towers.tower().transformer.config
    config.hidden_dropout_prob, config.attention_probs_dropout_prob = states, weights  # type: ignore[union-attr]
    tower = TextTower(XLMRobertaModel(config, add_pooling_layer=False), 8).double().requires_grad_(False)
    tower.transformer.set_attn_implementation(attention)  # type: ignore[operator]
    chances = [m.p for m in tower.transformer.modules() if isinstance(m, Dropout)]
    assert chances == [states, *[weights, states, states] * towers.LAYERS]
    drawn = draws(SEEDS[:1], STEPS[:1])

    def masks(number: int, length: int) -> list[Any]:
        bits = DropoutBits.of(drawn, torch.tensor([[number]]), torch.arange(length).unsqueeze(0), towers.HIDDEN)
        return [
            (lambda v, p, s=site: (bits.pairs if v.dim() == 4 else bits.channels)(s, p, v))
            for site, p in enumerate(chances)
            if p
        ]

    expected = plain_features(tower, masks, ROWS[1], monkeypatch)
    stack = Stack(tower, {}, dict, [torch.zeros(1, 0)])  # type: ignore[arg-type]
    for layout in LAYOUTS:
        assert (features(stack, [ROWS[1]], layout, [0]) - expected).abs().max() < 1e-10
        assert tower.transformer.config._attn_implementation == attention  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["lora", "full"])
def test_the_seed_decides_and_no_generator(name: str) -> None:
    torch.manual_seed(1)
    one = trained(method=name)
    torch.manual_seed(2)
    check(one, trained(method=name))
    other = trained(run=replace(RUN, seed=4), method=name)
    assert abs(one.history[-1]["loss"] - other.history[-1]["loss"]) > 1e-6


def test_noise_differs_from_step_to_step_and_run_to_run() -> None:
    stack = shaken(METHODS["lora"], 1)
    batch = LAYOUTS["packed"](ROWS[1:2], LayoutContext(stack, make_engine("cpu"), towers.pad, towers.HIDDEN))
    found = []
    for seed, step in ((1, 0), (1, 1), (2, 0), (1, 0)):
        stack.set_dropout(torch.tensor([seed]), torch.tensor([step]))
        with stack.all(), torch.no_grad():
            found.append(batch.encode())
    assert torch.equal(found[0], found[3])
    assert all((found[i] - found[j]).abs().max() > 0.1 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_it_is_off_in_validation_and_where_nobody_asks() -> None:
    outcome, plain = trained(), trained(replace(FIT, dropout="off"))
    assert outcome.history[0]["val_loss"] == pytest.approx(plain.history[0]["val_loss"], abs=1e-12, rel=0)
    assert abs(outcome.history[1]["loss"] - plain.history[1]["loss"]) > 1e-6
    tower, without = towers.tower(), towers.tower(dropout=0.0)
    batch = towers.pad(ROWS[0])
    alike(tower(*batch), without(*batch))
    tower.train()  # plain dropout, as everybody knows it
    torch.manual_seed(5)
    one = tower(*batch)
    assert apart(one, tower(*batch))
    torch.manual_seed(5)
    assert torch.equal(one, tower(*batch))  # the very same tower


def test_without_chances_it_changes_nothing() -> None:
    found = []
    for config in (FIT, replace(FIT, dropout="off")):
        stack = build_stack(towers.tower(dropout=0.0), towers.METHOD_CONFIGS["lora"], [RUN.seed])
        found += fit(stack, [(RUN, towers.run_data(1))], config, towers.pad, make_engine("cpu"))
    check(found[0], found[1])


def test_twins_draw_apart_from_each_other() -> None:
    tower = towers.tower()
    other = twin(tower)
    sources = {id(m.source) for t in (tower, other) for m in t.modules() if isinstance(m, Dropout)}
    assert sources == {id(tower.dropout_source), id(other.dropout_source)}
    assert len(sources) == 2
    assert set(tower.state_dict()) == set(other.state_dict())


def test_families_have_a_site_for_every_dropout() -> None:
    for family in ("xlm-roberta", "bert"):
        tower = TextTower(tiny.tiny_transformer(family, towers.VOCABULARY, 64, 2), 8)
        found = [m for m in tower.modules() if isinstance(m, nn.Dropout)]
        assert [m.site for m in found if isinstance(m, Dropout)] == list(range(7))
        assert len(found) == 7


def test_its_memory_is_counted() -> None:
    stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1])
    run, engine = (RUN, towers.run_data(1)), make_engine("cpu")
    off, on = (bytes_per_run(stack, run, replace(FIT, dropout=kind), towers.pad, engine) for kind in ("off", "model"))
    assert 1.1 * off < on < 2 * off
    assert not stack.tower.training
    one, other = (
        first_loss(stack, run, replace(FIT, dropout=kind), towers.pad, engine).item() for kind in ("off", "model")
    )
    assert abs(one - other) > 1e-6
