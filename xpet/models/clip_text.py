"""The English text tower of the paper's baseline CLIP + MT, and whether an image tower lies beside it."""

from __future__ import annotations

from pathlib import Path

from xpet.models.checkpoint import LoadedText, load_text_tower
from xpet.models.families.clip_vision import IMAGE_HALF
from xpet.models.hub import checkpoint_folder
from xpet.models.weights import fingerprint, read_weights


def load_english_tower(name_or_path: str | Path, allow_download: bool = True) -> LoadedText:
    """Load an English text tower (float32) of any family, CLIP's own for one, from a local folder or hub name.

    Raises ModelError for a checkpoint that is missing, damaged or of another layout, and for a tokenizer that does not
    fit.
    """
    return load_text_tower(name_or_path, allow_download=allow_download)


def image_half(name_or_path: str | Path, allow_download: bool = True) -> str | None:
    """Fingerprint of the image tower in the same checkpoint, as `load_image_tower` gives it; None without one."""
    tensors = read_weights(checkpoint_folder(name_or_path, allow_download))
    image = {name: tensor for name, tensor in tensors.items() if name.startswith(IMAGE_HALF)}
    return fingerprint(image) if image else None
