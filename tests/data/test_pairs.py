"""The store of training pairs: exact, one writer, whole after any death of its writer."""

from __future__ import annotations

import bz2
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch

from xpet.core.errors import DataError, OutputError
from xpet.core.events import Notice
from xpet.data import pairs
from xpet.data.cleaning import Cleaner
from xpet.data.pair_files import StoredPairs, map_pairs, read_state
from xpet.data.pairs import PairStore
from xpet.data.text_corpus import read_texts

WIDTH = 6
CHUNK = 5
EVERYTHING = {"pairs.json", "tokens.bin", "offsets.bin", "features.bin", "lock"}


def chunk(number: int) -> tuple[list[list[int]], torch.Tensor, int, dict[str, int]]:
    """The same pairs for the same number: 5 of 7 texts of the source are kept."""
    rows = [[number, row, 2**32 - 1][: row % 4] for row in range(CHUNK)]
    features = torch.randn(CHUNK, WIDTH, generator=torch.Generator().manual_seed(number))
    return rows, features, 7 * (number + 1), {"flagged": 2 * (number + 1)}


def go_on(folder: Path, upto: int) -> None:
    """Streams chunks from where the store stands."""
    with PairStore(folder, "key", WIDTH) as store:
        for number in range(store.consumed // 7, upto):
            store.append(*chunk(number), finished=number == upto - 1)


def read_pairs(folder: Path) -> StoredPairs:
    """What a reader sees, while the store is written to or not."""
    return map_pairs(folder, read_state(folder))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """The files of four chunks written without interruption."""
    go_on(tmp_path / "whole", 4)
    return contents(tmp_path / "whole")


@contextmanager
def child(work: Callable[[], object]) -> Iterator[int]:
    """A forked process that does the work; its number. It is gone after the block."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    yield pid
    os.waitpid(pid, 0)


def test_what_goes_in_comes_out(tmp_path):
    with PairStore(tmp_path, "key", WIDTH) as store:
        assert (len(store), store.consumed, store.finished, store.counts) == (0, 0, False, {})
        assert (list(store.tokens), store.features.shape) == ([], (0, WIDTH))
        for number in range(3):
            store.append(*chunk(number))
            assert len(store) == len(store.tokens) == len(store.features) == CHUNK * (number + 1)
        store.append([], torch.empty(0, WIDTH), 30, finished=True)
        held = store.tokens
    rows = [row for number in range(3) for row in chunk(number)[0]]
    features = torch.cat([chunk(number)[1] for number in range(3)])
    read = read_pairs(tmp_path)
    assert list(read.tokens) == list(held) == rows
    assert [read.tokens[-1], read.tokens[2:9:3], type(read.tokens[3][0])] == [rows[-1], rows[2:9:3], int]
    assert read.features.dtype == torch.float32
    assert torch.equal(read.features, features)
    index = torch.tensor([14, 0, 7, 7])
    assert torch.equal(read.features[index], features[index])
    assert (read.state.consumed, read.state.finished, read.state.counts) == (30, True, {"flagged": 6})
    for wrong in (15, -16):
        with pytest.raises(IndexError, match=f"row {wrong} of 15"):
            read.tokens[wrong]
    assert set(contents(tmp_path)) == EVERYTHING
    assert (tmp_path / "tokens.bin").stat().st_size == 4 * sum(map(len, rows))
    assert (tmp_path / "features.bin").stat().st_size == 4 * features.numel()


def test_features_of_every_float_type_are_stored_and_maps_write_nothing_back(tmp_path):
    with PairStore(tmp_path, "key", 3) as store:
        for features in (torch.rand(2, 3).half(), torch.rand(3, 2, dtype=torch.float64).T, torch.rand(2, 3)):
            store.append([[1], [2]], features.requires_grad_(), len(store))
            assert torch.equal(store.features[-2:], features.float())
        before = contents(tmp_path)
        store.features.zero_()
        assert contents(tmp_path) == before


def test_readers_keep_what_they_opened(tmp_path):
    go_on(tmp_path, 2)
    first = read_pairs(tmp_path)
    go_on(tmp_path, 4)
    with PairStore(tmp_path, "another key", WIDTH) as store:
        store.append(*chunk(9))
    assert torch.equal(first.features, torch.cat([chunk(0)[1], chunk(1)[1]]))
    assert list(first.tokens) == chunk(0)[0] + chunk(1)[0]


class Death:
    """Ends the process by signal 9 at the n-th thing it does to the disk; half-way through if that is a write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
        self.points = 0
        self.at = at
        for name in ("fsync", "replace", "truncate"):
            monkeypatch.setattr(os, name, self.watched(getattr(os, name)))
        write, write_state = pairs._write, pairs._write_state

        def half(file, place, data):
            if self.due():
                write(file, place, data[: max(1, len(data) // 2)])
                os.kill(os.getpid(), signal.SIGKILL)
            write(file, place, data)

        def no_state(folder, state):
            if self.due():
                (folder / ".pairs.json.0123.tmp").write_text('{"key')
                os.kill(os.getpid(), signal.SIGKILL)
            write_state(folder, state)

        monkeypatch.setattr(pairs, "_write", half)
        monkeypatch.setattr(pairs, "_write_state", no_state)

    def due(self) -> bool:
        self.points += 1
        return self.points - 1 == self.at

    def watched(self, function):
        def call(*arguments):
            if self.due():
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return call


def test_killed_at_every_point_it_goes_on_to_the_same_bytes(tmp_path, whole):
    def work(folder: Path, at: int | None) -> int:
        with pytest.MonkeyPatch.context() as patch:
            death = Death(patch, at)
            go_on(folder, 2)
            return death.points

    points = work(tmp_path / "all", None)
    assert points >= 2 * 10 + 3  # two chunks of three files and the state, and the first state
    stops = set()
    for at in range(points):
        folder = tmp_path / f"at{at}"
        with child(partial(work, folder, at)):
            pass
        stops.add(read_pairs(folder).state.rows if (folder / "pairs.json").exists() else None)
        if at % 2:  # killed once more, early
            with child(partial(work, folder, 4)):
                pass
        go_on(folder, 4)
        assert contents(folder) == whole
    assert stops == {None, 0, CHUNK, 2 * CHUNK}


def test_kill_9_of_a_working_process(tmp_path, whole):
    folder = tmp_path / "killed"
    with child(lambda: go_on(folder, 1 << 30)) as pid:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if (folder / "pairs.json").exists() and read_pairs(folder).state.rows >= 3 * CHUNK:
                break
        with pytest.raises(OutputError, match="expected to be its only writer, found another"):
            PairStore(folder, "key", WIDTH)
        os.kill(pid, signal.SIGKILL)
    with PairStore(folder, "key", WIDTH) as store:
        done = len(store) // CHUNK
        assert done >= 3
        assert store.consumed == 7 * done
        assert store.counts == {"flagged": 2 * done}
        assert list(store.tokens) == [row for number in range(done) for row in chunk(number)[0]]
        assert torch.equal(store.features, torch.cat([chunk(number)[1] for number in range(done)]))
    assert contents(folder)["tokens.bin"].startswith(whole["tokens.bin"][:60])
    assert set(contents(folder)) == EVERYTHING


def test_a_corpus_streamed_in_two_sittings_gives_the_same_bytes(tmp_path, write):
    texts = [f"a dog number {n % 150} of many" if n % 3 else "" for n in range(400)]
    corpus = str(write("corpus.txt.bz2", bz2.compress("\n".join(texts).encode())))

    def stream(folder: Path, chunks: int | None = None) -> dict[str, bytes]:
        cleaner = Cleaner(["a dog number 2 of many"])
        with PairStore(folder, "key", 2) as store:
            lines = cleaner.clean(read_texts([corpus]), after=store.consumed)
            for part in islice(iter(lambda: list(islice(lines, 16)), []), chunks):
                rows = [[len(word) for word in line.text.split()] for line in part]
                store.append(rows, torch.tensor([[line.number, len(line.text)] for line in part]), part[-1].number)
            if chunks is None:
                store.append([], torch.empty(0, 2), cleaner.counts["read"], cleaner.counts, finished=True)
        return contents(folder)

    at_once = stream(tmp_path / "once")
    for chunks in (0, 1, 2, 4):
        stream(tmp_path / "twice", chunks)
    assert stream(tmp_path / "twice") == at_once
    state = read_pairs(tmp_path / "twice").state
    assert (state.rows, state.consumed) == (99, 399)  # blank ends are no lines
    assert state.counts["kept"] == 99
    assert stream(tmp_path / "twice") == at_once  # nothing more to do


def test_one_writer_at_a_time(tmp_path):
    with PairStore(tmp_path / "s", "key", WIDTH) as store:
        store.append(*chunk(0))
        with pytest.raises(OutputError) as error:
            PairStore(tmp_path / "s", "other", WIDTH)
        assert str(error.value) == (
            f"pair store {tmp_path / 's'}: expected to be its only writer, found another; wait for it to end or choose "
            "another folder"
        )
        assert len(read_pairs(tmp_path / "s").tokens) == CHUNK
    with PairStore(tmp_path / "s", "key", WIDTH) as store:
        assert len(store) == CHUNK


@pytest.mark.parametrize(("key", "width"), [("other", WIDTH), ("key", WIDTH + 1)])
def test_other_settings_start_over(key, width, tmp_path):
    go_on(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("not ours")
    events = []
    with PairStore(tmp_path, key, width, events.append) as store:
        assert (len(store), store.consumed, store.counts) == (0, 0, {})
    assert events == [Notice(f"{tmp_path}: holds the pairs of other settings; making them again")]
    assert set(contents(tmp_path)) == EVERYTHING | {"notes.txt"}


def cut(folder: Path) -> None:
    os.truncate(folder / "features.bin", 4 * WIDTH * 2 * CHUNK - 1)


def remove(folder: Path) -> None:
    (folder / "tokens.bin").unlink()


def other_ends(folder: Path) -> None:
    (folder / "offsets.bin").write_bytes((folder / "offsets.bin").read_bytes()[8:] + bytes(8))


def half_a_state(folder: Path) -> None:
    (folder / "pairs.json").write_text((folder / "pairs.json").read_text()[:40])


def wrong_state(folder: Path) -> None:
    state = json.loads((folder / "pairs.json").read_text())
    (folder / "pairs.json").write_text(json.dumps(state | {"rows": "10"}))


def newer_state(folder: Path) -> None:
    (folder / "pairs.json").write_text('{"schema": 2, "shards": []}')


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (cut, "features.bin: expected 240 bytes, found 239; the store is damaged"),
        (remove, "tokens.bin: expected 48 bytes, found 0; the store is damaged"),
        (other_ends, "offsets.bin: expected 12 tokens, found 0; the store is damaged"),
        (half_a_state, "pairs.json: expected the state of a pair store, found "),
        (wrong_state, "pairs.json: expected the state of a pair store, found rows '10'"),
        (newer_state, "pairs.json: expected the state of a pair store, found no JSON object of schema 1"),
    ],
)
def test_damage_is_refused_by_readers_and_made_good_by_the_writer(damage, text, tmp_path, whole):
    folder = tmp_path / "store"
    go_on(folder, 2)
    damage(folder)
    with pytest.raises(DataError) as error:
        read_pairs(folder)
    assert f"{folder}/{text}" in str(error.value)
    events = []
    with PairStore(folder, "key", WIDTH, events.append) as store:
        assert (len(store), store.consumed) == (0, 0)
    assert events == [Notice(f"{error.value}; making these pairs again", "warning")]
    go_on(folder, 4)
    assert contents(folder) == whole


def test_no_store(tmp_path):
    with pytest.raises(DataError) as error:
        read_pairs(tmp_path)
    assert str(error.value) == f"{tmp_path}: expected a store of pairs, found no pairs.json in it"
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write the pair store .*/file: File exists; what is stored so far is"):
        PairStore(tmp_path / "file", "key", WIDTH)


@pytest.mark.parametrize(
    ("rows", "features", "consumed", "text"),
    [
        ([[1]], torch.zeros(2, WIDTH), 9, "expected features [1, 6], found [2, 6]"),
        ([[1]], torch.zeros(1, 5), 9, "expected features [1, 6], found [1, 5]"),
        ([[1]], torch.full((1, WIDTH), float("nan")), 9, "expected finite features, found others"),
        ([[1]], torch.full((1, WIDTH), 1e300, dtype=torch.float64), 9, "expected finite features, found others"),
        ([[1, -1]], torch.zeros(1, WIDTH), 9, "expected tokens from 0 to 4294967295, found -1 to 1"),
        ([[2**32]], torch.zeros(1, WIDTH), 9, "expected tokens from 0 to 4294967295, found 4294967296 to 4294967296"),
        ([[1]], torch.zeros(1, WIDTH), 6, "expected at least 7 texts consumed, found 6"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(rows, features, consumed, text, tmp_path):
    go_on(tmp_path, 1)
    before = contents(tmp_path)
    with PairStore(tmp_path, "key", WIDTH) as store, pytest.raises(DataError) as error:
        store.append(rows, features, consumed)
    assert str(error.value) == f"pair store: {text}"
    assert contents(tmp_path) == before


def test_a_full_disk_keeps_what_is_stored(tmp_path, whole, monkeypatch):
    folder = tmp_path / "store"
    with PairStore(folder, "key", WIDTH) as store:
        store.append(*chunk(0))
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(OutputError, match="No space left on device; what is stored so far is kept"):
                store.append(*chunk(1))
        assert len(store) == len(store.features) == CHUNK
        assert store.consumed == 7
        store.append(*chunk(1))
    go_on(folder, 4)
    assert contents(folder) == whole
