"""`xpet eval --advise`: what to do for each language, at what cost when serving, and why.

The rules are a table, read from the top; the first that applies gives the advice. They use three figures per language
(zero-shot R@1 with natural, translated and prompted text), its diagnosis, and margins from the tables of the pages.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT, Split
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.processes import here
from xpet.core.prompts import Prompt, parse
from xpet.core.routines import SHORT
from xpet.jobs.eval.prompts import prompted
from xpet.jobs.results.report import Advice, Diagnosis
from xpet.jobs.shared.measure import Encode, recall

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 2.0
"""Points of R@1 from which a difference counts: seeds change as much (see the README of `xpet align`)."""
CLOSED_BY_ROUTINE_1 = 0.64
"""Share of the gap to English that routine 1 with mse-normalized closes with 100 shots.

Mean over the demo's languages (0.48 to 0.79) but French, which has hardly a gap.
"""
SHOTS = 100
PROMPTS = ("english", "native")
"""Sets of prompts tried unless `--prompt` names others; no ensembles, since these encode texts once per template."""

AS_NOW = "nothing changes"
MODULE = "one module for the language; no translation"
EITHER = "a module for the language; if routine 3 wins, every query must be machine-translated to English as well"


@dataclass(frozen=True)
class Case:
    """What the advice for a language rests on: R@1 in percent on the test split, and its diagnosis.

    `raw` is R@1 with natural captions, `english` with the English ones, `translated` with captions translated to
    English, `prompted` with the best set of prompts, which is named `prompt`; None where there are no such texts.
    """

    language: str
    english: float | None
    raw: float
    translated: float | None
    prompt: str | None
    prompted: float | None
    diagnosis: Diagnosis

    @property
    def translation_helps(self) -> bool:
        """Whether searching with translated text is better than with natural text."""
        return self.translated is not None and self.translated > self.raw + MARGIN

    @property
    def translation_beats_training(self) -> bool:
        """Whether translated text is even better than what routine 1 is likely to reach."""
        if self.translated is None or self.english is None:
            return False
        return self.translated > self.raw + CLOSED_BY_ROUTINE_1 * (self.english - self.raw) + MARGIN


@dataclass(frozen=True)
class AdviceRule:
    """What to advise where the rule `applies`: routine as `--routine` takes it, loss, and what serving then needs.

    `why` is the reason, printed after the figures. `few_shot`: train on captioned pictures, as many as there are up to
    SHOTS; else on text. `train` are parts of the tower to train beside the module, as `--train` takes them.
    """

    applies: Callable[[Case], bool]
    routine: str | None
    loss: str | None
    serving: str
    why: str
    few_shot: bool = True
    train: str | None = None


def _is(*kinds: str) -> Callable[[Case], bool]:
    return lambda case: case.diagnosis.kind in kinds


RULES = (
    AdviceRule(lambda case: case.language == PIVOT, None, None, AS_NOW, "the other languages are aligned with it"),
    AdviceRule(_is("none"), None, None, AS_NOW, "it is so near English that 100 shots bring nothing measurable"),
    AdviceRule(
        _is("lexical"), "text", "mse-normalized", MODULE,
        "the model does not know its words and a hundred captions cannot teach them, but English text without "
        "pictures, translated, can: --corpus takes as much as you have", few_shot=False, train="layernorm,embeddings",
    ),
    AdviceRule(
        lambda case: case.diagnosis.kind == "geometric" and not case.translation_beats_training,
        "1", "mse-normalized", MODULE,
        "its words are known and only lie apart from English, which few captions mend and no query need be translated",
    ),
    AdviceRule(
        lambda case: case.translation_helps, "1,3", "mse-normalized", EITHER,
        "translation promises more than training alone does here; let validation decide between both",
    ),
    AdviceRule(
        lambda case: True, "1", "mse-normalized", MODULE,
        "what is wrong is not clear, and this routine is the cheapest to serve and lost no language where we measured",
    ),
)  # fmt: skip
"""In the order they are tried; the last always applies."""


def advise(
    encode: Encode,
    test: Split,
    images: Tensor,
    diagnoses: Mapping[str, Diagnosis],
    model: ModelConfig,
    data: DataConfig,
    shots: int = SHOTS,
    prompts: Sequence[str] = PROMPTS,
    on_event: OnEvent = ignore,
) -> dict[str, Advice]:
    """Advice for every diagnosed language; `encode` runs the bare tower, `images` are features [images of test, d].

    `model` and `data` go into the recommended commands; `prompts` are as `--prompt` takes them. Of several processes
    each advises on a share of the languages, and all get every advice. Raises DataError for zero features, ConfigError
    for prompts that cannot be parsed.
    """
    languages, prompt_sets = list(diagnoses), [parse(prompt) for prompt in prompts]
    encode_once = lru_cache(maxsize=4)(encode)  # languages often share their English captions

    def advised(number: int) -> dict[str, Any]:
        language = languages[number]
        case = measure(encode_once, test, images, language, diagnoses[language], prompt_sets)
        on_event(Progress("advising", number + 1, len(languages), language))
        return asdict(recommend(case, model, data, shots))

    advice = here().each("the advice", range(len(languages)), advised)
    return {language: Advice(**made) for language, made in zip(languages, advice, strict=True)}


def measure(
    encode: Encode, test: Split, images: Tensor, language: str, diagnosis: Diagnosis, prompts: Sequence[Prompt]
) -> Case:
    """Natural, translated and prompted zero-shot R@1 of a language, on test images [images, d].

    Prompts without a template for the language are left out.
    """
    captions = test.captions[language]
    english = {
        slot: recall(encode, captions, slot, images) if slot in captions.texts and language != PIVOT else None
        for slot in ("pivot", "to_pivot")
    }
    by_prompt = {
        prompt.name: recall(prompted(encode, prompt, language), captions, "target", images)
        for prompt in prompts
        if prompt.covers(language)
    }
    raw = recall(encode, captions, "target", images)
    best = max(by_prompt, key=by_prompt.__getitem__, default=None)
    points = None if best is None else by_prompt[best]
    return Case(language, english["pivot"], raw, english["to_pivot"], best, points, diagnosis)


def recommend(case: Case, model: ModelConfig, data: DataConfig, shots: int = SHOTS) -> Advice:
    """The advice of the first rule that applies, with the figures it rests on and the exact command."""
    rule = next(rule for rule in RULES if rule.applies(case))
    why = f"{_numbers(case)}: {rule.why}.{_prompt(case)}"
    if rule.routine is None:
        return Advice(None, None, None, None, rule.serving, why)
    names = ",".join(SHORT.get(short, short) for short in rule.routine.split(","))
    used = shots if rule.few_shot else None
    command = align_command(case.language, rule.routine, str(rule.loss), used, model, data, train=rule.train)
    return Advice(names, "lora", used, rule.loss, rule.serving, why, command)


def _numbers(case: Case) -> str:
    parts = [f"R@1 {case.raw:.1f}"]
    if case.english is not None:
        parts.append(f"{case.english:.1f} with English captions")
    if case.translated is not None:
        parts.append(f"{case.translated:.1f} translated")
    if case.diagnosis.word_recognition is not None and case.language != PIVOT:
        parts.append(f"words recognised {100 * case.diagnosis.word_recognition:.0f} %")
    return ", ".join(parts)


def _prompt(case: Case) -> str:
    if case.prompted is None or case.prompted <= case.raw + MARGIN:
        return ""
    prompt = shlex.quote(str(case.prompt))
    return f" Without any training, --prompt {prompt} brings {case.prompted - case.raw:+.1f} points."


def align_command(
    language: str, routine: str, loss: str, shots: int | None, model: ModelConfig, data: DataConfig,
    method: str = "lora", train: str | None = None,
) -> str:  # fmt: skip
    """The `xpet align` command line for a language, quoted for a shell; defaults are left out."""
    words = ["xpet", "align", "--lang", language, "--routine", routine, "--loss", loss, "--method", method]
    words += [] if shots is None else ["--shots", str(shots)]
    words += [] if train is None else ["--train", train]
    demo = ("", None, "demo")
    for option, value in (
        ("--model", model.text), ("--image-model", model.image), ("--data", data.name), ("--data-root", data.root),
        ("--variant", data.variant), ("--image-features", data.image_features), ("--split-file", data.split_file),
        ("--translations", data.translations),
    ):  # fmt: skip
        if value not in demo:
            words += [option, str(value)]
    return shlex.join(words)
