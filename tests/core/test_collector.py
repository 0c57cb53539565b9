"""The garbage collector rests while libraries are imported, in processes of the command line alone."""

from __future__ import annotations

import gc
import importlib

import pytest

from xpet.cli import app
from xpet.core import collector
from xpet.core.collector import importing, process_is_ours


@pytest.fixture
def exempted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the collector was on, each time that all objects were exempted; they are not, here."""
    seen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: seen.append(gc.isenabled()))
    monkeypatch.setattr(collector, "_ours", False)
    return seen


def test_it_rests_in_a_process_of_one_command(exempted: list[bool]) -> None:
    process_is_ours()
    with pytest.raises(ModuleNotFoundError), importing():
        importlib.import_module(f"not_there_{gc.isenabled()}")
    assert gc.isenabled()
    assert exempted == [False]


def test_other_processes_and_those_that_switched_it_off_are_left_alone(exempted: list[bool]) -> None:
    with importing():
        assert gc.isenabled()
    process_is_ours()
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert exempted == []


def test_only_a_command_of_its_own_process_counts(exempted: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, ours in ((["--version"], False), (None, True)):
        monkeypatch.setattr("sys.argv", ["xpet", "--version"])
        with pytest.raises(SystemExit) as ended:
            app.main(arguments)
        assert ended.value.code == 0
        assert collector._ours is ours
