"""What the French, Spanish and Italian grammars share: agreement, sentence patterns, the translator's one pattern.

The three languages order a caption alike; they differ in words, in articles and in what they contract.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xpet.demo.grammars._lists import listing
from xpet.demo.scenes import Message, ObjectGroup, pick

Table = Mapping[str, str]
"""Words for each meaning, the usual one first, parted by ", "; the forms of a word are parted by "/".

Nouns: gender (m or f), singular and plural, "f tasse/tasses". Adjectives: masculine and feminine singular, masculine
and feminine plural, or singular and plural where genders are alike. Verbs: singular, plural and the form in progress.
A word with one form is invariable.
"""


def forms(table: Table, meaning: str, rank: int) -> list[str]:
    """The forms of the word of a rank."""
    return pick(table[meaning].split(", "), rank).split("/")


def agree(adjective: list[str], feminine: bool, plural: bool) -> str:
    """The form of an adjective that agrees with its noun."""
    if len(adjective) < 4:
        return pick(adjective, int(plural))
    return adjective[2 * plural + feminine]


def spaced(preposition: str, phrase: str) -> str:
    """A preposition before a noun phrase, where the language contracts nothing."""
    return f"{preposition} {phrase}"


@dataclass(frozen=True)
class RomanceGrammar:
    """Words and patterns of one Romance language.

    Attributes:
        nouns, colours, sizes, patterns, actions: words for what a group is, by its ranks.
        relations, backgrounds, weathers: prepositions and adverbials, by the rank of the message.
        numbers: the words for two, three and four.
        article: the indefinite article of a noun (feminine or not) with the phrase that follows it.
        conjunction: "and".
        relative: the relative pronoun before the verb of an action.
        progress: the words before the form in progress of an action, of one and of several.
        openings: what may begin a sentence about one thing, and about several.
        verbs: "there is" and the like, for one thing and for several.
        links: what may stand between an adverbial in front and the sentence, for one thing and for several.
        machine_nouns, machine_colours: the translator's own usual words; else it takes those of `nouns` and `colours`.
        machine_relations: its preposition of each relation, whatever the rank.
        machine_backgrounds: its own usual adverbials.
        machine_openings: how it begins every sentence, for one thing and for several.
        attach: a preposition before a noun phrase, contracted where the language does so.
        pause: what ends a relation that is put in front.
        shortened: adjectives that are shorter before a noun in the singular.
        late_sizes: whether a size may also stand after the colour.
    """

    nouns: Table
    colours: Table
    sizes: Table
    patterns: Table
    actions: Table
    relations: Table
    backgrounds: Table
    weathers: Table
    numbers: Mapping[int, str]
    article: Callable[[bool, str], str]
    conjunction: str
    relative: str
    progress: tuple[tuple[str, ...], tuple[str, ...]]
    openings: tuple[tuple[str, ...], tuple[str, ...]]
    verbs: tuple[tuple[str, ...], tuple[str, ...]]
    links: tuple[tuple[str, ...], tuple[str, ...]]
    machine_nouns: Table
    machine_colours: Table
    machine_relations: Table
    machine_backgrounds: Table
    machine_openings: tuple[str, str]
    attach: Callable[[str, str], str] = spaced
    pause: str = ""
    shortened: Mapping[str, str] = field(default_factory=dict)
    late_sizes: bool = False

    def say(self, message: Message, rng: random.Random) -> str:
        """A natural caption of the message."""
        first = message.groups[0]
        alone = len(message.groups) == 1 or message.relation is not None
        told = alone and first.action is not None and rng.random() < 0.35
        several = first.count > 1 or not alone
        phrases = [self._phrase(group, rng, told and group is first) for group in message.groups]
        text, setting = listing(phrases, self.conjunction), self._setting(message, self.backgrounds)
        if message.relation:
            related = self.attach(forms(self.relations, message.relation, message.word)[0], phrases[1])
            if not told and rng.random() < 0.2:
                return " ".join([related + self.pause, rng.choice(self.verbs[several]), phrases[0], *setting])
            text = f"{phrases[0]} {related}"
        if setting and rng.random() < 0.2:
            ahead = rng.randrange(len(setting))
            link = "," if told else rng.choice(self.links[several])
            return " ".join([" ".join(setting[ahead:]) + link, text, *setting[:ahead]])
        return " ".join([("" if told else rng.choice(self.openings[several])) + text, *setting])

    def say_as_machine(self, message: Message) -> str:
        """The same message as the demo's machine translator words it; deterministic."""
        phrases = [self._machine_phrase(group) for group in message.groups]
        text = f" {self.conjunction} ".join(phrases)
        if message.relation:
            text = f"{phrases[0]} {self.attach(self.machine_relations[message.relation], phrases[1])}"
        backgrounds = self.backgrounds if message.word else {**self.backgrounds, **self.machine_backgrounds}
        opening = self.machine_openings[message.groups[0].count > 1]
        return " ".join([opening, text, *self._setting(message, backgrounds)])

    def _setting(self, message: Message, backgrounds: Table) -> list[str]:
        """Background and weather, where they are mentioned."""
        words = forms(backgrounds, message.background, message.word) if message.background else []
        return words + (forms(self.weathers, message.weather, message.word) if message.weather else [])

    def _phrase(self, group: ObjectGroup, rng: random.Random, told: bool) -> str:
        """The group with its action, if any; `told`: the action is the verb of the sentence."""
        late = self.late_sizes and rng.random() < 0.4
        text = self._named(group, self.nouns, self.colours, late)
        if not group.action:
            return text
        if not told and rng.random() < 0.25:
            return self._in_progress(group, text)
        verb = forms(self.actions, group.action, group.manner)[group.count > 1]
        return f"{text} {verb}" if told else f"{text} {self.relative} {verb}"

    def _machine_phrase(self, group: ObjectGroup) -> str:
        """The group as the translator words it."""
        nouns = self.nouns if group.word else {**self.nouns, **self.machine_nouns}
        colours = self.colours if group.manner else {**self.colours, **self.machine_colours}
        text = self._named(group, nouns, colours, False)
        return self._in_progress(group, text) if group.action else text

    def _in_progress(self, group: ObjectGroup, text: str) -> str:
        """The phrase and what the group, which acts, is just doing."""
        verb = forms(self.actions, group.action or "", group.manner)[2]
        return " ".join([text, *self.progress[group.count > 1], verb])

    def _named(self, group: ObjectGroup, nouns: Table, colours: Table, late: bool) -> str:
        """Number or article, size, noun, colour and pattern; `late`: the size after the colour."""
        noun = forms(nouns, group.kind, group.word)
        gender, plural = noun[0][:2], group.count > 1
        feminine = gender == "f "
        colour = agree(forms(colours, group.colour, group.manner), feminine, plural)
        words = [pick(noun, int(plural)).removeprefix(gender), colour]
        if group.size:
            size = agree(forms(self.sizes, group.size, group.manner), feminine, plural)
            words.insert(2 * late, size if plural or late else self.shortened.get(size, size))
        if group.pattern:
            words.append(agree(forms(self.patterns, group.pattern, group.manner), feminine, plural))
        text = " ".join(words)
        return f"{self.numbers[group.count]} {text}" if plural else self.article(feminine, text)
