"""What the French, Spanish and Italian grammars share: agreement, sentence patterns, the translator's one pattern.

The three languages order a caption alike; they differ in words, in articles and in where an adjective of size stands.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from xpet.demo.grammars._lists import listing
from xpet.demo.scenes import Message, ObjectGroup

Forms = tuple[str, str, str, str]
"""An adjective: masculine and feminine singular, masculine and feminine plural."""
Noun = tuple[str, str, str]
"""Gender (m or f), singular, plural."""
Size = TypeVar("Size")


def agree(forms: Forms, feminine: bool, plural: bool) -> str:
    """The form of an adjective that agrees with its noun."""
    return forms[2 * plural + feminine]


def spaced(preposition: str, phrase: str) -> str:
    """A preposition before a noun phrase, where the language contracts nothing."""
    return f"{preposition} {phrase}"


@dataclass(frozen=True)
class RomanceGrammar(Generic[Size]):
    """Words and patterns of one Romance language.

    Attributes:
        nouns: nouns of each kind of thing.
        colours: adjectives of each colour.
        sizes: adjectives of each size, as `phrase` takes them.
        phrase: the noun phrase of a noun, a size or None, a colour and a count.
        attach: a preposition before a noun phrase, contracted where the language does so.
        conjunction: "and".
        relations: prepositions of each relation.
        backgrounds: adverbials of each background.
        openings: what may begin a sentence about one thing, and about several.
        verbs: "there is" and the like, for one thing and for several.
        links: what may stand between an adverbial in front and the sentence, for one thing and for several.
        pause: what ends a relation that is put in front.
        machine_nouns: the translator's own nouns; elsewhere it takes the first of `nouns`.
        machine_colours: the same for colours.
        machine_relations: its preposition of each relation.
        machine_backgrounds: its adverbial of each background.
        machine_openings: how it begins every sentence, for one thing and for several.
    """

    nouns: Mapping[str, tuple[Noun, ...]]
    colours: Mapping[str, tuple[Forms, ...]]
    sizes: Mapping[str, tuple[Size, ...]]
    phrase: Callable[[Noun, Size | None, Forms, int], str]
    conjunction: str
    relations: Mapping[str, tuple[str, ...]]
    backgrounds: Mapping[str, tuple[str, ...]]
    openings: tuple[tuple[str, ...], tuple[str, ...]]
    verbs: tuple[tuple[str, ...], tuple[str, ...]]
    links: tuple[tuple[str, ...], tuple[str, ...]]
    machine_nouns: Mapping[str, Noun]
    machine_colours: Mapping[str, Forms]
    machine_relations: Mapping[str, str]
    machine_backgrounds: Mapping[str, str]
    machine_openings: tuple[str, str]
    attach: Callable[[str, str], str] = spaced
    pause: str = ""

    def say(self, message: Message, rng: random.Random) -> str:
        """A natural caption of the message."""
        phrases = [self._phrase(group, rng) for group in message.groups]
        background = rng.choice(self.backgrounds[message.background]) if message.background else ""
        several = message.groups[0].count > 1 or (len(phrases) > 1 and not message.relation)
        style = rng.random()
        text = listing(phrases, self.conjunction)
        if message.relation:
            related = self.attach(rng.choice(self.relations[message.relation]), phrases[1])
            if style < 0.2:
                return f"{related}{self.pause} {rng.choice(self.verbs[several])} {phrases[0]} {background}".rstrip()
            text = f"{phrases[0]} {related}"
        if background and style > 0.8:
            return f"{background}{rng.choice(self.links[several])} {text}"
        return f"{rng.choice(self.openings[several])}{text} {background}".rstrip()

    def say_as_machine(self, message: Message) -> str:
        """The same message as the demo's machine translator words it; deterministic."""
        phrases = [self._machine_phrase(group) for group in message.groups]
        text = f" {self.conjunction} ".join(phrases)
        if message.relation:
            text = f"{phrases[0]} {self.attach(self.machine_relations[message.relation], phrases[1])}"
        text = f"{self.machine_openings[message.groups[0].count > 1]} {text}"
        return f"{text} {self.machine_backgrounds[message.background]}" if message.background else text

    def _phrase(self, group: ObjectGroup, rng: random.Random) -> str:
        size = rng.choice(self.sizes[group.size]) if group.size else None
        return self.phrase(
            rng.choice(self.nouns[group.kind]), size, rng.choice(self.colours[group.colour]), group.count
        )

    def _machine_phrase(self, group: ObjectGroup) -> str:
        noun = self.machine_nouns.get(group.kind, self.nouns[group.kind][0])
        size = self.sizes[group.size][0] if group.size else None
        colour = self.machine_colours.get(group.colour, self.colours[group.colour][0])
        return self.phrase(noun, size, colour, group.count)
