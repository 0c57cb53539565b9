"""The results of `xpet translate` as tables and sentences, which the view prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xpet.cli.view import Block, Column, Paragraph, TextTable

if TYPE_CHECKING:
    from xpet.jobs.results.translate import PackagesResult, TranslateDataResult, TranslateResult


def summary(result: TranslateResult) -> Iterator[Block]:
    """The summary of a translation."""
    speed = f", {result.lines / result.seconds:,.0f} lines/s" if result.seconds >= 0.1 else ""
    yield Paragraph(
        f"{_count(result.lines, 'line')} {result.source} -> {result.target} through {', '.join(result.chain)} "
        f"in {result.seconds:.1f} s{speed}: {result.translated:,} translated, {result.cached:,} from the cache, "
        f"{result.retried:,} replaced by a better hypothesis."
    )
    if result.flagged_lines:
        kinds = ", ".join(f"{name} {count:,}" for name, count in result.flags.items())
        yield Paragraph(f"Flagged: {_count(result.flagged_lines, 'line')} ({kinds}); see {result.report}", "yellow")
    else:
        yield Paragraph("Flagged: none.", "green")
    if result.noise is not None:
        rate, seed = result.noise["rate"], result.noise["seed"]
        yield Paragraph(f"Degraded: {_count(result.noise['degraded_lines'], 'line')} (rate {rate:g}, seed {seed}).")
    if result.scores is not None:
        from xpet.jobs.results.translate import describe_scores

        yield Paragraph(f"{describe_scores(result.scores)}.")
    yield Paragraph(f"Written: {result.out}")


def columns(result: TranslateDataResult) -> Iterator[Block]:
    """What was translated of a data set."""
    names = ("lang", "slot", "split", "through", "rows", "translated", "cached", "retried", "flagged")
    head: list[Column] = [(name, "left" if number < 4 else "right") for number, name in enumerate(names)]
    rows = [
        (c.language, c.slot, c.split, " -> ".join(c.chain), *(f"{n:,}" for n in (
            c.rows, c.translated, c.cached, c.retried, c.flagged
        )))
        for c in result.columns
    ]  # fmt: skip
    yield TextTable(f"Translations of {result.data}", head, rows, lambda row: "yellow" if row[-1] != "0" else "")
    if result.synthetic:
        from xpet.jobs.results.synthetic import SYNTHETIC

        yield Paragraph(f"Note: {SYNTHETIC}")
    yield Paragraph("Rows are captions; translated and cached count different texts over all hops.", "dim")
    if result.noise is not None:
        rate, seed = result.noise["rate"], result.noise["seed"]
        yield Paragraph(f"Degraded: {_count(result.noise['degraded_lines'], 'line')} (rate {rate:g}, seed {seed}).")
    yield Paragraph(f"Written in {result.seconds:.1f} s: {result.folder}")
    if not result.found:
        yield Paragraph(f"Use them: --translations {result.folder} with align and eval")
    elif result.own:
        yield Paragraph(
            f"{result.data} has {' and '.join(result.own)} texts of its own, which align and eval prefer to these; "
            f"to use these: --translations {result.folder}"
        )


def packages(result: PackagesResult) -> Iterator[Block]:
    """Installed packages and the pairs they serve."""
    if result.packages:
        columns: list[Column] = [(c, "left") for c in ("package", "version", "folder", "")]
        rows = [(p.pair, p.version, p.folder, "" if p.used else "not used: a newer one is") for p in result.packages]
        yield TextTable(f"Packages in {result.folder}", columns, rows, lambda row: "dim" if row[3] else "")
        through = [(pair, " -> ".join(chain)) for pair, chain in result.chains.items()]
        yield Paragraph("")
        yield TextTable("Translates", [("pair", "left"), ("through", "left")], through)
    else:
        yield Paragraph(f"No packages in {result.folder}; install one: xpet translate --install de-en")
    for problem in result.problems:
        yield Paragraph(f"Broken: {problem}", "red")


def installed(result: PackagesResult) -> Iterator[Block]:
    """What an install did."""
    for package in result.packages:
        state = "Installed" if package.new else "Already there"
        sha = f" (SHA-256 {package.sha256})" if package.sha256 else ""
        yield Paragraph(f"{state}: {package.pair} {package.version} in {package.folder}{sha}")
    yield Paragraph(f"Translates: {', '.join(result.chains)}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
