"""Installs Argos packages from files: unpacks and checks them in the cache, then moves each into place at once."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from xpet.core.errors import ModelError, OutputError, one_line
from xpet.core.files import replacing_folder, sha256_of, writing
from xpet.core.json_files import parsed
from xpet.core.paths import cache_folder
from xpet.core.regular_files import open_regular, read_text
from xpet.translation.argos import load_package
from xpet.translation.modelfile import check_model
from xpet.translation.packages import Installed, read_installed

RECORD = "xpet.json"  # file in a package folder with the SHA-256 of its archive
MAX_MEMBERS = 1_000
MAX_BYTES = 2 << 30  # of the archive's files, unpacked
FREE_BYTES = 64 << 20  # up to here any ratio of compression is accepted
MAX_RATIO = 50  # unpacked to packed bytes
MAX_DIRECTORY = 4 << 20  # bytes of the archive's list of members, which is read before anything else
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MIN_KNOWN = 0.25  # share of the tokenizer's pieces the model must know; joint tokenizers serve two languages
TAIL = 22 + 65_535 + 20  # bytes of an archive's end with all that says where its list of members is
PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
TOP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
MEMBERS = re.compile(
    rf"metadata\.json|sentencepiece\.model|bpe\.model|[A-Za-z0-9_-]+\.(md|txt)|LICEN[CS]E"
    rf"|model/{PART}\.(bin|json|txt)|minisbd/{PART}\.onnx|(stanza|spacy)/({PART}/)*{PART}"
)


@dataclass(frozen=True)
class InstalledFile:
    """The package installed from a file, and the file's SHA-256; `new` is False when it was installed before."""

    package: Installed
    sha256: str
    new: bool


