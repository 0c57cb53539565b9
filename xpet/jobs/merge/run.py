"""`xpet merge`: run directories -> base and delta -> form, written beside its place -> proof -> there."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpet.core.config import DEMO, MergeConfig
from xpet.core.errors import ConfigError, OutputError, unknown
from xpet.core.events import OnEvent, ignore
from xpet.core.files import is_temporary, replacing_folder, writing
from xpet.core.rundir import check_free
from xpet.jobs.merge import combine
from xpet.jobs.merge import model_card as modelcard
from xpet.jobs.merge import verify as proof
from xpet.jobs.merge.formats import FORMS
from xpet.jobs.merge.formats.base import CARD, Task, task_of
from xpet.jobs.merge.formats.check import check_method, check_settings
from xpet.jobs.results.merge import Combination, MergeResult, Verification
from xpet.jobs.shared.run_records import Runs, check_base, read_runs
from xpet.jobs.shared.towers import Towers, text_path

_BESIDE = 64 << 20
"""Room asked for besides the weights: tokenizer, configuration, card."""
_SEVERAL = "; or combine the languages by --strategy, or keep each in one file by --pack"


def run(config: MergeConfig, on_event: OnEvent = ignore) -> MergeResult:
    """Fold a run, or several combined, into the base's weights and write it as asked, proven to compute the same.

    Raises the XpetError family: no run, several that are not to be combined, a method that cannot be folded, another
    base, weights that are not finite, an output folder in use, too little disk, features that differ. Nothing is left
    behind then.
    """
    started = time.monotonic()
    config = config.check()
    if config.form not in FORMS:
        raise ConfigError(unknown("form", config.form, list(FORMS)))
    check_settings(FORMS[config.form], config)
    task = _task(config)
    out = Path(config.out).absolute()
    _check_place(out, task)
    if (check := FORMS[config.form].check) is not None:
        check(task)
    _check_disk(out, task)
    combination = None
    if config.combine is not None:
        records, combination = combine.combined(task, on_event)
        task = replace(task, record=records[0][1])
    before = None
    if config.verify:
        before = proof.unmerged(task, on_event)
        gc.collect()  # OpenDelta ties towers into cycles: without this the base would stay in memory
    else:
        _check_base(task)
    form = FORMS[config.form]
    with writing(out, "free space or choose another --out"), replacing_folder(out, config.overwrite) as stage:
        image = form.write(stage, task, on_event)
        verification = None
        if before is not None:
            verification = proof.compare(before, form.encoder(stage, task, before.device), on_event)
        result = _result(task, out, image, verification, combination)
        (stage / CARD).write_text(modelcard.model_card(result, task.record), encoding="utf-8")
        written = {p.relative_to(stage).as_posix(): p.stat().st_size for p in stage.rglob("*") if p.is_file()}
    size = sum(written.values())
    return replace(result, files=tuple(sorted(written)), size=size, seconds=time.monotonic() - started)


def _task(config: MergeConfig) -> Task:
    """The runs to write, whose method must fold where the form wants that; with the base's place if that is given."""
    runs = _single(config) if config.combine is None else combine.chosen(config)
    check_method(FORMS[config.form], runs[0][1].method, str(runs[0][0]), FORMS)
    task = task_of(config, runs)
    return replace(task, model=replace(task.model, text=config.model or task.model.text or DEMO))


def _single(config: MergeConfig) -> Runs:
    """The one run there is; raises ConfigError naming the choices if there are several."""
    runs = read_runs(config.runs, alike={})
    if len(runs) > 1:
        names, where = ", ".join(path.name for path, _ in runs), ", ".join(config.runs)
        hint = _SEVERAL if len({record.language for _, record in runs}) > 1 else ""
        raise ConfigError(f"{where}: expected one run, found {len(runs)}: name one of them: {names}{hint}")
    return runs


def _check_place(out: Path, task: Task) -> None:
    check_free(out, task.config.overwrite, is_merged, "output of xpet merge")
    base = Path(task.model.text)
    apart = [path for path, _ in task.runs]
    apart += [base] if task.model.text != DEMO and base.exists() else []
    real = out.resolve()
    for place in (path.resolve() for path in apart):
        if real == place or place in real.parents or real in place.parents:
            raise OutputError(f"{out}: expected a folder apart from {place}, which is merged; choose another --out")


def is_merged(path: Path) -> bool:
    """Whether a folder holds nothing but what `xpet merge` wrote in one of its forms, or nothing at all."""
    if not path.is_dir():
        return False
    inside = [p for p in path.iterdir() if not is_temporary(p)]
    return not inside or any(
        form.own(path) and all(any(p.match(pattern) for pattern in form.files) for p in inside)
        for form in FORMS.values()
    )


def _check_disk(out: Path, task: Task) -> None:
    """The base must be there and the disk have room for what is written."""
    needed = FORMS[task.config.form].size(task) + _BESIDE
    parent = next(place for place in out.parents if place.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OutputError(
            f"{out}: expected {needed / 1e6:,.0f} MB of free disk, found {free / 1e6:,.0f} MB; free some, choose "
            "another --out or a smaller --dtype"
        )


def _check_base(task: Task) -> None:
    """The weights that are folded into must be those the run was trained on, also when nothing is verified."""
    from xpet.models.checkpoint import open_text_tower

    base: Any = open_text_tower(text_path(task.model.text))
    names: Mapping[str, str | None] = {"text": task.model.text, "image": None}
    check_base(Towers(base, None, names, {"text": base.fingerprint(), "image": None}), task.runs)


def _result(
    task: Task, out: Path, image: str | None, verification: Verification | None, combination: Combination | None
) -> MergeResult:
    """What was merged; files, size and time are filled in when all is written."""
    record = task.record
    return MergeResult(
        runs=tuple(str(path) for path, _ in task.runs), base=task.model.text, image=image,
        languages=tuple(task.searched), method=record.method.name, form=task.config.form,
        dtype=task.config.dtype, synthetic=record.metrics.synthetic, verification=verification,
        out=str(out), files=(), size=0, seconds=0.0, combination=combination,
    )  # fmt: skip
