"""Fixtures of the tests of data sets: published data where it is at hand, pictures, and small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xpet.core.captions import Corpus, LanguageCaptions, Split


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The published captions beside the repository; skips where they are absent."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file below tmp_path, folders included."""

    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


@pytest.fixture
def picture() -> Callable[[Path, tuple[int, int, int]], None]:
    """Writes a one-colour PNG."""
    from PIL import Image

    def paint(path: Path, colour: tuple[int, int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), colour).save(path, format="PNG")

    return paint


@pytest.fixture
def corpus_of() -> Callable[..., Corpus]:
    """A corpus with one split of the given sizes, `corpus_of(train=3, ...)`, English only."""

    def build(**sizes: int) -> Corpus:
        splits = {}
        for name, count in sizes.items():
            texts = {"target": tuple(f"{name} caption {i}" for i in range(count))}
            captions = {"en": LanguageCaptions("en", tuple(range(count)), texts)}
            splits[name] = Split(tuple(f"{name}{i}.jpg" for i in range(count)), captions)
        return Corpus("tiny", splits)

    return build