def install(files: Sequence[Path], folder: Path, pairs: Mapping[Path, str] | None = None) -> list[InstalledFile]:
    """Check all package files, then move all into `folder`; if one is bad, nothing changes.

    `pairs` names the pair that a file must translate, as `de-en`.

    Raises:
        ModelError: a file is damaged, hostile, no package or for another pair, or another package is in its place.
        OutputError: the folder cannot be written.
    """
    with ExitStack() as stack:
        staged = [stack.enter_context(_staged(path)) for path in files]
        for path, (stage, _) in zip(files, staged, strict=True):
            _check_pair(path, stage, (pairs or {}).get(path))
        tops = [stage.name for stage, _ in staged]
        for path, top in zip(files, tops, strict=True):
            if tops.count(top) > 1:
                raise ModelError(f"{path}: expected packages of different names, found {top} twice")
        present = [_is_present(folder / stage.name, sha) for stage, sha in staged]
        with writing(f"the package folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            for (stage, _), installed in zip(staged, present, strict=True):
                if not installed:
                    _activate(stage, folder / stage.name)
    results = []
    for (stage, sha), installed in zip(staged, present, strict=True):
        package = read_installed(folder / stage.name)
        assert package is not None, "checked when it was staged"
        results.append(InstalledFile(package, sha, not installed))
    return results


def _is_present(folder: Path, sha: str) -> bool:
    """Whether the package of this SHA-256 is in a folder; raises ModelError when another one is there."""
    if not os.path.lexists(folder):
        return False
    if recorded_sha256(folder) == sha:
        return True
    raise ModelError(f"{folder} is another package, and none is ever overwritten: remove that folder first")


def recorded_sha256(folder: Path) -> str | None:
    """SHA-256 of the file an installed package came from; None when xpet did not install it."""
    try:
        recorded = parsed(read_text(folder / RECORD))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return recorded if isinstance(recorded, str) else None


def _check_pair(path: Path, stage: Path, expected: str | None) -> None:
    """Raise ModelError for a package of another pair than expected (None: any)."""
    package = read_installed(stage)
    if package is not None and expected not in (None, package.pair):
        raise ModelError(f"{path}: expected a package {expected}, found one for {package.pair}")


def _activate(stage: Path, folder: Path) -> None:
    """Move a checked package to its folder, whole or not at all; raises OSError, and OutputError if it exists."""
    try:
        os.rename(stage, folder)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing_folder(folder) as near:  # the cache is on another disk
            shutil.copytree(stage, near, dirs_exist_ok=True)


@contextmanager
def _staged(path: Path) -> Iterator[tuple[Path, str]]:
    """Unpack and check a package in xpet's cache: its folder, removed after the block, and the SHA-256 of its file."""
    base = cache_folder() / "staging" / uuid.uuid4().hex
    try:
        with _archive(path) as (archive, sha):
            members = _check_members(path, archive)
            top = next(iter(members)).filename.split("/")[0]
            _unpack(path, archive, members, base)
        _check_package(path, base / top)
        record = {"sha256": sha, "file": path.name}
        (base / top / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        yield base / top, sha
    except OSError as error:
        raise OutputError(f"cannot unpack {path} in {base.parent}: {error.strerror}; set XPET_CACHE") from error
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def _archive(path: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """The opened zip archive and its SHA-256; raises ModelError."""
    try:
        file = open_regular(path)
    except OSError as error:
        raise ModelError(f"{path}: expected an .argosmodel file, found none to read ({error.strerror})") from error
    with file:
        digest = sha256_of(file)
        _check_directory(path, file)
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise ModelError(
                f"{path}: expected an .argosmodel file (a zip archive), found {one_line(error, 160)}"
            ) from error
        with archive:
            yield archive, digest


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Raise ModelError for a list of members longer than any package's, or in the form for more than 4 GiB (zip64)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL))
    tail = file.read()
    file.seek(0)
    end = tail.rfind(b"PK\5\6")
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    if end >= 0 and (length > MAX_DIRECTORY or tail[max(0, end - 20) : end].startswith(b"PK\6\7")):
        raise ModelError(f"{path}: expected at most {MAX_MEMBERS} members, found a list of {length:,} bytes")


def _check_members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of the archive. Raises ModelError for members with a dangerous name, kind or size."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise ModelError(f"{path}: expected at most {MAX_MEMBERS} members, found {len(infos)}")
    for info in infos:
        _check_kind(path, info)
    files = [info for info in infos if not info.is_dir()]
    tops = sorted({info.filename.split("/")[0] for info in infos})
    if not files or len(tops) != 1 or not TOP.fullmatch(tops[0]):
        raise ModelError(
            f"{path}: expected one top folder, found {one_line(', '.join(map(repr, tops[:4])), 160) or 'no files'}"
        )
    seen = set()
    for info in files:
        inside = info.filename.removeprefix(tops[0] + "/")
        if not MEMBERS.fullmatch(inside):
            raise ModelError(
                f"{path}: expected only the files of a package, found {one_line(repr(info.filename), 160)}"
            )
        if inside.lower() in seen:
            raise ModelError(f"{path}: expected different names, found {one_line(repr(info.filename), 160)} twice")
        seen.add(inside.lower())
    _check_size(path, files)
    return files


def _check_kind(path: Path, info: zipfile.ZipInfo) -> None:
    """Raise ModelError for links, devices, encrypted members, and paths outside the folder."""
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ModelError(f"{path}: expected plain files, found a link or device: {one_line(repr(info.filename), 160)}")
    parts = info.filename.removesuffix("/").split("/")
    if info.filename.startswith("/") or "\\" in info.filename or ":" in info.filename or {"..", ".", ""} & set(parts):
        raise ModelError(f"{path}: expected paths inside its folder, found {one_line(repr(info.filename), 160)}")
    if info.compress_type not in PACKINGS:  # others may ask for any amount of memory
        raise ModelError(
            f"{path}: expected stored or deflated files, found another packing: {one_line(repr(info.filename), 160)}"
        )
    if info.flag_bits & 1:
        raise ModelError(f"{path}: expected plain files, found an encrypted one: {one_line(repr(info.filename), 160)}")


def _check_size(path: Path, files: Sequence[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in files)
    packed = min(path.stat().st_size, sum(info.compress_size for info in files))  # members may claim the same bytes
    if total > MAX_BYTES or (total > FREE_BYTES and total > MAX_RATIO * packed):
        raise ModelError(
            f"{path}: expected at most {MAX_BYTES >> 30} GiB, packed at most {MAX_RATIO} to 1, "
            f"found {total} bytes packed in {packed}"
        )


def _unpack(path: Path, archive: zipfile.ZipFile, files: Sequence[zipfile.ZipInfo], base: Path) -> None:
    for info in files:
        destination = base / info.filename
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            with archive.open(info) as source, destination.open("xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ModelError(
                f"{path}: expected a readable archive, found {one_line(info.filename, 160)}: {one_line(error, 160)}"
            ) from error


def _check_package(path: Path, folder: Path) -> None:
    """Raise ModelError unless metadata, model, vocabularies and tokenizer are sound and belong together."""
    try:
        if read_installed(folder) is None:
            raise ModelError(f"package {folder}: expected a translation package, found one of another type")
        vocabulary = set(check_model(folder / "model")["source"])
        if (folder / "sentencepiece.model").is_file():
            _check_pieces(folder, vocabulary)
    except ModelError as error:
        raise ModelError(str(error).replace(str(folder), str(path))) from error


def _check_pieces(folder: Path, vocabulary: set[str]) -> None:
    """Raise ModelError unless the model's vocabulary has enough of the tokenizer's pieces."""
    try:
        processor = load_package(folder).tokenizer.lazy_processor()
        count = processor.get_piece_size()
        special = (processor.is_control, processor.is_unknown, processor.is_unused, processor.is_byte)
        ids = [i for i in range(count) if not any(check(i) for check in special)]
        known = sum(processor.id_to_piece(i) in vocabulary for i in ids)
    except (RuntimeError, OSError) as error:
        raise ModelError(f"{folder}/sentencepiece.model: expected a tokenizer, found {error}") from error
    if known < MIN_KNOWN * len(ids) or not ids:
        raise ModelError(f"{folder}: expected a tokenizer whose pieces the model knows, found {known} of {len(ids)}")
