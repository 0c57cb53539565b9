"""The default format: a checkpoint in the layout of its base, with the run folded into its weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.config import ModelConfig
from xpet.core.errors import ModelError
from xpet.core.events import OnEvent
from xpet.jobs.merge.formats.base import CARD, ExportFormat, MergeJob
from xpet.jobs.shared import measure
from xpet.jobs.shared.measure import Encode
from xpet.jobs.shared.towers import IMAGE_KEY, image_of, text_path
from xpet.version import VERSION

if TYPE_CHECKING:
    from xpet.models.checkpoint import LoadedText, OpenText
    from xpet.models.shards import Change, StorageOptions

NOTE_KEY = "xpet"
"""Entry of config.json that says how the checkpoint was made."""
_FILES = (
    CARD, "config.json", "tokenizer.json", "tokenizer_config.json", "model*.safetensors",
    "model.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json",
)  # fmt: skip


def storage_options(job: MergeJob) -> StorageOptions:
    """How the weights are to be stored."""
    import torch

    from xpet.models.shards import StorageOptions

    config = job.config
    types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return StorageOptions(types[config.dtype], config.shard_size, config.pytorch_bin)


def checkpoint_bytes(job: MergeJob) -> int:
    """Bytes of the base's checkpoint with the text tower as it is to be stored."""
    from xpet.models.checkpoint import open_text_tower

    return open_text_tower(text_path(job.model.text)).stored_bytes(storage_options(job))


def write(stage: Path, job: MergeJob, on_event: OnEvent) -> str | None:
    """Fold and write everything but the card; returns the image tower that belongs to the checkpoint."""
    from xpet.models.checkpoint import open_text_tower

    base = open_text_tower(text_path(job.model.text))
    image = image_beside(base, job.model)
    named = {IMAGE_KEY: image} if image and not (base.has_image and image == job.model.text) else {}
    entries = {**named, NOTE_KEY: note(job)}
    base.family.write(base, stage, changes(job), storage_options(job), entries, on_event)
    return image


def changes(job: MergeJob) -> dict[str, Change]:
    """By name of a weight of the base, its change by the run; trained tensors are read when their weight is changed."""
    from xpet.methods.table import fold
    from xpet.models.weights import Remapped

    return fold(job.record.method, Remapped(job.mapped))


def note(job: MergeJob) -> dict[str, object]:
    """The entry of config.json that says how a merge was made."""
    record = job.record
    made = {} if record.combination is None else {"combination": record.combination}
    return {
        "version": VERSION, "base": job.model.text, "base_fingerprint": record.environment.fingerprints["text"],
        "run": asdict(record.run), "method": record.method.name, "verified": job.config.verify, **made,
    }  # fmt: skip


def image_beside(base: OpenText | LoadedText, model: ModelConfig) -> str | None:
    """Name of the run's image tower, or of the partner of its base; None when neither is known."""
    try:
        return model.image or image_of(model.text, base)
    except ModelError:
        return None


def _encoder(folder: Path, job: MergeJob, device: str) -> Encode:
    from xpet.models.checkpoint import load_text_tower

    loaded = load_text_tower(folder)
    return measure.encoder(loaded.tower.to(device), loaded.tokenizer)


def is_our_config(folder: Path) -> bool:
    """Whether xpet wrote the settings of a folder."""
    from xpet.models.families import settings_in

    return NOTE_KEY in settings_in(folder)


def _written(folder: Path) -> tuple[str, ...]:
    """Names of what was copied from a base into a folder, as its settings list them."""
    from xpet.models.families import settings_in
    from xpet.models.families.saving import FILES_KEY

    names = settings_in(folder).get(FILES_KEY)
    return tuple(map(str, names)) if isinstance(names, list) else ()


FORMAT = ExportFormat(
    "checkpoint", write, _encoder, checkpoint_bytes, _FILES, is_our_config,
    said="Folded {method} for {languages} into {base}",
    use="Use it: xpet eval --model {out}",
    about=(
        "A text tower in the layout of {family} into which `xpet merge` folded what {method} trained for {languages}. "
        "It is as fast as its base."
    ),
    tags=("{family}",), towers=True, more=_written,
)  # fmt: skip
