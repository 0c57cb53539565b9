"""Invariants that hold for every method, and the parameter counts of the paper (section 4)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests import towers
from tests.rounding import alike
from xpet.core.choices import METHOD_NAMES, UNSUPPORTED_METHODS
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.errors import ConfigError, ModelError
from xpet.methods.build import build_stack, total_parameters
from xpet.methods.table import METHODS, find_method
from xpet.models.text_tower import TextTower
from xpet.training.device import make_engine
from xpet.training.fit import fit

CONFIGS = {**towers.METHOD_CONFIGS, **towers.FITTED_CONFIGS}
EVERY = pytest.mark.parametrize("name", sorted(CONFIGS))
FIT = FitPlan(batch_size=5, steps=4, validate_every=2)
DRAWS = 20


def features(stack: object) -> torch.Tensor:
    with torch.no_grad():
        return stack(*towers.pad(towers.texts(6, seed=9)))  # type: ignore[operator, no-any-return]


def test_names_match_the_table() -> None:
    assert tuple(METHODS) == METHOD_NAMES
    assert not set(UNSUPPORTED_METHODS) & set(METHODS)


@EVERY
def test_untrained_lora_like_methods_equal_base_and_bare_always_does(name: str) -> None:
    base = features(towers.tower())
    stack = build_stack(towers.tower(), CONFIGS[name], [1])
    with stack.bare():
        alike(features(stack), base)
    with stack.one(0):
        shift = (features(stack) - base).abs().max().item()
    assert shift < {"soft-prompt": 10.0, "adapter": 0.5, "compacter": 0.5}.get(name, 1e-12)


@EVERY
def test_training_moves_only_delta_parameters_and_state_round_trips(name: str) -> None:
    tower = towers.tower()
    stack = build_stack(tower, CONFIGS[name], [1])
    frozen = {k: v.clone() for k, v in tower.state_dict().items()}
    with stack.bare():
        base = features(stack)
    before = stack.state(0)
    run = RunConfig("de", learning_rate=1e-2, align_weight=1.0)
    outcome = fit(stack, [(run, towers.run_data(1))], FIT, towers.pad, make_engine("cpu"))[0]
    with stack.one(0):
        trained = features(stack)
    assert (trained - base).abs().max() > 1e-4
    if name != "full":
        assert all(torch.equal(v, frozen[k]) for k, v in tower.state_dict().items())
    with stack.bare():
        assert torch.equal(features(stack), base)  # the very same weights as before
    state = stack.state(0)
    assert any(not torch.equal(state[k], before[k]) for k in state)
    other = build_stack(towers.tower(), CONFIGS[name], [2])
    other.load(0, state)
    assert all(torch.equal(v, state[k]) for k, v in other.state(0).items())
    with other.one(0):
        torch.testing.assert_close(features(other), trained, atol=1e-12, rtol=0)
    assert set(outcome.state) == set(state)


@EVERY
def test_trainable_count_is_the_state_size(name: str) -> None:
    stack = build_stack(towers.tower(), CONFIGS[name], [1])
    assert stack.trainable == sum(v.numel() for v in stack.state(0).values())


def test_rows_of_different_runs_do_not_mix() -> None:
    stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1, 2, 3])
    with torch.no_grad():
        stack.flat[0].normal_(std=0.3)
    ids, mask = towers.pad(towers.texts(6, seed=9))
    with torch.no_grad(), stack.all():
        together = stack(ids.repeat(3, 1), mask.repeat(3, 1)).view(3, 6, -1)
    for run in range(3):
        with stack.one(run):
            torch.testing.assert_close(features(stack), together[run], atol=1e-12, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_loading_a_foreign_state_is_an_error() -> None:
    stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [1])
    state = stack.state(0)
    name = next(iter(state))
    with pytest.raises(ModelError, match="missing"):
        stack.load(0, {k: v for k, v in state.items() if k != name})
    with pytest.raises(ModelError, match="expected"):
        stack.load(0, {**state, name: torch.zeros(3)})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (MethodConfig("lora"), 884_736),
        (
            MethodConfig(
                "lora", rank=1, modules=("query", "key", "value", "attention.output.dense"),
                train=("layernorm", "head", "pooler"),
            ),
            2_131_712,
        ),
        (MethodConfig("adapter"), 2_507_904),
        (MethodConfig("compacter"), 261_120),
        (MethodConfig("soft-prompt"), 4_096),
        (MethodConfig("full"), 560_677_632),
        (MethodConfig("linear-map"), 787_200),
    ],
    ids=["lora", "lora-scripts", "adapter", "compacter", "soft-prompt", "full", "linear-map"],
)  # fmt: skip
def test_parameter_counts_on_xlm_roberta_large(config: MethodConfig, expected: int) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    with torch.device("meta"):
        large = XLMRobertaConfig(
            vocab_size=250_002, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
            intermediate_size=4096, max_position_embeddings=514, type_vocab_size=1,
        )  # fmt: skip
        tower = TextTower(XLMRobertaModel(large), 768).eval().requires_grad_(False)
        total = total_parameters(tower)
        stack = build_stack(tower, config, [1])
    assert total == 560_677_632
    assert stack.trainable == expected


def test_unknown_and_unsupported_methods_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match="unknown method 'lorra': expected one of lora.*did you mean 'lora'"):
        find_method(MethodConfig("lorra"))
    with pytest.raises(ConfigError, match="'linear-map' is fitted .* trains nothing: leave out --train$"):
        find_method(MethodConfig("linear-map", train=("head",)))
    with pytest.raises(ConfigError, match="'linear-map' does not take rank, modules: it has maps$"):
        find_method(MethodConfig("linear-map", rank=4, modules=("query",)))
    with pytest.raises(ConfigError, match="not supported.*use --method soft-prompt"):
        find_method(MethodConfig("prefix"))
    with pytest.raises(ConfigError, match="try --reduction 8"):
        build_stack(towers.tower(), MethodConfig("compacter", reduction=32, train=()), [1])


@pytest.mark.parametrize("name", ["lora", "compacter"])
def test_threads_draw_what_one_alone_draws(name: str) -> None:
    """torch has one generator for all threads: while one starts runs, another may measure, and reset its stack."""
    seeds = (3, 4, 5)
    stacks = [build_stack(towers.tower(), towers.METHOD_CONFIGS[name], [seed]) for seed in seeds]
    expected = [stack.state(0) for stack in stacks]

    def again(place: int) -> list[bool]:
        found = []
        for _ in range(DRAWS):
            stacks[place].reset([seeds[place]])
            found.append(all(torch.equal(v, expected[place][k]) for k, v in stacks[place].state(0).items()))
        return found

    before = torch.get_rng_state()
    with ThreadPoolExecutor(len(seeds)) as pool:
        assert list(pool.map(again, range(len(seeds)))) == [[True] * DRAWS] * len(seeds)
    assert torch.equal(torch.get_rng_state(), before)
