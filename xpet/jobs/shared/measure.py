"""Measures retrieval by a tower (bare, or with a run's delta) on a test split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from xpet.core.captions import LanguageCaptions
from xpet.core.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.core.metrics import Retrieval
    from xpet.models.tokenizer import TextTokenizer

Encode = Callable[[Sequence[str]], "Tensor"]
"""Texts -> features [texts, d]."""
EncodeTokens = Callable[[Sequence[Sequence[int]]], "Tensor"]
"""Token numbers of texts -> features [texts, d]."""


def encoder(tower: object, tokenizer: TextTokenizer) -> Encode:
    """An encoder that runs a tower in whatever state it is in when texts are encoded."""
    from xpet.models.encode import encode_texts

    return lambda texts: encode_texts(tower, tokenizer, texts)  # type: ignore[arg-type]


def token_encoder(tower: object, tokenizer: TextTokenizer) -> EncodeTokens:
    """The same for texts that are token numbers already."""
    from xpet.models.encode import encode_tokens

    return lambda tokens: encode_tokens(tower, tokenizer, tokens)  # type: ignore[arg-type]


def retrieval(encode: Encode, captions: LanguageCaptions, slot: str, images: Tensor) -> Retrieval:
    """Retrieval by the texts of a slot among images [images, d], and by images among the texts.

    Captions without a text in the slot are left out. Raises DataError naming the language.
    """
    import torch

    from xpet.core import metrics

    captions = captions.complete((slot,))
    features = encode(captions.slot(slot))
    try:
        return metrics.retrieval(images, features.to(images), torch.tensor(captions.image_index))
    except DataError as error:
        raise DataError(f"{captions.language}: {error}") from error


def recall(encode: Encode, captions: LanguageCaptions, slot: str, images: Tensor) -> float:
    """R@1 in percent of one language by the texts of a slot, mean of both directions; `images` [images, d]."""
    return retrieval(encode, captions, slot, images).recall
