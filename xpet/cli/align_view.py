"""The result of `xpet align` as tables and sentences, which the view prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xpet.cli.view import Block, Column, Paragraph, TextTable

if TYPE_CHECKING:
    from xpet.core.estimates import Disparity
    from xpet.jobs.align.dry_run import EstimateResult
    from xpet.jobs.results.align import AlignResult, LanguageResult

HEADINGS = ("runs", "steps", "English lines", "preparing", "training", "disk")
LEFT_OUT = {
    "in_test": "test captions", "duplicate": "duplicates", "short": "too short", "long": "too long",
    "script": "in another script", "empty": "empty",
}  # fmt: skip
"""Why English lines are left out, in words."""


def summary(result: AlignResult) -> Iterator[Block]:
    """A table of the languages, disparity before and after, notes, and the next command."""
    yield _languages(result)
    if len({r.setting for r in result.runs}) > 1 or any(r.candidate for r in result.languages):
        chosen = ", ".join(f"{r.language}: {r.routine} {_setting(r)}" for r in result.languages)
        yield Paragraph(f"Chosen by {result.chosen_by} on validation: {chosen}.")
    if result.before is not None:
        yield Paragraph("")
        yield _spread(result.before, result.mapped, result.after, f"over {', '.join(result.compared)}")
    yield from _closing(result)


def _setting(r: LanguageResult) -> str:
    """What validation chose for a language, beside the routine."""
    return r.candidate or f"{r.loss} w={r.align_weight:g} lr={r.learning_rate:g}"


def expected(result: EstimateResult) -> Iterator[Block]:
    """The outcome of a dry run."""
    columns: list[Column] = [("routine", "left"), *((name, "right") for name in HEADINGS)]
    rows = [
        (", ".join(p.routines), f"{p.runs}", f"{p.steps:,}", "-" if p.lines is None else f"{p.lines:,}",
         _minutes(p.preparing), _minutes(p.training), f"{p.disk / 1e6:,.1f} MB")
        for p in result.phases
    ]  # fmt: skip
    yield TextTable(f"Dry run on {result.device}, {result.data}: {', '.join(result.languages)}", columns, rows)
    yield Paragraph("")
    yield Paragraph(
        f"About {_minutes(result.seconds)} in all, from a sample; validation comes on top, what is cached already is "
        "saved. Nothing was trained."
    )
    if result.synthetic:
        from xpet.jobs.results.synthetic import SYNTHETIC

        yield Paragraph(f"Note: {SYNTHETIC}.", "yellow")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _languages(result: AlignResult) -> TextTable:
    seeds = len(result.languages[0].seeds)
    columns: list[Column] = [
        ("lang", "left"), ("routine", "left"), ("zero-shot", "right"), ("zero-shot, translated", "right"),
        ("map", "right"), ("aligned", "right"), ("gain", "right"), ("English", "right"), ("share", "right"),
        ("time", "right"),
    ]  # fmt: skip
    rows = [_language(result, r, seeds) for r in result.languages]
    learnt = f"{result.shots} shots" if result.shots else "all training data"
    if result.text:
        used = sorted(facts["pairs"] for facts in result.text.values())
        learnt = f"{used[0]:,} translated lines" if used[0] == used[-1] else f"{used[0]:,} to {used[-1]:,} lines"
        natural = max(facts["natural"] for facts in result.text.values())
        learnt += f" and {natural:,} natural captions" if natural else ""
    title = f"R@1 on the test split of {result.data}, {result.method}, {learnt}"
    title += f", {seeds} seeds" if seeds > 1 else ""
    return TextTable(title, columns, rows, lambda row: "green" if row[6].startswith("+") and row[6] != "+0.0" else "")


def _language(result: AlignResult, r: LanguageResult, seeds: int) -> tuple[str, ...]:
    spread = f" ±{r.aligned_std:.1f}" if seeds > 1 else ""
    change = None
    if r.english_after is not None and result.english_before is not None:
        change = r.english_after - result.english_before
    share = 100 * r.trainable / result.total
    return (
        r.language, r.routine, _points(r.target_before), _points(r.translated_before),
        _points(r.map.r1 if r.map else None), _points(r.aligned) + spread,
        _signed(r.gain), _signed(change), f"{share:.2f} %", f"{r.seconds:.1f} s",
    )  # fmt: skip


def _spread(
    before: Disparity[float], mapped: Disparity[float] | None, after: Disparity[float] | None, where: str
) -> TextTable:
    figures = [("mean", "mean"), ("range", "range"), ("std", "std"), ("mean gap to English", "mean_gap")]
    heads = ("disparity", "before", "map", "after", "change")
    rows: list[tuple[str, ...]] = []
    for label, name in figures:
        old, middle, new = (getattr(spread, name) if spread else None for spread in (before, mapped, after))
        change = new - old if old is not None and new is not None else None
        rows.append((label, _points(old), _points(middle), _points(new), _signed(change)))
    rows.append(("worst language", before.worst, mapped.worst if mapped else "-", after.worst if after else "-", ""))
    shown = [0, 1, *([2] if mapped else []), *([3, 4] if after else [])]
    columns: list[Column] = [(heads[index], "right" if index else "left") for index in shown]
    return TextTable(f"Disparity of R@1 {where}", columns, [[row[index] for index in shown] for row in rows])


def _closing(result: AlignResult) -> Iterator[Block]:
    yield Paragraph("")
    mapped = (
        " map: the best closed-form map of the same captions, without training."
        if any(r.map for r in result.languages)
        else ""
    )
    yield Paragraph(
        f"zero-shot: before training.{mapped} English: change of English R@1 under the trained module.", "dim"
    )
    losses = dict.fromkeys(run.image_loss.in_words for run in result.runs if run.image_loss is not None)
    if losses:
        yield Paragraph(f"Image-text loss: {', '.join(losses)}.")
    if result.conclusion:
        yield Paragraph(result.conclusion)
    yield from _text(result)
    if result.translates_queries:
        yield Paragraph(
            "This routine searches with text translated to English: queries must be translated when serving."
        )
    if result.synthetic:
        from xpet.jobs.results.synthetic import SYNTHETIC

        yield Paragraph(f"Note: {SYNTHETIC}.", "yellow")
    for advice in result.advice:
        yield Paragraph(f"Hint: {advice}.", "cyan")
    for label in result.failed:
        yield Paragraph(f"Stopped: {label} diverged (loss not finite).", "red")
    memory = f", peak memory {result.peak_memory:.0f} MiB" if result.peak_memory else ""
    runs = f"{len(result.runs)} run{'s' if len(result.runs) != 1 else ''}"
    yield Paragraph(
        f"{runs} in {result.seconds:.1f} s{memory}; {_parameters(result)} of {result.total:,} parameters trained, "
        f"{result.stored / 1e3:,.1f} kB a language."
    )
    yield Paragraph(f"Run:  {result.folder}\nNext: xpet eval {result.folder}")


def _parameters(result: AlignResult) -> str:
    """Trained parameters; languages train different numbers of embeddings."""
    counts = sorted(r.trainable for r in result.languages)
    return f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"


def _text(result: AlignResult) -> Iterator[Block]:
    """What became of the English lines."""
    if not result.text:
        return
    facts = next(iter(result.text.values()))
    left_out = ", ".join(f"{facts[name]:,} {words}" for name, words in LEFT_OUT.items() if facts.get(name))
    seen = ["the shots"] * any(run.image_weight for run in result.runs)
    seen += ["validation"] * bool(facts["validated_on_pictures"])
    yield Paragraph(
        f"English: {facts['read']:,} lines, {facts['kept']:,} used{f' (left out: {left_out})' if left_out else ''}; no "
        f"pictures{' but those of ' if seen else ''}{' and '.join(seen)}."
    )
    flagged = ", ".join(f"{language} {f['flagged']:,}" for language, f in result.text.items() if f["flagged"])
    yield Paragraph(f"Translations left out because they look wrong: {flagged or 'none'}.", "dim")


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}"
