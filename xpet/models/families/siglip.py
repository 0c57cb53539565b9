"""SigLIP (Zhai et al. 2023) and SigLIP 2 (Tschannen et al. 2025): 64 tokens a text, the padding attended to like words.

A pre-norm transformer that sees all tokens, without a mask; the state at the last position, nearly always padding, goes
through a head with a bias. The multilingual so400m of SigLIP has no head. A checkpoint holds both halves (`siglip`) or
the text half. SigLIP 2 of a fixed resolution is a `siglip`, too: `siglip2` is its NaFlex variant, which is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.errors import ModelError
from xpet.core.known_models import KNOWN
from xpet.models.families.base import CONFIG, DiskLayout, Family, document
from xpet.models.families.clip import clip_name, pre_norm_tower
from xpet.models.families.saving import write_as_read
from xpet.models.families.siglip_vision import IMAGE_HALF, NAFLEX, VISION, WHOLE, open_image, refuse_naflex
from xpet.models.pooling import Pooling
from xpet.models.sentencepiece import read_unigram
from xpet.models.text_tower import TextTower
from xpet.models.tokenizer import FixedTokenizer, TextTokenizer, before_all, from_json, opened
from xpet.models.weights import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

TEXT = "siglip_text_model"
"""`model_type` of the text half alone."""
PIECES = "spiece.model"
"""The tokenizer of SigLIP: SentencePiece. SigLIP 2 has tokenizer.json instead."""
_PURPOSE = "a SigLIP model"
_SETTINGS: Mapping[str, Any] = {
    "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 64, "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6, "attention_dropout": 0.0,
}  # fmt: skip
"""Settings of text_config that are read, and what transformers takes where they are not there."""
_START = "text_model."
"""How names of the text half begin."""
_CASED, _IGNORED = r"[\p{Lu}\p{Ll}\p{Lt}]", r"[\p{M}\p{Cf}.:·’'^`]"
"""Characters with a case, and those that lie within words without making or ending them."""


def _read(folder: Path) -> DiskLayout:
    config = read_json(folder / CONFIG, _PURPOSE)
    kind = config.get("model_type")
    refuse_naflex(folder, kind)
    if kind == VISION:
        raise ModelError(
            f"{folder}: expected a SigLIP text tower, found an image tower alone; give it as --image-model"
        )
    return DiskLayout(folder, config)


def _on_disk(layout: DiskLayout, name: str) -> str:
    """The name on the disk; those of a text half alone begin with `text_model.` in older transformers only."""
    found = clip_name(name, f"{_START}head.")
    is_short = layout.config.get("model_type") == TEXT and not any(n.startswith(_START) for n in layout.tensors)
    return found.removeprefix(_START) if is_short else found


def _build(layout: DiskLayout, attention: str) -> TextTower:
    """The tower on the meta device; it has a head where the tensors are there, unless config.json says `no_head`."""
    written = layout.config if layout.config.get("model_type") == TEXT else layout.config.get("text_config") or {}
    if not isinstance(written, Mapping):
        raise ModelError(f"{layout.folder}: expected an object text_config in {CONFIG}, found {written!r:.60}")
    settings = {key: default if written.get(key) is None else written[key] for key, default in _SETTINGS.items()}
    head = [layout.tensors.get(_on_disk(layout, f"LinearTransformation.{leaf}")) for leaf in ("weight", "bias")]
    projects = any(tensor is not None for tensor in head) and written.get("no_head") is not True
    wide = next((len(tensor) for tensor in head if tensor is not None and tensor.dim()), settings["hidden_size"])
    return pre_norm_tower(
        layout, settings, Pooling("last"), attention, is_causal=False, bias=True, projects=projects,
        dimensions=wide if projects else settings["hidden_size"],
    )  # fmt: skip


def _tokenizer(layout: DiskLayout, tower: TextTower) -> TextTokenizer:
    """SigLIP's tokenizer of spiece.model, or SigLIP 2's of tokenizer.json; raises ModelError where there is neither."""
    settings: Any = tower.transformer.config
    readers = {PIECES: _from_pieces, "tokenizer.json": _from_json}
    for name, read in readers.items():
        if (layout.folder / name).is_file():
            tokenizer = opened(layout.folder / name, partial(read, limit=int(settings.max_position_embeddings)))
            settings.pad_token_id = tokenizer.pad_id  # config.json says nothing of it, or the wrong thing
            return tokenizer
    raise ModelError(f"{layout.folder}: expected a tokenizer in {' or '.join(readers)}, found neither")


def _from_pieces(path: Path, limit: int) -> TextTokenizer:
    """SigLIP's tokenizer: pads with the end token."""
    return _fixed(read_unigram(path, canonical()), limit, "</s>", "</s>")


def _from_json(path: Path, limit: int) -> TextTokenizer:
    """SigLIP 2's tokenizer, Gemma's: lower case, whatever the file says; or one of SigLIP's in that format."""
    from tokenizers import normalizers

    tokenizer = from_json(path)
    is_gemma = tokenizer.token_to_id("<eos>") is not None
    tokenizer = before_all(tokenizer, *([normalizers.Lowercase()] if is_gemma else canonical()))
    return _fixed(tokenizer, limit, *(("<eos>", "<pad>") if is_gemma else ("</s>", "</s>")))


def _fixed(tokenizer: Tokenizer, limit: int, end: str, pad: str) -> TextTokenizer:
    """A tokenizer that puts an end token behind every text, none before it, and pads to the limit."""
    from tokenizers import processors

    end_id, pad_id = map(tokenizer.token_to_id, (end, pad))
    if end_id is None or pad_id is None:
        raise ValueError(f"expected the tokens {end} and {pad}")
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, end_id)])
    return FixedTokenizer(tokenizer, limit, pad_id)


def canonical() -> list[Normalizer]:
    """What SigLIP does to a text: lower case as Python has it, ASCII punctuation removed, single spaces."""
    from tokenizers import Regex, normalizers

    before, after = f"(?<={_CASED}|{_CASED}{_IGNORED})", f"(?!{_IGNORED}*{_CASED})"
    return [
        normalizers.Replace("\u2581", " "),
        normalizers.Replace(Regex(f"{before}\u03a3{after}"), "\u03c2"),  # a capital sigma that ends a word
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"[!-/:-@\[-`{-~]"), ""),
        normalizers.Replace(Regex(r"[\s\x1c-\x1f]+"), " "),
    ]


FAMILY = Family(
    "SigLIP",
    recognise=lambda folder: document(folder).get("model_type") in (WHOLE, TEXT, VISION, NAFLEX),
    read=_read,
    build=_build,
    tokenizer=_tokenizer,
    write=write_as_read,
    on_disk=_on_disk,
    image=open_image,
    image_half=IMAGE_HALF,
    unread=("logit_scale", "logit_bias"),
    files=(PIECES,),
    signs=("text_model.encoder.layers.", "logit_bias"),
    facts=KNOWN["SigLIP"],
)  # fmt: skip
"""SigLIP and SigLIP 2."""
