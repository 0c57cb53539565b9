"""Configuration files: `xpet.toml` and `[tool.xpet]` of `pyproject.toml`, here or where `--config` says."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpet.core.errors import ConfigError, unknown
from xpet.core.regular_files import read_bytes

FILE, PROJECT = "xpet.toml", "pyproject.toml"
PROJECT_TABLE = "tool.xpet"


@dataclass(frozen=True)
class FileTable:
    """A command's table of a configuration file: where it stands, for messages, and its values by option."""

    source: str
    values: Mapping[str, Any] = field(default_factory=dict)


def table_for(command: str, commands: Sequence[str], file: str | None = None) -> FileTable | None:
    """The table of a command in a file, else in `xpet.toml`, else in `pyproject.toml` of the working directory.

    None where there is none. Raises ConfigError for a file that is no TOML, or that has tables of no command.
    """
    path = Path(file) if file is not None else _default()
    if path is None:
        return None
    document = _document(path)
    prefix = ""
    if path.name == PROJECT:
        tools = document.get("tool")
        document, prefix = _table(f"{path} [tool]", tools).get("xpet", {}) if tools else {}, f"{PROJECT_TABLE}."
        if file is not None and not document:
            raise ConfigError(f"--config {path}: expected a table [{PROJECT_TABLE}], found none")
    for name in _table(f"{path} [{PROJECT_TABLE}]" if prefix else str(path), document):
        if name not in commands:
            raise ConfigError(f"{path}: {unknown('table', f'{prefix}{name}', [prefix + c for c in commands])}")
    if command not in document:
        return None
    source = f"{path} [{prefix}{command}]"
    values = _table(source, document[command])
    return FileTable(source, {key.replace("_", "-"): value for key, value in values.items()})


def _default() -> Path | None:
    """`xpet.toml` of the working directory, whatever it is, else the `pyproject.toml` there."""
    if os.path.lexists(FILE):
        return Path(FILE)
    return Path(PROJECT) if Path(PROJECT).is_file() else None


def _document(path: Path) -> dict[str, Any]:
    """The contents of a TOML file; a `pyproject.toml` that does not mention xpet counts as empty."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content = read_bytes(path)
        return {} if path.name == PROJECT and b"xpet" not in content else tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a configuration file, found none to read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8, too
        raise ConfigError(f"{path}: expected TOML, found something else: {error}") from None


def _table(source: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: expected a table, found {value!r:.60}")
    return value
