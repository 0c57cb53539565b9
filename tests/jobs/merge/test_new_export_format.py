"""A new export format is one file and one row: shown on a copy of the package."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.faults import child
from tests.jobs.conftest import World

ROOT = Path(__file__).resolve().parents[3]
ROW = '"opendelta": (),'
FORMAT = '''\
"""`--export numbers-only`: the trained tensors as they are, on the same text tower."""

from __future__ import annotations

from pathlib import Path

from xpet.core.events import OnEvent
from xpet.core.tensors import from_safetensors, to_safetensors
from xpet.jobs.merge.formats.base import CARD, ExportFormat, MergeJob
from xpet.jobs.merge.formats.folded import module_bytes, with_module
from xpet.jobs.shared.measure import Encode

_FILE = "numbers.safetensors"


def _write(stage: Path, job: MergeJob, on_event: OnEvent) -> str | None:
    to_safetensors(job.record.delta, stage / _FILE)
    return job.model.image


def _encoder(folder: Path, job: MergeJob, device: str) -> Encode:
    return with_module(job, job.record.method, from_safetensors(folder / _FILE, "make it again"), device)


FORMAT = ExportFormat(
    "numbers-only", _write, _encoder, module_bytes, (CARD, _FILE), lambda folder: True, folds=False,
    use="Read it from {out}", about="Nothing but numbers.",
)  # fmt: skip
'''


def run_of(folder: Path, *arguments: str) -> str:
    """What `xpet` of a folder says: in a fork of this process that imports it anew."""

    def answer() -> int:
        child.forget_xpet()
        sys.path.insert(0, str(folder))
        app = importlib.import_module("xpet.cli.app")
        assert Path(str(app.__file__)).is_relative_to(folder)
        return int(app._run(list(arguments)))

    found = child.apart(answer, folder, folder / "notes")
    assert found.code == 0, found.told
    return found.out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork of this process")
def test_a_new_format(world: World, runs: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(ROOT / "xpet", tmp_path / "xpet"))  # with what is compiled
    choices = package / "core" / "choices.py"
    text = choices.read_text("utf-8")
    assert text.count(ROW) == 1
    choices.write_text(text.replace(ROW, f'{ROW} "numbers-only": (),'), "utf-8")
    (package / "jobs" / "merge" / "formats" / "numbers_only.py").write_text(FORMAT, "utf-8")
    assert "numbers-only" in run_of(tmp_path, "merge", "--help")
    out = tmp_path / "out"
    told = run_of(
        tmp_path, "merge", str(runs / "lora"), "-o", str(out), "--export", "numbers-only", "--json", "--device", "cpu"
    )
    result = json.loads(told)
    assert {path.name for path in out.iterdir()} == {"README.md", "numbers.safetensors"} == set(result["files"])
    assert result["verification"]["relative"] <= result["verification"]["tolerance"]
    assert "Nothing but numbers." in (out / "README.md").read_text("utf-8")
