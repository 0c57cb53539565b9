"""CLIP's own English text tower, frozen: what translated captions are searched with in the paper's baseline CLIP + MT.

It is read from a whole CLIP checkpoint or from its text half: a causal transformer over the tokens, whose state at the
end token is projected without bias (Radford et al. 2021, section 2.4). Texts are cut to the tower's positions (77), end
token included.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError, one_line
from xpet.core.json_files import parsed
from xpet.core.regular_files import read_text
from xpet.models.checkpoint import LoadedText, load_text_tower
from xpet.models.hub import checkpoint_folder
from xpet.models.tokenizer import TextTokenizer, load_tokenizer
from xpet.models.weights import LONG, fill, fingerprint, read_json, read_weights

KINDS = ("clip", "clip_text_model")
"""`model_type` of a whole CLIP, and of its text half."""
TEXT_HALF = ("text_model.", "text_projection.")
IMAGE_HALF = ("vision_model.", "visual_projection.")
"""How names of tensors begin in either half of a CLIP."""
_SETTINGS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings", "hidden_act", "layer_norm_eps", "attention_dropout", "eos_token_id",
)  # fmt: skip
"""Settings of CLIP's text configuration that are read."""
_PURPOSE = "a CLIP text tower"
_PAD = 0
"""Id of padding: what follows the end token has no effect, and no rule for finding that token picks id 0."""


class ClipText(nn.Module):
    """CLIP's text tower with the signature of xpet's own; state-dict names are those of the published checkpoints."""

    def __init__(self, model: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.model = model
        self.dimensions = dimensions
        """Size of the shared image-text space."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Un-normalised text features [rows, dimensions] of token ids [rows, length] and their 0/1 mask."""
        features: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).text_embeds
        return features


def load_english_tower(name_or_path: str | Path, allow_download: bool = True) -> LoadedText:
    """Load an English text tower (float32), CLIP's or one in the M-CLIP layout, from a local folder or hub name.

    Raises ModelError for a checkpoint that is missing, damaged or of another layout, and for a tokenizer that does not
    fit.
    """
    folder = checkpoint_folder(name_or_path, allow_download)
    config = read_json(folder / "config.json", _PURPOSE)
    if config.get("model_type") not in KINDS:
        return load_text_tower(folder)
    settings = config.get("text_config") if config["model_type"] == "clip" else config
    if not isinstance(settings, Mapping):
        raise ModelError(f"{folder}: expected a text_config in config.json, found none")
    tensors = read_weights(folder)
    text = {name: tensor for name, tensor in tensors.items() if name.startswith(TEXT_HALF)}
    tower = _empty_tower(settings, text, folder)
    fill(tower.model, text, torch.float32, folder)
    tower.requires_grad_(False).eval()
    tokenizer = _tokenizer(folder, tower)
    return LoadedText(tower, tokenizer, fingerprint(text), config)  # type: ignore[arg-type]


def image_half(name_or_path: str | Path, allow_download: bool = True) -> str | None:
    """Fingerprint of the image tower in the same checkpoint, as `load_image_tower` gives it; None without one."""
    tensors = read_weights(checkpoint_folder(name_or_path, allow_download))
    image = {name: tensor for name, tensor in tensors.items() if name.startswith(IMAGE_HALF)}
    return fingerprint(image) if image else None


def _empty_tower(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> ClipText:
    """The tower of these settings, on the meta device; its output size is that of the projection's tensor."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    weight = tensors.get("text_projection.weight")
    if weight is None or weight.dim() != 2:
        raise ModelError(f"{folder}: expected {_PURPOSE} with a projection, found no matrix text_projection.weight")
    known = {key: settings[key] for key in _SETTINGS if settings.get(key) is not None}
    try:
        with torch.device("meta"):
            config = CLIPTextConfig(**known, projection_dim=int(weight.shape[0]))
            return ClipText(CLIPTextModelWithProjection(config), int(weight.shape[0]))
    except Exception as error:  # transformers validates its settings with errors of its own
        raise ModelError(
            f"{folder}: the text tower cannot be built: {one_line(error, LONG, first_only=True)}"
        ) from None


def _tokenizer(folder: Path, tower: ClipText) -> TextTokenizer:
    """The checkpoint's tokenizer; raises ModelError unless it ends every row with the end token the tower looks for."""
    settings: Any = tower.model.config
    limit = int(settings.max_position_embeddings)
    if (folder / "tokenizer.json").is_file():
        tokenizer = load_tokenizer(folder, limit, _PAD)
    else:
        tokenizer = TextTokenizer(_from_vocabulary(folder), limit, _PAD)
    row = tokenizer.encode(["a"])[0]
    legacy = settings.eos_token_id == 2  # older configurations name a wrong one; transformers takes the highest id then
    end = max(row) if legacy else settings.eos_token_id
    if len(row) < 2 or end not in row or row.index(end) != len(row) - 1:
        raise ModelError(
            f"{folder}: expected a tokenizer that ends a text with token {end}, found tokens {row} for 'a'"
        )
    if tokenizer.highest_id >= settings.vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer does not fit the weights: expected ids below {settings.vocab_size}, found "
            f"{tokenizer.highest_id}"
        )
    return tokenizer


def _from_vocabulary(folder: Path) -> Any:
    """The tokenizer of older checkpoints, which have vocab.json and merges.txt alone."""
    from transformers import CLIPTokenizer

    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    missing = [path.name for path in (vocabulary, merges) if not path.is_file()]
    if missing:
        raise ModelError(f"{folder}: expected tokenizer.json, or vocab.json and merges.txt, found no {missing[0]}")
    try:
        lines = read_text(merges).split("\n")
        pairs = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
        return CLIPTokenizer(vocab=parsed(read_text(vocabulary)), merges=pairs)
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelError(
            f"cannot read {vocabulary}: damaged or truncated ({one_line(error, LONG, first_only=True)}); fetch it again"
        ) from None
