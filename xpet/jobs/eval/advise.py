"""`xpet eval --advise`: what to do for each language, at what cost when serving, and why.

The rules are a table, read from the top; the first that applies gives the advice. They use four figures per language
(zero-shot R@1 with natural, translated and prompted text, and with the best closed-form map), its diagnosis, and
margins from the tables of the pages.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT, LanguageCaptions, Split
from xpet.core.config import DataConfig, ModelConfig
from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.map_score import MARGIN
from xpet.core.processes import here
from xpet.core.prompts import Prompt, parse
from xpet.core.routines import SHORT
from xpet.jobs.eval.prompts import prompted
from xpet.jobs.results.report import Advice, Diagnosis
from xpet.jobs.shared.measure import Encode, recall

if TYPE_CHECKING:
    from torch import Tensor

CLOSED_BY_ROUTINE_1 = 0.64
"""Share of the gap to English that routine 1 with mse-normalized closes with 100 shots.

Mean over languages whose words the tower knows (0.48 to 0.79), which are those it is asked of: the demo's in its first
edition, but French, which had hardly a gap. Where words are unknown it is 0.06 to 0.25.
"""
SHOTS = 100
LEAST_IMAGES = 8
"""Fewer test images tell nothing of a map: half of them fit and choose it."""
PROMPTS = ("english", "native")
"""Sets of prompts tried unless `--prompt` names others; no ensembles, since these encode texts once per template."""

AS_NOW = "nothing changes"
MAP = "one linear map, folded into the tower's head; no translation"
MODULE = "one module for the language; no translation"
EITHER = "a module for the language; if routine 3 wins, every query must be machine-translated to English as well"


@dataclass(frozen=True)
class Case:
    """What the advice for a language rests on: R@1 in percent on the test split, and its diagnosis.

    `raw` is R@1 with natural captions, `english` with the English ones, `translated` with captions translated to
    English, `prompted` with the best set of prompts, which is named `prompt`; `mapped` with the best closed-form map
    that as many captions give as would be trained on. None where there are no such texts.
    """

    language: str
    english: float | None
    raw: float
    translated: float | None
    prompt: str | None
    prompted: float | None
    diagnosis: Diagnosis
    mapped: float | None = None

    @property
    def promised(self) -> float | None:
        """R@1 that routine 1 is likely to reach; None without English captions."""
        return None if self.english is None else self.raw + CLOSED_BY_ROUTINE_1 * (self.english - self.raw)

    @property
    def map_suffices(self) -> bool:
        """Whether the map reaches what routine 1 is likely to reach, and translated text is not better still."""
        if self.mapped is None or self.promised is None:
            return False
        least = max(self.promised, (self.translated or 0.0) - MARGIN)
        return self.mapped > self.raw + MARGIN and self.mapped >= least

    @property
    def translation_helps(self) -> bool:
        """Whether searching with translated text is better than with natural text."""
        return self.translated is not None and self.translated > self.raw + MARGIN

    @property
    def translation_beats_training(self) -> bool:
        """Whether translated text is even better than what routine 1 is likely to reach."""
        if self.translated is None or self.promised is None:
            return False
        return self.translated > self.promised + MARGIN


@dataclass(frozen=True)
class AdviceRule:
    """What to advise where the rule `applies`: routine as `--routine` takes it, loss, and what serving then needs.

    `why` is the reason, printed after the figures. `few_shot`: train on captioned pictures, as many as there are up to
    SHOTS; else on text. `train` are parts of the tower to train beside the module, as `--train` takes them, `method` is
    as `--method` takes it.
    """

    applies: Callable[[Case], bool]
    routine: str | None
    loss: str | None
    serving: str
    why: str
    few_shot: bool = True
    train: str | None = None
    method: str = "lora"


def _is(*kinds: str) -> Callable[[Case], bool]:
    return lambda case: case.diagnosis.kind in kinds


RULES = (
    AdviceRule(lambda case: case.language == PIVOT, None, None, AS_NOW, "the other languages are aligned with it"),
    AdviceRule(_is("none"), None, None, AS_NOW, "it is so near English that 100 shots bring nothing measurable"),
    AdviceRule(
        _is("lexical"), "text", "mse-normalized", MODULE,
        "what it lacks is words, which a hundred captions cannot teach, but English text without pictures, translated, "
        "can: --corpus takes as much as you have", few_shot=False, train="layernorm,embeddings",
    ),
    AdviceRule(
        _is("mixed"), "text", "mse-normalized", MODULE,
        "some of its words are unknown and the others lie apart; English text without pictures, translated, teaches "
        "both, and a few captioned pictures can follow (--routine text,1 --chain)", few_shot=False,
        train="layernorm,embeddings",
    ),
    AdviceRule(
        lambda case: case.map_suffices, "1", None, MAP,
        "a linear map of its features closes as much of the gap as training on so few captions is likely to, in "
        "seconds; train only where that gains more", method="linear-map",
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
        case = measure(encode_once, test, images, language, diagnoses[language], prompt_sets, shots)
        on_event(Progress("advising", number + 1, len(languages), language))
        return asdict(recommend(case, model, data, shots))

    advice = here().each("the advice", range(len(languages)), advised)
    return {language: Advice(**made) for language, made in zip(languages, advice, strict=True)}


def measure(
    encode: Encode, test: Split, images: Tensor, language: str, diagnosis: Diagnosis, prompts: Sequence[Prompt],
    shots: int = SHOTS,
) -> Case:  # fmt: skip
    """Natural, translated, prompted and mapped zero-shot R@1 of a language, on test images [images, d].

    Prompts without a template for the language are left out; a map is fitted on the captions of `shots` test images,
    and searches with others.
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
    mapped = None if english["pivot"] is None else _mapped(encode, captions, images, shots)
    best = max(by_prompt, key=by_prompt.__getitem__, default=None)
    points = None if best is None else by_prompt[best]
    return Case(language, english["pivot"], raw, english["to_pivot"], best, points, diagnosis, mapped)


