"""What the Polish and Russian grammars share: noun and adjective endings, numeral phrases and sentence order.

A noun is one line: "gender-declension stem [form]", where `form` is the one without an ending (masculine nominative,
feminine and neuter genitive plural) if it is not the stem; or, if irregular, "gender" and its seven forms. An adjective
that belongs to the noun may stand before it. A gender is m, f, n or p (plural only), with an "a" if it is animate: the
accusative is then a genitive. An adjective is "stem-declension"; a text without "-" does not change and follows the
noun. A declension is one line of endings: "*" is the form without ending, "0" the bare stem, "=" the accusative that
is like the nominative or the genitive.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xpet.demo.grammars._lists import listing
from xpet.demo.scenes import Message, ObjectGroup, pick

_NOUN_COLUMNS = ("nom", "gen", "acc", "ins", "few", "pl_gen", "pl_ins")
_ADJECTIVE_COLUMNS = (
    "m_nom", "f_nom", "n_nom", "gen", "f_gen", "f_acc", "ins", "f_ins", "pl_nom", "pl_gen", "pl_ins",
)  # fmt: skip
_COUNTED = {"nom": "few", "gen": "pl_gen", "ins": "pl_ins"}
"""The form of a noun after the numerals 2 to 4 in each case."""
_NUMERAL_FORMS = {"f": 1, "p": 2}
"""Which form of a numeral stands before a feminine noun and one without a singular; else it is the first."""
Words = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class SlavicGrammar:
    """Words and patterns of one Slavic language.

    Attributes:
        nouns: nouns of each kind.
        declensions: noun endings of each gender and declension.
        adjectives: adjectives of each colour, size, pattern and action.
        endings: adjective endings of each declension.
        numerals: by count and case, the numeral before masculine and neuter nouns, before feminine ones and before
            those without a singular.
        plural: case of a noun after a numeral and column of its adjectives, from its gender and the case asked for.
        conjunction: "and".
        verbs: "is found", for one thing and for several.
        dash: what may stand for the verb where the relation is in front; empty for nothing.
        relations: prepositions of each relation, each with the case it governs.
        settings: adverbials of each background and weather.
        openings: what may begin a sentence, each with the case of what follows.
        sights: what may follow an adverbial in front, each with the case of what follows.
        euphony: a pattern of text, and what it becomes, for prepositions before hard clusters.
        machine_words: the translator's own word for some contents, where others take the first one.
        machine_relations: its preposition of each relation, with the case.
    """

    nouns: Words
    declensions: Mapping[str, str]
    adjectives: Words
    endings: Mapping[str, str]
    numerals: Mapping[int, Mapping[str, str]]
    plural: Callable[[str, str], tuple[str, str]]
    conjunction: str
    verbs: tuple[str, str]
    relations: Mapping[str, tuple[tuple[str, str], ...]]
    settings: Words
    openings: tuple[tuple[str, str], ...]
    sights: tuple[tuple[str, str], ...]
    euphony: tuple[str, str]
    machine_words: Mapping[str, str]
    machine_relations: Mapping[str, tuple[str, str]]
    dash: str = ""

    def say(self, message: Message, rng: random.Random) -> str:
        """A natural caption of the message."""
        setting = [pick(self.settings[name], message.word) for name in _setting(message)]
        if message.relation:
            return self._smooth(self._say_related(message, message.relation, setting, rng))
        opening, case = rng.choice(self.openings)
        in_front = bool(setting) and not opening and rng.random() < 0.4
        if in_front:
            opening, case = rng.choice(self.sights)
        text = listing([self._phrase(group, case, rng) for group in message.groups], self.conjunction)
        return self._smooth(_with_setting(opening + text, setting, in_front, rng))

    def say_as_machine(self, message: Message) -> str:
        """The same message as the demo's machine translator words it; deterministic."""
        if message.relation:
            preposition, case = self.machine_relations[message.relation]
            first, second = message.groups
            text = f"{self._machine_phrase(first, 'nom')} {preposition} {self._machine_phrase(second, case)}"
        else:
            text = f" {self.conjunction} ".join(self._machine_phrase(group, "nom") for group in message.groups)
        setting = [self._machine_word(self.settings, name, message.word) for name in _setting(message)]
        return self._smooth(" ".join([text, *setting]))

    def _say_related(self, message: Message, relation: str, setting: list[str], rng: random.Random) -> str:
        opening, case = rng.choice(self.openings)
        preposition, governed = pick(self.relations[relation], message.word)
        first = self._phrase(message.groups[0], case, rng)
        second = f"{preposition} {self._phrase(message.groups[1], governed, rng)}"
        style = rng.random()
        if opening:
            return _with_setting(f"{opening}{first} {second}", setting, False, rng)
        verb = self._verb(message.groups[0])
        if style < 0.25:
            verb = rng.choice((verb, self.dash)) if self.dash else verb
            return " ".join([*setting, second, verb, first])
        in_front = rng.random() < 0.5
        if style < 0.45 or (in_front and setting):
            return _with_setting(f"{first} {verb} {second}", setting, in_front, rng)
        return _with_setting(f"{first} {second}", setting, False, rng)

    def _verb(self, group: ObjectGroup) -> str:
        noun = pick(self.nouns[group.kind], group.word)
        return self.verbs[group.count > 1 or noun.startswith("p ")]

    def _phrase(self, group: ObjectGroup, case: str, rng: random.Random) -> str:
        """The group in a case, what it does in front of or behind its other adjectives."""
        size, action, pattern, colour = (
            [pick(self.adjectives[name], group.manner)] if name else []
            for name in (group.size, group.action, group.pattern, group.colour)
        )
        adjectives = rng.choice(([*action, *size, *pattern, *colour], [*size, *pattern, *colour, *action]))
        return self._inflect(pick(self.nouns[group.kind], group.word), adjectives, case, group.count)

    def _machine_phrase(self, group: ObjectGroup, case: str) -> str:
        names = (group.action, group.size, group.pattern, group.colour)
        adjectives = [self._machine_word(self.adjectives, name, group.manner) for name in names if name]
        return self._inflect(self._machine_word(self.nouns, group.kind, group.word), adjectives, case, group.count)

    def _machine_word(self, words: Words, name: str, rank: int) -> str:
        """The translator's word of a rank: its own instead of the first, if it has one."""
        return self.machine_words[name] if not rank and name in self.machine_words else pick(words[name], rank)

    def _inflect(self, noun: str, adjectives: list[str], case: str, count: int) -> str:
        """Numeral (from two things on), adjectives and noun, each in its form, and what does not change."""
        gender, own, forms = _read_noun(noun, self.declensions)
        numeral, column, form = [], _singular_column(gender, case), case
        if count > 1:
            case, column = self.plural(gender, case)
            numeral, form = [self.numerals[count][case].split()[_NUMERAL_FORMS.get(gender[0], 0)]], _COUNTED[case]
        changing = [word for word in adjectives if "-" in word] + own
        words = [_adjective_form(adjective, self.endings, column) for adjective in changing]
        return " ".join([*numeral, *words, forms[form], *(word for word in adjectives if "-" not in word)])

    def _smooth(self, text: str) -> str:
        return re.sub(*self.euphony, text)


