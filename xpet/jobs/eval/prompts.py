"""An encoder that puts every text into a hard prompt first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xpet.core.captions import in_language
from xpet.core.prompts import Prompt, ensemble_features
from xpet.jobs.shared.measure import Encode

if TYPE_CHECKING:
    from torch import Tensor


def prompted(encode: Encode, prompt: Prompt, language: str) -> Encode:
    """`encode` over texts of a language in the prompt's templates; raises ConfigError where it has none for it.

    Of several templates the mean of the unit features is taken, see `ensemble_features`.
    """
    prompt.templates(language)

    def encode_prompted(texts: Sequence[str]) -> Tensor:
        versions = prompt.apply(texts, language)
        return ensemble_features([encode(in_language(version, language)) for version in versions])

    return encode_prompted
