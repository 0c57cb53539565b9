"""The embedded world: scenes, grammars, translator, shipped assets, and the rebuild of a slice."""

from __future__ import annotations

import bz2
import json
import random
import re
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from xpet.core.captions import ReadRequest
from xpet.core.errors import ConfigError, DataError
from xpet.demo import assets, build, reader, texts, world
from xpet.demo.grammars import GRAMMARS
from xpet.demo.pictures import draw
from xpet.demo.scenes import Message, Scene, describe, distinct_scenes

SLICE = 60
LANGUAGES = pytest.mark.parametrize("language", world.LANGUAGES)


def shipped(language: str, folder: Path = assets.FOLDER) -> tuple[list[str], ...]:
    return assets.columns_of(assets.read_content(assets.captions_path(language, folder)))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(distinct_scenes(world.SEED, SLICE))


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    rng = random.Random(1)
    return [describe(scene, rng) for scene in distinct_scenes(7, 1500)]


def test_scenes_of_all_splits_differ_in_content() -> None:
    scenes = assets.scenes()
    assert len(scenes) == 7000
    assert {name: len(r) for name, r in assets.split_ranges().items()} == world.SPLITS
    assert world.SPLITS["train"] >= 5000
    assert min(world.SPLITS.values()) >= 1000
    assert len({scene.content for scene in scenes}) == len(scenes)


def test_a_slice_of_scenes_and_captions_is_rebuilt_exactly(scenes: list[Scene]) -> None:
    assert assets.read_lines(assets.scenes_path())[:SLICE] == [assets.scene_line(s) for s in scenes]
    for language in world.LANGUAGES:
        columns = shipped(language)
        assert columns[0][:SLICE] == [caption for _, caption in texts.captions(language, scenes)]
        assert [len(column) for column in columns] == [len(assets.scenes())] * len(assets.COLUMNS)


@LANGUAGES
def test_every_shipped_caption_is_what_the_grammar_says(language: str) -> None:
    assert shipped(language)[0] == [caption for _, caption in texts.captions(language, assets.scenes())]


def test_manifest_lists_every_asset_with_its_content() -> None:
    manifest = json.loads(assets.MANIFEST.read_text())
    files = {str(p.relative_to(assets.FOLDER)) for p in assets.FOLDER.rglob("*") if p.is_file()}
    assert files == {*manifest["content_sha256"], "manifest.json"}
    for name, digest in manifest["content_sha256"].items():
        assert assets.content_digest(assets.FOLDER / name) == digest
    assert manifest["seed"] == world.SEED
    assert sum((assets.FOLDER / name).stat().st_size for name in files) < 8_000_000


def test_rebuilding_the_captions_writes_the_shipped_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = list(islice(distinct_scenes(world.SEED, SLICE), SLICE))
    monkeypatch.setattr(build, "shipped_scenes", lambda: small)
    monkeypatch.setattr(world, "LANGUAGES", ("en", "tr"))
    build.main(["--out", str(tmp_path / "new"), "--captions-only", "--packages", str(assets.PACKAGES)])
    names = {p.name for p in (tmp_path / "new").iterdir()}
    assert names == {"manifest.json", "scenes.jsonl.bz2", "captions.en.txt.bz2", "captions.tr.txt.bz2", "packages"}
    rebuilt = shipped("tr", tmp_path / "new")
    assert rebuilt[0] == shipped("tr")[0][:SLICE]
    for new, old in zip(rebuilt[1:], shipped("tr")[1:], strict=True):
        assert (
            sum(a == b for a, b in zip(new, old[:SLICE], strict=True)) >= 0.85 * SLICE
        )  # processors round differently
    assert len(shipped("en", tmp_path / "new")[0]) == SLICE


@LANGUAGES
def test_different_messages_get_different_sentences(language: str, messages: list[Message]) -> None:
    grammar, rng = GRAMMARS[language], random.Random(2)
    said: dict[str, Message] = {}
    for message in messages:
        sentence = grammar.say(message, rng)
        assert sentence == sentence.strip()
        assert "\t" not in sentence
        assert "\n" not in sentence
        assert "  " not in sentence
        assert said.setdefault(sentence, message) == message, sentence
    stiff = {message: grammar.say_as_machine(message) for message in messages}
    assert len(set(stiff.values())) == len(stiff)


@LANGUAGES
def test_captions_vary_but_machine_sentences_do_not(language: str, messages: list[Message]) -> None:
    grammar, rng = GRAMMARS[language], random.Random(3)
    long = next(m for m in messages if m.relation and m.background)
    assert len({grammar.say(long, rng) for _ in range(40)}) >= 12
    assert len({grammar.say_as_machine(long) for _ in range(5)}) == 1


