"""The natural captions of the shipped scenes; their machine translations are made by the demo's packages."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from xpet.demo import world
from xpet.demo.grammars import GRAMMARS
from xpet.demo.scenes import Message, Scene, describe


def captions(
    language: str, scenes: Sequence[Scene], start: int = 0, seed: int = world.SEED
) -> Iterator[tuple[Message, str]]:
    """What the caption of each scene says and how; a seed per scene, so a slice from `start` can be rebuilt alone."""
    for number, scene in enumerate(scenes, start):
        rng = random.Random(f"{seed}-{language}-{number}")
        message = describe(scene, rng)
        yield message, GRAMMARS[language].say(message, rng)
