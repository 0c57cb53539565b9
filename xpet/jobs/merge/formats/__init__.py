"""The export formats of `xpet merge`: each is a file here and a row of `xpet.core.choices.EXPORT_OPTIONS`.

The file has the name of its row, with `_` for `-`, and defines `FORMAT`.
"""

from __future__ import annotations

from importlib import import_module

from xpet.core.choices import EXPORT_OPTIONS
from xpet.jobs.merge.formats.base import ExportFormat

EXPORT_FORMATS: dict[str, ExportFormat] = {
    name: import_module(f"{__name__}.{name.replace('-', '_')}").FORMAT for name in EXPORT_OPTIONS
}
