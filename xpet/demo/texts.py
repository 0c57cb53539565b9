"""Writes the shipped captions: per language and scene a natural caption and both simulated translations."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from xpet.demo import world
from xpet.demo.grammars import GRAMMARS
from xpet.demo.scenes import Message, Scene, describe
from xpet.demo.translator import translate

COLUMNS = ("target", "to_pivot", "from_pivot")


def english_messages(scenes: Iterable[Scene], seed: int = world.SEED) -> Iterator[Message]:
    """What the English caption of each scene says; its own seed per scene, so any slice can be rebuilt alone."""
    for number, scene in enumerate(scenes):
        yield describe(scene, _rng(seed, "en", number))


def caption_rows(language: str, scenes: list[Scene], seed: int = world.SEED) -> Iterator[tuple[str, str, str]]:
    """(target, to_pivot, from_pivot) of each scene in one language; for English all three are the caption itself."""
    for number, (scene, english) in enumerate(zip(scenes, english_messages(scenes, seed), strict=True)):
        rng = _rng(seed, language, number)
        message = describe(scene, rng)
        target = GRAMMARS[language].say(message, rng)
        if language == "en":
            yield (target, target, target)
        else:
            yield (target, translate(message, language, "en", rng), translate(english, "en", language, rng))


def _rng(seed: int, language: str, number: int) -> random.Random:
    return random.Random(f"{seed}-{language}-{number}")
