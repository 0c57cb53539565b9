"""A hard prompt as the paper's code has it, the untrained soft prompt with a text, is a template `TEXT {}`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xpet.core.config import MethodConfig
from xpet.core.prompts import SETS, parse
from xpet.methods.build import build_stack
from xpet.models.checkpoint import load_text_tower
from xpet.models.encode import encode_texts

CAPTIONS = ["a red dog", "カメラ アオイ", "ein grosser Hund und eine Katze"]


@pytest.mark.parametrize("prompt", ["a photo of {}", "カメラ： {}", SETS["native-spaced"].templates("de")[0]])
def test_inserted_tokens_are_those_of_a_template_with_a_space(text_checkpoint: Path, prompt: str) -> None:
    loaded = load_text_tower(text_checkpoint, torch.float64)
    (texts,) = parse(prompt).apply(CAPTIONS, "de")
    expected = encode_texts(loaded.tower, loaded.tokenizer, texts)
    own = loaded.tokenizer.encode([prompt.removesuffix(" {}")])[0][1:-1]
    loaded.tower.prompt_initial = loaded.tower.transformer.get_input_embeddings()(torch.tensor(own))
    stack = build_stack(loaded.tower, MethodConfig("soft-prompt"), [1])
    with stack.one(0):
        found = encode_texts(stack.tower, loaded.tokenizer, CAPTIONS)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (joined,) = parse(prompt.replace(" {}", "{}")).apply(CAPTIONS, "de")
    assert not torch.allclose(encode_texts(loaded.tower, loaded.tokenizer, joined), expected, atol=1e-6)
