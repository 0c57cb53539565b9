"""Pre-norm towers are built of settings alone, in silence."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from xpet.models.pre_norm import build_pre_norm


def test_a_small_vocabulary_is_nothing_to_warn_of(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = transformers.utils.logging.get_logger("transformers.configuration_utils")
    monkeypatch.setattr(logger, "_log", lambda level, message, *rest, **more: said.append(str(message)))
    shape: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    transformers.CLIPTextConfig(vocab_size=51, **shape)
    assert len(said) > 0, "transformers has no such warning any more"
    said.clear()
    build_pre_norm(True, vocab_size=52, **shape)  # each text is said once
    build_pre_norm(False, vocab_size=53, eos_token_id=49407, bos_token_id=49406, **shape)
    assert said == []
