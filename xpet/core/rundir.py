"""The run folder: everything `eval` and `merge` need of a run, complete or absent.

config.json          what was asked for: the run's own settings and everything shared with its stack
delta.safetensors    the trained parameters only, by their names in the tower
history.jsonl        one JSON document per validation
metrics.json         before and after on the test split, parameters, time, memory, outcome
environment.json     versions, device, fingerprints of the base towers and of the data
split.json           image names of train, validation and test
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.errors import DataError, OutputError, one_line, quoted
from xpet.core.files import is_temporary, replacing_folder, writing
from xpet.core.json_files import parsed
from xpet.core.regular_files import read_text
from xpet.core.run_record import DAMAGED, SCHEMA, RunRecord, documents_of, record_of
from xpet.core.tensors import check_finite, check_kinds, from_safetensors, to_safetensors

if TYPE_CHECKING:
    from torch import Tensor

CHAIN = "chain.json"
"""File of a chain's folder: the folders of its phases, in order; the last one's runs are the outcome."""
UNFINISHED = ".unfinished"
"""What the name of an output folder is followed by in that of the folder beside it, where unfinished work stands."""
SWEEP, SWEEP_LOCK = "sweep.json", ".sweep.lock"
"""Files of unfinished work: what is trained, and the lock of the process that does."""
HISTORIES = "history"
"""Folder of unfinished work in which the histories of runs in training grow."""
FILES = ("config.json", "delta.safetensors", "history.jsonl", "metrics.json", "environment.json", "split.json")
"""The files of a run folder."""


def check_free(
    path: Path,
    overwrite: bool,
    replaceable: Callable[[Path], bool] | None = None,
    kind: str = "run or sweep",
) -> None:
    """Raise OutputError unless a folder could be written there now: free (or to be overwritten) and writable.

    Only what is `replaceable` is overwritten: a run or sweep, or the kind of folder named.
    """
    try:
        taken = path.exists()
    except OSError as error:  # a name too long, for one
        raise OutputError(f"output folder {quoted(str(path))} cannot be written: {error.strerror}") from None
    if taken and not overwrite:
        raise OutputError(f"output folder {path} exists already; choose another --out or pass --overwrite")
    if taken and not (replaceable or is_replaceable)(path):
        raise OutputError(f"{path} exists and is no xpet {kind}; it is not overwritten: choose another --out")
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    try:
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError
        tempfile.TemporaryDirectory(prefix=".xpet-", dir=parent).cleanup()  # some file systems only tell when tried
    except OSError:
        raise OutputError(f"output folder {path} cannot be written: {parent} is not a writable folder") from None


def is_replaceable(path: Path) -> bool:
    """Whether a folder is a run, or holds only runs, phases of a chain and their summaries."""
    if not path.is_dir():
        return False
    inside = [p for p in path.iterdir() if not is_temporary(p)]
    files = ("summary.json", CHAIN)
    unfinished = {p.name for p in inside if p.name.endswith(UNFINISHED) and (p / SWEEP).is_file()}
    is_begun = (unfinished_folder(path) / SWEEP).is_file()
    phases = (path / CHAIN).is_file() or is_begun or unfinished  # a chain, which may have been stopped
    return is_run(path) or all(
        is_run(p) or p.name in files or p.name in unfinished or (phases and is_replaceable(p)) for p in inside
    )


def is_run(path: Path) -> bool:
    """Whether a folder is a complete run directory."""
    return path.is_dir() and {p.name for p in path.iterdir()} == set(FILES)


def find_runs(path: Path) -> list[Path]:
    """The run itself, or the runs in a folder and in its folders (of a chain: its last phase), sorted by path.

    Raises DataError when there are none, and for a damaged chain.
    """
    if not path.is_dir():
        raise DataError(f"expected a run folder, found no folder {path}; `xpet align` prints where its runs are")
    path = _last_phase(path)
    inside = [path, *path.glob("*/"), *path.glob("*/*/")]
    runs = [path] if is_run(path) else sorted(folder for folder in inside if is_run(folder))
    if not runs:
        raise DataError(f"{path} is no run: expected the files {', '.join(FILES)}, or folders with these inside")
    return runs


def _last_phase(path: Path) -> Path:
    """The last phase's folder of a chain; any other folder is returned itself. Raises DataError for a damaged chain."""
    try:
        phases = parsed(read_text(path / CHAIN))
    except FileNotFoundError:
        return path
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path / CHAIN}: {one_line(error)}; name one of the folders in it instead"
        ) from None
    last = phases[-1] if isinstance(phases, list) and phases else None
    if not isinstance(last, str) or "/" in last or last not in {p.name for p in path.iterdir() if p.is_dir()}:
        raise DataError(
            f"{path / CHAIN}: expected a list of folders beside it, found {quoted(last)} at its end; name one of them "
            "instead"
        )
    return path / last


