"""The result of `xpet merge` as tables and sentences, which the view prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xpet.cli.view import Block, Paragraph, TextTable

if TYPE_CHECKING:
    from xpet.jobs.results.merge import Combination, MergeResult, PackResult, Verification, WeightSearch


def summary(result: MergeResult) -> Iterator[Block]:
    """What was folded, whether it was proven, and where it is."""
    from xpet.jobs.merge.formats import EXPORT_FORMATS
    from xpet.jobs.merge.formats.base import filled

    form = EXPORT_FORMATS[result.form]
    if result.combination is not None:
        yield from _combined(result.combination)
    yield Paragraph(
        f"{filled(form.said, result)}: {len(result.files)} files, {result.size / 1e6:,.1f} MB in {result.dtype}, "
        f"{result.seconds:.1f} s."
    )
    if result.verification is None:
        yield Paragraph("Not verified: nothing compared this checkpoint with the run.", "yellow")
    else:
        yield from _verified(result.verification)
    if result.image is None and form.towers:
        yield Paragraph(
            "No image tower is known: `xpet eval` needs --image-model or --image-features with it.", "yellow"
        )
    if result.synthetic:
        from xpet.jobs.results.synthetic import SYNTHETIC

        yield Paragraph(f"Note: {SYNTHETIC}")
    yield Paragraph(f"Written: {result.out}")
    yield Paragraph(filled(form.use, result, result.out))


def packed(result: PackResult) -> Iterator[Block]:
    """What is in the pack, and how it is used."""
    kind = f"Packed {result.method} for {len(result.languages)} languages"
    yield Paragraph(f"{kind}: {result.size / 1e3:,.1f} kB, {result.seconds:.1f} s; read back and compared bit by bit.")
    if result.combination is not None:
        yield from _combined(result.combination)
    columns = [("lang", "left"), ("routine", "left"), ("base", "right"), ("with its module", "right")]
    rows = [
        (entry.language, entry.routine, _percent(entry.before), _percent(entry.after)) for entry in result.languages
    ]
    yield TextTable("R@1 on the test split, measured when trained", columns, rows)  # type: ignore[arg-type]
    yield Paragraph("")
    translated = [entry.language for entry in result.languages if entry.translates_queries]
    if translated:
        yield Paragraph(f"Queries of these languages must be translated to English: {', '.join(translated)}", "yellow")
    yield Paragraph(f"The base is not in it: {result.base}")
    if result.synthetic:
        from xpet.jobs.results.synthetic import SYNTHETIC

        yield Paragraph(f"Note: {SYNTHETIC}")
    yield Paragraph(f"Written: {result.out}")
    yield Paragraph(f"Use it: xpet eval {result.out}, or xpet.load('{result.out}') in Python")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _combined(combination: Combination) -> Iterator[Block]:
    kept = "" if combination.density is None else f", density {combination.density:.3g}"
    rank = "" if combination.rank is None else f", rank {combination.rank}"
    yield Paragraph(f"Combined {len(combination.weights)} languages by {combination.strategy}{kept}{rank}.")
    if combination.search is not None:
        yield Paragraph(searched(combination.search))
    if not combination.languages:
        weights = ", ".join(f"{language} {weight:.3g}" for language, weight in combination.weights.items())
        yield Paragraph(f"Weights: {weights}. Not measured: nobody knows what combining cost.", "yellow")
        return
    columns = [("lang", "left"), *((name, "right") for name in ("weight", "base", "separate", "combined", "price"))]
    rows = [
        (lang, f"{combination.weights[lang]:.3g}" if lang in combination.weights else "-", f"{price.base:.1f}",
         f"{price.separate:.1f}", f"{price.combined:.1f}", f"{price.price:+.1f}")
        for lang, price in combination.languages.items()
    ]  # fmt: skip
    for name in ("mean", "range", "std"):
        base, separate, combined = (getattr(combination.spreads[key], name) for key in ("base", "separate", "combined"))
        change = f"{combined - separate:+.1f}"
        rows.append((name, "", f"{base:.1f}", f"{separate:.1f}", f"{combined:.1f}", change))
    yield TextTable("R@1 on the test split: each language by its own module, and by all combined", columns, rows)
    yield Paragraph("")


def searched(search: WeightSearch) -> str:
    """The outcome of a search, in one sentence."""
    (before, wide), (after, narrow) = search.start, search.found
    return (
        f"Weights chosen among {search.tried} combinations by mean R@1 of all languages, English included, on "
        f"{search.images:,} validation images: {before:.1f} (range {wide:.1f}) at the start, {after:.1f} "
        f"({narrow:.1f}) found."
    )


def _verified(verification: Verification) -> Iterator[Block]:
    yield Paragraph(
        f"Verified on {verification.texts:,} captions: unit features differ by at most {verification.relative:.1e} in "
        f"length (allowed {verification.tolerance:.1e}) and {verification.absolute:.1e} in one value.",
        "green",
    )
    if verification.unmerged:
        rows = [
            (name, f"{value:.2f}", f"{verification.merged[name]:.2f}") for name, value in verification.unmerged.items()
        ]
        yield TextTable("R@1", [("lang", "left"), ("run", "right"), ("merged", "right")], rows)
        yield Paragraph("")
    else:
        yield Paragraph("R@1 was not compared: no image features were at hand.", "dim")
