"""A command typed and the same asked for in Python are one configuration: no default stands in two places."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from xpet.cli import align, merge, translate
from xpet.cli import eval as evaluation
from xpet.cli.app import app
from xpet.core.config import (
    AlignConfig,
    CombineConfig,
    DataConfig,
    EvalConfig,
    FitConfig,
    GateConfig,
    MergeConfig,
    MethodConfig,
    ModelConfig,
    TextConfig,
    TranslateConfig,
    TranslateDataConfig,
)
from xpet.core.errors import ConfigError
from xpet.core.presets import PRESETS

PLAN = FitConfig(device="cpu", epochs=7, stack=3, compile=True)


def typed(command: str, module: Any) -> Any:
    """The configuration of a command line, read by the command line itself."""
    name, *words = shlex.split(command)
    group: Any = typer.main.get_command(app)
    with group.commands[name].make_context(name, words) as context:
        given = {k: v for k, v in context.params.items() if v is not None and v is not False}
        return module.build(module.COMMAND.typed(given))


@pytest.mark.parametrize(("command", "config"), [
    ("align", AlignConfig()),
    ("align", AlignConfig(("de",))),
    ("align --lang cs --routine text", AlignConfig(("cs",), routines=("text",))),
    ("align --routine text --device cpu", AlignConfig(routines=("text",), fit=FitConfig(device="cpu"))),
    ("align --routine 1,text --loss mse", AlignConfig(routines=("1", "text"), losses=("mse",))),
    ("align --lang ja,ko --data multi30k --data-root x", AlignConfig(("ja", "ko"), data=DataConfig("multi30k", "x"))),
    ("align --shots all --val-shots all", AlignConfig(data=DataConfig(shots="all", val_shots="all"))),
    ("align --preset paper", AlignConfig(preset="paper")),
    ("align --preset paper --lr 3e-4 --shots 20 --precision auto", AlignConfig(
        preset="paper", learning_rates=(3e-4,), data=DataConfig(shots=20), fit=FitConfig(precision="auto"))),
    ("align --preset paper --routine text", AlignConfig(preset="paper", routines=("text",))),
    ("align --epochs 7 --device cpu --stack 3 --compile", AlignConfig(fit=PLAN)),
    ("align --routine text --epochs 3", AlignConfig(routines=("text",), fit=FitConfig(epochs=3))),
    ("align --method adapter --bottleneck 8 --train none", AlignConfig(
        method=MethodConfig("adapter", bottleneck=8, train=()))),
    ("align --routine text --corpus a --corpus b --noise 0.1 --fast --natural-share 0.5", AlignConfig(
        routines=("text",), text=TextConfig(corpus=("a", "b"), noise=0.1, fast=True, natural_share=0.5))),
    ("align --model m --image-model i --feature-precision fp16 --seed 0,1 -o out --overwrite --from x", AlignConfig(
        model=ModelConfig("m", "i", "fp16"), seeds=(0, 1), out="out", overwrite=True, start="x")),
])  # fmt: skip
def test_align(command: str, config: AlignConfig) -> None:
    assert typed(command, align).check() == config.check()


def test_align_in_phases() -> None:
    config = AlignConfig(("tr",), routines=("text", "1"), chain=True, text=TextConfig(lines=50), image_weight=1.0)
    found = typed("align --lang tr --routine text,1 --chain --lines 50 --image-weight 1", align)
    assert [phase.check() for phase in found.phases()] == [phase.check() for phase in config.phases()]
    first, second = (phase.check() for phase in config.phases())
    assert (first.routines, first.losses, first.fit.batch_size, first.text.lines) == (
        ("text",), ("mse-normalized",), 96, 50,
    )  # fmt: skip
    assert (second.routines, second.losses, second.fit.batch_size, second.text) == (
        ("routine1",), ("mse",), 20, TextConfig(),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="--chain: expected several routines in --routine, found text"):
        AlignConfig(routines=("text",), chain=True).phases()


@pytest.mark.parametrize(("command", "config"), [
    ("eval", EvalConfig()),
    ("eval a b --lang de,tr --group script --resamples 0 --seed 3 --latency", EvalConfig(
        ("a", "b"), ("de", "tr"), groups=("script",), resamples=0, seed=3, latency=True)),
    ("eval --text to-pivot --prompt english --prompt native --ensemble --english-model demo", EvalConfig(
        texts=("to-pivot",), prompts=("english", "native"), ensemble=True, english="demo")),
    ("eval --fail-if-drop 1 --fail-if-range-above 30 --fail-under 50", EvalConfig(gate=GateConfig(1.0, 30.0, 50.0))),
    ("eval --model m --data xtd --data-root x --shots 50 --split-seed 1 --device cpu", EvalConfig(
        model=ModelConfig("m"), data=DataConfig("xtd", "x", shots=50, split_seed=1), fit=FitConfig(device="cpu"))),
    ("eval --split-of run --diagnose --advise", EvalConfig(split_of="run", diagnose=True, advise=True)),
    ("eval runs --image-model i --data-root x", EvalConfig(
        ("runs",), model=ModelConfig(image="i"), data=DataConfig(root="x"))),
    ("eval --lint --data xtd", EvalConfig(data=DataConfig("xtd"), lint_only=True)),
    ("eval --compare a b", EvalConfig(("a", "b"), compare=True)),
])  # fmt: skip
def test_eval(command: str, config: EvalConfig) -> None:
    assert typed(command, evaluation).check() == config.check()


@pytest.mark.parametrize(("command", "config"), [
    ("merge a -o b", MergeConfig(("a",), "b")),
    ("merge a c --pack b.xpet", MergeConfig(("a", "c"), "b.xpet")),
    ("merge a -o b --dtype fp16 --shard-size 1GiB --no-verify --overwrite --device cpu", MergeConfig(
        ("a",), "b", dtype="fp16", shard_size=2**30, verify=False, overwrite=True, device="cpu")),
    ("merge a c -o b --strategy ties --weights 1,2 --density 0.3 --search 5 --seed 2", MergeConfig(
        ("a", "c"), "b", combine=CombineConfig("ties", (1.0, 2.0), 0.3, None, 5, 2))),
    ("merge a -o b --export peft --model m --data-root d", MergeConfig(
        ("a",), "b", form="peft", model="m", data_root="d")),
])  # fmt: skip
def test_merge(command: str, config: MergeConfig) -> None:
    assert typed(command, merge).check() == config.check()


@pytest.mark.parametrize(("command", "config"), [
    ("translate a.txt --from de --to en", TranslateConfig("de", "en", "a.txt")),
    ("translate a.csv --from de --to en -o b --column c --into d --fast --noise 0.1", TranslateConfig(
        "de", "en", "a.csv", "b", "c", "d", fast=True, noise=0.1)),
])  # fmt: skip
def test_translate(command: str, config: TranslateConfig) -> None:
    assert typed(command, translate) == config


@pytest.mark.parametrize(("command", "config"), [
    ("translate --data demo --lang de", TranslateDataConfig(("de",), DataConfig("demo"))),
    ("translate --data xtd --data-root x --lang de,ja --direction to-pivot -o out --noise 0.2 --noise-seed 3",
     TranslateDataConfig(("de", "ja"), DataConfig("xtd", "x"), "to-pivot", "out", noise=0.2, noise_seed=3)),
])  # fmt: skip
def test_translate_data(command: str, config: TranslateDataConfig) -> None:
    assert typed(command, translate) == config


def test_the_paper_preset_is_the_reference_and_what_is_given_wins() -> None:
    plan = AlignConfig(preset="paper").check()
    assert (plan.data.shots, plan.data.val_shots, plan.fit.precision) == (50, "all", "fp32")
    assert (plan.fit.batch_size, plan.fit.epochs, plan.fit.validate_every) == (5, 50, 5)
    assert (plan.fit.select, plan.fit.latest_tie_wins, plan.fit.dropout) == ("r1", True, "model")
    assert (plan.fit.include_start, plan.fit.most_steps) == (False, None)
    assert len(list(plan.runs())) == 15
    other = AlignConfig(preset="paper", learning_rates=(3e-4,), fit=FitConfig(precision="bf16")).check()
    assert (other.learning_rates, other.fit.precision, other.fit.batch_size) == ((3e-4,), "bf16", 5)
    assert set(PRESETS) == {"default", "paper"}


def test_steps_are_bounded_unless_epochs_are_asked_for() -> None:
    plan = AlignConfig().check().fit
    assert (plan.steps_for(5), plan.steps_for(1450)) == (200, 2000)
    assert AlignConfig(fit=FitConfig(epochs=3)).check().fit.steps_for(1450) == 4350
    assert AlignConfig(routines=("text",)).check().fit.steps_for(1450) == 400
    assert (plan.interval(200), plan.interval(2000)) == (20, 40)


@pytest.mark.parametrize("text", ["100,200", "many", ""])
def test_shots_are_one_number_or_all(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--shots: expected one whole number or 'all', found '{text}'"):
        align.build(align.COMMAND.typed({"shots": text}))
