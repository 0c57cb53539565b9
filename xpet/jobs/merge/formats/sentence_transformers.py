"""`--export sentence-transformers`: a folder that SentenceTransformer loads, with the run folded in."""

from __future__ import annotations

from pathlib import Path

from xpet.core.events import OnEvent
from xpet.jobs.merge.formats.base import CARD, ExportFormat, MergeJob
from xpet.jobs.merge.formats.checkpoint import (
    NOTE_KEY,
    changes,
    checkpoint_bytes,
    image_beside,
    is_our_config,
    note,
    storage_options,
)
from xpet.jobs.shared import measure
from xpet.jobs.shared.measure import Encode
from xpet.jobs.shared.towers import IMAGE_KEY, text_path

_FILES = (
    CARD, "modules.json", "config.json", "config_sentence_transformers.json", "sentence_bert_config.json",
    "tokenizer.json", "tokenizer_config.json", "model*.safetensors", "model.safetensors.index.json",
    "1_Pooling", "2_Dense",
)  # fmt: skip


def write(stage: Path, job: MergeJob, on_event: OnEvent) -> str | None:
    """Fold and write the folder; returns the image tower of the base."""
    from xpet.models.checkpoint import open_text_tower
    from xpet.models.sentence_folder import write_sentence_folder

    base = open_text_tower(text_path(job.model.text))
    image = image_beside(base, job.model)
    entries = {NOTE_KEY: note(job), **({IMAGE_KEY: image} if image else {})}
    write_sentence_folder(stage, base, changes(job), storage_options(job), entries, on_event)
    return image


def _check(job: MergeJob) -> None:
    """Raise ModelError for a base that the layout cannot hold."""
    from xpet.models.checkpoint import open_text_tower
    from xpet.models.sentence_folder import check_holds

    check_holds(open_text_tower(text_path(job.model.text)))


def _encoder(folder: Path, job: MergeJob, device: str) -> Encode:
    """An encoder by transformers' own loaders, as sentence-transformers uses them."""
    from xpet.models.sentence_folder import read_sentence_folder

    tower, tokenizer = read_sentence_folder(folder)
    return measure.encoder(tower.to(device), tokenizer)


FORMAT = ExportFormat(
    "sentence-transformers", write, _encoder, checkpoint_bytes, _FILES, is_our_config,
    check=_check, said="Folded {method} for {languages} into {base}, for sentence-transformers",
    use="Load it with: sentence_transformers.SentenceTransformer('{out}')",
    about=(
        "A text tower for sentence-transformers, into which `xpet merge` folded what {method} trained for {languages}: "
        "transformer, mean pooling and a dense layer into the space shared with pictures. Compare by cosine."
    ),
    code="""\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{out}")
features = model.encode(["..."], normalize_embeddings=True)
""",
    tags=("sentence-transformers", "{family}"),
)  # fmt: skip
