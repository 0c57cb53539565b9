"""The embedding delta: exact against a plain formula, only touched rows move, stacked equals alone, it folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests import naive, towers
from tests.rounding import alike
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.errors import ConfigError, ModelError
from xpet.methods import embeddings
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.methods.table import METHODS, fold
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.queue import RunData
from xpet.training.selection import TrainedRun

RANK = 4
FIT = FitPlan(batch_size=5, steps=12, validate_every=1000, include_start=False)
STACKED = [name for name in towers.METHOD_CONFIGS if METHODS[towers.METHOD_CONFIGS[name].name].stackable]
FOLDED = [name for name in STACKED if METHODS[towers.METHOD_CONFIGS[name].name].fold is not None]


def with_words(name: str) -> MethodConfig:
    config = towers.METHOD_CONFIGS[name]
    parts = config.train if config.train is not None else METHODS[config.name].train
    return replace(config, train=(*parts, "embeddings"), embedding_rank=RANK)


def run_of(seed: int) -> RunConfig:
    return RunConfig("de", "routine1", "mse-normalized", 1.0, 5e-3, seed)


def used(data: RunData) -> list[int]:
    return sorted({token for row in data.student for token in row})


def trained(config: MethodConfig, seeds: Sequence[int]) -> tuple[Stack, list[TrainedRun], list[RunData]]:
    """Runs that read different parts of the vocabulary, trained side by side."""
    data = [part_of_vocabulary(towers.run_data(seed), seed) for seed in seeds]
    stack = build_stack(towers.tower(), config, seeds, [used(d) for d in data])
    runs = [(run_of(seed), d) for seed, d in zip(seeds, data, strict=True)]
    return stack, fit(stack, runs, FIT, towers.pad, make_engine("cpu")), data


def part_of_vocabulary(data: RunData, seed: int) -> RunData:
    """The same data with fewer different tokens, another number of them for every seed."""
    kept = 12 + 7 * seed

    def fewer(rows: Sequence[Sequence[int]]) -> list[list[int]]:
        return [[token if token < 5 else 5 + token % kept for token in row] for row in rows]

    assert data.anchor is not None
    return replace(data, student=fewer(data.student), anchor=data.anchor)


@pytest.mark.parametrize("name", STACKED)
def test_it_starts_from_the_base_and_bare_always_is(name: str) -> None:
    ids, mask = towers.pad(towers.texts(6, seed=9))
    plain = build_stack(towers.tower(), towers.METHOD_CONFIGS[name], [1])
    stack = build_stack(towers.tower(), with_words(name), [1], [range(40)])
    with torch.no_grad():
        with plain.one(0), stack.one(0):
            torch.testing.assert_close(stack(ids, mask), plain(ids, mask), atol=1e-12, rtol=0)
        stack.values[embeddings.DOWN].normal_()
        with stack.bare():
            alike(stack(ids, mask), towers.tower()(ids, mask))


@pytest.mark.parametrize("name", STACKED)
def test_only_touched_rows_have_gradients(name: str) -> None:
    """Tokens of the run that the batch lacks get none, and tokens without a row change nothing at all."""
    tokens = [5, 6, 7, 30, 31]
    stack = build_stack(towers.tower(), with_words(name), [1], [tokens])
    with torch.no_grad():
        stack.values[embeddings.DOWN].normal_()
    ids, mask = torch.tensor([[0, 6, 31, 9, 2], [0, 6, 50, 2, 1]]), torch.tensor([[1] * 5, [1, 1, 1, 1, 0]])
    with stack.one(0):
        stack(ids, mask).square().sum().backward()
    gradient = stack.gradients_by_name()[embeddings.DOWN]
    touched = gradient[0].abs().sum(dim=1) > 0
    assert [token for token, moved in zip(tokens, touched.tolist(), strict=True) if moved] == [6, 31]
    words = stack.tower.get_submodule(embeddings.WORDS)
    with stack.one(0), torch.no_grad():
        shifted = words(ids) - words.base(ids)
    assert ((shifted.abs().sum(dim=2) > 0) == torch.isin(ids, torch.tensor(tokens))).all()


class PlainWords(torch.nn.Module):
    """The formula of the docstring for a dense vocabulary: an independent oracle."""

    def __init__(self, base: torch.nn.Embedding, tokens: list[int], up: Tensor) -> None:
        super().__init__()
        self.base = base
        self.tokens = tokens
        self.down = torch.nn.Parameter(torch.zeros(len(tokens), RANK, dtype=up.dtype))
        self.up = torch.nn.Parameter(up.clone())

    def forward(self, ids: Tensor) -> Tensor:
        whole = torch.zeros(self.base.num_embeddings, self.up.shape[1], dtype=self.up.dtype)
        whole[self.tokens] = self.down @ self.up
        return self.base(ids) + whole[ids]


def test_trained_as_a_plain_module_is() -> None:
    stack, outcomes, data = trained(with_words("lora"), [1, 3])
    for outcome, own, seed in zip(outcomes, data, (1, 3), strict=True):
        model = towers.tower()
        parameters = towers.plain_delta(model, towers.METHOD_CONFIGS["lora"], seed)
        fresh = build_stack(towers.tower(), with_words("lora"), [seed], [used(own)]).state(0)
        base = model.get_submodule(embeddings.WORDS)
        assert isinstance(base, torch.nn.Embedding)
        words = PlainWords(base, used(own), fresh[embeddings.UP])
        model.get_submodule("transformer.embeddings").word_embeddings = words
        towers.plain_training(
            model, [*parameters.values(), words.down, words.up], run_of(seed), own, FIT,
            lambda image, anchor, student: naive.total("mse-normalized", 1.0, image, anchor, student),
        )  # fmt: skip
        expected = {**{n: p.detach() for n, p in parameters.items()}, embeddings.DOWN: words.down.detach(),
                    embeddings.UP: words.up.detach()}  # fmt: skip
        assert outcome.state[embeddings.TOKENS].tolist() == used(own)
        assert float(outcome.state[embeddings.DOWN].abs().max()) > 1e-2
        for name, value in expected.items():
            tolerance = 1e-7 if name.endswith("self.key.bias") else 1e-10
            torch.testing.assert_close(outcome.state[name], value, atol=tolerance, rtol=0)
    assert len(used(data[0])) != len(used(data[1]))


@pytest.mark.parametrize("name", STACKED)
def test_a_stack_equals_its_runs_alone(name: str) -> None:
    _, together, data = trained(with_words(name), [1, 2, 3])
    assert len({len(used(d)) for d in data}) == 3
    for place, seed in enumerate((1, 2, 3)):
        _, (alone,), _ = trained(with_words(name), [seed])
        assert alone.state.keys() == together[place].state.keys()
        for key, value in alone.state.items():
            tolerance = 1e-7 if key.endswith("self.key.bias") else 1e-10
            torch.testing.assert_close(together[place].state[key], value, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", STACKED)
def test_reload_is_exact_whatever_the_stack_held(name: str) -> None:
    stack, outcomes, _ = trained(with_words(name), [1, 3])
    ids, mask = towers.pad(towers.texts(6, seed=9))
    other = build_stack(towers.tower(), with_words(name), [7, 8, 9], [range(5, 9)] * 3)
    for outcome, place in zip(outcomes, (2, 0), strict=True):
        other.load(place, outcome.state)
    for outcome, place in zip(outcomes, (2, 0), strict=True):
        state = other.state(place)
        assert state.keys() == outcome.state.keys()
        assert all(torch.equal(state[key], outcome.state[key]) for key in state)
    for own, place in ((0, 2), (1, 0)):
        stack.load(own, outcomes[own].state)
        with stack.one(own), other.one(place), torch.no_grad():
            torch.testing.assert_close(stack(ids, mask), other(ids, mask), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", FOLDED)
def test_folded_equals_unfolded(name: str) -> None:
    stack = build_stack(towers.tower(torch.float32), with_words(name), [1], [range(5, 40)])
    with torch.no_grad():
        stack.flat[0].add_(0.05 * torch.randn(stack.flat[0].shape, generator=torch.Generator().manual_seed(3)))
    ids, mask = towers.pad(towers.texts(6, seed=9))
    plain = towers.tower(torch.float32)
    base = plain.state_dict()
    changes = fold(with_words(name), stack.state(0))
    plain.load_state_dict({key: changes[key](value) if key in changes else value for key, value in base.items()})
    with stack.one(0), torch.no_grad():
        unfolded = stack(ids, mask)
        torch.testing.assert_close(plain(ids, mask), unfolded, atol=1e-5, rtol=1e-5)
        assert float((towers.tower(torch.float32)(ids, mask) - unfolded).abs().max()) > 1e-2


def test_parameters_are_counted_as_they_are_used() -> None:
    plain = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1]).trainable
    stack = build_stack(towers.tower(), with_words("lora"), [1, 2], [range(5, 15), range(5, 40)])
    assert stack.trainable == plain + 10 * RANK + RANK * towers.HIDDEN
    sizes = [sum(v.numel() for n, v in stack.state(run).items() if n != embeddings.TOKENS) for run in (0, 1)]
    assert sizes == [stack.trainable, stack.trainable + 25 * RANK]


def test_what_does_not_fit() -> None:
    stack = build_stack(towers.tower(), with_words("lora"), [1], [range(5, 15)])
    state = stack.state(0)
    tokens = state[embeddings.TOKENS]
    for changed, words in (
        ({embeddings.TOKENS: tokens.flip(0)}, "expected the tokens of the word embeddings ascending, each once"),
        ({embeddings.TOKENS: tokens[:3]}, "expected 3 rows of rank 4 for the word embeddings, found A (10, 4)"),
        ({embeddings.UP: torch.zeros(3, towers.HIDDEN)}, "expected 10 rows of rank 4"),
    ):
        with pytest.raises(ModelError) as error:
            stack.load(0, {**state, **changed})
        assert words in str(error.value)
    with pytest.raises(ModelError, match="missing"):
        stack.load(0, {name: value for name, value in state.items() if name != embeddings.TOKENS})
    with pytest.raises(ConfigError, match="trains all embeddings: leave 'embeddings' out of --train"):
        build_stack(towers.tower(), MethodConfig("full", train=("embeddings",)), [1])
    big = {embeddings.TOKENS: torch.tensor([99]), embeddings.DOWN: torch.zeros(1, 4), embeddings.UP: torch.zeros(4, 8)}
    with pytest.raises(ModelError, match="expected tokens below 60, found 99"):
        fold(with_words("lora"), {**state, **big})[f"{embeddings.WORDS}.weight"](torch.zeros(60, 8))