def _setting(message: Message) -> list[str]:
    """Background and weather, where they are mentioned."""
    return [name for name in (message.background, message.weather) if name]


def _read_noun(noun: str, declensions: Mapping[str, str]) -> tuple[str, list[str], dict[str, str]]:
    """Gender of a noun, the adjectives that belong to it, and its forms by column."""
    words = noun.split()
    own = [words.pop(0)] if "-" in words[0][3:] else []
    gender, _, declension = words[0].partition("-")
    forms = words[1:]
    if declension:
        stem, bare = words[1], words[-1]
        like = "gen" if gender == "ma" else "nom"
        endings = declensions[f"{gender[0]}-{declension}"].split()
        forms = [bare if e == "*" else stem if e == "0" else stem + e for e in endings]
        forms = [forms[_NOUN_COLUMNS.index(like)] if e == "=" else f for e, f in zip(endings, forms, strict=True)]
    return gender, own, dict(zip(_NOUN_COLUMNS, forms, strict=True))


def _adjective_form(adjective: str, endings: Mapping[str, str], column: str) -> str:
    """The adjective with its ending of `column`."""
    stem, declension = adjective.split("-")
    return stem + endings[declension].split()[_ADJECTIVE_COLUMNS.index(column)]


def _singular_column(gender: str, case: str) -> str:
    """The column of an adjective before a noun without a numeral."""
    feminine = gender.startswith("f")
    if case == "acc" and not feminine:
        case = "gen" if gender == "ma" else "nom"
    if gender == "p":
        return f"pl_{case}"
    return f"{gender[0]}_{case}" if feminine or case == "nom" else case


def _with_setting(text: str, setting: list[str], in_front: bool, rng: random.Random) -> str:
    """The text with its adverbials behind, or with all or the last of them in front."""
    if not in_front:
        return " ".join([text, *setting])
    behind = setting[:-1] if rng.random() < 0.5 else []
    return " ".join([*setting[len(behind) :], text, *behind])
