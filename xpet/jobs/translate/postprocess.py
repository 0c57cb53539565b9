"""Degrades translations before they are written (`--noise`), and scores what was written (`--reference`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xpet.core.config import TranslateConfig, TranslateDataConfig
from xpet.translation.degrade import degrade
from xpet.translation.scores import check_counts, read_references, score

DEFAULT_SEED = 1


def noise_seed(config: TranslateConfig | TranslateDataConfig) -> int:
    """The seed of `--noise`."""
    return DEFAULT_SEED if config.noise_seed is None else config.noise_seed


@dataclass
class Postprocessor:
    """Degrades the translations of one command, chunk by chunk; with references it keeps them to score them.

    Attributes:
        config: the options.
        references: one for each line, or None.
        degraded: lines that noise has changed so far.
    """

    config: TranslateConfig
    references: Sequence[str] | None = None
    degraded: int = 0
    _written: list[str] = field(default_factory=list)

    @classmethod
    def prepare(cls, config: TranslateConfig, lines: int | None) -> Postprocessor:
        """A processor with its references read; `lines` is the number of texts, None if not known. Raises DataError."""
        if config.reference is None:
            return cls(config)
        processor = cls(config, read_references(config.reference, config.reference_column))
        if lines is not None:
            processor._check(lines)
        return processor

    def texts(self, clean: Sequence[str], counts: Sequence[bool]) -> list[str]:
        """The texts to write for clean translations; `counts` is False for records that are no text (a header)."""
        rate, seed = self.config.noise or 0.0, noise_seed(self.config)
        written = [degrade(text, rate, seed) for text in clean] if rate else list(clean)
        self.degraded += sum(new != old for new, old in zip(written, clean, strict=True))
        if self.references is not None:
            self._written += [text for text, counted in zip(written, counts, strict=True) if counted]
        return written

    def noise(self) -> dict[str, Any] | None:
        """Rate, seed and degraded lines; None without noise."""
        if self.config.noise is None:
            return None
        return {"rate": self.config.noise, "seed": noise_seed(self.config), "degraded_lines": self.degraded}

    def scores(self) -> dict[str, Any] | None:
        """The scores of what was written; None without references or lines. Raises DataError where counts differ."""
        if self.references is None:
            return None
        self._check(len(self._written))
        if not self._written:
            return None
        return {"reference": self.config.reference, **score(self._written, self.references, self.config.target)}

    def _check(self, lines: int) -> None:
        where = self.config.file or "standard input"
        check_counts(self.references or (), str(self.config.reference), lines, where)
