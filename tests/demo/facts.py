"""Which facts of a message a translation has kept: the words of the right wording that another fact would change.

A kind of thing is also right by a synonym and, where the language writes words apart, in another form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

from xpet.demo import assets, texts
from xpet.demo.packages import wording
from xpet.demo.scenes import (
    ACTIONS,
    AGENTS,
    BACKGROUNDS,
    COLOURS,
    PATTERNS,
    RELATIONS,
    SIZES,
    THINGS,
    WEATHERS,
    Message,
    ObjectGroup,
)

UNSPACED = ("ja", "zh")
"""Languages whose words are not written apart."""
OF_GROUP: dict[str, Sequence[object]] = {
    "colour": COLOURS, "size": SIZES, "pattern": PATTERNS, "action": ACTIONS, "count": (2, 3, 4),
}  # fmt: skip
OF_MESSAGE: dict[str, Sequence[str]] = {"relation": RELATIONS, "background": BACKGROUNDS, "weather": WEATHERS}


def other(value: object, values: Iterable[object]) -> object:
    return next(v for v in values if v != value)


def others(message: Message) -> Iterator[tuple[str, Message]]:
    """The message with one fact changed, for every fact it has."""
    for name, values in OF_MESSAGE.items():
        if (value := getattr(message, name)) is not None:
            yield name, replace(message, **{name: other(value, values)})  # type: ignore[arg-type]
    for number, group in enumerate(message.groups):
        for name, changed in others_of_group(group, {g.kind for g in message.groups}):
            yield name, replace(message, groups=(*message.groups[:number], changed, *message.groups[number + 1 :]))


def others_of_group(group: ObjectGroup, taken: set[str]) -> Iterator[tuple[str, ObjectGroup]]:
    kinds = AGENTS if group.kind in AGENTS else THINGS
    yield "kind", replace(group, kind=next(kind for kind in kinds if kind not in taken))
    for name, values in OF_GROUP.items():
        if (value := getattr(group, name)) not in (None, 1):
            yield name, replace(group, **{name: other(value, values)})  # type: ignore[arg-type]


def words(text: str) -> Counter[str]:
    """Words; of a language without spaces its characters."""
    return Counter(text.replace(",", " ").split() if " " in text else text)


@cache
def names_of(kind: str, source: str, target: str) -> frozenset[str]:
    """Words, in all their forms, that only this kind of thing brings into right wordings of shipped captions."""
    alike = AGENTS if kind in AGENTS else THINGS
    found: Counter[str] = Counter()
    for message, number, said_of in wordings(source, target):
        if message.groups[number].kind in alike:
            said = set(words(wording(with_kind(message, number, kind), source, target)))
            found.update(said.difference(*(others for name, others in said_of.items() if name != kind)))
    return frozenset(found)


@cache
def wordings(source: str, target: str) -> list[tuple[Message, int, dict[str, Counter[str]]]]:
    """Each group of shipped captions, by message and number, with the words of some other kinds of thing in its place.

    Those are of its own sort: agents in the place of agents.
    """
    return [
        (message, number, {
            name: words(wording(with_kind(message, number, name), source, target))
            for name in (AGENTS if group.kind in AGENTS else THINGS)[::6]
        })
        for message, _ in texts.captions(source, assets.scenes()[:40])
        for number, group in enumerate(message.groups)
    ]  # fmt: skip


def with_kind(message: Message, number: int, kind: str) -> Message:
    """The message with another kind of thing in one of its groups."""
    group = replace(message.groups[number], kind=kind)
    return replace(message, groups=(*message.groups[:number], group, *message.groups[number + 1 :]))


def kept(messages: Sequence[Message], translations: Sequence[str], source: str, target: str) -> dict[str, float]:
    """Share of facts of each kind that the translations of the messages say."""
    right, all_of = Counter[str](), Counter[str]()
    for message, translation in zip(messages, translations, strict=True):
        said = words(translation)
        for name, changed in others(message):
            all_of[name] += 1
            right[name] += says(said, message, changed, source, target) or (
                name == "kind" and named_otherwise(said, message, changed, source, target)
            )
    return {name: right[name] / count for name, count in all_of.items()}


def says(said: Counter[str], message: Message, changed: Message, source: str, target: str) -> bool:
    """Whether all words that tell the right wording of the message from that of the changed one are there."""
    return not words(wording(message, source, target)) - words(wording(changed, source, target)) - said


def named_otherwise(said: Counter[str], message: Message, changed: Message, source: str, target: str) -> bool:
    """Whether the kind of thing that is changed is there by another of its words or forms."""
    (number,) = (n for n, group in enumerate(message.groups) if group.kind != changed.groups[n].kind)
    if target in UNSPACED:
        pairs = ((with_word(message, number, rank), with_word(changed, number, rank)) for rank in range(3))
        return any(says(said, *pair, source, target) for pair in pairs)
    return not said.keys().isdisjoint(names_of(message.groups[number].kind, source, target))


def with_word(message: Message, number: int, rank: int) -> Message:
    """The message with another word for the kind of thing in one of its groups."""
    group = replace(message.groups[number], word=rank)
    return replace(message, groups=(*message.groups[:number], group, *message.groups[number + 1 :]))
