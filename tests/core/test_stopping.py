"""Signals: what they raise, when, and that handlers are as before afterwards."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from xpet.core import stopping
from xpet.core.stopping import Signals, Stopped, catching, caught_signals

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 143}


def send(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))


def handlers() -> list[object]:
    return [signal.getsignal(getattr(signal, name)) for name in NAMES]


def stopped(work: Callable[[Signals], object]) -> Stopped:
    """What some work raises that a signal ends."""
    with pytest.raises(Stopped) as caught, catching() as signals:
        work(signals)
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_ends_a_command_at_once(name: str) -> None:
    before = handlers()
    caught = stopped(lambda signals: send(name))
    assert caught.exit_code == CODES[name]
    assert handlers() == before
    what = "interrupted" if name == "SIGINT" else f"stopped by {name}"
    assert str(caught) == f"{what}; what was finished is kept, nothing half-written is left"
    caught.go_on = "xpet align --resume out"
    assert str(caught) == f"{what}; what was finished is kept, go on with: xpet align --resume out"
    assert isinstance(caught, KeyboardInterrupt)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_being_made_comes_to_a_good_end(name: str) -> None:
    ends: list[str] = []

    def made(signals: Signals) -> Iterator[int]:
        for number in range(9):
            if number == 3:
                send(name)
                send(name)  # a launcher's repetition
                ends.append("good")
                signals.check()
            yield number

    seen: list[int] = []
    caught = stopped(lambda signals: seen.extend(signals.each(made(signals))))
    assert (seen, ends, caught.name) == ([0, 1, 2], ["good"], name)


def test_a_signal_between_two_items_ends_at_once() -> None:
    seen: list[int] = []

    def work(signals: Signals) -> None:
        for number in signals.each(iter(range(3))):
            seen.append(number)
            send("SIGTERM")
            seen.append(-1)

    assert stopped(work).name == "SIGTERM"
    assert seen == [0]


def test_a_signal_while_the_last_item_is_made_is_not_lost() -> None:
    def made() -> Iterator[int]:
        yield 1
        send("SIGTERM")

    seen: list[int] = []
    stopped(lambda signals: seen.extend(signals.each(made())))
    assert seen == [1]


def test_a_second_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE", 0.0)

    def made() -> Iterator[int]:
        send("SIGUSR1")
        seen.append(1)
        send("SIGINT")
        seen.append(2)
        yield 3

    seen: list[int] = []
    caught = stopped(lambda signals: seen.extend(signals.each(made())))
    assert (seen, caught.name) == ([1], "SIGUSR1")


def test_blocks_inside_share_the_outer_ones_signals() -> None:
    before = handlers()
    with catching() as outer:
        inside = handlers()
        assert caught_signals() is outer
        with catching() as inner:
            assert inner is outer
        assert handlers() == inside
    assert handlers() == before
    assert caught_signals() is stopping.NONE


def test_other_threads_and_ignored_signals_are_left_alone() -> None:
    found: list[object] = []

    def catch() -> None:
        with catching() as signals:
            found.append(signals)

    thread = threading.Thread(target=catch)
    thread.start()
    thread.join()
    assert found == [stopping.NONE]
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with catching():
            send("SIGINT")
    finally:
        signal.signal(signal.SIGINT, earlier)
