"""The retrievals of one `xpet eval`: each is measured by one of its processes, and the first one gets them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpet.core.captions import LanguageCaptions
from xpet.core.processes import here
from xpet.jobs.shared import measure

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.core.metrics import Retrieval
    from xpet.core.ranking import Ranks

WHAT = "the measurements"


class Measurements:
    """Retrievals among images [images, d]; each is known by its number until all are done.

    All processes must ask for the same ones in the same order.
    """

    def __init__(self, images: Tensor) -> None:
        self._images = images
        self._turns = here().turns(WHAT)
        self._image_indices: list[tuple[int, ...]] = []
        self._own: dict[int, Retrieval] = {}

    def measure(self, encode: measure.Encode, captions: LanguageCaptions, slot: str) -> int:
        """Measure by the texts of a slot if that is this process's turn; returns the number of the measurement.

        Raises DataError naming the language.
        """
        number = len(self._image_indices)
        self._image_indices.append(tuple(captions.complete((slot,)).image_index))
        if self._turns.next():
            self._own[number] = measure.retrieval(encode, captions, slot, self._images)
        return number

    def gathered(self) -> dict[int, Retrieval]:
        """The retrievals by number in the first process, once all have measured theirs; none in the others."""
        processes = here()
        if processes.world == 1:
            return self._own
        shares = processes.collect(WHAT, [(number, _ranks(result)) for number, result in self._own.items()])
        return {number: self._retrieval(number, ranks) for share in shares for number, ranks in share}

    def _retrieval(self, number: int, ranks: Any) -> Retrieval:
        """A retrieval as the process that measured it had it; `ranks` are `_ranks` of it."""
        import torch

        from xpet.core.metrics import retrieval_of
        from xpet.core.ranking import Ranks

        by_image, by_text = (Ranks(*map(torch.tensor, counts)) for counts in ranks)
        return retrieval_of(len(self._images), torch.tensor(self._image_indices[number]), by_image, by_text)


def _ranks(result: Retrieval) -> list[list[list[int]]]:
    """The counts behind a retrieval, JSON-ready: for each direction those of its queries."""

    def counts(ranks: Ranks) -> list[list[int]]:
        return [ranks.greater.tolist(), ranks.tied.tolist(), ranks.good.tolist()]

    return [counts(direction.ranks) for direction in result.directions]
