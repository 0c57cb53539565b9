"""Makes the translators of a pair of languages: one for an installed package, or two through English."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpet.core.events import Notice, OnEvent, ignore
from xpet.translation.cache import Cache
from xpet.translation.device import find_device
from xpet.translation.engine import BEAM, ArgosTranslator, Hypothesis, Translator
from xpet.translation.packages import need_chain


def make_chain(
    folder: Path, source: str, target: str, cache: Cache, fast: bool = False, device: str = "auto",
    on_event: OnEvent = ignore,
) -> list[ArgosTranslator]:  # fmt: skip
    """One translator for each hop from `source` to `target` (Argos' codes); `fast` is beam 1 in place of 4.

    Where `auto` finds a GPU on which CTranslate2 then fails, the CPU is used, and `on_event` gets a notice.
    Raises ModelError for a missing package, ConfigError for a missing device.
    """

    def tell(text: str) -> None:
        on_event(Notice(text, "warning"))

    found = find_device(device)
    on_fallback = tell if device == "auto" else None
    return [
        ArgosTranslator(package, cache.fingerprint(package), 1 if fast else BEAM, found, on_fallback)
        for package in need_chain(folder, source, target)
    ]


class Ranked:
    """A translator that gives the n-best translation with index `rank` (1: second best) of another, or its last one.

    Ranks of one translator that translate the same texts one after another share its n-best lists.
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
        """The wrapped translator's identity, and the rank."""
        return f"{self.translator.identity} rank {self.rank}"

    def best(self, texts: Sequence[str]) -> list[Hypothesis]:
        """The translation of this rank of each text."""
        return [n_best[min(self.rank, len(n_best) - 1)] for n_best in self.translator.alternatives(texts)]

    def alternatives(self, texts: Sequence[str]) -> list[list[Hypothesis]]:
        """The translation of this rank alone, as the other ranks are other translators."""
        return [[hypothesis] for hypothesis in self.best(texts)]


def ranked(chain: Sequence[Translator], rank: int) -> list[Translator]:
    """The chain with a last hop that gives the translation with index `rank`; 0 (the best) is the chain itself."""
    return list(chain) if rank == 0 else [*chain[:-1], Ranked(chain[-1], rank)]
