"""`xpet merge`: writes a run, or several combined, in an export format, and proves it. Read this first."""

from __future__ import annotations

import gc
import shutil
import time
from dataclasses import replace
from pathlib import Path

from xpet.core.config import DEMO, MergeConfig
from xpet.core.errors import ConfigError, OutputError, unknown
from xpet.core.events import OnEvent, ignore
from xpet.core.files import is_temporary, replacing_folder, writing
from xpet.core.rundir import check_free
from xpet.jobs.merge import combine, verify
from xpet.jobs.merge.formats import EXPORT_FORMATS
from xpet.jobs.merge.formats.base import CARD, MergeJob, job_of
from xpet.jobs.merge.formats.check import check_method, check_settings
from xpet.jobs.merge.model_card import model_card
from xpet.jobs.results.merge import Combination, MergeResult, Verification
from xpet.jobs.shared.run_records import Runs, check_fingerprints, read_runs
from xpet.jobs.shared.towers import text_path

_BESIDE = 64 << 20
"""Bytes of free disk that are required beside the weights, for tokenizer, configuration and card."""
_SEVERAL = "; or combine the languages by --strategy, or keep each in one file by --pack"


def run(config: MergeConfig, on_event: OnEvent = ignore) -> MergeResult:
    """Fold a run, or several combined, into the base's weights and write it as asked, proven to compute the same.

    Raises the XpetError family: no run, several that are not to be combined, a method that cannot be folded, another
    base, weights that are not finite, an output folder in use, too little disk, features that differ. Nothing is left
    behind then.
    """
    started = time.monotonic()
    config = config.check()
    if config.form not in EXPORT_FORMATS:
        raise ConfigError(unknown("form", config.form, list(EXPORT_FORMATS)))
    out, job = Path(config.out).absolute(), _checked_job(config)
    combination = None
    if config.combine is not None:
        records, combination = combine.combined(job, on_event)
        job = replace(job, record=records[0][1])
    features = None
    if config.verify:
        features = verify.encode_run(job, on_event)
        gc.collect()  # OpenDelta ties towers into cycles: without this the base would stay in memory
    else:
        _check_base(job)
    result = _write(out, job, features, combination, on_event)
    return replace(result, seconds=time.monotonic() - started)


def _checked_job(config: MergeConfig) -> MergeJob:
    """The job, once runs, format, `--out` and disk space are checked; raises the XpetError family."""
    export_format = EXPORT_FORMATS[config.form]
    check_settings(export_format, config)
    runs = _single(config) if config.combine is None else combine.runs_to_combine(config)
    check_method(export_format, runs[0][1].method, str(runs[0][0]), EXPORT_FORMATS)
    job = job_of(config, runs)
    job = replace(job, model=replace(job.model, text=config.model or job.model.text or DEMO))
    out = Path(config.out).absolute()
    _check_out(out, job)
    if export_format.check is not None:
        export_format.check(job)
    _check_disk(out, job)
    return job


def _write(
    out: Path,
    job: MergeJob,
    features: verify.RunFeatures | None,
    combination: Combination | None,
    on_event: OnEvent,
) -> MergeResult:
    """Write the folder and its card, whole or not at all, once it is proven to give the run's `features`."""
    export_format = EXPORT_FORMATS[job.config.form]
    with writing(out, "free space or choose another --out"), replacing_folder(out, job.config.overwrite) as stage:
        image = export_format.write(stage, job, on_event)
        verification = None
        if features is not None:
            verification = verify.compare(features, export_format.encoder(stage, job, features.device), on_event)
        result = _result(job, out, image, verification, combination)
        (stage / CARD).write_text(model_card(result, job.record, _family(job)), encoding="utf-8")
        sizes = {p.relative_to(stage).as_posix(): p.stat().st_size for p in stage.rglob("*") if p.is_file()}
    return replace(result, files=tuple(sorted(sizes)), size=sum(sizes.values()))


def _family(job: MergeJob) -> str:
    """Name of the model family of the base."""
    from xpet.models.families import family_of
    from xpet.models.hub import checkpoint_folder

    return family_of(checkpoint_folder(text_path(job.model.text))).name


def _single(config: MergeConfig) -> Runs:
    """The one run to merge; raises ConfigError, naming them, if there are several."""
    runs = read_runs(config.runs, alike={})
    if len(runs) > 1:
        names, where = ", ".join(path.name for path, _ in runs), ", ".join(config.runs)
        hint = _SEVERAL if len({record.language for _, record in runs}) > 1 else ""
        raise ConfigError(f"{where}: expected one run, found {len(runs)}: name one of them: {names}{hint}")
    return runs


def _check_out(out: Path, job: MergeJob) -> None:
    """Raise OutputError unless the folder may be written, and is apart from the runs and the base."""
    check_free(out, job.config.overwrite, is_merged, "output of xpet merge")
    base = Path(job.model.text)
    merged = [path for path, _ in job.runs]
    merged += [base] if job.model.text != DEMO and base.exists() else []
    real = out.resolve()
    for path in (path.resolve() for path in merged):
        if real == path or path in real.parents or real in path.parents:
            raise OutputError(f"{out}: expected a folder apart from {path}, which is merged; choose another --out")


def is_merged(path: Path) -> bool:
    """Whether a folder holds nothing but what `xpet merge` wrote in one of its formats, or nothing at all."""
    if not path.is_dir():
        return False
    inside = [p for p in path.iterdir() if not is_temporary(p)]
    return not inside or any(
        known.is_ours(path)
        and all(any(p.match(pattern) for pattern in known.files) or p.name in known.more(path) for p in inside)
        for known in EXPORT_FORMATS.values()
    )


def _check_disk(out: Path, job: MergeJob) -> None:
    """Raise OutputError unless the disk has room for what is written, ModelError where there is no base."""
    needed = EXPORT_FORMATS[job.config.form].size(job) + _BESIDE
    parent = next(folder for folder in out.parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OutputError(
            f"{out}: expected {needed / 1e6:,.0f} MB of free disk, found {free / 1e6:,.0f} MB; free some, choose "
            "another --out or a smaller --dtype"
        )


def _check_base(job: MergeJob) -> None:
    """Raise ModelError unless the weights to fold into are those the run was trained on."""
    from xpet.models.checkpoint import open_text_tower

    base = open_text_tower(text_path(job.model.text))
    check_fingerprints({"text": base.fingerprint()}, {"text": job.model.text}, job.runs)


def _result(
    job: MergeJob, out: Path, image: str | None, verification: Verification | None, combination: Combination | None
) -> MergeResult:
    """The result so far; files, size and time are filled in once all is written."""
    record = job.record
    return MergeResult(
        runs=tuple(str(path) for path, _ in job.runs), base=job.model.text, image=image,
        languages=tuple(job.searched), method=record.method.name, form=job.config.form,
        dtype=job.config.dtype, synthetic=record.metrics.synthetic, verification=verification,
        out=str(out), files=(), size=0, seconds=0.0, combination=combination,
    )  # fmt: skip
