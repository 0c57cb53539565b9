"""Rebuilds every byte of the demo's assets from source: `python -m xpet.demo.build --out FOLDER`.

Steps, in order: scenes; a translation package for each language to English and back; captions, translated by
`xpet translate` with these packages; the image tower with a mono-lingual English text tower by contrastive
pre-training; the multilingual text tower by distillation, in rounds that read what `world.ROUNDS` says.
Everything is seeded. The same machine and thread count give the same bytes; other
processors round differently, so their weights differ in the last digits and the captions do not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT
from xpet.demo import assets, texts, world
from xpet.demo.grammars import GRAMMARS
from xpet.demo.scenes import Message, Scene, describe, distinct_scenes

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from xpet.demo.pretrain import Read
    from xpet.models.text_tower import TextTower

Log = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the rebuild."""
    parser = argparse.ArgumentParser(prog="python -m xpet.demo.build", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="new folder for the assets")
    parser.add_argument("--captions-only", action="store_true", help="scenes, packages and captions, no towers")
    parser.add_argument("--packages", type=Path, help="take the translation packages from this folder")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.out.exists():
        parser.error(f"--out: expected a new folder, found {options.out}")
    if options.packages is not None and not list(options.packages.glob("*.argosmodel")):
        parser.error(f"--packages: expected a folder with .argosmodel files, found {options.packages}")
    options.out.mkdir(parents=True)
    started = time.monotonic()

    def log(text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - started:6.0f} s] {text}\n")

    packages = options.out / "packages"
    if options.packages is None:
        build_packages(packages, options.threads, log)
    else:
        shutil.copytree(options.packages, packages)
    write_captions(options.out, packages, log)
    if not options.captions_only:
        build_towers(options.out, options.threads, log)
    write_manifest(options.out)


def shipped_scenes() -> list[Scene]:
    """Train, validation and test scenes, in this order; the scenes after them are pre-training's."""
    return list(distinct_scenes(world.SEED, sum(world.SPLITS.values())))


def pretraining_scenes() -> list[Scene]:
    """Scenes that no split holds, for everything that is trained here."""
    count = sum(world.SPLITS.values())
    return list(islice(distinct_scenes(world.SEED, count + world.PRETRAINING_SCENES), count, None))


def translators_scenes() -> list[Scene]:
    """Scenes that no split holds and where rare things are hardly rarer: translators know more words than towers."""
    return list(
        distinct_scenes(world.SEED + 1, world.PRETRAINING_SCENES, world.TRANSLATORS_STEEPNESS, shipped_scenes())
    )


def build_packages(out: Path, processes: int, log: Log) -> None:
    """Train and write the translation package of every pair, a process and a thread for each."""
    from xpet.demo.packages import pairs_of_languages

    out.mkdir()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        for path in pool.map(_build_package, pairs_of_languages(), repeat(out)):
            log(f"{path.name}, {path.stat().st_size:,} bytes")


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _build_package(pair: tuple[str, str], out: Path) -> Path:
    from xpet.demo.packages import build_package

    return build_package(translators_scenes(), *pair, out, lambda text: None)


def write_captions(out: Path, packages: Path, log: Log) -> None:
    """Scenes and, per language, natural captions with the translations that the packages make of them."""
    scenes = shipped_scenes()
    assets.write_lines(assets.scenes_path(out), map(assets.scene_line, scenes))
    natural = {language: [text for _, text in texts.captions(language, scenes)] for language in world.LANGUAGES}
    with tempfile.TemporaryDirectory() as scratch:
        interpreter = _Interpreter(Path(scratch), packages)
        for language, lines in natural.items():
            columns = [lines]
            if language != PIVOT:
                columns += [interpreter(lines, language, PIVOT), interpreter(natural[PIVOT], PIVOT, language)]
            assets.write_columns(assets.captions_path(language, out), columns)
            log(f"captions {language}")


class _Interpreter:
    """`xpet translate` with the new packages, in a scratch cache: the shipped translations are what it gives."""

    def __init__(self, scratch: Path, packages: Path) -> None:
        self.scratch = scratch
        self.environment = {
            **os.environ, "XPET_CACHE": str(scratch / "cache"), "ARGOS_PACKAGES_DIR": str(scratch / "packages"),
        }  # fmt: skip
        self._run("--install", *map(str, sorted(packages.iterdir())))

    def __call__(self, lines: Sequence[str], source: str, target: str) -> list[str]:
        source_file, target_file = self.scratch / "in.txt", self.scratch / "out.txt"
        source_file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        files = (str(source_file), "--out", str(target_file))
        self._run(*files, "--from", source, "--to", target, "--device", "cpu")
        return target_file.read_text(encoding="utf-8").split("\n")[:-1]

    def _run(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "xpet", "translate", *arguments], env=self.environment, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip


def build_towers(out: Path, threads: int, log: Log) -> None:
    """Pre-train and write all three towers."""
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    pretraining = pretraining_scenes()
    image, english, english_tokenizer = pretrain_english(pretraining, log)
    student, tokenizer = distil(pretraining, english, english_tokenizer, log)
    write_image_tower(out / "image", image)
    write_text_tower(out / "english", english, english_tokenizer)
    write_text_tower(out / "text", student, tokenizer)


