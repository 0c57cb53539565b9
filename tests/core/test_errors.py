"""How messages give what was found: short, on one line, printable anywhere."""

from __future__ import annotations

import pytest

from xpet.core.errors import LONGEST, listing, one_line, quoted, short, unknown


@pytest.mark.parametrize("value", [
    "x" * 10**6, b"\xff" * 10**6, [["x" * 999] * 99] * 99, {"a": {"b": {"c": {"d": {"e": {"f": {"g": {}}}}}}}},
    10**4000,
    "\n" * 50, "\ud800" * 50, {"x" * 999: 1}, ("x" * 59,), float("nan"),
    {str(n): b"y" * 10**5 for n in range(99)},
])  # fmt: skip
def test_values_are_short_and_on_one_line(value):
    text = quoted(value)
    assert 0 < len(text) <= LONGEST
    assert text.encode().isascii()
    assert text.isprintable()


def test_short_values_are_whole():
    for value in ("", "a", 5, None, ["a", 1], {"a": None}, "x" * 58, b"x", "it's \u72ac"):
        assert quoted(value) == repr(value)
    assert quoted("x" * 59) == "'" + "x" * 56 + "..."


def test_names_have_marks_only_where_they_need_them():
    names = ("a b.png", "\u72ac", "", " a", "a\nb", "x" * 61, "\ud800")
    cut = "'" + "x" * 56 + "..."
    assert [short(name) for name in names] == ["a b.png", "\u72ac", "''", "' a'", r"'a\nb'", cut, r"'\ud800'"]
    assert listing(["a", "", "c", "d"], 3) == "a, '', c and 1 more"
    assert listing([]) == ""


def test_unknown_names_are_short_whatever_they_are():
    assert unknown("language", "dee", ["de", "en"]) == (
        "unknown language 'dee': expected one of de, en; did you mean 'de'?"
    )
    assert unknown("language", "x" * 3000, ["de"]) == f"unknown language '{'x' * 56}...: expected one of de"
    assert len(unknown("language", "x", ["y" * 3000] * 5000)) < 7000


def test_what_other_libraries_say_is_one_line():
    assert one_line(ValueError("two\n  lines")) == "two lines"
    assert one_line(ValueError("two\n  lines"), first_only=True) == "two"
    assert one_line(EOFError()) == "EOFError"
    assert len(one_line(OSError("x" * 10**6))) < 400
    assert one_line("a \n b") == "a b"
    assert one_line("") == ""
    assert len(one_line("x" * 61)) == LONGEST
    assert one_line(ValueError("x" * 61), 60) == "x" * 57 + "..."
