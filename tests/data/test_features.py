"""The image-feature store: served, resumed, rebuilt, never trusted; and a user's own features."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import time

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from xpet.core.errors import DataError, OutputError
from xpet.core.events import Notice, Progress
from xpet.data import features as store
from xpet.data.features import image_features, read_features

NAMES = [f"p{n}" for n in range(7)]


class Pictures:
    """Pictures named p0, p1, ... of their number's grey; contents can be changed."""

    def __init__(self):
        self.grey = {f"p{n}": n for n in range(20)}
        self.opened = []

    def digest(self, name):
        return hashlib.sha256(bytes([self.grey[name]])).hexdigest()

    def open(self, name):
        self.opened.append(name)
        return Image.new("RGB", (2, 2), (self.grey[name],) * 3)


class Tower:
    """Encodes a grey g as [g, g/2, ...]; counts its calls."""

    def __init__(self, dimensions=4):
        self.dimensions = dimensions
        self.batches = []

    def __call__(self, pictures):
        self.batches.append(len(pictures))
        grey = torch.tensor([float(p.getpixel((0, 0))[0]) for p in pictures])
        return grey[:, None] / 2 ** torch.arange(self.dimensions)


def truth(names, dimensions=4):
    grey = torch.tensor([float(name[1:]) for name in names])
    return grey[:, None] / 2 ** torch.arange(dimensions)


@pytest.fixture
def filled(tmp_path):
    image_features(NAMES, Pictures(), Tower(), "key", tmp_path)
    (part,) = tmp_path.glob("*/part-*.safetensors")
    return tmp_path, part


def test_computed_once_and_served_in_any_order(tmp_path):
    pictures, tower, events = Pictures(), Tower(), []
    names = [*NAMES, "p0"]
    first = image_features(names, pictures, tower, "key", tmp_path, 3, events.append)
    assert first.dtype == torch.float32
    assert torch.equal(first, truth(names))
    assert tower.batches == [3, 3, 1]
    assert events == [Progress("image features", done, 7) for done in (0, 3, 6, 7)]
    folder = tmp_path / hashlib.sha256(b"key").hexdigest()[:16]
    assert [path.parent for path in tmp_path.rglob("*.*")] == [folder]
    pictures.opened.clear()
    again = image_features(["p5", "p1"], pictures, tower, "key", tmp_path, 3, events.append)
    assert torch.equal(again, truth(["p5", "p1"]))
    assert (pictures.opened, len(tower.batches), len(events)) == ([], 3, 4)


def test_only_new_contents_are_computed(filled):
    pictures, tower = Pictures(), Tower()
    pictures.grey["p3"] = 200
    got = image_features([*NAMES, "p9"], pictures, tower, "key", filled[0])
    assert sorted(pictures.opened) == ["p3", "p9"]
    assert got[3, 0] == 200
    assert torch.equal(got[7], truth(["p9"])[0])


def test_another_key_is_another_store(filled):
    tower = Tower(5)
    got = image_features(NAMES, Pictures(), tower, "other", filled[0])
    assert got.shape == (7, 5)
    assert len(list(filled[0].iterdir())) == 2


def test_half_precision_towers(tmp_path):
    got = image_features(NAMES, Pictures(), lambda p: Tower()(p).bfloat16(), "key", tmp_path)
    assert got.dtype == torch.float32


def test_an_interrupted_run_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PART_PICTURES", 2)
    tower = Tower()

    def dying(pictures):
        if len(tower.batches) == 4:
            raise KeyboardInterrupt
        return tower(pictures)

    with pytest.raises(KeyboardInterrupt):
        image_features(NAMES, Pictures(), dying, "key", tmp_path, 1)
    events = []
    got = image_features(NAMES, Pictures(), tower, "key", tmp_path, 1, events.append)
    assert torch.equal(got, truth(NAMES))
    assert len(tower.batches) == 4 + 3
    assert events[0] == Progress("image features", 4, 7)
    assert {path.suffix for path in tmp_path.glob("*/*")} == {".safetensors"}


def rewrite(part, tensors=None, **changes):
    """The part with other tensors or other metadata, its checksum kept true unless given."""
    from safetensors import safe_open

    with safe_open(part, "pt") as file:
        metadata = file.metadata()
    tensors = tensors or load_file(part)
    if "features" in tensors:
        metadata["checksum"] = hashlib.sha256(tensors["features"].numpy().tobytes()).hexdigest()
    metadata |= changes
    save_file(tensors, part, {key: value for key, value in metadata.items() if value})


def truncate(part):
    part.write_bytes(part.read_bytes()[:-5])


def flip(part):
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)


def poison(part):
    features = load_file(part)["features"]
    features[2, 1] = float("nan")
    rewrite(part, {"features": features})


