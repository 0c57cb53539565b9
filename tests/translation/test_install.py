"""Installing from files: sound packages, and every kind of hostile or damaged one, which leaves nothing behind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.translation import toy
from xpet.core.errors import ModelError, OutputError, XpetError
from xpet.translation import install as module
from xpet.translation.install import install

Members = dict[str, bytes]


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "packages"


def refused(path: Path, folder: Path, words: str, kind: type[XpetError] = ModelError) -> None:
    before = listing(folder.parent)
    with pytest.raises(kind, match=words):
        install([path], folder)
    assert listing(folder.parent) == before
    assert not (folder.exists() and any(p.name.startswith(".") for p in folder.iterdir()))


def test_a_sound_package(tmp_path: Path, folder: Path, german: Members) -> None:
    path = toy.archive(tmp_path / "p.argosmodel", "translate-de_en-1_0", german)
    (done,) = install([path], folder)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (done.package.pair, done.package.version, done.sha256, done.new) == ("de-en", "1.0", sha, True)
    installed = folder / "translate-de_en-1_0"
    record = {"sha256": sha, "file": "p.argosmodel"}
    assert listing(installed).keys() == {*german, "xpet.json"}
    assert json.loads((installed / "xpet.json").read_text()) == record
    assert {name: data for name, data in listing(installed).items() if name != "xpet.json"} == german
    assert install([path], folder)[0].new is False
    assert list((tmp_path / "cache").rglob("*.bin")) == []


def test_across_disks(tmp_path: Path, folder: Path, german: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def other_disk(source: Path, target: Path) -> None:
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", other_disk)
    install([toy.archive(tmp_path / "p.argosmodel", "de_en", german)], folder)
    assert [p.name for p in folder.iterdir()] == ["de_en"]


def test_all_or_none(tmp_path: Path, folder: Path, german: Members) -> None:
    good = toy.archive(tmp_path / "good.argosmodel", "good", german)
    bad = toy.archive(tmp_path / "bad.argosmodel", "bad", {"metadata.json": b"{}"})
    with pytest.raises(ModelError, match="bad.argosmodel"):
        install([good, bad], folder)
    assert not folder.exists()
    with pytest.raises(ModelError, match="different names, found good twice"):
        install([good, good], folder)


def test_another_package_is_never_overwritten(tmp_path: Path, folder: Path, german: Members) -> None:
    install([toy.archive(tmp_path / "one.argosmodel", "de_en", german)], folder)
    facts = json.dumps(toy.metadata("de", "en", package_version="2.0")).encode()
    other = toy.archive(tmp_path / "two.argosmodel", "de_en", {**german, "metadata.json": facts})
    refused(other, folder, "de_en is another package, and none is ever overwritten: remove that folder first")
    shutil.rmtree(folder / "de_en")
    (folder / "de_en").symlink_to(tmp_path / "nowhere")
    refused(other, folder, "is another package")


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "/tmp/evil.txt", "de_en/../../evil.txt", "de_en/model/../x.txt", "de_en\\..\\evil.txt", "C:/x"],
)  # fmt: skip
def test_path_escape(name: str, tmp_path: Path, folder: Path, german: Members) -> None:
    members = {f"de_en/{key}": data for key, data in german.items()}
    refused(toy.archive(tmp_path / "p.argosmodel", "", {**members, name: b"x"}), folder, "paths inside its folder")


def test_two_top_folders(tmp_path: Path, folder: Path, german: Members) -> None:
    members = {f"de_en/{key}": data for key, data in german.items()} | {"other/README.md": b""}
    refused(toy.archive(tmp_path / "p.argosmodel", "", members), folder, "one top folder, found 'de_en', 'other'")
    refused(toy.archive(tmp_path / "q.argosmodel", "", dict(german)), folder, "one top folder")
    refused(toy.archive(tmp_path / "r.argosmodel", ".hidden", german), folder, "one top folder, found '.hidden'")


@pytest.mark.parametrize("name", ["evil.py", "model/evil.so", "model/deep/model.bin", ".hidden", "minisbd/x.sh"])
def test_unexpected_members(name: str, tmp_path: Path, folder: Path, german: Members) -> None:
    path = toy.archive(tmp_path / "p.argosmodel", "de_en", {**german, name: b"x"})
    refused(path, folder, "expected only the files of a package")


def test_same_name_twice(tmp_path: Path, folder: Path, german: Members) -> None:
    path = toy.archive(tmp_path / "p.argosmodel", "de_en", {**german, "METADATA.md": b"", "metadata.md": b""})
    refused(path, folder, "expected different names")


def test_symlink_out(tmp_path: Path, folder: Path, german: Members) -> None:
    path = toy.archive(tmp_path / "p.argosmodel", "de_en", german)
    link = zipfile.ZipInfo("de_en/model/extra.txt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(path, folder, "expected plain files, found a link or device: 'de_en/model/extra.txt'")


def test_bomb(tmp_path: Path, folder: Path, german: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 1 << 20)
    path = toy.archive(tmp_path / "p.argosmodel", "de_en", {**german, "model/model.bin": bytes(4 << 20)})
    refused(path, folder, "packed at most 50 to 1")
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 19)
    refused(toy.archive(tmp_path / "q.argosmodel", "de_en", german), folder, "found .* bytes packed in")
    many = {f"stanza/{number}": b"" for number in range(module.MAX_MEMBERS)}
    refused(toy.archive(tmp_path / "r.argosmodel", "de_en", {**german, **many}), folder, "at most 1000 members")


def test_sizes_that_lie(tmp_path: Path, folder: Path, german: Members) -> None:
    path = toy.archive(tmp_path / "p.argosmodel", "de_en", german)
    size, data = len(german["model/model.bin"]), path.read_bytes()
    assert data.count(size.to_bytes(4, "little")) == 2
    path.write_bytes(data.replace(size.to_bytes(4, "little"), (size // 2).to_bytes(4, "little")))
    refused(path, folder, "expected a readable archive, found de_en/model/model.bin")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("model/model.bin", None, "expected model/model.bin, found none"),
        ("sentencepiece.model", None, "expected sentencepiece.model or bpe.model, found none"),
        ("metadata.json", None, "expected metadata.json, found none"),
        ("metadata.json", b"[1]", "expected an object in metadata.json"),
        ("metadata.json", b"{", "expected readable metadata.json"),
        ("metadata.json", b'{"from_code": "../x", "to_code": "en"}', "expected a language in from_code, found '../x'"),
        ("metadata.json", b'{"type": "sbd"}', "found one of another type"),
        ("model/model.bin", b"junk", "expected a CTranslate2 model"),
        ("model/model.bin", b"", "expected a CTranslate2 model, found a file that ends too early"),
        ("model/source_vocabulary.json", None, "expected source_vocabulary or shared_vocabulary"),
        ("model/source_vocabulary.json", b'["<unk>", "<s>", "</s>"]', "expected a source vocabulary of .* found 3"),
        ("model/target_vocabulary.json", b"{}", "expected a list of pieces"),
        ("model/target_vocabulary.json", b'["a"]', "expected a target vocabulary of .* found 1"),
        ("sentencepiece.model", b"junk", "expected a tokenizer"),
    ],
)
def test_incomplete_or_damaged(
    name: str, data: bytes | None, words: str, tmp_path: Path, folder: Path, german: Members
) -> None:
    members = {key: value for key, value in {**german, name: data}.items() if value is not None}
    path = toy.archive(tmp_path / "p.argosmodel", "de_en", members)
    refused(path, folder, words)
    with pytest.raises(ModelError) as caught:
        install([path], folder)
    assert str(path) in str(caught.value)


def test_cut_short_model(tmp_path: Path, folder: Path, german: Members) -> None:
    for length in (5, 40, 500, -10, -1):
        members = {**german, "model/model.bin": german["model/model.bin"][:length]}
        refused(toy.archive(tmp_path / "p.argosmodel", "de_en", members), folder, "expected a CTranslate2 model")


def test_vocabulary_of_another_language(tmp_path: Path, folder: Path, german: Members) -> None:
    foreign = [*toy.SPECIAL, *(chr(0x4E00 + n) for n in range(200))]
    path = toy.archive(
        tmp_path / "p.argosmodel", "de_en", {**german, "sentencepiece.model": toy.sentencepiece(foreign)}
    )
    refused(path, folder, "a tokenizer whose pieces the model knows, found 0 of 200")


def test_no_archive(tmp_path: Path, folder: Path, german: Members) -> None:
    path = tmp_path / "p.argosmodel"
    refused(path, folder, "expected an .argosmodel file, found none to read")
    path.write_bytes(b"PK nothing")
    refused(path, folder, r"expected an .argosmodel file \(a zip archive\)")
    whole = toy.archive(tmp_path / "q.argosmodel", "de_en", german).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, folder, r"\(a zip archive\)")
    broken = bytearray(whole)
    broken[3000:3200] = bytes(200)
    path.write_bytes(broken)
    refused(path, folder, "expected a readable archive|expected")


def test_a_folder_that_cannot_be_written(tmp_path: Path, german: Members) -> None:
    path = toy.archive(tmp_path / "p.argosmodel", "de_en", german)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the package folder"):
        install([path], tmp_path / "file" / "packages")


def test_names_of_an_archive_are_cut_in_messages(tmp_path: Path) -> None:
    path = toy.archive(tmp_path / "x.argosmodel", "top", {"a:" + "n" * 60_000: b""})
    with pytest.raises(ModelError) as caught:
        install([path], tmp_path / "p")
    assert len(str(caught.value)) < 400
