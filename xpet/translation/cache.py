"""Stores translations on disk (SQLite), by what made them and by their text.

Several processes may share the file, and stored translations survive a crash. The key decides the translation, so it
does not matter which process writes it first.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from xpet.core.errors import ModelError, OutputError
from xpet.core.files import sha256_of
from xpet.core.paths import cache_folder
from xpet.core.regular_files import check_regular, open_regular
from xpet.translation.packages import TOKENIZERS, Installed

FILE = "translations.sqlite"
WRITE_TIMEOUT = 60.0  # seconds to wait for another process's write
KEYS_PER_QUERY = 400  # SQLite's oldest limit is 999 variables
KEY = struct.Struct("<q12s")  # a digest of 20 bytes: the number of SQLite's row, and the rest
PAGE_CACHE = 64 << 10  # KiB of the file kept in memory: keys are random, so every write touches all of it
TABLES = (
    "CREATE TABLE IF NOT EXISTS lines (key INTEGER PRIMARY KEY, rest BLOB NOT NULL, text TEXT NOT NULL, "
    "flags TEXT NOT NULL, retried INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL)",
)


class Entry(NamedTuple):
    """The translation of one line, with its flags; `retried` when it is not the model's first choice."""

    text: str
    flags: tuple[str, ...] = ()
    retried: bool = False


class Cache:
    """The store, a context manager. Every method raises OutputError when the disk is full or the file is damaged."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or cache_folder()) / FILE
        with self._guarded():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(self.path):
                check_regular(self.path)
            self._database = sqlite3.connect(self.path, timeout=WRITE_TIMEOUT, isolation_level=None)
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(f"PRAGMA cache_size = -{PAGE_CACHE}")
            tables = {row[0] for row in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"lines", "files"} <= tables:
                with self._writing():  # which waits for another process that makes them
                    for table in TABLES:
                        self._database.execute(table)

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def get(self, scope: str, texts: Sequence[str]) -> dict[str, Entry]:
        """The stored translations by text; `scope` is the digest of what made them (translator, options, checks)."""
        keys = {key: (rest, text) for (key, rest), text in zip(_keys(scope, texts), texts, strict=True)}
        entries: dict[str, Entry] = {}
        with self._guarded():
            for part in _parts(sorted(keys)):  # neighbours are on the same page of the file
                marks = ",".join("?" * len(part))
                query = f"SELECT key, rest, text, flags, retried FROM lines WHERE key IN ({marks})"
                for key, stored, text, names, retried in self._database.execute(query, part):
                    rest, source = keys[key]
                    if stored == rest:
                        if not (isinstance(text, str) and isinstance(names, str)):
                            raise sqlite3.DatabaseError(f"row {key} holds no translation")
                        plain = not (names or retried)
                        entries[source] = Entry(text) if plain else Entry(text, tuple(names.split()), bool(retried))
        return entries

    def put(self, scope: str, entries: Iterable[tuple[str, Entry]]) -> None:
        """Store translations by text; they are on disk when this returns."""
        new = dict(entries)
        keys = _keys(scope, new)
        rows = sorted((*key, e.text, " ".join(e.flags), e.retried) for key, e in zip(keys, new.values(), strict=True))
        with self._guarded(), self._writing():
            self._database.executemany("INSERT OR IGNORE INTO lines VALUES (?, ?, ?, ?, ?)", rows)

    def fingerprint(self, package: Installed) -> str:
        """SHA-256 (hex) of the files that decide a package's translations; files are only read when they have changed.

        Raises ModelError when one cannot be read.
        """
        names = ["metadata.json", *TOKENIZERS]
        digest = hashlib.sha256()
        try:
            paths = [package.folder / name for name in names] + sorted((package.folder / "model").iterdir())
            for path in paths:
                if path.exists() and not path.is_dir():
                    digest.update(os.fsencode(path.relative_to(package.folder)) + f"\0{self._sha256(path)}\n".encode())
        except OSError as error:  # the cache's own errors are OutputError already
            raise ModelError(f"package {package.folder}: expected files to read, found {error}") from error
        return digest.hexdigest()

    def _sha256(self, path: Path) -> str:
        """SHA-256 (hex) of a file, from the store where size, times and inode are as they were."""
        real = path.resolve()
        info = real.stat()
        state = f"{info.st_dev} {info.st_ino} {info.st_size} {info.st_mtime_ns} {info.st_ctime_ns}"
        name = os.fsencode(real).decode(errors="backslashreplace")
        with self._guarded():
            row = self._database.execute("SELECT state, sha256 FROM files WHERE path = ?", (name,)).fetchone()
        if row is not None and row[0] == state:
            sha256: str = row[1]
            return sha256
        with open_regular(real) as file:
            digest = sha256_of(file)
        with self._guarded(), self._writing():
            self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, state, digest))
        return digest

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction for the block, which is rolled back if that fails."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn errors of SQLite and the disk in the block into OutputErrors that say what to do."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            damaged = not isinstance(error, OSError | sqlite3.OperationalError)
            remedy = "remove it" if damaged else "free space, set XPET_CACHE or remove it"
            raise OutputError(
                f"cannot use the translation cache {self.path}: {error}; {remedy}, then run the same command again: "
                "what was stored is not translated twice"
            ) from error


def _keys(scope: str, texts: Iterable[str]) -> list[tuple[int, bytes]]:
    """BLAKE2b digest of scope and each text: 8 bytes that number SQLite's row, and 12 that tell equal numbers apart."""
    prefix = hashlib.blake2b(f"{scope}\n".encode(), digest_size=20)
    keys: list[tuple[int, bytes]] = []
    for text in texts:
        digest = prefix.copy()
        digest.update(text.encode())
        keys.append(KEY.unpack(digest.digest()))
    return keys


def _parts(keys: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(keys), KEYS_PER_QUERY):
        yield keys[start : start + KEYS_PER_QUERY]
