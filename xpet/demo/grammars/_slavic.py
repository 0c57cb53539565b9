"""What the Polish and Russian grammars share: noun tables, adjective endings, numeral phrases and sentence order.

A noun is one line: gender, then nominative, genitive, accusative and instrumental singular, the form after 2 and 3,
genitive and instrumental plural. A gender ends in "a" where the accusative plural or masculine singular is a genitive.
"""

from __future__ import annotations

import random

_NOUN_COLUMNS = ("nom", "gen", "acc", "ins", "few", "pl_gen", "pl_ins")
_ADJECTIVE_COLUMNS = (
    "m_nom", "f_nom", "n_nom", "gen", "f_gen", "f_acc", "ins", "f_ins", "pl_nom", "pl_gen", "pl_ins",
)  # fmt: skip


def noun_form(noun: str, case: str, plural: bool) -> str:
    """The noun's form in singular `case`, or after the numeral 2 or 3 if `plural`."""
    column = case
    if plural:
        column = {"nom": "few", "acc": "few", "gen": "pl_gen", "ins": "pl_ins"}[case]
    return noun.split()[1 + _NOUN_COLUMNS.index(column)]


def adjective_form(adjective: str, endings: dict[str, str], column: str) -> str:
    """The adjective, given as "stem-class", with its ending of `column`."""
    stem, declension = adjective.split("-")
    return stem + endings[declension].split()[_ADJECTIVE_COLUMNS.index(column)]


def singular_column(gender: str, case: str) -> str:
    """The column of an adjective before a singular noun; `gender` is m, f, n or ma (accusative like genitive)."""
    if case == "acc":
        case = {"f": "acc", "ma": "gen"}.get(gender, "nom")
    if gender == "f" or case == "nom":
        return f"{gender[0]}_{case}"
    return case


def join_list(phrases: list[str], conjunction: str) -> str:
    """A, B `conjunction` C."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} {conjunction} {phrases[-1]}"


def choose_place(places: tuple[str, ...], avoid: str, rng: random.Random) -> str:
    """One of the places that do not begin with the preposition `avoid`, which the sentence uses already."""
    return rng.choice([p for p in places if p.split()[0] != avoid])


def place_somewhere(text: str, place: str, first: float, rng: random.Random) -> str:
    """The text with its place, if any, in front with probability `first`, else behind."""
    if not place:
        return text
    return f"{place} {text}" if rng.random() < first else f"{text} {place}"