def test_agreement_spot_checks() -> None:
    from xpet.demo.scenes import ObjectGroup

    def machine(language: str, *groups: ObjectGroup) -> str:
        return GRAMMARS[language].say_as_machine(Message(groups))

    assert "großes" in machine("de", ObjectGroup("house", "red", "large"))
    assert "rote" in machine("de", ObjectGroup("flower", "red", None))
    assert "rossa" in machine("it", ObjectGroup("house", "red", None))
    assert "due" in machine("it", ObjectGroup("house", "red", None, 2))
    assert "dwie" in machine("pl", ObjectGroup("fish", "red", None, 2))
    assert "dwa" in machine("pl", ObjectGroup("house", "red", None, 2))
    assert "две" in machine("ru", ObjectGroup("star", "red", None, 2))
    assert "два" in machine("ru", ObjectGroup("house", "red", None, 2))
    assert "iki" in machine("tr", ObjectGroup("house", "red", None, 2))


def test_pictures_are_deterministic_and_show_differences(scenes: list[Scene]) -> None:
    pictures = [draw(scene) for scene in scenes]
    assert all(p.shape == (64, 64, 3) and p.dtype == np.uint8 for p in pictures)
    assert all(np.array_equal(p, draw(s)) for p, s in zip(pictures[:5], scenes[:5], strict=True))
    assert len({p.tobytes() for p in pictures}) == len(pictures)


def test_reader_gives_aligned_corpora() -> None:
    corpus = reader.read(ReadRequest(languages=("en", "ja")))
    assert corpus.synthetic
    assert corpus.languages == ("en", "ja")
    test = corpus.splits["test"]
    assert test.images[0] == "demo_06000"
    japanese, english = test.captions["ja"], test.captions["en"]
    assert japanese.slot("pivot") == english.slot("target")
    assert english.slot("to_pivot") == english.slot("target")
    assert len({len(japanese.slot(s)) for s in ("target", "pivot", "to_pivot", "from_pivot")}) == 1
    with pytest.raises(DataError, match="unknown demo language 'xx': expected one of en, de"):
        reader.read(ReadRequest(languages=("xx",)))


def test_pictures_have_digests_of_their_content() -> None:
    pictures = reader.read(ReadRequest(languages=("en",))).pictures
    assert pictures is not None
    assert pictures.digest("demo_00000") != pictures.digest("demo_00001")
    assert pictures.open("demo_00000").size == (64, 64)
    with pytest.raises(DataError, match="found demo_99999"):
        pictures.digest("demo_99999")


@pytest.mark.parametrize(("request_", "flag"), [
    (ReadRequest(root="somewhere"), "--data-root"), (ReadRequest(variant="task2"), "--variant"),
])  # fmt: skip
def test_it_has_neither_root_nor_variant(request_: ReadRequest, flag: str) -> None:
    with pytest.raises(ConfigError, match=f"^{flag}: expected none with the demo data, found "):
        reader.read(request_)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other(path: Path) -> None:
    path.write_bytes(bz2.compress(bz2.decompress(path.read_bytes()).replace(b"Katze", b"Hund")))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("captions.de.txt.bz2", damage) for damage in (cut, flip, Path.unlink)),
        *(("scenes.jsonl.bz2", damage) for damage in (cut, flip, Path.unlink)),
        ("captions.de.txt.bz2", other), ("manifest.json", cut), ("manifest.json", Path.unlink),
    ],
)  # fmt: skip
def test_what_is_not_as_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Callable[[Path], None]
) -> None:
    for each in (assets.captions_path("de"), assets.scenes_path(), assets.MANIFEST):
        shutil.copy(each, tmp_path)
    damage(tmp_path / name)
    monkeypatch.setattr(assets, "FOLDER", tmp_path)
    monkeypatch.setattr(assets, "MANIFEST", tmp_path / "manifest.json")
    path = tmp_path / ("captions.de.txt.bz2" if name == "manifest.json" else name)
    with pytest.raises(DataError, match=rf"demo file \S*{re.escape(path.name)}: expected .*, found .*; install xpet"):
        assets.installed_content(path)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--out", "there"], "--out: expected a new folder, found there"),
        (["--out", "new", "--packages", "there"], "--packages: expected a folder with .argosmodel files, found there"),
        (["--out", "new", "--packages", "none"], "--packages: expected a folder with .argosmodel files, found none"),
    ],
)
def test_a_rebuild_is_refused_before_it_writes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(SystemExit):
        build.main(arguments)
    assert problem in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