def unfinished_folder(out: Path) -> Path:
    """The folder of the unfinished work of a command that writes to `out`: a sibling, which need not exist."""
    out = out if out.name not in ("", "..") else out.resolve()
    return out.parent / f"{out.name}{UNFINISHED}"


def read_sweep(path: Path) -> dict[str, Any]:
    """The plan in a folder of unfinished work: its configuration is `config`; raises DataError for a damaged file."""
    document = _read_json(path / SWEEP)
    if document.get("schema") != SCHEMA or not isinstance(document.get("config"), dict):
        raise DataError(f"{path / SWEEP}: expected the plan of a sweep, found another document; pass --overwrite")
    return document


def write_run(path: Path, record: RunRecord, overwrite: bool = False) -> None:
    """Write a run folder, whole or not at all; raises OutputError when the disk refuses or the path is taken."""
    documents = documents_of(record)
    with writing(f"the run {path}"), replacing_folder(path, overwrite) as stage:
        _write_json(stage / "config.json", documents["config"])
        to_safetensors(record.delta, stage / "delta.safetensors")
        lines = "".join(json.dumps(entry) + "\n" for entry in documents["history"])
        (stage / "history.jsonl").write_text(lines, encoding="utf-8")
        for name in ("metrics", "environment", "split"):
            _write_json(stage / f"{name}.json", documents[name])


def read_run(path: Path) -> RunRecord:
    """Read a run folder and check all that it holds.

    Raises DataError or ModelError saying which file is missing, damaged or too new.
    """
    if not is_run(path):
        raise DataError(f"{path} is no run: expected exactly the files {', '.join(FILES)}")
    config = _read_json(path / "config.json")
    if (schema := config.get("schema")) != SCHEMA:
        remedy = "update xpet" if isinstance(schema, int) else DAMAGED
        raise DataError(f"{path}/config.json: expected schema {SCHEMA}, found {schema!s:.60}; {remedy}")
    delta = _read_delta(path)
    documents = {"config": config, "history": _read_history(path / "history.jsonl")}
    documents |= {name: _read_json(path / f"{name}.json") for name in ("metrics", "environment", "split")}
    return record_of(path, documents, delta)


def read_delta(path: Path) -> dict[str, Tensor]:
    """The trained tensors of a run folder, mapped from their file: nothing is read or checked yet."""
    return from_safetensors(path / "delta.safetensors", DAMAGED)


def _read_delta(path: Path) -> dict[str, Tensor]:
    """`read_delta`, checked; the check has a mapping of its own, so that the pages it reads do not stay in memory."""
    delta = read_delta(path)
    check_kinds(delta, path)
    check_finite(delta, path, "train the run again")
    return read_delta(path)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return _document(read_text(path))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; {DAMAGED}") from error


def _read_history(path: Path) -> list[dict[str, Any]]:
    try:
        return [_document(line) for line in read_text(path).splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; {DAMAGED}") from error


def _document(text: str) -> dict[str, Any]:
    value = parsed(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value
