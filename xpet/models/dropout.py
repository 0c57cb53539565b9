"""Dropout of a transformer that is hashed from counters while training has set the runs and steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from xpet.core.dropout_bits import DropoutBits


@dataclass
class DropoutSource:
    """What the dropouts of one transformer draw from.

    Attributes:
        draws: bits of every run's present step, int64 [runs] (see `xpet.core.dropout_bits.draws`); None: the dropouts
            draw from PyTorch's generator, as usual.
        bits: the bits of the present forward; None likewise.
    """

    draws: Tensor | None = None
    bits: DropoutBits | None = None


class Dropout(nn.Dropout):
    """Dropout of hidden states or attention probabilities; `site` is its number in the transformer."""

    def __init__(self, p: float, site: int, source: DropoutSource) -> None:
        super().__init__(p)
        self.site, self.source = site, source

    @property
    def bits(self) -> DropoutBits | None:
        """The bits of the present forward; None: drop as PyTorch does."""
        return self.source.bits if self.training and 0 < self.p < 1 else None

    def forward(self, hidden: Tensor) -> Tensor:
        """Drop hidden states [rows, length, channels] with probability p, and divide the others by 1 - p."""
        bits = self.bits
        return super().forward(hidden) if bits is None else hidden * bits.channels(self.site, self.p, hidden)

    def attention(self, weights: Tensor) -> Tensor:
        """The same for attention probabilities [rows, heads, length, length]."""
        bits = self.bits
        return super().forward(weights) if bits is None else weights * bits.pairs(self.site, self.p, weights)


def install(transformer: nn.Module) -> DropoutSource:
    """Replace every plain dropout of a transformer by a `Dropout`; returns what they draw from."""
    source = DropoutSource()
    names = [name for name, module in transformer.named_modules() if isinstance(module, nn.Dropout)]
    for site, name in enumerate(names):
        parent, _, child = name.rpartition(".")
        module = transformer.get_submodule(name)
        setattr(transformer.get_submodule(parent), child, Dropout(module.p, site, source).train(module.training))  # type: ignore[arg-type]
    return source
