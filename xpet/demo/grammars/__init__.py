"""Hand-written grammars, one file per language, in one explicit table."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from xpet.demo.grammars import (
    chinese,
    english,
    french,
    german,
    italian,
    japanese,
    korean,
    polish,
    russian,
    spanish,
    turkish,
)
from xpet.demo.scenes import Message


@dataclass(frozen=True)
class Grammar:
    """`say`: a natural caption, varied by the generator; `say_as_machine`: how the demo's translator words it."""

    say: Callable[[Message, random.Random], str]
    say_as_machine: Callable[[Message], str]


GRAMMARS: dict[str, Grammar] = {
    "en": Grammar(english.say, lambda message: english.say_as_machine(message, "en")),
    "de": Grammar(german.say, german.say_as_machine),
    "fr": Grammar(french.GRAMMAR.say, french.GRAMMAR.say_as_machine),
    "es": Grammar(spanish.GRAMMAR.say, spanish.GRAMMAR.say_as_machine),
    "it": Grammar(italian.GRAMMAR.say, italian.GRAMMAR.say_as_machine),
    "ja": Grammar(japanese.say, japanese.say_as_machine),
    "ko": Grammar(korean.say, korean.say_as_machine),
    "pl": Grammar(polish.GRAMMAR.say, polish.GRAMMAR.say_as_machine),
    "ru": Grammar(russian.GRAMMAR.say, russian.GRAMMAR.say_as_machine),
    "tr": Grammar(turkish.say, turkish.say_as_machine),
    "zh": Grammar(chinese.say, chinese.say_as_machine),
}