DAMAGES = {
    "truncated": (truncate, ""),
    "emptied": (lambda part: part.write_bytes(b""), ""),
    "garbage": (lambda part: part.write_bytes(b"\xff" * 99), ""),
    "bit": (flip, "checksum"),
    "nan": (poison, "non-finite"),
    "foreign": (lambda part: rewrite(part, key="0" * 64), "another tower"),
    "bare": (lambda part: save_file(load_file(part), part), "another tower"),
    "rows": (lambda part: rewrite(part, {"features": torch.zeros(6, 4)}), r"shape \[6, 4\]"),
    "flat": (lambda part: rewrite(part, {"features": torch.zeros(7)}), r"shape \[7\]"),
    "type": (lambda part: rewrite(part, {"features": torch.zeros(7, 4).double()}), "float64"),
    "renamed": (lambda part: rewrite(part, {"other": torch.zeros(7, 4)}), "features"),
    "undigested": (lambda part: rewrite(part, digests=""), "digests"),
    "misdigested": (lambda part: rewrite(part, digests="5"), "int"),
    "not json": (lambda part: rewrite(part, digests="{"), ""),
    "nested": (lambda part: rewrite(part, digests=json.dumps([["a"]] * 7)), "unhashable"),
    "unsummed": (lambda part: rewrite(part, checksum=""), "checksum"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_parts_are_reported_and_rebuilt(filled, damage):
    root, part = filled
    hurt, text = DAMAGES[damage]
    hurt(part)
    events, tower = [], Tower()
    got = image_features(NAMES, Pictures(), tower, "key", root, on_event=events.append)
    assert torch.equal(got, truth(NAMES))
    notices = [event for event in events if isinstance(event, Notice)]
    assert [notice.level for notice in notices] == ["warning"]
    assert re.search(text, notices[0].text)
    assert str(part) in notices[0].text
    assert "computing these features again" in notices[0].text
    events.clear()
    assert torch.equal(image_features(NAMES, Pictures(), Tower(), "key", root, on_event=events.append), got)
    assert events == []


def test_parts_of_unequal_dimensions_heal(filled):
    root, part = filled
    features = torch.ones(7, 3)
    rewrite(part, {"features": features})
    for _ in range(2):
        events = []
        got = image_features([*NAMES, "p9"], Pictures(), Tower(), "key", root, on_event=events.append)
        assert torch.equal(got, truth([*NAMES, "p9"]))
    assert events == []


def test_a_part_that_is_removed_while_it_is_read_is_computed_again(filled, monkeypatch):
    def removed(path, framework):
        path.unlink()
        raise RuntimeError(f"unable to open file <{path}> in read-only mode: No such file or directory (2)")

    root, part = filled
    pictures, events = Pictures(), []
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.safe_open", removed)
        assert torch.equal(image_features(NAMES, pictures, Tower(), "key", root, 4, events.append), truth(NAMES))
    assert (sorted(pictures.opened), {type(event) for event in events}) == (NAMES, {Progress})
    assert part.exists()


def test_two_at_once(tmp_path):
    results = {}

    def work(index):
        results[index] = image_features(NAMES, Pictures(), Tower(), "key", tmp_path, 2)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(results[n], truth(NAMES)) for n in range(4))
    assert {path.suffix for path in tmp_path.glob("*/*")} == {".safetensors"}


def test_bad_towers_and_stores(tmp_path, write):
    with pytest.raises(DataError, match="expected pictures to encode, found none"):
        image_features([], Pictures(), Tower(), "key", tmp_path)
    with pytest.raises(DataError, match=r"expected features \[7, d\], found shape \[1, 4\]"):
        image_features(NAMES, Pictures(), lambda p: torch.ones(1, 4), "key", tmp_path)
    with pytest.raises(DataError, match="expected finite features, found others among 7 pictures from p0 on"):
        image_features(NAMES, Pictures(), lambda p: Tower()(p) / 0, "key", tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="expected to write a part, found .*; set XPET_CACHE"):
        image_features(NAMES, Pictures(), Tower(), "key", write("taken", "a file"))


def test_own_features(tmp_path):
    features = torch.randn(5, 3, dtype=torch.float64)
    numpy.save(tmp_path / "f.npy", features.numpy())
    save_file({"anything": features.bfloat16()}, tmp_path / "one.safetensors")
    save_file({"image_features": features, "ids": torch.arange(5)}, tmp_path / "two.safetensors")
    assert torch.equal(read_features(tmp_path / "f.npy", 5), features.float())
    assert torch.equal(read_features(tmp_path / "one.safetensors", 5), features.bfloat16().float())
    assert read_features(tmp_path / "two.safetensors", 5).dtype == torch.float32


def test_own_features_of_either_byte_order(tmp_path):
    rows = torch.randn(5, 3, dtype=torch.float64)
    numpy.save(tmp_path / "f.npy", numpy.asfortranarray(rows.numpy().astype(">f8")))
    assert torch.equal(read_features(tmp_path / "f.npy", 5), rows.float())


def test_wrong_own_features(tmp_path):
    def refuse(name, text, expected=5):
        with pytest.raises(DataError, match=text):
            read_features(tmp_path / name, expected)

    nan = torch.randn(5, 3)
    nan[1, 1], nan[4, 0] = float("nan"), float("inf")
    save_file({"a": nan}, tmp_path / "nan.safetensors")
    refuse("nan.safetensors", "expected finite numbers, found 2 rows with others")
    save_file({"a": torch.ones(5, 3)}, tmp_path / "ok.safetensors")
    refuse("ok.safetensors", r"expected shape \[6, d\], found \[5, 3\]; give one row per image", 6)
    shutil.copy(tmp_path / "ok.safetensors", tmp_path / "ok.pt")
    refuse("ok.pt", r"expected \.safetensors or \.npy, found '\.pt'")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "ok.safetensors").read_bytes()[:-3])
    refuse("cut.safetensors", "expected a readable safetensors file")
    save_file({"a": torch.ones(5, 3), "b": torch.ones(5)}, tmp_path / "many.safetensors")
    refuse("many.safetensors", "expected one tensor or one named image_features, found a, b")
    for name, array in {
        "flat": numpy.ones(5), "ints": numpy.ones((5, 3), int), "objects": numpy.array([[{}]] * 5),
        "words": numpy.array([["a"]] * 5), "huge": numpy.full((5, 1), 1e300),
    }.items():  # fmt: skip
        numpy.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    refuse("flat.npy", r"found \[5\]")
    refuse("ints.npy", r"expected floating-point numbers, found torch\.int64")
    refuse("objects.npy", r"expected an \.npy file of numbers")
    refuse("words.npy", r"expected an \.npy file of numbers")
    refuse("huge.npy", "found 5 rows with others")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:-3])
    refuse("cut.npy", r"expected an \.npy file of numbers")
    (tmp_path / "none.npy").write_bytes(b"")
    refuse("none.npy", r"expected an \.npy file of numbers")
    refuse("absent.npy", "expected a file, found none")
    whole = (tmp_path / "flat.npy").read_bytes()
    shape = b"'shape': (5,)"
    for damage, text in (
        (b"'shape': (5, ", "a damaged header"), (b"'shape': [[[[", "a damaged header"), (b"'shape': (-5)", "shape is"),
        (b"'shape': 5,5,", "parse"), (b"\xff" * len(shape), "."),
    ):  # fmt: skip
        assert len(damage) == len(shape)
        assert shape in whole
        (tmp_path / "harmed.npy").write_bytes(whole.replace(shape, damage))
        refuse("harmed.npy", rf"harmed\.npy: expected an \.npy file of numbers, found [^\n]*{text}[^\n]*$")
    numpy.save(tmp_path / "one.npy", numpy.float32(1))
    refuse("one.npy", r"expected shape \[5, d\], found \[\]")
    numpy.savez(tmp_path / "many.npz", numpy.ones((5, 2)))
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    refuse("many.npy", r"expected an \.npy file of numbers, found an archive \(\.npz\)$")
    (tmp_path / "text.npy").write_bytes(b"words, no numbers")
    refuse("text.npy", r"expected an \.npy file of numbers, found a file that begins b'words,'$")


