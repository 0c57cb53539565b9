"""NLLB-CLIP (Visheratin 2023) in open_clip's layout: NLLB-200's encoder, whose state at the language tag is projected.

The encoder is pre-norm, with scaled word embeddings and sinusoidal positions that no file holds. A text's first token
says its language, so every text that is encoded must say it (`xpet.core.captions.LanguageText`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.errors import ModelError
from xpet.core.known_models import KNOWN
from xpet.models.families import open_clip
from xpet.models.families.base import DiskLayout, document, replaced
from xpet.models.families.clip import pre_norm_tower
from xpet.models.families.nllb_languages import tag_of
from xpet.models.families.open_clip import SETTINGS, clean_text
from xpet.models.pooling import Pooling
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import TextTokenizer, from_json, opened

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD = 1
"""Id of padding in NLLB's vocabulary."""
_CONTEXT = 77
"""Tokens of a text that open_clip reads at most, where nothing else is said."""
_KIND = "m2m_100"
"""`model_type` of NLLB in transformers."""
_HEADS = 16
"""Attention heads of every published NLLB-200; config.json beside the weights can say another number."""
_POOLING = {
    "cls_pooler": Pooling("first"), "cls_last_hidden_state_pooler": Pooling("first"), "mean_pooler": Pooling(),
}  # fmt: skip
"""Poolers of open_clip that are known; the first is its own for such a text tower."""
_END = "</s>"
"""NLLB's end token."""
_WORDS = "text.transformer.embed_tokens.weight"
_LAYERS = "text.transformer.layers."
_NAMES = (
    ("LinearTransformation.", "text.proj."), ("transformer.output.LayerNorm.", "text.transformer.layer_norm."),
    ("transformer.embeddings.word_embeddings.", "text.transformer.embed_tokens."),
    ("transformer.encoder.layer.", _LAYERS),
    (".attention.self.query.", ".self_attn.q_proj."), (".attention.self.key.", ".self_attn.k_proj."),
    (".attention.self.value.", ".self_attn.v_proj."), (".attention.output.dense.", ".self_attn.out_proj."),
    (".attention.output.LayerNorm.", ".self_attn_layer_norm."), (".output.LayerNorm.", ".final_layer_norm."),
    (".intermediate.dense.", ".fc1."), (".output.dense.", ".fc2."),
)  # fmt: skip
"""Parts of the names of a pre-norm tower -> those on the disk, to be replaced in this order."""


def _text(folder: Path) -> Mapping[str, Any]:
    """The text_cfg of a folder, or of the folder of a file; empty where there is none."""
    model = document(folder.parent if folder.is_file() else folder, SETTINGS).get("model_cfg")
    text = model.get("text_cfg") if isinstance(model, Mapping) else None
    return text if isinstance(text, Mapping) else {}


def _recognise(folder: Path) -> bool:
    return "nllb" in str(_text(folder).get("hf_model_name", "")).lower() and open_clip.FAMILY.recognise(folder)


def _build(layout: DiskLayout, attention: str) -> TextTower:
    """The tower on the meta device; its sizes are those of its tensors. Raises ModelError for another pooler."""
    text = _text(layout.folder)
    kind = text.get("hf_pooler_type") or text.get("pooler_type") or next(iter(_POOLING))  # older files say pooler_type
    if kind not in _POOLING:
        raise ModelError(
            f"{layout.folder / SETTINGS}: expected hf_pooler_type {' or '.join(_POOLING)}, found {kind!s:.60}"
        )
    dimensions = layout.size("text.proj.weight")
    return pre_norm_tower(
        layout, _settings(layout), _POOLING[kind], attention, is_causal=False, dimensions=dimensions, bias=False
    )


