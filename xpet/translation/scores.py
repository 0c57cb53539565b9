"""Scores translations against references with sacrebleu, so that the figures compare with published ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpet.core.errors import DataError
from xpet.translation.documents import bounded_lines, read_records

TOKENIZER = "13a"
"""BLEU's tokenizer for languages that are not in TOKENIZERS."""
TOKENIZERS = {
    "zh": "zh", "zt": "zh",
    "ja": "char", "ko": "char", "th": "char", "lo": "char", "km": "char", "my": "char",
}  # fmt: skip
"""sacrebleu's tokenizer for BLEU by target language, 13a for all others: `zh` cuts Chinese into characters and leaves
other words whole. Japanese and Korean go by characters, not by MeCab (`ja-mecab`, `ko-mecab`): its dictionaries are no
dependency, and a score must not depend on what happens to be installed."""


def read_references(name: str, column: str | None = None) -> list[str]:
    """The references in a file: its lines, or a column of a table or of JSON lines. Raises DataError."""
    try:
        with open(name, "rb") as file:
            records = read_records(bounded_lines(file, name), name, column, column or "")
            return [record.text for record in records if record.counts]
    except OSError as error:
        raise DataError(f"{name}: expected a file of references, found none to read ({error.strerror})") from error


def check_counts(references: Sequence[str], name: str, lines: int, source: str) -> None:
    """Raise DataError unless there is one reference for each of `lines` lines of `source`."""
    if len(references) != lines:
        raise DataError(
            f"expected a reference for each line, found {len(references)} in {name} and {lines} in {source}"
        )


def score(translations: Sequence[str], references: Sequence[str], target: str) -> dict[str, Any]:
    """BLEU and chrF of a corpus, from 0 to 100, each with the signature that says how it was computed.

    Args:
        translations: at least one, in the order of `references`.
        references: one for each; blank ones count as blank, as in sacrebleu's own command.
        target: Argos' code of the language; it chooses BLEU's tokenizer.
    """
    from sacrebleu.metrics import BLEU, CHRF

    # `force` only silences a warning about lines that look tokenized
    metrics = {"bleu": BLEU(tokenize=TOKENIZERS.get(target, TOKENIZER), force=True), "chrf": CHRF()}
    scores: dict[str, Any] = {"lines": len(translations)}
    for name, metric in metrics.items():
        scores[name] = metric.corpus_score(translations, [references]).score
        scores[f"{name}_signature"] = metric.get_signature().format()
    return scores
