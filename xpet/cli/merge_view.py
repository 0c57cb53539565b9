"""What `xpet merge` says of its result, as blocks that the view prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xpet.cli.view import Block, Paragraph, Table

if TYPE_CHECKING:
    from xpet.jobs.results import MergeResult, PackResult, Verification


def summary(result: MergeResult) -> Iterator[Block]:
    """What was folded, whether it was proven, and where it is."""
    yield Paragraph(
        f"Folded {result.method} for {', '.join(result.languages)} into {result.base}: {len(result.files)} files, "
        f"{result.size / 1e6:,.1f} MB in {result.dtype}, {result.seconds:.1f} s."
    )
    if result.verification is None:
        yield Paragraph("Not verified: nothing compared this checkpoint with the run.", "yellow")
    else:
        yield from _verified(result.verification)
    if result.image is None:
        yield Paragraph("No image tower is known: use --image-model or --image-features with it.", "yellow")
    if result.synthetic:
        from xpet.jobs.results import SYNTHETIC

        yield Paragraph(f"Note: {SYNTHETIC}")
    yield Paragraph(f"Written: {result.out}")
    yield Paragraph(f"Use it: xpet eval --model {result.out}")


def packed(result: PackResult) -> Iterator[Block]:
    """What is in the pack, and how it is used."""
    kind = f"Packed {result.method} for {len(result.languages)} languages"
    yield Paragraph(f"{kind}: {result.size / 1e3:,.1f} kB, {result.seconds:.1f} s; read back and compared bit by bit.")
    columns = [("lang", "left"), ("routine", "left"), ("base", "right"), ("with its module", "right")]
    rows = [(one.language, one.routine, f"{one.before:.1f}", f"{one.after:.1f}") for one in result.languages]
    yield Table("R@1 on the test split, measured when trained", columns, rows)  # type: ignore[arg-type]
    yield Paragraph("")
    if any(one.translates_queries for one in result.languages):
        yield Paragraph("Queries of these languages must be translated to English: " + ", ".join(
            one.language for one in result.languages if one.translates_queries
        ), "yellow")  # fmt: skip
    yield Paragraph(f"The base is not in it: {result.base}")
    if result.synthetic:
        from xpet.jobs.results import SYNTHETIC

        yield Paragraph(f"Note: {SYNTHETIC}")
    yield Paragraph(f"Written: {result.out}")
    yield Paragraph(f"Use it: xpet eval {result.out}, or xpet.load('{result.out}') in Python")


def _verified(found: Verification) -> Iterator[Block]:
    yield Paragraph(
        f"Verified on {found.texts:,} captions: unit features differ by at most {found.relative:.1e} in length "
        f"(allowed {found.tolerance:.1e}) and {found.absolute:.1e} in one value.",
        "green",
    )
    if found.unmerged:
        rows = [(name, f"{value:.2f}", f"{found.merged[name]:.2f}") for name, value in found.unmerged.items()]
        yield Table("R@1", [("lang", "left"), ("run", "right"), ("merged", "right")], rows)
        yield Paragraph("")
    else:
        yield Paragraph("R@1 was not compared: no image features were at hand.", "dim")
