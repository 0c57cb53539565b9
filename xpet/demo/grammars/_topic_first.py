"""What the Japanese and Korean grammars share: the setting and the side come first, the verb last."""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from xpet.demo.scenes import Message, ObjectGroup, pick

Words = Mapping[str, tuple[str, ...]]


class TopicFirstGrammar(ABC):
    """The sentence patterns of a language that puts places in front, and the parts it fills them with.

    An action stands before its noun ("a sleeping dog is there") or, where a parameter `acts` is true, is the verb of
    the sentence ("a dog sleeps there"); the particle of the place depends on that.

    Attributes:
        nouns, actions: words for each kind, and stems of verbs, by the ranks of a group.
        relations, backgrounds, weathers: places and times without a particle, by the ranks of a message.
        machine_relations: the one word of the demo's machine translator for each relation.
        machine_nouns, machine_places: its odd words for kinds and backgrounds, instead of the usual ones.
        at, at_work: a place with its particle, where a verb of being or of an action follows.
        about: the particle that makes such a place the topic.
        side: the place on a side of an object.
        tail: a place as what is behind everything, appended to a phrase.
        glue: what stands between the parts of a sentence.
        comma: what stands between the parts that a machine translator appends.
        machine_and: what it puts between listed groups.
        pictures: words for the picture itself.
        inside: the end of a place's name that falls away where the place is a backdrop, as a regular expression.
    """

    nouns: ClassVar[Words]
    actions: ClassVar[Words]
    relations: ClassVar[Words]
    backgrounds: ClassVar[Words]
    weathers: ClassVar[Words]
    machine_relations: ClassVar[Mapping[str, str]]
    machine_nouns: ClassVar[Mapping[str, str]]
    machine_places: ClassVar[Mapping[str, str]]
    at: ClassVar[str]
    at_work: ClassVar[str]
    about: ClassVar[str]
    side: ClassVar[str]
    tail: ClassVar[str]
    glue: ClassVar[str]
    comma: ClassVar[str]
    machine_and: ClassVar[str]
    pictures: ClassVar[tuple[str, ...]]
    inside: ClassVar[str]

    @abstractmethod
    def phrase(self, group: ObjectGroup, rng: random.Random, acting: bool) -> str:
        """The group as a noun phrase; `acting`: with its action in front."""

    @abstractmethod
    def joined(self, phrases: Sequence[str], rng: random.Random) -> str:
        """The phrases as a list; the last may already have its particle."""

    @abstractmethod
    def nominative(self, phrase: str) -> str:
        """The phrase with the particle of a subject."""

    @abstractmethod
    def verb(self, groups: Sequence[ObjectGroup], acts: bool, rng: random.Random) -> str:
        """The verb that ends a sentence about the groups."""

    @abstractmethod
    def modifier(self, groups: Sequence[ObjectGroup], acts: bool) -> str:
        """The verb as it stands before a noun."""

    @abstractmethod
    def under(self, weather: str, acts: bool) -> str:
        """The weather where no background is named."""

    @abstractmethod
    def under_at(self, weather: str, background: str) -> str:
        """The background in some weather, as one place."""

    @abstractmethod
    def backdrop(self, place: str) -> str:
        """The place as what is behind everything, in front of a sentence."""

    @abstractmethod
    def machine_group(self, group: ObjectGroup) -> str:
        """A group as the demo's machine translator words it."""

    @abstractmethod
    def machine_side(self, first: str, second: str, side: str) -> str:
        """The first phrase on that side of the second one, as the machine words it."""

    def machine_noun(self, group: ObjectGroup) -> str:
        """The noun of the demo's machine translator."""
        odd = "" if group.word else self.machine_nouns.get(group.kind, "")
        return odd or pick(self.nouns[group.kind], group.word)

    def doing(self, group: ObjectGroup) -> str:
        """The stem of the action's verb."""
        return pick(self.actions[group.action], group.manner) if group.action else ""

    def placed(self, place: str, acts: bool) -> str:
        """The place with its particle."""
        return (self.at_work if acts else self.at).format(place)

    def subject(self, group: ObjectGroup, rng: random.Random, acting: bool) -> str:
        """The group as a subject right before the verb."""
        return self.nominative(self.phrase(group, rng, acting))

    def say(self, message: Message, rng: random.Random) -> str:
        """A natural caption of the message."""
        style = rng.random()
        picture = style > 0.85
        if style < 0.3 and (message.background or not message.weather):
            return self._fragment(message, rng)
        groups = message.groups[:1] if message.relation else message.groups
        acts = len(groups) == 1 and groups[0].action is not None and rng.random() < 0.6
        said = self._related(message, acts, picture, rng) if message.relation else self._listed(message, acts, rng)
        said += [self.modifier(groups, acts), rng.choice(self.pictures)] if picture else [self.verb(groups, acts, rng)]
        return self.glue.join(said)

    def say_as_machine(self, message: Message) -> str:
        """The same message as a mediocre machine translator words it, in the order of the English words."""
        groups = [self.machine_group(g) for g in message.groups]
        parts = [self.machine_and.join(groups)]
        if message.relation:
            parts = [self.machine_side(groups[0], groups[1], self.machine_relations[message.relation])]
        if message.background:
            place = "" if message.word else self.machine_places.get(message.background, "")
            parts.append(self.placed(place or pick(self.backgrounds[message.background], message.word), True))
        if message.weather:
            parts.append(self.placed(pick(self.weathers[message.weather], message.word), False))
        return self.comma.join(parts)

    def bare(self, place: str) -> str:
        """The place's name without "in", "on" or "before"."""
        return re.sub(self.inside, "", place)

    def _place(self, message: Message) -> str:
        """The background, if one is mentioned, in the weather, if that is."""
        if not message.background:
            return ""
        background = pick(self.backgrounds[message.background], message.word)
        if not message.weather:
            return background
        return self.under_at(pick(self.weathers[message.weather], message.word), background)

    def _setting(self, message: Message, acts: bool, rng: random.Random) -> list[str]:
        """Background and weather as they open a sentence."""
        place = self._place(message)
        if not place:
            return [self.under(pick(self.weathers[message.weather], message.word), acts)] if message.weather else []
        if rng.random() < 0.2:
            return [self.backdrop(place)]
        return [self.placed(place, acts) + (self.about if message.relation else "")]

    def _located(self, group: ObjectGroup, place: str, rng: random.Random) -> str:
        """The group as a noun phrase that says where it is: "the dog sleeping on the beach"."""
        acts = group.action is not None
        return self.glue.join(
            [self.placed(place, acts), self.modifier((group,), acts), self.phrase(group, rng, not acts)]
        )

    def _anchor(self, message: Message, place: str, rng: random.Random) -> str:
        """The side of the second group where the first is."""
        second = message.groups[1]
        anchor = self._located(second, place, rng) if place else self.phrase(second, rng, True)
        return self.side.format(anchor, pick(self.relations[message.relation or "beside"], message.word))

    def _fragment(self, message: Message, rng: random.Random) -> str:
        """The message without a verb."""
        place, tail = self._place(message), ""
        if place and not message.weather and rng.random() < 0.25:
            place, tail = "", self.tail.format(self.bare(place))
        if message.relation:
            return self._located(message.groups[0], self._anchor(message, place, rng), rng) + tail
        phrases = [self.phrase(g, rng, True) for g in message.groups]
        if place and (len(phrases) == 1 or rng.random() < 0.5):
            return self.joined([self._located(message.groups[0], place, rng), *phrases[1:]], rng)
        front = [self.placed(place, False)] if place else []
        return self.glue.join([*front, self.joined(phrases, rng)]) + tail

    def _related(self, message: Message, acts: bool, picture: bool, rng: random.Random) -> list[str]:
        """A sentence of two groups in a relation, up to its verb; `picture`: one that cannot have a topic."""
        place = self._place(message) if picture or rng.random() < 0.4 else ""
        setting = [] if place else self._setting(message, acts, rng)
        side = self.placed(self._anchor(message, place, rng), acts)
        first = message.groups[0]
        # A clause about the second group right behind the first one's particle would be taken for the first one's verb.
        if place or message.groups[1].action or rng.random() < 0.6:
            return [*setting, side, self.subject(first, rng, not acts)]
        return [*setting, self.nominative(self.phrase(first, rng, not acts)), side]

    def _listed(self, message: Message, acts: bool, rng: random.Random) -> list[str]:
        """A sentence of groups that are just listed, up to its verb."""
        *before, last = message.groups
        heads = [self.phrase(g, rng, True) for g in before]
        if message.background and rng.random() < 0.25:
            subject = self.nominative(self.joined([*heads, self.phrase(last, rng, not acts)], rng))
            return [subject, self.placed(self._place(message), acts)]
        subject = self.joined([*heads, self.subject(last, rng, not acts)], rng)
        return [*self._setting(message, acts, rng), subject]
