"""Cleaning of a stream of texts, its counts, and lines held out by their words."""

from __future__ import annotations

import random

import pytest

from xpet.data.cleaning import COUNTS, Cleaner, Hashes, Limits, Line, is_held_out, normalised

TEXTS = [
    "A red ball.", "  a red\u00a0 ball", "", " \t", "A RED BALL", "a cafe\u0301 table", "A caf\u00e9 table", "ball",
    "a b", "красный мяч лежит", "мяч a ball", "12 34 56", "the test caption", "The test, caption .", "a dog\nruns",
    "a b c d e f g", "a longwordlongwordlongword", "x" * 9,
]  # fmt: skip
REASONS = [
    "kept", "duplicate", "empty", "empty", "duplicate", "kept", "duplicate", "short",
    "short", "script", "kept", "script", "in_test", "in_test", "kept", "long", "long", "short",
]  # fmt: skip


def test_every_text_has_one_reason():
    cleaner = Cleaner(["The TEST  caption"], Limits(max_words=6, max_characters=25))
    kept = list(cleaner.clean(TEXTS))
    assert kept == [
        Line(1, "A red ball."), Line(6, "a cafe\u0301 table"), Line(11, "мяч a ball"), Line(15, "a dog runs"),
    ]  # fmt: skip
    assert cleaner.counts == {"read": len(TEXTS)} | {name: REASONS.count(name) for name in COUNTS[1:]}
    for text, reason in zip(TEXTS, REASONS, strict=True):
        if reason not in ("kept", "duplicate"):
            alone = Cleaner(["The TEST  caption"], Limits(max_words=6, max_characters=25))
            assert list(alone.clean([text])) == []
            assert alone.counts[reason] == 1


def test_limits_hold_their_ends():
    limits = Limits(2, 3, 5, 7)
    texts = ["ab cd", "ab c", "abcde", "ab cdef", "ab cdefg", "a b cd", "a b c d"]
    assert [line.text for line in Cleaner(limits=limits).clean(texts)] == ["ab cd", "ab cdef", "a b cd"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("A dog.", "a  dog", True), ("Caf\u00e9", "cafe\u0301", True), ("STRASSE", "stra\u00dfe", True),
        ("a man , a dog .", "A man, a dog", True), ("\u2018a dog\u2019", "'a dog'", True),
        ("a dog", "a dogs", False), ("a dog", "the dog", False), ("cafe", "caf\u00e9", False), ("1", "2", False),
    ],
)  # fmt: skip
def test_what_is_the_same(one, other, same):
    assert (normalised(one) == normalised(other)) is same


def test_an_interrupted_stream_is_taken_up_where_it_stopped():
    texts = random.Random(0).choices([f"a dog number {n}" for n in range(300)], k=1000)
    whole = list(Cleaner().clean(texts))
    assert len(whole) == len(set(texts))
    again = Cleaner()
    rest = list(again.clean(texts, after=whole[99].number))
    assert rest == whole[100:]
    parts = Cleaner()
    assert [*parts.clean(texts[:137]), *parts.clean(texts[137:])] == whole
    assert parts.counts == again.counts


def test_the_set_of_hashes_is_a_set_and_compact():
    rng = random.Random(1)
    numbers = [rng.getrandbits(64) for _ in range(9000)] + [*range(50), 2**64 - 1] * 2
    numbers += rng.choices(numbers, k=3000)
    hashes, oracle = Hashes(), set[int]()
    for number in numbers:
        number = number or 1  # the one pair that counts as equal
        assert hashes.add(number) is (number not in oracle)
        oracle.add(number)
    assert len(hashes) == len(oracle)
    assert not hashes.add(0)  # 1 is in
    assert len(hashes._slots) * 8 <= 24 * len(hashes)


def split(lines: list[Line], share: float) -> tuple[list[Line], list[Line]]:
    """The lines to train on and those held out."""
    held = [line for line in lines if is_held_out(line.text, share)]
    return [line for line in lines if line not in held], held


def test_held_out_lines_do_not_depend_on_order_or_size():
    lines = [Line(n, f"a dog number {n}") for n in range(1, 4001)]
    train, held = split(lines, 0.05)
    assert abs(len(held) - 200) < 70  # five standard deviations
    assert sorted(train + held) == lines
    shuffled = random.Random(0).sample(lines, len(lines))
    assert set(split(shuffled, 0.05)[1]) == set(held)
    assert split(lines[:500], 0.05)[1] == [line for line in held if line.number <= 500]
    assert set(split(lines, 0.01)[1]) < set(held)
    assert all(is_held_out(line.text.upper() + " .", 0.05) for line in held)
    assert split(lines, 0)[1] == []
    assert split(lines, 1)[0] == []


def test_held_out_lines_are_the_same_everywhere():
    held = [n for n in range(200) if is_held_out(f"a dog number {n}", 0.05)]
    assert held == [16, 58, 67, 103, 109, 110, 134, 159, 162, 178, 181, 186, 199]
