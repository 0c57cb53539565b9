"""Two tiny real packages (German to English, English to Japanese) and the command with its own home and cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command import run_here
from tests.translation import toy

Members = dict[str, bytes]
Command = Callable[..., CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def german(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """Files of the package de-en."""
    return toy.files("de", "en", toy.GERMAN, tmp_path_factory.mktemp("de"))


@pytest.fixture(scope="session")
def japanese(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """Files of the package en-ja."""
    return toy.files("en", "ja", toy.JAPANESE, tmp_path_factory.mktemp("en"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, german: Members, japanese: Members) -> Path:
    """A package folder with both, for tests that only read it."""
    folder = tmp_path_factory.mktemp("installed")
    toy.unpack(folder, "translate-de_en-1_0", german)
    toy.unpack(folder, "translate-en_ja-1_0", japanese)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """xpet's cache of this test alone."""
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def packages(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package folder in use."""
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(installed))
    return installed


@pytest.fixture
def xpet(tmp_path: Path) -> Command:
    """Runs the command in this process; the environment of the test, an empty HOME and what is given."""

    def run(*arguments: str | Path, stdin: bytes = b"", **environment: str) -> CompletedProcess[bytes]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        return run_here(*arguments, stdin=stdin, environment={"HOME": str(home), **environment})

    return run
