"""The demo's simulated machine translator, until real Argos packages for this world take its place.

Mostly *systematic*: it words every message in one fixed, slightly odd way (`say_as_machine`), dropping articles and
keeping the source's word order where real systems do. On top, each fact of a caption (kind, colour, size, relation,
background) is mistranslated with probability ERROR_RATE, which no training can repair.
"""

from __future__ import annotations

import random
from dataclasses import replace

from xpet.demo.grammars import GRAMMARS, english
from xpet.demo.scenes import BACKGROUNDS, COLOURS, KINDS, OPPOSITE, SIZES, Group, Message

ERROR_RATE = 0.025


def translate(message: Message, source: str, target: str, rng: random.Random) -> str:
    """The simulated translation of a caption that says `message`, between English and any language of the world."""
    heard = mishear(message, rng)
    return english.say_as_machine(heard, source) if target == "en" else GRAMMARS[target].say_as_machine(heard)


def mishear(message: Message, rng: random.Random) -> Message:
    """The message with each fact replaced by a wrong one of its kind with probability ERROR_RATE."""
    groups = tuple(_mishear_group(group, rng) for group in message.groups)
    relation, background = message.relation, message.background
    if relation and _slips(rng):
        relation = OPPOSITE[relation]
    if background and _slips(rng):
        background = _other(background, BACKGROUNDS, rng)
    return Message(groups, relation, background)


def _mishear_group(group: Group, rng: random.Random) -> Group:
    if _slips(rng):
        group = replace(group, kind=_other(group.kind, KINDS, rng))
    if _slips(rng):
        group = replace(group, colour=_other(group.colour, COLOURS, rng))
    if group.size and _slips(rng):
        group = replace(group, size=_other(group.size, SIZES, rng))
    return group


def _slips(rng: random.Random) -> bool:
    return rng.random() < ERROR_RATE


def _other(value: str, values: tuple[str, ...], rng: random.Random) -> str:
    return rng.choice([v for v in values if v != value])
