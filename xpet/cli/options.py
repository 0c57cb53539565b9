"""Option types the commands share, and the small parsers behind comma lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, TypeVar, cast

import typer

from xpet.core.choices import FORM_NAMES, LOSS_NAMES, METHOD_NAMES, SOURCE_NAMES, STRATEGY_DENSITIES
from xpet.core.config import DEMO, DataConfig, MethodConfig
from xpet.core.errors import ConfigError
from xpet.core.presets import ALL, DEFAULT, PRESETS
from xpet.core.routines import ROUTINES

T = TypeVar("T")


def _values(*known: str) -> Callable[[str], list[str]]:
    """A completer that offers known names, also behind a comma."""

    def complete(incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",")
        return [head + comma + name for name in known if name.startswith(last)]

    return complete


WHAT, HOW, TRAIN, METHOD, OUT = "What", "Where from", "Training", "Method settings", "Output"
PACKAGES, HOW_FAST, QUALITY, DATASET = "Packages", "Speed", "Quality", "A whole data set"
TEXT, SEVERAL = "Routine text", "Several languages"
STATISTICS, GATE, CHECKPOINT = "Statistics", "Limits for CI", "Checkpoint"

Lang = Annotated[
    str | None,
    typer.Option(
        "--lang", "-l", help="Languages, comma list; 'all' is every one but English [default: de].",
        rich_help_panel=WHAT,
    ),
]  # fmt: skip
EvalLang = Annotated[
    str | None, typer.Option("--lang", "-l", help="Languages, comma list [default: all].", rich_help_panel=WHAT)
]
MethodName = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        autocompletion=_values(*METHOD_NAMES),
        help=f"One of {', '.join(METHOD_NAMES)} [default: {MethodConfig().name}].",
        rich_help_panel=WHAT,
    ),
]
Shots = Annotated[
    str | None,
    typer.Option("--shots", "-n", help=f"Training images, or 'all' [default: {DEFAULT.shots}].", rich_help_panel=WHAT),
]
RoutineNames = Annotated[
    str | None,
    typer.Option(
        "--routine", "-r",
        autocompletion=_values("1", "2", "3", *ROUTINES),
        help="1, 2, 3, text, baseline-target, baseline-translated; comma list [default: 3].", rich_help_panel=WHAT,
    ),
]  # fmt: skip
LossNames = Annotated[
    str | None,
    typer.Option(
        "--loss",
        autocompletion=_values(*LOSS_NAMES),
        help=f"Of {', '.join(LOSS_NAMES)}, or a sum a+0.1*b; comma list [default: mse; text: mse-normalized].",
        rich_help_panel=WHAT,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        autocompletion=_values(*PRESETS),
        help="Set of defaults: default, paper (the reference's).",
        rich_help_panel=WHAT,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="Text tower in M-CLIP layout: folder or hub name [default: demo].", rich_help_panel=HOW
    ),
]
EvalModel = Annotated[
    str | None, typer.Option("--model", help="Text tower [default: the runs' own, or demo].", rich_help_panel=HOW)
]
EvalData = Annotated[
    str | None,
    typer.Option(
        "--data", autocompletion=_values(*SOURCE_NAMES), help="Data set [default: the runs' own, or demo].",
        rich_help_panel=HOW,
    ),
]  # fmt: skip
ImageModel = Annotated[
    str | None,
    typer.Option("--image-model", help="CLIP image tower [default: the text tower's partner].", rich_help_panel=HOW),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", autocompletion=_values(*SOURCE_NAMES),
        help=f"One of {', '.join(SOURCE_NAMES)} [default: {DEMO}].", rich_help_panel=HOW,
    ),
]  # fmt: skip
DataRoot = Annotated[
    str | None, typer.Option("--data-root", help="Folder (table: file) of the data.", rich_help_panel=HOW)
]
Variant = Annotated[
    str | None, typer.Option("--variant", help="Part of a data set, e.g. task2 of multi30k.", rich_help_panel=HOW)
]
ImageFeatures = Annotated[
    str | None,
    typer.Option("--image-features", help="Your own features (.safetensors, .npy).", rich_help_panel=HOW),
]
SplitFile = Annotated[
    str | None, typer.Option("--split-file", help="JSON with image names per part.", rich_help_panel=HOW)
]
Device = Annotated[
    str | None, typer.Option("--device", help="auto, cpu or cuda [default: auto].", rich_help_panel=TRAIN)
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="Of training: auto, fp32, tf32 or bf16 [default: auto].", rich_help_panel=TRAIN),
]
FeaturePrecision = Annotated[
    str | None,
    typer.Option(
        "--feature-precision", help="Of image features: auto, fp32, bf16 or fp16 [default: auto].", rich_help_panel=HOW
    ),
]
ValShots = Annotated[
    str | None,
    typer.Option("--val-shots", help="Validation images, or 'all' [default: as many as shots].", rich_help_panel=HOW),
]
SplitSeed = Annotated[
    int | None,
    typer.Option("--split-seed", help=f"Seed of the split [default: {DataConfig().split_seed}].", rich_help_panel=HOW),
]
From = Annotated[str | None, typer.Option("--from", "-f", help="Language translated from.", rich_help_panel=WHAT)]
To = Annotated[str | None, typer.Option("--to", "-t", help="Language translated to.", rich_help_panel=WHAT)]
Column = Annotated[
    str | None, typer.Option("--column", help="Column to translate (.csv, .tsv, .jsonl).", rich_help_panel=WHAT)
]
Into = Annotated[
    str | None,
    typer.Option("--into", help="Column for the translation [default: COLUMN_TO].", rich_help_panel=WHAT),
]
Reference = Annotated[
    str | None,
    typer.Option("--reference", help="Score against this file: a line a line (BLEU, chrF).", rich_help_panel=QUALITY),
]
ReferenceColumn = Annotated[
    str | None,
    typer.Option("--reference-column", help="Its column (.csv, .tsv, .jsonl).", rich_help_panel=QUALITY),
]
Noise = Annotated[
    float | None,
    typer.Option("--noise", help="Drop, swap or replace this share of words, 0 to 1.", rich_help_panel=QUALITY),
]
NoiseSeed = Annotated[int | None, typer.Option("--noise-seed", help="[default: 1]", rich_help_panel=QUALITY)]
TranslateData = Annotated[
    str | None, typer.Option("--data", help="Translate this data set, instead of texts.", rich_help_panel=DATASET)
]
TranslateLang = Annotated[
    str | None, typer.Option("--lang", "-l", help="Languages of the data, or all.", rich_help_panel=DATASET)
]
Direction = Annotated[
    str | None,
    typer.Option("--direction", help="to-pivot, from-pivot or both [default: both].", rich_help_panel=DATASET),
]
Packages = Annotated[
    str | None,
    typer.Option("--packages", help="Folder of packages, or demo [default: Argos' own].", rich_help_panel=PACKAGES),
]
Translations = Annotated[
    str | None,
    typer.Option("--translations", help="Folder written by xpet translate --data.", rich_help_panel=HOW),
]
TranslateDevice = Annotated[
    str | None, typer.Option("--device", help="auto, cpu or cuda [default: auto].", rich_help_panel=HOW_FAST)
]
MergeModel = Annotated[
    str | None, typer.Option("--model", help="Where the base is [default: as the run says].", rich_help_panel=HOW)
]
Export = Annotated[
    str | None,
    typer.Option(
        "--export", autocompletion=_values(*FORM_NAMES[1:]),
        help=f"For another stack: {', '.join(FORM_NAMES[1:])} [default: fold into a checkpoint].",
        rich_help_panel=CHECKPOINT,
    ),
]  # fmt: skip
MergeDevice = Annotated[
    str | None,
    typer.Option("--device", help="Of the comparison: auto, cpu or cuda [default: auto].", rich_help_panel=CHECKPOINT),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        autocompletion=_values(*STRATEGY_DENSITIES),
        help=f"Combine runs into one: {', '.join(STRATEGY_DENSITIES)}.",
        rich_help_panel=SEVERAL,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights", help="A number per language, comma list [default: 1/languages].", rich_help_panel=SEVERAL
    ),
]
Density = Annotated[
    float | None,
    typer.Option("--density", help="Share of values kept [default: ties 0.2, dare 0.5].", rich_help_panel=SEVERAL),
]
CombinedRank = Annotated[
    int | None,
    typer.Option("--rank", help="Of the outcome [default: exact; svd: the runs' own].", rich_help_panel=SEVERAL),
]
WeightSearch = Annotated[
    int | None,
    typer.Option("--search", help="Find weights, density on validation: combinations to try.", rich_help_panel=SEVERAL),
]
CombineSeed = Annotated[
    int | None, typer.Option("--seed", help="Of dare and --search [default: 1].", rich_help_panel=SEVERAL)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=OUT)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.", rich_help_panel=OUT)]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks instead of one-line errors.", rich_help_panel=OUT)]


def comma_list(option: str, text: str, parse: Callable[[str], T]) -> tuple[T, ...]:
    """`a,b,c` parsed element by element; raises ConfigError naming the option and the element."""
    try:
        values = [_element(part, parse) for part in text.split(",")]
    except ValueError:
        kind = {"int": "whole numbers", "float": "numbers"}.get(getattr(parse, "__name__", ""), "names")
        raise ConfigError(f"{option}: expected {kind} separated by commas, found '{text}'") from None
    return tuple(dict.fromkeys(values))


def numbers(option: str, text: str) -> tuple[float, ...]:
    """A comma list of numbers, equal ones included."""
    try:
        return tuple(_element(part, float) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{option}: expected numbers separated by commas, found '{text}'") from None


def names(option: str, text: str | None) -> tuple[str, ...] | None:
    """A comma list of names, or None when the option was not given; the word `none` is the empty list."""
    if text is None:
        return None
    return () if text == "none" else comma_list(option, text, str)


def count_or_all(option: str, text: str) -> int | str:
    """A whole number, or the word `all`."""
    try:
        return ALL if text == ALL else int(text)
    except ValueError:
        raise ConfigError(f"{option}: expected one whole number or 'all', found '{text}'") from None


def byte_count(option: str, text: str) -> int:
    """Bytes of a size such as 2GB, 500MB (powers of 1000), 1GiB (of 1024) or 4096."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT]?)(I?)B)?", text.strip().upper())
    if match is None or (match[3] and not match[2]):
        raise ConfigError(f"{option}: expected a size such as 2GB, 500MB or 1GiB, found '{text}'")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2] or " "))


def spelled(name: str) -> str:
    """An option as it is typed, of its parameter's name."""
    return "--" + name.strip("_").replace("_", "-")


def part(base: T, given: Mapping[str, Any], **renamed: str) -> T:
    """The base with the fields that options were typed for; `renamed` are fields whose option has another name."""
    options = {field.name: renamed.get(field.name, field.name) for field in fields(cast(Any, base))}
    typed = {name: given[option] for name, option in options.items() if given.get(option) is not None}
    return cast(T, replace(cast(Any, base), **typed))


def _element(part: str, parse: Callable[[str], T]) -> T:
    if not part.strip():
        raise ValueError
    return parse(part.strip())
