"""Run directories: complete or absent, read back bit for bit, and never written over something else."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.run_records import run_record
from xpet.core import rundir
from xpet.core.errors import DataError, ModelError, OutputError, quoted
from xpet.core.files import replacing_folder
from xpet.core.run_record import RunRecord, SplitNames
from xpet.core.rundir import FILES, check_free, find_runs, is_run, read_run, write_run


def record(seed: int = 0) -> RunRecord:
    generator = torch.Generator().manual_seed(seed)
    delta = {
        "transformer.a.lora_A": torch.randn(3, 4, generator=generator).T,  # not contiguous
        "transformer.a.lora_B": torch.tensor([1e-45, -0.0, 3.4e38]),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "double": torch.randn(2, 2, generator=generator, dtype=torch.float64),
    }
    return run_record(delta)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def full_disk(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_round_trip_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "sweep" / "de"
    write_run(path, record())
    assert names(tmp_path) == {"sweep"}
    assert names(tmp_path / "sweep") == {"de"}
    assert names(path) == set(FILES)
    written, found = record(), read_run(path)
    assert replace(found, delta={}) == replace(written, delta={})
    assert json.loads((path / "config.json").read_text(encoding="utf-8"))["schema"] == 1
    assert set(found.delta) == set(written.delta)
    for name, value in written.delta.items():
        assert found.delta[name].dtype == value.dtype
        assert found.delta[name].shape == value.shape
        assert bits(found.delta[name]) == bits(value)


def test_files_are_plain_json_and_readable(tmp_path: Path) -> None:
    write_run(tmp_path / "run", record())
    assert "自転車" in (tmp_path / "run" / "config.json").read_text(encoding="utf-8")
    lines = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 20]
    write_run(tmp_path / "empty", replace(record(), history=[]))
    assert read_run(tmp_path / "empty").history == []


def test_an_exception_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def half_written(path: Path) -> None:
        with replacing_folder(path) as stage:
            (stage / "config.json").write_text("{}")
            assert not path.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_written(tmp_path / "run")
    assert names(tmp_path) == set()
    with pytest.raises(TypeError):
        write_run(tmp_path / "run", replace(record(), split=SplitNames([object()], [], [])))  # type: ignore[list-item]
    assert names(tmp_path) == set()


def test_overwriting_replaces_the_whole_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, record())
    with pytest.raises(OutputError, match="was made by somebody else meanwhile; choose another --out"):
        write_run(path, record(1))
    assert torch.equal(read_run(path).delta["double"], record().delta["double"])
    write_run(path, replace(record(1), history=[]), overwrite=True)
    assert names(tmp_path) == {"run"}
    assert read_run(path).history == []
    assert torch.equal(read_run(path).delta["double"], record(1).delta["double"])


@pytest.mark.parametrize("where", ["while writing", "while replacing"])
def test_overwriting_keeps_the_old_run_when_it_fails(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "run", os.replace
    write_run(path, record())

    def replace_refusing_the_new(source: Path, target: Path) -> None:
        if str(source).endswith(".tmp"):
            full_disk()
        real(source, target)

    if where == "while writing":
        monkeypatch.setattr(rundir, "_write_json", full_disk)
    else:
        monkeypatch.setattr(os, "replace", replace_refusing_the_new)
    with pytest.raises(OutputError) as error:
        write_run(path, record(1), overwrite=True)
    assert (
        str(error.value) == f"cannot write the run {path}: No space left on device; free space or choose another place"
    )
    monkeypatch.undo()
    assert names(tmp_path) == {"run"}
    assert torch.equal(read_run(path).delta["double"], record().delta["double"])


def test_a_disk_that_refuses_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch
    from safetensors import SafetensorError

    def refuse(*args: object, **more: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", refuse)
    with pytest.raises(
        OutputError, match=r"^cannot write the run .*run: Error.*No space left on device.*; free space or choose"
    ):
        write_run(tmp_path / "run", record())
    assert names(tmp_path) == set()


def test_free_paths(tmp_path: Path) -> None:
    check_free(tmp_path / "new", overwrite=False)
    check_free(tmp_path / "deep" / "er" / "new", overwrite=False)
    assert names(tmp_path) == set()  # checking creates nothing
    write_run(tmp_path / "run", record())
    check_free(tmp_path / "run", overwrite=True)


def test_taken_paths(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, record())
    with pytest.raises(OutputError) as error:
        check_free(path, overwrite=False)
    assert str(error.value) == f"output folder {path} exists already; choose another --out or pass --overwrite"


def test_foreign_folders_are_never_overwritten(tmp_path: Path) -> None:
    thesis, file, mixed = tmp_path / "thesis", tmp_path / "file", tmp_path / "mixed"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("...")
    file.write_text("...")
    write_run(mixed, record())
    (mixed / "notes.txt").write_text("mine")
    for path in (thesis, file, mixed):
        with pytest.raises(OutputError) as error:
            check_free(path, overwrite=True)
        assert str(error.value) == (
            f"{path} exists and is no xpet run or sweep; it is not overwritten: choose another --out"
        )
    sweep = tmp_path / "sweep"
    write_run(sweep / "de", record())
    (sweep / "summary.json").write_text("{}")
    check_free(sweep, overwrite=True)
    (sweep / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="no xpet run or sweep"):
        check_free(sweep, overwrite=True)


def test_paths_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("...")
    path = file / "run"
    with pytest.raises(OutputError) as error:
        check_free(path, overwrite=False)
    assert str(error.value) == f"output folder {path} cannot be written: {file} is not a writable folder"
    with pytest.raises(OutputError, match=f"^cannot write the run {path}: (Not a directory|File exists); "):
        write_run(path, record())
    assert file.read_text() == "..."
    monkeypatch.setattr(os, "access", lambda where, mode: False)  # root may write anywhere
    with pytest.raises(OutputError) as error:
        check_free(tmp_path / "a" / "b", overwrite=False)
    assert str(error.value) == (
        f"output folder {tmp_path / 'a' / 'b'} cannot be written: {tmp_path} is not a writable folder"
    )


@pytest.mark.parametrize("name", [name for name in FILES if name != "delta.safetensors"])
@pytest.mark.parametrize("damage", [b'{"schema": 1, ', b"\xff\xfe{}", b"[1]\n"], ids=["cut", "bytes", "list"])
def test_damaged_json(name: str, damage: bytes, tmp_path: Path) -> None:
    write_run(tmp_path / "run", record())
    (tmp_path / "run" / name).write_bytes(damage)
    with pytest.raises(DataError) as error:
        read_run(tmp_path / "run")
    assert str(error.value).startswith(f"cannot read {tmp_path / 'run' / name}: ")
    assert str(error.value).endswith("; the run is damaged, train it again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_truncated_weights(size: int, tmp_path: Path) -> None:
    write_run(tmp_path / "run", record())
    path = tmp_path / "run" / "delta.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError) as error:
        read_run(tmp_path / "run")
    assert str(error.value).startswith(f"cannot read {path}: ")
    assert str(error.value).endswith("; the run is damaged, train it again")


def test_missing_files_and_newer_schemas(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, record())
    (path / "split.json").unlink()
    with pytest.raises(DataError) as error:
        read_run(path)
    assert str(error.value) == f"{path} is no run: expected exactly the files {', '.join(FILES)}"
    shutil.rmtree(path)
    write_run(path, record())
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    (path / "config.json").write_text(json.dumps({**config, "schema": 2}))
    with pytest.raises(DataError) as error:
        read_run(path)
    assert str(error.value) == f"{path}/config.json: expected schema 1, found 2; update xpet"


def test_find_runs(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for name in ("tr", "de", "ja"):
        write_run(sweep / name, record())
    (sweep / "summary.json").write_text("{}")
    (sweep / "broken").mkdir()
    assert find_runs(sweep) == [sweep / "de", sweep / "ja", sweep / "tr"]
    assert find_runs(sweep / "de") == [sweep / "de"]
    assert is_run(sweep / "de")
    assert not is_run(sweep)
    with pytest.raises(DataError) as error:
        find_runs(sweep / "broken")
    assert str(error.value) == (
        f"{sweep / 'broken'} is no run: expected the files {', '.join(FILES)}, or folders with these inside"
    )
    with pytest.raises(DataError, match="found no folder .*gone; `xpet align` prints where its runs are$"):
        find_runs(tmp_path / "gone")


@pytest.mark.parametrize("last", ["x" * 3000, "", ".", "..", "gone", "/", "1-text/..", "\x00", "\ud800", 3, None, []])
def test_a_chain_that_does_not_name_its_last_phase(last: object, tmp_path: Path) -> None:
    write_run(tmp_path / "1-text", record())
    (tmp_path / "chain.json").write_text(json.dumps(["1-text"]))
    assert find_runs(tmp_path) == [tmp_path / "1-text"]
    (tmp_path / "chain.json").write_text(json.dumps(["1-text", last]))
    with pytest.raises(DataError) as error:
        find_runs(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/chain.json: expected a list of folders beside it, found {quoted(last)} at its end; name one of "
        "them instead"
    )


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "\xff"])
def test_a_chain_that_is_damaged(text: str, tmp_path: Path) -> None:
    write_run(tmp_path / "1-text", record())
    (tmp_path / "chain.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=rf"cannot read {tmp_path}/chain.json: .*; name one of the folders in it"):
        find_runs(tmp_path)


def test_everybody_who_may_read_new_files_may_read_a_run(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_run(tmp_path / "run", record())
    finally:
        os.umask(previous)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()} == {0o640}


def test_a_name_that_no_folder_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^output folder '.*\.\.\. cannot be written: File name too long$"):
        check_free(tmp_path / ("x" * 300), overwrite=False)