def pretrain_english(scenes: Sequence[Scene], log: Log) -> tuple[nn.Module, TextTower, Tokenizer]:
    """Image tower and mono-lingual English tower by contrastive pre-training on drawn pictures."""
    import torch

    from xpet.demo import pretrain
    from xpet.models.image_tower import empty_image_tower
    from xpet.models.text_tower import empty_xlm_roberta

    say = pretrain.natural(GRAMMARS["en"].say)
    rng = random.Random(world.SEED)
    tokenizer = _padded(_tokenizer((say(scene, rng) for scene in scenes[:20_000]), world.ENGLISH_VOCABULARY))
    torch.manual_seed(world.SEED)
    image = empty_image_tower(**world.IMAGE_TOWER)
    english = _empty_text_tower(tokenizer, world.ENGLISH_TOWER, empty_xlm_roberta)
    pretrain.contrastive_pretraining(image, english, tokenizer, scenes, say, world.ENGLISH_STEPS, log=log)
    return image, english, tokenizer


def distil(
    scenes: Sequence[Scene], english: TextTower, english_tokenizer: Tokenizer, log: Log
) -> tuple[TextTower, Tokenizer]:
    """The multilingual tower: it fills in masked words of every language, then the English tower teaches it.

    The teacher takes two rounds, and is not as thorough in every language: `world.ROUNDS`.
    """
    import torch

    from xpet.demo import pretrain
    from xpet.models.text_tower import empty_xlm_roberta

    rng = random.Random(world.SEED)
    messages = [describe(scene, rng) for scene in scenes]
    tokenizer = _padded(_tokenizer(_every_language(messages[:6000], rng), world.VOCABULARY))
    torch.manual_seed(world.SEED + 1)
    student = _empty_text_tower(tokenizer, world.TEXT_TOWER, empty_xlm_roberta)

    def captions(draw: random.Random) -> str:
        return GRAMMARS[draw.choice(world.LANGUAGES)].say(draw.choice(messages), draw)

    pretrain.masked_language(student, tokenizer, captions, world.MASKED_STEPS, log=log)
    for lessons, steps in world.ROUNDS:
        read = [_read(*lesson, messages, english, english_tokenizer) for lesson in lessons.items()]
        pretrain.distillation(student, tokenizer, read, steps, log=log)
    return student.eval(), tokenizer


def _read(
    language: str, lesson: world.Lesson, messages: Sequence[Message], english: TextTower, tokenizer: Tokenizer
) -> Read:
    """Captions of a language with the English tower's embeddings of English captions that say the same."""
    import torch

    from xpet.demo import pretrain

    rng = random.Random(f"{world.SEED}-{language}-read")
    pairs = [(GRAMMARS[language].say(m, rng), GRAMMARS[PIVOT].say(m, rng)) for m in messages[: lesson.sentences]]
    captions, pivot = zip(*pairs, strict=True)
    with torch.no_grad():
        embeddings = pretrain.encode_in_buckets(english, tokenizer, pivot, 256)
    return pretrain.Read(lesson.share, captions, embeddings)


def _every_language(messages: Iterable[Message], rng: random.Random) -> Iterable[str]:
    for message in messages:
        for language in world.LANGUAGES:
            yield GRAMMARS[language].say(message, rng)
            yield GRAMMARS[language].say_as_machine(message)


def _tokenizer(captions: Iterable[str], vocabulary: int) -> Tokenizer:
    from xpet.demo.tokenizer import build_tokenizer

    return build_tokenizer(captions, vocabulary)


def _padded(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    tokenizer.enable_truncation(world.TEXT_TOWER["max_position_embeddings"] - 2)
    return tokenizer


def _empty_text_tower(tokenizer: Tokenizer, size: dict[str, Any], make: Callable[..., TextTower]) -> TextTower:
    return make(world.DIMENSIONS, vocab_size=tokenizer.get_vocab_size(), **size).eval()


def write_text_tower(folder: Path, tower: TextTower, tokenizer: Tokenizer) -> None:
    """A text tower in M-CLIP layout, half precision."""
    from xpet.models.checkpoint import save_text_tower
    from xpet.models.tokenizer import TextTokenizer

    wrapped = TextTokenizer(tokenizer, world.TEXT_TOWER["max_position_embeddings"] - 2, 1)
    save_text_tower(folder, tower.half(), wrapped, {"modelBase": "xlm-roberta-base"})


def write_image_tower(folder: Path, tower: nn.Module) -> None:
    """The image tower with its pre-processing, half precision."""
    from xpet.models.image_tower import save_image_tower

    side = world.IMAGE_TOWER["image_size"]
    settings: dict[str, Any] = {
        "size": side, "crop_size": side, "image_mean": [world.PIXEL_MEAN] * 3, "image_std": [world.PIXEL_STD] * 3,
    }  # fmt: skip
    save_image_tower(folder, tower.half(), settings)


def write_manifest(out: Path) -> None:
    """Seed and SHA-256 of every file's content (of the text inside for compressed ones)."""
    files = sorted(p for p in out.rglob("*") if p.is_file() and p.name != "manifest.json")
    document = {
        "what": "synthetic demo world of xpet; rebuild with: python -m xpet.demo.build --out FOLDER",
        "seed": world.SEED,
        "splits": world.SPLITS,
        "content_sha256": {str(p.relative_to(out)).replace(os.sep, "/"): assets.content_digest(p) for p in files},
    }
    (out / "manifest.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