def _settings(layout: DiskLayout) -> dict[str, Any]:
    """The settings of the transformer: sizes by its tensors, the rest NLLB's, unless config.json lies there."""
    found = document(layout.folder)
    written = found if found.get("model_type") == _KIND else {}
    hidden = layout.size(_WORDS, 1)
    layers = {name.removeprefix(_LAYERS).split(".")[0] for name in layout.tensors if name.startswith(_LAYERS)}
    return {
        "vocab_size": layout.size(_WORDS), "hidden_size": hidden, "num_hidden_layers": len(layers),
        "intermediate_size": layout.size(f"{_LAYERS}0.fc1.weight"), "layer_norm_eps": 1e-5, "pad_token_id": PAD,
        "bos_token_id": 0, "eos_token_id": 2,
        "num_attention_heads": written.get("encoder_attention_heads", _HEADS), "attention_dropout": 0.1,
        "hidden_act": written.get("activation_function", "relu"),
        "max_position_embeddings": written.get("max_position_embeddings", 1024),
        "word_scale": math.sqrt(hidden) if written.get("scale_embedding", True) else 1.0,
    }  # fmt: skip


class TaggedTokenizer(TextTokenizer):
    """Puts the tag of each text's language before it, and the end token behind it."""

    needs_language = True

    def __init__(self, tokenizer: Tokenizer, limit: int) -> None:
        super().__init__(tokenizer, limit, PAD, clean_text)
        end = tokenizer.token_to_id(_END)
        if end is None:
            raise ModelError(
                f"expected NLLB's tokenizer, found one without {_END}; fetch that of the text tower's base"
            )
        self._end = end

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, at most `limit`; raises ModelError for a text whose language is not known."""
        tags = {text: self._tag(text) for text in dict.fromkeys(getattr(text, "language", "") for text in texts)}
        rows = [row[: self.limit - 2] for row in self._without_special(texts)]
        return [[tags[getattr(text, "language", "")], *row, self._end] for text, row in zip(texts, rows, strict=True)]

    def _tag(self, language: str) -> int:
        """Id of the tag of a language; raises ModelError, saying how to give it, where there is none."""
        if not language:
            raise ModelError(
                "this text tower puts a tag of its language before each text: expected the language, found none; "
                "give it, as in encode_text(texts, lang='de')"
            )
        tag = tag_of(language)
        number = None if tag is None else self._tokenizer.token_to_id(tag)
        if number is None:
            raise ModelError(
                f"this text tower puts a tag of its language before each text, and has none for '{language:.60}': "
                "expected a code of ISO 639, such as de, or of FLORES-200, such as deu_Latn; name the language so in "
                "the data and --lang"
            )
        return number


def _tokenizer(layout: DiskLayout, tower: TextTower) -> TextTokenizer:
    """The tokenizer beside the weights; raises ModelError, saying where to have it from, where there is none."""
    text, path = _text(layout.folder), layout.folder / "tokenizer.json"
    length = text.get("context_length", _CONTEXT)
    if type(length) is not int or length < 3:  # noqa: PLR2004
        raise ModelError(
            f"{layout.folder / SETTINGS}: expected a whole number of tokens as context_length, found {length!r:.60}"
        )
    if not path.is_file():
        name = text.get("hf_tokenizer_name") or text["hf_model_name"]
        raise ModelError(
            f"{layout.folder}: expected tokenizer.json beside the weights, found none; fetch it: hf download {name} "
            f"tokenizer.json --local-dir {layout.folder}"
        )
    settings: Any = tower.transformer.config
    limit = min(length, int(settings.max_position_embeddings))
    return opened(path, lambda file: TaggedTokenizer(from_json(file), limit))


FAMILY = replace(
    open_clip.FAMILY,
    name="NLLB-CLIP",
    recognise=_recognise,
    build=_build,
    tokenizer=_tokenizer,
    on_disk=lambda layout, name: replaced(name, _NAMES),
    unread=("logit_scale", "logit_bias", "text.transformer.embed_positions."),
    facts=KNOWN["NLLB-CLIP"],
)  # fmt: skip
