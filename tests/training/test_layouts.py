"""Packed equals padded, for every method and family; lowered weights come back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests import tiny, towers
from xpet.core.caption_packing import pack
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.config import fit as fit_config
from xpet.core.errors import ConfigError
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.models.text_tower import TextTower
from xpet.training import compiling
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.layouts import LAYOUTS, LayoutContext

METHODS = {**towers.METHOD_CONFIGS, "embeddings": MethodConfig("lora", train=("layernorm", "embeddings"))}
ROWS = [towers.texts(9, seed, longest) for seed, longest in ((1, 4), (2, 12), (3, 9))]
RUN = RunConfig("de", "routine1", "mse", align_weight=0.5, learning_rate=2e-3, seed=3)


def shaken(config: MethodConfig, runs: int) -> Stack:
    """A stack whose runs differ from the base and from each other."""
    tokens = [sorted({token for row in rows for token in row}) for rows in ROWS[:runs]]
    stack = build_stack(towers.tower(), config, list(range(runs)), tokens)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for flat in stack.flat:
            flat.add_(0.05 * torch.randn(flat.shape, generator=generator, dtype=flat.dtype))
    return stack


@pytest.mark.parametrize("name", METHODS)
def test_packed_equals_padded(name: str) -> None:
    runs = 1 if name == "full" else len(ROWS)
    stack = shaken(METHODS[name], runs)
    context = LayoutContext(stack, make_engine("cpu"), towers.pad, towers.HIDDEN)
    found, gradients = {}, {}
    for layout, lay in LAYOUTS.items():
        stack.clear_gradients()
        with stack.all():
            found[layout] = lay(ROWS[:runs], context).encode()
        found[layout].square().sum().backward()
        gradients[layout] = stack.gradients()
    assert len(found["packed"]) == runs * 9
    torch.testing.assert_close(found["packed"], found["padded"], atol=1e-12, rtol=0)
    assert max(float(part.abs().max()) for part in gradients["packed"]) > 0
    for one, other in zip(gradients["packed"], gradients["padded"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("family", ["xlm-roberta", "bert"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_equals_padded_in_every_family(family: str, attention: str) -> None:
    transformer = tiny.tiny_transformer(family, towers.VOCABULARY, 64, 2)
    transformer.set_attn_implementation(attention)  # type: ignore[operator]
    tower = TextTower(transformer, 8).double().eval()
    rows = [row for rows in ROWS for row in rows]
    batch = pack([rows], channels=32)
    with torch.no_grad():
        torch.testing.assert_close(tower.packed(batch), tower(*towers.pad(rows)), atol=1e-12, rtol=0)
    assert transformer.config._attn_implementation == attention  # type: ignore[union-attr]


def test_whole_trainings_agree() -> None:
    data = towers.run_data(1)
    states = []
    for layout in LAYOUTS:
        stack = build_stack(towers.tower(), towers.METHOD_CONFIGS["lora"], [RUN.seed])
        config = FitPlan(batch_size=5, steps=8, validate_every=4, layout=layout)
        (outcome,) = fit(stack, [(RUN, data)], config, towers.pad, make_engine("cpu"))
        states.append((outcome.history, outcome.state))
    assert [h["step"] for h in states[0][0]] == [0, 4, 8]
    for one, other in zip(*(history for history, _ in states), strict=True):
        assert one == pytest.approx(other, abs=1e-9)
    for name, value in states[0][1].items():
        torch.testing.assert_close(value, states[1][1][name], atol=1e-10, rtol=0)


def test_an_unknown_layout_is_named() -> None:
    assert FitPlan(layout="loose").problems() == ["unknown layout 'loose': expected one of packed, padded"]
    assert FitPlan(layout="padded").problems() == []
    assert tuple(LAYOUTS) == fit_config.LAYOUTS


@pytest.mark.parametrize("name", ["lora", "adapter", "compacter", "bitfit", "soft-prompt", "full", "embeddings"])
def test_in_bf16_training_lowers_the_loss_and_leaves_the_base_as_it_was(name: str) -> None:
    model = towers.tower(torch.float32)
    data = towers.run_data(1)
    data = replace(data, image=data.image.float(), val_image=data.val_image.float())
    tokens = [sorted({token for row in data.student for token in row})]
    stack = build_stack(model, METHODS[name], [RUN.seed], tokens)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    config = FitPlan(batch_size=14, steps=12, validate_every=6)
    (outcome,) = fit(stack, [(RUN, data)], config, towers.pad, make_engine("cpu", "bf16"))
    assert {value.dtype for value in outcome.state.values() if value.is_floating_point()} == {torch.float32}
    assert outcome.history[-1]["loss"] < outcome.history[1]["loss"]
    for key, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert name == "full" or torch.equal(value, before[key]), key


def test_compiled_layers_learn_the_same_and_are_plain_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpet.training.compiling.BACKEND", "eager")  # traces as inductor does, which takes minutes
    data, states = towers.run_data(1), []
    for wanted in (False, True):
        tower = towers.tower()
        tower.transformer.encoder.layer = tower.transformer.encoder.layer[:1]  # type: ignore[union-attr, index]
        stack = build_stack(tower, towers.METHOD_CONFIGS["lora"], [RUN.seed, RUN.seed])
        config = FitPlan(batch_size=5, steps=1, validate_every=9, include_start=False, compile=wanted, dropout="model")
        outcomes = fit(stack, [(RUN, data)] * 2, config, towers.pad, make_engine("cpu"))
        states.append([outcome.state for outcome in outcomes])
        layers = stack.tower.transformer.encoder.layer  # type: ignore[union-attr]
        assert all(layer._compiled_call_impl is None for layer in layers)  # type: ignore[union-attr]
        assert all((layer in compiling._compiled) == wanted for layer in layers)  # type: ignore[union-attr]
    for one, other in zip(*states, strict=True):
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], atol=1e-10, rtol=0)


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError) as error, compiling.compiled(towers.tower(), True):
        pytest.fail("it went on")
    assert str(error.value) == (
        "--compile needs a C++ compiler on a CPU: expected g++ or clang++ on the PATH, found none; leave --compile out"
    )
