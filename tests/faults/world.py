"""What the commands of the scenarios read: tiny towers, tables, pictures, packages, lines, and a run to merge."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from tests import tiny
from tests.jobs import conftest as small
from tests.translation import toy

PICTURES = 1100
"""Pictures of the data set that has some: more than two parts of a feature store."""
LINES = 6000
"""Lines to translate and of the corpus: more than one chunk of a pair store."""
FEW = 50
"""Pictures and lines of brief commands."""
PARTS = (
    ("a", "the", "one"), ("red", "big", "blue", "small"), ("dog", "cat", "man", "woman", "bicycle"),
    ("sees", "stands on", "and"), ("a", "the", "two"), ("red", "big", "small", "broken"),
    ("dog", "cat", "man", "woman"),
)  # fmt: skip


def make_world(folder: Path) -> None:
    """Fill a new folder; takes seconds."""
    import numpy

    folder.mkdir()
    tiny.tiny_text_checkpoint(folder / "text", seed=3)
    tiny.tiny_image_checkpoint(folder / "image")
    small.write_table(folder / "table.jsonl", small.rows_of())
    numpy.save(folder / "features.npy", numpy.random.default_rng(0).standard_normal((60, 32)).astype("float32"))
    untranslated = [{k: v for k, v in row.items() if "pivot" not in k} for row in small.rows_of()]
    small.write_table(folder / "untranslated.jsonl", untranslated)
    _pictures(folder / "pictures", PICTURES)
    _pictures(folder / "few-pictures", FEW)
    english = {options[0]: [word] for word, options in toy.GERMAN.items() if options[0].isascii()}
    for source, target, words in (("de", "en", toy.GERMAN), ("en", "de", english)):
        files = toy.files(source, target, words, folder / f"scratch-{source}")
        toy.unpack(folder / "packages", f"translate-{source}_{target}-1_0", files)
    lines = [" ".join(words) for words in itertools.product(*PARTS)][:LINES]
    _write(folder, "english.txt", lines)
    german = list(toy.GERMAN)
    count = len(german)
    told = [f"{german[n % count]} {german[n // count % count]} {n}" for n in range(LINES)]
    _write(folder, "german.txt", told)
    _run(folder)


def _write(folder: Path, name: str, lines: Sequence[str]) -> None:
    """Write lines, and beside them some of them."""
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / f"few-{name}").write_text("\n".join(lines[:: LINES // FEW]) + "\n", encoding="utf-8")


def _pictures(folder: Path, count: int) -> None:
    """A table of English and German captions beside many tiny pictures, each another."""
    from PIL import Image

    folder.mkdir()
    rows = []
    for number in range(count):
        name = f"{number:04d}.png"
        Image.new("RGB", (9, 7), (number % 256, number // 256, (number * 37) % 256)).save(folder / name)
        captions = (("en", f"a dog {number}"), ("de", f"ein Hund {number}"))
        rows += [{"image": name, "lang": language, "caption": caption} for language, caption in captions]
    small.write_table(folder / "table.jsonl", rows)


def _run(folder: Path) -> None:
    """A trained run in `run`."""
    from xpet.core.config import AlignConfig, DataConfig, FitConfig, MethodConfig, ModelConfig
    from xpet.jobs.align import run as align

    data = DataConfig("table", str(folder / "table.jsonl"), shots=8, image_features=str(folder / "features.npy"))
    fit = FitConfig(batch_size=4, steps=4, validate_every=2, device="cpu")
    align.run(AlignConfig(
        ("de",), ModelConfig(str(folder / "text")), data, MethodConfig("lora"), fit, routines=("routine1",),
        out=str(folder / "run"),
    ))  # fmt: skip
