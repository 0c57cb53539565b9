"""Writes the model card of a merged checkpoint: a README.md as the hub reads it, with licences left open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from xpet.core.captions import PIVOT
from xpet.core.run_record import RunRecord
from xpet.jobs.merge.formats import EXPORT_FORMATS
from xpet.jobs.merge.formats.base import filled
from xpet.jobs.results.merge import Combination, MergeResult, Verification
from xpet.jobs.results.synthetic import SYNTHETIC

UNKNOWN = "unknown"
SEARCHED_WITH = {"target": "captions in the language itself", "to_pivot": "captions machine-translated to English"}
"""The texts a run is searched with, in words, by slot."""


def model_card(result: MergeResult, record: RunRecord, family: str) -> str:
    """The card as Markdown with the hub's header; licences are 'unknown' until a person fills them in.

    `family` is the model family of the base.
    """
    measured = _metrics(result, record) if result.combination is None else _prices(result.combination)
    parts = (_header(result, family), _about(result, record, family), measured, _proof(result), _rights())
    return "\n".join(line for part in parts for line in part)


def _header(result: MergeResult, family: str) -> Iterator[str]:
    languages = [json.dumps(language) for language in dict.fromkeys((*result.languages, PIVOT))]
    yield from ("---", "language:", *(f"- {language}" for language in languages))
    yield f"base_model: {json.dumps(result.base, ensure_ascii=False)}"
    tags = (f"- {tag.format(family=family)}" for tag in (*EXPORT_FORMATS[result.form].tags, "xpet"))
    yield from (f"license: {UNKNOWN}", "pipeline_tag: sentence-similarity", "tags:", *tags, "---", "")


def _about(result: MergeResult, record: RunRecord, family: str) -> Iterator[str]:
    data = record.data
    yield f"# Multilingual CLIP text tower, aligned for {', '.join(result.languages)}"
    yield ""
    export_format = EXPORT_FORMATS[result.form]
    yield filled(export_format.about, result, family=family)
    yield ""
    if export_format.code:
        yield from ("```python", filled(export_format.code, result).strip(), "```", "")
    if result.synthetic:
        yield from (f"**Note:** {SYNTHETIC}.", "")
    variant = f" ({data.variant})" if data.variant else ""
    rows: list[tuple[str, Any]] = [
        ("base", result.base),
        ("base weights (fingerprint)", record.environment.fingerprints["text"] or UNKNOWN),
        ("image tower", result.image or f"{UNKNOWN}: the run was trained on image features of its own"),
        ("data", f"{data.name}{variant}" or UNKNOWN),
        ("training images", len(record.split.train) or UNKNOWN),
        ("languages", f"{', '.join(result.languages)} (trained), {PIVOT} (pivot)"),
        ("method", result.method),
        *(_training(record) if result.combination is None else _recipe(result.combination)),
        ("searched with", SEARCHED_WITH[record.routine.evaluation]),
        ("stored as", result.dtype),
        ("xpet", record.environment.versions["xpet"] or "not used: the module was made elsewhere"),
    ]
    yield from ("| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows), "")


def _training(record: RunRecord) -> list[tuple[str, Any]]:
    run = record.run
    return [
        ("routine, loss", f"{run.routine}, {run.loss} (weight {run.align_weight:g})"),
        ("learning rate, seed", f"{run.learning_rate:g}, {run.seed}"),
    ]


def _recipe(made: Combination) -> list[tuple[str, Any]]:
    """How the languages' runs became one."""
    kept = "" if made.density is None else f", density {made.density:.3g}"
    search = made.search
    chosen = "given" if search is None else f"best of {search.tried} on {search.images:,} validation images"
    weights = ", ".join(f"{language} {weight:.3g}" for language, weight in made.weights.items())
    return [("combined by", f"{made.strategy}{kept}, seed {made.seed}"), ("weights", f"{weights} ({chosen})")]


def _prices(made: Combination) -> Iterator[str]:
    """The table of R@1 by the base, by each language's module, and by the combination."""
    yield from ("## What combining costs", "")
    if not made.languages:
        yield from ("Not measured (`--no-verify`).", "")
        return
    yield "R@1 in percent on the test images, mean of image to text and text to image: of the base, of the base with"
    yield from ("each language's own module (English: the base), and of this model, which is one for all.", "")
    yield from ("| language | base | separate | this model | price |", "|---|---:|---:|---:|---:|")
    for name, price in made.languages.items():
        yield f"| {name} | {price.base:.2f} | {price.separate:.2f} | {price.combined:.2f} | {price.price:+.2f} |"
    for name in ("mean", "range", "std"):
        base, alone, now = (getattr(made.spreads[key], name) for key in ("base", "separate", "combined"))
        yield f"| *{name}* | {base:.2f} | {alone:.2f} | {now:.2f} | {now - alone:+.2f} |"
    yield ""


def _metrics(result: MergeResult, record: RunRecord) -> Iterator[str]:
    """The table of R@1 as it was measured when the run was trained; nothing for a module made elsewhere."""
    metrics, language = record.metrics, record.language
    if record.split.test is None:
        return
    yield from ("## Metrics of the run", "", f"R@1 in percent on {len(record.split.test)} test images, mean of")
    yield from ("image to text and text to image, as measured when the run was trained.", "")
    rows = [
        (language, metrics.target_before, metrics.aligned),
        (PIVOT, metrics.english_before, metrics.english_after),
    ]
    yield from ("| language | base | this model |", "|---|---:|---:|")
    for name, before, after in rows:
        if name != language or (before, after) == rows[0][1:]:
            yield f"| {name} | {_percent(before)} | {_percent(after)} |"
    yield ""


def _proof(result: MergeResult) -> Iterator[str]:
    yield from ("## Verification", "")
    if result.verification is None:
        yield from ("Skipped (`--no-verify`): nobody compared this checkpoint with the run it was made from.", "")
        return
    yield f"{_proven(result.verification)}{_recalls(result.verification)}"
    yield ""


def _proven(proof: Verification) -> str:
    return (
        f"{proof.texts:,} test captions were encoded by the run and by this checkpoint: unit features differ by at "
        f"most {proof.relative:.1e} in length (allowed: {proof.tolerance:.1e}) and {proof.absolute:.1e} in one value. "
    )


def _recalls(proof: Verification) -> str:
    if not proof.unmerged:
        return "R@1 was not compared: no image features were at hand."
    each = [f"{name} {value:.2f} and {proof.merged[name]:.2f}" for name, value in proof.unmerged.items()]
    return f"R@1 of the run and of this checkpoint: {', '.join(each)}."


def _rights() -> Iterator[str]:
    yield from ("## Licences", "")
    yield "To be filled in by whoever publishes this model; xpet does not know them."
    yield from ("", "| of | licence |", "|---|---|")
    yield from (f"| {what} | {UNKNOWN} |" for what in ("this model", "the base model", "the training data"))
    yield ""


def _cell(value: object) -> str:
    """A value that cannot break out of its cell."""
    return " ".join(str(value).replace("|", "\\|").split())


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
