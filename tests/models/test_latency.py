"""Latency by a clock of our own: what is timed, in which order, and that the medians are taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from xpet.models.latency import BATCH, compare_speed


class Workshop:
    """A tower whose work takes as long as we say, and a clock that only moves with it."""

    def __init__(self) -> None:
        self.now, self.mode = 0.0, "none"
        self.calls: list[tuple[str, int]] = []

    def encode(self, texts: Sequence[str]) -> None:
        self.calls.append((self.mode, len(texts)))
        slow = 100.0 if len(self.calls) in (1, 2, 5) else 1.0  # the warm-up, and one hiccup
        self.now += slow * {"module": 0.003, "bare": 0.002}[self.mode] * (1 if len(texts) == 1 else len(texts) / 4)

    @contextmanager
    def using(self, mode: str) -> Iterator[None]:
        self.now += 7.0  # entering is not timed
        self.mode = mode
        yield
        self.mode = "none"
        self.now += 7.0


def test_medians_in_turns_without_warm_up_and_entering():
    shop = Workshop()
    speed = compare_speed(
        shop.encode, [f"text {i}" for i in range(300)], lambda: shop.using("module"), lambda: shop.using("bare"),
        rounds=5, batches=3, clock=lambda: shop.now,
    )  # fmt: skip
    assert shop.calls == [("module", 1), ("bare", 1)] * 6 + [("module", BATCH)] * 3
    assert speed.milliseconds_per_query == pytest.approx(3.0)
    assert speed.against_bare == pytest.approx(1.5)
    assert speed.texts_per_second == pytest.approx(4 / 0.003)


def test_one_text_and_a_real_clock():
    seen: list[Sequence[str]] = []
    speed = compare_speed(seen.append, ["a dog"], rounds=2, batches=1)
    assert seen == [["a dog"]] * 7
    assert min(speed.milliseconds_per_query, speed.texts_per_second, speed.against_bare) > 0
