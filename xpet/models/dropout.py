"""The dropouts of a transformer, drawn from counters while a training says for which runs and steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from xpet.core.noise import Noise


@dataclass
class Source:
    """What the dropouts of one transformer draw from; None: from PyTorch's generator, as usual.

    `draws` [runs] say so for whole forwards (see `xpet.core.noise.draws`), `noise` is that of the present one.
    """

    draws: Tensor | None = None
    noise: Noise | None = None


class Dropout(nn.Dropout):
    """A dropout of hidden states [rows, length, channels]; with `site` its number in the transformer."""

    def __init__(self, p: float, site: int, source: Source) -> None:
        super().__init__(p)
        self.site, self.source = site, source

    @property
    def noise(self) -> Noise | None:
        """What values are dropped by at present; None: nothing special to do."""
        return self.source.noise if self.training and 0 < self.p < 1 else None

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states with some of them zero and the others scaled up."""
        noise = self.noise
        return super().forward(hidden) if noise is None else hidden * noise.channels(self.site, self.p, hidden)

    def attention(self, weights: Tensor) -> Tensor:
        """The same of attention probabilities [rows, heads, length, length]."""
        noise = self.noise
        return super().forward(weights) if noise is None else weights * noise.pairs(self.site, self.p, weights)


def install(transformer: nn.Module) -> Source:
    """Put such dropouts where the plain ones of a transformer are."""
    source = Source()
    plain = [name for name, module in transformer.named_modules() if isinstance(module, nn.Dropout)]
    for site, name in enumerate(plain):
        parent, _, child = name.rpartition(".")
        module = transformer.get_submodule(name)
        setattr(transformer.get_submodule(parent), child, Dropout(module.p, site, source).train(module.training))  # type: ignore[arg-type]
    return source