def _mapped(encode: Encode, captions: LanguageCaptions, images: Tensor, shots: int) -> float | None:
    """R@1 with the best closed-form map of the captions of so many of the images; None for too few images."""
    import torch

    from xpet.core.recovery import mapped

    complete = captions.complete(("target", "pivot"))
    if len(set(complete.image_index)) < LEAST_IMAGES:
        return None
    text, english = (encode(complete.slot(slot)) for slot in ("target", "pivot"))
    return mapped(images, text, english, torch.tensor(complete.image_index), shots)


def recommend(case: Case, model: ModelConfig, data: DataConfig, shots: int = SHOTS) -> Advice:
    """The advice of the first rule that applies, with the figures it rests on and the exact command."""
    rule = next(rule for rule in RULES if rule.applies(case))
    why = f"{_numbers(case)}: {rule.why}.{_prompt(case)}"
    if rule.routine is None:
        return Advice(None, None, None, None, rule.serving, why)
    names = ",".join(SHORT.get(short, short) for short in rule.routine.split(","))
    used = shots if rule.few_shot else None
    command = align_command(case.language, rule.routine, rule.loss, used, model, data, rule.method, rule.train)
    return Advice(names, rule.method, used, rule.loss, rule.serving, why, command)


def _numbers(case: Case) -> str:
    parts = [f"R@1 {case.raw:.1f}"]
    if case.english is not None:
        parts.append(f"{case.english:.1f} with English captions")
    if case.translated is not None:
        parts.append(f"{case.translated:.1f} translated")
    if case.mapped is not None:
        parts.append(f"{case.mapped:.1f} with the best map")
    if case.diagnosis.word_recognition is not None and case.language != PIVOT:
        parts.append(f"words recognised {100 * case.diagnosis.word_recognition:.0f} %")
    return ", ".join(parts)


def _prompt(case: Case) -> str:
    if case.prompted is None or case.prompted <= case.raw + MARGIN:
        return ""
    prompt = shlex.quote(str(case.prompt))
    return f" Without any training, --prompt {prompt} brings {case.prompted - case.raw:+.1f} points."


def align_command(
    language: str, routine: str, loss: str | None, shots: int | None, model: ModelConfig, data: DataConfig,
    method: str = "lora", train: str | None = None,
) -> str:  # fmt: skip
    """The `xpet align` command line for a language, quoted for a shell; defaults are left out."""
    words = ["xpet", "align", "--lang", language, "--routine", routine]
    words += ["--loss", loss] if loss is not None else []
    words += ["--method", method]
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
