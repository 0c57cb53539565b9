"""`xpet merge --pack`: writes the best run of every language into one file, which is read back and compared."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from xpet.core.config import RESULT, MergeConfig
from xpet.core.errors import ModelError, OutputError
from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.files import replacing_file
from xpet.core.language_pack import PackEntry, is_pack, pack_bytes, read_pack
from xpet.core.run_record import documents_of
from xpet.core.tensors import tensor_bytes
from xpet.jobs.merge.combine import combined_records
from xpet.jobs.results.merge import PackedLanguage, PackResult
from xpet.jobs.shared.run_records import Runs, chosen_runs, read_runs


def run(config: MergeConfig, on_event: OnEvent = ignore) -> PackResult:
    """Pack the runs that `xpet eval` would choose, one per language; the base is named, not stored.

    With `config.combine` all languages share the module they are combined into, which is stored once.

    Raises the XpetError family: no run, runs of different bases, data or methods, weights that are not finite, an
    output that is in use, too little disk. Nothing is left behind then.
    """
    started = time.monotonic()
    config = config.check()
    out = Path(config.out).absolute()
    _check_out(out, config)
    combination = None
    if config.combine is None:
        records: Runs = [runs[0] for runs in chosen_runs(read_runs(config.runs)).values()]
    else:
        records, combination = combined_records(config, on_event)
    write(out, records, on_event)
    first = records[0][1]
    return PackResult(
        base=first.model.text, method=first.method.name,
        synthetic=first.metrics.synthetic,
        languages=tuple(
            PackedLanguage(
                record.language, str(path), record.run.routine, record.routine.translates_queries,
                record.metrics.target_before, record.metrics.aligned,
            )
            for path, record in records
        ),
        out=str(out), size=out.stat().st_size, seconds=time.monotonic() - started, combination=combination,
    )  # fmt: skip


def write(out: Path, records: Runs, on_event: OnEvent) -> None:
    """Write a pack to a temporary file, read it back, compare, and only then move it to `out`; raises XpetErrors."""
    needed = 2 * sum(tensor_bytes(record.delta) for _, record in records) + (1 << 20)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise OutputError(f"{out}: expected {needed / 1e6:,.0f} MB of free disk, found {free / 1e6:,.0f} MB")
    entries = [PackEntry(record.language, record) for _, record in records]
    with replacing_file(out) as file:
        file.write(pack_bytes(entries))
        file.flush()
        for done, (entry, copy) in enumerate(zip(entries, read_pack(Path(file.name)), strict=True), start=1):
            _check_same(entry, copy)
            on_event(Progress("reading back", done, len(entries), entry.name))


def _check_same(written: PackEntry, read: PackEntry) -> None:
    """Raise ModelError unless what was read back equals what was written, to the last bit."""
    import torch

    delta, copy = written.record.delta, read.record.delta
    same = delta.keys() == copy.keys() and all(torch.equal(delta[name], copy[name]) for name in delta)
    if not same or _plain_settings(written) != _plain_settings(read):
        raise ModelError(
            f"the pack holds another module for {written.name} than the run: nothing was written; report it"
        )


def _plain_settings(entry: PackEntry) -> object:
    """The settings of an entry as JSON holds them."""
    return json.loads(json.dumps(documents_of(entry.record)["config"]))


def _check_out(out: Path, config: MergeConfig) -> None:
    """Raise OutputError unless the pack may be written to `out`."""
    if out.name.endswith(RESULT):
        raise OutputError(f"{out}: expected another ending than {RESULT}, which `xpet eval` takes for a result")
    if out.exists() and not config.overwrite:
        raise OutputError(f"{out} exists already; choose another --pack or pass --overwrite")
    if out.exists() and not is_pack(out):
        raise OutputError(f"{out} exists and is no language pack; it is not overwritten: choose another --pack")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise OutputError(f"{out} cannot be written: {out.parent} is not a writable folder")
