"""What `xpet merge` says of its result, as blocks that the view prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xpet.cli.view import Block, Paragraph, Table

if TYPE_CHECKING:
    from xpet.jobs.results import MergeResult, Verification


def summary(result: MergeResult) -> Iterator[Block]:
    """What was folded, whether it was proven, and where it is."""
    from xpet.jobs.forms import FORMS
    from xpet.jobs.forms.base import filled

    form = FORMS[result.form]
    yield Paragraph(
        f"{filled(form.said, result)}: {len(result.files)} files, {result.size / 1e6:,.1f} MB in {result.dtype}, "
        f"{result.seconds:.1f} s."
    )
    if result.verification is None:
        yield Paragraph("Not verified: nothing compared this checkpoint with the run.", "yellow")
    else:
        yield from _verified(result.verification)
    if result.image is None and form.towers:
        yield Paragraph("No image tower is known: use --image-model or --image-features with it.", "yellow")
    if result.synthetic:
        from xpet.jobs.results import SYNTHETIC

        yield Paragraph(f"Note: {SYNTHETIC}")
    yield Paragraph(f"Written: {result.out}")
    yield Paragraph(filled(form.use, result, result.out))


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
