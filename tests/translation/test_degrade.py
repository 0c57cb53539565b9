"""Noise: how much, of which kinds, and that a line's noise depends on the line, the rate and the seed alone."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest

from tests.jobs.translate.test_command import ODD
from xpet.translation.degrade import degrade

TEXTS = [
    "a dog sees the cat", "  two  words ", "ha ha ha", "one", "", " ", "a,b c_d", "\u4e00\u53ea\u72d7",
    "\u3072\u3068\u3064\u306e \u3044\u306c", "\u0e2b\u0e21\u0e32\u0e14\u0e33", "red\u4e00\u53ea dog", "a\nb c\u2028d e",
]  # fmt: skip
DENSE = TEXTS[7:11]


def lines(count: int, length: int) -> list[list[str]]:
    """Lines of different words."""
    chance = random.Random(3)
    return [[f"w{number}" for number in chance.sample(range(100_000), length)] for _ in range(count)]


@pytest.mark.parametrize("text", [*TEXTS, *(line.decode() for line in ODD)])
def test_nothing_at_zero_and_everything_at_one(text: str) -> None:
    assert degrade(text, 0.0, 7) == text
    for seed in range(40):
        noisy = degrade(text, 1.0, seed)
        assert (noisy != text) == (text in DENSE or any(len(part.split()) > 1 for part in text.splitlines()))
        assert len(noisy.splitlines()) == len(text.splitlines())
        assert bool(noisy.strip()) == bool(text.strip())
        if len(text.split()) > 1 and "\n" not in text and "\u2028" not in text:
            assert (noisy[: len(noisy) - len(noisy.lstrip())]) == text[: len(text) - len(text.lstrip())]


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_the_share_of_touched_words(rate: float) -> None:
    """Each kind has a trace of its own in lines of different words: fewer words, words twice, words out of order."""
    total = 2000 * 12
    dropped = replaced = swapped = 0
    for words in lines(2000, 12):
        got = degrade(" ".join(words), rate, 5).split()
        assert set(got) <= set(words)
        dropped += len(words) - len(got)
        replaced += sum(count - 1 for count in Counter(got).values())
        order = [words.index(word) for word in got if Counter(got)[word] == 1]
        swapped += sum(b < a for a, b in zip(order, order[1:], strict=False))
    found = [count / total for count in (dropped, replaced, swapped)]
    # at a high rate edits meet: a swapped word is dropped, a doubled one too; the sums stay near, never above
    assert sum(found) == pytest.approx(rate, rel=0.25 if rate == 0.3 else 0.12)
    assert found[0] == pytest.approx(rate / 3, rel=0.12)


def test_a_higher_rate_goes_further() -> None:
    texts = [" ".join(words) for words in lines(300, 8)]
    changed = [{text for text in texts if degrade(text, rate) != text} for rate in (0.05, 0.2, 0.6, 1.0)]
    assert all(low <= high for low, high in zip(changed, changed[1:], strict=False))
    expected = [300 * (1 - (1 - rate) ** 8) for rate in (0.05, 0.2, 0.6, 1.0)]  # lines with a touched word
    assert [len(found) for found in changed] == pytest.approx(expected, abs=15)


def test_a_line_depends_on_nothing_else() -> None:
    code = (
        "import sys; from xpet.translation.degrade import degrade;"
        "sys.stdout.write(degrade('a man sees the red dog', 0.5, 3))"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        assert done.stdout == degrade("a man sees the red dog", 0.5, 3)
    assert len({degrade("a man sees the red dog", 0.5, seed) for seed in range(20)}) > 10
    whole = degrade("a man sees\u2028the red dog", 0.5, 3)
    assert whole == degrade("a man sees", 0.5, 3) + "\u2028" + degrade("the red dog", 0.5, 3)


def test_these_results_stay() -> None:
    """Golden values: published degraded sets must come out the same with every later version."""
    found = [degrade("a man sees the red dog", 0.5, seed) for seed in (1, 2, 3)]
    found += [degrade("\u4e00\u53ea\u7ea2\u72d7\u3002", 0.5, 1), degrade("\u0e40\u0e14\u0e47\u0e01 dog", 1.0, 2)]
    assert found == [
        "a sees man the dog",
        "man sees the dog red",
        "man man the sees dog red",
        "\u72d7\u3002",
        "\u0e14\u0e47\u0e01dog \u0e40",
    ]


def test_marks_stay_with_their_character() -> None:
    """A Thai vowel sign or a combining voice mark never stands alone or changes its letter."""
    text = "\u0e01\u0e31\u0e19\u0e14\u0e35\u306f\u309a\u3072\u3075"
    units = {"\u0e01\u0e31", "\u0e19", "\u0e14\u0e35", "\u306f\u309a", "\u3072", "\u3075"}
    for seed in range(50):
        rest = degrade(text, 1.0, seed)
        while rest:
            unit = rest[:2] if rest[:2] in units else rest[:1]
            assert unit in units
            rest = rest[len(unit) :]
