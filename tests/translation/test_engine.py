"""The engine against Argos' own API, and against itself in other batches; the toy model is a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.translation import toy
from xpet.core.errors import ModelError
from xpet.translation.engine import BEAM, ArgosTranslator
from xpet.translation.packages import Installed, find_chain, find_packages

LINES = [
    "ein Hund", "der Mann sieht das Fahrrad", "zwei Katze und drei Hund", "kaputt", "Hund", "die Frau steht auf",
    "ein Hund.", "zwei!", "der Apfel", "ein  Hund  und", " ein Hund", "ein Hund ", "Stern und Stern", "\U0001f600 Hund",
    "der \u05e9\u05dc\u05d5\u05dd Hund", "123 Hund", "sehr sehr sehr gross", "ein " * 60 + "Hund", "x", "?",
]  # fmt: skip
ARGOS = """
import json, sys
from argostranslate import settings, translate
lines, beams = json.load(sys.stdin)
found = {}
for settings.beam_size in beams:
    found[settings.beam_size] = [translate.translate(line, "de", "en") for line in lines]
print(json.dumps(found))
"""


def translator(folder: Path, source: str = "de", target: str = "en", beam: int = BEAM) -> ArgosTranslator:
    chain = find_chain(find_packages(folder)[0], source, target)
    assert chain is not None
    return ArgosTranslator(chain[0], "fingerprint", beam)


def texts(engine: ArgosTranslator, lines: list[str]) -> list[str]:
    return [found.text for found in engine.best(lines)]


def test_equal_to_argos_api_line_by_line(installed: Path, tmp_path: Path) -> None:
    home = {name: str(tmp_path / "argos") for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    home |= {"ARGOS_PACKAGES_DIR": str(installed), "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ARGOS], input=json.dumps([LINES, [1, BEAM]]), capture_output=True, text=True,
        env={**os.environ, **home}, timeout=120,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"Argos' own API does not run here: {done.stderr[-300:]}")
    for beam, lines in json.loads(done.stdout).items():
        assert texts(translator(installed, beam=int(beam)), LINES) == lines


def test_translates_words(installed: Path) -> None:
    lines = ["ein Hund", "der Mann sieht das Fahrrad", "die Katze steht auf"]
    assert texts(translator(installed), lines) == ["a dog", "the man sees the Fahrrad", "the cat stands on"]


def test_other_batches_give_the_same(installed: Path) -> None:
    engine = translator(installed)
    together = texts(engine, LINES)
    assert together == [texts(engine, [line])[0] for line in LINES]
    assert together == texts(engine, LINES[::-1])[::-1]


def test_alternatives_begin_with_the_best(installed: Path) -> None:
    found = [[h.text for h in options] for options in translator(installed, beam=1).alternatives(["kaputt", "Hund"])]
    assert [len(options) for options in found] == [4, 4]
    assert found[0][:2] == ["kaputt", "broken"]
    assert found[1][0] == "dog"


def test_alternatives_kept_by_the_first_search_are_those_of_a_second(installed: Path) -> None:
    kept, fresh = translator(installed), translator(installed)
    best = kept.best(LINES)
    alternatives = kept.alternatives(LINES[::-1])[::-1]
    assert alternatives == fresh.alternatives(LINES)
    assert [options[0] for options in alternatives] == best
    kept.best(["Hund"])
    assert kept.alternatives(["kaputt"]) == fresh.alternatives(["kaputt"])


def test_underscores_stay_where_the_source_has_them(installed: Path) -> None:
    assert texts(translator(installed), ["Hund_Katze ein_", "_"]) == ["dog_Katze a_", "_"]


def test_what_is_too_long_is_said_to_be_cut(installed: Path) -> None:
    found = translator(installed).best(["Hund " * 2000, "Hund " * 200])
    assert [h.cut for h in found] == [True, False]
    assert found[1].text == " ".join(["dog"] * 200)


def test_target_prefix_is_given_and_taken_away(tmp_path: Path, german: dict[str, bytes]) -> None:
    facts = json.dumps(toy.metadata("de", "en", target_prefix="\u2581the")).encode()
    toy.unpack(tmp_path, "de_en", {**german, "metadata.json": facts})
    assert texts(translator(tmp_path), ["ein Hund"])[0].endswith("dog")


def test_identity_depends_on_package_and_options(installed: Path) -> None:
    engine = translator(installed)
    other = ArgosTranslator(replace(engine.package, version="9"), "another fingerprint")
    assert len({engine.identity, other.identity, translator(installed, beam=1).identity}) == 3
    assert engine.identity == translator(installed).identity


def test_a_damaged_model_is_a_model_error(tmp_path: Path, german: dict[str, bytes]) -> None:
    folder = toy.unpack(tmp_path, "de_en", {**german, "model/model.bin": german["model/model.bin"][:1000]})
    engine = ArgosTranslator(Installed(folder, "de", "en", "1"), "f")
    with pytest.raises(ModelError, match="CTranslate2 cannot load its model"):
        engine.best(["ein Hund"])
    toy.unpack(tmp_path, "de_en", {"sentencepiece.model": b"nothing"})
    with pytest.raises(ModelError, match="its tokenizer fails"):
        ArgosTranslator(Installed(folder, "de", "en", "1"), "f").best(["ein Hund"])


def test_the_toy_model_is_byte_deterministic(tmp_path: Path, german: dict[str, bytes]) -> None:
    assert toy.files("de", "en", toy.GERMAN, tmp_path) == german
