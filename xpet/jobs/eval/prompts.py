"""An encoder that puts every text into a hard prompt first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xpet.core.prompts import Prompt
from xpet.jobs.shared.measure import Encode

if TYPE_CHECKING:
    from torch import Tensor


def prompted(encode: Encode, prompt: Prompt, language: str) -> Encode:
    """`encode` over texts of a language in the prompt's templates; raises ConfigError where it has none for it.

    Of several templates the mean of the unit features is taken (CLIP's prompt ensemble, Radford et al. 2021, 3.1.4).
    """
    prompt.templates(language)

    def encode_prompted(texts: Sequence[str]) -> Tensor:
        import torch
        from torch.nn.functional import normalize

        versions = prompt.apply(texts, language)
        if len(versions) == 1:
            return encode(versions[0])
        return torch.stack([normalize(encode(version), dim=-1) for version in versions]).mean(dim=0)

    return encode_prompted
