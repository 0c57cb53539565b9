"""The translators of a pair of languages: an installed package, or two through English."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpet.translation.cache import Cache
from xpet.translation.engine import BEAM, ArgosTranslator, Hypothesis, Translator, find_device
from xpet.translation.packages import need_chain


def make_chain(
    folder: Path, source: str, target: str, cache: Cache, fast: bool = False, device: str = "auto"
) -> list[ArgosTranslator]:
    """One translator for each hop; `fast` is beam 1, codes are Argos'.

    Raises ModelError for a missing package, ConfigError for a missing device.
    """
    device = find_device(device)
    return [
        ArgosTranslator(package, cache.fingerprint(package), 1 if fast else BEAM, device)
        for package in need_chain(folder, source, target)
    ]


class Ranked:
    """A translator whose best translation is another's `rank`-th best (1 is the second); the last one it has, if fewer.

    Ranks of one translator share its n-best lists when they translate the same texts one after another.
    """

    def __init__(self, translator: Translator, rank: int) -> None:
        self.translator = translator
        self.rank = rank

    @property
    def source(self) -> str:
        """Code of the language translated from."""
        return self.translator.source

    @property
    def target(self) -> str:
        """Code of the language translated to."""
        return self.translator.target

    @property
    def identity(self) -> str:
        """The other translator's identity, and the rank."""
        return f"{self.translator.identity} rank {self.rank}"

    def best(self, texts: Sequence[str]) -> list[Hypothesis]:
        """The translation of this rank of each text."""
        return [n_best[min(self.rank, len(n_best) - 1)] for n_best in self.translator.alternatives(texts)]

    def alternatives(self, texts: Sequence[str]) -> list[list[Hypothesis]]:
        """That translation alone: another rank is another translator's."""
        return [[hypothesis] for hypothesis in self.best(texts)]


def ranked(chain: Sequence[Translator], rank: int) -> list[Translator]:
    """The chain whose last hop gives its `rank`-th best translation; rank 0 is the chain itself."""
    return list(chain) if rank == 0 else [*chain[:-1], Ranked(chain[-1], rank)]
