"""The demo's pictures, for trying things out from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, ReadRequest
from xpet.core.errors import ConfigError, unknown

if TYPE_CHECKING:
    from PIL.Image import Image


def demo_pictures(split: str = "test", limit: int | None = None) -> dict[str, Image]:
    """Pictures of the synthetic demo world by name, 64 x 64 RGB, in the order of the split; about 10 ms each.

    Args:
        split: `train`, `validation` or `test`.
        limit: only the first so many; None: all of them.

    Raises:
        ConfigError: there is no such split, or the limit is negative.
    """
    from xpet.demo import reader

    corpus = reader.read(ReadRequest(languages=(PIVOT,)))
    if split not in corpus.splits:
        raise ConfigError(unknown("split of the demo", split, list(corpus.splits)))
    if limit is not None and limit < 0:
        raise ConfigError(f"limit must not be negative, found {limit}")
    assert corpus.pictures is not None
    return {name: corpus.pictures.open(name) for name in corpus.splits[split].images[:limit]}
