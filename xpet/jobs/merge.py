"""`xpet merge`: run directory -> base and delta -> fold -> checkpoint beside its place -> proof -> there."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.config import MergeConfig, ModelConfig
from xpet.core.errors import ConfigError, ModelError, OutputError
from xpet.core.events import OnEvent, ignore
from xpet.core.rundir import RunRecord, check_free, find_runs, read_run, staged
from xpet.jobs import modelcard, proof, wiring
from xpet.jobs.results import MergeResult, Verification
from xpet.jobs.runs import check_base, language_of, read_runs, stored_method
from xpet.version import VERSION

if TYPE_CHECKING:
    from xpet.models.checkpoint import OpenText
    from xpet.models.shards import Form

CARD = "README.md"
NOTE_KEY = "xpet"
"""Entry of config.json that says how the checkpoint was made."""
_PATTERNS = (
    CARD, "config.json", "tokenizer.json", "tokenizer_config.json", "model*.safetensors",
    "model.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
_BESIDE = 64 << 20
"""Room asked for besides the weights: tokenizer, configuration, card."""


def run(config: MergeConfig, on_event: OnEvent = ignore) -> MergeResult:
    """Fold a run into its base's weights and write an ordinary checkpoint, proven to compute the same.

    Raises the XpetError family: no run or several, a method that cannot be folded, another base, weights that are not
    finite, an output folder in use, too little disk, features that differ. Nothing is left behind then.
    """
    started = time.monotonic()
    config = config.check()
    path, record = _one_run(config.run)
    model = ModelConfig(**record.config["model"])
    out = Path(config.out).absolute()
    _check_place(out, path, model, config.overwrite)
    _check_delta(path)
    _check_disk(out, model, config)
    before = None
    if config.verify:
        before = proof.unmerged(config, path, read_run(path), on_event)  # a delta of its own, see _check_delta
        gc.collect()  # OpenDelta ties towers into cycles: without this the base would stay in memory
    else:
        _check_base(model, path, record)
    try:
        with staged(out, config.overwrite) as stage:
            image = _write(stage, config, path, record, on_event)
            verification = proof.compare(before, stage, on_event) if before is not None else None
            result = _result(config, path, record, out, image, verification)
            (stage / CARD).write_text(modelcard.model_card(result, record), encoding="utf-8")
            files = sorted(stage.iterdir())
            size = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}; choose another --out") from error
    return replace(result, files=tuple(f.name for f in files), size=size, seconds=time.monotonic() - started)


def _one_run(folder: str) -> tuple[Path, RunRecord]:
    """The run, whose method must be foldable; raises ConfigError naming the choices when there are several."""
    from xpet.methods.table import check_foldable

    paths = find_runs(Path(folder))
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise ConfigError(f"{folder}: expected one run, found {len(paths)}: name one of these folders in it: {names}")
    [(path, record)] = read_runs([str(paths[0])])
    check_foldable(stored_method(record), str(path))
    return path, record


def _check_place(out: Path, run: Path, model: ModelConfig, overwrite: bool) -> None:
    check_free(out, overwrite, is_merged, "checkpoint of xpet merge")
    real, base = out.resolve(), Path(model.text)
    for place in (run.resolve(), *([base.resolve()] if model.text != wiring.DEMO and base.exists() else [])):
        if real == place or place in real.parents or real in place.parents:
            raise OutputError(f"{out}: expected a folder apart from {place}, which is merged; choose another --out")


def is_merged(path: Path) -> bool:
    """Whether a folder holds nothing but a checkpoint that `xpet merge` wrote, or nothing at all."""
    import json

    if not path.is_dir():
        return False
    inside = [p for p in path.iterdir() if not (p.name.startswith(".") and p.name.endswith((".tmp", ".old")))]
    try:
        own = not inside or NOTE_KEY in json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
    return own and all(p.is_file() and any(p.match(pattern) for pattern in _PATTERNS) for p in inside)


def _check_delta(path: Path) -> None:
    """What was trained must be finite; it is read apart, so that its pages do not stay in memory."""
    for name, value in read_run(path).delta.items():
        low, high = (float(bound) for bound in value.aminmax())
        if not abs(low) + abs(high) < float("inf"):
            raise ModelError(f"{path}: expected finite weights, found NaN or infinity in {name}; train the run again")


def _check_disk(out: Path, model: ModelConfig, config: MergeConfig) -> None:
    """The base must be there and the disk have room for its weights in their new type."""
    from xpet.models.checkpoint import open_text_tower
    from xpet.models.shards import total_bytes

    needed = total_bytes(open_text_tower(wiring.text_path(model.text)).tensors, _form(config)) + _BESIDE
    parent = next(place for place in out.parents if place.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OutputError(
            f"{out}: expected {needed / 1e6:,.0f} MB of free disk, found {free / 1e6:,.0f} MB; free some, choose "
            "another --out or a smaller --dtype"
        )


def _form(config: MergeConfig) -> Form:
    import torch

    from xpet.models.shards import Form

    types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return Form(types[config.dtype], config.shard_size, config.pytorch_bin)


def _write(stage: Path, config: MergeConfig, path: Path, record: RunRecord, on_event: OnEvent) -> str | None:
    """Fold and write everything but the card; returns the image tower that belongs to the checkpoint."""
    from xpet.methods.table import fold
    from xpet.models.checkpoint import open_text_tower, write_beside
    from xpet.models.shards import write_weights
    from xpet.models.weights import Remapped

    model = ModelConfig(**record.config["model"])
    base = open_text_tower(wiring.text_path(model.text))
    image = _image(base, model)
    changes = fold(stored_method(record), Remapped(lambda: read_run(path).delta))
    write_weights(stage, base.streamed(), changes, _form(config), on_event)
    document = {
        **base.config, **({wiring.IMAGE_KEY: image} if image else {}),
        "torch_dtype": str(_form(config).dtype).removeprefix("torch."),
        NOTE_KEY: {
            "version": VERSION, "base": model.text, "base_fingerprint": record.environment["fingerprints"]["text"],
            "run": record.config["run"], "method": record.config["method"]["name"], "verified": config.verify,
        },
    }  # fmt: skip
    write_beside(stage, base.tower, base.tokenizer, document)
    return image


def _check_base(model: ModelConfig, path: Path, record: RunRecord) -> None:
    """The weights that are folded into must be those the run was trained on, also when nothing is verified."""
    from xpet.models.checkpoint import open_text_tower

    base: Any = open_text_tower(wiring.text_path(model.text))
    found = base.fingerprint()
    names: Mapping[str, str | None] = {"text": model.text, "image": None}
    check_base(wiring.Towers(base, None, names, {"text": found, "image": None}), [(path, record)])


def _image(base: OpenText, model: ModelConfig) -> str | None:
    """The image tower of the run, or the partner of its base; None when neither is known."""
    try:
        return model.image or wiring.image_of(model.text, base.config)
    except ModelError:
        return None


def _result(
    config: MergeConfig,
    path: Path,
    record: RunRecord,
    out: Path,
    image: str | None,
    verification: Verification | None,
) -> MergeResult:
    """What was merged; files, size and time are filled in when all is written."""
    return MergeResult(
        run=str(path), base=record.config["model"]["text"], image=image, language=language_of(record),
        method=record.config["method"]["name"], dtype=config.dtype, synthetic=bool(record.metrics.get("synthetic")),
        verification=verification, out=str(out), files=(), size=0, seconds=0.0,
    )  # fmt: skip
