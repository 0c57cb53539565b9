"""`--export opendelta`: a run as OpenDelta's `from_finetuned` reads it, on the transformer of the same text tower."""

from __future__ import annotations

from pathlib import Path

from xpet.core.events import OnEvent
from xpet.jobs.merge.formats.base import CARD, ExportFormat, MergeJob
from xpet.jobs.merge.formats.checkpoint import image_beside
from xpet.jobs.merge.formats.folded import module_bytes
from xpet.jobs.shared import measure
from xpet.jobs.shared.measure import Encode
from xpet.jobs.shared.towers import text_path

_FILES = (CARD, "config.json", "pytorch_model.bin")


def write(stage: Path, job: MergeJob, on_event: OnEvent) -> str | None:
    """Write the delta; returns the image tower of its base."""
    from xpet.methods import opendelta_format
    from xpet.models.checkpoint import open_text_tower

    opendelta_format.write(stage, job.record.method, job.record.delta)
    return image_beside(open_text_tower(text_path(job.model.text)), job.model)


def _encoder(folder: Path, job: MergeJob, device: str) -> Encode:
    """An encoder by OpenDelta's own loader."""
    from xpet.methods.bridge import load_finetuned
    from xpet.models.checkpoint import load_text_tower

    loaded = load_text_tower(text_path(job.model.text))
    load_finetuned(str(folder), loaded.tower.transformer)
    return measure.encoder(loaded.tower.eval().to(device), loaded.tokenizer)


def _is_ours(folder: Path) -> bool:
    from xpet.methods import opendelta_format

    return opendelta_format.is_ours(folder)


def _check(job: MergeJob) -> None:
    from xpet.methods import opendelta_format

    opendelta_format.check_inside(job.record.delta, str(job.path))


FORMAT = ExportFormat(
    "opendelta", write, _encoder, module_bytes, _FILES, _is_ours, folds=False, check=_check,
    methods=("lora", "adapter", "compacter"),
    use="Load it with: opendelta.AutoDeltaModel.from_finetuned('{out}', backbone_model=tower.transformer)",
    about=(
        "A module of OpenDelta ({method}) with the LayerNorms that were trained beside it, exported by `xpet merge`. "
        "It belongs to the transformer inside the text tower of {base}: `transformer` of the published "
        "`multilingual_clip` class or of xpet's `TextTower`. Nothing is folded: without it the tower is its base."
    ),
    code="""\
from opendelta import AutoDeltaModel  # 0.3.2; on today's Python: opendelta = xpet.methods.bridge.opendelta()
from xpet.jobs.shared.towers import text_path
from xpet.models.checkpoint import load_text_tower

loaded = load_text_tower(text_path("{base}"))
AutoDeltaModel.from_finetuned("{out}", backbone_model=loaded.tower.transformer)
ids, mask = loaded.tokenizer.pad(loaded.tokenizer.encode(["..."]))
features = loaded.tower(ids, mask)  # [texts, dimensions], not normalised
""",
    tags=("opendelta",),
)  # fmt: skip
