"""Names in archives, indices, tables and plans lead to no file that they may not lead to, and write none."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.command import run_here
from tests.fuzz.doors import DOORS
from tests.run_records import run_record
from tests.tiny import tiny_text_checkpoint
from tests.translation import toy
from xpet.core.config import DataConfig
from xpet.core.errors import DataError, ModelError, XpetError
from xpet.core.rundir import find_runs, write_run
from xpet.data.images import FolderPictures
from xpet.jobs.shared.corpus import read_corpus
from xpet.models.checkpoint import load_text_tower
from xpet.translation.install import install

SECRET = "a secret that nobody may read"
OUTSIDE = (
    "../secret.{}",
    "{root}/secret.{}",
    "a/../../secret.{}",
    "./../secret.{}",
    "..\\secret.{}",
    "\0secret.{}",
    "..",
)
"""Names that lead out of a folder, in the ways that systems know."""


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_shards_outside_of_a_checkpoint(name: str, ending: str, tmp_path: Path) -> None:
    folder = tiny_text_checkpoint(tmp_path / "text")
    weights = load_file(folder / "model.safetensors")
    secret = tmp_path / f"secret.{ending}"
    save_file(weights, secret) if ending == "safetensors" else torch.save(weights, secret)
    (folder / "model.safetensors").unlink()
    (folder / "a").mkdir()
    first = "model.safetensors" if ending == "safetensors" else "pytorch_model.bin"
    index = {"weight_map": dict.fromkeys(weights, name.format(ending, root=tmp_path))}
    (folder / f"{first}.index.json").write_text(json.dumps(index))
    with pytest.raises(
        ModelError, match="expected names of weight files beside it, found|expected the shard .* named by"
    ):
        load_text_tower(folder)


@pytest.mark.parametrize("name", ["..", "../other", ".", "", "/", "{root}/other", "a/../../other", 3, None])
def test_phases_outside_of_a_chain(name: Any, tmp_path: Path) -> None:
    chain, other = tmp_path / "chain", tmp_path / "other"
    write_run(other, run_record({"a": torch.zeros(2)}))
    (chain / "a").mkdir(parents=True)
    named = name.format(root=tmp_path) if isinstance(name, str) else name
    (chain / "chain.json").write_text(json.dumps(["a", named]))
    with pytest.raises(DataError, match="expected a list of folders beside it"):
        find_runs(chain)


@pytest.mark.parametrize(
    "language", ["../x", "/tmp/x", "a/../../x", "x\\y", "..", ".", "a\nb", "a\0b", "\x1b[31m", "x" * 99, ""]
)
def test_languages_that_are_paths(language: str, tmp_path: Path) -> None:
    """They become names of folders: of runs, and of files of translations."""
    from xpet.core.run_record import documents_of, record_of

    rows = [{"image": "a.png", "lang": name, "caption": "a dog"} for name in ("en", language)]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError):
        read_corpus(DataConfig("table", str(tmp_path / "table.jsonl")))
    documents = json.loads(json.dumps(documents_of(run_record({"a": torch.zeros(2)}))))
    documents["config"]["run"]["language"] = language
    with pytest.raises(DataError, match=r"run\.language: expected the name of a language"):
        record_of(tmp_path, documents, {})


def test_pictures_anywhere_are_only_looked_at_as_pictures(tmp_path: Path) -> None:
    """Data sets keep their pictures where they like, so names may lead anywhere: what is no picture is not told."""
    from PIL import Image

    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "outside.png")
    (tmp_path / "secret.txt").write_text(SECRET)
    os.mkfifo(tmp_path / "pipe")
    pictures = FolderPictures((folder,))
    assert pictures.open("../outside.png").size == pictures.open(str(tmp_path / "outside.png")).size == (4, 4)
    for name in (
        "../secret.txt",
        str(tmp_path / "secret.txt"),
        "/etc/passwd",
        "../pipe",
        "/dev/zero",
        "/dev/stdin",
        "..",
    ):
        with pytest.raises(DataError) as error:
            pictures.open(name)
        told = f"{error.value}\n{error.value.__cause__}"
        assert SECRET not in told
        assert "root:" not in told


@pytest.mark.parametrize("kind", ["EPS", "WMF"])
def test_pictures_that_are_programs_are_not_run(kind: str, tmp_path: Path) -> None:
    bound = "0 0 4 4"
    programs = {
        "EPS": f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: {bound}\n%%EndComments\n({tmp_path}/ran) (w) file\n".encode(),
        "WMF": b"\xd7\xcd\xc6\x9a\x00\x00"
        + struct.pack("<hhhhH", 0, 0, 100, 100, 72)
        + bytes(6)
        + b"\x01\x00\x09\x00\x00\x03",
    }
    (tmp_path / "a.png").write_bytes(programs[kind] + bytes(200))
    with pytest.raises(DataError, match=f"picture a.png: expected a readable picture, found {kind}, a program"):
        FolderPictures((tmp_path,)).open("a.png")
    assert files(tmp_path) == {"a.png"}


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return toy.files("de", "en", toy.GERMAN, tmp_path_factory.mktemp("toy"))


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt", "/evil.txt", "de_en/../../evil.txt", "de_en/./README.md", "de_en//README.md", "de_en\\evil.txt",
        "C:/evil.txt", "de_en/model/..", "de_en/CON", "de_en/model/evil.py", "de_en/README.md\n",
        "de_en/\u202eREADME.md",
        "de_en/model/" + "x" * 300 + ".bin", "de_en/model/MODEL.BIN", "other/README.md", "~/evil.txt",
    ],
)  # fmt: skip
def test_members_outside_of_a_package(name: str, german: dict[str, bytes], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    members = {f"de_en/{key}": data for key, data in german.items()}
    path = toy.archive(tmp_path / "p.argosmodel", "", {**members, name: b"harm"})
    with pytest.raises(XpetError):
        install([path], tmp_path / "packages")
    left = {path for path in files(tmp_path) if not path.startswith("cache")}
    assert left == {"p.argosmodel"}
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_member_whose_name_ends_early(german: dict[str, bytes], tmp_path: Path, monkeypatch: Any) -> None:
    """A name with NUL is another name to other readers: it is taken up to there, as zipfile does, and checked so."""
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    members = {f"de_en/{key}": data for key, data in german.items()}
    path = toy.archive(tmp_path / "p.argosmodel", "", {**members, "de_en/x#.txt": b"harm"})
    path.write_bytes(path.read_bytes().replace(b"de_en/x#.txt", b"de_en/x\0.txt"))
    with pytest.raises(ModelError, match="expected only the files of a package, found 'de_en/x'|expected a readable"):
        install([path], tmp_path / "packages")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010666, 0o140777])
def test_links_and_devices_in_a_package(mode: int, german: dict[str, bytes], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    path = toy.archive(tmp_path / "p.argosmodel", "de_en", german)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("de_en/model/x.bin")
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ModelError, match="expected plain files, found a link or device"):
        install([path], tmp_path / "packages")


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "..", "a/b", "\x1b[2J", ""])
def test_names_in_a_pack_that_are_paths(name: str, tmp_path: Path) -> None:
    DOORS["pack"].make(tmp_path)
    pack = tmp_path / "languages.xpet"
    data = pack.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    document = json.loads(header["__metadata__"]["xpet_pack"])
    for run in document["runs"]:
        run["name"] = name
    header["__metadata__"]["xpet_pack"] = json.dumps(document)
    text = json.dumps(header).encode()
    pack.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    before = files(tmp_path)
    done = run_here("merge", pack, "--out", tmp_path / "made", "--no-verify", "--device", "cpu")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"expected a language pack of `xpet merge --pack`, found a damaged one (a name that is no lan" in done.stderr
    assert b"\x1b" not in done.stderr
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a\0b", "\x1b[2J"])
def test_names_in_a_split_file_are_only_compared(name: str, tmp_path: Path) -> None:
    DOORS["split file"].make(tmp_path)
    split = json.loads((tmp_path / "split.json").read_text())
    split["train"].append(name)
    (tmp_path / "split.json").write_text(json.dumps(split))
    with pytest.raises(DataError, match=r"split file, train: expected images of table, found 1 "):
        DOORS["split file"].read(tmp_path)


def test_what_a_stored_plan_names_as_its_output_is_not_written(tmp_path: Path) -> None:
    """`--resume FOLDER` writes to the folder that is named, whatever the plan in it says."""
    from xpet.cli.app import COMMANDS
    from xpet.cli.settings import read

    DOORS["run"].make(tmp_path)
    (command,) = (each for each in COMMANDS if each.name == "align")
    config = read(command, ["align"], {"config": str(tmp_path / "run")}).settings
    assert "out" not in config
    unfinished = tmp_path / "sweep.unfinished"
    unfinished.mkdir()
    from xpet.core.config import AlignConfig, to_dict

    plan = to_dict(AlignConfig(("de",), out=str(tmp_path / "elsewhere")).check())
    (unfinished / "sweep.json").write_text(json.dumps({"schema": 1, "config": plan}))
    resumed = read(command, ["align"], {"resume": str(tmp_path / "sweep")})
    assert resumed.config.out == str(tmp_path / "sweep")
    shutil.rmtree(unfinished)
