"""Texts that say which language they are in."""

from __future__ import annotations

import json
import pickle

import pytest

from xpet.core.captions import LanguageCaptions, LanguageText, in_language

SLOTS = {slot: (f"a {slot}",) for slot in ("pivot", "target", "from_pivot", "to_pivot")}


@pytest.mark.parametrize(
    ("slot", "language"), [("pivot", "en"), ("target", "de"), ("from_pivot", "de"), ("to_pivot", "en")]
)
def test_texts_of_a_slot_say_their_language(slot: str, language: str) -> None:
    (text,) = LanguageCaptions("de", (0,), SLOTS).take([0]).slot(slot)
    assert isinstance(text, LanguageText)
    assert text.language == language


def test_they_are_texts_like_others() -> None:
    (text,) = in_language(["a dog"], "de")
    assert text == "a dog"
    assert hash(text) == hash("a dog")
    assert json.dumps(text) == '"a dog"'
    again = pickle.loads(pickle.dumps(text))
    assert (again, again.language) == ("a dog", "de")
    assert in_language(["a dog"], None)[0].language == "" == LanguageText("a dog").language
