"""The advisor's rules by numbers of our own, its commands through the real parser, and prompted encoders."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import typer
from torch import Tensor

from xpet.core.captions import LanguageCaptions, Split
from xpet.core.config import AlignConfig, DataConfig, ModelConfig
from xpet.core.errors import ConfigError
from xpet.core.losses import ALIGNMENT_LOSSES
from xpet.core.prompts import TEMPLATES, parse
from xpet.jobs.eval.advise import RULES, Case, align_command, measure, recommend
from xpet.jobs.eval.prompts import prompted
from xpet.jobs.results.report import Advice, Diagnosis

APART = {  # zero-shot, translated zero-shot, and routine 1, of a tower whose languages lie apart (English: 92.5)
    "de": (38.6, 71.0, 75.1), "es": (80.7, 71.7, 87.3), "it": (79.9, 71.2, 89.6), "ja": (37.8, 68.8, 73.7),
    "ko": (31.0, 68.5, 68.5), "pl": (49.1, 68.0, 70.0), "ru": (65.1, 67.7, 81.1), "tr": (47.3, 68.1, 75.5),
    "zh": (69.3, 68.7, 87.6),
}  # fmt: skip


def diagnosis(kind: str, words: float | None = 97.0) -> Diagnosis:
    return Diagnosis(0.9, 8.0, 0.7, 0.3, words, 15.0, 0.0, kind)


def case(
    kind: str, raw: float, translated: float | None = None, language: str = "de", english: float | None = 92.5
) -> Case:
    return Case(language, english, raw, translated, None, None, diagnosis(kind))


def advice(kind: str, raw: float, translated: float | None = None, language: str = "de") -> Advice:
    return recommend(case(kind, raw, translated, language), ModelConfig(), DataConfig())


def parsed(command: str) -> AlignConfig:
    """A command as the command line itself reads it."""
    from xpet.cli.align import COMMAND, build
    from xpet.cli.app import app

    words = shlex.split(command)
    assert words[:2] == ["xpet", "align"]
    group: Any = typer.main.get_command(app)
    with group.commands["align"].make_context("align", words[2:]) as context:
        return build(COMMAND.typed({n: value for n, value in context.params.items() if value is not None})).check()


@pytest.mark.parametrize("language", APART)
def test_languages_that_lie_apart_get_the_routine_that_was_measured_to_be_best(language: str) -> None:
    raw, translated, aligned = APART[language]
    assert aligned >= max(raw, translated)
    found = advice("geometric", raw, translated, language)
    assert (found.routine, found.loss, found.method, found.shots) == ("routine1", "mse-normalized", "lora", 100)
    assert found.serving == "one module for the language; no translation"


@pytest.mark.parametrize(("kind", "raw", "translated", "routine", "loss"), [
    ("none", 88.0, 70.0, None, None),
    ("none", 88.0, 91.0, None, None),
    ("lexical", 25.0, 60.0, "text", "mse-normalized"),
    ("lexical", 25.0, None, "text", "mse-normalized"),
    ("mixed", 40.0, 75.6, "text", "mse-normalized"),
    ("mixed", 40.0, 90.0, "text", "mse-normalized"),
    ("geometric", 40.0, None, "routine1", "mse-normalized"),
    ("geometric", 40.0, 75.6, "routine1", "mse-normalized"),  # 40 + 0.64 * 52.5 + 2
    ("geometric", 40.0, 75.7, "routine1,routine3", "mse-normalized"),
    ("unclear", 40.0, 42.0, "routine1", "mse-normalized"),
    ("unclear", 40.0, 42.1, "routine1,routine3", "mse-normalized"),
    ("unclear", 40.0, None, "routine1", "mse-normalized"),
])  # fmt: skip
def test_rules(kind: str, raw: float, translated: float | None, routine: str | None, loss: str | None) -> None:
    found = advice(kind, raw, translated)
    assert (found.routine, found.loss) == (routine, loss)
    assert (found.command is None) == (found.method is None) == (routine is None)
    assert (found.shots is None) == (routine in (None, "text"))
    assert ("machine-translated" in found.serving) == ("3" in (routine or ""))
    if found.command is not None:
        config = parsed(found.command)
        assert (config.languages, ",".join(config.routines), config.losses) == (("de",), routine, (loss,))
        assert (config.method.name, config.data.shots) == ("lora", 100)
        assert config.method.train == (("layernorm", "embeddings") if routine == "text" else None)


@pytest.mark.parametrize(("kind", "mapped", "translated", "method"), [
    ("geometric", 73.6, None, "linear-map"),  # 40 + 0.64 * 52.5
    ("geometric", 73.5, None, "lora"),
    ("geometric", 88.0, 90.0, "linear-map"),
    ("geometric", 87.9, 90.0, "lora"),
    ("unclear", 80.0, 50.0, "linear-map"),
    ("unclear", 60.0, None, "lora"),
    ("lexical", 90.0, None, "lora"),
    ("mixed", 90.0, None, "lora"),
])  # fmt: skip
def test_a_map_that_does_it_is_recommended(kind: str, mapped: float, translated: float | None, method: str) -> None:
    found = recommend(replace(case(kind, 40.0, translated), mapped=mapped), ModelConfig(), DataConfig())
    assert found.method == method
    assert f"{mapped:.1f} with the best map" in found.why
    if method == "linear-map":
        assert (found.routine, found.loss, found.shots) == ("routine1", None, 100)
        assert found.command == "xpet align --lang de --routine 1 --method linear-map --shots 100"
        assert parsed(found.command).method.name == "linear-map"
        assert found.serving == "one linear map, folded into the tower's head; no translation"


def test_a_map_that_gains_nothing_is_not_recommended() -> None:
    """Of a language that is as good as English, any map reaches what training does."""
    same = replace(case("unclear", 92.0), mapped=93.0)
    assert recommend(same, ModelConfig(), DataConfig()).method == "lora"
    without_english = replace(case("unclear", 40.0, english=None), mapped=93.0)
    assert recommend(without_english, ModelConfig(), DataConfig()).method == "lora"


def test_english_is_left_alone_and_every_rule_names_a_known_loss() -> None:
    found = advice("none", 92.5, language="en")
    assert found == Advice(
        None, None, None, None, "nothing changes",
        "R@1 92.5, 92.5 with English captions: the other languages are aligned with it.",
    )  # fmt: skip
    assert {rule.loss for rule in RULES} <= {None, *ALIGNMENT_LOSSES}
    assert RULES[-1].applies(case("anything", 0.0))


def test_the_reasons_are_whole_sentences_with_the_numbers() -> None:
    mine = Case("tr", None, 20.0, 44.0, "an odd {} one", 22.1, diagnosis("lexical", None))
    assert recommend(mine, ModelConfig(), DataConfig()).why == (
        "R@1 20.0, 44.0 translated: what it lacks is words, which a hundred captions cannot teach, but "
        "English text without pictures, translated, can: --corpus takes as much as you have. "
        "Without any training, --prompt 'an odd {} one' brings +2.1 points."
    )


def test_a_command_names_what_is_not_the_default() -> None:
    model, data = ModelConfig("./my tower", "clip"), DataConfig("table", "a b.csv", "v", image_features="f.npy")
    command = align_command("tr", "1,3", "mse", 50, model, data)
    assert command == (
        "xpet align --lang tr --routine 1,3 --loss mse --method lora --shots 50 --model './my tower' "
        "--image-model clip --data table --data-root 'a b.csv' --variant v --image-features f.npy"
    )
    config = parsed(command)
    assert config.model == model
    assert (config.data.name, config.data.root, config.data.variant) == ("table", "a b.csv", "v")
    assert align_command("tr", "1", "mse", 50, ModelConfig(text=""), DataConfig(name="")) == (
        "xpet align --lang tr --routine 1 --loss mse --method lora --shots 50"
    )


def letters(texts: Sequence[str]) -> Tensor:
    """How often each letter occurs: an encoder whose values can be counted by hand."""
    return torch.tensor([[float(text.count(c)) for c in "abc"] for text in texts])


def test_a_prompted_encoder_reads_the_template_or_averages_unit_features() -> None:
    single = prompted(letters, parse("aa {}"), "de")(["b", "c"])
    assert single.tolist() == [[2, 1, 0], [2, 0, 1]]
    texts = ["b", "ccc"]
    rows = torch.stack([
        torch.nn.functional.normalize(letters(tuple(t.replace("{}", x) for x in texts)), dim=1) for t in TEMPLATES["en"]
    ])  # fmt: skip
    ensemble = prompted(letters, parse("english-ensemble"), "de")(texts)
    torch.testing.assert_close(ensemble, rows.mean(dim=0))
    with pytest.raises(ConfigError, match="^prompt set 'native' has no template in 'eu'"):
        prompted(letters, parse("native"), "eu")


def test_measuring_takes_the_best_prompt_and_leaves_out_what_is_not_there() -> None:
    test = Split(("1", "2"), {"eu": LanguageCaptions("eu", (0, 1), {"target": ("ab", "ba")})})  # told apart by nothing
    images = torch.tensor([[1.0, 0.2, 0.0], [0.2, 1.0, 0.0]])
    prompts = [parse("native"), parse("c{}"), parse("{}")]
    found = measure(letters, test, images, "eu", diagnosis("unclear"), prompts)
    assert found == Case("eu", None, 50.0, None, "c{}", 50.0, diagnosis("unclear"))
    found = measure(letters, test, images, "eu", diagnosis("unclear"), prompts[:1])
    assert (found.prompt, found.prompted) == (None, None)
