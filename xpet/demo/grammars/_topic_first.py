"""What the Japanese and Korean grammars share: where a caption names its background."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xpet.demo.scenes import Message, ObjectGroup


@dataclass(frozen=True)
class TopicFirstGrammar:
    """The sentence pattern of a language that puts the background in front, and its parts.

    Attributes:
        related: a caption of two groups in a relation.
        predicate: groups as a phrase or sentence; True for one that something follows.
        with_backdrop: a sentence with the background (None: without) named behind it.
        in_setting: the sentence of a message and a background's name; a number from 0.2 to 1 chooses the wording.
        backgrounds: names of each background.
    """

    related: Callable[[Message, random.Random], str]
    predicate: Callable[[tuple[ObjectGroup, ...], random.Random, bool], str]
    with_backdrop: Callable[[str, str | None], str]
    in_setting: Callable[[Message, str, float, random.Random], str]
    backgrounds: Mapping[str, tuple[str, ...]]

    def say(self, message: Message, rng: random.Random) -> str:
        """A natural caption of the message."""
        if message.relation:
            return self.related(message, rng)
        if not message.background:
            return self.predicate(message.groups, rng, False)
        style = rng.random()
        if style < 0.2:
            return self.with_backdrop(self.predicate(message.groups, rng, True), message.background)
        return self.in_setting(message, rng.choice(self.backgrounds[message.background]), style, rng)
