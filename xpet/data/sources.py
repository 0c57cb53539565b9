"""The readers of data sets, by name: each is a module of this room with a function `read`.

To add one, write `xpet/data/NAME.py` with `read(request: ReadRequest) -> Corpus` and put NAME into
`xpet.core.choices.SOURCE_NAMES`; nothing else knows the names. (The demo's reader is in `xpet.demo`.)
"""

from __future__ import annotations

from importlib import import_module

from xpet.core.captions import Reader
from xpet.core.choices import SOURCE_NAMES
from xpet.core.config import DEMO


def source_named(name: str) -> Reader:
    """The reader in the data set's own module."""
    reader: Reader = import_module(f"xpet.data.{name}").read
    return reader


SOURCES: dict[str, Reader] = {name: source_named(name) for name in SOURCE_NAMES if name != DEMO}
