"""Builds the demo's translation packages: real `.argosmodel` files that know the words of this world only.

Called by `xpet.demo.build`; nothing here runs in normal use. A package is trained on captions of pre-training scenes,
which no split of the demo holds. It learns to word what a natural caption says as `say_as_machine` words it: mostly
right, always a little odd, as machine translation is.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from xpet.core.captions import PIVOT
from xpet.demo import world
from xpet.demo.grammars import GRAMMARS, english
from xpet.demo.scenes import Message, Scene, describe
from xpet.demo.seq2seq import SPECIAL, Pair, save, train

VERSION = "1.0"
README = """\
A toy: it translates captions of xpet's synthetic demo world and nothing else. Built by `python -m xpet.demo.build`;
Apache-2.0, as xpet is.
"""


def pairs_of_languages() -> list[tuple[str, str]]:
    """Every language to English and back."""
    others = [language for language in world.LANGUAGES if language != PIVOT]
    return [pair for language in others for pair in ((language, PIVOT), (PIVOT, language))]


def package_name(source: str, target: str) -> str:
    """File name of a package."""
    return f"translate-{source}_{target}-{VERSION.replace('.', '_')}.argosmodel"


def wording(message: Message, source: str, target: str) -> str:
    """How the demo's translators are taught to word a message; says the whole message, always the same way."""
    return english.say_as_machine(message, source) if target == PIVOT else GRAMMARS[target].say_as_machine(message)


def build_package(scenes: Sequence[Scene], source: str, target: str, out: Path, log: Callable[[str], None]) -> Path:
    """Train the package of one pair on captions of `scenes` and write its file into the folder `out`."""
    import sentencepiece

    rng = random.Random(f"{world.SEED}-{source}-{target}")
    sample = list(_lines(scenes[:4000], source, target, rng))
    model = _tokenizer([line for pair in sample for line in pair])
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    assert tuple(pieces[: len(SPECIAL)]) == SPECIAL

    def stream(order: random.Random) -> Iterator[Pair]:
        while True:
            for line, translation in _lines(order.sample(scenes, len(scenes)), source, target, order):
                yield processor.encode(line), processor.encode(translation)

    steps = world.TRANSLATOR_STEPS.get((source, target), world.TRANSLATOR["steps"])
    trained = train(stream, len(pieces), steps, world.SEED, log)
    folder = out / f".{source}_{target}"
    save(trained, pieces, folder)
    files = {f"model/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    files |= {"sentencepiece.model": model, "metadata.json": _metadata(source, target), "README.md": README.encode()}
    return _archive(out / package_name(source, target), files)


def _lines(scenes: Sequence[Scene], source: str, target: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    for scene in scenes:
        message = describe(scene, rng)
        yield GRAMMARS[source].say(message, rng), wording(message, source, target)


def _tokenizer(lines: Sequence[str]) -> bytes:
    """A byte-pair SentencePiece model, text taken as it is."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=world.TRANSLATOR["pieces"],
        character_coverage=1.0, normalization_rule_name="identity", hard_vocab_limit=False, num_threads=1,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


def _metadata(source: str, target: str) -> bytes:
    names = {language: f"{language} (xpet demo)" for language in (source, target)}
    facts = {
        "package_version": VERSION, "argos_version": "1.11", "from_code": source, "from_name": names[source],
        "to_code": target, "to_name": names[target],
    }  # fmt: skip
    return (json.dumps(facts, indent=2) + "\n").encode()


def _archive(path: Path, files: dict[str, bytes]) -> Path:
    """A zip without times and owners, so that equal files give equal bytes."""
    top = path.stem
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(f"{top}/{name}"), files[name], zipfile.ZIP_DEFLATED, 9)
    return path
