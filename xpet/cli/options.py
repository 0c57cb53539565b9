"""Option types the commands share, and the small parsers behind comma lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from xpet.core.choices import FORM_NAMES, LOSS_NAMES, METHOD_NAMES, SOURCE_NAMES, STRATEGY_DENSITIES
from xpet.core.errors import ConfigError
from xpet.core.presets import PRESETS
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
    str,
    typer.Option("--lang", "-l", help="Languages, comma list; 'all' is every one but English.", rich_help_panel=WHAT),
]
EvalLang = Annotated[
    str | None, typer.Option("--lang", "-l", help="Languages, comma list [default: all].", rich_help_panel=WHAT)
]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        "-m",
        autocompletion=_values(*METHOD_NAMES),
        help=f"One of {', '.join(METHOD_NAMES)}.",
        rich_help_panel=WHAT,
    ),
]
Shots = Annotated[
    str | None,
    typer.Option("--shots", "-n", help="Training images, or 'all' [default: 100].", rich_help_panel=WHAT),
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
        help=f"Of {', '.join(LOSS_NAMES)}, or a sum a+0.1*b; comma list [default: mse].",
        rich_help_panel=WHAT,
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        autocompletion=_values(*PRESETS),
        help="Set of defaults: default, paper (the reference's).",
        rich_help_panel=WHAT,
    ),
]
Model = Annotated[
    str,
    typer.Option("--model", help="Text tower in M-CLIP layout: folder or hub name.", rich_help_panel=HOW),
]
EvalModel = Annotated[
    str, typer.Option("--model", help="Text tower [default: the runs' own, or demo].", rich_help_panel=HOW)
]
EvalData = Annotated[
    str,
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
    str,
    typer.Option(
        "--data", autocompletion=_values(*SOURCE_NAMES), help=f"One of {', '.join(SOURCE_NAMES)}.", rich_help_panel=HOW
    ),
]
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
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.", rich_help_panel=TRAIN)]
Precision = Annotated[
    str, typer.Option("--precision", help="Of training: auto, fp32, tf32 or bf16.", rich_help_panel=TRAIN)
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
TranslateDevice = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.", rich_help_panel=HOW_FAST)]
MergeModel = Annotated[
    str, typer.Option("--model", help="Where the base is [default: as the run says].", rich_help_panel=HOW)
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
    str, typer.Option("--device", help="Of the comparison: auto, cpu or cuda.", rich_help_panel=CHECKPOINT)
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


def count_or_all(option: str, text: str) -> int | None:
    """A whole number, or None for `all`."""
    try:
        return None if text == "all" else int(text)
    except ValueError:
        raise ConfigError(f"{option}: expected one whole number or 'all', found '{text}'") from None


def byte_count(option: str, text: str) -> int:
    """Bytes of a size such as 2GB, 500MB (powers of 1000), 1GiB (of 1024) or 4096."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT]?)(I?)B)?", text.strip().upper())
    if match is None or (match[3] and not match[2]):
        raise ConfigError(f"{option}: expected a size such as 2GB, 500MB or 1GiB, found '{text}'")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2] or " "))


def _element(part: str, parse: Callable[[str], T]) -> T:
    if not part.strip():
        raise ValueError
    return parse(part.strip())