def test_slow_pictures_keep_their_rows_and_few_are_read_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "WORKERS", 4)
    encoded, most = [], []

    class Slow(Pictures):
        def open(self, name):
            time.sleep(0.02 if name in ("p0", "p5") else 0)
            return super().open(name)

    pictures = Slow()

    def encode(greys):
        most.append(len(pictures.opened) - len(encoded))
        encoded.extend(greys)
        return torch.tensor(greys, dtype=torch.float32)[:, None]

    names = [f"p{n}" for n in range(20)]
    got = image_features(names, pictures, encode, "key", tmp_path, 2, prepare=lambda p: p.tobytes()[0])
    assert got.flatten().tolist() == list(range(20))
    assert encoded == list(range(20))
    assert max(most) <= 6


def test_an_unreadable_picture_stops_the_reading_ahead(tmp_path):
    class Broken(Pictures):
        def open(self, name):
            if name == "p3":
                raise DataError("picture p3: broken")
            return super().open(name)

    pictures = Broken()
    with pytest.raises(DataError, match="picture p3: broken"):
        image_features([f"p{n}" for n in range(20)], pictures, Tower(), "key", tmp_path, 1)
    assert len(pictures.opened) < 19


def test_batches_are_started_before_the_first_is_waited_for(tmp_path):
    told = []

    def start(pictures):
        features = Tower()(pictures)
        number = len([word for word in told if word[0] == "started"])
        told.append(("started", number))

        def wait():
            told.append(("waited for", number))
            return features

        return wait

    names = [f"p{n}" for n in range(14)]
    assert torch.equal(image_features(names, Pictures(), start, "key", tmp_path, 2), truth(names))
    ahead = store.IN_FLIGHT + 1
    assert told[: ahead + 1] == [*(("started", n) for n in range(ahead)), ("waited for", 0)]
    assert [n for word, n in told if word == "waited for"] == list(range(7))
    kept = image_features(names, Pictures(), lambda pictures: pytest.fail("encoded again"), "key", tmp_path, 2)
    assert torch.equal(kept, truth(names))
