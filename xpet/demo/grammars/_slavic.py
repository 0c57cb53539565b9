"""What the Polish and Russian grammars share: noun tables, adjective endings, numeral phrases and sentence order.

A noun is one line: gender, then nominative, genitive, accusative and instrumental singular, the form after 2 and 3,
genitive and instrumental plural. A gender ends in "a" where the accusative plural or masculine singular is a genitive.
An adjective is "stem-declension"; a declension is one line of endings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xpet.demo.grammars._lists import listing
from xpet.demo.scenes import Message, ObjectGroup

_NOUN_COLUMNS = ("nom", "gen", "acc", "ins", "few", "pl_gen", "pl_ins")
_ADJECTIVE_COLUMNS = (
    "m_nom", "f_nom", "n_nom", "gen", "f_gen", "f_acc", "ins", "f_ins", "pl_nom", "pl_gen", "pl_ins",
)  # fmt: skip


@dataclass(frozen=True)
class SlavicGrammar:
    """Words and patterns of one Slavic language.

    Attributes:
        nouns: nouns of each kind of thing.
        colours: adjectives of each colour.
        sizes: adjectives of each size.
        endings: adjective endings of each declension.
        numerals: by count and case, the numeral before masculine and neuter nouns, and before feminine ones.
        plural: case of a noun after a numeral and column of its adjectives, from its gender and the case asked for.
        conjunction: "and".
        verbs: "is found", for one thing and for several.
        dash: what may stand for the verb where the relation is in front; empty for nothing.
        relations: prepositions of each relation, each with the case it governs; the first one is never repeated.
        backgrounds: adverbials of each background.
        openings: what may begin a sentence, each with the case of what follows.
        machine_nouns: the translator's own nouns; elsewhere it takes the first of `nouns`.
        machine_sizes: its adjective of each size.
        machine_colours: its own colours; elsewhere it takes the first of `colours`.
        machine_relations: its preposition of each relation, with the case.
        machine_backgrounds: its adverbial of each background.
    """

    nouns: Mapping[str, tuple[str, ...]]
    colours: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, tuple[str, ...]]
    endings: Mapping[str, str]
    numerals: Mapping[int, Mapping[str, tuple[str, str]]]
    plural: Callable[[str, str], tuple[str, str]]
    conjunction: str
    verbs: tuple[str, str]
    relations: Mapping[str, tuple[tuple[str, str], ...]]
    backgrounds: Mapping[str, tuple[str, ...]]
    openings: tuple[tuple[str, str], ...]
    machine_nouns: Mapping[str, str]
    machine_sizes: Mapping[str, str]
    machine_colours: Mapping[str, str]
    machine_relations: Mapping[str, tuple[str, str]]
    machine_backgrounds: Mapping[str, str]
    dash: str = ""

    def say(self, message: Message, rng: random.Random) -> str:
        """A natural caption of the message."""
        background = self._background(message, rng) if message.background else ""
        if message.relation:
            return self._say_related(message, message.relation, background, rng)
        opening, case = rng.choice(self.openings)
        text = listing([self._phrase(group, case, rng) for group in message.groups], self.conjunction)
        return _with_background(opening + text, background, 0.0 if opening else 0.4, rng)

    def say_as_machine(self, message: Message) -> str:
        """The same message as the demo's machine translator words it; deterministic."""
        if message.relation:
            preposition, case = self.machine_relations[message.relation]
            first, second = message.groups
            text = f"{self._machine_phrase(first, 'nom')} {preposition} {self._machine_phrase(second, case)}"
        else:
            text = f" {self.conjunction} ".join(self._machine_phrase(group, "nom") for group in message.groups)
        return f"{text} {self.machine_backgrounds[message.background]}" if message.background else text

    def _say_related(self, message: Message, relation: str, background: str, rng: random.Random) -> str:
        opening, case = rng.choice(self.openings)
        preposition, governed = rng.choice(self.relations[relation])
        first = self._phrase(message.groups[0], case, rng)
        second = f"{preposition} {self._phrase(message.groups[1], governed, rng)}"
        verb = self.verbs[message.groups[0].count > 1]
        style = rng.random()
        if opening:
            return _with_background(f"{opening}{first} {second}", background, 0.0, rng)
        if style < 0.25:
            verb = rng.choice((verb, self.dash)) if self.dash else verb
            return _with_background(f"{second} {verb} {first}", background, 1.0, rng)
        if style < 0.45:
            return _with_background(f"{first} {verb} {second}", background, 0.5, rng)
        return _with_background(f"{first} {second}", background, 0.4, rng)

    def _background(self, message: Message, rng: random.Random) -> str:
        """An adverbial of the background that does not begin with the usual preposition of the relation."""
        avoided = self.relations[message.relation][0][0] if message.relation else ""
        return rng.choice([p for p in self.backgrounds[message.background or ""] if p.split()[0] != avoided])

    def _phrase(self, group: ObjectGroup, case: str, rng: random.Random) -> str:
        noun = rng.choice(self.nouns[group.kind])
        adjectives = [rng.choice(self.sizes[group.size])] if group.size else []
        adjectives.append(rng.choice(self.colours[group.colour]))
        return self._inflect(noun, adjectives, case, group.count)

    def _machine_phrase(self, group: ObjectGroup, case: str) -> str:
        noun = self.machine_nouns.get(group.kind, self.nouns[group.kind][0])
        adjectives = [self.machine_sizes[group.size]] if group.size else []
        adjectives.append(self.machine_colours.get(group.colour, self.colours[group.colour][0]))
        return self._inflect(noun, adjectives, case, group.count)

    def _inflect(self, noun: str, adjectives: list[str], case: str, count: int) -> str:
        """Numeral (from two things on), adjectives and noun, each in its form."""
        gender, numeral = noun.split()[0], []
        column = _singular_column(gender, case)
        if count > 1:
            case, column = self.plural(gender, case)
            numeral = [self.numerals[count][case][gender.startswith("f")]]
        words = [_adjective_form(adjective, self.endings, column) for adjective in adjectives]
        return " ".join([*numeral, *words, _noun_form(noun, case, count > 1)])


def _noun_form(noun: str, case: str, plural: bool) -> str:
    """The noun's form in singular `case`, or after the numeral 2 or 3 if `plural`."""
    column = case
    if plural:
        column = {"nom": "few", "acc": "few", "gen": "pl_gen", "ins": "pl_ins"}[case]
    return noun.split()[1 + _NOUN_COLUMNS.index(column)]


def _adjective_form(adjective: str, endings: Mapping[str, str], column: str) -> str:
    """The adjective with its ending of `column`."""
    stem, declension = adjective.split("-")
    return stem + endings[declension].split()[_ADJECTIVE_COLUMNS.index(column)]


def _singular_column(gender: str, case: str) -> str:
    """The column of an adjective before a singular noun."""
    feminine = gender.startswith("f")
    if case == "acc" and not feminine:
        case = "gen" if gender == "ma" else "nom"
    return f"{gender[0]}_{case}" if feminine or case == "nom" else case


def _with_background(text: str, background: str, first: float, rng: random.Random) -> str:
    """The text with its background, if any, in front with probability `first`, else behind."""
    if not background:
        return text
    return f"{background} {text}" if rng.random() < first else f"{text} {background}"
