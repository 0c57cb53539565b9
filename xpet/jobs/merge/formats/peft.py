"""`--export peft`: a LoRA run as an adapter of the PEFT library, on the same text tower."""

from __future__ import annotations

from pathlib import Path

from xpet.core.events import OnEvent
from xpet.jobs.merge.formats.base import CARD, ExportFormat, MergeJob
from xpet.jobs.merge.formats.checkpoint import image_beside
from xpet.jobs.merge.formats.folded import module_bytes, with_module
from xpet.jobs.shared.measure import Encode
from xpet.jobs.shared.towers import text_path

_FILES = (CARD, "adapter_config.json", "adapter_model.safetensors")


def write(stage: Path, job: MergeJob, on_event: OnEvent) -> str | None:
    """Write the adapter; returns the image tower of its base."""
    from xpet.methods import embeddings, peft_format
    from xpet.models.checkpoint import open_text_tower

    base = open_text_tower(text_path(job.model.text))
    modules = [name for name, _ in base.tower.named_modules() if name]
    vocabulary = len(base.tensors[f"{embeddings.WORDS}.weight"])
    peft_format.write(stage, job.record.method, job.record.delta, modules, job.model.text, vocabulary)
    return image_beside(base, job.model)


def _encoder(folder: Path, job: MergeJob, device: str) -> Encode:
    from xpet.methods import peft_format

    return with_module(job, *peft_format.read(folder), device)


def _is_ours(folder: Path) -> bool:
    from xpet.methods import peft_format

    return peft_format.is_ours(folder)


FORMAT = ExportFormat(
    "peft", write, _encoder, module_bytes, _FILES, _is_ours, folds=False, methods=("lora",),
    use="Load it with: peft.PeftModel.from_pretrained(tower, '{out}'), tower = the base's text tower",
    about=(
        "A LoRA adapter in the form of the PEFT library, exported by `xpet merge`. It belongs to the text tower of "
        "{base} as a whole: a module with `transformer` and `LinearTransformation`, such as the published "
        "`multilingual_clip` class or xpet's `TextTower`, not to the transformer alone. Nothing is folded: without the "
        "adapter the tower is its base."
    ),
    code="""\
from peft import PeftModel
from xpet.jobs.shared.towers import text_path
from xpet.models.checkpoint import load_text_tower

loaded = load_text_tower(text_path("{base}"))
tower = PeftModel.from_pretrained(loaded.tower, "{out}").eval()
ids, mask = loaded.tokenizer.pad(loaded.tokenizer.encode(["..."]))
features = tower(ids, mask)  # [texts, dimensions], not normalised
""",
    tags=("peft", "lora"),
)  # fmt: skip
