"""A small world for whole commands: 60 images, three languages with both translations, own image features."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from xpet.core.config import AlignConfig, DataConfig, EvalConfig, FitConfig, MethodConfig, ModelConfig
from xpet.jobs.results.report import Report

FIT = FitConfig(batch_size=6, steps=4, validate_every=2, device="cpu")
SHOTS, IMAGES = 12, 60
ENGLISH = ("a two three", "big small", "red blue green", "dog cat man woman")
WORDS = {
    "de": ("ein zwei drei", "grosser kleiner", "roter blauer gruener", "Hund Kater Mann Onkel"),
    "tr": ("bir iki dört", "büyük küçük", "kızıl mavi yeşil", "köpek kedi adam kadın"),
}
PATTERNS = {
    "caption": {"en": "{0} {1} {2} {3}", "de": "{0} {1} {2} {3}", "tr": "{2} {1} {0} {3}"},
    "to_pivot": {"de": "the {1} {2} {3} of {0}", "tr": "{3} {2} {1} {0}"},
    "from_pivot": {"de": "{3} {2} {1} {0}", "tr": "{0} {3} {1} {2}"},
}
Row = dict[str, str]


def rows_of(images: int = IMAGES) -> list[Row]:
    """Rows of the table: every image is a different combination of words, captioned in en, de and tr."""
    combinations = list(itertools.product(range(3), range(2), range(3), range(4)))[:images]
    rows: list[Row] = []
    for number, chosen in enumerate(combinations):
        for language in ("en", "de", "tr"):
            row = {"image": f"{number:03d}.png", "lang": language}
            for column, patterns in PATTERNS.items():
                source = ENGLISH if column == "to_pivot" or language == "en" else WORDS[language]
                words = [part.split()[place] for part, place in zip(source, chosen, strict=True)]
                row[column] = patterns[language].format(*words) if language in patterns else ""
            rows.append(row)
    return rows


@dataclass(frozen=True)
class Shown:
    """What tests look at of one language of a report: R@1 before, translated and after, English under its module."""

    language: str
    before: float
    translated: float | None
    after: float | None
    english_after: float | None
    run: str | None
    seeds: int


def shown(report: Any) -> list[Shown]:
    """The languages of a report, in its order."""
    assert isinstance(report, Report)
    base = report.systems[0]
    translated = next((s.languages for s in report.systems if s.kind == "base" and s.text == "to_pivot"), {})
    tuned = next((s.languages for s in report.systems if s.kind == "run"), {})
    found = []
    for language, scores in base.languages.items():
        own = tuned[language] if language in tuned and tuned[language].run else None
        foreign = translated[language].mean.r1.value if language in translated and language != "en" else None
        english = own.english.value if own and own.english else None
        after = (own.mean.r1.value, english, own.run, own.seeds) if own else (None, None, None, 0)
        found.append(Shown(language, scores.mean.r1.value, foreign, *after))
    return found


def write_table(path: Path, rows: list[Row]) -> Path:
    lines = [json.dumps({k: v for k, v in row.items() if v}, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class World:
    """Where everything is; `config` makes a short training on it."""

    text: Path
    table: Path
    features: Path

    def data(self, **changes: Any) -> DataConfig:
        data = DataConfig(
            name="table", root=str(self.table), shots=SHOTS, val_shots=SHOTS, image_features=str(self.features)
        )
        return replace(data, **changes)

    def config(self, out: Path | None, *languages: str, method: str | MethodConfig = "lora", **changes: Any) -> Any:
        return AlignConfig(**{
            "languages": languages or ("de",), "model": ModelConfig(str(self.text)), "data": self.data(),
            "method": MethodConfig(method) if isinstance(method, str) else method, "fit": FIT,
            "out": str(out) if out else None, "learning_rates": (1e-3,), "align_weights": (0.1,), "losses": ("mse",),
            **changes,
        })  # fmt: skip

    def evaluation(self, *runs: Path | str, **changes: Any) -> EvalConfig:
        fit = FitConfig(device="cpu")
        return EvalConfig(
            **{"runs": tuple(map(str, runs)), "data": DataConfig(name="table"), "fit": fit, "resamples": 0, **changes}
        )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The whole world, made once; image features lie near the tower's own features of the English captions."""
    import numpy

    from tests.tiny import tiny_text_checkpoint
    from xpet.models.checkpoint import load_text_tower
    from xpet.models.encode import encode_texts

    folder = tmp_path_factory.mktemp("world")
    text = tiny_text_checkpoint(folder / "text", seed=3)
    loaded = load_text_tower(text)
    english = [row["caption"] for row in rows_of() if row["lang"] == "en"]
    features = encode_texts(loaded.tower, loaded.tokenizer, english)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(features.shape, generator=generator) * features.std(dim=0)
    numpy.save(folder / "features.npy", (features + 0.5 * noise).numpy())
    return World(text, write_table(folder / "table.jsonl", rows_of()), folder / "features.npy")


@pytest.fixture(scope="session")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every method, by its name, and `head`, a LoRA run with other modules and a trained head.

    Tests copy what they damage.
    """
    from xpet.jobs.align import run as align

    folder = tmp_path_factory.mktemp("runs")
    fit = FitConfig(batch_size=6, steps=6, validate_every=3, device="cpu", include_start=False)
    methods = {name: MethodConfig(name) for name in ("lora", "bitfit", "full", "adapter", "linear-map")}
    methods["compacter"] = MethodConfig("compacter", reduction=8)
    methods["head"] = MethodConfig("lora", rank=2, modules=("key", "output.dense"), train=("layernorm", "head"))
    for name, method in methods.items():
        align.run(world.config(folder / name, "de", method=method, fit=fit, learning_rates=(1e-2,)))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """xpet's cache of this test alone, and no translation packages."""
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "no-packages"))
    return tmp_path / "cache"


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its contents."""

    def read(folder: Path) -> dict[str, bytes]:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The table beside a generated PNG for every image; returns the table."""
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(IMAGES):
        colour = (number * 4, 255 - number * 3, (number * 37) % 256)
        Image.new("RGB", (40, 34), colour).save(folder / f"{number:03d}.png")
    return write_table(folder / "table.jsonl", rows_of())
