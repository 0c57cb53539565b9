"""The data sets read from files, by name (the demo's reader lives with the demo)."""

from __future__ import annotations

from xpet.core.captions import Reader
from xpet.data import multi30k, table, xtd

SOURCES: dict[str, Reader] = {"xtd": xtd.read, "multi30k": multi30k.read, "table": table.read}
