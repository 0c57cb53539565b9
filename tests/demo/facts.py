"""Which facts of a message a translation has kept: the words of the right wording that another fact would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

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


def kept(messages: Sequence[Message], translations: Sequence[str], source: str, target: str) -> dict[str, float]:
    """Share of facts of each kind that the translations of the messages say."""
    right, all_of = Counter[str](), Counter[str]()
    for message, translation in zip(messages, translations, strict=True):
        wanted, said = words(wording(message, source, target)), words(translation)
        for name, changed in others(message):
            all_of[name] += 1
            right[name] += not wanted - words(wording(changed, source, target)) - said
    return {name: right[name] / count for name, count in all_of.items()}
