"""What the Japanese and Korean grammars share: where a caption that only lists things names its background."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from xpet.demo.scenes import Message, ObjectGroup


def say_listed(
    message: Message,
    rng: random.Random,
    predicate: Callable[[tuple[ObjectGroup, ...], random.Random, bool], str],
    with_backdrop: Callable[[str, str | None], str],
    in_setting: Callable[[Message, str, float, random.Random], str],
    backgrounds: Mapping[str, tuple[str, ...]],
) -> str:
    """A caption without a relation: no background, one named behind the sentence, or one that the things stand in.

    Args:
        message: what is said.
        rng: chooses among the wordings.
        predicate: the groups as a phrase or sentence; True for one that something follows.
        with_backdrop: the sentence with the background (None: without) named behind it.
        in_setting: the sentence of a message and a background's name; a number from 0.2 to 1 chooses the wording.
        backgrounds: names of each background.
    """
    if not message.background:
        return predicate(message.groups, rng, False)
    style = rng.random()
    if style < 0.2:
        return with_backdrop(predicate(message.groups, rng, True), message.background)
    return in_setting(message, rng.choice(backgrounds[message.background]), style, rng)
