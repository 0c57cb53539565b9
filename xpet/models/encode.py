"""Encodes texts with a frozen tower, and checks whether two towers fit together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError
from xpet.core.known_models import KNOWN
from xpet.core.transfer import fetch, send
from xpet.models.tokenizer import TextTokenizer

IN_FLIGHT = 8
"""Batches of texts that a GPU was given and whose features are not waited for yet."""


class HasDimensions(Protocol):
    """A tower, or an object that holds one, with the size of its output."""

    @property
    def dimensions(self) -> int:
        """Size of the shared image-text space."""
        ...


def image_tower_of(text_name: str) -> str:
    """The hub name of the image tower that belongs to a published text tower; raises ModelError for others."""
    known = {text: image for facts in reversed(list(KNOWN.values())) for text, image in facts.partners.items()}
    if text_name not in known:
        raise ModelError(
            f"no image tower is known for '{text_name}': expected --image-model or --image-features with it; "
            f"known without are {', '.join(known)}"
        )
    return known[text_name]


def check_dimensions(text: HasDimensions, image: HasDimensions) -> None:
    """Raise ModelError unless both towers have outputs of the same size."""
    if text.dimensions != image.dimensions:
        raise ModelError(
            f"the towers do not fit together: the text tower gives {text.dimensions} dimensions, the image tower "
            f"{image.dimensions}; choose two of the same size"
        )


Select = Callable[[Sequence[int]], AbstractContextManager[None]]
"""Module numbers of the rows of a batch -> a context in which each row passes through its own module."""


@contextmanager
def unselected(modules: Sequence[int]) -> Iterator[None]:
    """The `Select` that chooses no module: every row passes through the tower as it is."""
    yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for the block; afterwards the mode that was set before."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def encode_texts(
    tower: nn.Module,
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    batch_size: int = 256,
    device: str | torch.device | None = None,
    modules: Sequence[int] | None = None,
    select: Select = unselected,
) -> Tensor:
    """Un-normalised features [texts, dimensions] of texts; see `encode_tokens`."""
    return encode_tokens(tower, tokenizer, tokenizer.encode(texts), batch_size, device, modules, select)


def encode_tokens(
    tower: nn.Module,
    tokenizer: TextTokenizer,
    tokens: Sequence[Sequence[int]],
    batch_size: int = 256,
    device: str | torch.device | None = None,
    modules: Sequence[int] | None = None,
    select: Select = unselected,
) -> Tensor:
    """Un-normalised features [texts, dimensions] in the tower's dtype, on the CPU and usable in autograd.

    Each distinct row of tokens is encoded once, so equal texts get bit-equal features; rows are batched by length. The
    tower is run in eval mode and its mode is restored.

    Args:
        tower: called with token ids and 0/1 mask, both [rows, length].
        tokenizer: the tower's.
        tokens: the token numbers of each text, special ones included.
        batch_size: rows encoded at a time.
        device: where the tower is (default: where its first parameter is).
        modules: for each text the number of the module it is encoded with; `select` applies them to a batch.
        select: see Select.
    """
    rows = list(zip(map(tuple, tokens), modules if modules is not None else [0] * len(tokens), strict=True))
    distinct = sorted(set(rows), key=lambda row: (len(row[0]), row))
    index_of = {row: index for index, row in enumerate(distinct)}
    first = next(tower.parameters())
    target = torch.device(device) if device is not None else first.device
    features = torch.empty((len(distinct), int(tower.dimensions)), dtype=first.dtype)  # type: ignore[arg-type]
    arriving: deque[tuple[int, Callable[[], Tensor]]] = deque()
    with evaluating(tower), torch.inference_mode():
        for start in range(0, len(distinct), batch_size):
            batch = distinct[start : start + batch_size]
            ids, mask = tokenizer.pad([row for row, _ in batch])
            with select([module for _, module in batch]):
                arriving.append((start, fetch(tower(send(ids, target), send(mask, target)))))
            while len(arriving) > (IN_FLIGHT if target.type == "cuda" else 0):
                _store(features, *arriving.popleft())
        while arriving:
            _store(features, *arriving.popleft())
    return features[[index_of[row] for row in rows]]


def _store(features: Tensor, start: int, arrived: Callable[[], Tensor]) -> None:
    """Put a batch's features [batch, dimensions] into those of all texts [texts, dimensions], from row `start` on."""
    rows = arrived()
    features[start : start + len(rows)] = rows
